package coordinator

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/cambiumdb/cambium/distrib"
	"github.com/cambiumdb/cambium/distrib/hint"
	"github.com/cambiumdb/cambium/distrib/register"
	"github.com/cambiumdb/cambium/distrib/replica"
	"github.com/cambiumdb/cambium/distrib/ring"
	"github.com/cambiumdb/cambium/distrib/storetest"
	"github.com/cambiumdb/cambium/distrib/vclock"
)

// node is what a node of the cluster under test has.
type node struct {
	store *storetest.Mem
	own   *replica.Replica
	hints *hint.Hints

	mu     sync.Mutex // guards what follows, and puts against steps
	states map[string]register.State
}

// cluster is five nodes in one process, whose network does what a test says. It runs in virtual time.
type cluster struct {
	t     *testing.T
	ring  *ring.Ring
	nodes map[uint64]*node

	mu           sync.Mutex // guards what follows
	rng          *rand.Rand
	down         map[uint64]bool          // answers nothing, and everybody knows
	cut          map[[2]uint64]bool       // from, to: calls hang until their context ends
	full         map[uint64]bool          // refuses all
	slow         map[uint64]time.Duration // takes so long
	reads        int                      // requests
	coordinators []*Coordinator
	gone         map[uint64]bool          // there is no way to it
	lossy        bool                     // some requests, and some answers, are lost
	syncs        map[uint64]time.Duration // how long a sync of what it stored first takes
	broken       map[uint64]error         // what comes of it
	writes       int                      // likewise
	dirty        map[string]bool
	// opinion is what nodes think of those that are not down, observed what they heard of others, since it was cleared.
	opinion  map[uint64]distrib.Liveness
	observed []observed
	limits   Limits
	late     map[uint64]time.Duration // for how long it keeps requests to store something first
	holds    map[uint64]chan struct{} // it stores nothing first until that is closed
	servers  map[uint64]*Coordinator  // that carry out operations for others
	runs     uint64
	unasked  map[uint64]bool // it refuses to take steps
}

func newCluster(t *testing.T, seed uint64) *cluster { return newClusterOf(t, seed, 5) }

func newClusterOf(t *testing.T, seed, nodes uint64) *cluster {
	var members []ring.Node
	c := &cluster{t: t, nodes: map[uint64]*node{}, rng: rand.New(rand.NewPCG(seed, 1)), down: map[uint64]bool{}, cut: map[[2]uint64]bool{}, full: map[uint64]bool{}, slow: map[uint64]time.Duration{}, gone: map[uint64]bool{}, syncs: map[uint64]time.Duration{}, broken: map[uint64]error{}, dirty: map[string]bool{}, late: map[uint64]time.Duration{}, opinion: map[uint64]distrib.Liveness{}, servers: map[uint64]*Coordinator{}, unasked: map[uint64]bool{}}
	for id := uint64(1); id <= nodes; id++ {
		members = append(members, ring.Node{ID: id, Name: fmt.Sprintf("n%d", id)})
		c.nodes[id] = &node{store: storetest.NewMem(), states: map[string]register.State{}}
		c.start(id)
	}
	r, err := ring.New(ring.Options{}, members)
	require.NoError(t, err)
	c.ring = r
	return c
}

// start starts a node on what its store holds.
func (c *cluster) start(id uint64) {
	n := c.nodes[id]
	births, err := replica.NextRun(n.store, 0)
	require.NoError(c.t, err)
	n.own = replica.New(replica.Options{Store: n.store, Prefix: distrib.DataPrefix(), Node: id, Births: births})
	n.hints, err = hint.Open(hint.Options{Store: n.store, Node: id, Births: births})
	require.NoError(c.t, err)
}

func (c *cluster) liveness(id uint64) distrib.Liveness {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.down[id] {
		return distrib.Down
	}
	return c.opinion[id]
}

func (c *cluster) observe(id uint64, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, known := range []error{nil, distrib.ErrUnreachable, context.DeadlineExceeded, err} {
		if errors.Is(err, known) {
			c.observed = append(c.observed, observed{id, known})
			return
		}
	}
}

type observed struct {
	node uint64
	err  error
}

// coordinator is the one of node id.
func (c *cluster) coordinator(id uint64) *Coordinator {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.runs++ // each is a start of the node to its proposers
	co := New(Options{
		Self: id, Run: c.runs, Registers: &link{c, id}, View: func() (*ring.View, func()) { return ring.Steady(c.ring), func() {} }, Transport: &link{c, id}, Liveness: c.liveness, Observe: c.observe, Limits: c.limits,
		Name: func(id uint64) string { return fmt.Sprintf("n%d", id) }, Settle: func() error { return c.settle(id) },
		Unfinished: func(key []byte) {
			c.mu.Lock()
			defer c.mu.Unlock()
			c.dirty[string(key)] = true
		},
	})
	c.coordinators = append(c.coordinators, co)
	return co
}

