package service

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"

	"github.com/cambiumdb/cambium/distrib"
	"github.com/cambiumdb/cambium/distrib/client"
	"github.com/cambiumdb/cambium/distrib/vclock"
)

// TestClient is the Go client with this service: each has a codec, or its limits, of its own.
func TestClient(t *testing.T) {
	c := newCluster(t, 3, Limits{})
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	g := grpc.NewServer(ServerOptions()...)
	c.server.Register(g)
	go g.Serve(listener)
	defer g.Stop()
	ctx := t.Context()
	kv, err := client.Open(ctx, client.Options{Endpoints: []string{listener.Addr().String()}})
	require.NoError(t, err)
	defer kv.Close()
	all := client.Level{Consistency: client.All}

	key, value := []byte("user:1"), make([]byte, distrib.MaxValueBytes)
	value[len(value)-1] = 1
	put, err := kv.Put(ctx, key, value, client.PutOptions{Level: all})
	require.NoError(t, err)
	require.Len(t, put.Acknowledged, 3)
	item, err := kv.Get(ctx, key, client.GetOptions{Level: all})
	require.NoError(t, err)
	require.Equal(t, put.Context, item.Context)
	require.Equal(t, put.OpID, item.Siblings[0].Op)
	got, err := item.Value()
	require.NoError(t, err)
	require.Equal(t, value, got)

	_, err = kv.Put(ctx, key, []byte("red"), client.PutOptions{Level: all, Context: item.Context})
	require.NoError(t, err)
	put, err = kv.Put(ctx, key, []byte("blue"), client.PutOptions{Level: all})
	require.NoError(t, err)
	require.Equal(t, 2, put.Siblings)
	item, err = kv.Get(ctx, key, client.GetOptions{})
	require.NoError(t, err)
	require.Len(t, item.Siblings, 2)
	record, err := c.nodes[1].own.Read(key)
	require.NoError(t, err)
	require.Equal(t, vclock.Dots(record), vclock.Dots(distrib.Record(item.Siblings)))
	for i, s := range record {
		require.Equal(t, vclock.Equal, s.Past.Compare(item.Siblings[i].Past.Clock))
	}
	_, err = item.Value()
	require.ErrorIs(t, err, client.ErrSiblings)
	put, err = kv.Update(ctx, key, func(siblings []distrib.Sibling) ([]byte, error) {
		return fmt.Appendf(nil, "%d", len(siblings)), nil
	}, client.UpdateOptions{Level: all})
	require.NoError(t, err)
	require.Equal(t, 1, put.Siblings)
	fate, places, err := kv.Resolve(ctx, key, put.OpID, client.ResolveOptions{})
	require.NoError(t, err)
	require.Equal(t, client.Happened, fate)
	require.Len(t, places, 3)
	_, err = kv.Delete(ctx, key, client.DeleteOptions{Level: all, Context: put.Context})
	require.NoError(t, err)
	item, err = kv.Get(ctx, key, client.GetOptions{})
	require.NoError(t, err)
	require.False(t, item.Found())
	require.NotEmpty(t, item.Context)

	var writes []client.Write
	for i := range 100 {
		writes = append(writes, client.Write{Key: []byte{byte(i)}, Value: []byte("v"), Options: client.PutOptions{Level: all}})
	}
	for _, r := range kv.BatchPut(ctx, writes) {
		require.NoError(t, r.Err)
	}
	seen := map[string]bool{}
	require.NoError(t, kv.Scan(ctx, client.ScanOptions{}, func(i *client.Item) error { seen[string(i.Key)] = true; return nil }))
	require.Len(t, seen, 100)

	_, err = kv.Put(ctx, key, nil, client.PutOptions{Level: client.Level{Nodes: 4}})
	require.ErrorIs(t, err, client.ErrInvalid)
	c.set(c.gone, 2, 3)
	_, err = kv.Put(ctx, key, nil, client.PutOptions{})
	var failed *client.Error
	require.ErrorAs(t, err, &failed)
	require.Equal(t, client.Failed, failed.Outcome)
	require.ErrorIs(t, err, client.ErrUnavailable)
	require.Equal(t, "down", failed.Replicas[len(failed.Replicas)-1].State)
	require.Equal(t, "--consistency one", failed.Try)

	held, end := context.WithCancelCause(ctx)
	defer c.hold("held")()
	go func() { c.underWay(t, 1); end(errors.New("enough")) }()
	_, err = kv.Put(held, []byte("held"), nil, client.PutOptions{Level: client.Level{Consistency: client.One}})
	require.ErrorAs(t, err, &failed)
	require.Equal(t, client.Unknown, failed.Outcome)
}

