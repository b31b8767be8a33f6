package node

import (
	"context"
	"errors"
	"time"

	"google.golang.org/grpc"

	"github.com/cambiumdb/cambium/distrib"
	"github.com/cambiumdb/cambium/distrib/antientropy"
	"github.com/cambiumdb/cambium/distrib/api"
	"github.com/cambiumdb/cambium/distrib/certs"
	"github.com/cambiumdb/cambium/distrib/coordinator"
	"github.com/cambiumdb/cambium/distrib/gossip"
	"github.com/cambiumdb/cambium/distrib/hint"
	"github.com/cambiumdb/cambium/distrib/recovery"
	"github.com/cambiumdb/cambium/distrib/replica"
	"github.com/cambiumdb/cambium/distrib/ring"
	"github.com/cambiumdb/cambium/distrib/service"
	"github.com/cambiumdb/cambium/distrib/transport"
)

// parts are what a node is made of once it knows who it is.
type parts struct {
	*handler
	gossip      *gossip.Gossip
	dirty       *antientropy.Dirty
	client      *transport.Client
	coordinator *coordinator.Coordinator
	service     *service.Server
}

// gates are services that are registered before what they lead to is there. No call passes before the node is
// ready.
type gates struct {
	kv   struct{ api.KVServer }
	peer *transport.Server
}

// late is the handler of the node's parts.
type late struct{ *Node }

func (l late) Put(ctx context.Context, r *distrib.PutRequest) (*distrib.PutReply, error) {
	return l.parts.Put(ctx, r)
}
func (l late) Merge(ctx context.Context, r *distrib.MergeRequest) error { return l.parts.Merge(ctx, r) }
func (l late) Read(ctx context.Context, r *distrib.ReadRequest) (*distrib.ReadReply, error) {
	return l.parts.Read(ctx, r)
}
func (l late) Parts(ctx context.Context, r *distrib.PartsRequest) ([]distrib.Part, error) {
	return l.parts.Parts(ctx, r)
}
func (l late) Keys(ctx context.Context, r *distrib.KeysRequest) ([]distrib.KeyDots, error) {
	return l.parts.Keys(ctx, r)
}
func (l late) Step(ctx context.Context, key, request []byte) ([]byte, error) {
	return l.parts.Step(ctx, key, request)
}
func (l late) Learn(ctx context.Context, decisions []byte) ([]byte, error) {
	return l.parts.Learn(ctx, decisions)
}
func (l late) StartOperate(deadline time.Time, key, operation []byte, done func([]byte, error)) {
	l.parts.StartOperate(deadline, key, operation, done)
}

func (n *Node) registerParts() {
	n.gates.peer = transport.NewServer(transport.ServerOptions{
		Self: n.identity, Handler: late{n}, Epoch: n.epoch, SawEpoch: n.sawEpoch, Admit: n.admit, Faults: &n.faults,
	})
	n.gates.peer.Register(n.nodesOnly())
	api.RegisterKVServer(n.grpc, &n.gates.kv)
	api.RegisterClusterServer(n.grpc, cluster{Node: n})
}

// nodesOnly registers services that no client may call.
func (n *Node) nodesOnly() grpc.ServiceRegistrar {
	if n.opts.Security == nil {
		return n.grpc
	}
	return certs.RequireNode(n.grpc)
}

func (n *Node) identity() transport.Identity {
	return transport.Identity{ClusterID: n.ClusterID(), Node: n.self.Load().ID, Name: n.opts.Name}
}

func (n *Node) epoch() uint64 { return n.view().topology.Epoch }

// sawEpoch takes the epoch of another node: a higher one is asked for.
func (n *Node) sawEpoch(epoch uint64) {
	if epoch > n.epoch() {
		n.refresh()
	}
}

// refresh has the topology looked for anew.
func (n *Node) refresh() {
	select {
	case n.kick <- struct{}{}:
	default:
	}
}

