package topology

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/cambiumdb/cambium/distrib"
	"github.com/cambiumdb/cambium/distrib/api"
)

// askTimeout bounds a question to a node.
const askTimeout = 2 * time.Second

// drive brings changes that this node owns, or whose owner is gone, from stage to stage, until ctx ends.
func (m *Mover) drive(ctx context.Context) {
	trouble := "" // said once
	for ctx.Err() == nil {
		t := m.topology()
		if t == nil || t.Change == nil {
			select { // until there is one
			case <-m.turn:
			case <-ctx.Done():
			}
			continue
		}
		if m.owns(t) {
			err := m.turnOnce(ctx)
			switch {
			case err == nil:
				trouble = ""
			case err.Error() != trouble && ctx.Err() == nil:
				trouble = err.Error()
				m.opts.Logger.Warn("change of owners is not driven on", "change", t.Change.ID, "stage", t.Change.Stage, "error", err)
			}
		}
		select {
		case <-time.After(m.opts.Interval):
		case <-ctx.Done():
		}
	}
}

// owns reports whether this node has to drive the change of t.
func (m *Mover) owns(t *distrib.Topology) bool {
	list := participants(t)
	return in(list, m.opts.Self) && (t.Change.Owner == m.opts.Self || !in(list, t.Change.Owner) || m.liveness(t.Change.Owner) == distrib.Down)
}

func (m *Mover) liveness(node uint64) distrib.Liveness {
	if node == m.opts.Self {
		return distrib.Up
	}
	return m.opts.Liveness(node)
}

func (m *Mover) down(node uint64) bool { return m.liveness(node) == distrib.Down }

// turnOnce takes the change one step on, if it may. Of several that try the compare-and-set lets one.
func (m *Mover) turnOnce(ctx context.Context) error {
	t, revision, err := m.opts.Meta.Load(ctx)
	if err != nil {
		return err
	}
	if t == nil || t.Change == nil || !m.owns(t) {
		return m.learn(t)
	}
	var next *distrib.Topology
	if t.Change.Owner != m.opts.Self {
		m.opts.Logger.Info("takes over a change of owners", "change", t.Change.ID, "from", nameOf(t, t.Change.Owner))
		next = takenOver(t, m.opts.Self)
	} else if next, _ = Step(t, m.reports(ctx, t)); next == nil {
		return m.learn(t)
	}
	_, err = m.opts.Meta.Update(ctx, next, revision)
	switch {
	case errors.Is(err, distrib.ErrChanged):
		return nil
	case err != nil:
		return err
	}
	if next.Change == nil {
		m.opts.Logger.Info("change of owners is done", "change", t.Change.ID, "epoch", next.Epoch)
	} else {
		m.opts.Logger.Info("change of owners", "change", t.Change.ID, "stage", next.Change.Stage, "epoch", next.Epoch)
	}
	return m.learn(next)
}

// learn adopts what the metadata store has.
func (m *Mover) learn(t *distrib.Topology) error {
	if t == nil {
		return nil
	}
	return m.Adopt(t)
}

// reports asks all participants how far they are.
func (m *Mover) reports(ctx context.Context, t *distrib.Topology) map[uint64]Report {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	var mu sync.Mutex // guards reports
	reports := map[uint64]Report{}
	var all sync.WaitGroup
	for _, p := range participants(t) {
		all.Go(func() {
			r := m.ask(ctx, t, p)
			mu.Lock()
			defer mu.Unlock()
			reports[p.ID] = r
		})
	}
	all.Wait()
	return reports
}

// ask returns how far a node is, or why it does not say.
func (m *Mover) ask(ctx context.Context, t *distrib.Topology, p distrib.Member) Report {
	if p.ID == m.opts.Self {
		return m.Report()
	}
	a, err := m.opts.Ask(ctx, p, &api.StageRequest{ClusterId: t.ClusterID, Epoch: t.Epoch})
	if err != nil && m.down(p.ID) {
		return Report{Trouble: "it is down"}
	}
	if err != nil {
		return Report{Trouble: fmt.Sprintf("it does not answer: %v", err)}
	}
	return Report{
		Epoch: a.Epoch, Oldest: a.Oldest, Change: a.Change, Stage: distrib.Stage(a.Stage), Done: a.Done,
		Ranges: int(a.Ranges), Of: int(a.Of), Keys: int(a.Keys), Bytes: int64(a.Bytes), Trouble: a.Trouble,
	}
}

// Report says how far this node is.
func (m *Mover) Report() Report {
	t := m.topology()
	if t == nil {
		return Report{Trouble: "it knows no topology yet"}
	}
	m.mu.Lock()
	r := Report{Epoch: t.Epoch, Trouble: m.trouble}
	if t.Change != nil && t.Change.ID == m.at.Change {
		r.Change, r.Stage, r.Done, r.Keys, r.Bytes = m.at.Change, m.at.Stage, m.at.Done, m.at.Keys, m.at.Bytes
		r.Ranges, r.Of = m.at.count(len(m.part)), len(m.part)
	}
	m.mu.Unlock()
	r.Oldest = m.views.oldest()
	return r
}

// Stage answers another node's question, as api.MembershipServer says.
func (m *Mover) Stage(context.Context, *api.StageRequest) (*api.StageResponse, error) {
	r := m.Report()
	return &api.StageResponse{
		Epoch: r.Epoch, Oldest: r.Oldest, Change: r.Change, Stage: string(r.Stage), Done: r.Done,
		Ranges: uint64(r.Ranges), Of: uint64(r.Of), Keys: uint64(r.Keys), Bytes: uint64(r.Bytes), Trouble: r.Trouble,
	}, nil
}
