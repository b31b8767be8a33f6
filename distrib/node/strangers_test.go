package node

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"math"
	"net"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/mem"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/cambiumdb/cambium/distrib"
	"github.com/cambiumdb/cambium/distrib/api"
	"github.com/cambiumdb/cambium/distrib/transport"
	"github.com/cambiumdb/cambium/distrib/transport/peer"
	"github.com/cambiumdb/cambium/distrib/vclock"
)

// TestStrangers: who does not belong here is told so.
func TestStrangers(t *testing.T) {
	c := newTestCluster(t, 1)
	other := newTestCluster(t, 1)
	other.stop("n1")
	o := other.options("n1")
	o.Join = []string{c.addrs["n1"]}
	_, err := c.try(o)
	require.ErrorContains(t, err, "is of cluster")

	o = c.options("n1")
	o.Dir, o.Listen, o.Join = filepath.Join(c.dir, "another"), "127.0.0.1:0", []string{c.addrs["n1"]}
	_, err = c.try(o)
	require.ErrorContains(t, err, "node n1 runs at "+c.addrs["n1"]+" already")
}

// TestNoPlaintextBeyondTheMachine: whatever is reached from elsewhere has TLS, unless the operator says otherwise.
func TestNoPlaintextBeyondTheMachine(t *testing.T) {
	const refused = "beyond this machine, without TLS: give certificates, or say that it is to be insecure"
	for _, test := range []struct {
		want string
		set  func(*Options)
	}{
		{"it listens at 0.0.0.0:0, all addresses of this machine: say by which one others reach it", func(o *Options) { o.Listen = "0.0.0.0:0" }},
		{"it listens at 0.0.0.0:0, " + refused, func(o *Options) { o.Listen, o.Advertise = "0.0.0.0:0", "127.0.0.1:1" }},
		{"it listens at 203.0.113.1:1, " + refused, func(o *Options) { o.Listen = "203.0.113.1:1" }},
		{"it listens at db1:1, " + refused, func(o *Options) { o.Listen = "db1:1" }},
		{"it listens at :7801, " + refused, func(o *Options) { o.HTTP = ":7801" }},
		{"it listens at [::]:0, " + refused, func(o *Options) { o.HTTP = "[::]:0" }},
		{"it listens at 203.0.113.1:2, " + refused, func(o *Options) { o.Gossip = "203.0.113.1:2" }},
	} {
		o := Options{Name: "n1", Dir: t.TempDir(), Listen: "127.0.0.1:0", OpenStore: new(disks).open}
		test.set(&o)
		_, err := Start(t.Context(), o)
		require.EqualError(t, err, "node n1: "+test.want)
		o.Insecure, o.Advertise, o.Gossip = true, "127.0.0.1:1", "127.0.0.1:0"
		_, err = o.withDefaults()
		require.NoError(t, err)
	}
	for _, addr := range []string{"127.0.0.2:0", "localhost:1", "[::1]:0"} {
		_, err := Options{Name: "n1", Dir: t.TempDir(), Listen: addr, HTTP: addr, OpenStore: new(disks).open}.withDefaults()
		require.NoError(t, err)
	}
}

// TestBadInput: whatever a client or a stranger sends to a node, it is told what is wrong, where and what the limit is,
// nothing is written, and the node goes on.
func TestBadInput(t *testing.T) {
	c := newTestCluster(t, 0)
	o := c.options("n1")
	o.HTTP = "127.0.0.1:0"
	n, err := c.try(o)
	require.NoError(t, err)
	c.nodes["n1"], c.addrs["n1"] = n, n.Addr()
	conn, err := grpc.NewClient(n.Addr(), grpc.WithTransportCredentials(insecure.NewCredentials()))
	require.NoError(t, err)
	defer conn.Close()
	stored := func() (keys int) {
		lower, upper := distrib.TokenBounds(distrib.DataPrefix(), 0, ^uint64(0))
		require.NoError(t, (*n.store.Load()).Scan(lower, upper, func(_, _ []byte) error { keys++; return nil }))
		return keys
	}

	t.Run("clients", func(t *testing.T) { badRequests(t, conn) })
	t.Run("strangers", func(t *testing.T) { badCallers(t, n, conn) })
	t.Run("peers", func(t *testing.T) { badPeers(t, n, conn) })
	t.Run("garbage", func(t *testing.T) { badBytes(t, n) })
	require.Zero(t, stored(), "nothing was written")
	c.put("n1", "k", "v", nil)
	require.Equal(t, []string{"v"}, c.values("n1", "k"))
}

