package vfs_test

import (
	"errors"
	"io"
	"io/fs"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/cambiumdb/cambium/internal/vfs"
)

// everyOperation calls each operation once and returns the error of each.
func everyOperation(f vfs.FS) map[vfs.Op]error {
	buf := vfs.AlignedBuffer(4096)
	errs := map[vfs.Op]error{}
	errs[vfs.OpMkdir] = f.MkdirAll("dir")
	file, err := f.Create("dir/f", vfs.Direct)
	if errs[vfs.OpCreate] = err; err == nil {
		_, errs[vfs.OpWrite] = file.WriteAt(buf, 0)
		_, errs[vfs.OpRead] = file.ReadAt(buf, 0)
		errs[vfs.OpTruncate] = file.Truncate(10)
		errs[vfs.OpPreallocate] = file.Preallocate(10)
		errs[vfs.OpPunchHole] = file.PunchHole(0, vfs.HoleUnit)
		errs[vfs.OpSync] = file.Sync()
		_, sizeErr := file.Size()
		errs[vfs.OpClose] = file.Close()
		_, statErr := f.Stat("dir/f")
		_, freeErr := f.Free("dir")
		errs[vfs.OpStat] = errors.Join(sizeErr, statErr, freeErr)
	}
	opened, openErr := f.Open("dir/f", vfs.Direct)
	again, againErr := f.OpenReadWrite("dir/f", vfs.Direct)
	errs[vfs.OpOpen] = errors.Join(openErr, againErr)
	for _, file := range []vfs.File{opened, again} {
		if file != nil {
			_ = file.Close()
		}
	}
	errs[vfs.OpLink] = f.Link("dir/f", "dir/g")
	errs[vfs.OpRename] = f.Rename("dir/f", "dir/h")
	errs[vfs.OpRemove] = f.Remove("dir/h")
	_, errs[vfs.OpList] = f.List("dir")
	lock, err := f.Lock("dir/LOCK")
	if errs[vfs.OpLock] = err; err == nil {
		_ = lock.Close()
	}
	errs[vfs.OpSyncDir] = f.SyncDir("dir")
	return errs
}

// TestFaultEveryOperation fails each kind alone: that kind returns the error, and no other does
// but where it needs the one that failed.
func TestFaultEveryOperation(t *testing.T) {
	for op, err := range everyOperation(vfs.NewFault(vfs.NewMem())) {
		require.NoError(t, err, "%b", op)
	}
	for op := vfs.Op(1); op < vfs.OpAny; op <<= 1 {
		fault := vfs.NewFault(vfs.NewMem())
		rule := fault.Add(vfs.Rule{Ops: op, Err: vfs.ErrNoSpace, Forever: true})
		errs := everyOperation(fault)
		require.ErrorIs(t, errs[op], vfs.ErrNoSpace, "%b", op)
		require.ErrorContains(t, errs[op], "dir")
		require.Positive(t, rule.Hits())
		require.Equal(t, rule.Calls(), rule.Hits())
		for other, err := range errs {
			if other != op {
				require.NotErrorIs(t, err, vfs.ErrNoSpace, "%b while %b fails", other, op)
			}
		}
		require.Equal(t, op != vfs.OpMkdir && op != vfs.OpCreate, errs[vfs.OpOpen] == nil || op == vfs.OpOpen)
	}
}

