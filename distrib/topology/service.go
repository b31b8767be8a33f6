package topology

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"golang.org/x/sync/errgroup"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/cambiumdb/cambium/distrib"
	"github.com/cambiumdb/cambium/distrib/api"
	"github.com/cambiumdb/cambium/distrib/meta"
)

// Plan implements api.ClusterServer: it says what changes would move, and changes nothing.
func (m *Mover) Plan(ctx context.Context, r *api.PlanRequest) (*api.PlanResponse, error) {
	t, _, err := m.load(ctx)
	if err != nil {
		return nil, err
	}
	var changes []Change
	for _, c := range r.Changes {
		changes = append(changes, Change{Kind: Kind(c.Kind), Node: c.Node, By: c.By, Weight: c.Weight})
	}
	p, err := NewPlan(t, changes, m.down)
	if err != nil {
		return nil, status.Error(codes.FailedPrecondition, err.Error())
	}
	sizes, err := m.sizes(ctx, p)
	if err != nil {
		return nil, status.Errorf(codes.Unavailable, "plan: %v", err)
	}
	moves, bytes, seconds := p.Measure(sizes, m.opts.Rate)
	m.mu.Lock()
	m.plans.keep(p, bytes)
	m.mu.Unlock()
	answer := &api.PlanResponse{Id: p.ID, Epoch: p.Epoch, Bytes: uint64(bytes), Ranges: uint64(len(p.Gains)), Seconds: seconds, Notes: p.Notes}
	for _, v := range moves {
		answer.Moves = append(answer.Moves, &api.PlannedMove{From: v.From, To: v.To, Ranges: uint64(v.Ranges), Bytes: uint64(v.Bytes)})
	}
	return answer, nil
}

// load returns the topology that a change is to be made of.
func (m *Mover) load(ctx context.Context) (*distrib.Topology, int64, error) {
	t, revision, err := m.opts.Meta.Load(ctx)
	if err == nil && t == nil {
		err = errors.New("there is no topology yet")
	}
	if err != nil {
		return nil, 0, refusal(err)
	}
	return t, revision, nil
}

// refusal is an error of the metadata store as clients see it.
func refusal(err error) error {
	switch {
	case errors.Is(err, distrib.ErrChanged):
		return status.Error(codes.Aborted, "the topology was changed meanwhile: plan again")
	case errors.Is(err, meta.ErrDown):
		return status.Error(codes.Unavailable, err.Error())
	}
	return status.Error(codes.Unavailable, fmt.Sprintf("ring metadata: %v", err))
}

// sizes asks how many bytes the gains of a plan have.
func (m *Mover) sizes(ctx context.Context, p *Plan) ([]int64, error) {
	sizes := make([]int64, len(p.Gains))
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(2 * abreast)
	for i, gain := range p.Gains {
		g.Go(func() (err error) {
			sizes[i], err = m.sizeOf(ctx, gain)
			return err
		})
	}
	return sizes, g.Wait()
}

// sizeOf asks the first that answers of those who have it.
func (m *Mover) sizeOf(ctx context.Context, g Gain) (bytes int64, err error) {
	var errs []error
	for _, node := range g.From {
		bytes, err = 0, nil
		for _, p := range Pieces(g.Range) {
			var parts []distrib.Part
			if parts, err = m.opts.Transport.Parts(ctx, node, &distrib.PartsRequest{First: p[0], Last: p[1], Parts: 1}); err != nil {
				break
			}
			for _, part := range parts {
				bytes += part.Bytes
			}
		}
		if err == nil {
			return bytes, nil
		}
		errs = append(errs, fmt.Errorf("size of %s at node %d: %w", g.Range, node, err))
	}
	return 0, errors.Join(errs...)
}

// Commit implements api.ClusterServer: it begins the change of a plan.
func (m *Mover) Commit(ctx context.Context, r *api.CommitRequest) (*api.CommitResponse, error) {
	t, revision, err := m.load(ctx)
	if err != nil {
		return nil, err
	}
	if t.Change != nil && t.Change.ID == r.Id { // tried again
		return &api.CommitResponse{Epoch: t.Epoch}, nil
	}
	p, err := Recall(t, r.Id, m.down)
	if err != nil {
		return nil, status.Error(codes.FailedPrecondition, err.Error())
	}
	m.mu.Lock()
	bytes, known := m.plans.bytes[p.ID]
	m.mu.Unlock()
	if known {
		p.bytes = bytes
	} else {
		sizes, err := m.sizes(ctx, p)
		if err != nil {
			return nil, status.Errorf(codes.Unavailable, "commit: %v", err)
		}
		p.Measure(sizes, m.opts.Rate)
	}
	return m.replace(ctx, p.Commit(m.opts.Self), revision)
}

// replace puts t in the place of the topology of revision.
func (m *Mover) replace(ctx context.Context, t *distrib.Topology, revision int64) (*api.CommitResponse, error) {
	if _, err := m.opts.Meta.Update(ctx, t, revision); err != nil {
		return nil, refusal(err)
	}
	if err := m.Adopt(t); err != nil {
		return nil, status.Error(codes.Internal, err.Error())
	}
	return &api.CommitResponse{Epoch: t.Epoch}, nil
}

// Abort implements api.ClusterServer: it ends a change, and all is as before.
func (m *Mover) Abort(ctx context.Context, r *api.AbortRequest) (*api.AbortResponse, error) {
	t, revision, err := m.load(ctx)
	if err != nil {
		return nil, err
	}
	next, err := Abort(t, r.Id)
	if err != nil {
		return nil, status.Error(codes.FailedPrecondition, err.Error())
	}
	c, err := m.replace(ctx, next, revision)
	if err != nil {
		return nil, err
	}
	return &api.AbortResponse{Epoch: c.Epoch}, nil
}

// Status is how far the change under way is; nil: there is none.
func (m *Mover) Status(ctx context.Context) *api.TransitionStatus {
	t := m.topology()
	if t == nil || t.Change == nil {
		return nil
	}
	c := t.Change
	s := &api.TransitionStatus{Id: c.ID, Stage: string(c.Stage), Owner: nameOf(t, c.Owner), Changes: slices.Clone(c.What), BytesPlanned: uint64(c.Bytes)}
	reports := m.reports(ctx, t)
	for _, r := range reports {
		if r.Change == c.ID {
			s.BytesMoved += uint64(r.Bytes)
			s.KeysMoved += uint64(r.Keys)
		}
	}
	_, waiting := Step(t, reports)
	for _, w := range waiting {
		s.Waiting = append(s.Waiting, w.String())
	}
	return s
}
