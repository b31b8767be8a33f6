package node

import (
	"context"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/cambiumdb/cambium/distrib"
	"github.com/cambiumdb/cambium/distrib/api"
	"github.com/cambiumdb/cambium/distrib/recovery"
)

// TestRefillNeedsAnother: a node that crashed has compared nothing as long as all others are down. Its reads count once one
// of them is back, and what the other holds is compared when that is.
func TestRefillNeedsAnother(t *testing.T) {
	c := newTestCluster(t, 3)
	c.crash("n2")
	c.crash("n3")
	n1 := c.nodes["n1"]
	c.eventually("both are down", func() bool {
		return n1.parts.gossip.Liveness(2) == distrib.Down && n1.parts.gossip.Liveness(3) == distrib.Down
	})
	require.NoError(t, n1.setRefill(recovery.RefillUp))
	require.NoError(t, n1.parts.dirty.MarkAll())
	n1.compareDirty(t.Context())
	require.Equal(t, recovery.RefillUp, n1.refilled())
	_, err := n1.parts.Read(t.Context(), &distrib.ReadRequest{Key: []byte("a")})
	require.ErrorIs(t, err, distrib.ErrRefused)
	c.start("n2")
	c.eventually("its reads count", func() bool { return n1.refilled() == recovery.RefillNot })
	require.NotZero(t, n1.parts.dirty.Count())
	c.start("n3")
	c.eventually("all was compared", func() bool { return n1.parts.dirty.Count() == 0 })
}

// TestGoneAreForgotten: what a node keeps of others goes with them.
func TestGoneAreForgotten(t *testing.T) {
	c := newTestCluster(t, 1)
	n := c.nodes["n1"]
	_, err := n.conns.to("127.0.0.1:1", n.opts)
	require.NoError(t, err)
	_, err = n.conns.to(n.Addr(), n.opts)
	require.NoError(t, err)
	_, err = n.parts.hints.Read(&distrib.ReadRequest{Key: []byte("a"), For: 9})
	require.NoError(t, err)
	n.parts.gossip.Observe(9, distrib.ErrRefused)
	c.eventually("they are forgotten", func() bool {
		n.conns.mu.Lock()
		defer n.conns.mu.Unlock()
		return len(n.conns.open) == 1 && len(n.parts.hints.Counts()) == 0 && len(n.parts.gossip.Members()) == 0
	})
}

// held is a store whose reads wait, if they are to, and which notes whether it was closed meanwhile.
type held struct {
	Store
	holds  atomic.Bool
	inside chan struct{}
	closed chan struct{}
	free   chan struct{}
}

func (h *held) Get(key []byte) ([]byte, error) {
	if h.holds.Load() {
		h.inside <- struct{}{}
		<-h.free
	}
	return h.Store.Get(key)
}

func (h *held) Close() error {
	close(h.closed)
	return h.Store.Close()
}

// TestStoreOutlivesHandlers: a node that is closed, in whatever way, closes its store behind all that reads it.
func TestStoreOutlivesHandlers(t *testing.T) {
	for how, end := range map[string]func(n *Node) error{
		"no time is left": func(n *Node) error {
			ctx, cancel := context.WithCancel(context.Background())
			cancel()
			require.ErrorIs(t, n.Close(ctx), context.Canceled)
			return nil
		},
		"its start has failed": (*Node).close,
	} {
		t.Run(how, func(t *testing.T) {
			c := newTestCluster(t, 0)
			o := c.options("n1")
			h := &held{inside: make(chan struct{}), closed: make(chan struct{}), free: make(chan struct{})}
			o.OpenStore = func(dir string) (s Store, err error) {
				h.Store, err = c.disks.open(dir)
				return h, err
			}
			n, err := c.try(o)
			require.NoError(t, err)
			conn, err := grpc.NewClient(n.Addr(), grpc.WithTransportCredentials(insecure.NewCredentials()))
			require.NoError(t, err)
			defer conn.Close()
			h.holds.Store(true)
			go func() {
				_, _ = api.NewMembershipClient(conn).Hello(t.Context(), &api.HelloRequest{Self: &api.Member{Name: "n1"}})
			}()
			<-h.inside
			h.holds.Store(false)
			ended := make(chan error, 1)
			go func() { ended <- end(n) }()
			c.eventually("the server ends", func() bool {
				_, err := api.NewMembershipClient(conn).Hello(t.Context(), &api.HelloRequest{})
				return err != nil
			})
			select {
			case <-h.closed:
				t.Error("the store is closed while a handler reads it")
			case <-time.After(200 * time.Millisecond):
			}
			close(h.free)
			require.NoError(t, <-ended)
		})
	}
}
