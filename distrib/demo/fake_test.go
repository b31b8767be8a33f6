package demo

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
	"google.golang.org/grpc/test/bufconn"

	"github.com/cambiumdb/cambium/distrib"
	"github.com/cambiumdb/cambium/distrib/api"
	"github.com/cambiumdb/cambium/distrib/ring"
	"github.com/cambiumdb/cambium/distrib/vclock"
)

// fakeNodes are nodes in this process that know of each other at once what real ones find out in time: who cannot be
// reached, and what they keep for whom. Every node holds every key.
type fakeNodes struct {
	mu    sync.Mutex
	nodes []*fakeNode
	conns []*grpc.ClientConn
	ring  *ring.Ring
	// linear are the keys that are linearizable. Their writes have dots of the register, which all nodes share.
	linear map[string]bool
}

type fakeNode struct {
	api.UnimplementedKVServer
	api.UnimplementedClusterServer
	all *fakeNodes
	Node
	id      uint64
	birth   uint64
	records map[string]distrib.Record
	hints   map[uint64]map[string]distrib.Record
	dirty   uint64 // as it says
}

func newFake(t *testing.T, count int) *fakeNodes {
	f := &fakeNodes{linear: map[string]bool{}}
	for i := range count {
		n := &fakeNode{all: f, id: uint64(i + 1), birth: 1 << 32, Node: Node{Name: fmt.Sprintf("n%d", i+1), State: Running, GRPC: fmt.Sprintf("127.0.0.1:%d", 7001+i), HTTP: fmt.Sprintf("127.0.0.1:%d", 8001+i)},
			records: map[string]distrib.Record{}, hints: map[uint64]map[string]distrib.Record{}}
		listener, server := bufconn.Listen(1<<20), grpc.NewServer()
		api.RegisterKVServer(server, n)
		api.RegisterClusterServer(server, n)
		go func() { _ = server.Serve(listener) }()
		conn, err := grpc.NewClient("passthrough:///node", grpc.WithTransportCredentials(insecure.NewCredentials()),
			grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return listener.DialContext(ctx) }))
		require.NoError(t, err)
		t.Cleanup(func() { _ = conn.Close(); server.Stop() })
		f.nodes, f.conns = append(f.nodes, n), append(f.conns, conn)
	}
	var members []ring.Node
	for _, n := range f.nodes {
		members = append(members, ring.Node{ID: n.id, Name: n.Name})
	}
	var err error
	f.ring, err = ring.New(ring.Options{}, members)
	require.NoError(t, err)
	return f
}

func (f *fakeNodes) List() (list []Node) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, n := range f.nodes {
		list = append(list, n.Node)
	}
	return list
}

func (f *fakeNodes) Conn(node int) (grpc.ClientConnInterface, error) { return f.conns[node-1], nil }

// set changes the state of a node from one of those to another.
func (f *fakeNodes) set(node int, to State, from ...State) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	n := f.nodes[node-1]
	if !slices.Contains(from, n.State) {
		return fmt.Errorf("%s is %s", n.Name, n.State)
	}
	if n.State = to; to == Running && from[0] != Paused {
		n.birth += 1 << 32
	}
	f.exchange()
	return nil
}

func (f *fakeNodes) Kill(node int) error                    { return f.set(node, Killed, Running, Paused) }
func (f *fakeNodes) Pause(node int) error                   { return f.set(node, Paused, Running) }
func (f *fakeNodes) Stop(_ context.Context, node int) error { return f.set(node, Stopped, Running) }
func (f *fakeNodes) Start(_ context.Context, node int) error {
	return f.set(node, Running, Killed, Stopped)
}
func (f *fakeNodes) Resume(_ context.Context, node int) error { return f.set(node, Running, Paused) }
func (f *fakeNodes) Slow(_ context.Context, node int, by time.Duration) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.nodes[node-1].Slow = by
	return nil
}

func (f *fakeNodes) Partition(_ context.Context, sides [][]int) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	for i, n := range f.nodes {
		n.Side = max(0, slices.IndexFunc(sides, func(side []int) bool { return slices.Contains(side, i+1) }))
		n.CutTo = nil
	}
	f.exchange()
	return nil
}

func (f *fakeNodes) Cut(_ context.Context, from, to []int) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, n := range from {
		for _, other := range to {
			f.nodes[n-1].CutTo = append(f.nodes[n-1].CutTo, f.nodes[other-1].Name)
		}
	}
	return nil
}

// exchange hands over the hints for nodes that can be reached.
func (f *fakeNodes) exchange() {
	for _, n := range f.nodes {
		for target, records := range n.hints {
			if to := f.nodes[target-1]; connected(n.Node, to.Node) {
				for key, r := range records {
					to.records[key] = vclock.Merge(to.records[key], r)
				}
				delete(n.hints, target)
			}
		}
	}
}

