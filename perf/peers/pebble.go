package peers

import (
	"bytes"
	"context"
	"errors"
	"sync/atomic"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/bloom"
	"github.com/cockroachdb/pebble/v2/sstable"
	"github.com/cockroachdb/pebble/v2/sstable/block"

	"github.com/cambiumdb/cambium/perf"
)

// pebbleVariant is one way to run CockroachDB's Pebble; each has a name of its own.
type pebbleVariant struct {
	filtered   bool // gets use the filters of every level: Pebble's Get leaves out those of the last one
	unstopped  bool // L0 may grow to 1000 sublevels before writes stop, as in CockroachDB, instead of 12
	sameMemory bool // memtables take as much as cambium's
}

func (v pebbleVariant) share(cfg perf.Config) share {
	if v.sameMemory {
		return sameMemoryOf(cfg)
	}
	return shareOf(cfg)
}

func (v pebbleVariant) open(dir string, cfg perf.Config) (perf.Engine, error) {
	if err := needOneOf("pebble", "--compaction", cfg.Compaction, "leveled"); err != nil {
		return nil, err
	}
	p := &pebbleEngine{write: pebble.NoSync, filtered: v.filtered, flushBytes: v.share(cfg).flushBytes(), kernel: countKernel()}
	opts, err := v.options(cfg)
	if err != nil {
		return nil, err
	}
	opts.EventListener = p.stalls.listener()
	cache := pebble.NewCache(v.share(cfg).cacheWithMemtables())
	defer cache.Unref() // the database keeps a reference of its own
	opts.Cache = cache
	if p.db, err = pebble.Open(dir, opts); err != nil {
		return nil, err
	}
	switch cfg.Sync {
	case "per-write":
		p.write = pebble.Sync
	case "per-second":
		p.pacer = startPacer(500*time.Millisecond, func() error { return p.db.LogData(nil, pebble.Sync) })
	}
	return p, nil
}

// cacheWithMemtables is the cache of an engine that takes its memtables out of the cache. Two fifths of it
// are left to the C allocator, which takes up to two thirds more than a cache of blocks of mixed sizes holds: a process limited
// to 1 GiB is killed in readrandom with a cache of 784 MiB, and in the scans after it with one of 627 MiB.
func (s share) cacheWithMemtables() int64 { return (s.cache + s.memtableBytes()) * 3 / 5 }

// options says a Config in Pebble's words. Pebble flushes what is sealed at once, so that several
// memtables a flush are for it one large one.
func (v pebbleVariant) options(cfg perf.Config) (*pebble.Options, error) {
	s := v.share(cfg)
	var low, last *sstable.CompressionProfile // of the last two levels, where most data lies
	switch cfg.Compression {
	case "default":
		low, last = block.SnappyCompression, block.ZstdCompression
	case "none":
		low, last = block.NoCompression, block.NoCompression
	case "snappy":
		low, last = block.SnappyCompression, block.SnappyCompression
	case "zstd":
		low, last = block.ZstdCompression, block.ZstdCompression
	default:
		return nil, needOneOf("pebble", "--compression", cfg.Compression, "default", "none", "snappy", "zstd")
	}
	o := &pebble.Options{
		FormatMajorVersion:          pebble.FormatNewest,
		MemTableSize:                uint64(s.flushBytes()),
		MemTableStopWritesThreshold: max(2, s.memtables/s.together),
		LBaseMaxBytes:               s.firstLevel,
		MaxOpenFiles:                10_000,
		CompactionConcurrencyRange:  func() (int, int) { return 1, s.compactions },
		Logger:                      quiet{},
	}
	if v.unstopped {
		o.L0StopWritesThreshold = 1000
	}
	for i := range o.Levels {
		profile := low
		if i >= len(o.Levels)-2 {
			profile = last
		}
		o.Levels[i] = pebble.LevelOptions{
			BlockSize:    4096,
			FilterPolicy: bloom.FilterPolicy(10),
			FilterType:   pebble.TableFilter,
			Compression:  func() *sstable.CompressionProfile { return profile },
		}
	}
	return o, nil
}

// quiet drops a peer's log lines; what is fatal ends the program all the same.
type quiet struct{}

func (quiet) Infof(string, ...any)             {}
func (quiet) Errorf(string, ...any)            {}
func (quiet) Fatalf(format string, arg ...any) { pebble.DefaultLogger.Fatalf(format, arg...) }

type pebbleEngine struct {
	db     *pebble.DB
	write  *pebble.WriteOptions
	pacer  *pacer
	stalls stallClock
	gets   atomic.Int64
	kernel kernelCount

	filtered   bool  // gets use the filters of every level
	flushBytes int64 // one memtable
}

