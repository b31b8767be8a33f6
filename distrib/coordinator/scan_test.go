package coordinator

import (
	"cmp"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/cambiumdb/cambium/distrib"
	"github.com/cambiumdb/cambium/distrib/ring"
)

// scanned is the keys that a scan gives.
func scanned(t *testing.T, co *Coordinator, o ScanOptions) (keys []string) {
	require.NoError(t, co.Scan(t.Context(), o, func(key []byte, r distrib.Record) error {
		require.NotEmpty(t, r)
		keys = append(keys, string(key))
		return nil
	}))
	return keys
}

// TestScan: each key once, in the order of tokens, whoever is down and however small the pages are.
func TestScan(t *testing.T) {
	for _, nodes := range []uint64{1, 3, 5} {
		synctest.Test(t, func(t *testing.T) {
			c := newClusterOf(t, 1, nodes)
			rng := rand.New(rand.NewPCG(1, nodes))
			var want []string
			for i := range 300 {
				key := fmt.Sprintf("key %d", i)
				v, keep := value("v"), true
				switch rng.IntN(10) {
				case 0:
					v, keep = distrib.Value{Deleted: true}, false
				case 1:
					v.Expires, keep = 5, false
				case 2:
					v.Data = make([]byte, distrib.InlineBytes+1)
				}
				co := c.coordinator(1 + rng.Uint64N(nodes))
				_, err := co.Put(t.Context(), []byte(key), v, WriteOptions{})
				require.NoError(t, err)
				co.Wait()
				if keep {
					want = append(want, key)
				}
			}
			slices.SortFunc(want, func(a, b string) int {
				return cmp.Or(ring.TokenOf([]byte(a)).Compare(ring.TokenOf([]byte(b))), cmp.Compare(a, b))
			})
			co := c.coordinator(1)
			for _, page := range []int{1, 3, 0} {
				require.Equal(t, want, scanned(t, co, ScanOptions{Now: 5, PageKeys: page}))
			}
			require.Len(t, scanned(t, co, ScanOptions{}), 300)
			require.Equal(t, want[100:], scanned(t, co, ScanOptions{Now: 5, After: []byte(want[99])}))
			from, to := ring.TokenOf([]byte(want[50])).Hi, ring.TokenOf([]byte(want[60])).Hi
			require.Equal(t, want[50:61], scanned(t, co, ScanOptions{Now: 5, First: from, Last: to}))

			stop := errors.New("enough")
			require.ErrorIs(t, co.Scan(t.Context(), ScanOptions{}, func([]byte, distrib.Record) error { return stop }), stop)
			require.ErrorContains(t, co.Scan(t.Context(), ScanOptions{R: 9}, nil), "R is 9")
			if nodes == 1 {
				return
			}
			c.down[2] = true
			require.Equal(t, want, scanned(t, co, ScanOptions{Now: 5}), "one is down")
			require.ErrorContains(t, co.Scan(t.Context(), ScanOptions{R: 3}, func([]byte, distrib.Record) error { return nil }), "n2: ")
			co.Wait()
		})
	}
}

// TestScanPastSilentNodes: a node that hangs, or is slow, keeps a scan waiting once and not with each page.
func TestScanPastSilentNodes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newClusterOf(t, 1, 3)
		co := c.coordinator(1)
		for i := range 300 {
			require.NoError(t, second(co.Put(t.Context(), fmt.Appendf(nil, "key %d", i), value("v"), WriteOptions{W: 3})))
		}
		for name, fault := range map[string]func(){
			"it hangs":          func() { c.cut[[2]uint64{1, 2}] = true },
			"it takes its time": func() { c.slow[2] = time.Second },
		} {
			fault()
			start := time.Now()
			require.Len(t, scanned(t, co, ScanOptions{PageKeys: 3}), 300, name)
			require.Less(t, time.Since(start), time.Second, name)
			co.Wait()
			clear(c.cut)
			clear(c.slow)
		}
		c.cut[[2]uint64{1, 2}] = true
		c.observed = nil
		require.ErrorContains(t, co.Scan(t.Context(), ScanOptions{R: 3}, nil), "n2: context deadline exceeded")
		co.Wait()
		require.Contains(t, c.observed, observed{2, errSilent})
	})
}

func TestResolve(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newClusterOf(t, 1, 3)
		co, key := c.coordinator(1), []byte("k")
		fate := func(op distrib.OpID) Fate {
			f, places, err := co.Resolve(t.Context(), key, op)
			require.NoError(t, err)
			require.NotEmpty(t, places)
			return f
		}
		require.Equal(t, NotSeen, fate(distrib.OpID{1}))
		_, err := co.Put(t.Context(), key, value("v"), WriteOptions{Op: distrib.OpID{1}, W: 3})
		require.NoError(t, err)
		require.Equal(t, Happened, fate(distrib.OpID{1}))
		require.Equal(t, NotSeen, fate(distrib.OpID{2}))
		for i := range byte(20) {
			got, err := co.Get(t.Context(), key, ReadOptions{R: 3})
			require.NoError(t, err)
			_, err = co.Put(t.Context(), key, value("v"), WriteOptions{Op: distrib.OpID{100 + i}, Context: got.Context, W: 3})
			require.NoError(t, err)
			if i == 0 {
				require.Equal(t, Happened, fate(distrib.OpID{1}), "overwritten by who has seen it")
			}
		}
		require.Equal(t, Overtaken, fate(distrib.OpID{1}))
		require.Equal(t, Happened, fate(distrib.OpID{119}))

		// One node alone has it, and another is down.
		_, err = c.nodes[3].own.Merge(key, distrib.Record{{Dot: dotOf("x"), Op: distrib.OpID{7}, Value: value("v")}}, distrib.SyncNow)
		require.NoError(t, err)
		c.down[2] = true
		require.Equal(t, Happened, fate(distrib.OpID{7}))
		c.down[1], c.down[3] = true, true
		_, _, err = co.Resolve(t.Context(), key, distrib.OpID{7})
		require.ErrorContains(t, err, "resolve \"k\": FAILED")
		_, _, err = co.Resolve(t.Context(), key, distrib.OpID{})
		require.ErrorContains(t, err, "no name")
		co.Wait()
	})
}
