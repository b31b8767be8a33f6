package topology

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/cambiumdb/cambium/distrib"
	"github.com/cambiumdb/cambium/distrib/api"
	"github.com/cambiumdb/cambium/distrib/coordinator"
	"github.com/cambiumdb/cambium/distrib/hint"
	"github.com/cambiumdb/cambium/distrib/meta"
	"github.com/cambiumdb/cambium/distrib/replica"
	"github.com/cambiumdb/cambium/distrib/storetest"
	"github.com/cambiumdb/cambium/distrib/vclock"
)

// cluster is nodes in one process, in virtual time, whose stores survive when they are killed, but for what was not
// durable.
type cluster struct {
	t    *testing.T
	meta *meta.Memory

	mu    sync.Mutex // guards what follows
	rng   *rand.Rand
	nodes map[uint64]*node // that run, or ran last
	since map[uint64]time.Time
	slow  map[uint64]bool // what it sends takes long, most of a coordinator's patience
	dirty map[string]bool
	idle  bool          // nodes hand over nothing by themselves
	gate  chan struct{} // nil, or what removals of ranges wait for
	lacks uint64        // a node whose reads do not count
	seat  uint64        // a node that cannot leave
}

// gated is a store of which the removals of ranges can be made to wait.
type gated struct {
	*storetest.Mem
	*cluster
}

func (g gated) DeleteRange(lower, upper []byte, sync distrib.Sync) error {
	g.mu.Lock()
	gate := g.gate
	g.mu.Unlock()
	if gate != nil {
		<-gate
	}
	return g.Mem.DeleteRange(lower, upper, sync)
}

func (n *node) whole() bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.lacks != n.id
}

func (n *node) mayLeave() error {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.seat == n.id {
		return errors.New("it keeps ring metadata")
	}
	return nil
}

func (c *cluster) setSeat(id uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.seat = id
}

func (c *cluster) setLacks(id uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.lacks = id
}

func (c *cluster) shut(gate chan struct{}) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.gate = gate
}

// node is a run of a node.
type node struct {
	*cluster
	id      uint64
	store   *storetest.Mem
	own     *replica.Replica
	hints   *hint.Hints
	mover   *Mover
	co      *coordinator.Coordinator
	cancel  context.CancelFunc
	running sync.WaitGroup
	killed  bool // guarded by cluster.mu
}

// suspicion is how long it takes until others think that a node is down.
const suspicion = time.Second

func newCluster(t *testing.T, seed uint64, nodes int) *cluster {
	c := &cluster{t: t, meta: meta.NewMemory(), rng: rand.New(rand.NewPCG(seed, 1)), nodes: map[uint64]*node{}, since: map[uint64]time.Time{}, slow: map[uint64]bool{}, dirty: map[string]bool{}}
	topology := &distrib.Topology{ClusterID: "c", Epoch: 1, Replicas: 3, Members: members(1, 2, 3)}
	for id := 4; id <= nodes; id++ {
		topology.Joining = append(topology.Joining, members(uint64(id))...)
	}
	_, err := c.meta.Update(t.Context(), topology, 0)
	require.NoError(t, err)
	for id := range uint64(nodes) {
		c.start(id+1, storetest.NewMem())
	}
	return c
}

// start begins a run of a node with a store.
func (c *cluster) start(id uint64, store *storetest.Mem) {
	n := &node{cluster: c, id: id, store: store}
	births, err := replica.NextRun(store, 0)
	require.NoError(c.t, err)
	n.own = replica.New(replica.Options{Store: gated{store, c}, Prefix: distrib.DataPrefix(), Node: id, Births: births})
	n.hints, err = hint.Open(hint.Options{Store: store, Node: id, Births: births})
	require.NoError(c.t, err)
	n.mover, err = New(Options{Self: id, Store: store, Replica: n.own, Hints: n.hints, Meta: c.meta, Transport: n, Liveness: c.liveness, Ask: n.ask, Whole: n.whole, MayLeave: n.mayLeave})
	require.NoError(c.t, err)
	t, _, err := c.meta.Load(c.t.Context())
	require.NoError(c.t, err)
	require.NoError(c.t, n.mover.Adopt(t))
	n.co = coordinator.New(coordinator.Options{
		Self: id, View: n.mover.View, Transport: n, Liveness: c.liveness,
		Unfinished: func(key []byte) {
			c.mu.Lock()
			defer c.mu.Unlock()
			c.dirty[string(key)] = true
		},
	})
	ctx, cancel := context.WithCancel(context.Background())
	n.cancel = cancel
	n.running.Go(func() { n.mover.Run(ctx) })
	n.running.Go(func() {
		c.meta.Watch(ctx, func(t *distrib.Topology, _ int64) {
			time.Sleep(c.some(400 * time.Millisecond)) // not all hear of it at once
			_ = n.mover.Adopt(t)
		})
	})
	n.running.Go(func() { n.drain(ctx) })
	c.mu.Lock()
	defer c.mu.Unlock()
	c.nodes[id] = n
}

