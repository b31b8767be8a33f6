package engine

import (
	"math"
	"time"

	"github.com/cambiumdb/cambium/internal/filename"
	"github.com/cambiumdb/cambium/internal/manifest"
	"github.com/cambiumdb/cambium/internal/vfs"
	"github.com/cambiumdb/cambium/wal"
)

// Metrics returns a picture of the database now. It reads no file contents.
func (db *DB) Metrics() Metrics {
	var m Metrics
	v, err := db.pin()
	if err != nil {
		return m
	}
	defer v.unref()
	m.VisibleSeq = db.visible.Load()
	m.Levels = db.levelMetrics(v.version)
	m.Memtables = MemtableMetrics{ActiveBytes: v.mem.Bytes(), Sealed: len(v.sealed), Limit: db.budget.memtable,
		FlushBytes: db.budget.flushBytes()}
	for _, s := range v.sealed {
		m.Memtables.SealedBytes += s.Bytes()
	}
	c := db.cache.Metrics()
	m.Cache = CacheMetrics{Capacity: c.Capacity, Bytes: c.Bytes, PinnedBytes: c.PinnedBytes,
		Entries: int64(c.Entries), Hits: int64(c.Hits), Misses: int64(c.Misses), Evictions: int64(c.Evictions)}
	m.Ledger = db.ledger.snapshot()
	m.Lifetime = db.lifetime.now(m.Ledger)
	m.Reads = db.readMetrics()
	m.Space = db.space(v.version)
	log := db.logState()
	m.Log = log.metrics
	m.Stalls = db.stall.metrics(log)
	m.Stalls.Bound = db.opts.MaxStall
	if limit, _ := db.pressure(v).rate(); !math.IsInf(limit, 1) {
		m.Stalls.Rate = int64(limit)
	}
	m.Iterators = int(db.openIterators.Load())
	db.snaps.mu.Lock()
	m.Snapshots = len(db.snaps.seqs)
	db.snaps.mu.Unlock()

	debt := v.debt() // computed once for each view, outside the lock
	db.mu.Lock()
	bg := &db.background
	m.Compaction = CompactionMetrics{Flushes: bg.flushes, Compactions: bg.compactions, Moves: bg.moves,
		Running: bg.compacting + bg.manual, Debt: debt, Duration: bg.duration}
	if bg.flushing {
		m.Compaction.Running++
	}
	db.mu.Unlock()
	return m
}

func (db *DB) levelMetrics(v *manifest.Version) []LevelMetrics {
	out := make([]LevelMetrics, len(v.Levels))
	for i, tables := range v.Levels {
		out[i] = LevelMetrics{Level: i, Tables: len(tables), Bytes: v.LevelBytes(i), Runs: min(1, len(tables))}
		if i == 0 {
			out[i].Runs = len(tables)
		}
	}
	for _, s := range db.policy.Scores(v) {
		if s.Level < len(out) {
			out[s.Level].Score = s.Score
		}
	}
	return out
}

func (db *DB) readMetrics() ReadMetrics {
	c := &db.tables.counters
	return ReadMetrics{
		Gets: db.reads.gets.Load(), TablesProbed: db.reads.tablesProbed.Load(),
		FilterChecks: int64(c.FilterChecks.Load()), FilterNegatives: int64(c.FilterNegatives.Load()),
		FilterFalsePositives: int64(c.FilterFalsePositives.Load()),
		BlockReads:           int64(c.BlockReads.Load()), BlockBytes: int64(c.BlockBytes.Load()),
	}
}

// logState is what Metrics says of the log, and how long writes waited for it.
type logState struct {
	metrics                 LogMetrics
	stalls                  int64
	stallTime, longestStall time.Duration
}

func (db *DB) logState() (s logState) {
	log := db.currentLog()
	if log == nil {
		return s
	}
	w := log.Metrics()
	s.metrics = LogMetrics{Segments: len(log.Segments()), Bytes: int64(w.Bytes), Records: int64(w.Records),
		Syncs: int64(w.Syncs), Groups: int64(w.Groups), Commits: int64(w.GroupedCommits), MaxGroup: int64(w.MaxGroup)}
	s.stalls, s.stallTime, s.longestStall = int64(w.Stalls), w.StallTime, w.LongestStall
	return s
}

// currentLog returns the log, nil where there is none. Unlike queue.stage, db.mu is free while
// writes are stalled.
func (db *DB) currentLog() *wal.Log {
	db.mu.Lock()
	defer db.mu.Unlock()
	return db.wal
}

// space adds up the files of version, and the logs and the manifest as they are on the device.
func (db *DB) space(version *manifest.Version) SpaceMetrics {
	var s SpaceMetrics
	for level := range version.Levels {
		s.Tables += version.LevelBytes(level)
	}
	names, err := db.fs.List(db.dir)
	if err != nil {
		return s
	}
	var manifestBytes int64
	for _, n := range names {
		t, num, ok := filename.Parse(n)
		if !ok || (t != filename.Log && t != filename.Blob && t != filename.Manifest) {
			continue
		}
		info, err := db.fs.Stat(filename.Path(db.dir, t, num))
		if err != nil {
			continue
		}
		switch t {
		case filename.Log:
			s.Logs += info.Size()
		case filename.Blob:
			s.Blobs += vfs.Allocated(info) // holes take no space
		case filename.Manifest:
			manifestBytes += info.Size()
		}
	}
	s.Disk = s.Tables + s.Blobs + s.Logs + manifestBytes
	return s
}