func TestFaultMatching(t *testing.T) {
	fault := vfs.NewFault(vfs.NewMem())
	try := func(name string) error {
		f, err := fault.Create(name, vfs.Buffered)
		if err == nil {
			require.NoError(t, f.Close())
		}
		return err
	}
	require.NoError(t, fault.MkdirAll("db"))
	steps := []struct {
		rule vfs.Rule
		name string
		want []bool // whether each of the calls fails
	}{
		{vfs.Fail(vfs.OpCreate, 0), "f", []bool{true, false, false}},
		{vfs.Fail(vfs.OpCreate, 2), "f", []bool{false, false, true, false}},
		{vfs.Fail(vfs.OpChange, 1), "f", []bool{false, true, false}},
		{vfs.Fail(0, 0), "f", []bool{true, false}},
		{vfs.Fail(vfs.OpOpen|vfs.OpSync, 0), "f", []bool{false, false}},
		{vfs.Rule{Err: vfs.ErrNoSpace, Ops: vfs.OpCreate, Skip: 1, Forever: true}, "f", []bool{false, true, true, true}},
		{vfs.Rule{Err: vfs.ErrInjected, Path: "*.log"}, "db/1.log", []bool{true, false}},
		{vfs.Rule{Err: vfs.ErrInjected, Path: "*.log"}, "db/1.sst", []bool{false}},
		{vfs.Rule{Err: vfs.ErrInjected, Path: "db/*"}, "db/1.sst", []bool{true, false}},
		{vfs.Rule{Err: vfs.ErrInjected, Path: "db/*"}, "f", []bool{false}},
		{vfs.Rule{Err: vfs.ErrInjected, Match: func(op vfs.Op, name string) bool {
			return op == vfs.OpCreate && strings.HasSuffix(name, "1.sst")
		}}, "db/1.sst", []bool{true, false}},
		{vfs.Rule{Ops: vfs.OpCreate}, "f", []bool{false, false}},
	}
	for i, step := range steps {
		rule := fault.Add(step.rule)
		for n, fails := range step.want {
			err := try(step.name)
			require.Equal(t, fails, err != nil, "step %d, call %d", i, n)
		}
		rule.Remove()
		require.NoError(t, try(step.name))
	}
	require.Panics(t, func() { fault.Add(vfs.Rule{Path: "["}) })

	counting, acting := fault.Add(vfs.Rule{Ops: vfs.OpCreate}), fault.Add(vfs.Fail(vfs.OpCreate, 1))
	late := fault.Add(vfs.Rule{Ops: vfs.OpCreate, Skip: 1, Err: vfs.ErrNoSpace})
	require.NoError(t, try("f"))
	require.ErrorIs(t, try("f"), vfs.ErrInjected)
	require.Equal(t, []int{2, 0, 2, 1, 2, 0},
		[]int{counting.Calls(), counting.Hits(), acting.Calls(), acting.Hits(), late.Calls(), late.Hits()})
	fault.Clear()
	require.NoError(t, try("f"))
	require.Equal(t, 2, counting.Calls())
}

func TestFaultDelay(t *testing.T) {
	fault := vfs.NewFault(vfs.NewMem())
	var slept []time.Duration
	fault.SetSleep(func(d time.Duration) { slept = append(slept, d) })
	fault.Add(vfs.Rule{Ops: vfs.OpList, Delay: time.Hour, Forever: true, Skip: 1})
	for range 3 {
		_, err := fault.List("/")
		require.NoError(t, err, "late is not wrong")
	}
	require.Equal(t, []time.Duration{time.Hour, time.Hour}, slept)
}

func TestFaultShort(t *testing.T) {
	modes(t, func(t *testing.T, mode vfs.Mode) {
		fault := vfs.NewFault(vfs.NewMem())
		f, err := fault.Create("f", mode)
		require.NoError(t, err)
		content := vfs.AlignedBuffer(3 * 4096)
		copy(content, pattern(len(content)))
		half := len(content) / 2
		if f.Direct() {
			half = 4096 // whole units
		}
		fault.Add(vfs.Rule{Ops: vfs.OpWrite, Short: true})
		n, err := f.WriteAt(content, 0)
		require.ErrorIs(t, err, vfs.ErrInjected)
		require.Equal(t, half, n)
		size, err := f.Size()
		require.NoError(t, err)
		require.EqualValues(t, half, size, "that half was written")
		_, err = f.WriteAt(content, 0)
		require.NoError(t, err)

		fault.Add(vfs.Rule{Ops: vfs.OpRead, Short: true, Err: io.EOF})
		got := vfs.AlignedBuffer(len(content))
		n, err = f.ReadAt(got, 0)
		require.Equal(t, io.EOF, err, "bare, as readers compare it")
		require.Equal(t, content[:half], got[:n])
		require.NoError(t, f.Close())
	})
}

func TestFaultSyncDoesNotReachTheDevice(t *testing.T) {
	m := vfs.NewMem()
	fault := vfs.NewFault(m)
	f, err := fault.Create("f", vfs.Buffered)
	require.NoError(t, err)
	require.NoError(t, fault.SyncDir("/"))
	_, err = f.WriteAt([]byte("x"), 0)
	require.NoError(t, err)
	fault.Add(vfs.Fail(vfs.OpSync, 0))
	require.ErrorIs(t, f.Sync(), vfs.ErrInjected)
	require.Zero(t, fault.Resyncs())
	require.Empty(t, place{m.CrashLoseUnsynced(), "/"}.read(t, "f", vfs.Buffered))
	require.NoError(t, f.Sync())
	require.Equal(t, 1, fault.Resyncs(), "Sync after a failed Sync")
	g, err := fault.Open("f", vfs.Buffered)
	require.NoError(t, err)
	require.NoError(t, g.Sync())
	require.Equal(t, 1, fault.Resyncs(), "another open file")
	require.NoError(t, g.Close())

	fault.Add(vfs.Fail(vfs.OpClose, 0))
	require.ErrorIs(t, f.Close(), vfs.ErrInjected)
	require.ErrorIs(t, f.Close(), fs.ErrClosed, "it was closed all the same")
}
