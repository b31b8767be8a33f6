package node

import (
	"context"
	"slices"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/cambiumdb/cambium/distrib"
	"github.com/cambiumdb/cambium/distrib/antientropy"
	"github.com/cambiumdb/cambium/distrib/api"
	"github.com/cambiumdb/cambium/distrib/gossip"
	"github.com/cambiumdb/cambium/distrib/hint"
	"github.com/cambiumdb/cambium/distrib/recovery"
	"github.com/cambiumdb/cambium/distrib/ring"
)

// cluster answers what clients and operators ask of the cluster.
type cluster struct {
	api.UnimplementedClusterServer
	*Node
}

// Ring implements api.ClusterServer.
func (s cluster) Ring(_ context.Context, r *api.RingRequest) (*api.RingResponse, error) {
	return ringToAPI(s.view().topology, r.KnownEpoch), nil
}

// ringToAPI leaves the members out where they are known already.
func ringToAPI(t *distrib.Topology, known uint64) *api.RingResponse {
	r := &api.RingResponse{ClusterId: t.ClusterID, Epoch: t.Epoch, Replicas: uint32(t.Replicas), Vnodes: uint32(t.VNodes)}
	if t.Epoch == known {
		return r
	}
	for i := range t.Members {
		r.Members = append(r.Members, memberToAPI(&t.Members[i]))
	}
	if c := t.Change; c != nil {
		r.Stage = string(c.Stage)
		for i := range c.Next {
			r.Next = append(r.Next, memberToAPI(&c.Next[i]))
		}
	}
	return r
}

// Status implements api.ClusterServer.
func (s cluster) Status(ctx context.Context, _ *api.StatusRequest) (*api.StatusResponse, error) {
	v, p := s.view(), s.parts
	answer := &api.StatusResponse{
		Ring: ringToAPI(v.topology, 0), Self: memberToAPI(s.self.Load()), Metadata: s.metadata(ctx),
		DirtySlots: uint64(p.dirty.Count()), Hints: slices.DeleteFunc(s.kept(), func(h *api.KeptHints) bool { return h.Bytes == 0 }),
	}
	answer.Transition = s.mover.Load().Status(ctx)
	shares := map[uint64]float64{}
	for i, share := range v.keys.Reads().Load() {
		shares[v.keys.Reads().Node(int32(i)).ID] = share
	}
	heard := p.gossip.Members()
	for _, m := range slices.Concat(v.topology.Members, v.topology.Joining) {
		state := &api.MemberState{Member: memberToAPI(&m), Share: shares[m.ID]}
		if m.ID == s.self.Load().ID {
			s.ownState(state)
		} else if i := slices.IndexFunc(heard, func(g gossip.Member) bool { return g.Node == m.ID }); i >= 0 {
			stateToAPI(state, heard[i])
		} else {
			state.State, state.Reason = "down", "it was not heard of yet"
		}
		answer.Members = append(answer.Members, state)
	}
	return answer, nil
}

func (s cluster) ownState(state *api.MemberState) {
	state.State, state.SinceMs, state.Epoch, state.DataBytes = "up", s.since.UnixMilli(), s.epoch(), uint64((*s.store.Load()).DiskBytes())
	if s.refilled() != recovery.RefillNot {
		state.Reason = "being refilled: its reads do not count yet"
	}
	for _, k := range s.parts.hints.Kept() {
		state.HintBytes += uint64(k.Bytes)
	}
}

func stateToAPI(state *api.MemberState, g gossip.Member) {
	state.State, state.Reason = [...]string{"up", "suspect", "down"}[g.Liveness], g.Reason
	state.SinceMs, state.Epoch = g.Since.UnixMilli(), g.State.Epoch
	state.DataBytes, state.HintBytes = g.State.DataBytes, g.State.HintBytes
}

// metadata says whether the ring metadata can be changed now.
func (s cluster) metadata(ctx context.Context) string {
	ctx, cancel := context.WithTimeout(ctx, helloTimeout)
	defer cancel()
	if _, _, err := s.meta.MetaStore.Load(ctx); err != nil {
		return err.Error()
	}
	return "reachable"
}

