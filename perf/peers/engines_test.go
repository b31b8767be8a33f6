package peers

import (
	"context"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/cambiumdb/cambium/perf"
)

func smallConfig(engine string) perf.Config {
	c := perf.DefaultConfig()
	c.Engine = engine
	c.Keys, c.ValueSize, c.Ops = 3000, 300, 1500
	c.Memtable, c.Memory = 256<<10, perf.MinMemory
	c.Threads = 2
	return c
}

// everyEngine runs body as a subtest for each engine that was built in.
func everyEngine(t *testing.T, body func(t *testing.T, name string, open perf.Opener)) {
	names := make([]string, 0, len(all))
	for name := range all {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		t.Run(name, func(t *testing.T) { body(t, name, all[name]) })
	}
}

func TestEveryEngineRunsEveryWorkload(t *testing.T) {
	var names []string
	for _, w := range perf.Workloads() {
		names = append(names, w.Name)
	}
	workloads, err := perf.FindWorkloads(names...)
	require.NoError(t, err)
	hashes := map[string]string{} // by workload: the same for every engine
	everyEngine(t, func(t *testing.T, name string, open perf.Opener) {
		c := smallConfig(name)
		b := perf.Bench{Open: open, Config: c}
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		run, err := b.Run(ctx, filepath.Join(t.TempDir(), "db"), workloads)
		require.NoError(t, err)
		for _, p := range run.Phases {
			require.Empty(t, p.Problems, p.Workload)
			require.NotZero(t, p.Ops)
			if was, ok := hashes[p.Workload]; ok {
				require.Equal(t, was, p.StreamHash, p.Workload)
			}
			hashes[p.Workload] = p.StreamHash
			if p.Settled != nil {
				require.NotZero(t, p.Settled.Rows, "%s: bytes by cause", p.Workload)
			}
			if p.Workload == "readrandom" {
				require.EqualValues(t, p.Ops, p.Reads.Gets)
				if !strings.HasPrefix(name, "pebble") || name == "pebble-filtered" { // its Get leaves those of the last level out
					require.NotZero(t, p.Reads.FilterChecks, "filters are used")
				}
			}
		}
		last := run.Phases[len(run.Phases)-1]
		require.NotZero(t, last.Space.Tables)
		require.NotZero(t, last.Runs.End)
		// Without syncs the rest of the kernel's count is small: whole pages, and the manifest.
		whole := run.Whole.Writes
		for _, row := range whole.Rows {
			if row.Reason == restReason && row.Cause == "pages" {
				t.Logf("written %d, of these %d not counted by the engine", whole.Total, row.Bytes)
				require.Less(t, row.Bytes, whole.Total/10+1<<20)
			}
		}
	})
}

// Every policy and every compression takes writes, and closing keeps them.
func TestEveryEngineKeepsWrites(t *testing.T) {
	everyEngine(t, func(t *testing.T, name string, open perf.Opener) {
		for _, set := range []struct {
			sync, compression string
			keys              int64
		}{
			{"per-write", "default", 40}, // each write waits for the device
			{"per-second", "none", 400},
			{"none", "snappy", 400},
			{"none", "zstd", 400},
		} {
			c := smallConfig(name)
			c.Sync, c.Compression, c.Keys = set.sync, set.compression, set.keys
			keepsWrites(t, open, c)
		}
	})
}

func keepsWrites(t *testing.T, open perf.Opener, c perf.Config) {
	t.Helper()
	dir := t.TempDir()
	e, err := open(dir, c)
	require.NoError(t, err)
	values := perf.NewValues(c.Seed, c.Compressible)
	key := func(i int64) []byte { return perf.AppendKey(nil, c.KeySize, i, false) }
	value := make([]byte, c.ValueSize)
	for i := range c.Keys {
		values.Fill(value, i, 1)
		require.NoError(t, e.Put(key(i), value))
	}
	require.NoError(t, e.Apply([]perf.Op{{Key: key(0), Delete: true}, {Key: []byte("more"), Value: []byte("x")}}))
	require.NoError(t, e.Delete(key(1)))
	require.NoError(t, e.Delete([]byte("never there")))
	require.NoError(t, e.Close())

	e, err = open(dir, c)
	require.NoError(t, err)
	for _, settled := range []bool{false, true} {
		for i := range c.Keys {
			found, err := e.Get(key(i), func(v []byte) { require.NoError(t, values.Check(v, i)) })
			require.NoError(t, err)
			require.Equal(t, i > 1, found, "settled %v", settled)
		}
		n, err := e.Scan(nil, 1<<30, func(_, _ []byte) {})
		require.NoError(t, err)
		require.EqualValues(t, c.Keys-1, n)
		var seen []string
		n, err = e.Scan(key(10), 3, func(k, v []byte) { seen = append(seen, string(k)) })
		require.NoError(t, err)
		require.Equal(t, 3, n)
		require.Equal(t, []string{string(key(10)), string(key(11)), string(key(12))}, seen)
		if !settled {
			require.NoError(t, e.Settle(context.Background()))
		}
	}
	require.NoError(t, e.Close())
}

