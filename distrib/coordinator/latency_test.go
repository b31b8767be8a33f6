package coordinator

import (
	"math/rand/v2"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/cambiumdb/cambium/distrib/vclock"
)

// TestQuantile: it follows what nodes need, also when that changes.
func TestQuantile(t *testing.T) {
	for _, p := range []float64{0.95, 0.99} {
		rng := rand.New(rand.NewPCG(1, 1))
		var q quantile
		require.Equal(t, firstGuess, q.get())
		for _, mean := range []time.Duration{time.Millisecond, 50 * time.Millisecond, 3 * time.Millisecond} {
			var all []time.Duration
			for range 20_000 {
				d := time.Duration(rng.ExpFloat64() * float64(mean))
				all = append(all, d)
				q.add(d, p)
			}
			slices.Sort(all)
			want := all[int(p*float64(len(all)))]
			require.InEpsilon(t, want, q.get(), 0.35, "p%g of a mean of %s", 100*p, mean)
		}
	}
}

func TestPatience(t *testing.T) {
	for want, of := range map[time.Duration]struct {
		usual time.Duration
		bytes int
	}{
		20 * time.Millisecond:  {time.Millisecond, 0},
		40 * time.Millisecond:  {10 * time.Millisecond, 0},
		140 * time.Millisecond: {10 * time.Millisecond, 5_000_000},
		2 * time.Second:        {time.Second, 0},
	} {
		require.Equal(t, want, patience(of.usual, of.bytes, 2*time.Second))
	}
}

func TestBudget(t *testing.T) {
	var b budget
	require.False(t, b.spend())
	spent := 0
	for range 10_000 {
		b.earn()
		if b.spend() {
			spent++
		}
	}
	require.Equal(t, 10_000/hedgeEvery, spent)
	for range 10_000 {
		b.earn()
	}
	for range hedgeBurst {
		require.True(t, b.spend())
	}
	require.False(t, b.spend(), "it does not save for ever")
	b.giveBack()
	require.True(t, b.spend())
}

// settledIn checks how long f takes.
func settledIn(t *testing.T, limit time.Duration, what string, f func() error) {
	start := time.Now()
	require.NoError(t, f(), what)
	require.LessOrEqual(t, time.Since(start), limit, what)
}

// TestSlowNode: a node that is slow is replaced soon, first or not, and what it answers late still counts: nothing is
// left to compare.
func TestSlowNode(t *testing.T) {
	for seed := range uint64(20) {
		synctest.Test(t, func(t *testing.T) {
			c := newCluster(t, seed)
			co, key := c.coordinator(4), c.ownedBy(1, 2, 3)
			for id := range uint64(3) {
				c.slow[id+1] = time.Duration(seed%3) * 200 * time.Millisecond
				settledIn(t, time.Second, "put", func() error { return second(co.Put(t.Context(), key, value("v"), WriteOptions{})) })
				settledIn(t, time.Second, "get", func() error { return second(co.Get(t.Context(), key, ReadOptions{})) })
				co.Wait()
				delete(c.slow, id+1)
			}
			require.Empty(t, c.dirty)
			c.heal()
			require.Len(t, c.held(string(key)), 3)
		})
	}
}

// TestPatienceIsANodesOwn: a node that always took its time is not replaced for that, one that never did is.
func TestPatienceIsANodesOwn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, 1)
		co, key := c.coordinator(4), c.ownedBy(1, 2, 3)
		c.slow[1], c.slow[2], c.slow[3] = 200*time.Millisecond, time.Millisecond, time.Millisecond
		var seen vclock.Seen
		put := func() []Place {
			r, err := co.Put(t.Context(), key, value("v"), WriteOptions{W: 3, Context: seen})
			require.NoError(t, err)
			co.Wait()
			seen = r.Context
			return r.Places
		}
		require.Contains(t, put(), Place{Node: 5, For: 1}, "nothing was known of it yet")
		for range 100 {
			put()
		}
		require.ElementsMatch(t, []Place{{Node: 1}, {Node: 2}, {Node: 3}}, put())
		c.slow[1], c.slow[2] = time.Millisecond, 200*time.Millisecond
		require.Contains(t, put(), Place{Node: 5, For: 2})
	})
}

// TestHedge: a read that takes longer than reads of a node mostly do is hedged, as long as few are.
func TestHedge(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, 1)
		co, key := c.coordinator(4), c.ownedBy(1, 2, 3)
		for id := range uint64(5) {
			c.slow[id+1] = time.Millisecond
		}
		var first uint64
		get := func() time.Duration {
			start := time.Now()
			got, err := co.Get(t.Context(), key, ReadOptions{R: 1})
			require.NoError(t, err)
			if first == 0 {
				first = got.Places[0].Node
			}
			return time.Since(start)
		}
		for range 2000 {
			get()
		}
		co.Wait()
		require.LessOrEqual(t, c.reads, 2000+2000/hedgeEvery)
		c.slow[first] = 500 * time.Millisecond
		c.reads = 0
		for range hedgeBurst {
			require.Less(t, get(), 10*time.Millisecond)
		}
		require.Equal(t, 2*hedgeBurst, c.reads)
		require.GreaterOrEqual(t, get(), 10*time.Millisecond, "the budget is spent")
		co.Wait()
	})
}

// TestOwnNodeHangs: who waits for this node's own store waits for it, but those that come after do not.
func TestOwnNodeHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, 1)
		co, key := c.coordinator(1), c.ownedBy(1, 2, 3)
		c.slow[1] = time.Minute
		first := make(chan error)
		go func() { first <- second(co.Put(t.Context(), key, value("v"), WriteOptions{})) }()
		time.Sleep(time.Second)
		settledIn(t, time.Second, "put", func() error { return second(co.Put(t.Context(), key, value("v"), WriteOptions{})) })
		settledIn(t, time.Second, "get", func() error { return second(co.Get(t.Context(), key, ReadOptions{})) })
		require.NoError(t, <-first)
		c.mu.Lock()
		delete(c.slow, 1)
		c.mu.Unlock()
		co.Wait()
		require.NoError(t, second(co.Get(t.Context(), key, ReadOptions{R: 3})))
		require.False(t, co.selfSlow.Load())
		co.Wait()
		c.heal()
		require.Len(t, c.held(string(key)), 2)
	})
}