// Where implements api.ClusterServer.
func (s cluster) Where(_ context.Context, r *api.WhereRequest) (*api.WhereResponse, error) {
	if err := distrib.CheckKey(r.Key); err != nil {
		return nil, status.Error(codes.InvalidArgument, err.Error())
	}
	v, token := s.view(), ring.TokenOf(r.Key)
	answer := &api.WhereResponse{Token: token.Hi}
	for _, id := range owners(v.keys.Reads(), token) {
		m := v.members[id]
		answer.Owners = append(answer.Owners, memberToAPI(&m))
	}
	for i := range v.keys.Reads().Fallbacks(token) {
		if m := v.members[v.keys.Reads().Node(i).ID]; len(answer.Fallbacks) < v.topology.Replicas {
			answer.Fallbacks = append(answer.Fallbacks, memberToAPI(&m))
		}
	}
	return answer, nil
}

// Hints implements api.ClusterServer: those of all nodes that answer are asked for one by one by the client.
func (s cluster) Hints(context.Context, *api.HintsRequest) (*api.HintsResponse, error) {
	return &api.HintsResponse{Hints: s.kept()}, nil
}

// kept is what the node keeps, or has kept since its start, for others.
func (s cluster) kept() (list []*api.KeptHints) {
	kept := s.parts.hints.Kept()
	for _, c := range s.parts.hints.Counts() {
		h := &api.KeptHints{
			Node: s.opts.Name, Target: s.nameOf(c.Target), State: "drained",
			Kept: uint64(c.Kept), HandedOver: uint64(c.HandedOver), Refused: uint64(c.Refused),
		}
		if i := slices.IndexFunc(kept, func(k hint.Kept) bool { return k.Target == c.Target }); i >= 0 {
			h.Bytes, h.OldestMs, h.State = uint64(kept[i].Bytes), kept[i].Oldest.UnixMilli(), "draining"
			if s.parts.gossip.Liveness(c.Target) == distrib.Down {
				h.State = "waiting"
			}
		}
		list = append(list, h)
	}
	return list
}

// Repair implements api.ClusterServer.
func (s cluster) Repair(r *api.RepairRequest, stream api.Cluster_RepairServer) error {
	began := time.Now()
	pieces := s.pieces(r.All)
	progress := &api.RepairProgress{Of: uint64(len(pieces))}
	for _, piece := range pieces {
		if !r.All {
			s.log("clean ranges", s.parts.dirty.Clean(piece.slots))
		}
		report, err := antientropy.Exchange(stream.Context(), patient{s.parts.client}, piece.nodes, piece.slots.First, piece.slots.Last, antientropy.Options{})
		progress.Compared += uint64(report.Compared)
		progress.Listed += uint64(report.Listed)
		progress.Sent += uint64(report.Sent)
		if err != nil {
			s.log("mark ranges", s.parts.dirty.MarkRange(piece.slots))
			progress.Error = err.Error()
			if err := stream.Send(progress); err != nil {
				return err
			}
			return status.Errorf(codes.Unavailable, "%d of %d ranges were compared; the rest is compared when all that hold it are up: %v", progress.Ranges, progress.Of, err)
		}
		progress.Ranges++
		if err := stream.Send(progress); err != nil {
			return err
		}
	}
	s.opts.Logger.Info("repair", "ranges", progress.Ranges, "sent", progress.Sent, "took", time.Since(began))
	return nil
}

// piece is a range and who holds it.
type piece struct {
	slots antientropy.Slots
	nodes []uint64
}

// pieces divides all ranges, or the dirty ones.
func (s cluster) pieces(all bool) (list []piece) {
	for _, stretch := range s.view().keys.Reads().Stretches() {
		for first := stretch.First.Hi; ; {
			slots := antientropy.Slots{First: first, Last: min(stretch.Last.Hi, first|(pieceTokens-1))}
			if !all {
				dirty, ok := s.parts.dirty.Next(first)
				if !ok || dirty.First > stretch.Last.Hi {
					break
				}
				slots = antientropy.Slots{First: max(first, dirty.First), Last: min(stretch.Last.Hi, dirty.Last)}
			}
			list = append(list, piece{slots, stretch.Nodes})
			if first = slots.Last + 1; slots.Last >= stretch.Last.Hi {
				break
			}
		}
	}
	return list
}
