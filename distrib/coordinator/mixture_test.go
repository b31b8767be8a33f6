package coordinator

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

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

// put puts by StartPut or by Put.
func (c *cluster) put(co *Coordinator, started bool, key string, v distrib.Value, o WriteOptions) (*WriteResult, error) {
	if !started {
		return co.Put(c.t.Context(), []byte(key), v, o)
	}
	return await(c.t.Context(), func(done func(*WriteResult, error)) func(error) { return co.StartPut([]byte(key), v, o, done) })
}

// inRegister is what a key's register holds, and how many strays came to light.
func (c *cluster) inRegister(key string) (r *Operated) {
	r, err := c.server(c.ownersOf(key)[1]).Operate(c.t.Context(), []byte(key), register.Operation{})
	require.NoError(c.t, err)
	return r
}

// TestEventualPutOfLinearizableKey: the register carries it out. Without context it replaces what is there, with one what that has
// seen, and beside the rest it becomes a sibling.
func TestEventualPutOfLinearizableKey(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, started := range []bool{false, true} {
			c := newCluster(t, 1)
			for id := range uint64(5) {
				c.slow[id+1] = time.Millisecond // so Learn does not come before what it is of
			}
			c.promote("k", "red")
			co := c.coordinator(5)
			before := c.inRegister("k").Context
			put, err := c.put(co, started, "k", value("blue"), WriteOptions{W: All})
			require.NoError(t, err)
			require.True(t, put.Linearizable)
			require.Equal(t, 1, put.Siblings)
			require.NotZero(t, put.OpID)
			require.Empty(t, put.Places)
			r := c.inRegister("k")
			require.Equal(t, "blue", texts(r.Record))
			require.Equal(t, r.Context, put.Context)

			beside, err := c.put(co, started, "k", value("old"), WriteOptions{Context: before})
			require.NoError(t, err)
			require.Equal(t, 2, beside.Siblings)
			put, err = c.put(co, started, "k", distrib.Value{Deleted: true}, WriteOptions{Context: beside.Context})
			require.NoError(t, err)
			require.Equal(t, 2, put.Siblings, "its writer has not seen the other")
			r = c.inRegister("k")
			_, live := distrib.AsOf(r.Record, 0)
			require.Equal(t, 1, live)
			again, err := c.put(co, started, "k", distrib.Value{Deleted: true}, WriteOptions{Context: beside.Context, Op: put.OpID, Retried: true})
			require.NoError(t, err)
			require.Equal(t, put.Dot, again.Dot, "it is done once")
			c.wait()
			require.Empty(t, c.dirty)
			require.Zero(t, co.Load().Operations)
			require.Zero(t, co.Load().Bytes)
		}
	})
}

// TestEventualPutOfLinearizableKeyInMinority: it is refused, and the error says why and who can be reached.
func TestEventualPutOfLinearizableKeyInMinority(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, started := range []bool{false, true} {
			c := newCluster(t, 1)
			c.promote("k", "red")
			owners := c.ownersOf("k")
			c.down[owners[1]], c.down[owners[2]] = true, true
			co := c.coordinator(owners[0])
			_, err := c.put(co, started, "k", value("blue"), WriteOptions{W: 1})
			var e *Error
			require.ErrorAs(t, err, &e)
			require.Equal(t, Failed, e.Outcome)
			require.ErrorIs(t, err, distrib.ErrLinearizable)
			require.ErrorContains(t, err, fmt.Sprintf("the key is linearizable: only n%d can be reached, which is no majority", owners[0]))
			require.ErrorContains(t, err, `put "k": FAILED`)
			c.wait()
			require.Zero(t, co.Load().Operations)
			c.down = map[uint64]bool{}
			require.Equal(t, "red", texts(c.inRegister("k").Record))
			c.wait()
		}
	})
}

// TestEventualPutThatDidNotKnow: replicas that do not know that the key is linearizable store a write, which the next linearizable
// operation reports.
func TestEventualPutThatDidNotKnow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, 1)
		owners := c.ownersOf("k")
		c.gone[owners[2]] = true
		c.promote("k", "red")
		c.gone[owners[2]] = false
		delete(c.nodes[owners[2]].states, "k") // it may have promised at most
		put, err := c.coordinator(owners[2]).Put(t.Context(), []byte("k"), value("blue"), WriteOptions{})
		require.NoError(t, err)
		require.False(t, put.Linearizable, "two have stored it, the first of which did not know")
		c.wait()
		r := c.inRegister("k")
		require.Equal(t, 1, r.Strays)
		require.ElementsMatch(t, []string{"red", "blue"}, strings.Fields(texts(r.Record)))
		again, err := c.coordinator(owners[0]).Put(t.Context(), []byte("k"), value("blue"), WriteOptions{Op: put.OpID, Retried: true})
		require.NoError(t, err)
		require.True(t, again.Linearizable)
		require.Equal(t, put.Dot, again.Dot, "it is one write")
		c.wait()
	})
}

// TestEventualPutHalfKnown: a node that is slow stores a write that the register carries out meanwhile. It is one write: where the register
// overwrites it, the copy does not come back. And where the register is out of reach, nobody knows whether it will come to light.
func TestEventualPutHalfKnown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, reachable := range []bool{true, false} {
			c := newCluster(t, 1)
			owners := c.ownersOf("k")
			c.unasked[owners[0]] = true // so it does not know
			_, err := c.server(owners[1]).Operate(t.Context(), []byte("k"), aPut("red"))
			require.NoError(t, err)
			c.wait()
			c.late[owners[0]] = time.Second // and is asked first
			c.opinion[owners[1]], c.opinion[owners[2]] = distrib.Suspect, distrib.Suspect
			c.unasked[owners[1]], c.unasked[owners[2]] = !reachable, !reachable
			self := uint64(1)
			for slices.Contains(owners, self) {
				self++
			}
			put, err := c.coordinator(self).Put(t.Context(), []byte("k"), value("blue"), WriteOptions{})
			if !reachable {
				var e *Error
				require.ErrorAs(t, err, &e)
				require.Equal(t, Unknown, e.Outcome)
				require.ErrorIs(t, err, distrib.ErrLinearizable)
				c.wait()
				require.True(t, c.dirty["k"], "a node holds what the others do not")
				continue
			}
			require.NoError(t, err)
			require.True(t, put.Linearizable)
			c.wait()
			require.True(t, c.dirty["k"])
			held, err := c.nodes[owners[0]].own.Read([]byte("k"))
			require.NoError(t, err)
			require.Equal(t, "blue", texts(held))
			require.Equal(t, owners[0], held[0].Dot.Node)
			for range 10 {
				_, err := c.server(owners[1]).Operate(t.Context(), []byte("k"), aPut("green"))
				require.NoError(t, err)
			}
			c.wait()
			c.unasked[owners[0]], c.unasked[owners[2]] = false, true
			got := c.inRegister("k")
			require.Equal(t, "green", texts(got.Record))
			require.Zero(t, got.Strays)
			c.wait()
		}
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
