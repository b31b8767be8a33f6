package service

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/test/bufconn"

	"github.com/cambiumdb/cambium/distrib"
	"github.com/cambiumdb/cambium/distrib/api"
	"github.com/cambiumdb/cambium/distrib/coordinator"
	"github.com/cambiumdb/cambium/distrib/hint"
	"github.com/cambiumdb/cambium/distrib/observe"
	"github.com/cambiumdb/cambium/distrib/register"
	"github.com/cambiumdb/cambium/distrib/replica"
	"github.com/cambiumdb/cambium/distrib/ring"
	"github.com/cambiumdb/cambium/distrib/storetest"
	"github.com/cambiumdb/cambium/distrib/vclock"
)

// node is what a node of the cluster under test has.
type node struct {
	store       *storetest.Mem
	own         *replica.Replica
	hints       *hint.Hints
	coordinator *coordinator.Coordinator
}

// cluster is some nodes in one process, and the service of node 1 with a client of it.
type cluster struct {
	server *Server
	client api.KVClient
	counts *prometheus.Registry
	ring   *ring.Ring
	nodes  map[uint64]*node

	mu   sync.Mutex // guards what follows
	time time.Time
	gone map[uint64]bool          // is down, as everybody knows
	down map[uint64]bool          // cannot be reached, which nobody knows
	busy map[uint64]bool          // refuses as overloaded
	held map[string]chan struct{} // requests for these keys wait for the channel
}

// newCluster starts a cluster of which t must leave nothing.
func newCluster(t testing.TB, nodes uint64, limits Limits) *cluster {
	before := goleak.IgnoreCurrent()
	t.Cleanup(func() { goleak.VerifyNone(t, before) })
	c := &cluster{nodes: map[uint64]*node{}, time: time.UnixMilli(1_000_000), gone: map[uint64]bool{}, down: map[uint64]bool{}, busy: map[uint64]bool{}, held: map[string]chan struct{}{}}
	var members []ring.Node
	for id := uint64(1); id <= nodes; id++ {
		members = append(members, ring.Node{ID: id, Name: c.name(id)})
		n := &node{store: storetest.NewMem()}
		births, err := replica.NextRun(n.store, 0)
		require.NoError(t, err)
		n.own = replica.New(replica.Options{Store: n.store, Prefix: distrib.DataPrefix(), Node: id, Births: births})
		n.hints, err = hint.Open(hint.Options{Store: n.store, Node: id, Births: births})
		require.NoError(t, err)
		n.coordinator = coordinator.New(coordinator.Options{Self: id, Run: births.Run(), View: func() (*ring.View, func()) { return ring.Steady(c.ring), func() {} },
			Transport: c, Registers: c, Liveness: c.liveness, Name: c.name})
		t.Cleanup(n.coordinator.Wait)
		c.nodes[id] = n
	}
	var err error
	c.ring, err = ring.New(ring.Options{}, members)
	require.NoError(t, err)
	c.counts = prometheus.NewRegistry()
	c.server = New(Options{Self: "n1", Coordinator: c.nodes[1].coordinator, Name: c.name, Now: c.now, Linearizable: true, Operations: observe.NewOperations(c.counts), Limits: limits})
	c.serve(t)
	return c
}

func (c *cluster) serve(t testing.TB) {
	listener := bufconn.Listen(1 << 20)
	g := grpc.NewServer(ServerOptions()...)
	c.server.Register(g)
	go g.Serve(listener)
	conn, err := grpc.NewClient("passthrough:///n1", grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(func(context.Context, string) (net.Conn, error) { return listener.Dial() }),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(api.MaxAnswerBytes)))
	require.NoError(t, err)
	c.client = api.NewKVClient(conn)
	t.Cleanup(func() {
		c.server.Close()
		_ = conn.Close()
		g.Stop()
	})
}

func (c *cluster) name(id uint64) string { return fmt.Sprintf("n%d", id) }

func (c *cluster) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.time
}

func (c *cluster) pass(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.time = c.time.Add(d)
}

func (c *cluster) liveness(id uint64) distrib.Liveness {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.gone[id] {
		return distrib.Down
	}
	return distrib.Up
}

// set adds nodes to one of the sets of c.
func (c *cluster) set(to map[uint64]bool, nodes ...uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, id := range nodes {
		to[id] = true
	}
}

// hold makes requests for key wait until release is called, or their context ends.
func (c *cluster) hold(key string) (release func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	held := make(chan struct{})
	c.held[key] = held
	return sync.OnceFunc(func() { close(held) })
}

// stored is how many entries all nodes hold.
func (c *cluster) stored(t *testing.T) (n int) {
	for _, node := range c.nodes {
		lower, upper := distrib.TokenBounds(distrib.DataPrefix(), 0, ^uint64(0))
		require.NoError(t, node.store.Scan(lower, upper, func([]byte, []byte) error { n++; return nil }))
	}
	return n
}

