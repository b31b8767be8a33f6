// Package node is a node of a cluster: it wires the parts of the distributed store together and serves them.
//
//	n, err := node.Start(ctx, node.Options{Name: "n1", Dir: dir, Listen: "127.0.0.1:7800", OpenStore: open, Join: seeds})
//	n.Addr()                // where it serves api.KV and api.Cluster
//	err = n.Close(ctx)      // refuses new work, finishes what is under way, closes the store
//
// # How a node starts
//
// It opens its store, listens, finds its cluster (found.go, membership.go), takes its place there, and begins a run: a number
// that no start of the node had before, which the metadata and the other nodes remember. distrib/recovery says from that whether
// the store is whose it should be and holds what it held: a node that comes back without its data, or with an old copy
// of it, is refilled from the others before its reads count. Then all parts begin to work (parts.go), and what goes
// on in the background (background.go).
//
// # Files
//
//	DIR/data           the store
//	DIR/data.aside-N   a store that was put aside when run N had been its last
//	DIR/meta           of the etcd member, where the node has one
//	DIR/topology       the last ring metadata seen, so that a node starts without etcd
package node

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/health"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/reflection"
	"google.golang.org/grpc/status"

	"github.com/cambiumdb/cambium/distrib"
	"github.com/cambiumdb/cambium/distrib/api"
	"github.com/cambiumdb/cambium/distrib/gossip"
	"github.com/cambiumdb/cambium/distrib/hlc"
	"github.com/cambiumdb/cambium/distrib/meta"
	"github.com/cambiumdb/cambium/distrib/observe"
	"github.com/cambiumdb/cambium/distrib/recovery"
	"github.com/cambiumdb/cambium/distrib/replica"
	"github.com/cambiumdb/cambium/distrib/service"
	"github.com/cambiumdb/cambium/distrib/topology"
	"github.com/cambiumdb/cambium/distrib/transport"
)

// Node is a running node.
type Node struct {
	opts   Options
	self   atomic.Pointer[distrib.Member]
	views  views
	last   atomic.Pointer[view] // of the file when it starts; nil: there was none
	store  atomic.Pointer[Store]
	gossip atomic.Pointer[gossip.Gossip]
	faults transport.Faults
	since  time.Time // its start

	found     recovery.Found
	verdict   recovery.Verdict
	births    *replica.Births
	joined    bool // with this start
	registers *recovery.Registers
	clock     *hlc.Clock
	seats     *meta.Store
	meta      *meta.Cache // of seats

	registry   *prometheus.Registry
	operations *observe.Operations

	grpc   *grpc.Server
	health *health.Server
	gates  gates
	parts  *parts // nil until it begins to serve
	mover  atomic.Pointer[topology.Mover]
	conns  conns
	ready  atomic.Bool
	left   atomic.Bool // the cluster
	lost   atomic.Pointer[recovery.Refill]

	kick     chan struct{} // the topology may have changed
	awake    chan struct{} // a node may be back
	stopping context.CancelFunc
	loops    sync.WaitGroup
	serving  sync.WaitGroup
	closers  []func() error // last first
	closing  sync.Once
	closeErr error
}

// Start returns when the node serves, or with an error where that fails or ctx ends before.
func Start(ctx context.Context, opts Options) (*Node, error) {
	opts, err := opts.withDefaults()
	if err != nil {
		return nil, err
	}
	n := &Node{opts: opts, since: time.Now(), kick: make(chan struct{}, 1), awake: make(chan struct{}, 1)}
	n.self.Store(&distrib.Member{Name: opts.Name, Addr: opts.Advertise, Zone: opts.Zone, Weight: opts.Weight})
	for _, step := range []func(context.Context) error{n.open, n.observe, n.listen, n.findCluster, n.takePlace, n.begin, n.work} {
		if err := step(ctx); err != nil {
			return nil, errors.Join(fmt.Errorf("start node %s: %w", opts.Name, err), n.close())
		}
	}
	n.ready.Store(true)
	n.awaitRefill(ctx)
	n.health.SetServingStatus("", healthpb.HealthCheckResponse_SERVING)
	v := n.view()
	opts.Logger.Info("node serves", "node", opts.Name, "cluster", v.topology.ClusterID, "epoch", v.topology.Epoch, "addr", n.Addr(), "run", n.births.Run(), "refill", n.verdict.Refill)
	return n, nil
}

// view is the cluster as the node sees it now; nil until it is found.
func (n *Node) view() *view { return n.views.last.Load() }

// Addr is the host:port of gRPC, as others are told.
func (n *Node) Addr() string { return n.self.Load().Addr }

