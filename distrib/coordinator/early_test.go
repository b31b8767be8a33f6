package coordinator

import (
	"errors"
	"maps"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

// TestOthersStoreWhileTheFirstSyncs: they need not wait for its device. It does not count before that has answered.
func TestOthersStoreWhileTheFirstSyncs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, 1)
		co, key := c.coordinator(1), c.ownedBy(1, 2, 3)
		c.syncs[1] = 15 * time.Millisecond // less than a node is waited for
		began, put := time.Now(), make(chan *WriteResult)
		go func() {
			w, err := co.Put(t.Context(), key, value("v"), WriteOptions{W: 3})
			require.NoError(t, err)
			put <- w
		}()
		time.Sleep(10 * time.Millisecond) // the way to another node and back is shorter
		for id := uint64(1); id <= 3; id++ {
			record, err := c.nodes[id].own.Read(key)
			require.NoError(t, err)
			require.Equal(t, "v", texts(record), "node %d", id)
		}
		require.NotZero(t, c.nodes[1].store.Unsynced())
		require.Zero(t, c.nodes[2].store.Unsynced())
		w := <-put
		require.Equal(t, 15*time.Millisecond, time.Since(began))
		require.ElementsMatch(t, []Place{{Node: 1}, {Node: 2}, {Node: 3}}, w.Places)
		require.Zero(t, c.nodes[1].store.Unsynced())
		co.Wait()

		// Its device fails: it does not count, and another keeps the write for it.
		c.broken[1] = errors.New("input/output error")
		w, err := co.Put(t.Context(), key, value("w"), WriteOptions{Context: w.Context})
		require.NoError(t, err)
		require.NotContains(t, w.Places, Place{Node: 1})
		co.Wait()
		require.True(t, slices.ContainsFunc(slices.Collect(maps.Values(c.nodes)), func(n *node) bool { return len(n.hints.Kept()) > 0 }))

		// It loses power, and has forgotten the write. Its next one has another dot.
		c.nodes[1].store = c.nodes[1].store.Crash(0)
		c.start(1)
		delete(c.broken, 1)
		x, err := co.Put(t.Context(), key, value("x"), WriteOptions{})
		require.NoError(t, err)
		require.NotEqual(t, w.Dot, x.Dot)
		co.Wait()
		c.heal()
		require.Equal(t, "w x", texts(c.held(string(key))))
	})
}
