package peers

import (
	"context"
	"errors"
	"expvar"
	"fmt"
	"runtime/debug"
	"strconv"
	"sync"
	"time"

	"github.com/dgraph-io/badger/v4"
	"github.com/dgraph-io/badger/v4/options"

	"github.com/cambiumdb/cambium/perf"
)

// OpenBadger opens Dgraph's Badger. It is a perf.Opener. Badger's counters belong to the
// process: measure one at a time.
func OpenBadger(dir string, cfg perf.Config) (perf.Engine, error) {
	if err := needOneOf("badger", "--compaction", cfg.Compaction, "leveled"); err != nil {
		return nil, err
	}
	opts, err := badgerOptions(dir, cfg)
	if err != nil {
		return nil, err
	}
	if cfg.Memory > 0 {
		_, heap := badgerShareOf(cfg)
		debug.SetMemoryLimit(heap)
	}
	b := &badgerEngine{opts: opts, start: readBadgerCounters(), kernel: countKernel()}
	if b.db, err = badger.Open(opts); err != nil {
		return nil, err
	}
	if cfg.Sync == "per-second" {
		b.pacer = startPacer(500*time.Millisecond, func() error {
			b.mu.RLock()
			defer b.mu.RUnlock()
			return b.db.Sync()
		})
	}
	return b, nil
}

// badgerShareOf gives Badger two memtables, a quarter of the rest as its cache, and its Go heap five eighths of the process at most. Its
// tables are mapped: what the heap does not take is the kernel's cache of them. With four memtables a process limited to 1 GiB is killed in
// the first overwrite. With half of the rest as its cache, and a heap that may grow to the limit, 60 MiB are left to mapped pages: it
// overwrote 4,600 keys a second, and reads of 600 MB/s from the device had not ended after ten minutes.
func badgerShareOf(cfg perf.Config) (s share, heap int64) {
	s = shareOf(cfg)
	s.memtables = 2
	s.rest()
	s.cache /= 4
	return s, s.budget / 8 * 5
}

// badgerOptions says a Config in Badger's words.
func badgerOptions(dir string, cfg perf.Config) (badger.Options, error) {
	s, _ := badgerShareOf(cfg)
	o := badger.DefaultOptions(dir).
		WithLogger(nil).
		WithSyncWrites(cfg.Sync == "per-write").
		WithDetectConflicts(false). // nothing here reads before it writes
		WithMemTableSize(s.memtable).
		WithNumMemtables(s.memtables).
		WithBlockCacheSize(s.cache).
		WithIndexCacheSize(0). // all indexes and filters stay in memory
		WithBaseLevelSize(s.firstLevel).
		WithNumCompactors(max(2, s.compactions)).
		WithValueThreshold(min(1<<20, s.memtable*15/100)) // its default, or the most for small memtables
	switch cfg.Compression {
	case "default", "zstd":
		o = o.WithCompression(options.ZSTD).WithZSTDCompressionLevel(3)
	case "none":
		o = o.WithCompression(options.None)
	case "snappy":
		o = o.WithCompression(options.Snappy)
	default:
		return o, needOneOf("badger", "--compression", cfg.Compression, "default", "none", "snappy", "zstd")
	}
	return o, nil
}

type badgerEngine struct {
	opts   badger.Options
	pacer  *pacer
	start  badgerCounters // when it was opened
	kernel kernelCount

	mu           sync.RWMutex // guards everything below: Settle opens the directory anew
	db           *badger.DB
	hits, misses int64 // of the block caches of databases that Settle closed
}

func (b *badgerEngine) Put(key, value []byte) error {
	return b.update(func(txn *badger.Txn) error { return txn.Set(key, value) })
}

func (b *badgerEngine) Delete(key []byte) error {
	return b.update(func(txn *badger.Txn) error { return txn.Delete(key) })
}

func (b *badgerEngine) Apply(ops []perf.Op) error {
	return b.update(func(txn *badger.Txn) error {
		for _, op := range ops {
			var err error
			if op.Delete {
				err = txn.Delete(op.Key)
			} else {
				err = txn.Set(op.Key, op.Value)
			}
			if err != nil {
				return err
			}
		}
		return nil
	})
}

func (b *badgerEngine) update(fn func(txn *badger.Txn) error) error {
	b.mu.RLock()
	defer b.mu.RUnlock()
	return errors.Join(b.db.Update(fn), b.pacer.mark())
}

func (b *badgerEngine) Get(key []byte, use func([]byte)) (found bool, err error) {
	b.mu.RLock()
	defer b.mu.RUnlock()
	err = b.db.View(func(txn *badger.Txn) error {
		item, err := txn.Get(key)
		if errors.Is(err, badger.ErrKeyNotFound) {
			return nil
		}
		if err != nil {
			return err
		}
		found = true
		return item.Value(func(v []byte) error {
			use(v)
			return nil
		})
	})
	return found, err
}

