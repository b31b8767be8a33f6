package client

import (
	"bytes"
	"cmp"
	"context"
	"crypto/md5"
	"fmt"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"github.com/cambiumdb/cambium/distrib"
	"github.com/cambiumdb/cambium/distrib/api"
	"github.com/cambiumdb/cambium/distrib/ring"
	"github.com/cambiumdb/cambium/distrib/vclock"
)

// fakeCluster is nodes that serve the API over one map, and misbehave as they are told.
type fakeCluster struct {
	t     testing.TB
	nodes []*fakeNode

	mu    sync.Mutex        // guards what follows
	ring  *api.RingResponse // nil: it is not served
	store map[string]distrib.Record
	count map[string]uint64 // dots given, by key
	tries []bool            // of writes, whether they said that they were tried before
}

// fakeNode is one of them.
type fakeNode struct {
	api.UnimplementedKVServer
	api.UnimplementedClusterServer
	cluster *fakeCluster
	name    string
	addr    string
	server  *grpc.Server
	quick   bool // puts are answered without being carried out

	mu     sync.Mutex // guards what follows
	script []string   // how it behaves to the next requests; the last word stays
	seen   []string   // requests, as OP KEY
	ops    [][]byte   // op ids of puts
	ends   map[chan struct{}]bool
}

// newFakeCluster starts so many nodes, n1 and on.
func newFakeCluster(t testing.TB, nodes int) *fakeCluster {
	f := &fakeCluster{t: t, store: map[string]distrib.Record{}, count: map[string]uint64{}, ring: &api.RingResponse{ClusterId: "fake", Epoch: 1, Replicas: 3, Vnodes: 160}}
	for i := range nodes {
		f.add(fmt.Sprintf("n%d", i+1), "127.0.0.1:0")
	}
	t.Cleanup(func() {
		for _, n := range f.nodes {
			n.kill()
		}
	})
	return f
}

func (f *fakeCluster) add(name, addr string) *fakeNode {
	n := &fakeNode{cluster: f, name: name, script: []string{"ok"}, ends: map[chan struct{}]bool{}}
	f.nodes = append(f.nodes, n)
	n.start(addr)
	f.mu.Lock()
	defer f.mu.Unlock()
	f.ring.Members = append(f.ring.Members, &api.Member{Id: uint64(len(f.nodes)), Name: name, Addr: n.addr})
	return n
}

func (n *fakeNode) start(addr string) {
	listener, err := net.Listen("tcp", addr)
	require.NoError(n.cluster.t, err)
	n.addr = listener.Addr().String()
	n.server = grpc.NewServer(grpc.MaxRecvMsgSize(64 << 20))
	api.RegisterKVServer(n.server, n)
	api.RegisterClusterServer(n.server, n)
	go func() { _ = n.server.Serve(listener) }()
}

// kill ends the node and its connections at once.
func (n *fakeNode) kill() { n.server.Stop() }

// behave sets how the node answers its next requests; the last word stays.
func (n *fakeNode) behave(words ...string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.script = words
}

// asked returns the requests so far.
func (n *fakeNode) asked() []string {
	n.mu.Lock()
	defer n.mu.Unlock()
	return slices.Clone(n.seen)
}

func (n *fakeNode) breakStreams() {
	n.mu.Lock()
	defer n.mu.Unlock()
	for end := range n.ends {
		delete(n.ends, end)
		close(end)
	}
}

// open returns a client of the cluster.
func (f *fakeCluster) open(t testing.TB, o Options) *Client {
	for _, n := range f.nodes {
		o.Endpoints = append(o.Endpoints, n.addr)
	}
	c, err := Open(context.Background(), o)
	require.NoError(t, err)
	t.Cleanup(c.Close)
	return c
}

// order returns the nodes in the order in which they are asked for a key.
func (f *fakeCluster) order(c *Client, key []byte) (nodes []*fakeNode) {
	var all [maxCandidates]*node
	v := c.view.Load()
	for _, n := range all[:v.preferred(ring.TokenOf(key), &all)] {
		nodes = append(nodes, f.named(n.String()))
	}
	return nodes
}

func (f *fakeCluster) named(name string) *fakeNode {
	i := slices.IndexFunc(f.nodes, func(n *fakeNode) bool { return n.name == name })
	return f.nodes[i]
}