// drain hands over what the node keeps for others.
func (n *node) drain(ctx context.Context) {
	for ctx.Err() == nil {
		for _, k := range n.hints.Kept() {
			if n.liveness(k.Target) != distrib.Down && !n.quiet() {
				_, _ = n.hints.Drain(ctx, k.Target, func(key []byte, r distrib.Record) error { return n.mover.Deliver(ctx, k.Target, key, r) })
			}
		}
		select {
		case <-time.After(time.Second):
		case <-ctx.Done():
		}
	}
}

// kill ends a run: nothing goes in or out any more, and what was not durable may be gone.
func (c *cluster) kill(id uint64) {
	c.mu.Lock()
	n := c.nodes[id]
	n.killed = true
	c.since[id] = time.Now()
	c.mu.Unlock()
	n.cancel()
	n.running.Wait()
	n.co.Wait()
}

// restart begins another run of a node that was killed. Of what was not durable it has the first keep changes; -1: some.
func (c *cluster) restart(id uint64, keep int) {
	n := c.node(id)
	c.mu.Lock()
	if keep < 0 {
		keep = c.rng.IntN(n.store.Unsynced() + 1)
	}
	delete(c.since, id)
	c.mu.Unlock()
	c.start(id, n.store.Crash(keep))
}

func (c *cluster) quiet() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.idle
}

// slowly makes what a node sends to others take long.
func (c *cluster) slowly(id uint64, slow bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.slow[id] = slow
}

// delay is how long a message of a node is under way.
func (n *node) delay() time.Duration {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.slow[n.id] {
		return time.Duration(n.rng.Int64N(int64(1900 * time.Millisecond)))
	}
	return time.Duration(n.rng.Int64N(int64(3 * time.Millisecond)))
}

func (c *cluster) node(id uint64) *node {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.nodes[id]
}

func (c *cluster) some(d time.Duration) time.Duration {
	c.mu.Lock()
	defer c.mu.Unlock()
	return time.Duration(c.rng.Int64N(int64(d)))
}

// strange is a dot that no node has given.
func (c *cluster) strange() vclock.Dot {
	return vclock.Dot{Actor: vclock.Actor{Node: 9, Birth: uint64(c.some(1<<60)) + 1}, Counter: 1}
}

func (c *cluster) liveness(id uint64) distrib.Liveness {
	c.mu.Lock()
	defer c.mu.Unlock()
	if at, down := c.since[id]; down && time.Since(at) > suspicion {
		return distrib.Down
	}
	return distrib.Up
}

func (n *node) dead() bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.killed
}

var errLost = errors.New("the connection broke")

// reach carries a request to a node, and answered its answer back.
func (n *node) reach(ctx context.Context, to uint64) (at *node, answered func(error) error, err error) {
	if n.dead() {
		return nil, nil, errLost
	}
	if to == n.id {
		return n, func(err error) error { return err }, nil
	}
	epoch := n.mover.topology().Epoch
	select {
	case <-time.After(n.delay()):
	case <-ctx.Done():
		return nil, nil, ctx.Err()
	}
	at = n.node(to)
	if at.dead() {
		return nil, nil, distrib.ErrUnreachable
	}
	release, err := at.mover.Admit(n.id, epoch)
	if err != nil {
		return nil, nil, err
	}
	return at, func(err error) error {
		release()
		time.Sleep(n.some(3 * time.Millisecond))
		if at.dead() || n.dead() {
			return errLost
		}
		return err
	}, nil
}

func (n *node) ask(ctx context.Context, m distrib.Member, r *api.StageRequest) (*api.StageResponse, error) {
	at := n.node(m.ID)
	if n.dead() || at.dead() {
		return nil, errLost
	}
	return at.mover.Stage(ctx, r)
}

