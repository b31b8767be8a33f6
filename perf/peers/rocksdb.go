//go:build cgo && !norocksdb

package peers

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/linxGnu/grocksdb"

	"github.com/cambiumdb/cambium/perf"
)

// rocksVariant is one way to run RocksDB; each has a name of its own. --compaction tiered is its
// universal compaction.
type rocksVariant struct {
	direct     bool // reads, flushes and compactions without the kernel's page cache
	sameMemory bool // memtables take as much as cambium's, and as many are flushed together
}

func init() {
	for name, v := range map[string]rocksVariant{
		"rocksdb":             {},
		"rocksdb-direct":      {direct: true},
		"rocksdb-same-memory": {sameMemory: true},
	} {
		all[name], settings[name] = v.open, v.settings
	}
}

func (v rocksVariant) share(cfg perf.Config) share {
	if v.sameMemory {
		return sameMemoryOf(cfg)
	}
	return shareOf(cfg)
}

type rocksEngine struct {
	db     *grocksdb.DB
	opts   *grocksdb.Options
	table  *grocksdb.BlockBasedTableOptions
	cache  *grocksdb.Cache
	write  *grocksdb.WriteOptions
	read   *grocksdb.ReadOptions
	ledger rocksLedger
	kernel kernelCount
	pacer  *pacer

	flushBytes int64 // of memtables that become one table
}

func (v rocksVariant) open(dir string, cfg perf.Config) (perf.Engine, error) {
	err := errors.Join(
		needOneOf("rocksdb", "--compaction", cfg.Compaction, "leveled", "tiered"),
		needOneOf("rocksdb", "--compression", cfg.Compression, "default", "none", "snappy", "zstd"),
	)
	if err != nil {
		return nil, err
	}
	s := v.share(cfg)
	r := &rocksEngine{
		opts:  grocksdb.NewDefaultOptions(),
		table: grocksdb.NewDefaultBlockBasedTableOptions(),
		cache: grocksdb.NewLRUCache(uint64(s.cache)),
		write: grocksdb.NewDefaultWriteOptions(),
		read:  grocksdb.NewDefaultReadOptions(),

		kernel: countKernel(), flushBytes: s.flushBytes(),
	}
	r.table.SetBlockCache(r.cache)
	r.table.SetFormatVersion(5)
	r.table.SetFilterPolicy(grocksdb.NewBloomFilterFull(10))
	r.table.SetCacheIndexAndFilterBlocks(true)
	r.table.SetCacheIndexAndFilterBlocksWithHighPriority(true)
	r.table.SetPinL0FilterAndIndexBlocksInCache(true)
	v.configure(r.opts, s, cfg)
	r.opts.SetBlockBasedTableFactory(r.table)
	r.ledger = attachLedger(r.opts)
	if r.db, err = grocksdb.OpenDb(r.opts, dir); err != nil {
		r.release()
		return nil, err
	}
	switch cfg.Sync {
	case "per-write":
		r.write.SetSync(true)
	case "per-second":
		r.pacer = startPacer(500*time.Millisecond, func() error { return r.db.FlushWAL(true) })
	case "none":
		r.pacer = startPacer(time.Second, func() error { return r.db.FlushWAL(false) })
	}
	return r, nil
}

// configure says a Config in RocksDB's words.
func (v rocksVariant) configure(o *grocksdb.Options, s share, cfg perf.Config) {
	o.SetCreateIfMissing(true)
	o.SetWriteBufferSize(uint64(s.memtable))
	o.SetMaxWriteBufferNumber(s.memtables)
	o.SetMinWriteBufferNumberToMerge(s.together)
	o.SetMaxBackgroundJobs(s.compactions + 1) // RocksDB keeps one of up to seven for flushes
	o.SetMaxOpenFiles(-1)
	o.SetBytesPerSync(1 << 20)
	// The log is buffered until 1 MiB or the next beat of the pacer, as cambium's is.
	o.SetManualWALFlush(cfg.Sync != "per-write")
	o.SetUseDirectReads(v.direct)
	o.SetUseDirectIOForFlushAndCompaction(v.direct)

	if cfg.Compaction == "tiered" {
		o.SetCompactionStyle(grocksdb.UniversalCompactionStyle)
		o.SetUniversalCompactionOptions(grocksdb.NewDefaultUniversalCompactionOptions())
	} else {
		o.SetLevelCompactionDynamicLevelBytes(true)
		o.SetMaxBytesForLevelBase(uint64(s.firstLevel))
		o.SetTargetFileSizeBase(uint64(s.flushBytes()))
	}
	switch cfg.Compression {
	case "default":
		o.SetCompression(grocksdb.SnappyCompression)
		o.SetBottommostCompression(grocksdb.ZSTDCompression)
	case "none":
		o.SetCompression(grocksdb.NoCompression)
	case "snappy":
		o.SetCompression(grocksdb.SnappyCompression)
	case "zstd":
		o.SetCompression(grocksdb.ZSTDCompression)
	}
}

