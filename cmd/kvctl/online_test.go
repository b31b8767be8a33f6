package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/cambiumdb/cambium/distrib"
	"github.com/cambiumdb/cambium/distrib/api"
	"github.com/cambiumdb/cambium/distrib/certs"
	"github.com/cambiumdb/cambium/distrib/coordinator"
	"github.com/cambiumdb/cambium/distrib/register"
	"github.com/cambiumdb/cambium/distrib/replica"
	"github.com/cambiumdb/cambium/distrib/ring"
	"github.com/cambiumdb/cambium/distrib/service"
	"github.com/cambiumdb/cambium/distrib/storetest"
	"github.com/cambiumdb/cambium/distrib/vclock"
)

// testCluster is three nodes in this process that keep records in memory and serve the API over loopback. They have
// no hints: nobody stands in.
type testCluster struct {
	ring  *ring.Ring
	nodes map[uint64]*testNode

	mu   sync.Mutex // guards what follows
	down map[uint64]bool
}

// testNode is one of them. What it says of the cluster is made up.
type testNode struct {
	api.UnimplementedClusterServer
	cluster *testCluster
	id      uint64
	addr    string
	own     *replica.Replica
	asks    *coordinator.Coordinator
}

// cluster is the command that starts one: $E is its endpoints. With a directory of certificates it serves TLS.
func cluster(ts *testscript.TestScript, _ bool, args []string) {
	c := &testCluster{nodes: map[uint64]*testNode{}, down: map[uint64]bool{}}
	var options []grpc.ServerOption
	if len(args) > 0 {
		security, err := certs.Load(certs.Files{CA: ts.MkAbs(args[0] + "/ca.crt"), Cert: ts.MkAbs(args[0] + "/node-n1.crt"), Key: ts.MkAbs(args[0] + "/node-n1.key")})
		ts.Check(err)
		options = append(options, grpc.Creds(security.Server()))
	}
	var members []ring.Node
	var endpoints []string
	for id := uint64(1); id <= 3; id++ {
		members = append(members, ring.Node{ID: id, Name: name(id)})
		store := storetest.NewMem()
		births, err := replica.NextRun(store, 0)
		ts.Check(err)
		n := &testNode{cluster: c, id: id, own: replica.New(replica.Options{Store: store, Prefix: distrib.DataPrefix(), Node: id, Births: births})}
		listener, err := net.Listen("tcp", "127.0.0.1:0")
		ts.Check(err)
		n.addr = listener.Addr().String()
		c.nodes[id] = n
		endpoints = append(endpoints, n.addr)
		n.asks = coordinator.New(coordinator.Options{Self: id, Run: births.Run(), View: func() (*ring.View, func()) { return ring.Steady(c.ring), func() {} }, Transport: c, Registers: c, Name: name})
		s := service.New(service.Options{Self: name(id), Coordinator: n.asks, Name: name, Linearizable: true})
		g := grpc.NewServer(append(options, service.ServerOptions()...)...)
		s.Register(g)
		api.RegisterClusterServer(g, n)
		ts.Defer(func() {
			s.Close()
			g.Stop()
			n.asks.Wait()
		})
		defer func() { go g.Serve(listener) }() // when all is there
	}
	var err error
	c.ring, err = ring.New(ring.Options{Epoch: 4}, members)
	ts.Check(err)
	ts.Setenv("E", strings.Join(endpoints, ","))
	clusters.Store(ts.Getenv("WORK"), c)
}

// clusters are those that scripts have started, by $WORK.
var clusters sync.Map

// down is the command after which the nodes named cannot be reached by the others; all others can.
func down(ts *testscript.TestScript, _ bool, args []string) {
	found, ok := clusters.Load(ts.Getenv("WORK"))
	if !ok {
		ts.Fatalf("no cluster was started")
	}
	c := found.(*testCluster)
	c.mu.Lock()
	defer c.mu.Unlock()
	clear(c.down)
	for _, arg := range args {
		c.down[uint64(arg[1]-'0')] = true
	}
}

