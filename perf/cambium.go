package perf

import (
	"context"
	"errors"

	"github.com/cambiumdb/cambium/engine"
)

// BuiltIn are the engines of this module.
func BuiltIn() Engines { return Engines{"cambium": OpenCambium} }

// OpenCambium opens this module's own engine. It is an Opener.
func OpenCambium(dir string, cfg Config) (Engine, error) {
	opts, err := cambiumOptions(cfg)
	if err != nil {
		return nil, err
	}
	db, err := engine.Open(dir, &opts)
	if err != nil {
		return nil, err
	}
	return &cambium{db: db}, nil
}

// cambiumOptions says a Config in the engine's own words. What a Config leaves at 0 stays the
// engine's default.
func cambiumOptions(cfg Config) (engine.Options, error) {
	o := engine.Options{MemoryBudget: EngineBudget(cfg.Memory), MemtableSize: int64(cfg.Memtable)}
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
		return o, usagef("cambium has no sync %q, compaction %q or compression %q", cfg.Sync, cfg.Compaction, cfg.Compression)
	}
	return o, nil
}

type cambium struct{ db *engine.DB }

func (c *cambium) Put(key, value []byte) error { return c.db.Put(key, value, nil) }

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
		Debt: m.Compaction.Debt,
		Stalls: StallStats{
			Count: m.Stalls.Count, Total: m.Stalls.Total, Longest: m.Stalls.Longest, ByCause: m.Stalls.ByCause,
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