func (n *fakeNode) write(key []byte, v distrib.Value, context []byte, op []byte, level *api.Level) (*api.PutResponse, error) {
	n.all.mu.Lock()
	defer n.all.mu.Unlock()
	past, err := distrib.DecodeContext(key, context)
	if err != nil {
		return nil, status.Error(codes.InvalidArgument, err.Error())
	}
	k, actor := string(key), vclock.Actor{Node: n.id, Birth: n.birth}
	if level.GetConsistency() == api.Consistency_LINEARIZABLE {
		if err := n.decides(); err != nil {
			return nil, err
		}
		if len(context) == 0 {
			past = vclock.Context(n.records[k])
		} else if slices.ContainsFunc(n.records[k], func(s distrib.Sibling) bool { return !past.Contains(s.Dot) }) {
			siblings, now := n.read(k)
			return nil, refusal(codes.Aborted, &api.Failure{Reason: "MISMATCH", Outcome: api.Failure_FAILED, Current: &api.GetResponse{Siblings: siblings, Context: now}})
		}
		n.all.linear[k], actor = true, vclock.Actor{Birth: 1}
	}
	dot, err := vclock.Next(n.records[k], actor, 0, past)
	if err != nil {
		return nil, err
	}
	s := distrib.Sibling{Dot: dot, Op: distrib.OpID(op), Past: past, Value: v}
	failure := &api.Failure{Reason: "UNAVAILABLE", Outcome: api.Failure_UNKNOWN}
	acknowledged := 0
	for _, m := range n.all.nodes {
		state := &api.ReplicaState{Node: m.Name, State: "acknowledged"}
		if failure.Replicas = append(failure.Replicas, state); m == n || connected(n.Node, m.Node) {
			acknowledged++
			m.records[k] = vclock.Merge(m.records[k], distrib.Record{s})
			continue
		}
		state.State = "down"
		if n.hints[m.id] == nil {
			n.hints[m.id] = map[string]distrib.Record{}
		}
		n.hints[m.id][k] = vclock.Merge(n.hints[m.id][k], distrib.Record{s})
	}
	if acknowledged < nodesOf(level, len(n.all.nodes)) {
		return nil, refusal(codes.Unavailable, failure)
	}
	return &api.PutResponse{Context: distrib.EncodeContext(key, s.Seen()), Siblings: uint32(len(n.records[k])), OpId: op}, nil
}

func refusal(code codes.Code, f *api.Failure) error {
	refused, err := status.New(code, "too few").WithDetails(f)
	return errors.Join(refused.Err(), err)
}

// decides reports whether the node reaches a majority.
func (n *fakeNode) decides() error {
	f, reached := &api.Failure{Reason: "UNAVAILABLE", Outcome: api.Failure_FAILED}, 0
	for _, m := range n.all.nodes {
		state := "down"
		if m == n || connected(n.Node, m.Node) {
			reached++
			state = "reachable"
		}
		f.Replicas = append(f.Replicas, &api.ReplicaState{Node: m.Name, State: state})
	}
	if reached > len(n.all.nodes)/2 {
		return nil
	}
	return refusal(codes.Unavailable, f)
}

func (n *fakeNode) Put(_ context.Context, r *api.PutRequest) (*api.PutResponse, error) {
	v := distrib.Value{Data: r.GetValue()}
	if r.GetTtlMs() > 0 {
		v.Expires = time.Now().UnixMilli() + int64(r.GetTtlMs())
	}
	return n.write(r.GetKey(), v, r.GetContext(), r.GetOpId(), r.GetLevel())
}

func (n *fakeNode) Delete(_ context.Context, r *api.DeleteRequest) (*api.PutResponse, error) {
	return n.write(r.GetKey(), distrib.Value{Deleted: true}, r.GetContext(), r.GetOpId(), r.GetLevel())
}

func (n *fakeNode) CompareAndSwap(_ context.Context, r *api.CompareAndSwapRequest) (*api.CompareAndSwapResponse, error) {
	n.all.mu.Lock()
	record := n.records[string(r.GetKey())]
	n.all.mu.Unlock()
	swap := r.GetExpectAbsent() && len(record) == 0 || len(record) == 1 && r.GetExpect() != nil && string(record[0].Value.Data) == string(r.GetExpectValue())
	if swap {
		if _, err := n.write(r.GetKey(), distrib.Value{Data: r.GetValue()}, distrib.EncodeContext(r.GetKey(), vclock.Context(record)), r.GetOpId(), &api.Level{Consistency: api.Consistency_LINEARIZABLE}); err != nil {
			return nil, err
		}
	}
	n.all.mu.Lock()
	defer n.all.mu.Unlock()
	if err := n.decides(); err != nil {
		return nil, err
	}
	siblings, context := n.read(string(r.GetKey()))
	return &api.CompareAndSwapResponse{Swapped: swap, Current: &api.GetResponse{Siblings: siblings, Context: context, Linearizable: true}}, nil
}

