package memtable

import (
	"fmt"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/cambiumdb/cambium/internal/rangedel"
)

func TestRangeDelsModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := New(Options{})
		defer m.Unref()
		require.Nil(t, m.RangeDels())
		var all []rangedel.Tombstone
		n := rapid.IntRange(0, 150).Draw(t, "n")
		for i := range n {
			key := rapid.SliceOfN(rapid.SampledFrom([]byte("abc")), 0, 2)
			start, end, seq := key.Draw(t, "start"), key.Draw(t, "end"), rapid.Uint64Range(0, 9).Draw(t, "seq")
			all = append(all, rangedel.Tombstone{Start: append([]byte{}, start...), End: append([]byte{}, end...), Seq: seq})
			m.AddRangeDelete(start, end, seq)
			clear(start) // copied, not kept
			clear(end)
			if i%10 == 0 {
				user, at := key.Draw(t, "user"), rapid.Uint64Range(0, 10).Draw(t, "at")
				want, wantOK := rangedel.Fragment(all).Cover(user, at)
				seq, ok := m.Cover(user, at)
				require.Equal(t, wantOK, ok)
				require.Equal(t, want, seq)
			}
			if i%37 == 0 {
				require.Equal(t, rangedel.Fragment(all).String(), m.RangeDels().String())
			}
		}
		require.Equal(t, n, m.Count())
		require.Equal(t, rangedel.Fragment(all).String(), m.RangeDels().String())
	})
}

// TestRangeDelsUnchanged checks that the list is made once.
func TestRangeDelsUnchanged(t *testing.T) {
	m := New(Options{})
	defer m.Unref()
	m.AddRangeDelete([]byte("a"), []byte("b"), 1)
	require.False(t, m.Empty())
	require.Positive(t, m.Bytes())
	first := m.RangeDels()
	require.Zero(t, testing.AllocsPerRun(10, func() { m.RangeDels() }))
	m.AddRangeDelete([]byte("c"), []byte("d"), 2)
	require.Equal(t, "[a,b)#1", first.String())
	require.Equal(t, "[a,b)#1 [c,d)#2", m.RangeDels().String())
}

// TestRangeDelsBesideWriter reads while tombstones arrive: what has arrived is seen.
func TestRangeDelsBesideWriter(t *testing.T) {
	const n = 2000
	m := New(Options{})
	defer m.Unref()
	var arrived atomic.Int64
	var readers sync.WaitGroup
	key := func(i int64) []byte { return fmt.Appendf(nil, "%06d", i) }
	for r := range 4 {
		readers.Go(func() {
			for i := int64(r); ; i++ {
				was := arrived.Load()
				if was == n {
					return
				}
				if was == 0 {
					continue
				}
				user := key(i % was)
				if _, ok := m.Cover(user, uint64(n)); !ok {
					t.Errorf("%s is not covered after %d", user, was)
				}
				if _, ok := m.RangeDels().Cover(user, uint64(n)); !ok {
					t.Errorf("%s is not in the list after %d", user, was)
				}
			}
		})
	}
	for i := range int64(n) {
		m.AddRangeDelete(key(i), key(i+1), uint64(i))
		arrived.Store(i + 1)
	}
	readers.Wait()
}