// server is the coordinator of a node that carries out operations for others.
func (c *cluster) server(id uint64) *Coordinator {
	c.mu.Lock()
	co := c.servers[id]
	c.mu.Unlock()
	if co == nil {
		co = c.coordinator(id)
		c.mu.Lock()
		defer c.mu.Unlock()
		c.servers[id] = co
	}
	return co
}

// wait waits for what all coordinators do behind their answers.
func (c *cluster) wait() {
	c.mu.Lock()
	coordinators := c.coordinators
	c.mu.Unlock()
	for _, co := range coordinators {
		co.Wait()
	}
}

// settle syncs what a node has stored, when its device has done that.
func (c *cluster) settle(id uint64) error {
	c.mu.Lock()
	delay, err := c.syncs[id], c.broken[id]
	c.mu.Unlock()
	time.Sleep(delay)
	if err != nil {
		return err
	}
	return c.nodes[id].own.Settle()
}

// heal ends all faults, hands over all hints and compares the nodes of each dirty key.
func (c *cluster) heal() {
	c.mu.Lock()
	c.down, c.cut, c.slow, c.lossy = map[uint64]bool{}, map[[2]uint64]bool{}, map[uint64]time.Duration{}, false
	c.mu.Unlock()
	for id, n := range c.nodes {
		for _, kept := range n.hints.Kept() {
			_, err := n.hints.Drain(c.t.Context(), kept.Target, func(key []byte, record distrib.Record) error {
				return (&link{c, id}).Merge(c.t.Context(), kept.Target, &distrib.MergeRequest{Key: key, Record: record})
			})
			require.NoError(c.t, err)
		}
		require.Empty(c.t, n.hints.Kept())
	}
	for key := range c.dirty {
		co := c.coordinator(1)
		_, err := co.Get(c.t.Context(), []byte(key), ReadOptions{R: 3, Strict: true, Repair: true})
		require.NoError(c.t, err)
		co.Wait()
	}
}

// held is what the owners of key hold; they must hold the same.
func (c *cluster) held(key string) distrib.Record {
	var first distrib.Record
	for i, n := range c.ring.Replicas(ring.TokenOf([]byte(key))) {
		record, err := c.nodes[c.ring.Node(n).ID].own.Read([]byte(key))
		require.NoError(c.t, err)
		if i == 0 {
			first = record
		}
		require.Equal(c.t, vclock.Dots(first), vclock.Dots(record), "replica %d of %s", i, key)
	}
	return first
}

func value(s string) distrib.Value { return distrib.Value{Data: []byte(s)} }

func texts(r distrib.Record) string {
	var out []string
	for _, s := range r {
		out = append(out, string(s.Value.Data))
	}
	return strings.Join(out, " ")
}

func TestPutGetDelete(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, 1)
		for id := uint64(1); id <= 5; id++ { // owners of the key and others
			co, key := c.coordinator(id), fmt.Appendf(nil, "key %d", id)
			put, err := co.Put(t.Context(), key, value("red"), WriteOptions{})
			require.NoError(t, err)
			require.Equal(t, 1, put.Siblings)
			require.GreaterOrEqual(t, len(put.Places), 2)
			got, err := c.coordinator(id%5+1).Get(t.Context(), key, ReadOptions{})
			require.NoError(t, err)
			require.Equal(t, "red", texts(got.Record))
			require.Equal(t, put.Context, got.Context)

			_, err = co.Put(t.Context(), key, value("blue"), WriteOptions{W: 3})
			require.NoError(t, err)
			got, err = co.Get(t.Context(), key, ReadOptions{R: 3})
			require.NoError(t, err)
			require.Len(t, got.Record, 2, "written without context")
			_, err = co.Put(t.Context(), key, distrib.Value{Deleted: true}, WriteOptions{W: 3, Context: got.Context})
			require.NoError(t, err)
			got, err = co.Get(t.Context(), key, ReadOptions{R: 1})
			require.NoError(t, err)
			require.Len(t, got.Record, 1)
			require.True(t, got.Record[0].Value.Deleted)
			co.Wait()
			c.held(string(key))
		}
		require.Empty(t, c.dirty)
	})
}

// TestOneNodeDown: with W=2 nothing fails, what the node missed is kept for it, and it has it afterwards.
func TestOneNodeDown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, 1)
		c.down[3] = true
		var work []*Coordinator
		for i := range 100 {
			co := c.coordinator([]uint64{1, 2, 4, 5}[i%4])
			_, err := co.Put(t.Context(), fmt.Appendf(nil, "k%d", i), value("v"), WriteOptions{})
			require.NoError(t, err)
			got, err := co.Get(t.Context(), fmt.Appendf(nil, "k%d", i), ReadOptions{})
			require.NoError(t, err)
			require.Equal(t, "v", texts(got.Record))
			work = append(work, co)
		}
		for _, co := range work {
			co.Wait()
		}
		require.Empty(t, c.dirty, "every write has three places")
		kept := int64(0)
		for _, n := range c.nodes {
			for _, k := range n.hints.Kept() {
				require.EqualValues(t, 3, k.Target)
				kept += k.Bytes
			}
		}
		require.NotZero(t, kept)
		c.heal()
		for i := range 100 {
			require.Equal(t, "v", texts(c.held(fmt.Sprintf("k%d", i))))
		}
	})
}

