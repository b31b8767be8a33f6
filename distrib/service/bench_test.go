package service

import (
	"context"
	"net"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/cambiumdb/cambium/distrib"
	"github.com/cambiumdb/cambium/distrib/api"
	"github.com/cambiumdb/cambium/distrib/coordinator"
	"github.com/cambiumdb/cambium/distrib/ring"
	"github.com/cambiumdb/cambium/distrib/vclock"
)

// instant is nodes that answer at once, so that what is measured is the way to them.
type instant struct {
	distrib.Transport
	record distrib.Record
	dots   []vclock.Dot
}

func (i *instant) Put(context.Context, uint64, *distrib.PutRequest) (*distrib.PutReply, error) {
	return &distrib.PutReply{Sibling: i.record[0], Siblings: 1}, nil
}

func (i *instant) Merge(context.Context, uint64, *distrib.MergeRequest) error { return nil }

func (i *instant) Read(_ context.Context, _ uint64, r *distrib.ReadRequest) (*distrib.ReadReply, error) {
	if r.Digest {
		return &distrib.ReadReply{Dots: i.dots}, nil
	}
	return &distrib.ReadReply{Record: i.record, Dots: i.dots}, nil
}

// benchClient is one of a service over loopback, of three nodes that answer at once.
func benchClient(b *testing.B) api.KVClient {
	r, err := ring.New(ring.Options{}, []ring.Node{{ID: 1, Name: "n1"}, {ID: 2, Name: "n2"}, {ID: 3, Name: "n3"}})
	require.NoError(b, err)
	dot := vclock.Dot{Actor: vclock.Actor{Node: 1, Birth: 1}, Counter: 1}
	nodes := &instant{dots: []vclock.Dot{dot}, record: distrib.Record{{Dot: dot, Op: distrib.OpID{1}, Value: distrib.Value{Data: make([]byte, 1<<10)}}}}
	view := ring.Steady(r)
	co := coordinator.New(coordinator.Options{Self: 1, View: func() (*ring.View, func()) { return view, func() {} }, Transport: nodes})
	names := map[uint64]string{1: "n1", 2: "n2", 3: "n3"}
	s := New(Options{Self: "n1", Coordinator: co, Name: func(id uint64) string { return names[id] }})
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(b, err)
	g := grpc.NewServer(ServerOptions()...)
	s.Register(g)
	go g.Serve(listener)
	conn, err := grpc.NewClient(listener.Addr().String(), grpc.WithTransportCredentials(insecure.NewCredentials()))
	require.NoError(b, err)
	b.Cleanup(func() { s.Close(); _ = conn.Close(); g.Stop(); co.Wait() })
	return api.NewKVClient(conn)
}

// BenchmarkOperations has 64 operations of 1 KiB under way: in a session, and as unary calls.
func BenchmarkOperations(b *testing.B) {
	const window = 64
	key, value := []byte("0123456789abcdef"), make([]byte, 1<<10)
	requests := map[string]*api.SessionRequest{
		"put": put(&api.PutRequest{Key: key, Value: value}),
		"get": get(&api.GetRequest{Key: key}),
	}
	client := benchClient(b)
	for _, name := range []string{"put", "get"} {
		q := requests[name]
		b.Run(name+"/session", func(b *testing.B) {
			b.ReportAllocs()
			s, err := client.Session(b.Context())
			require.NoError(b, err)
			left, under := b.N, 0
			for left+under > 0 {
				if n := min(left, window-under); n > 0 { // as many as were answered, as one message
					batch := make([]*api.SessionRequest, n)
					for i := range batch {
						batch[i] = q
					}
					require.NoError(b, s.Send(&api.SessionRequest{Op: &api.SessionRequest_Batch{Batch: &api.SessionBatch{Requests: batch}}}))
					left, under = left-n, under+n
				}
				r, err := s.Recv()
				require.NoError(b, err)
				for _, r := range append(r.GetBatch().GetResponses(), r)[:max(1, len(r.GetBatch().GetResponses()))] {
					if r.GetFailure() != nil {
						b.Fatal(r.GetFailure().Message)
					}
					under--
				}
			}
			require.NoError(b, s.CloseSend())
		})
		b.Run(name+"/unary", func(b *testing.B) {
			b.ReportAllocs()
			b.SetParallelism(window / 2)
			var failed atomic.Int64
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					var err error
					if q.GetPut() != nil {
						_, err = client.Put(b.Context(), q.GetPut())
					} else {
						_, err = client.Get(b.Context(), q.GetGet())
					}
					if err != nil {
						failed.Add(1)
					}
				}
			})
			require.Zero(b, failed.Load())
		})
	}
}
