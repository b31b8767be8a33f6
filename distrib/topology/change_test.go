package topology

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/cambiumdb/cambium/distrib"
	"github.com/cambiumdb/cambium/distrib/api"
	"github.com/cambiumdb/cambium/distrib/coordinator"
	"github.com/cambiumdb/cambium/distrib/ring"
	"github.com/cambiumdb/cambium/distrib/vclock"
)

// preload writes keys that nobody overwrites.
func (c *cluster) preload(keys int) {
	for i := range keys {
		_, err := c.alive().co.Put(c.t.Context(), keyOf(i), distrib.Value{Data: make([]byte, 2000)}, coordinator.WriteOptions{W: 3})
		require.NoError(c.t, err)
	}
}

// requirePlaced checks that the owners of a key hold the same of it and others nothing. It returns what they hold.
func (c *cluster) requirePlaced(key []byte) (record distrib.Record) {
	v := c.node(c.topology().Members[0].ID).mover.views.current.Load()
	require.Nil(c.t, v.topology.Change)
	var owners []uint64
	for _, s := range v.view.Seats(ring.TokenOf(key)) {
		owners = append(owners, s.Node)
	}
	first := true
	for id, n := range c.nodes {
		held, err := n.own.Read(key)
		require.NoError(c.t, err)
		switch {
		case !slices.Contains(owners, id):
			if in(v.topology.Members, id) {
				require.Empty(c.t, held, "node %d holds %q and does not own it", id, key)
			}
		case first:
			record, first = held, false
		default:
			require.Equal(c.t, vclock.Dots(record), vclock.Dots(held), "%q at node %d of %v", key, id, owners)
		}
	}
	return record
}

// requireEach checks that so many keys that were preloaded are placed, each with its one value.
func (c *cluster) requireEach(keys int) {
	for i := range keys {
		require.Len(c.t, c.requirePlaced(keyOf(i)), 1)
	}
}

// requireMoved checks what moved against the plan.
func (c *cluster) requireMoved(p *api.PlanResponse) {
	require.NotZero(c.t, p.Bytes)
	require.InEpsilon(c.t, p.Bytes, c.moved(p.Id), 0.1, "plan %s", p.Id)
}

// TestJoinAndLeave: each key is where it belongs after each change, and what moved is what was planned.
func TestJoinAndLeave(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, 1, 5)
		defer c.stop()
		const keys = 300
		c.preload(keys)
		check := func() {
			t.Helper()
			c.requireEach(keys)
		}
		p := c.join("n4")
		require.Len(t, p.Moves, 3)
		c.settled()
		check()
		c.requireMoved(p)
		p = c.change(&api.Change{Kind: "join", Node: "n5"}, &api.Change{Kind: "leave", Node: "n1"})
		c.settled()
		require.Equal(t, "n2 n3 n4 n5", names(c.topology().Members))
		check()
		c.requireMoved(p)
		p = c.change(&api.Change{Kind: "weight", Node: "n2", Weight: 0.5})
		c.settled()
		check()
		c.requireMoved(p)
	})
}

// TestLeaveDead: what a dead node had comes from the others, and it is not heard any more.
func TestLeaveDead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, 1, 4)
		defer c.stop()
		const keys = 200
		c.preload(keys)
		c.join("n4")
		c.settled()
		dead := c.node(2)
		c.kill(2)
		time.Sleep(2 * suspicion)
		for i := range keys { // what is kept for it goes to whom it belongs then
			_, err := c.node(1).co.Put(t.Context(), keyOf(i), distrib.Value{Data: []byte("new")}, coordinator.WriteOptions{})
			require.NoError(t, err)
		}
		p := c.change(&api.Change{Kind: "leave", Node: "n2"})
		require.Contains(t, p.Notes, "n2 is down: what only it has is lost")
		c.settled()
		for _, n := range c.nodes {
			for _, k := range n.hints.Kept() {
				_, err := n.hints.Drain(t.Context(), k.Target, func(key []byte, r distrib.Record) error { return n.mover.Deliver(t.Context(), k.Target, key, r) })
				require.NoError(t, err)
			}
		}
		for i := range keys {
			require.Len(t, c.requirePlaced(keyOf(i)), 2)
		}
		_, err := c.node(1).mover.Admit(2, dead.mover.topology().Epoch)
		require.ErrorIs(t, err, distrib.ErrRefused)
	})
}

