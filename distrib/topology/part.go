package topology

import (
	"context"
	"errors"
	"fmt"
	"math"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/cambiumdb/cambium/distrib"
	"github.com/cambiumdb/cambium/distrib/antientropy"
	"github.com/cambiumdb/cambium/distrib/ring"
)

const (
	// abreast is how many pieces a node is given at the same time.
	abreast = 4
	// rounds is how often a piece is compared until it counts as verified though something differed: each round gives
	// all nodes what any of them held when it began, so what still differs is being written.
	rounds = 3
	// again bounds how long a part that failed waits until it is tried again.
	again = 5 * time.Second
)

// piece is a range that this node gets, by the top halves of its tokens, both included.
type piece struct {
	first, last uint64
	from        []uint64
}

// pieces are what node self gets by the change of t.
func pieces(t *distrib.Topology, self uint64) (list []piece, err error) {
	all, err := gains(t, t.Change.Next, t.Change.Dead)
	if err != nil {
		return nil, err
	}
	for _, g := range all {
		if g.To == self {
			for _, p := range Pieces(g.Range) {
				list = append(list, piece{p[0], p[1], g.From})
			}
		}
	}
	return list, nil
}

// partOf names what nodes have to do by t.
func partOf(t *distrib.Topology) string {
	if t.Change == nil {
		return fmt.Sprintf("sweep %d", t.Epoch)
	}
	return t.Change.ID + " " + string(t.Change.Stage)
}

// work carries out the node's part in one stage after the other, until ctx ends.
func (m *Mover) work(ctx context.Context) {
	last, stop := "", func() {}
	defer func() { stop() }()
	for {
		select {
		case <-ctx.Done():
			return
		case <-m.wake:
		}
		t := m.topology()
		if part := partOf(t); part != last {
			stop()
			m.mu.Lock()
			m.trouble = ""
			m.mu.Unlock()
			last, stop = part, m.start(ctx, t)
		}
	}
}

// start begins the part in a stage. The function that it returns ends it, and waits for that.
func (m *Mover) start(ctx context.Context, t *distrib.Topology) (stop func()) {
	ctx, cancel := context.WithCancel(ctx)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for wait := again / 32; ; wait = min(2*wait, again) {
			err := m.carryOut(ctx, t)
			if err == nil || ctx.Err() != nil {
				return
			}
			m.opts.Logger.Warn("change of owners waits", "part", partOf(t), "error", err)
			m.mu.Lock()
			m.trouble = err.Error()
			m.mu.Unlock()
			select {
			case <-time.After(wait):
			case <-ctx.Done():
			}
		}
	}()
	return func() { cancel(); <-ended }
}

// carryOut does the part in a stage, going on where it was.
func (m *Mover) carryOut(ctx context.Context, t *distrib.Topology) error {
	if t.Change == nil {
		return m.sweep(ctx)
	}
	if !works(t.Change.Stage) {
		return nil
	}
	list, err := pieces(t, m.opts.Self)
	if err != nil {
		return err
	}
	m.mu.Lock()
	m.at.of(t.Change)
	m.part = list
	done := m.at.Done
	m.mu.Unlock()
	switch {
	case done:
		return nil
	case t.Change.Stage == distrib.StageStream:
		err = m.each(ctx, m.stream)
	case t.Change.Stage == distrib.StageVerify:
		err = m.each(ctx, m.verify)
	default:
		if !in(t.Change.Next, m.opts.Self) {
			err = errors.Join(m.opts.MayLeave(), m.giveAway(ctx))
		}
		if err == nil {
			err = m.sweep(ctx)
		}
	}
	if err == nil && t.Change.Stage == distrib.StageVerify && !m.opts.Whole() {
		err = errors.New("its reads do not count yet, since it is being refilled")
	}
	if err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.at.Done, m.trouble = true, ""
	return m.at.save(m.opts.Store, distrib.SyncNow) // and with it all that came
}

// each does what is to be done with each piece that is not done yet.
func (m *Mover) each(ctx context.Context, do func(context.Context, piece) (keys int, bytes int64, err error)) error {
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(abreast)
	for i, p := range m.part {
		m.mu.Lock()
		done := m.at.has(i)
		m.mu.Unlock()
		if done {
			continue
		}
		g.Go(func() error {
			keys, bytes, err := do(ctx, p)
			if err != nil {
				return err
			}
			m.mu.Lock()
			defer m.mu.Unlock()
			m.at.mark(i)
			m.at.Keys += keys
			m.at.Bytes += bytes
			m.trouble = ""
			return m.at.save(m.opts.Store, distrib.SyncLater)
		})
	}
	return g.Wait()
}

