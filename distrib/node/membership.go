package node

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/cambiumdb/cambium/distrib"
	"github.com/cambiumdb/cambium/distrib/api"
	"github.com/cambiumdb/cambium/distrib/recovery"
)

// membership is what a node tells others that start. It answers before the node itself is ready, and of their last starts
// before it has found the cluster: of nodes that all start at once each needs the others.
type membership struct {
	api.UnimplementedMembershipServer
	*Node
}

// Hello implements api.MembershipServer.
func (s membership) Hello(_ context.Context, r *api.HelloRequest) (*api.HelloResponse, error) {
	answer := &api.HelloResponse{Self: memberToAPI(s.self.Load())}
	v, last := s.view(), s.last.Load()
	if v == nil && last == nil {
		return answer, nil
	}
	if v == nil { // what it knew when it was closed says of others' starts what it was told
		v = last
	}
	t := v.topology
	if r.ClusterId != "" && r.ClusterId != t.ClusterID {
		return nil, status.Errorf(codes.FailedPrecondition, "this is cluster %s, node %s is of cluster %s: look at its --join; a node moves to another cluster with an empty directory", t.ClusterID, r.Self.GetName(), r.ClusterId)
	}
	var err error
	if v != last {
		if answer.Topology, err = json.Marshal(t); err != nil {
			return nil, status.Errorf(codes.Internal, "topology: %v", err)
		}
	}
	if g := s.gossip.Load(); g != nil {
		answer.Gossip = g.Addr()
	}
	m, ok := v.named(r.Self.GetName())
	if !ok {
		return answer, nil
	}
	store := s.store.Load()
	if store == nil {
		return nil, status.Errorf(codes.Unavailable, "node %s opens its store", s.opts.Name)
	}
	run, err := recovery.KnownRun(*store, m.ID)
	if err == nil && r.Started {
		err = recovery.Remember(*store, m.ID, r.Self.GetRun())
	}
	if err != nil {
		return nil, status.Errorf(codes.Internal, "run of node %s: %v", m.Name, err)
	}
	answer.KnownId, answer.KnownRun = m.ID, max(run, m.Run)
	return answer, nil
}

// heard is what a node answered to a hello.
type heard struct {
	*api.HelloResponse
	topology *distrib.Topology // nil: it knows of none yet
}

// hello says to the node at addr who this is. started: and that it has begun the run of self.
func (n *Node) hello(ctx context.Context, addr, cluster string, started bool) (*heard, error) {
	conn, err := grpc.NewClient(addr, grpc.WithTransportCredentials(n.opts.credentials()))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", addr, err)
	}
	defer conn.Close()
	ctx, cancel := context.WithTimeout(ctx, helloTimeout)
	defer cancel()
	answer, err := api.NewMembershipClient(conn).Hello(ctx, &api.HelloRequest{ClusterId: cluster, Self: memberToAPI(n.self.Load()), Started: started})
	if err != nil {
		return nil, fmt.Errorf("%s: %w", addr, err)
	}
	h := &heard{HelloResponse: answer}
	if len(answer.Topology) > 0 {
		h.topology = &distrib.Topology{}
		if err := json.Unmarshal(answer.Topology, h.topology); err != nil {
			return nil, fmt.Errorf("%s: topology: %w", addr, err)
		}
	}
	return h, nil
}

// helloAll asks all of addrs at once.
func (n *Node) helloAll(ctx context.Context, addrs []string, cluster string, started bool) (list []*heard, failed error) {
	var mu sync.Mutex // guards what is returned
	var errs []error
	var all sync.WaitGroup
	for _, addr := range addrs {
		all.Go(func() {
			h, err := n.hello(ctx, addr, cluster, started)
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				errs = append(errs, err)
				return
			}
			list = append(list, h)
		})
	}
	all.Wait()
	slices.SortFunc(errs, func(a, b error) int { return strings.Compare(a.Error(), b.Error()) })
	return list, errors.Join(errs...)
}

// newest is the topology of the highest epoch among those heard, and of have; nil: there is none.
func newest(have *distrib.Topology, list []*heard) *distrib.Topology {
	for _, h := range list {
		if t := h.topology; t != nil && (have == nil || t.Epoch > have.Epoch) {
			have = t
		}
	}
	return have
}

// addresses are where to ask: the nodes of t and those that the operator names, this one left out.
func (n *Node) addresses(t *distrib.Topology) (list []string) {
	own := n.self.Load().Addr
	add := func(addr string) {
		if addr != own && !slices.Contains(list, addr) {
			list = append(list, addr)
		}
	}
	if t != nil {
		for _, m := range slices.Concat(t.Members, t.Joining) {
			if m.Name != n.opts.Name {
				add(m.Addr)
			}
		}
	}
	for _, addr := range n.opts.Join {
		add(addr)
	}
	return list
}

// again waits until it is time to ask again, and says what it waits for now and then.
func (n *Node) again(ctx context.Context, tries int, waiting string, why error) error {
	if tries%25 == 0 {
		n.opts.Logger.Warn("starting: "+waiting, "error", why)
	}
	select {
	case <-time.After(againAfter):
		return nil
	case <-ctx.Done():
		return fmt.Errorf("%s: %w: %w", waiting, context.Cause(ctx), why)
	}
}

func memberToAPI(m *distrib.Member) *api.Member {
	return &api.Member{Id: m.ID, Name: m.Name, Addr: m.Addr, Http: m.HTTP, Zone: m.Zone, Weight: m.Weight, Run: m.Run}
}