func (p *pebbleEngine) Put(key, value []byte) error {
	return errors.Join(p.db.Set(key, value, p.write), p.pacer.mark())
}

func (p *pebbleEngine) Delete(key []byte) error {
	return errors.Join(p.db.Delete(key, p.write), p.pacer.mark())
}

func (p *pebbleEngine) Apply(ops []perf.Op) error {
	b := p.db.NewBatch()
	defer b.Close()
	for _, op := range ops {
		var err error
		if op.Delete {
			err = b.Delete(op.Key, nil)
		} else {
			err = b.Set(op.Key, op.Value, nil)
		}
		if err != nil {
			return err
		}
	}
	return errors.Join(b.Commit(p.write), p.pacer.mark())
}

func (p *pebbleEngine) Get(key []byte, use func([]byte)) (bool, error) {
	p.gets.Add(1)
	if p.filtered {
		return p.getFiltered(key, use)
	}
	v, closer, err := p.db.Get(key)
	if errors.Is(err, pebble.ErrNotFound) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	use(v)
	return true, closer.Close()
}

func (p *pebbleEngine) getFiltered(key []byte, use func([]byte)) (found bool, err error) {
	it, err := p.db.NewIter(&pebble.IterOptions{UseL6Filters: true})
	if err != nil {
		return false, err
	}
	if it.SeekPrefixGE(key) && bytes.Equal(it.Key(), key) {
		var v []byte
		if v, err = it.ValueAndErr(); err == nil {
			found = true
			use(v)
		}
	}
	return found, errors.Join(err, it.Error(), it.Close())
}

func (p *pebbleEngine) Scan(start []byte, limit int, visit func(key, value []byte)) (int, error) {
	it, err := p.db.NewIter(nil)
	if err != nil {
		return 0, err
	}
	n := 0
	for ok := it.SeekGE(start); ok; ok = it.Next() {
		v, err := it.ValueAndErr()
		if err != nil {
			return n, errors.Join(err, it.Close())
		}
		visit(it.Key(), v)
		if n++; n == limit {
			break
		}
	}
	return n, errors.Join(it.Error(), it.Close())
}

func (p *pebbleEngine) Settle(ctx context.Context) error {
	if err := p.db.Flush(); err != nil {
		return err
	}
	var resting time.Time // since when no work goes on, whatever the scores say
	return waitIdle(ctx, func() bool {
		m := p.db.Metrics()
		if m.Compact.NumInProgress > 0 || m.Flush.NumInProgress > 0 {
			resting = time.Time{}
			return false
		}
		if resting.IsZero() {
			resting = time.Now()
		}
		// A level with a score waits for its turn. EstimatedDebt does not tell: it counts all of L0,
		// also where that is too little to be compacted.
		for _, l := range m.Levels {
			if l.Score > 0 && time.Since(resting) < 5*time.Second {
				return false
			}
		}
		return true
	})
}

func (p *pebbleEngine) Close() error { return errors.Join(p.pacer.stop(), p.db.Close()) }

func (p *pebbleEngine) Stats() perf.Stats {
	m := p.db.Metrics()
	s := perf.Stats{
		Debt:       int64(m.Compact.EstimatedDebt),
		FlushBytes: p.flushBytes,
		Stalls:     p.stalls.stats(),
		Reads: perf.ReadStats{
			Gets: p.gets.Load(), TablesProbed: m.Filter.Hits + m.Filter.Misses,
			FilterChecks: m.Filter.Hits + m.Filter.Misses,
			BlockReads:   m.BlockCache.Misses, // those of compactions too
			CacheHits:    m.BlockCache.Hits, CacheMisses: m.BlockCache.Misses,
		},
	}
	for _, c := range m.CategoryStats {
		if c.Category.String() != "pebble-compaction" {
			s.Reads.BlockBytes += int64(c.CategoryStats.BlockBytes - c.CategoryStats.BlockBytesInCache)
		}
	}
	add := func(cause string, level int, bytes uint64) {
		if bytes > 0 {
			s.Writes = append(s.Writes, perf.WriteRow{Cause: cause, Level: level, Bytes: int64(bytes)})
		}
	}
	add("wal", -1, m.WAL.BytesIn) // BytesWritten counts too much when logs are small and many
	for i, l := range m.Levels {
		add("flush", i, l.TableBytesFlushed)
		add("compaction", i, l.TableBytesCompacted)
		add("blob", i, l.BlobBytesFlushed+l.BlobBytesCompacted)
		s.Levels = append(s.Levels, perf.LevelStats{Level: i, Tables: int(l.TablesCount), Bytes: l.TablesSize, Runs: int(l.Sublevels)})
	}
	s.Writes = p.kernel.addRest(s.Writes, "pages")
	return s
}
