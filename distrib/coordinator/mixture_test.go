package coordinator

import (
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"

	"github.com/cambiumdb/cambium/distrib"
	"github.com/cambiumdb/cambium/distrib/register"
	"github.com/cambiumdb/cambium/distrib/ring"
)

// ownersOf are the nodes of a key.
func (c *cluster) ownersOf(key string) (ids []uint64) {
	for _, n := range c.ring.Replicas(ring.TokenOf([]byte(key))) {
		ids = append(ids, c.ring.Node(n).ID)
	}
	return ids
}

// promote makes a key linearizable: value is what it holds then.
func (c *cluster) promote(key, value string) {
	r, err := c.server(c.ownersOf(key)[0]).Operate(c.t.Context(), []byte(key), aPut(value))
	require.NoError(c.t, err)
	require.Equal(c.t, register.Done, r.Verdict)
	c.wait() // all owners have it
}

// TestEventualGetOfLinearizableKey: an eventual read shows what was decided, and says that it may be stale.
func TestEventualGetOfLinearizableKey(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, 1)
		co := c.coordinator(5)
		_, err := co.Put(t.Context(), []byte("other"), value("red"), WriteOptions{})
		require.NoError(t, err)
		got, err := co.Get(t.Context(), []byte("other"), ReadOptions{})
		require.NoError(t, err)
		require.False(t, got.Linearizable)
		c.promote("k", "red")
		for _, r := range []int{1, 2, 3} {
			got, err := co.Get(t.Context(), []byte("k"), ReadOptions{R: r})
			require.NoError(t, err)
			require.True(t, got.Linearizable)
			require.Equal(t, "red", texts(got.Record))
		}
		c.wait()
	})
}

// TestResolveOfLinearizableKey: the register tells what happened, and cancels what has not.
func TestResolveOfLinearizableKey(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, 1)
		op := aPut("red")
		op.ID = distrib.OpID{1}
		_, err := c.server(1).Operate(t.Context(), []byte("k"), op)
		require.NoError(t, err)
		c.wait()
		co := c.coordinator(5)
		fate, places, err := co.Resolve(t.Context(), []byte("k"), op.ID)
		require.NoError(t, err)
		require.Equal(t, Happened, fate)
		require.NotEmpty(t, places)

		late := aPut("late")
		late.ID, late.Retried = distrib.OpID{2}, true
		fate, _, err = co.Resolve(t.Context(), []byte("k"), late.ID)
		require.NoError(t, err)
		require.Equal(t, NotHappened, fate)
		require.Equal(t, "NOT_HAPPENED", fate.String())
		_, err = co.Operate(t.Context(), []byte("k"), late)
		var e *Error
		require.ErrorAs(t, err, &e)
		require.Equal(t, Failed, e.Outcome)
		require.ErrorIs(t, err, ErrCancelled)

		c.gone[c.ownersOf("k")[0]], c.gone[c.ownersOf("k")[1]] = true, true
		_, _, err = co.Resolve(t.Context(), []byte("k"), distrib.OpID{3})
		require.ErrorAs(t, err, &e, "a minority does not know")
		c.wait()
	})
}
