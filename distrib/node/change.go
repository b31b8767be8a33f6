package node

import (
	"context"
	"errors"
	"sync"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/cambiumdb/cambium/distrib"
	"github.com/cambiumdb/cambium/distrib/api"
	"github.com/cambiumdb/cambium/distrib/meta"
	"github.com/cambiumdb/cambium/distrib/recovery"
	"github.com/cambiumdb/cambium/distrib/topology"
)

// newMover makes the node's part in changes of owners.
func (n *Node) newMover(p *parts, s distrib.Store) (*topology.Mover, error) {
	m, err := topology.New(topology.Options{
		Self: n.self.Load().ID, Store: s, Replica: p.data, Hints: p.hints, Meta: n.meta, Transport: patient{p.client},
		Liveness: p.gossip.Liveness, Ask: n.askStage, Whole: func() bool { return n.refilled() == recovery.RefillNot && n.registers.Since() == 0 }, MayLeave: n.mayLeave,
		Sync: n.opts.Sync, Logger: n.opts.Logger,
	})
	if err != nil {
		return nil, err
	}
	n.mover.Store(m)
	n.onClose(n.conns.close)
	t := n.view().topology
	return m, errors.Join(n.registers.Raise(t.Epoch), m.Adopt(t))
}

// mayLeave says why the node cannot leave the cluster yet.
func (n *Node) mayLeave() error {
	if meta.HasSeat(n.metaDir()) {
		return errors.New("its seat of the ring metadata goes to another node first")
	}
	return nil
}

// admit lets a request of another node in.
func (n *Node) admit(from, epoch uint64) (release func(), err error) {
	return n.mover.Load().Admit(from, epoch)
}

// askStage asks another node how far it is with a change of owners.
func (n *Node) askStage(ctx context.Context, m distrib.Member, r *api.StageRequest) (*api.StageResponse, error) {
	if other, known := n.view().members[m.ID]; known {
		m = other // where it is by now
	}
	conn, err := n.conns.to(m.Addr, n.opts)
	if err != nil {
		return nil, err
	}
	return api.NewMembershipClient(conn).Stage(ctx, r)
}

// Stage implements api.MembershipServer.
func (s membership) Stage(ctx context.Context, r *api.StageRequest) (*api.StageResponse, error) {
	m, v := s.mover.Load(), s.view()
	switch {
	case m == nil || v == nil:
		return nil, status.Errorf(codes.Unavailable, "node %s is starting", s.opts.Name)
	case r.ClusterId != v.topology.ClusterID:
		return nil, status.Errorf(codes.FailedPrecondition, "this is cluster %s, who asks is of cluster %s: it was given an address of another cluster", v.topology.ClusterID, r.ClusterId)
	}
	s.sawEpoch(r.Epoch)
	return m.Stage(ctx, r)
}

// Plan implements api.ClusterServer.
func (s cluster) Plan(ctx context.Context, r *api.PlanRequest) (*api.PlanResponse, error) {
	return s.mover.Load().Plan(ctx, r)
}

// Commit implements api.ClusterServer.
func (s cluster) Commit(ctx context.Context, r *api.CommitRequest) (*api.CommitResponse, error) {
	return s.mover.Load().Commit(ctx, r)
}

// Abort implements api.ClusterServer.
func (s cluster) Abort(ctx context.Context, r *api.AbortRequest) (*api.AbortResponse, error) {
	return s.mover.Load().Abort(ctx, r)
}

// conns are connections to other nodes for what is not carried by the transport.
type conns struct {
	mu   sync.Mutex // guards what follows
	open map[string]*grpc.ClientConn
}

func (c *conns) to(addr string, o Options) (*grpc.ClientConn, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if conn := c.open[addr]; conn != nil {
		return conn, nil
	}
	conn, err := grpc.NewClient(addr, grpc.WithTransportCredentials(o.credentials()))
	if err == nil && c.open == nil {
		c.open = map[string]*grpc.ClientConn{}
	}
	if err == nil {
		c.open[addr] = conn
	}
	return conn, err
}

// keep closes all but those to nodes of v.
func (c *conns) keep(v *view) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.open) == 0 {
		return
	}
	known := map[string]bool{}
	for _, m := range v.members {
		known[m.Addr] = true
	}
	for addr, conn := range c.open {
		if !known[addr] {
			_ = conn.Close() // a question on its way is asked again
			delete(c.open, addr)
		}
	}
}

func (c *conns) close() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, conn := range c.open {
		_ = conn.Close() // nothing is under way
	}
	c.open = nil
	return nil
}