func (b *badgerEngine) Scan(start []byte, limit int, visit func(key, value []byte)) (n int, err error) {
	b.mu.RLock()
	defer b.mu.RUnlock()
	err = b.db.View(func(txn *badger.Txn) error {
		// Values lie beside their keys, so that fetching ahead would only copy them.
		it := txn.NewIterator(badger.IteratorOptions{})
		defer it.Close()
		for it.Seek(start); it.Valid(); it.Next() {
			item := it.Item()
			err := item.Value(func(v []byte) error {
				visit(item.Key(), v)
				return nil
			})
			if err != nil {
				return err
			}
			if n++; n == limit {
				return nil
			}
		}
		return nil
	})
	return n, err
}

// Settle closes and opens the directory, since nothing else makes Badger write its memtable to a
// table, and waits for the compactions that follow.
func (b *badgerEngine) Settle(ctx context.Context) error {
	if err := b.reopen(); err != nil {
		return fmt.Errorf("badger: close and open: %w", err)
	}
	return waitIdle(ctx, func() bool {
		for _, l := range b.levels() {
			if l.Adjusted >= 1 {
				return false
			}
		}
		return expvarInt("badger_compaction_current_num_lsm") == 0
	})
}

func (b *badgerEngine) reopen() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	hits, misses := cacheUse(b.db)
	if err := b.db.Close(); err != nil {
		return err
	}
	b.hits, b.misses = b.hits+hits, b.misses+misses
	db, err := badger.Open(b.opts)
	if err == nil {
		b.db = db
	}
	return err
}

func cacheUse(db *badger.DB) (hits, misses int64) {
	m := db.BlockCacheMetrics()
	if m == nil {
		return 0, 0
	}
	return int64(m.Hits()), int64(m.Misses())
}

func (b *badgerEngine) levels() []badger.LevelInfo {
	b.mu.RLock()
	defer b.mu.RUnlock()
	return b.db.Levels()
}

func (b *badgerEngine) Close() error {
	err := b.pacer.stop()
	b.mu.Lock()
	defer b.mu.Unlock()
	return errors.Join(err, b.db.Close())
}

func (b *badgerEngine) Stats() perf.Stats {
	now := readBadgerCounters()
	s := perf.Stats{Reads: perf.ReadStats{
		Gets:         now.gets - b.start.gets,
		TablesProbed: now.filterChecks - b.start.filterChecks,
		FilterChecks: now.filterChecks - b.start.filterChecks,
	}}
	b.mu.RLock()
	hits, misses := cacheUse(b.db)
	s.Reads.CacheHits, s.Reads.CacheMisses = b.hits+hits, b.misses+misses
	b.mu.RUnlock()
	s.Reads.BlockReads = s.Reads.CacheMisses // from mapped files
	for level := range now.compaction {
		if n := now.compaction[level] - b.start.compaction[level]; n > 0 {
			s.Writes = append(s.Writes, perf.WriteRow{Cause: "compaction", Level: level, Bytes: n})
		}
	}
	if n := now.blob - b.start.blob; n > 0 {
		s.Writes = append(s.Writes, perf.WriteRow{Cause: "blob", Level: -1, Bytes: n})
	}
	// Its memtables' logs are mapped files, and the tables it flushes are not counted.
	s.Writes = b.kernel.addRest(s.Writes, "wal+flush")
	for _, l := range b.levels() {
		level := perf.LevelStats{Level: l.Level, Tables: l.NumTables, Bytes: l.Size, Runs: min(1, l.NumTables)}
		if l.Level == 0 {
			level.Runs = l.NumTables
		} else if l.TargetSize > 0 && l.Size > l.TargetSize && l.Level < b.opts.MaxLevels-1 {
			s.Debt += l.Size - l.TargetSize
		}
		s.Levels = append(s.Levels, level)
	}
	return s
}

// badgerCounters are Badger's own, summed over every Badger that the process ever opened.
type badgerCounters struct {
	gets, filterChecks, blob int64
	compaction               [8]int64 // by the level written to
}

func readBadgerCounters() (c badgerCounters) {
	c.gets = expvarInt("badger_get_num_user")
	c.blob = expvarInt("badger_write_bytes_vlog")
	c.filterChecks = expvarMap("badger_hit_num_lsm_bloom_filter", "DoesNotHave_ALL")
	for level := range c.compaction {
		c.compaction[level] = expvarMap("badger_write_bytes_compaction", "l"+strconv.Itoa(level))
	}
	return c
}

func expvarInt(name string) int64 {
	if v, ok := expvar.Get(name).(*expvar.Int); ok {
		return v.Value()
	}
	return 0
}

func expvarMap(name, key string) int64 {
	if m, ok := expvar.Get(name).(*expvar.Map); ok {
		if v, ok := m.Get(key).(*expvar.Int); ok {
			return v.Value()
		}
	}
	return 0
}