func name(id uint64) string { return fmt.Sprintf("n%d", id) }

func (c *testCluster) reach(to uint64) (*replica.Replica, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.down[to] {
		return nil, fmt.Errorf("not reachable: %w", distrib.ErrUnreachable)
	}
	return c.nodes[to].own, nil
}

// Put implements distrib.Transport.
func (c *testCluster) Put(_ context.Context, to uint64, r *distrib.PutRequest) (*distrib.PutReply, error) {
	own, err := c.reach(to)
	if err != nil {
		return nil, err
	}
	w, err := own.Put(r.Key, replica.Put{Op: r.Op, Past: r.Past, Value: r.Value, Sync: r.Sync})
	return &distrib.PutReply{Sibling: w.Sibling, Siblings: w.Siblings}, err
}

// Merge implements distrib.Transport.
func (c *testCluster) Merge(_ context.Context, to uint64, r *distrib.MergeRequest) error {
	own, err := c.reach(to)
	if err == nil {
		_, err = own.Merge(r.Key, r.Record, r.Sync)
	}
	return err
}

// Read implements distrib.Transport.
func (c *testCluster) Read(_ context.Context, to uint64, r *distrib.ReadRequest) (*distrib.ReadReply, error) {
	own, err := c.reach(to)
	if err != nil {
		return nil, err
	}
	held, err := own.Hold(r.Key)
	reply := &distrib.ReadReply{Record: held.Record, Dots: vclock.Dots(held.Record), Linearizable: held.Linearizable}
	if r.Digest {
		reply.Record = nil
	}
	return reply, err
}

// StartStep implements distrib.Registers.
func (c *testCluster) StartStep(_ time.Time, to uint64, key, request []byte, done func(reply []byte, err error)) {
	go func() {
		own, err := c.reach(to)
		var reply *register.Reply
		if err == nil {
			var r register.Request
			if r, err = register.DecodeRequest(request); err == nil {
				reply, err = own.Step(key, 0, 0, &r)
			}
		}
		if err != nil {
			done(nil, err)
			return
		}
		done(register.AppendReply(nil, reply), nil)
	}()
}

// StartLearn implements distrib.Registers.
func (c *testCluster) StartLearn(_ time.Time, to uint64, decisions []byte, done func(behind []byte, err error)) {
	go func() {
		own, err := c.reach(to)
		var behind []int
		if err == nil {
			var list []register.Decision
			if list, err = register.DecodeDecisions(decisions); err == nil {
				behind, err = own.Learn(list)
			}
		}
		if err != nil {
			done(nil, err)
			return
		}
		done(register.AppendBehind(nil, behind), nil)
	}()
}

// StartOperate implements distrib.Registers.
func (c *testCluster) StartOperate(deadline time.Time, to uint64, key, operation []byte, done func(result []byte, err error)) {
	go func() {
		if _, err := c.reach(to); err != nil {
			done(nil, err)
			return
		}
		c.nodes[to].asks.StartServe(deadline, key, operation, done)
	}()
}

// Keys implements distrib.Transport.
func (c *testCluster) Keys(_ context.Context, to uint64, r *distrib.KeysRequest) ([]distrib.KeyDots, error) {
	own, err := c.reach(to)
	if err != nil {
		return nil, err
	}
	return own.Keys(r)
}

// Parts is for exchanges, which no client asks for.
func (c *testCluster) Parts(context.Context, uint64, *distrib.PartsRequest) ([]distrib.Part, error) {
	return nil, errors.New("not asked for")
}

func (c *testCluster) members() (members []*api.Member) {
	for id := uint64(1); id <= 3; id++ {
		members = append(members, c.nodes[id].member())
	}
	return members
}

func (n *testNode) member() *api.Member {
	return &api.Member{Id: n.id, Name: name(n.id), Addr: n.addr, Run: 1}
}

