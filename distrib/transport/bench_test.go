package transport

import (
	"context"
	"net"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/cambiumdb/cambium/distrib"
	"github.com/cambiumdb/cambium/distrib/api"
)

type unary struct{ api.UnimplementedKVServer }

func (unary) Put(context.Context, *api.PutRequest) (*api.PutResponse, error) {
	return &api.PutResponse{Siblings: 1}, nil
}

// BenchmarkPut puts 1 KiB by 64 callers at once, through a Client and as unary calls of gRPC.
func BenchmarkPut(b *testing.B) {
	value, key := make([]byte, 1<<10), []byte("0123456789abcdef")
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	g, addr := grpc.NewServer(), listener.Addr().String()
	server := NewServer(ServerOptions{Self: func() Identity { return Identity{"c", 2, "n2"} }, Handler: &echo{}})
	server.Register(g)
	api.RegisterKVServer(g, unary{})
	go g.Serve(listener)
	client := NewClient(ClientOptions{Self: func() Identity { return Identity{"c", 1, "n1"} }, Local: &echo{},
		Addr: func(uint64) (string, bool) { return addr, true }})
	conn, err := grpc.NewClient(addr, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		b.Fatal(err)
	}
	defer func() { client.Close(); _ = conn.Close(); g.Stop(); server.Close() }()
	kv := api.NewKVClient(conn)
	run := func(name string, put func() error) {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			b.SetParallelism(64)
			var failed atomic.Int64
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					if put() != nil {
						failed.Add(1)
					}
				}
			})
			if n := failed.Load(); n > 0 {
				b.Fatalf("%d failed", n)
			}
		})
	}
	run("stream", func() error {
		_, err := client.Put(b.Context(), 2, &distrib.PutRequest{Key: key, Value: distrib.Value{Data: value}})
		return err
	})
	run("started", func() error {
		came := make(chan error, 1)
		client.StartPut(time.Now().Add(time.Minute), 2, &distrib.PutRequest{Key: key, Value: distrib.Value{Data: value}}, func(_ *distrib.PutReply, err error) { came <- err })
		return <-came
	})
	run("unary", func() error {
		_, err := kv.Put(b.Context(), &api.PutRequest{Key: key, Value: value})
		return err
	})
}