func (r *rocksEngine) Put(key, value []byte) error {
	return errors.Join(r.db.Put(r.write, key, value), r.pacer.mark())
}

func (r *rocksEngine) Delete(key []byte) error {
	return errors.Join(r.db.Delete(r.write, key), r.pacer.mark())
}

func (r *rocksEngine) Apply(ops []perf.Op) error {
	b := grocksdb.NewWriteBatch()
	defer b.Destroy()
	for _, op := range ops {
		if op.Delete {
			b.Delete(op.Key)
		} else {
			b.Put(op.Key, op.Value)
		}
	}
	return errors.Join(r.db.Write(r.write, b), r.pacer.mark())
}

func (r *rocksEngine) Get(key []byte, use func([]byte)) (bool, error) {
	v, err := r.db.GetPinned(r.read, key)
	if err != nil || !v.Exists() {
		return false, err
	}
	defer v.Destroy()
	use(v.Data())
	return true, nil
}

func (r *rocksEngine) Scan(start []byte, limit int, visit func(key, value []byte)) (int, error) {
	it := r.db.NewIterator(r.read)
	defer it.Close()
	n := 0
	if start == nil {
		it.SeekToFirst()
	} else {
		it.Seek(start)
	}
	for ; it.Valid(); it.Next() {
		visit(it.Key().Data(), it.Value().Data())
		if n++; n == limit {
			break
		}
	}
	return n, it.Err()
}

func (r *rocksEngine) Settle(ctx context.Context) error {
	flush := grocksdb.NewDefaultFlushOptions()
	defer flush.Destroy()
	if err := r.db.Flush(flush); err != nil {
		return err
	}
	return waitIdle(ctx, func() bool {
		// Not compaction-pending: universal compaction may call a tree overdue and find nothing to do.
		for _, name := range []string{
			"rocksdb.mem-table-flush-pending", "rocksdb.num-running-flushes", "rocksdb.num-running-compactions",
		} {
			if n, _ := r.db.GetIntProperty(name); n != 0 {
				return false
			}
		}
		return true
	})
}

func (r *rocksEngine) Stats() perf.Stats {
	s := r.ledger.stats()
	s.FlushBytes = r.flushBytes
	s.Writes = r.kernel.addRest(s.Writes, "pages")
	debt, _ := r.db.GetIntProperty("rocksdb.estimate-pending-compaction-bytes")
	s.Debt = int64(debt)
	tree := r.db.GetColumnFamilyMetadata()
	for _, l := range tree.LevelMetas() {
		level := perf.LevelStats{Level: l.Level(), Tables: len(l.SstMetas()), Bytes: int64(l.Size())}
		if level.Runs = min(1, level.Tables); level.Level == 0 {
			level.Runs = level.Tables
		}
		s.Levels = append(s.Levels, level)
	}
	return s
}

// Close flushes the log, which RocksDB's own close does not do when told to keep it in memory.
func (r *rocksEngine) Close() error {
	err := errors.Join(r.pacer.stop(), r.db.FlushWAL(true))
	r.db.Close()
	r.release()
	return err
}

func (r *rocksEngine) release() {
	r.read.Destroy()
	r.write.Destroy()
	r.opts.Destroy()
	r.table.Destroy()
	r.cache.Destroy()
	r.ledger.free()
}

// rocksVersion is what the build was made for; the binding fits this release only.
const rocksVersion = "7.8"

func (v rocksVariant) settings(cfg perf.Config) []Setting {
	s := v.share(cfg)
	files, style, size := "the kernel's page cache beside its own", "leveled, dynamic level sizes (tiered: universal, its defaults)", perf.Bytes(s.flushBytes())
	if v.direct {
		files = "direct I/O"
	}
	if cfg.Compaction == "tiered" {
		style, size = "universal, its defaults", "one sorted run"
	}
	list := append(common(s),
		Setting{"version", rocksVersion + " through grocksdb " + moduleVersion("github.com/linxGnu/grocksdb")},
		Setting{"written in", "C++; a call costs about 0.1 µs more from Go"},
		guarantee(cfg.Sync, "synced every 500 ms from outside; a write never waits", "the log is written after 1 MiB or 1 s"),
		Setting{"filters and indexes", "in the cache at high priority; those of L0 pinned"},
		Setting{"filter", "Bloom, 10 bits a key, every level"},
		Setting{"compression", classOf(cfg, "snappy; zstd 3 in the last level")},
		Setting{"large values", "in tables, its default"},
		Setting{"files", files},
		Setting{"log", "page cache"},
		Setting{"compaction", style},
		Setting{"table size", size},
		Setting{"background", fmt.Sprintf("1 flush and %d compactions", s.compactions)},
		Setting{"stops writes", "its default: slows at 20 L0 files, stops at 36"},
		Setting{"not measured", "manifest and log pages written again or never (the rest of the kernel's count), the longest single stall; blocks read are cache misses; timers and histograms are off"},
	)
	if cfg.Compaction == "tiered" {
		list = append(list, Setting{"first level", "none"})
	}
	return list
}
