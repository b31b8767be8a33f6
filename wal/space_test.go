package wal

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/cambiumdb/cambium/internal/vfs"
)

// TestTrim gives back what is reserved, goes on, and trims again.
func TestTrim(t *testing.T) {
	m := newMem(t)
	fault := vfs.NewFault(m)
	l := newQuiet(t, testOptions(fault), 7)
	size := func(num uint64) int64 {
		info, err := m.Stat(segmentPath(num))
		require.NoError(t, err)
		return info.Size()
	}
	require.NoError(t, l.Trim())
	require.Zero(t, size(7))
	var want [][]byte
	for round := range uint64(4) {
		num := 7 + round
		for i := range uint64(20) {
			want = append(want, recordOf(100*num+i, 100))
			appendCommit(t, l, want[len(want)-1], Policy(i%3))
		}
		require.NoError(t, l.Flush())
		require.Greater(t, size(num), l.current().written, "reserved")
		if round > 0 {
			require.NoError(t, l.Release(num-1))
		}
		if round < 3 {
			require.NoError(t, l.Rotate(num+1, nil))
			want = nil
		}
	}
	names, err := m.List(testDir)
	require.NoError(t, err)
	require.Equal(t, []string{"000009.log", "000010.log"}, names, "one is for recycling")

	remove := fault.Add(vfs.Fail(vfs.OpRemove, 0))
	require.ErrorIs(t, l.Trim(), vfs.ErrInjected)
	remove.Remove()
	cut := fault.Add(vfs.Fail(vfs.OpTruncate, 0))
	require.ErrorIs(t, l.Trim(), vfs.ErrInjected)
	cut.Remove()
	require.NoError(t, l.Err(), "nothing was lost by that")

	require.NoError(t, l.Trim())
	require.Equal(t, l.current().written, size(10))
	for i := range uint64(20) {
		want = append(want, recordOf(2000+i, 3000))
		appendCommit(t, l, want[len(want)-1], PerWrite)
		require.NoError(t, l.Trim())
		require.Equal(t, l.current().written, size(10))
	}
	require.NoError(t, l.shut())
	requireRecords(t, m, 10, want)
	require.ErrorIs(t, l.Trim(), ErrClosed)
}

// TestPreallocation: a segment's file grows in steps, and is cut in the end.
func TestPreallocation(t *testing.T) {
	const mib = 1 << 20
	m := newMem(t)
	opts := testOptions(m)
	opts.SegmentBytes = 20 * mib
	l := newQuiet(t, opts, 7)
	size := func() int64 {
		info, err := m.Stat(l.path(7))
		require.NoError(t, err)
		return info.Size()
	}
	sizes := []int64{size()}
	for range 24 {
		appendCommit(t, l, recordOf(1, mib), PerWrite)
		if n := size() / mib * mib; n != sizes[len(sizes)-1] { // it ends where the writes ended, not the mebibyte
			sizes = append(sizes, n)
		}
	}
	require.Equal(t, []int64{mib, 2 * mib, 4 * mib, 8 * mib, 16 * mib, 20 * mib, 28 * mib}, sizes)
	end := l.current().tail
	require.NoError(t, l.shut())
	require.Equal(t, end, size())
}