func (n *fakeNode) Get(_ context.Context, r *api.GetRequest) (*api.GetResponse, error) {
	n.all.mu.Lock()
	defer n.all.mu.Unlock()
	answered := 0
	for _, m := range n.all.nodes {
		if m == n || connected(n.Node, m.Node) {
			answered++
		}
	}
	if answered < nodesOf(r.GetLevel(), len(n.all.nodes)) {
		return nil, status.Error(codes.Unavailable, "too few nodes answered")
	}
	siblings, context := n.read(string(r.GetKey()))
	return &api.GetResponse{Siblings: siblings, Context: context, Linearizable: n.all.linear[string(r.GetKey())]}, nil
}

func (n *fakeNode) read(key string) (siblings []*api.Sibling, context []byte) {
	record := n.records[key]
	for _, v := range record {
		s := &api.Sibling{Value: v.Value.Data, Deleted: v.Value.Deleted, ExpiresMs: v.Value.Expires, Dot: &api.Dot{Node: v.Dot.Node, Birth: v.Dot.Birth, Counter: v.Dot.Counter}}
		for a, span := range v.Past.All() {
			if len(record) == 1 {
				break // as nodes do
			}
			s.Past = append(s.Past, &api.ClockEntry{Node: a.Node, Birth: a.Birth, Last: span.Last, Beyond: span.Beyond})
		}
		siblings = append(siblings, s)
	}
	return siblings, distrib.EncodeContext([]byte(key), vclock.Context(record))
}

func (n *fakeNode) Scan(_ *api.ScanRequest, stream grpc.ServerStreamingServer[api.ScanResponse]) error {
	n.all.mu.Lock()
	defer n.all.mu.Unlock()
	var keys []string
	for key := range n.records {
		keys = append(keys, key)
	}
	slices.SortFunc(keys, func(a, b string) int {
		return cmp.Compare(ring.TokenOf([]byte(a)).Hi, ring.TokenOf([]byte(b)).Hi)
	})
	for _, key := range keys {
		siblings, context := n.read(key)
		if err := stream.Send(&api.ScanResponse{Entries: []*api.ScanEntry{{Key: []byte(key), Siblings: siblings, Context: context}}}); err != nil {
			return err
		}
	}
	return nil
}

func (n *fakeNode) Resolve(_ context.Context, r *api.ResolveRequest) (*api.ResolveResponse, error) {
	n.all.mu.Lock()
	defer n.all.mu.Unlock()
	if vclock.Tried(n.records[string(r.GetKey())], distrib.OpID(r.GetOpId())) >= 0 {
		return &api.ResolveResponse{Fate: api.ResolveResponse_HAPPENED}, nil
	}
	if r.GetLinearizable() {
		return &api.ResolveResponse{Fate: api.ResolveResponse_NOT_HAPPENED}, nil
	}
	return &api.ResolveResponse{Fate: api.ResolveResponse_NOT_SEEN}, nil
}

func (n *fakeNode) members() (list []*api.Member) {
	for _, m := range n.all.nodes {
		list = append(list, &api.Member{Id: m.id, Name: m.Name})
	}
	return list
}

func (n *fakeNode) Ring(context.Context, *api.RingRequest) (*api.RingResponse, error) {
	return &api.RingResponse{Replicas: 3, Members: n.members()}, nil
}

func (n *fakeNode) Where(_ context.Context, r *api.WhereRequest) (*api.WhereResponse, error) {
	a, token := &api.WhereResponse{}, ring.TokenOf(r.GetKey())
	for _, i := range n.all.ring.Replicas(token) {
		a.Owners = append(a.Owners, n.members()[i])
	}
	for i := range n.all.ring.Fallbacks(token) {
		a.Fallbacks = append(a.Fallbacks, n.members()[i])
	}
	return a, nil
}

func (n *fakeNode) Hints(context.Context, *api.HintsRequest) (*api.HintsResponse, error) {
	n.all.mu.Lock()
	defer n.all.mu.Unlock()
	r := &api.HintsResponse{}
	for target := range n.hints {
		r.Hints = append(r.Hints, &api.KeptHints{Node: n.Name, Target: n.all.nodes[target-1].Name, Bytes: 1})
	}
	return r, nil
}

func (n *fakeNode) Status(context.Context, *api.StatusRequest) (*api.StatusResponse, error) {
	n.all.mu.Lock()
	defer n.all.mu.Unlock()
	r := &api.StatusResponse{DirtySlots: n.dirty}
	for _, m := range n.all.nodes {
		state := "down"
		if m == n || connected(n.Node, m.Node) {
			state = "up"
		}
		r.Members = append(r.Members, &api.MemberState{Member: &api.Member{Id: m.id, Name: m.Name}, State: state})
	}
	return r, nil
}