// badRequests are those that a client gets wrong.
func badRequests(t *testing.T, conn *grpc.ClientConn) {
	ctx, kv, cluster := t.Context(), api.NewKVClient(conn), api.NewClusterClient(conn)
	key, long := []byte("k"), make([]byte, distrib.MaxKeyBytes+1)
	foreign := distrib.EncodeContext([]byte("other"), vclock.SeenOf(vclock.Clock{}.With(vclock.Dot{Actor: vclock.Actor{Node: 1, Birth: 1}, Counter: 1})))
	damaged := bytes.Clone(foreign)
	damaged[9]++
	newer := bytes.Clone(foreign)
	newer[0] = 9
	get := func(q *api.GetRequest) func() error {
		return func() error { _, err := kv.Get(ctx, q); return err }
	}
	put := func(q *api.PutRequest) func() error {
		return func() error { _, err := kv.Put(ctx, q); return err }
	}
	del := func(q *api.DeleteRequest) func() error {
		return func() error { _, err := kv.Delete(ctx, q); return err }
	}
	scan := func(q *api.ScanRequest) func() error {
		return func() error {
			stream, err := kv.Scan(ctx, q)
			if err == nil {
				_, err = stream.Recv()
			}
			return err
		}
	}
	for _, test := range []struct {
		name, want string
		call       func() error
	}{
		{"no key", "get: key is empty: a key has at least one byte", get(&api.GetRequest{})},
		{"long key", "put: key of 1025 bytes, the limit is 1024", put(&api.PutRequest{Key: long})},
		{"large value", "put: value of 10485761 bytes, the limit is 10485760", put(&api.PutRequest{Key: key, Value: make([]byte, distrib.MaxValueBytes+1)})},
		{"R", "get: level.nodes: R is 4, want 1 to 1", get(&api.GetRequest{Key: key, Level: &api.Level{Nodes: 4}})},
		{"W", "delete: level.nodes: W is 4294967295, want 1 to 1", del(&api.DeleteRequest{Key: key, Level: &api.Level{Nodes: math.MaxUint32}})},
		{"consistency", "put: level.consistency is 9, want 0 to 4", put(&api.PutRequest{Key: key, Level: &api.Level{Consistency: 9}})},
		{"context that is none", "put: context of 3 bytes is none: it must be what a read gave, as it was given", put(&api.PutRequest{Key: key, Context: []byte("abc")})},
		{"damaged context", "put: context is damaged: crc32c want ", put(&api.PutRequest{Key: key, Context: damaged})},
		{"context of another key", `delete: context of another key than "k": it must be what a read of this key gave`, del(&api.DeleteRequest{Key: key, Context: foreign})},
		{"context of a newer version", "put: context is damaged: crc32c want ", put(&api.PutRequest{Key: key, Context: newer})},
		{"long context", "put: context of 65537 bytes, the limit is 65536", put(&api.PutRequest{Key: key, Context: make([]byte, distrib.MaxContextBytes+1)})},
		{"op_id", "put: op_id of 15 bytes, want 16", put(&api.PutRequest{Key: key, OpId: make([]byte, 15)})},
		{"ttl", "put: ttl_ms is 18446744073709551615, the limit is 92233", put(&api.PutRequest{Key: key, TtlMs: math.MaxUint64})},
		{"scan backwards", "scan: first is token 0000000000000002, behind last, 0000000000000001", scan(&api.ScanRequest{First: 2, Last: 1})},
		{"scan after", "scan: after: key of 1025 bytes, the limit is 1024", scan(&api.ScanRequest{After: long})},
		{"resolve", "resolve: op_id of 0 bytes, want 16", func() error { _, err := kv.Resolve(ctx, &api.ResolveRequest{Key: key}); return err }},
		{"where", "key is empty: a key has at least one byte", func() error { _, err := cluster.Where(ctx, &api.WhereRequest{}); return err }},
		{"batch", "batch: gets: 4097 keys, the limit is 4096", func() error {
			_, err := kv.BatchGet(ctx, &api.BatchGetRequest{Gets: make([]*api.GetRequest, 4097)})
			return err
		}},
	} {
		err := test.call()
		require.Equal(t, codes.InvalidArgument, status.Code(err), "%s: %v", test.name, err)
		require.ErrorContains(t, err, test.want, test.name)
	}
	batch, err := kv.BatchPut(ctx, &api.BatchPutRequest{Puts: []*api.PutRequest{{Key: long}}})
	require.NoError(t, err)
	require.Equal(t, "put: key of 1025 bytes, the limit is 1024", batch.Results[0].GetFailure().GetMessage())
	err = put(&api.PutRequest{Key: key, Value: make([]byte, api.MaxRequestBytes)})()
	require.Equal(t, codes.ResourceExhausted, status.Code(err))
	require.ErrorContains(t, err, "received message larger than max")

	session, err := kv.Session(ctx)
	require.NoError(t, err)
	for _, want := range []string{"session: op is not set, or of a later version", "get: key is empty: a key has at least one byte", "session: batch within a batch: the limit is 1 level"} {
		q := &api.SessionRequest{}
		switch want[0] {
		case 'g':
			q.Op = &api.SessionRequest_Get{Get: &api.GetRequest{}}
		default:
			if want[9] == 'b' {
				inner := &api.SessionRequest{Op: &api.SessionRequest_Batch{Batch: &api.SessionBatch{}}}
				q.Op = &api.SessionRequest_Batch{Batch: &api.SessionBatch{Requests: []*api.SessionRequest{inner}}}
			}
		}
		require.NoError(t, session.Send(q))
		r, err := session.Recv()
		require.NoError(t, err)
		require.Equal(t, want, r.GetFailure().GetMessage())
	}
}