// stream gives this node all of a piece, and its registers. keys and bytes are what it has of it then.
func (m *Mover) stream(ctx context.Context, p piece) (keys int, bytes int64, err error) {
	parts, err := m.opts.Transport.Parts(ctx, m.opts.Self, &distrib.PartsRequest{First: p.first, Last: p.last, Parts: 1})
	if err != nil {
		return 0, 0, err
	}
	for _, part := range parts { // written meanwhile, or given before a restart
		keys, bytes = keys+part.Keys, bytes+part.Bytes
	}
	came, size, _, err := m.exchange(ctx, p.first, p.last, p.from)
	for _, from := range p.from {
		if err == nil {
			err = antientropy.CopyRegisters(ctx, m.opts.Transport, from, p.first, p.last, m.wait, m.adopt)
		}
	}
	return keys + came, bytes + size, err
}

// adopt takes over what an owner has accepted in a register. When it is asked no request of before the change is taken any more.
func (m *Mover) adopt(key, state []byte) error {
	_, err := m.opts.Replica.Adopt(key, state)
	return err
}

// verify compares a piece until nothing differs, but for what is being written. keys and bytes are what came still.
func (m *Mover) verify(ctx context.Context, p piece) (keys int, bytes int64, err error) {
	for range rounds {
		came, size, differed, err := m.exchange(ctx, p.first, p.last, p.from)
		keys, bytes = keys+came, bytes+size
		if err != nil || !differed {
			return keys, bytes, err
		}
	}
	return keys, bytes, nil
}

// exchange makes this node and others hold the same. keys and bytes are what came to this one.
func (m *Mover) exchange(ctx context.Context, first, last uint64, others []uint64) (keys int, bytes int64, differed bool, err error) {
	var k, b atomic.Int64
	r, err := antientropy.Exchange(ctx, m.opts.Transport, append([]uint64{m.opts.Self}, others...), first, last, antientropy.Options{
		Sync: distrib.SyncLater, Pace: m.wait,
		Sent: func(node uint64, bytes int) {
			if node == m.opts.Self {
				k.Add(1)
				b.Add(int64(bytes))
			}
		},
	})
	return int(k.Load()), b.Load(), r.Sent > 0, err
}

// sweep removes what this node holds and does not own, once its owners have it. It holds the view, so that no change
// goes on that gives the node what is being removed.
func (m *Mover) sweep(ctx context.Context) error {
	h := m.views.enter()
	defer h.release()
	if !h.view.Steady() || !in(everybody(h.topology), m.opts.Self) {
		return nil
	}
	for _, run := range unowned(h.view.Reads(), m.opts.Self) {
		first, last := run[0].First.Hi, run[len(run)-1].Last.Hi
		if some, err := m.holds(first, last); err != nil || !some {
			if err != nil {
				return err
			}
			continue
		}
		if err := m.handOver(ctx, run); err != nil {
			return err
		}
		// Of a token's top half at either end, the neighbour may own a part: so little stays.
		if run[0].First != (ring.Token{}) {
			first++
		}
		if run[len(run)-1].Last.Hi != math.MaxUint64 {
			last--
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		if first <= last {
			if err := m.opts.Replica.Forget(first, last); err != nil {
				return err
			}
		}
	}
	return nil
}

// handOver gives the owners of stretches what this node holds of them, durably: it is about to be removed here.
func (m *Mover) handOver(ctx context.Context, run []ring.Stretch) error {
	owners := map[uint64]bool{}
	for _, s := range run {
		some, err := m.holds(s.First.Hi, s.Last.Hi)
		if err == nil && some {
			_, _, _, err = m.exchange(ctx, s.First.Hi, s.Last.Hi, s.Nodes)
		}
		if err != nil {
			return err
		}
		for _, id := range s.Nodes {
			owners[id] = owners[id] || some
		}
	}
	for id, some := range owners {
		if !some {
			continue
		}
		// Nothing that is to be synced syncs what came before it, now or at a try that failed.
		if err := m.opts.Transport.Merge(ctx, id, &distrib.MergeRequest{Key: settleKey, Sync: distrib.SyncNow}); err != nil {
			return fmt.Errorf("what node %d was given is not known to be durable: %w", id, err)
		}
	}
	return nil
}

// settleKey is of requests that change nothing.
var settleKey = []byte("settle")

// unowned are the stretches of a ring that a node does not own, those side by side together.
func unowned(r *ring.Ring, self uint64) (runs [][]ring.Stretch) {
	apart := true
	for _, s := range r.Stretches() {
		own := false
		for _, id := range s.Nodes {
			own = own || id == self
		}
		switch {
		case own:
			apart = true
			continue
		case apart:
			runs = append(runs, nil)
		}
		apart = false
		runs[len(runs)-1] = append(runs[len(runs)-1], s)
	}
	return runs
}

// holds reports whether this node has something of a range.
func (m *Mover) holds(first, last uint64) (bool, error) {
	found := errors.New("found")
	lower, upper := distrib.TokenBounds(distrib.DataPrefix(), first, last)
	err := m.opts.Store.Scan(lower, upper, func(_, _ []byte) error { return found })
	if errors.Is(err, found) {
		return true, nil
	}
	return false, err
}
