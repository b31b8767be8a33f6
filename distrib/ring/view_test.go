package ring

import (
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

// TestSteadyView: the view of a ring of which nothing changes is that ring.
func TestSteadyView(t *testing.T) {
	r := newRing(t, Options{Epoch: 4}, cluster(5))
	v := Steady(r)
	require.Equal(t, uint64(4), v.Epoch())
	require.True(t, v.Steady())
	require.Same(t, r, v.Reads())
	for i := range 50 {
		token := TokenOf(key(i))
		var owners, spares []uint64
		for _, s := range v.Seats(token) {
			require.Equal(t, OldEnd, s.Ends)
			owners = append(owners, s.Node)
		}
		require.Equal(t, r.ids(token), owners)
		for n := range r.Fallbacks(token) {
			spares = append(spares, r.Node(n).ID)
		}
		require.Equal(t, spares, slices.Collect(v.Fallbacks(token)))
	}
}

// TestChangingView: each end of a key has exactly its owners, those that reads ask come first, and nobody stands in
// who owns the key or leaves.
func TestChangingView(t *testing.T) {
	all := cluster(8)
	rapid.Check(t, func(rt *rapid.T) {
		pick := func(label string) (list []Node) {
			for len(list) == 0 {
				for _, n := range all {
					if rapid.Bool().Draw(rt, label) {
						list = append(list, n)
					}
				}
			}
			return list
		}
		old, next := newRing(t, Options{}, pick("old")), newRing(t, Options{}, pick("next"))
		readNext := rapid.Bool().Draw(rt, "read next")
		v := Changing(9, old, next, readNext)
		require.Equal(t, readNext, v.Reads() == next)
		for i := range 20 {
			token := TokenOf(key(i))
			seats := v.Seats(token)
			of := func(e Ends) (ids []uint64) {
				for _, s := range seats {
					if s.Ends&e != 0 {
						ids = append(ids, s.Node)
					}
				}
				return ids
			}
			require.ElementsMatch(t, old.ids(token), of(OldEnd))
			require.ElementsMatch(t, next.ids(token), of(NewEnd))
			reads := v.Reads().ids(token)
			for k, id := range reads {
				require.Equal(t, id, seats[k].Node)
			}
			for id := range v.Fallbacks(token) {
				require.True(t, old.has(id) && next.has(id), "%d stays", id)
				require.NotContains(t, of(BothEnds), id)
			}
		}
	})
}