// reach waits as long as key is held, and refuses what a node is not fit for.
func (c *cluster) reach(ctx context.Context, to uint64, key []byte) (*node, error) {
	c.mu.Lock()
	held, down, busy := c.held[string(key)], c.down[to] || c.gone[to], c.busy[to]
	c.mu.Unlock()
	switch {
	case down:
		return nil, fmt.Errorf("node %s: connection reset", c.name(to))
	case busy:
		return nil, &distrib.Overloaded{What: "7 requests wait, the limit", RetryAfter: 70 * time.Millisecond}
	case held != nil:
		select {
		case <-held:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	return c.nodes[to], nil
}

func (c *cluster) Put(ctx context.Context, to uint64, r *distrib.PutRequest) (*distrib.PutReply, error) {
	n, err := c.reach(ctx, to, r.Key)
	if err != nil {
		return nil, err
	}
	if r.For != 0 {
		return n.hints.Put(r)
	}
	w, err := n.own.Put(r.Key, replica.Put{Op: r.Op, Past: r.Past, Value: r.Value, Sync: r.Sync, Retried: r.Retried})
	return &distrib.PutReply{Sibling: w.Sibling, Siblings: w.Siblings}, err
}

func (c *cluster) Merge(ctx context.Context, to uint64, r *distrib.MergeRequest) error {
	n, err := c.reach(ctx, to, r.Key)
	if err != nil {
		return err
	}
	if r.For != 0 {
		return n.hints.Merge(r)
	}
	_, err = n.own.Merge(r.Key, r.Record, r.Sync)
	return err
}

func (c *cluster) Read(ctx context.Context, to uint64, r *distrib.ReadRequest) (*distrib.ReadReply, error) {
	n, err := c.reach(ctx, to, r.Key)
	if err != nil {
		return nil, err
	}
	var held replica.Held
	if r.For != 0 {
		held.Record, err = n.hints.Read(r)
	} else {
		held, err = n.own.Hold(r.Key)
	}
	if r.Digest {
		return &distrib.ReadReply{Dots: vclock.Dots(held.Record), Linearizable: held.Linearizable}, err
	}
	return &distrib.ReadReply{Record: held.Record, Linearizable: held.Linearizable}, err
}

func (c *cluster) Keys(ctx context.Context, to uint64, r *distrib.KeysRequest) ([]distrib.KeyDots, error) {
	n, err := c.reach(ctx, to, nil)
	if err != nil {
		return nil, err
	}
	return n.own.Keys(r)
}

// StartStep implements distrib.Registers.
func (c *cluster) StartStep(deadline time.Time, to uint64, key, request []byte, done func(reply []byte, err error)) {
	go func() {
		ctx, cancel := context.WithDeadline(context.Background(), deadline)
		defer cancel()
		n, err := c.reach(ctx, to, key)
		if err != nil {
			done(nil, err)
			return
		}
		done(n.step(key, request))
	}()
}

// StartLearn implements distrib.Registers.
func (c *cluster) StartLearn(deadline time.Time, to uint64, decisions []byte, done func(behind []byte, err error)) {
	go func() {
		ctx, cancel := context.WithDeadline(context.Background(), deadline)
		defer cancel()
		n, err := c.reach(ctx, to, nil)
		if err != nil {
			done(nil, err)
			return
		}
		done(n.learn(decisions))
	}()
}

// learn learns as an acceptor what is decided.
func (n *node) learn(decisions []byte) ([]byte, error) {
	list, err := register.DecodeDecisions(decisions)
	if err != nil {
		return nil, err
	}
	behind, err := n.own.Learn(list)
	if err != nil {
		return nil, err
	}
	return register.AppendBehind(nil, behind), nil
}

// step takes a step as an acceptor.
func (n *node) step(key, request []byte) ([]byte, error) {
	r, err := register.DecodeRequest(request)
	if err != nil {
		return nil, err
	}
	reply, err := n.own.Step(key, 0, 0, &r)
	if err != nil {
		return nil, err
	}
	return register.AppendReply(nil, reply), nil
}

// StartOperate implements distrib.Registers.
func (c *cluster) StartOperate(deadline time.Time, to uint64, key, operation []byte, done func(result []byte, err error)) {
	go func() {
		ctx, cancel := context.WithDeadline(context.Background(), deadline)
		defer cancel()
		n, err := c.reach(ctx, to, key)
		if err != nil {
			done(nil, err)
			return
		}
		n.coordinator.StartServe(deadline, key, operation, done)
	}()
}

// Parts is for exchanges, which no client asks for.
func (c *cluster) Parts(context.Context, uint64, *distrib.PartsRequest) ([]distrib.Part, error) {
	return nil, errors.New("not asked for")
}