// TestAbort: all is as before, and what was given is removed.
func TestAbort(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, 1, 4)
		defer c.stop()
		c.preload(100)
		p := c.join("n4")
		for c.topology().Change.Stage != distrib.StageVerify {
			time.Sleep(10 * time.Millisecond)
		}
		held, err := c.node(4).own.Keys(&distrib.KeysRequest{Last: 1<<64 - 1, Limit: 1000})
		require.NoError(t, err)
		require.NotEmpty(t, held)
		_, err = c.node(3).mover.Abort(t.Context(), &api.AbortRequest{Id: "other"})
		require.ErrorContains(t, err, "the change under way is "+p.Id)
		_, err = c.node(3).mover.Abort(t.Context(), &api.AbortRequest{Id: p.Id})
		require.NoError(t, err)
		c.settled()
		require.Equal(t, "n1 n2 n3", names(c.topology().Members))
		require.Equal(t, "n4", names(c.topology().Joining))
		c.requireEach(100)
		held, err = c.node(4).own.Keys(&distrib.KeysRequest{Last: 1<<64 - 1, Limit: 1000})
		require.NoError(t, err)
		require.Empty(t, held)
		c.meta.SetDown(true)
		_, err = c.node(1).mover.Commit(t.Context(), &api.CommitRequest{Id: p.Id})
		require.ErrorContains(t, err, "does not answer: changes of the topology are refused")
		c.meta.SetDown(false)
	})
}

// TestNothingIsLost: nodes join and leave under load, while the owner of the change, those who give and those who get
// are killed at each stage. No write fails but those of a node that is killed; every one that was acknowledged is there
// afterwards, or one that has seen it; each key is where it belongs; and what moved is what was planned.
func TestNothingIsLost(t *testing.T) {
	for seed := range uint64(3) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { nothingIsLost(t, seed) })
		})
	}
}

type written struct {
	seen map[int]bool
	ok   bool
}

// load is clients that read and write a few keys.
type load struct {
	*cluster
	stop chan struct{}
	all  sync.WaitGroup

	mu     sync.Mutex // guards writes
	writes map[string][]written
}

// key is one of a few that are read and written again and again, or one of which nobody ever hears again: nothing mends
// what is wrong with it.
func (l *load) key(rng *rand.Rand) []byte {
	if rng.IntN(3) > 0 {
		return fmt.Appendf(nil, "once %x", rng.Uint64())
	}
	return fmt.Appendf(nil, "hot %d", rng.IntN(12))
}

func (l *load) client(seed, client uint64) {
	rng := rand.New(rand.NewPCG(seed, 10+client))
	contexts, seen := map[string]vclock.Seen{}, map[string]map[int]bool{}
	for {
		select {
		case <-l.stop:
			return
		case <-time.After(time.Duration(rng.IntN(80)) * time.Millisecond):
		}
		n, key := l.alive(), l.key(rng)
		ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
		if rng.IntN(2) == 0 && key[0] == 'h' {
			got, err := n.co.Get(ctx, key, coordinator.ReadOptions{})
			if err == nil {
				contexts[string(key)], seen[string(key)] = got.Context, map[int]bool{}
				for _, s := range got.Record {
					seen[string(key)][number(s)] = true
				}
			} else if !n.dead() {
				l.t.Errorf("get %s: %v", key, err)
			}
			cancel()
			continue
		}
		l.mu.Lock()
		i := len(l.writes[string(key)])
		l.writes[string(key)] = append(l.writes[string(key)], written{seen: seen[string(key)]})
		l.mu.Unlock()
		_, err := n.co.Put(ctx, key, distrib.Value{Data: fmt.Append(nil, i)}, coordinator.WriteOptions{Context: contexts[string(key)]})
		cancel()
		if err != nil && !n.dead() {
			l.t.Errorf("put %s at node %d in stage %v: %v", key, n.id, l.topology().Change, err)
		}
		l.mu.Lock()
		l.writes[string(key)][i].ok = err == nil
		l.mu.Unlock()
		delete(contexts, string(key))
		delete(seen, string(key))
	}
}

