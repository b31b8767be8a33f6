package engine

import (
	"context"
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/cambiumdb/cambium/compaction"
	"github.com/cambiumdb/cambium/internal/filename"
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
	db, err := Open("db", &Options{FS: fault, MemoryBudget: MinMemoryBudget, MemtableSize: 64 << 10, ValueThreshold: 300})
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
	require.ErrorContains(t, db.runPlan(version, plan), "no reservation")
	require.Equal(t, before, dataFiles(t, mem))

	version = db.set.Current()
	plan = compaction.Manual(version, nil, nil, 0)
	require.True(t, db.reservations.Reserve(plan))
	fault.Add(vfs.Rule{Ops: vfs.OpSync, Path: "MANIFEST-*", Err: vfs.ErrInjected})
	require.ErrorIs(t, db.runPlan(version, plan), vfs.ErrInjected)
	require.True(t, db.set.InDoubt())
	require.Greater(t, len(dataFiles(t, mem)), len(before), "the edit may be in effect after a crash")
	fault.Clear()
	require.NoError(t, db.settleManifest())
	require.NoError(t, db.WaitIdle(context.Background()))
	require.Equal(t, before, dataFiles(t, mem))
	require.NoError(t, db.Close())
}
