package coordinator

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"

	"github.com/cambiumdb/cambium/distrib"
	"github.com/cambiumdb/cambium/distrib/ring"
)

func second[T any](_ T, err error) error { return err }

// ownedBy is a key whose first owners are the given nodes, in any order.
func (c *cluster) ownedBy(ids ...uint64) []byte {
	for i := 0; ; i++ {
		key := fmt.Appendf(nil, "k%d", i)
		if c.owns(key, ids...) {
			return key
		}
	}
}

func (c *cluster) owns(key []byte, ids ...uint64) bool {
	owners := c.ring.Replicas(ring.TokenOf(key))
	return !slices.ContainsFunc(ids, func(id uint64) bool {
		return !slices.ContainsFunc(owners, func(n int32) bool { return c.ring.Node(n).ID == id })
	})
}

// failure checks that err is an Error of an outcome and that it says text, and returns it.
func failure(t *testing.T, err error, o Outcome, text string) *Error {
	var e *Error
	require.ErrorAs(t, err, &e)
	require.Equal(t, o, e.Outcome)
	require.ErrorContains(t, err, text)
	return e
}

func TestBadInput(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		co := newCluster(t, 1).coordinator(1)
		for want, err := range map[string]error{
			"key is empty":         second(co.Put(t.Context(), nil, value("v"), WriteOptions{})),
			"value of":             second(co.Put(t.Context(), []byte("k"), distrib.Value{Data: make([]byte, distrib.MaxValueBytes+1)}, WriteOptions{})),
			"W is 4, want 1 to 3":  second(co.Put(t.Context(), []byte("k"), value("v"), WriteOptions{W: 4})),
			"R is -1, want 1 to 3": second(co.Get(t.Context(), []byte("k"), ReadOptions{R: -1})),
			"get: key is empty":    second(co.Get(t.Context(), nil, ReadOptions{})),
		} {
			require.ErrorContains(t, err, want)
		}
	})
}

// TestTooFewNodes: an operation that cannot succeed fails before anything was sent but probes.
func TestTooFewNodes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, 1)
		co, key := c.coordinator(1), c.ownedBy(1, 2, 3)
		c.down[2], c.down[3] = true, true
		_, err := co.Put(t.Context(), key, value("v"), WriteOptions{Strict: true, Op: distrib.OpID{7}})
		e := failure(t, err, Failed, ": FAILED: 0 of 2 nodes did it: n")
		require.ErrorContains(t, err, "n3 down")
		require.ErrorIs(t, err, distrib.ErrRefused)
		require.Equal(t, distrib.OpID{7}, e.OpID)
		require.ElementsMatch(t, []ReplicaState{{Node: 2, State: Down, Err: errDown}, {Node: 3, State: Down, Err: errDown}}, e.Replicas)
		_, err = co.Get(t.Context(), key, ReadOptions{Strict: true})
		failure(t, err, Failed, "0 of 2 nodes did it: n")
		_, err = co.Put(t.Context(), key, value("v"), WriteOptions{})
		require.NoError(t, err, "others stand in")
		co.Wait()
		c.writes = 0

		c.down[4], c.down[5] = true, true
		key = c.ownedBy(3, 4, 5) // none of them is node 1
		require.False(t, c.owns(key, 1))
		_, err = co.Put(t.Context(), key, value("v"), WriteOptions{})
		failure(t, err, Failed, "n4 down")
		_, err = co.Get(t.Context(), key, ReadOptions{R: 3})
		failure(t, err, Failed, "0 of 3 nodes did it")
		require.Zero(t, c.writes)
		_, err = co.Put(t.Context(), key, value("v"), WriteOptions{W: 1})
		require.NoError(t, err, "node 1 stands in")
		co.Wait()
	})
}

// TestErrorSaysWhatBecameOfEachNode: one took the write, one refuses, one keeps silent.
func TestErrorSaysWhatBecameOfEachNode(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newClusterOf(t, 1, 3)
		co, key := c.coordinator(1), []byte("k")
		c.full[2], c.cut[[2]uint64{1, 3}] = true, true
		_, err := co.Put(t.Context(), key, value("v"), WriteOptions{})
		e := failure(t, err, Unknown, "1 of 2 nodes did it: n1 acknowledged; n2 refused: full: overloaded")
		require.ErrorContains(t, err, "n3 no answer: it may happen still: read the key, or try again with the same op id")
		require.ErrorIs(t, err, distrib.ErrOverloaded)
		require.NotZero(t, e.OpID)
		states := map[uint64]State{}
		for _, r := range e.Replicas {
			states[r.Node] = r.State
		}
		require.Equal(t, map[uint64]State{1: Acknowledged, 2: Refused, 3: NoAnswer}, states)

		ended, cancel := context.WithCancelCause(t.Context())
		cancel(errLost)
		_, err = co.Get(ended, key, ReadOptions{R: 3})
		e = failure(t, err, Failed, "n3 no answer")
		require.Equal(t, errLost, e.Err)
		require.ErrorIs(t, err, errLost)
		_, err = co.Get(t.Context(), key, ReadOptions{R: 1, Strict: true})
		require.NoError(t, err)
		co.Wait()
	})
}

// TestSuspectsAreAskedLast, and who is observed to do what.
func TestSuspectsAreAskedLast(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, 1)
		co, key := c.coordinator(4), c.ownedBy(1, 2, 3)
		c.opinion[1], c.opinion[2] = distrib.Suspect, distrib.Suspect
		put, err := co.Put(t.Context(), key, value("v"), WriteOptions{W: 3})
		require.NoError(t, err)
		require.EqualValues(t, 3, put.Dot.Node, "it stored it first")
		require.ElementsMatch(t, []Place{{Node: 1}, {Node: 2}, {Node: 3}}, put.Places, "suspects before those who stand in")
		co.Wait()
		require.ElementsMatch(t, []observed{{1, nil}, {2, nil}, {3, nil}}, c.observed)
		got, err := co.Get(t.Context(), key, ReadOptions{R: 1})
		require.NoError(t, err)
		require.Equal(t, []Place{{Node: 3}}, got.Places)

		co.Wait()
		c.observed, c.full[3], c.cut[[2]uint64{4, 1}], c.gone[2] = nil, true, true, true
		_, err = co.Get(t.Context(), key, ReadOptions{})
		failure(t, err, Failed, "keeps nothing of the key") // who stands in does not know that it is not found
		co.Wait()
		require.Contains(t, c.observed, observed{3, nil}, "it answered that it is overloaded")
		require.Contains(t, c.observed, observed{2, distrib.ErrUnreachable})
		require.Contains(t, c.observed, observed{1, errSilent})
		for _, o := range c.observed {
			require.NotEqualValues(t, 4, o.node, "a node does not hear of itself")
		}
	})
}
