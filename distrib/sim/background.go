package sim

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"iter"
	"slices"
	"sync"
	"time"

	"github.com/cambiumdb/cambium/distrib"
	"github.com/cambiumdb/cambium/distrib/antientropy"
	"github.com/cambiumdb/cambium/distrib/recovery"
	"github.com/cambiumdb/cambium/distrib/ring"
	"github.com/cambiumdb/cambium/internal/bugs"
)

// handOver gives nodes that are back what was kept for them, as node.handOver does.
func (p *process) handOver() {
	if p.draining {
		return
	}
	var targets []uint64
	for _, k := range p.hints.Kept() {
		if p.n.opinion[k.Target] != distrib.Down {
			targets = append(targets, k.Target)
		}
	}
	p.draining = true
	p.drain(targets)
}

// handed is a hint on its way.
type handed struct {
	key    []byte
	record distrib.Record
}

var errEnded = errors.New("the process has ended")

// drain hands over what is kept for targets. hint.Drain waits for each answer: it runs as a coroutine that is gone on
// with when that has come.
func (p *process) drain(targets []uint64) {
	if len(targets) == 0 {
		p.draining, p.drained = false, nil
		return
	}
	target, w := targets[0], p.w
	var outcome error
	next, stop := iter.Pull(func(yield func(handed) bool) {
		_, _ = p.hints.Drain(context.Background(), target, func(key []byte, record distrib.Record) error { // it goes on another time
			if !yield(handed{key, record}) {
				return errEnded
			}
			return outcome
		})
	})
	p.drained = []func(){stop}
	var step func()
	step = func() {
		h, ok := next()
		if !ok {
			p.drain(targets[1:])
			return
		}
		p.askMerge(p.now().Add(2*time.Second), target, &distrib.MergeRequest{Key: h.key, Record: h.record, Sync: w.sync}, func(err error) {
			outcome = err
			if !bugs.On(bugs.HintForgotten) {
				step()
			}
		})
		if bugs.On(bugs.HintForgotten) {
			step()
		}
	}
	step()
}

// pieceTokens is how many tokens are compared at a time, as in distrib/node.
const pieceTokens = uint64(1) << 58

// compareDirty compares what may differ with the others that hold it, as node.compareDirty does, and comes again.
func (p *process) compareDirty() {
	c := &comparing{p: p, began: p.refill, enough: true}
	c.from(0)
}

type comparing struct {
	p      *process
	began  recovery.Refill
	enough bool
}

// from goes on with the first dirty slots at or behind a token.
func (c *comparing) from(token uint64) {
	s, ok := c.p.dirty.Next(token)
	if !ok {
		c.end()
		return
	}
	s.Last = min(s.Last, s.First|(pieceTokens-1))
	mustNot(c.p.dirty.Clean(s))
	c.compare(s, func(all, own bool) {
		if !all {
			mustNot(c.p.dirty.MarkRange(s))
		}
		c.enough = c.enough && own
		if s.Last+1 == 0 {
			c.end()
			return
		}
		c.from(s.Last + 1)
	})
}

func (c *comparing) end() {
	p, wait := c.p, time.Second
	if c.began != recovery.RefillNot && c.enough {
		p.w.trace("refilled", p.n.id, 0)
		p.refill = recovery.RefillNot
		mustNot(recovery.MarkRefill(p.store(), p.refill))
	}
	if p.refill != recovery.RefillNot {
		wait /= 10
	}
	p.after(wait, p.compareDirty)
}

// compare compares slots, as node.compare does.
func (c *comparing) compare(s antientropy.Slots, done func(all, own bool)) {
	mine, others := c.p.stretches(s)
	partly := c.began == recovery.RefillUp
	c.stretches(s, mine, partly, compared{all: true, some: true}, func(is compared) {
		if is.failed {
			done(false, false)
			return
		}
		own := is.all || partly && is.some
		c.stretches(s, others, false, compared{all: true, some: true}, func(rest compared) { done(is.all && rest.all && !rest.failed, own) })
	})
}

// compared is what became of a comparison.
type compared struct{ all, some, failed bool }

