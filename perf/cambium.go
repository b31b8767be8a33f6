package perf

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/cambiumdb/cambium/engine"
)

// ownEngine is the name of this module's engine.
const ownEngine = "cambium"

// BuiltIn are the engines of this module.
func BuiltIn() Engines { return Engines{ownEngine: OpenCambium} }

// OpenCambium opens this module's own engine. It is an Opener.
func OpenCambium(dir string, cfg Config) (Engine, error) {
	opts, err := cambiumOptions(cfg)
	if err != nil {
		return nil, err
	}
	c := &cambium{}
	opts.Events = &engine.Events{Flushed: c.flushed, Compacted: c.compacted}
	if c.db, err = engine.Open(dir, &opts); err != nil {
		return nil, err
	}
	return c, nil
}

// cambiumOptions says a Config in the engine's own words. What a Config leaves at 0 stays the
// engine's default.
func cambiumOptions(cfg Config) (engine.Options, error) {
	o := engine.Options{MemoryBudget: EngineBudget(cfg.Memory), MemtableSize: int64(cfg.Memtable), ValueThreshold: int64(cfg.ValueThreshold),
		CompactionRate: int64(cfg.CompactionRate), MaxStall: cfg.MaxStall}
	var ok1, ok2, ok3 bool
	o.Sync, ok1 = map[string]engine.Sync{
		"per-write": engine.SyncPerWrite, "per-second": engine.SyncPerSecond, "none": engine.SyncNone,
	}[cfg.Sync]
	o.Compaction, ok2 = map[string]engine.Compaction{
		"leveled": engine.Leveled, "tiered": engine.Tiered, "lazy": engine.LazyLeveled,
	}[cfg.Compaction]
	o.Compression, ok3 = map[string]engine.Compression{
		"default": engine.DefaultCompression, "none": engine.NoCompression, "snappy": engine.Snappy, "zstd": engine.Zstd,
	}[cfg.Compression]
	if !ok1 || !ok2 || !ok3 {
		return o, Usagef("cambium has no sync %q, compaction %q or compression %q", cfg.Sync, cfg.Compaction, cfg.Compression)
	}
	return o, nil
}

type cambium struct {
	db *engine.DB

	mu   sync.Mutex // guards jobs
	jobs []EndedJob
}

func (c *cambium) flushed(f engine.FlushInfo) {
	c.tell(EndedJob{
		Job:   Job{Kind: "flush", From: -1, Took: f.Duration, Wrote: f.Bytes},
		Began: time.Now().Add(-f.Duration),
	})
}

func (c *cambium) compacted(i engine.CompactionInfo) {
	j := Job{
		Kind: "compaction", Reason: i.Reason, From: i.FromLevel, To: i.ToLevel,
		Took: i.Duration, Read: i.BytesRead, Wrote: i.BytesWritten,
	}
	if i.BytesWritten == 0 && i.OutputTables > 0 {
		j.Kind = "move"
	}
	c.tell(EndedJob{Job: j, Began: i.Start})
}

func (c *cambium) tell(j EndedJob) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.jobs = append(c.jobs, j)
}

// TakeJobs is Teller's.
func (c *cambium) TakeJobs() []EndedJob {
	c.mu.Lock()
	defer c.mu.Unlock()
	jobs := c.jobs
	c.jobs = nil
	return jobs
}

func (c *cambium) Put(key, value []byte) error { return c.db.Put(key, value, nil) }

// PutTTL is Expirer's.
func (c *cambium) PutTTL(key, value []byte, ttl time.Duration) error {
	return c.db.Put(key, value, &engine.WriteOptions{TTL: ttl})
}

// Pin is Pinner's.
func (c *cambium) Pin() Pinned { return pinnedCambium{c.db.NewSnapshot()} }

type pinnedCambium struct{ *engine.Snapshot }

// Get is Pinned's.
func (p pinnedCambium) Get(key []byte, use func([]byte)) (bool, error) {
	v, err := p.Snapshot.Get(key)
	if errors.Is(err, engine.ErrNotFound) {
		return false, nil
	}
	if err == nil {
		use(v)
	}
	return err == nil, err
}

func (c *cambium) Delete(key []byte) error { return c.db.Delete(key, nil) }

func (c *cambium) Apply(ops []Op) error {
	b := c.db.NewBatch()
	for _, op := range ops {
		if op.Delete {
			b.Delete(op.Key)
		} else {
			b.Put(op.Key, op.Value)
		}
	}
	return c.db.Apply(b, nil)
}

func (c *cambium) Get(key []byte, use func([]byte)) (bool, error) {
	err := c.db.View(key, func(v []byte) error {
		use(v)
		return nil
	})
	if errors.Is(err, engine.ErrNotFound) {
		return false, nil
	}
	return err == nil, err
}

func (c *cambium) Scan(start []byte, limit int, visit func(key, value []byte)) (int, error) {
	it := c.db.NewIterator(nil)
	n := 0
	for ok := it.SeekGE(start); ok; ok = it.Next() {
		visit(it.Key(), it.Value())
		if n++; n == limit {
			break
		}
	}
	return n, errors.Join(it.Err(), it.Close())
}

func (c *cambium) Settle(ctx context.Context) error {
	if err := c.db.Flush(); err != nil {
		return err
	}
	return c.db.WaitIdle(ctx)
}

func (c *cambium) Close() error { return c.db.Close() }

func (c *cambium) Stats() Stats {
	m := c.db.Metrics()
	s := Stats{
		Debt: m.Compaction.Debt, FlushBytes: m.Memtables.FlushBytes,
		Stalls: StallStats{
			Count: m.Stalls.Count, Total: m.Stalls.Total, Longest: m.Stalls.Longest, Worst: m.Stalls.LongestCause, ByCause: m.Stalls.ByCause,
		},
		Reads: ReadStats{
			Gets: m.Reads.Gets, TablesProbed: m.Reads.TablesProbed,
			FilterChecks: m.Reads.FilterChecks, FilterNegatives: m.Reads.FilterNegatives,
			FilterFalsePositives: m.Reads.FilterFalsePositives,
			BlockReads:           m.Reads.BlockReads, BlockBytes: m.Reads.BlockBytes,
			CacheHits: m.Cache.Hits, CacheMisses: m.Cache.Misses,
		},
	}
	for _, r := range m.Ledger.Rows {
		s.Writes = append(s.Writes, WriteRow(r))
	}
	for _, l := range m.Levels {
		s.Levels = append(s.Levels, LevelStats{Level: l.Level, Tables: l.Tables, Bytes: l.Bytes, Runs: l.Runs})
	}
	return s
}