// badCallers are those who are of another cluster, or want what is not here.
func badCallers(t *testing.T, n *Node, conn *grpc.ClientConn) {
	ctx, member, cluster := t.Context(), api.NewMembershipClient(conn), api.NewClusterClient(conn)
	for _, test := range []struct {
		want string
		code codes.Code
		call func() error
	}{
		{"this is cluster " + n.ClusterID() + ", node n9 is of cluster other", codes.FailedPrecondition, func() error {
			_, err := member.Hello(ctx, &api.HelloRequest{ClusterId: "other", Self: &api.Member{Name: "n9"}})
			return err
		}},
		{"this is cluster " + n.ClusterID() + ", who asks is of cluster other", codes.FailedPrecondition, func() error {
			_, err := member.Stage(ctx, &api.StageRequest{ClusterId: "other", Epoch: math.MaxUint64})
			return err
		}},
		{"no node n9 waits to join", codes.FailedPrecondition, func() error {
			_, err := cluster.Plan(ctx, &api.PlanRequest{Changes: []*api.Change{{Kind: "join", Node: "n9"}}})
			return err
		}},
		{`commit: "garbage" is the id of no plan: want EPOCH-CHANGES-HASH`, codes.FailedPrecondition, func() error {
			_, err := cluster.Commit(ctx, &api.CommitRequest{Id: "garbage"})
			return err
		}},
		{"unknown method", codes.Unimplemented, func() error {
			return conn.Invoke(ctx, "/cambium.v1.KV/Drop", &api.GetRequest{}, &api.GetResponse{})
		}},
	} {
		err := test.call()
		require.ErrorContains(t, err, test.want)
		require.Equal(t, test.code, status.Code(err), "%v", err)
	}
}

// raw sends bytes as they are, as the codec of nodes.
type raw struct{}

func (raw) Name() string { return "cambium-peer" }

func (raw) Marshal(v any) (mem.BufferSlice, error) {
	return mem.BufferSlice{mem.SliceBuffer(*v.(*[]byte))}, nil
}

func (raw) Unmarshal(data mem.BufferSlice, v any) error {
	*v.(*[]byte) = data.Materialize()
	return nil
}

