package coordinator

import (
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/cambiumdb/cambium/distrib"
	"github.com/cambiumdb/cambium/distrib/vclock"
)

// TestNothingIsLost: clients read and write through all nodes while nodes go down, lose power, are cut off and
// answers are lost. After healing, all owners of a key hold the same; every write that was acknowledged is there,
// or one that has seen it is; and nothing stands that such a one has overwritten.
func TestNothingIsLost(t *testing.T) {
	for seed := range uint64(60) {
		synctest.Test(t, func(t *testing.T) { nothingIsLost(t, seed, false) })
	}
}

// TestNothingComesBack: the same with one key that is overwritten over and over, and writes that are tried again elsewhere
// when they do not succeed, while nodes store late what they were asked to store first.
func TestNothingComesBack(t *testing.T) {
	for seed := range uint64(60) {
		synctest.Test(t, func(t *testing.T) { nothingIsLost(t, seed, true) })
	}
}

type acked struct {
	seen map[int]bool
	ok   bool
}

func nothingIsLost(t *testing.T, seed uint64, again bool) {
	c := newCluster(t, seed)
	rng := rand.New(rand.NewPCG(seed, 2))
	keys, steps := []string{"a", "b", "c", "d", "e", "f"}, 15
	if again {
		keys, steps = keys[:1], 60
	}
	var mu sync.Mutex // guards writes
	writes := map[string][]acked{}
	var clients, behind sync.WaitGroup
	for client := range 4 {
		rng := rand.New(rand.NewPCG(seed, uint64(10+client)))
		clients.Go(func() {
			context := map[string]vclock.Seen{}
			seen := map[string]map[int]bool{}
			for range steps {
				co, key := c.coordinator(1+rng.Uint64N(5)), keys[rng.IntN(len(keys))]
				if _, read := seen[key]; rng.IntN(2) == 0 || again && !read {
					got, err := co.Get(t.Context(), []byte(key), ReadOptions{R: 1 + rng.IntN(3)})
					if err == nil {
						context[key], seen[key] = got.Context, map[int]bool{}
						for _, s := range got.Record {
							seen[key][number(s)] = true
						}
					}
				} else {
					mu.Lock()
					n := len(writes[key])
					writes[key] = append(writes[key], acked{seen: seen[key]})
					mu.Unlock()
					o := WriteOptions{W: 1 + rng.IntN(3), Context: context[key], Op: distrib.OpID{1, byte(client), byte(n >> 8), byte(n)}}
					_, err := co.Put(t.Context(), []byte(key), value(fmt.Sprint(n)), o)
					mu.Lock()
					since := len(writes[key]) - n // of which no more than vclock.KeptOps are remembered: then it is too late to try again
					mu.Unlock()
					if again && err != nil && since < vclock.KeptOps {
						o.Retried = true
						other := c.coordinator(1 + rng.Uint64N(5))
						_, err = other.Put(t.Context(), []byte(key), value(fmt.Sprint(n)), o)
						behind.Go(other.Wait)
					}
					mu.Lock()
					writes[key][n].ok = err == nil
					mu.Unlock()
					delete(context, key)
					delete(seen, key)
				}
				if again {
					behind.Go(co.Wait)
				} else {
					co.Wait()
				}
			}
		})
	}
	late := 0
	if again {
		late = 1
	}
	stop := make(chan struct{})
	var faults sync.WaitGroup
	faults.Go(func() {
		for {
			select {
			case <-stop:
				return
			case <-time.After(20 * time.Millisecond):
			}
			id, other := 1+rng.Uint64N(5), 1+rng.Uint64N(5)
			c.mu.Lock()
			switch rng.IntN(6 + late) {
			case 6:
				clear(c.late)
				c.late[id] = time.Duration(rng.IntN(5000)) * time.Millisecond
			case 0:
				clear(c.down)
				c.down[id] = true
			case 1:
				clear(c.cut)
				c.cut[[2]uint64{id, other}] = id != other
			case 2:
				clear(c.down)
				clear(c.cut)
			case 3:
				c.lossy = !c.lossy && !again
			case 4:
				clear(c.slow)
				c.slow[id] = 300 * time.Millisecond
			case 5:
				clear(c.syncs)
				c.syncs[id] = 300 * time.Millisecond
			}
			c.mu.Unlock()
		}
	})
	clients.Wait()
	close(stop)
	faults.Wait()
	behind.Wait()
	c.heal()
	for _, key := range keys {
		held := map[int]bool{}
		for _, s := range c.held(key) {
			held[number(s)] = true
		}
		overwritten := map[int]bool{}
		var mark func(n int)
		mark = func(n int) {
			for m := range writes[key][n].seen {
				if !overwritten[m] {
					overwritten[m] = true
					mark(m)
				}
			}
		}
		for n := range held {
			mark(n)
		}
		for n, w := range writes[key] {
			require.False(t, held[n] && overwritten[n], "seed %d: write %d of %s stands, though one that has seen it is there", seed, n, key)
			require.True(t, !w.ok || held[n] || overwritten[n], "seed %d: write %d of %s was acknowledged and is gone", seed, n, key)
		}
	}
}

func number(s distrib.Sibling) (n int) {
	if _, err := fmt.Sscan(string(s.Value.Data), &n); err != nil {
		panic(err)
	}
	return n
}