func TestEnginesRefuseWhatTheyDoNotHave(t *testing.T) {
	everyEngine(t, func(t *testing.T, name string, open perf.Opener) {
		c := smallConfig(name)
		c.Compaction = "lazy"
		_, err := open(t.TempDir(), c)
		require.ErrorContains(t, err, `"lazy"`)
		c = smallConfig(name)
		c.Compression = "brotli"
		_, err = open(t.TempDir(), c)
		require.ErrorContains(t, err, `"brotli"`)
	})
}

func TestFairnessHasEveryCell(t *testing.T) {
	engines := []string{"cambium"}
	for name := range all {
		engines = append(engines, name)
	}
	for _, sync := range []string{"per-write", "per-second", "none"} {
		c := perf.DefaultConfig()
		c.Sync = sync
		rows := Fairness(c, engines)
		for _, row := range rows {
			for _, e := range engines {
				if row.Name != "not measured" || e != "cambium" {
					require.NotEmpty(t, row.Values[e], "%s of %s", row.Name, e)
				}
			}
		}
		at := slices.IndexFunc(rows, func(c perf.Condition) bool { return c.Name == "sync" })
		require.Equal(t, sync == "per-write", strings.Contains(rows[at].Values["pebble"], "each write is on the device"))
	}
	for _, tell := range settings {
		for _, s := range tell(perf.DefaultConfig()) {
			require.Contains(t, fairnessRows, s.Name, "a condition that no row shows")
		}
	}
}

func TestShares(t *testing.T) {
	c := perf.DefaultConfig()
	s := shareOf(c)
	require.EqualValues(t, 1<<30, s.budget)
	require.EqualValues(t, 64<<20, s.memtable)
	require.Equal(t, 4, s.memtables)
	require.EqualValues(t, 256<<20, s.firstLevel)
	require.EqualValues(t, 640<<20, s.cache)

	c.Memory = perf.MinMemory
	s = shareOf(c)
	require.EqualValues(t, s.budget/4, s.memtable, "at most a quarter")
	require.Equal(t, 2, s.memtables)
	require.LessOrEqual(t, s.cache+int64(s.memtables)*s.memtable, s.budget)

	c.Memory, c.Memtable = 1<<30, 4<<20
	require.EqualValues(t, 16<<20, shareOf(c).firstLevel)
}

// What -same-memory gives a peer is what cambium takes.
func TestSameMemory(t *testing.T) {
	for _, c := range []struct{ memory, memtable perf.Size }{
		{1 << 30, 4 << 20}, {1 << 30, 0}, {512 << 20, 64 << 20}, {perf.MinMemory, 256 << 10}, {perf.MinMemory, 8 << 20},
	} {
		cfg := perf.DefaultConfig()
		cfg.Memory, cfg.Memtable = c.memory, c.memtable
		s := sameMemoryOf(cfg)
		db, err := perf.OpenCambium(t.TempDir(), cfg)
		require.NoError(t, err)
		require.Equal(t, db.Stats().FlushBytes, s.flushBytes(), "%+v", c)
		require.NoError(t, db.Close())
		require.LessOrEqual(t, s.memtableBytes(), s.budget/2)
		require.LessOrEqual(t, s.cache+s.memtableBytes(), s.budget)
	}
	c := perf.DefaultConfig()
	c.Memtable = 4 << 20
	s := sameMemoryOf(c)
	require.Equal(t, []int{33, 16}, []int{s.memtables, s.together})
	require.EqualValues(t, 256<<20, s.firstLevel)
}
