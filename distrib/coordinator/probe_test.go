package coordinator

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/cambiumdb/cambium/distrib"
)

// TestWrongBelief: nodes that are thought to be down and are not do not make operations fail, and are not thought so any
// more. It is not asked of them where an operation can do without.
func TestWrongBelief(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, 1)
		co, key := c.coordinator(1), c.ownedBy(1, 2, 3)
		believe := func() {
			co.Wait()
			c.mu.Lock()
			defer c.mu.Unlock()
			c.opinion[2], c.opinion[3], c.observed = distrib.Down, distrib.Down, nil
		}
		believe()
		put, err := co.Put(t.Context(), key, value("v"), WriteOptions{})
		require.NoError(t, err)
		require.NotContains(t, put.Places, Place{Node: 2}, "others stand in")
		co.Wait()
		require.Zero(t, c.reads)

		believe()
		put, err = co.Put(t.Context(), key, value("w"), WriteOptions{Strict: true, W: All, Context: put.Context})
		require.NoError(t, err)
		require.ElementsMatch(t, []Place{{Node: 1}, {Node: 2}, {Node: 3}}, put.Places)
		co.Wait()
		require.Contains(t, c.observed, observed{2, nil})
		require.Contains(t, c.observed, observed{3, nil})

		believe()
		got, err := co.Get(t.Context(), key, ReadOptions{Strict: true, R: All})
		require.NoError(t, err)
		require.Equal(t, "w", texts(got.Record))
		require.Len(t, got.Places, 3)

		believe()
		c.slow[1], c.full[1] = time.Millisecond, true // it refuses what it is asked; then the others are needed
		put, err = co.Put(t.Context(), key, value("x"), WriteOptions{Strict: true, Context: got.Context})
		require.NoError(t, err)
		require.ElementsMatch(t, []Place{{Node: 2}, {Node: 3}}, put.Places)
		co.Wait()
		c.full[1] = false

		believe()
		var began sync.WaitGroup
		began.Add(2)
		co.StartPut(key, value("y"), WriteOptions{Strict: true}, func(_ *WriteResult, err error) { require.NoError(t, err); began.Done() })
		co.StartGet(key, ReadOptions{Strict: true, R: 2}, func(_ *ReadResult, err error) { require.NoError(t, err); began.Done() })
		began.Wait()
		co.Wait()
	})
}

// TestResolveAsksAll: nobody who might know is passed over for what is thought of him, where nobody stands in.
func TestResolveAsksAll(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newClusterOf(t, 1, 3)
		key, op := []byte("k"), distrib.OpID{1}
		writer := c.coordinator(3)
		_, err := writer.Put(t.Context(), key, value("v"), WriteOptions{Op: op, W: 1})
		require.NoError(t, err)
		writer.Wait()
		c.opinion[2], c.opinion[3], c.gone[2] = distrib.Down, distrib.Down, true
		fate, places, err := c.coordinator(1).Resolve(t.Context(), key, op)
		require.NoError(t, err)
		require.Equal(t, Happened, fate)
		require.ElementsMatch(t, []Place{{Node: 1}, {Node: 3}}, places)
	})
}

// TestMinority: where the others are down indeed, and silent, operations fail, and nothing is sent but probes: to each
// node one at a time, and none for a while after one that failed.
func TestMinority(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, 1)
		co, key := c.coordinator(1), c.ownedBy(1, 2, 3)
		for id := uint64(2); id <= 5; id++ {
			c.opinion[id], c.cut[[2]uint64{1, id}] = distrib.Down, true
		}
		try := func(i int) error {
			if i%2 == 0 {
				return second(co.Put(t.Context(), key, value("v"), WriteOptions{}))
			}
			return second(co.Get(t.Context(), key, ReadOptions{}))
		}
		start := time.Now()
		var all sync.WaitGroup
		for i := range 100 {
			all.Go(func() {
				time.Sleep(time.Duration(i) * time.Millisecond)
				failure(t, try(i), Failed, " down; n")
			})
		}
		all.Wait()
		require.Equal(t, probePatience, time.Since(start))
		for i := range 100 {
			failure(t, try(i), Failed, "0 of 2 nodes did it: n")
		}
		require.Equal(t, probePatience, time.Since(start), "at once")
		co.Wait()
		require.Equal(t, 2, c.reads, "a probe of each")
		time.Sleep(probeHolds)
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		defer cancel()
		e := failure(t, second(co.Put(ctx, key, value("v"), WriteOptions{})), Failed, "deadline exceeded")
		require.ErrorIs(t, e, context.DeadlineExceeded)
		co.Wait()
		require.Equal(t, 4, c.reads)
		require.Zero(t, c.writes)
		require.Empty(t, c.dirty)
		require.Equal(t, Load{}, co.Load())

		c.mu.Lock()
		clear(c.cut)
		c.mu.Unlock()
		failure(t, try(0), Failed, " down; n") // what was heard holds
		time.Sleep(probeHolds)
		for i := range 2 {
			require.NoError(t, try(i))
		}
		co.Wait()
	})
}

// TestProbeThatIsLate: an answer that nobody waits for any more ends the belief too, and that of one node is enough
// where it is.
func TestProbeThatIsLate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, 1)
		co, key := c.coordinator(1), c.ownedBy(1, 2, 3)
		c.opinion[2], c.opinion[3] = distrib.Down, distrib.Down
		c.slow[2], c.slow[3] = time.Millisecond, time.Second
		start := time.Now()
		require.NoError(t, second(co.Put(t.Context(), key, value("v"), WriteOptions{Strict: true})))
		require.Less(t, time.Since(start), 10*time.Millisecond, "the other one is not waited for")
		co.Wait()
		require.Contains(t, c.observed, observed{3, nil}, fmt.Sprint(time.Since(start)))
		require.Empty(t, c.dirty)
	})
}