// Ring implements api.ClusterServer.
func (n *fakeNode) Ring(ctx context.Context, r *api.RingRequest) (*api.RingResponse, error) {
	n.cluster.mu.Lock()
	defer n.cluster.mu.Unlock()
	if n.cluster.ring == nil {
		return n.UnimplementedClusterServer.Ring(ctx, r)
	}
	m := proto.Clone(n.cluster.ring).(*api.RingResponse)
	if r.GetKnownEpoch() == m.GetEpoch() {
		m.Members = nil
	}
	return m, nil
}

// Session implements api.KVServer.
func (n *fakeNode) Session(stream grpc.BidiStreamingServer[api.SessionRequest, api.SessionResponse]) error {
	end := make(chan struct{})
	n.mu.Lock()
	n.ends[end] = true
	n.mu.Unlock()
	var sending sync.Mutex
	var running sync.WaitGroup
	defer running.Wait()
	requests := make(chan *api.SessionRequest)
	broken := make(chan error, 1)
	go func() {
		for {
			r, err := stream.Recv()
			if err != nil {
				broken <- err
				return
			}
			select {
			case requests <- r:
			case <-end:
			case <-stream.Context().Done():
			}
		}
	}()
	for {
		select {
		case r := <-requests:
			all := r.GetBatch().GetRequests()
			if r.GetBatch() == nil {
				all = []*api.SessionRequest{r}
			}
			var batch []*api.SessionResponse
			for _, r := range all {
				word := n.next(r)
				before, word, _ := strings.Cut(word, "|")
				late, err := time.ParseDuration(before)
				if err != nil {
					word = before
				} else {
					running.Go(func() {
						select {
						case <-time.After(late):
						case <-stream.Context().Done():
							return
						}
						m := n.answer(r, cmp.Or(word, "ok"))
						sending.Lock()
						defer sending.Unlock()
						_ = stream.Send(m) // who asked may have gone
					})
					continue
				}
				switch m := n.answer(r, word); {
				case word == "break":
					return status.Error(codes.Unavailable, "broken")
				case word == "parts", word == "broken part":
					list := partsOf(n.cluster.t, m, 20)
					if word == "broken part" {
						list[len(list)-1].GetPart().Rest++
					}
					batch = append(batch, list...)
				case m != nil:
					batch = append(batch, m)
				}
			}
			if len(batch) == 0 {
				continue
			}
			m := batch[0]
			if len(batch) > 1 {
				m = &api.SessionResponse{Result: &api.SessionResponse_Batch{Batch: &api.SessionResponses{Responses: batch}}}
			}
			sending.Lock()
			err := stream.Send(m)
			sending.Unlock()
			if err != nil {
				return err
			}
		case err := <-broken:
			return err
		case <-end:
			return status.Error(codes.Unavailable, "broken")
		case <-stream.Context().Done():
			return stream.Context().Err()
		}
	}
}

var quickAnswer = &api.SessionResponse_Put{Put: &api.PutResponse{Context: make([]byte, 50), Siblings: 1, OpId: make([]byte, 16),
	Acknowledged: []*api.Place{{Node: "n1"}, {Node: "n2"}}}}

// next takes note of a request and returns how to behave to it.
func (n *fakeNode) next(r *api.SessionRequest) string {
	if n.quick {
		return "ok"
	}
	n.cluster.mu.Lock()
	if r.GetPut() != nil || r.GetDelete() != nil || r.GetCompareAndSwap() != nil {
		n.cluster.tries = append(n.cluster.tries, r.GetPut().GetRetried() || r.GetDelete().GetRetried() || r.GetCompareAndSwap().GetRetried())
	}
	n.cluster.mu.Unlock()
	n.mu.Lock()
	defer n.mu.Unlock()
	switch {
	case r.GetGet() != nil:
		n.seen = append(n.seen, "get "+string(r.GetGet().GetKey()))
	case r.GetPut() != nil:
		n.seen = append(n.seen, "put "+string(r.GetPut().GetKey()))
		n.ops = append(n.ops, r.GetPut().GetOpId())
	case r.GetDelete() != nil:
		n.seen = append(n.seen, "delete "+string(r.GetDelete().GetKey()))
	case r.GetResolve() != nil:
		n.seen = append(n.seen, "resolve "+string(r.GetResolve().GetKey()))
	case r.GetCompareAndSwap() != nil:
		n.seen = append(n.seen, "swap "+string(r.GetCompareAndSwap().GetKey()))
		n.ops = append(n.ops, r.GetCompareAndSwap().GetOpId())
	}
	word := n.script[0]
	if len(n.script) > 1 {
		n.script = n.script[1:]
	}
	return word
}

