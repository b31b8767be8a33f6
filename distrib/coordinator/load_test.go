package coordinator

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/cambiumdb/cambium/distrib"
)

// TestOverload: what exceeds the limits is refused at once, and says when to come again.
func TestOverload(t *testing.T) {
	for name, limits := range map[string]Limits{"operations": {Operations: 2}, "bytes": {Bytes: 1 << 20}} {
		synctest.Test(t, func(t *testing.T) {
			c := newClusterOf(t, 1, 3)
			c.limits = limits
			c.slow[2], c.slow[3] = time.Second, time.Second
			co, big := c.coordinator(1), distrib.Value{Data: make([]byte, 600_000)}
			came := make(chan error)
			put := func() { came <- second(co.Put(t.Context(), []byte("k"), big, WriteOptions{})) }
			go put()
			if name == "operations" {
				go put()
			}
			synctest.Wait()
			_, err := co.Put(t.Context(), []byte("k"), big, WriteOptions{})
			var o *distrib.Overloaded
			require.ErrorAs(t, err, &o, name)
			require.Equal(t, retryAfter, o.RetryAfter)
			if name == "operations" {
				require.ErrorIs(t, second(co.Get(t.Context(), []byte("k"), ReadOptions{})), distrib.ErrOverloaded)
				require.NoError(t, <-came)
			}
			require.NoError(t, <-came)
			require.NoError(t, second(co.Put(t.Context(), []byte("k"), big, WriteOptions{})))
			co.Wait()
			require.Equal(t, Load{}, co.Load())
		})
	}
}

// TestBehind: puts that would go on beyond the limit give their keys away instead.
func TestBehind(t *testing.T) {
	for name, limits := range map[string]Limits{"count": {Behind: 1}, "bytes": {BehindBytes: 5}} {
		synctest.Test(t, func(t *testing.T) {
			c := newCluster(t, 1)
			c.limits = limits
			co, first := c.coordinator(1), c.ownedBy(1, 2, 3)
			c.slow[3] = time.Minute
			require.NoError(t, second(co.Put(t.Context(), first, value("v"), WriteOptions{})))
			require.Equal(t, Load{Behind: 1, BehindBytes: int64(len(first)) + 1}, co.Load(), name)
			require.NoError(t, second(co.Put(t.Context(), append(first, 0), value("v"), WriteOptions{})))
			synctest.Wait()
			co.Wait()
			require.Equal(t, Load{}, co.Load())
			for key := range c.dirty {
				require.NotEqual(t, string(first), key, "it went on: another stands in")
			}
			c.heal()
			require.Equal(t, "v", texts(c.held(string(first))))
		})
	}
}

// TestRepairsAreBounded: reads beyond the limit give their keys away instead of repairing them.
func TestRepairsAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, 1)
		c.limits = Limits{Repairs: 1}
		co, key := c.coordinator(1), c.ownedBy(1, 2, 3)
		other := append([]byte(nil), key...)
		for i := byte(0); !c.owns(other, 1, 2, 3) || string(other) == string(key); i++ {
			other = append(key[:len(key):len(key)], i)
		}
		for _, k := range [][]byte{key, other} {
			_, err := c.nodes[1].own.Merge(k, distrib.Record{{Dot: dotOf("x"), Value: value("v")}}, distrib.SyncNow)
			require.NoError(t, err)
		}
		c.slow[2], c.slow[3] = 10*time.Millisecond, 10*time.Millisecond
		came := make(chan error)
		for range 2 {
			go func() { came <- second(co.Get(t.Context(), key, ReadOptions{R: 3})) }()
		}
		require.NoError(t, <-came)
		require.NoError(t, <-came)
		require.EqualValues(t, 1, co.Load().Repairs)
		synctest.Wait()
		require.Contains(t, c.dirty, string(key))
		ended, cancel := context.WithTimeout(t.Context(), 15*time.Millisecond) // enough for the read alone
		defer cancel()
		require.ErrorIs(t, second(co.Get(ended, other, ReadOptions{R: 3, Repair: true})), context.DeadlineExceeded)
		co.Wait()
		require.Equal(t, "v", texts(c.held(string(key))))
		require.Equal(t, "v", texts(c.held(string(other))))
		require.Equal(t, Load{}, co.Load())
	})
}