// Ring implements api.ClusterServer.
func (n *testNode) Ring(context.Context, *api.RingRequest) (*api.RingResponse, error) {
	return &api.RingResponse{ClusterId: "c1", Epoch: 4, Replicas: 3, Vnodes: 160, Members: n.cluster.members()}, nil
}

// Where implements api.ClusterServer.
func (n *testNode) Where(_ context.Context, r *api.WhereRequest) (*api.WhereResponse, error) {
	t := ring.TokenOf(r.GetKey())
	m := &api.WhereResponse{Token: t.Hi}
	for _, i := range n.cluster.ring.Replicas(t) {
		m.Owners = append(m.Owners, n.cluster.nodes[n.cluster.ring.Node(i).ID].member())
	}
	return m, nil
}

// Status implements api.ClusterServer.
func (n *testNode) Status(ctx context.Context, _ *api.StatusRequest) (*api.StatusResponse, error) {
	m, err := n.Ring(ctx, nil)
	s := &api.StatusResponse{Ring: m, Self: n.member(), Metadata: "reachable", DirtySlots: 7,
		Hints:      []*api.KeptHints{{Node: "n1", Target: "n3", Bytes: 2048, OldestMs: 1_000, State: "waiting", Kept: 9, HandedOver: 4, Refused: 2}},
		Transition: &api.TransitionStatus{Id: "p1", Stage: "stream", Owner: "n2", Changes: []string{"join n4"}, BytesPlanned: 4096, BytesMoved: 1024, KeysMoved: 9, Waiting: []string{"n3"}}}
	for i, member := range m.GetMembers() {
		s.Members = append(s.Members, &api.MemberState{Member: member, State: []string{"up", "up", "down"}[i], SinceMs: []int64{60_000, 0, 60_000}[i], Reason: []string{"", "", "3 probes failed"}[i],
			Epoch: 4, DataBytes: 3 << 20, HintBytes: 2048, Share: 0.334})
	}
	return s, err
}

// Hints implements api.ClusterServer.
func (n *testNode) Hints(context.Context, *api.HintsRequest) (*api.HintsResponse, error) {
	if n.id == 2 {
		return nil, status.Error(codes.Unavailable, "it is starting")
	}
	return &api.HintsResponse{Hints: []*api.KeptHints{{Node: name(n.id), Target: "n2", Bytes: 1024 * n.id, OldestMs: 60_000, State: "draining"}}}, nil
}

// Repair implements api.ClusterServer.
func (n *testNode) Repair(r *api.RepairRequest, stream grpc.ServerStreamingServer[api.RepairProgress]) error {
	of := uint64(2)
	if r.GetAll() {
		of = 480
	}
	for at := uint64(1); at <= of; at++ {
		if err := stream.Send(&api.RepairProgress{Ranges: at, Of: of, Compared: 16 * at, Listed: n.id, Sent: n.id}); err != nil {
			return err
		}
	}
	return nil
}

// Plan implements api.ClusterServer.
func (n *testNode) Plan(_ context.Context, r *api.PlanRequest) (*api.PlanResponse, error) {
	m := &api.PlanResponse{Id: "p1", Epoch: 4, Moves: []*api.PlannedMove{{From: "n1", To: "n4", Ranges: 40, Bytes: 1 << 20}}, Bytes: 1 << 20, Ranges: 40, Seconds: 1.5}
	for _, c := range r.GetChanges() {
		m.Notes = append(m.Notes, strings.TrimSpace(fmt.Sprintf("%s %s %s %v", c.GetKind(), c.GetNode(), c.GetBy(), c.GetWeight())))
	}
	return m, nil
}

// Commit implements api.ClusterServer.
func (n *testNode) Commit(_ context.Context, r *api.CommitRequest) (*api.CommitResponse, error) {
	if r.GetId() != "p1" {
		return nil, status.Errorf(codes.NotFound, "there is no plan %q", r.GetId())
	}
	return &api.CommitResponse{Epoch: 5}, nil
}