// badPeers are those who speak to the node as another one.
func badPeers(t *testing.T, n *Node, conn *grpc.ClientConn) {
	batch := func(epoch byte, frames ...byte) []byte { // as peer.proto has it
		return append([]byte{1 << 3, epoch, 2<<3 | 2, byte(len(frames))}, frames...)
	}
	const put, piece = 1, 34 // kinds of frames
	protocol := strconv.Itoa(transport.Protocol)
	for _, test := range []struct {
		name, cluster, number, to, protocol string
		send                                []byte
		code                                codes.Code
		want                                string // of the status
		failure                             string // of an answer
	}{
		{name: "cluster", cluster: "other", want: `is of cluster "other", this node of "` + n.ClusterID() + `"`, code: codes.FailedPrecondition},
		{name: "no handshake", cluster: "-", number: "-", to: "-", protocol: "-", want: `node "n9" speaks protocol "", this node ` + protocol + `: give both the same version`, code: codes.FailedPrecondition},
		{name: "protocol", protocol: "1", want: `node "n9" speaks protocol "1", this node ` + protocol, code: codes.FailedPrecondition},
		{name: "other node", to: "7", want: `node "n9" wants node 7, this is node 1 (n1)`, code: codes.FailedPrecondition},
		{name: "number", number: "0", want: `node "n9" has the number "0", want one above 0`, code: codes.FailedPrecondition},
		{name: "no protobuf", send: []byte("garbage"), want: "batch: ", code: codes.Internal},
		{name: "short frame", send: batch(1, 0, 0), want: "frame: 2 bytes, want 4 of a length", code: codes.InvalidArgument},
		{name: "long frame", send: batch(1, 0xff, 0xff, 0xff, 0xff, put, 1, 0), want: "frame: length of 4294967295, 3 bytes are there", code: codes.InvalidArgument},
		{name: "kind", send: batch(1, 0, 0, 0, 3, 99, 1, 0), want: "frame of kind 99, want a request", code: codes.InvalidArgument},
		{name: "large piece", send: batch(1, 0, 0, 0, 11, piece, 0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f, 1), want: "piece of a frame of 72057594037927935 bytes, the limit is ", code: codes.InvalidArgument},
		{name: "a node that nobody knows", send: batch(1, 0, 0, 0, 4, put, 1, 0, 9), failure: "a request of node 9, which epoch "},
		{name: "body", number: "1", send: batch(1, 0, 0, 0, 4, put, 1, 0, 9), failure: "put: "},
		{name: "old epoch", send: batch(0, 0, 0, 0, 4, put, 1, 0, 9), failure: "a request of node 9, which epoch "},
	} {
		t.Run(test.name, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			md := metadata.MD{}
			for key, value := range map[string][2]string{"cluster": {test.cluster, n.ClusterID()}, "node": {test.number, "9"}, "to": {test.to, "1"}, "protocol": {test.protocol, protocol}} {
				if value[0] == "" {
					value[0] = value[1]
				}
				if value[0] != "-" {
					md.Set("cambium-"+key, value[0])
				}
			}
			md.Set("cambium-name", "n9")
			stream, err := conn.NewStream(metadata.NewOutgoingContext(ctx, md), &peer.Peer_ServiceDesc.Streams[0], peer.Peer_Exchange_FullMethodName, grpc.ForceCodecV2(raw{}))
			require.NoError(t, err)
			if test.send != nil {
				require.NoError(t, stream.SendMsg(&test.send))
			}
			var answer []byte
			if err = stream.RecvMsg(&answer); test.failure != "" {
				require.NoError(t, err)
				require.Contains(t, string(answer), test.failure)
				return
			}
			require.ErrorContains(t, err, test.want)
			require.Equal(t, test.code, status.Code(err), "%v", err)
		})
	}
}

// badBytes are no gRPC, no HTTP and no gossip at all.
func badBytes(t *testing.T, n *Node) {
	for _, addr := range []string{n.Addr(), n.HTTP(), n.parts.gossip.Addr()} {
		for _, garbage := range [][]byte{nil, {0}, bytes.Repeat([]byte{0xff}, 1000), []byte("GET / HTTP/1.1\r\n\r\n"), {0x16, 3, 1, 0, 5, 1, 0, 0, 1, 0}} {
			conn, err := net.Dial("tcp", addr)
			require.NoError(t, err)
			_, err = conn.Write(garbage)
			require.NoError(t, err)
			_ = conn.(*net.TCPConn).CloseWrite() // unless it has ended already
			require.NoError(t, conn.SetReadDeadline(time.Now().Add(time.Minute)))
			_, err = io.Copy(io.Discard, conn) // until it ends
			if err, ok := err.(net.Error); ok {
				require.False(t, err.Timeout(), "%s went on after %q", addr, garbage)
			}
			_ = conn.Close() // nothing is under way on it
		}
	}
	conn, err := net.Dial("udp", n.parts.gossip.Addr())
	require.NoError(t, err)
	defer conn.Close()
	for i := range 256 {
		_, err = conn.Write(fmt.Appendf([]byte{byte(i)}, "garbage %d", i))
		require.NoError(t, err)
	}
}