// stretches are those of slots: what the node holds, and what others do. Where no key lies, nothing differs.
func (p *process) stretches(s antientropy.Slots) (own, others []ring.Stretch) {
	for _, stretch := range p.w.stretches {
		switch {
		case max(s.First, stretch.First.Hi) > min(s.Last, stretch.Last.Hi):
		case slices.Contains(stretch.Nodes, p.n.id):
			own = append(own, stretch)
		default:
			others = append(others, stretch)
		}
	}
	return own, others
}

// stretches compares the first of list and goes on with the rest, as node.compareStretches does.
func (c *comparing) stretches(s antientropy.Slots, list []ring.Stretch, partly bool, so compared, done func(compared)) {
	if len(list) == 0 {
		done(so)
		return
	}
	p, stretch := c.p, list[0]
	nodes := slices.DeleteFunc(slices.Clone(stretch.Nodes), func(id uint64) bool { return p.n.opinion[id] == distrib.Down })
	if len(nodes) < len(stretch.Nodes) {
		so.all, so.some = false, so.some && len(nodes) > 1
		if !partly || len(nodes) < 2 {
			c.stretches(s, list[1:], partly, so, done)
			return
		}
	}
	p.exchange(nodes, max(s.First, stretch.First.Hi), min(s.Last, stretch.Last.Hi), func(err error) {
		if err != nil {
			done(compared{failed: true})
			return
		}
		c.stretches(s, list[1:], partly, so, done)
	})
}

// exchange compares nodes as they are now, and gives them what they lack by requests.
func (p *process) exchange(nodes []uint64, first, last uint64, done func(error)) {
	w := p.w
	for _, id := range nodes {
		if n := w.nodes[id-1]; n.process == nil || n.process.paused || w.cut[p.n.id][id] || w.cut[id][p.n.id] {
			p.after(time.Second, func() { done(errSilent) })
			return
		}
	}
	f := &frozen{w: w}
	if _, err := antientropy.Exchange(context.Background(), f, nodes, first, last, antientropy.Options{}); err != nil {
		p.after(w.delay(), func() { done(err) })
		return
	}
	slices.SortFunc(f.gifts, func(a, b gift) int { return cmp.Or(cmp.Compare(a.to, b.to), bytes.Compare(a.r.Key, b.r.Key)) })
	w.trace("compare", p.n.id, uint64(len(f.gifts)))
	open, failed := len(f.gifts), error(nil)
	came := func(err error) {
		failed = cmp.Or(failed, err)
		if open--; open <= 0 {
			done(failed)
		}
	}
	if open == 0 {
		p.after(w.delay(), func() { came(nil) })
	}
	for _, g := range f.gifts {
		if g.to == p.n.id {
			p.after(w.between(0, time.Millisecond), func() { came(p.merge(g.r)) })
			continue
		}
		p.askMerge(p.now().Add(2*time.Second), g.to, g.r, came)
	}
}

// frozen is a transport to all nodes as they are at one moment. What they are to merge is kept.
type frozen struct {
	distrib.Transport
	w     *world
	mu    sync.Mutex // guards gifts: an exchange has goroutines
	gifts []gift
}

// gift is what a node lacks.
type gift struct {
	to uint64
	r  *distrib.MergeRequest
}

func (f *frozen) at(node uint64) *process { return f.w.nodes[node-1].process }

func (f *frozen) Parts(_ context.Context, to uint64, r *distrib.PartsRequest) ([]distrib.Part, error) {
	return f.at(to).data.Parts(r)
}

func (f *frozen) Keys(_ context.Context, to uint64, r *distrib.KeysRequest) ([]distrib.KeyDots, error) {
	return f.at(to).data.Keys(r)
}

func (f *frozen) Read(_ context.Context, to uint64, r *distrib.ReadRequest) (*distrib.ReadReply, error) {
	return f.at(to).read(r)
}

func (f *frozen) Merge(_ context.Context, to uint64, r *distrib.MergeRequest) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.gifts = append(f.gifts, gift{to, r})
	return nil
}