// TestClientLinearizable: compare-and-swap and its kin, and updates of which each counts.
func TestClientLinearizable(t *testing.T) {
	c := newCluster(t, 3, Limits{})
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	g := grpc.NewServer(ServerOptions()...)
	c.server.Register(g)
	go g.Serve(listener)
	defer g.Stop()
	ctx, linear := t.Context(), client.Level{Consistency: client.Linearizable}
	kv, err := client.Open(ctx, client.Options{Endpoints: []string{listener.Addr().String()}})
	require.NoError(t, err)
	defer kv.Close()

	key := []byte("user:1")
	swap, err := kv.PutIfAbsent(ctx, key, []byte("red"), client.SwapOptions{})
	require.NoError(t, err)
	require.True(t, swap.Swapped)
	red := swap.Current.Context
	swap, err = kv.PutIfAbsent(ctx, key, []byte("blue"), client.SwapOptions{})
	require.NoError(t, err)
	require.ErrorIs(t, swap.Mismatch, client.ErrMismatch)
	value, err := swap.Current.Value()
	require.NoError(t, err)
	require.Equal(t, "red", string(value))
	swap, err = kv.CompareAndSwap(ctx, key, client.Expected{Value: []byte("red")}, []byte("blue"), client.SwapOptions{})
	require.NoError(t, err)
	require.True(t, swap.Swapped)
	item, err := kv.Get(ctx, key, client.GetOptions{Level: linear})
	require.NoError(t, err)
	require.True(t, item.Linearizable)
	require.Equal(t, swap.OpID, item.Siblings[0].Op)

	_, err = kv.Put(ctx, key, []byte("green"), client.PutOptions{Level: linear, Context: red})
	require.ErrorIs(t, err, client.ErrMismatch)
	var failed *client.Error
	require.ErrorAs(t, err, &failed)
	require.Equal(t, client.Failed, failed.Outcome)
	require.Equal(t, item.Context, failed.Current.Context)
	put, err := kv.Put(ctx, key, []byte("green"), client.PutOptions{Level: linear, Context: failed.Current.Context})
	require.NoError(t, err)
	require.True(t, put.Linearizable)
	swap, err = kv.DeleteIf(ctx, key, client.Expected{Context: red}, client.SwapOptions{})
	require.NoError(t, err)
	require.False(t, swap.Swapped)
	swap, err = kv.DeleteIf(ctx, key, client.Expected{Context: put.Context}, client.SwapOptions{})
	require.NoError(t, err)
	require.True(t, swap.Swapped)
	require.False(t, swap.Current.Found())

	fate, _, err := kv.Resolve(ctx, key, swap.OpID, client.ResolveOptions{Linearizable: true})
	require.NoError(t, err)
	require.Equal(t, client.Happened, fate)
	fate, _, err = kv.Resolve(ctx, key, distrib.OpID{7}, client.ResolveOptions{Linearizable: true})
	require.NoError(t, err)
	require.Equal(t, client.NotHappened, fate)
	_, err = kv.PutIfAbsent(ctx, key, nil, client.SwapOptions{Op: distrib.OpID{7}, Retried: true})
	require.ErrorIs(t, err, client.ErrNotHappened)

	const writers, each = 8, 10
	var all sync.WaitGroup
	for range writers {
		all.Go(func() {
			for range each {
				_, err := kv.Update(ctx, []byte("count"), func(siblings []distrib.Sibling) ([]byte, error) {
					n := 0
					for _, s := range siblings {
						n, _ = strconv.Atoi(string(s.Value.Data))
					}
					return strconv.AppendInt(nil, int64(n+1), 10), nil
				}, client.UpdateOptions{Level: linear, Tries: 1000})
				assert.NoError(t, err)
			}
		})
	}
	all.Wait()
	item, err = kv.Get(ctx, []byte("count"), client.GetOptions{Level: linear})
	require.NoError(t, err)
	value, err = item.Value()
	require.NoError(t, err)
	require.Equal(t, strconv.Itoa(writers*each), string(value))
	_, err = kv.Update(ctx, []byte("count"), func([]distrib.Sibling) ([]byte, error) {
		_, err := kv.Put(ctx, []byte("count"), []byte("0"), client.PutOptions{Level: linear})
		return nil, err
	}, client.UpdateOptions{Level: linear, Tries: 2})
	require.ErrorIs(t, err, client.ErrMismatch)
}
