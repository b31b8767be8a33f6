package perf

import (
	"context"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestCambiumRunsEveryWorkload(t *testing.T) {
	var names []string
	for _, w := range Workloads() {
		names = append(names, w.Name)
	}
	workloads, err := FindWorkloads(names...)
	require.NoError(t, err)
	c := smallConfig()
	c.Keys, c.ValueSize, c.Memtable, c.Memory = 4000, 300, 64<<10, MinMemory
	c.Compressible = 1
	for _, sync := range syncNames {
		c.Sync = sync
		if sync == "per-write" {
			c.Keys = 400 // each write waits for the device
		}
		b := Bench{Open: OpenCambium, Config: c}
		dir := filepath.Join(t.TempDir(), "db")
		run, err := b.Run(context.Background(), dir, workloads)
		require.NoError(t, err)
		require.Empty(t, run.problems(), sync)
		for _, p := range run.Phases {
			require.NotZero(t, p.Ops)
			if p.Settled != nil {
				require.Greater(t, p.Settled.Factor, 1.0, "%s: the log and the tables", p.Workload)
				require.NotZero(t, p.Settled.Rows)
			}
		}
		require.NotZero(t, run.Whole.Writes.Total)

		again, err := b.Run(context.Background(), dir, workloads[3:4])
		require.NoError(t, err)
		require.Empty(t, again.problems())
		require.Equal(t, "readrandom", again.Phases[0].Workload, "the keys are found again")
		require.EqualValues(t, again.Phases[0].Ops, again.Phases[0].Reads.Gets)
	}
}

func TestCambiumValuesSurviveUnchanged(t *testing.T) {
	c := smallConfig()
	c.Keys, c.Memtable, c.Memory = 3000, 64<<10, MinMemory
	workloads, err := FindWorkloads("fillrandom,overwrite")
	require.NoError(t, err)
	b := Bench{Open: OpenCambium, Config: c}
	dir := t.TempDir()
	_, err = b.Run(context.Background(), dir, workloads)
	require.NoError(t, err)

	e, err := OpenCambium(dir, c)
	require.NoError(t, err)
	values := NewValues(c.Seed, c.Compressible)
	for i := range c.Keys {
		found, err := e.Get(AppendKey(nil, c.KeySize, i, false), func(v []byte) {
			require.NoError(t, values.Check(v, i))
		})
		require.NoError(t, err)
		require.True(t, found)
	}
	require.NoError(t, e.Apply([]Op{
		{Key: AppendKey(nil, c.KeySize, 0, false), Delete: true},
		{Key: []byte("more"), Value: []byte("x")},
	}))
	require.NoError(t, e.Delete(AppendKey(nil, c.KeySize, 1, false)))
	n, err := e.Scan(nil, 1<<30, func(_, _ []byte) {})
	require.NoError(t, err)
	require.EqualValues(t, c.Keys-1, n)
	n, err = e.Scan(AppendKey(nil, c.KeySize, 10, false), 7, func(_, _ []byte) {})
	require.NoError(t, err)
	require.Equal(t, 7, n)
	require.NoError(t, e.Close())
}

func TestCambiumLoadAndWriteAmp(t *testing.T) {
	c := smallConfig()
	c.Memtable, c.Memory = 256<<10, MinMemory
	b := Bench{Open: OpenCambium, Config: c}
	run, err := b.Load(context.Background(), t.TempDir(), func() (PairSource, error) { return GeneratePairs(3000, 1), nil }, true)
	require.NoError(t, err)
	require.Empty(t, run.problems())
	require.True(t, run.DataSet.Verified)

	b.Config.Keys = 5000
	b.Config.Compression = "none"
	run, err = b.WriteAmp(context.Background(), t.TempDir(), "overwrite-zipfian")
	require.NoError(t, err)
	require.Empty(t, run.problems())
	var out strings.Builder
	NewText(&out).WriteAmp([]Run{run})
	require.Contains(t, out.String(), "cambium/leveled")
	require.Contains(t, out.String(), "overwrite")
}

func TestCambiumOptionsKnowEveryName(t *testing.T) {
	for _, sync := range syncNames {
		for _, compaction := range compactionNames {
			for _, compression := range compressionNames {
				c := DefaultConfig()
				c.Sync, c.Compaction, c.Compression = sync, compaction, compression
				o, err := cambiumOptions(c)
				require.NoError(t, err)
				require.Equal(t, sync, o.Sync.String())
				require.Equal(t, compaction, o.Compaction.String())
				require.Equal(t, compression, o.Compression.String())
			}
		}
	}
	c := DefaultConfig()
	c.Sync = "sometimes"
	_, err := cambiumOptions(c)
	require.ErrorContains(t, err, "sometimes")
}

func TestCambiumOptions(t *testing.T) {
	c := DefaultConfig()
	c.CompactionRate, c.MaxStall, c.ValueThreshold = 3<<20, 7*time.Second, 5000
	o, err := cambiumOptions(c)
	require.NoError(t, err)
	require.Equal(t, int64(3<<20), o.CompactionRate)
	require.Equal(t, 7*time.Second, o.MaxStall)
	require.Equal(t, int64(5000), o.ValueThreshold)
}