func (n *node) Put(ctx context.Context, to uint64, r *distrib.PutRequest) (*distrib.PutReply, error) {
	at, answered, err := n.reach(ctx, to)
	if err != nil {
		return nil, err
	}
	if r.For != 0 {
		reply, err := at.hints.Put(r)
		return reply, answered(err)
	}
	w, err := at.own.Put(r.Key, replica.Put{Op: r.Op, Past: r.Past, Value: r.Value, Sync: r.Sync, Retried: r.Retried})
	return &distrib.PutReply{Sibling: w.Sibling, Siblings: w.Siblings}, answered(err)
}

func (n *node) Merge(ctx context.Context, to uint64, r *distrib.MergeRequest) error {
	at, answered, err := n.reach(ctx, to)
	if err != nil {
		return err
	}
	if r.For != 0 {
		return answered(at.hints.Merge(r))
	}
	_, err = at.own.Merge(r.Key, r.Record, r.Sync)
	return answered(err)
}

func (n *node) Read(ctx context.Context, to uint64, r *distrib.ReadRequest) (*distrib.ReadReply, error) {
	at, answered, err := n.reach(ctx, to)
	if err != nil {
		return nil, err
	}
	var record distrib.Record
	if r.For != 0 {
		record, err = at.hints.Read(r)
	} else {
		record, err = at.own.Read(r.Key)
	}
	reply := &distrib.ReadReply{Record: record, Dots: vclock.Dots(record)}
	if r.Digest {
		reply.Record = nil
	}
	return reply, answered(err)
}

func (n *node) Parts(ctx context.Context, to uint64, r *distrib.PartsRequest) ([]distrib.Part, error) {
	at, answered, err := n.reach(ctx, to)
	if err != nil {
		return nil, err
	}
	parts, err := at.own.Parts(r)
	return parts, answered(err)
}

func (n *node) Keys(ctx context.Context, to uint64, r *distrib.KeysRequest) ([]distrib.KeyDots, error) {
	at, answered, err := n.reach(ctx, to)
	if err != nil {
		return nil, err
	}
	keys, err := at.own.Keys(r)
	return keys, answered(err)
}

// topology is what the metadata store has.
func (c *cluster) topology() *distrib.Topology {
	t, _, err := c.meta.Load(context.Background())
	require.NoError(c.t, err)
	return t
}

// alive is a member that runs, at random.
func (c *cluster) alive() *node {
	list := c.topology().Members
	c.mu.Lock()
	defer c.mu.Unlock()
	list = slices.DeleteFunc(list, func(m distrib.Member) bool { return c.nodes[m.ID].killed })
	return c.nodes[list[c.rng.IntN(len(list))].ID]
}

// change plans changes, commits them at another node, and returns the plan.
func (c *cluster) change(changes ...*api.Change) *api.PlanResponse {
	p, err := c.alive().mover.Plan(c.t.Context(), &api.PlanRequest{Changes: changes})
	require.NoError(c.t, err)
	_, err = c.alive().mover.Commit(c.t.Context(), &api.CommitRequest{Id: p.Id})
	require.NoError(c.t, err)
	return p
}

// join plans and commits that a node becomes a member.
func (c *cluster) join(node string) *api.PlanResponse {
	return c.change(&api.Change{Kind: "join", Node: node})
}

// settled waits until no change is under way, and all have removed what they have lost.
func (c *cluster) settled() {
	for deadline := time.Now().Add(time.Hour); c.topology().Change != nil; time.Sleep(time.Second) {
		if time.Now().After(deadline) {
			c.t.Fatalf("it stands still: %v", c.alive().mover.Status(c.t.Context()))
		}
	}
	time.Sleep(time.Minute)
}

// moved is how many bytes the nodes were given by a change.
func (c *cluster) moved(change string) (bytes int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, n := range c.nodes {
		n.mover.mu.Lock()
		if n.mover.at.Change == change {
			bytes += n.mover.at.Bytes
		}
		n.mover.mu.Unlock()
	}
	return bytes
}

// stop ends all nodes.
func (c *cluster) stop() {
	for id := range c.nodes {
		c.kill(id)
	}
}

func keyOf(i int) []byte { return fmt.Appendf(nil, "key %d", i) }