// answer makes the answer that a word of a script asks for; nil: none.
func (n *fakeNode) answer(r *api.SessionRequest, word string) *api.SessionResponse {
	if n.quick {
		return &api.SessionResponse{Id: r.GetId(), Result: quickAnswer}
	}
	word, arg, _ := strings.Cut(word, ":")
	fail := func(code codes.Code, outcome api.Failure_Outcome, reason string) *api.SessionResponse {
		f := &api.Failure{Code: uint32(code), Message: fmt.Sprintf("put: %s: %s", outcome, strings.ToLower(reason)), Outcome: outcome, Reason: reason,
			Replicas: []*api.ReplicaState{{Node: n.name, State: "down", Cause: "fake"}}}
		if arg != "" {
			d, err := time.ParseDuration(arg)
			require.NoError(n.cluster.t, err)
			f.RetryAfterMs = uint32(d.Milliseconds())
		}
		return &api.SessionResponse{Id: r.GetId(), Result: &api.SessionResponse_Failure{Failure: f}}
	}
	switch word {
	case "ok", "parts", "broken part":
		return n.cluster.do(n, r)
	case "hang", "break":
		return nil
	case "failed":
		return fail(codes.Unavailable, api.Failure_FAILED, reasonUnavailable)
	case "unknown":
		return fail(codes.Unavailable, api.Failure_UNKNOWN, reasonTimeout)
	case "overloaded":
		return fail(codes.ResourceExhausted, api.Failure_FAILED, reasonOverloaded)
	case "siblings":
		return fail(codes.FailedPrecondition, api.Failure_FAILED, reasonTooManySiblings)
	case "invalid":
		return fail(codes.InvalidArgument, api.Failure_FAILED, reasonInvalid)
	case "unimplemented":
		return fail(codes.Unimplemented, api.Failure_FAILED, reasonUnimplemented)
	case "mismatch":
		return fail(codes.Aborted, api.Failure_FAILED, reasonMismatch)
	case "cancelled":
		return fail(codes.Aborted, api.Failure_FAILED, reasonNotHappened)
	case "overtaken":
		return fail(codes.Unavailable, api.Failure_UNKNOWN, reasonOvertaken)
	case "swapped", "lost":
		m := &api.CompareAndSwapResponse{Swapped: word == "swapped", Current: &api.GetResponse{Linearizable: true, Answered: []*api.Place{{Node: n.name}}}}
		if word == "lost" {
			m.Mismatch = api.CompareAndSwapResponse_MISMATCH
		}
		return &api.SessionResponse{Id: r.GetId(), Result: &api.SessionResponse_CompareAndSwap{CompareAndSwap: m}}
	case "garbage":
		return &api.SessionResponse{Id: r.GetId()}
	}
	panic("no such word: " + word)
}

// do carries a request out.
func (f *fakeCluster) do(n *fakeNode, r *api.SessionRequest) *api.SessionResponse {
	m := &api.SessionResponse{Id: r.GetId()}
	switch op := r.GetOp().(type) {
	case *api.SessionRequest_Get:
		m.Result = &api.SessionResponse_Get{Get: f.get(op.Get.GetKey(), n.name)}
	case *api.SessionRequest_Put:
		v := distrib.Value{Data: op.Put.GetValue()}
		if ttl := op.Put.GetTtlMs(); ttl > 0 {
			v.Expires = time.Now().UnixMilli() + int64(ttl)
		}
		m.Result = &api.SessionResponse_Put{Put: f.put(n.name, op.Put.GetKey(), op.Put.GetContext(), op.Put.GetOpId(), v)}
	case *api.SessionRequest_Delete:
		m.Result = &api.SessionResponse_Put{Put: f.put(n.name, op.Delete.GetKey(), op.Delete.GetContext(), op.Delete.GetOpId(), distrib.Value{Deleted: true})}
	case *api.SessionRequest_Resolve:
		fate := api.ResolveResponse_NOT_SEEN
		f.mu.Lock()
		for _, s := range f.store[string(op.Resolve.GetKey())] {
			if bytes.Equal(s.Op[:], op.Resolve.GetOpId()) {
				fate = api.ResolveResponse_HAPPENED
			}
		}
		f.mu.Unlock()
		m.Result = &api.SessionResponse_Resolve{Resolve: &api.ResolveResponse{Fate: fate, Answered: []*api.Place{{Node: n.name}}}}
	}
	return m
}

