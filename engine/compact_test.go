package engine

import (
	"context"
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/cambiumdb/cambium/compaction"
	"github.com/cambiumdb/cambium/internal/filename"
	"github.com/cambiumdb/cambium/internal/manifest"
	"github.com/cambiumdb/cambium/internal/vfs"
)

// dataFiles are the tables and blob files in the directory.
func dataFiles(t *testing.T, fs vfs.FS) (out []string) {
	names, err := fs.List("db")
	require.NoError(t, err)
	for _, name := range names {
		if kind, _, ok := filename.Parse(name); ok && (kind == filename.Table || kind == filename.Blob) {
			out = append(out, name)
		}
	}
	return out
}

// TestOutputsOfAFailedCompactionGo: what a compaction has written and cannot install is removed at
// once, or, where the manifest may name it after a crash, as soon as that is settled.
func TestOutputsOfAFailedCompactionGo(t *testing.T) {
	mem := vfs.NewMem()
	fault := vfs.NewFault(mem)
	db, err := Open("db", FlushOften(Options{FS: fault, MemoryBudget: MinMemoryBudget, MemtableSize: 64 << 10, ValueThreshold: 300}))
	require.NoError(t, err)
	for round := range 3 {
		for i := range 50 {
			require.NoError(t, db.Put(fmt.Appendf(nil, "k%02d", i), make([]byte, 100+10*i+round), nil))
		}
		require.NoError(t, db.Flush())
	}
	require.NoError(t, db.WaitIdle(context.Background()))
	before := dataFiles(t, mem)

	version := db.set.Current()
	plan := compaction.Manual(version, nil, nil, 0)
	require.ErrorContains(t, db.runPlan(job{version, plan, 1}), "no reservation")
	require.Equal(t, before, dataFiles(t, mem))

	version = db.set.Current()
	plan = compaction.Manual(version, nil, nil, 0)
	require.True(t, db.reservations.Reserve(plan))
	fault.Add(vfs.Rule{Ops: vfs.OpSync, Path: "MANIFEST-*", Err: vfs.ErrInjected})
	require.ErrorIs(t, db.runPlan(job{version, plan, 1}), vfs.ErrInjected)
	require.True(t, db.set.InDoubt())
	require.Greater(t, len(dataFiles(t, mem)), len(before), "the edit may be in effect after a crash")
	fault.Clear()
	require.NoError(t, db.settleManifest())
	require.NoError(t, db.WaitIdle(context.Background()))
	require.Equal(t, before, dataFiles(t, mem))
	require.NoError(t, db.Close())
}

// TestIdleWorkersShareALargePlan: a plan takes the workers for whom there is no other one, as many as
// it has work for, and gives them back.
func TestIdleWorkersShareALargePlan(t *testing.T) {
	mem := vfs.NewMem()
	db, err := Open("db", FlushOften(Options{FS: mem, MemoryBudget: MinMemoryBudget, MemtableSize: 64 << 10, CompactionThreads: 4, Compression: NoCompression}))
	require.NoError(t, err)
	of := func(mib uint64) *compaction.Plan {
		return &compaction.Plan{Inputs: []compaction.Input{{Level: 0, Tables: []*manifest.Table{{Size: mib << 20}}}}, Output: 6}
	}
	db.mu.Lock()
	bg := &db.background
	for _, c := range []struct {
		busy int
		mib  uint64
		want int
	}{{1, 1, 0}, {1, 5, 1}, {1, 100, 3}, {3, 100, 1}, {4, 100, 0}} {
		bg.compacting = c.busy
		require.Equal(t, c.want, db.claimWorkers(of(c.mib)), "%+v", c)
		require.Equal(t, c.busy+c.want, bg.compacting)
	}
	bg.compacting = 0
	db.mu.Unlock()

	const n = 10_000
	for i := range n {
		require.NoError(t, db.Put(fmt.Appendf(nil, "k%05d", i*7919%n), fmt.Appendf(nil, "%d %01000d", i, 0), &WriteOptions{Sync: SyncNone}))
	}
	require.NoError(t, db.Compact(nil, nil))
	require.NoError(t, db.WaitIdle(context.Background()))
	db.mu.Lock()
	require.Zero(t, bg.compacting)
	db.mu.Unlock()
	i := 0
	for k := range db.All(nil) {
		require.Equal(t, fmt.Sprintf("k%05d", i), string(k))
		i++
	}
	require.Equal(t, n, i)
	require.NoError(t, db.Close())
	report, err := CheckWith(context.Background(), "db", &Options{FS: mem}, nil)
	require.NoError(t, err)
	require.Empty(t, report.Problems)
}