func number(s distrib.Sibling) (n int) {
	if _, err := fmt.Sscan(string(s.Value.Data), &n); err != nil {
		panic(err)
	}
	return n
}

// chaos kills a node in each stage, or has it send slowly, for some time.
func (l *load) chaos(seed uint64) {
	rng := rand.New(rand.NewPCG(seed, 2))
	last := ""
	for {
		select {
		case <-l.stop:
			return
		case <-time.After(20 * time.Millisecond):
		}
		t := l.topology()
		if t.Change == nil || partOf(t) == last {
			continue
		}
		last = partOf(t)
		all := participants(t)
		victim := all[rng.IntN(len(all))].ID
		if rng.IntN(3) == 0 {
			victim = t.Change.Owner
		}
		time.Sleep(time.Duration(rng.IntN(300)) * time.Millisecond)
		if rng.IntN(3) == 0 {
			l.slowly(victim, true)
			time.Sleep(time.Duration(rng.IntN(5000)) * time.Millisecond)
			l.slowly(victim, false)
			continue
		}
		l.kill(victim)
		time.Sleep(time.Duration(rng.IntN(5000)) * time.Millisecond)
		l.restart(victim, -1)
		time.Sleep(suspicion)
	}
}

func nothingIsLost(t *testing.T, seed uint64) {
	c := newCluster(t, seed, 5)
	defer c.stop()
	c.preload(400)
	l := &load{cluster: c, stop: make(chan struct{}), writes: map[string][]written{}}
	for client := range uint64(4) {
		l.all.Go(func() { l.client(seed, client) })
	}
	l.all.Go(func() { l.chaos(seed) })
	for _, changes := range [][]*api.Change{
		{{Kind: "join", Node: "n4"}},
		{{Kind: "join", Node: "n5"}},
		{{Kind: "leave", Node: "n1"}},
	} {
		p := c.change(changes...)
		c.settled()
		c.requireMoved(p)
	}
	close(l.stop)
	l.all.Wait()
	time.Sleep(time.Minute) // what is kept for others is handed over
	for _, n := range c.nodes {
		require.Empty(t, n.hints.Kept(), "node %d", n.id)
	}
	for key := range c.dirty {
		n := c.alive()
		_, err := n.co.Get(t.Context(), []byte(key), coordinator.ReadOptions{R: 3, Strict: true, Repair: true})
		require.NoError(t, err)
		n.co.Wait()
	}
	c.requireEach(400)
	acked := 0
	for key := range l.writes {
		acked += l.requireKept([]byte(key))
	}
	require.Greater(t, acked, 500)
}

// requireKept checks that what was acknowledged of a key is there, or what has seen it, and nothing that such has.
func (l *load) requireKept(key []byte) (acked int) {
	held, overwritten := map[int]bool{}, map[int]bool{}
	for _, s := range l.requirePlaced(key) {
		held[number(s)] = true
	}
	writes := l.writes[string(key)]
	var mark func(n int)
	mark = func(n int) {
		for m := range writes[n].seen {
			if !overwritten[m] {
				overwritten[m] = true
				mark(m)
			}
		}
	}
	for n := range held {
		mark(n)
	}
	for n, w := range writes {
		if w.ok {
			acked++
		}
		require.False(l.t, held[n] && overwritten[n], "write %d of %s stands, though one that has seen it is there", n, key)
		require.True(l.t, !w.ok || held[n] || overwritten[n], "write %d of %s was acknowledged and is gone", n, key)
	}
	return acked
}