func (f *fakeCluster) put(node string, key, token, op []byte, v distrib.Value) *api.PutResponse {
	f.mu.Lock()
	defer f.mu.Unlock()
	past, err := distrib.DecodeContext(key, token)
	require.NoError(f.t, err)
	record := f.store[string(key)]
	s := distrib.Sibling{Past: past, Value: v}
	copy(s.Op[:], op)
	if vclock.Tried(record, s.Op) < 0 {
		f.count[string(key)]++
		s.Dot = vclock.Dot{Actor: vclock.Actor{Node: 1, Birth: 7}, Counter: f.count[string(key)]}
		s.Value.Time = distrib.Timestamp(f.count[string(key)] << 16)
		record = vclock.Merge(record, distrib.Record{s})
		f.store[string(key)] = record
	}
	_, live := distrib.AsOf(record, time.Now().UnixMilli())
	return &api.PutResponse{Context: distrib.EncodeContext(key, s.Seen()), Siblings: uint32(live), Acknowledged: []*api.Place{{Node: node}}, OpId: op}
}

func (f *fakeCluster) get(key []byte, node string) *api.GetResponse {
	f.mu.Lock()
	defer f.mu.Unlock()
	record := f.store[string(key)]
	return &api.GetResponse{Siblings: siblingMessages(record), Context: distrib.EncodeContext(key, vclock.Context(record)), Answered: []*api.Place{{Node: node}}}
}

func siblingMessages(r distrib.Record) (ms []*api.Sibling) {
	for _, s := range r {
		m := &api.Sibling{Value: s.Value.Data, Deleted: s.Value.Deleted, ExpiresMs: s.Value.Expires, TimeMs: uint64(s.Value.Time >> 16), OpId: s.Op[:],
			Dot: &api.Dot{Node: s.Dot.Node, Birth: s.Dot.Birth, Counter: s.Dot.Counter}}
		for a, span := range s.Past.All() {
			m.Past = append(m.Past, &api.ClockEntry{Node: a.Node, Birth: a.Birth, Last: span.Last, Beyond: span.Beyond})
		}
		ms = append(ms, m)
	}
	return ms
}

func (n *fakeNode) scan(r *api.ScanRequest, stream grpc.ServerStreamingServer[api.ScanResponse]) error {
	n.cluster.mu.Lock()
	keys := make([]string, 0, len(n.cluster.store))
	for key := range n.cluster.store {
		keys = append(keys, key)
	}
	n.cluster.mu.Unlock()
	place := func(k string) string { sum := md5.Sum([]byte(k)); return string(sum[:8]) + k }
	slices.SortFunc(keys, func(a, b string) int { return strings.Compare(place(a), place(b)) })
	sent := uint32(0)
	for _, key := range keys {
		token := ring.TokenOf([]byte(key)).Hi
		if token < r.GetFirst() || r.GetLast() > 0 && token > r.GetLast() || len(r.GetAfter()) > 0 && place(key) <= place(string(r.GetAfter())) || r.GetLimit() > 0 && sent == r.GetLimit() {
			continue
		}
		if word := n.next(&api.SessionRequest{}); word == "break" {
			return status.Error(codes.Unavailable, "broken")
		} else if word == "invalid" {
			return status.Error(codes.InvalidArgument, "first: no")
		} else if word == "hang" {
			<-stream.Context().Done()
			return nil
		}
		sent++
		m := n.cluster.get([]byte(key), n.name)
		entry := &api.ScanEntry{Key: []byte(key), Token: token, Siblings: m.GetSiblings(), Context: m.GetContext()}
		if err := stream.Send(&api.ScanResponse{Entries: []*api.ScanEntry{entry}}); err != nil {
			return err
		}
	}
	return nil
}

// Scan implements api.KVServer.
func (n *fakeNode) Scan(r *api.ScanRequest, stream grpc.ServerStreamingServer[api.ScanResponse]) error {
	return n.scan(r, stream)
}