// ClusterID is that of the node's cluster.
func (n *Node) ClusterID() string { return n.view().topology.ClusterID }

// Ready says why the node does not serve, nil where it does.
func (n *Node) Ready() error {
	if !n.ready.Load() {
		return errors.New("it is starting or being stopped")
	}
	return nil
}

func (n *Node) onClose(f func() error) { n.closers = append(n.closers, f) }

// close undoes what the steps of the start have done.
func (n *Node) close() (err error) {
	for _, f := range slices.Backward(n.closers) {
		err = errors.Join(err, f())
	}
	return err
}

func (n *Node) dataDir() string { return filepath.Join(n.opts.Dir, "data") }

// open opens the store and reads what it says of its node.
func (n *Node) open(context.Context) error {
	if err := os.MkdirAll(n.opts.Dir, 0o700); err != nil {
		return err
	}
	if err := n.openStore(); err != nil {
		return err
	}
	n.onClose(func() error {
		if s := n.store.Load(); s != nil {
			return (*s).Close()
		}
		return nil
	})
	var err error
	n.found, err = recovery.Look(*n.store.Load())
	return err
}

func (n *Node) openStore() error {
	s, err := n.opts.OpenStore(n.dataDir())
	if err != nil {
		return err
	}
	n.store.Store(&s)
	return nil
}

// listen serves what nodes that start need of each other; all else is refused until the node is ready.
func (n *Node) listen(context.Context) error {
	l, err := net.Listen("tcp", n.opts.Listen)
	if err != nil {
		return err
	}
	if n.opts.Advertise == "" {
		m := *n.self.Load()
		m.Addr = l.Addr().String()
		n.self.Store(&m)
	}
	n.grpc = grpc.NewServer(n.serverOptions()...)
	n.health = health.NewServer()
	n.health.SetServingStatus("", healthpb.HealthCheckResponse_NOT_SERVING)
	healthpb.RegisterHealthServer(n.grpc, n.health)
	api.RegisterMembershipServer(n.nodesOnly(), membership{Node: n})
	n.registerParts()
	if n.opts.AllowFaults {
		api.RegisterFaultsServer(n.grpc, &transport.FaultsService{Faults: &n.faults})
	}
	reflection.Register(n.grpc)
	n.serving.Go(func() { _ = n.grpc.Serve(l) }) // it ends when the server is stopped
	n.onClose(func() error {
		n.grpc.Stop()
		n.gates.peer.Close()
		n.serving.Wait()
		return nil
	})
	return nil
}

func (n *Node) serverOptions() []grpc.ServerOption {
	options := append(service.ServerOptions(),
		grpc.StaticStreamWindowSize(transport.WindowBytes), grpc.StaticConnWindowSize(transport.WindowBytes),
		grpc.WaitForHandlers(true), // the store is closed behind it
		grpc.ChainUnaryInterceptor(func(ctx context.Context, r any, info *grpc.UnaryServerInfo, next grpc.UnaryHandler) (any, error) {
			if err := n.serves(info.FullMethod); err != nil {
				return nil, err
			}
			return next(ctx, r)
		}),
		grpc.ChainStreamInterceptor(func(srv any, stream grpc.ServerStream, info *grpc.StreamServerInfo, next grpc.StreamHandler) error {
			if err := n.serves(info.FullMethod); err != nil {
				return err
			}
			return next(srv, stream)
		}),
	)
	if n.opts.Security != nil {
		options = append(options, grpc.Creds(n.opts.Security.Server()))
	}
	return options
}

// early are the services that answer before the node is ready.
var early = []string{"/cambium.v1.Membership/", "/cambium.v1.Faults/", "/grpc."}

// serves refuses a call that comes too early.
func (n *Node) serves(method string) error {
	if n.ready.Load() || slices.ContainsFunc(early, func(p string) bool { return len(method) > len(p) && method[:len(p)] == p }) {
		return nil
	}
	return status.Errorf(codes.Unavailable, "node %s is starting or being stopped: try another", n.opts.Name)
}

// Close lets work under way end for as long as ctx allows, tells the others, and closes the store. Another call waits for the
// first, and returns what that does.
func (n *Node) Close(ctx context.Context) error {
	n.closing.Do(func() {
		n.ready.Store(false)
		n.health.Shutdown()
		n.closeErr = errors.Join(n.drain(ctx), n.close())
	})
	return n.closeErr
}

// leaveTimeout bounds how long a node that stops tells so.
const leaveTimeout = 500 * time.Millisecond