// TestThreeNodesOneDown: nobody is left to stand in, so a node that has a write keeps it for the one that is down.
func TestThreeNodesOneDown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newClusterOf(t, 1, 3)
		c.down[3] = true
		co := c.coordinator(1)
		for i := range 50 {
			put, err := co.Put(t.Context(), fmt.Appendf(nil, "k%d", i), value("v"), WriteOptions{})
			require.NoError(t, err)
			require.ElementsMatch(t, []Place{{Node: 1}, {Node: 2}}, put.Places, "what is kept does not count")
		}
		co.Wait()
		require.Empty(t, c.dirty)
		require.Len(t, c.nodes[1].hints.Kept(), 1)
		c.heal()
		for i := range 50 {
			require.Equal(t, "v", texts(c.held(fmt.Sprintf("k%d", i))))
		}
	})
}

// TestTooManySiblings: a write past the limit is refused, and nobody keeps it for anybody.
func TestTooManySiblings(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, 1)
		co := c.coordinator(1)
		for range distrib.SiblingsMax {
			_, err := co.Put(t.Context(), []byte("k"), value("v"), WriteOptions{W: 3})
			require.NoError(t, err)
			co.Wait()
		}
		_, err := co.Put(t.Context(), []byte("k"), value("v"), WriteOptions{})
		var e *Error
		require.ErrorAs(t, err, &e)
		require.Equal(t, Failed, e.Outcome)
		require.ErrorIs(t, err, distrib.ErrTooManySiblings)
		co.Wait()
		for id := range c.nodes {
			require.Empty(t, c.nodes[id].hints.Kept())
		}
		require.Len(t, c.held("k"), distrib.SiblingsMax)
	})
}

// TestHangingNode: a node that does not answer delays nothing for longer than the patience with it.
func TestHangingNode(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, 1)
		key := []byte("k")
		owners := c.ring.Replicas(ring.TokenOf(key))
		self, hangs := c.ring.Node(owners[0]).ID, c.ring.Node(owners[1]).ID
		c.cut[[2]uint64{self, hangs}] = true
		co := c.coordinator(self)
		start := time.Now()
		_, err := co.Put(t.Context(), key, value("v"), WriteOptions{})
		require.NoError(t, err)
		require.Less(t, time.Since(start), 100*time.Millisecond, "two others have it")
		got, err := co.Get(t.Context(), key, ReadOptions{})
		require.NoError(t, err)
		require.Equal(t, "v", texts(got.Record))
		require.Less(t, time.Since(start), 3*time.Second)
		co.Wait()
		require.Empty(t, c.dirty)
		c.heal()
		require.Equal(t, "v", texts(c.held("k")))
	})
}

// TestPartition: both sides write one key; after healing both values come back as siblings.
func TestPartition(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, 1)
		side := map[uint64]int{1: 0, 2: 0, 3: 1, 4: 1, 5: 1}
		for a := range side {
			for b := range side {
				c.cut[[2]uint64{a, b}] = side[a] != side[b]
			}
		}
		for id, text := range map[uint64]string{1: "left", 4: "right"} {
			co := c.coordinator(id)
			ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
			_, err := co.Put(ctx, []byte("k"), value(text), WriteOptions{})
			cancel()
			require.NoError(t, err, "%s", text)
			co.Wait()
		}
		c.heal()
		require.ElementsMatch(t, []string{"left", "right"}, strings.Fields(texts(c.held("k"))))
		co := c.coordinator(2)
		got, err := co.Get(t.Context(), []byte("k"), ReadOptions{})
		require.NoError(t, err)
		put, err := co.Put(t.Context(), []byte("k"), value("both"), WriteOptions{Context: got.Context})
		require.NoError(t, err)
		require.Equal(t, 1, put.Siblings)
		co.Wait()
		require.Equal(t, "both", texts(c.held("k")))
	})
}

func TestAll(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		co := newCluster(t, 1).coordinator(1)
		put, err := co.Put(t.Context(), []byte("k"), value("v"), WriteOptions{W: All})
		require.NoError(t, err)
		require.Len(t, put.Places, 3)
		got, err := co.Get(t.Context(), []byte("k"), ReadOptions{R: All})
		require.NoError(t, err)
		require.Len(t, got.Places, 3)
		_, err = co.Get(t.Context(), []byte("k"), ReadOptions{R: 4})
		require.Equal(t, &QuorumError{"R", 4, 3}, errors.Unwrap(err))
	})
}
