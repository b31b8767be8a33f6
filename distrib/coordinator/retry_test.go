package coordinator

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/cambiumdb/cambium/distrib"
	"github.com/cambiumdb/cambium/distrib/ring"
)

// overwrite reads a key and writes it so many times, by way of several nodes.
func (c *cluster) overwrite(key []byte, times int, by ...uint64) {
	for n := range times {
		co := c.coordinator(by[n%len(by)])
		got, err := co.Get(c.t.Context(), key, ReadOptions{})
		require.NoError(c.t, err)
		require.Len(c.t, got.Record, 1, "before write %d", n)
		_, err = co.Put(c.t.Context(), key, value(fmt.Sprintf("v%d", n)), WriteOptions{Context: got.Context})
		require.NoError(c.t, err)
	}
}

// hold has a node store nothing first until it is let go.
func (c *cluster) hold(id uint64) (release func()) {
	ch := make(chan struct{})
	c.mu.Lock()
	defer c.mu.Unlock()
	c.holds = map[uint64]chan struct{}{id: ch}
	return func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.holds = nil
		close(ch)
	}
}

// TestLateFirst: a write is tried at two nodes, of which one stores it when the key was overwritten 20 times. Its copy
// does not come back, whichever node's answer was taken, and whatever the late one was told meanwhile.
func TestLateFirst(t *testing.T) {
	for _, taken := range []string{"the other's", "its own"} {
		for _, cut := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s is taken, it is cut off: %v", taken, cut), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) { lateFirst(t, taken == "its own", cut) })
			})
		}
	}
}

// lateFirst has node 4 write a key of nodes 1, 2 and 3. The first to be asked is slow or held, the second held or not.
func lateFirst(t *testing.T, firstIsTaken, cut bool) {
	c := newCluster(t, 1)
	co, key := c.coordinator(4), c.ownedBy(1, 2, 3)
	ids := c.asked(co, key)
	first, late := ids[0], ids[0]
	if firstIsTaken {
		late = ids[1]
		c.slow[first] = 150 * time.Millisecond
	}
	release := c.hold(late)
	isolate := func(is bool) {
		c.mu.Lock()
		defer c.mu.Unlock()
		for id := uint64(1); id <= 5; id++ {
			c.cut[[2]uint64{id, late}] = is && id != late
		}
		if is {
			c.opinion[late] = distrib.Down
		} else {
			delete(c.opinion, late)
		}
	}
	put, err := co.Put(t.Context(), key, value("old"), WriteOptions{})
	require.NoError(t, err)
	require.NotEqual(t, late, put.Dot.Node)
	require.Equal(t, firstIsTaken, put.Dot.Node == first)
	delete(c.slow, first)
	if cut {
		isolate(true)
	}
	by := []uint64{1, 2, 3, 4, 5}
	by = append(by[:late-1], by[late:]...) // it was paused, and sends nothing either
	c.overwrite(key, 20, by...)
	release()
	synctest.Wait()
	isolate(false)
	c.wait()
	c.heal()
	require.Equal(t, "v19", texts(c.held(string(key))))
	for id := uint64(1); id <= 5; id++ {
		got, err := c.coordinator(id).Get(t.Context(), key, ReadOptions{R: All})
		require.NoError(t, err)
		require.Equal(t, "v19", texts(got.Record))
	}
	c.wait()
}

// asked are the owners of a key in the order in which a write by co asks them.
func (c *cluster) asked(co *Coordinator, key []byte) (ids []uint64) {
	for _, s := range co.writersOf(ring.Steady(c.ring), ring.TokenOf(key), true).owners {
		ids = append(ids, s.Node)
	}
	return ids
}

// TestLateTry: a client tries a write at two coordinators, of which one keeps its request for long, or the node that it
// asks does. The try that comes late makes no sibling, since the other one said that it was not the first.
func TestLateTry(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, 1)
		key, op := c.ownedBy(1, 2, 3), distrib.OpID{9}
		one, other := c.coordinator(4), c.coordinator(5)
		late := c.asked(one, key)[0]
		release := c.hold(late)
		ended := make(chan error)
		go func() {
			_, err := one.Put(t.Context(), key, value("old"), WriteOptions{Op: op, W: 1, Strict: true})
			ended <- err
		}()
		time.Sleep(time.Millisecond)
		c.mu.Lock()
		c.opinion[late] = distrib.Down // so that this try asks others
		c.mu.Unlock()
		put, err := other.Put(t.Context(), key, value("old"), WriteOptions{Op: op, Retried: true})
		require.NoError(t, err)
		require.True(t, put.Context.HasOp(op))
		c.overwrite(key, 20, 5)
		release()
		require.NoError(t, <-ended)
		c.wait()
		c.heal()
		c.mu.Lock()
		c.opinion = map[uint64]distrib.Liveness{}
		c.mu.Unlock()
		got, err := other.Get(t.Context(), key, ReadOptions{R: All, Repair: true})
		require.NoError(t, err)
		require.Equal(t, "v19", texts(got.Record))
	})
}

// TestRetriedIsSpread: what a node has stored under the first dot learns that there may be another.
func TestRetriedIsSpread(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, 1)
		co, key := c.coordinator(4), c.ownedBy(1, 2, 3)
		ids := c.asked(co, key)
		c.slow[ids[0]] = 150 * time.Millisecond
		release := c.hold(ids[1])
		_, err := co.Put(t.Context(), key, value("v"), WriteOptions{W: 2, Op: distrib.OpID{1}})
		require.NoError(t, err)
		time.Sleep(time.Second)
		for _, id := range ids {
			record, err := c.nodes[id].own.Read(key)
			require.NoError(t, err)
			if id != ids[1] || len(record) > 0 {
				require.True(t, record[0].Retried, "node %d", id)
			}
		}
		release()
		co.Wait()
		require.True(t, c.held(string(key))[0].Retried)

		_, err = co.Put(t.Context(), []byte("usual"), value("v"), WriteOptions{})
		require.NoError(t, err)
		co.Wait()
		require.False(t, c.held("usual")[0].Retried)
	})
}