// work starts all parts.
func (n *Node) work(ctx context.Context) error {
	s, v, self := *n.store.Load(), n.view(), n.self.Load()
	p := &parts{handler: &handler{name: self.Name, lost: n.refilled, registers: n.registers, clock: n.clock}}
	var err error
	if p.gossip, err = n.startGossip(ctx, v, self); err != nil {
		return err
	}
	n.gossip.Store(p.gossip)
	n.onClose(p.gossip.Close)
	p.data = replica.New(replica.Options{Store: s, Prefix: distrib.DataPrefix(), Node: self.ID, Births: n.births})
	if p.hints, err = hint.Open(hint.Options{Store: s, Node: self.ID, Births: n.births, MaxBytes: n.opts.HintBytes, Pace: pace(n.opts.HintRate)}); err != nil {
		return err
	}
	if p.dirty, err = antientropy.OpenDirty(s); err != nil {
		return err
	}
	if n.verdict.Dirty {
		if err := n.markOwn(p.dirty); err != nil {
			return err
		}
	}
	p.client = transport.NewClient(transport.ClientOptions{
		Self: n.identity, Local: p.handler, Addr: n.addrOf, Name: n.nameOf, Epoch: n.epoch, SawEpoch: n.sawEpoch, Faults: &n.faults, Credentials: n.opts.credentials(),
	})
	n.onClose(func() error { p.client.Close(); return nil })
	mover, err := n.newMover(p, s)
	if err != nil {
		return err
	}
	p.view = mover.View
	p.coordinator = coordinator.New(coordinator.Options{
		Self: self.ID, Run: n.births.Run(), Hybrid: n.clock, View: mover.View, Transport: p.client, Registers: p.client, Name: n.nameOf,
		Limits:   coordinator.Limits{Operations: n.opts.Operations, Bytes: n.opts.OperationBytes},
		Liveness: p.gossip.Liveness, Observe: p.gossip.Observe, Settle: p.data.Settle,
		Unfinished: func(key []byte) {
			if err := p.dirty.Mark(ring.TokenOf(key).Hi); err != nil {
				n.opts.Logger.Error("a key whose nodes may differ was not noted", "error", err)
			}
		},
	})
	p.operate = p.coordinator.StartServe
	p.service = service.New(service.Options{Self: self.Name, Coordinator: p.coordinator, Name: n.nameOf, Sync: n.opts.Sync, Linearizable: !n.opts.NeverPromote, Now: n.opts.Now, Clock: n.clock, Operations: n.operations})
	n.gates.kv.KVServer = p.service
	n.parts = p
	n.registerFigures(p)
	n.startBackground()
	return nil
}

func (n *Node) addrOf(id uint64) (string, bool) {
	m, ok := n.view().members[id]
	return m.Addr, ok
}

func (n *Node) nameOf(id uint64) string { return n.view().name(id) }

// startGossip begins to gossip with whom the other nodes name.
func (n *Node) startGossip(ctx context.Context, v *view, self *distrib.Member) (*gossip.Gossip, error) {
	list, _ := n.helloAll(ctx, n.addresses(v.topology), v.topology.ClusterID, false) // the loop of background.go tries again
	return gossip.Start(gossip.Options{
		ClusterID: v.topology.ClusterID, Node: self.ID, Name: self.Name, Bind: n.opts.Gossip, Seeds: seedsOf(list), Key: v.topology.Secret,
		Faults: &n.faults, Logger: n.opts.Logger, OnChange: func(uint64, distrib.Liveness) { n.wakeHints() },
	})
}

func seedsOf(list []*heard) (seeds []string) {
	for _, h := range list {
		if h.Gossip != "" {
			seeds = append(seeds, h.Gossip)
		}
	}
	return seeds
}

// drain ends what is under way, for as long as ctx allows, and notes in the store that nothing was left.
func (n *Node) drain(ctx context.Context) error {
	p := n.parts
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		p.service.Close()
		n.stopBackground()
		p.coordinator.Close()
		_ = p.gossip.Leave(leaveTimeout) // the others find out by themselves
		n.gates.peer.Close()
		n.grpc.GracefulStop()
	}()
	select {
	case <-ended:
		return recovery.MarkClean(*n.store.Load(), time.Now().UTC().Format(time.RFC3339))
	case <-ctx.Done():
		n.grpc.Stop()
		<-ended
		return errors.Join(errors.New("not all work under way had ended in time"), context.Cause(ctx))
	}
}
