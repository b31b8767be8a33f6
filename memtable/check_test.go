package memtable

import (
	"math/bits"

	"github.com/stretchr/testify/require"

	"github.com/cambiumdb/cambium/internal/ikey"
)

type failer interface {
	require.TestingT
	Helper()
}

func (m *Memtable) key(off uint32) ikey.Key {
	n := m.node(off)
	return ikey.Key{User: m.user(n), Trailer: n.trailer}
}

// requireSound checks everything that must hold while nobody writes: the list is in order and
// agrees with itself in both directions; the tree holds the same nodes in the same order, is
// red-black and knows its parents; the index leads to the newest node of each user key.
func requireSound(t failer, m *Memtable) {
	t.Helper()
	var list []uint32
	for prev, off := uint32(0), m.node(0).next.Load(); ; prev, off = off, m.node(off).next.Load() {
		require.Equal(t, prev, m.node(off).prev.Load(), "prev of %d", off)
		if off == 0 {
			break
		}
		if prev != 0 {
			require.LessOrEqual(t, ikey.Compare(m.key(prev), m.key(off)), 0)
		}
		list = append(list, off)
	}
	require.Len(t, list, int(m.count.Load()))

	var inOrder []uint32
	var height int
	var walk func(off, parent uint32, depth int) (blacks int)
	walk = func(off, parent uint32, depth int) int {
		if off == 0 {
			height = max(height, depth)
			return 1
		}
		n := m.node(off)
		require.Equal(t, parent, n.parent>>1, "parent of %d", off)
		isRed := n.parent&red != 0
		if isRed {
			require.NotZero(t, parent, "the root is black")
			require.Zero(t, m.node(parent).parent&red, "red %d below red %d", off, parent)
		}
		left := walk(n.left.Load(), off, depth+1)
		inOrder = append(inOrder, off)
		right := walk(n.right.Load(), off, depth+1)
		require.Equal(t, left, right, "black height below %d", off)
		if isRed {
			return left
		}
		return left + 1
	}
	walk(m.root.Load(), 0, 0)
	require.Equal(t, list, inOrder, "the tree and the list hold the same")
	require.LessOrEqual(t, height, 2*bits.Len(uint(len(list)+1)))

	users := 0
	for i, off := range list {
		if i == 0 || string(m.key(list[i-1]).User) != string(m.key(off).User) {
			users++
			require.Equal(t, off, m.lookup(m.key(off).User), "index of %s", m.key(off))
		}
	}
	slots := 0
	for i := range m.index.parts {
		used := 0
		if tab := m.index.parts[i].table.Load(); tab != nil {
			for j := range tab.slots {
				if tab.slots[j].Load() != 0 {
					used++
				}
			}
		}
		require.Equal(t, m.index.parts[i].n, used)
		slots += used
	}
	require.Equal(t, users, slots, "one slot for each user key")
}
