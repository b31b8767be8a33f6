package sim

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/cambiumdb/cambium/distrib"
	"github.com/cambiumdb/cambium/distrib/register"
	"github.com/cambiumdb/cambium/distrib/replica"
	"github.com/cambiumdb/cambium/distrib/ring"
)

var _ distrib.Registers = transport{}

// StartStep implements distrib.Registers.
func (t transport) StartStep(deadline time.Time, to uint64, key, request []byte, done func(reply []byte, err error)) {
	t.p.ask(deadline, to, "step", func(q *process) (any, error) { return q.step(key, request) }, func(reply any, err error) {
		b, _ := reply.([]byte)
		done(b, err)
	})
}

// StartLearn implements distrib.Registers.
func (t transport) StartLearn(deadline time.Time, to uint64, decisions []byte, done func(behind []byte, err error)) {
	t.p.ask(deadline, to, "learn", func(q *process) (any, error) { return q.learn(decisions) }, func(behind any, err error) {
		b, _ := behind.([]byte)
		done(b, err)
	})
}

// StartOperate implements distrib.Registers.
func (t transport) StartOperate(deadline time.Time, to uint64, key, operation []byte, done func(result []byte, err error)) {
	left := deadline.Sub(t.p.now())
	t.p.askLater(deadline, to, "operate", 1, func(q *process, tell func(any, error)) {
		q.coordinator.StartServe(q.now().Add(left), key, operation, func(result []byte, err error) { tell(result, err) })
	}, func(result any, err error) {
		b, _ := result.([]byte)
		done(b, err)
	})
}

// step takes a step as an acceptor, as node's handler does.
func (p *process) step(key, request []byte) ([]byte, error) {
	r, err := register.DecodeRequest(request)
	if err != nil {
		return nil, err
	}
	if p.registers.Lost() {
		return nil, replica.ErrRegister
	}
	reply, err := p.data.Step(key, p.registers.Fence(p.view.Epoch()), p.registers.Since(), &r)
	if err != nil {
		return nil, err
	}
	return register.AppendReply(nil, reply), nil
}

// learn learns as an acceptor what is decided, as node's handler does.
func (p *process) learn(decisions []byte) ([]byte, error) {
	list, err := register.DecodeDecisions(decisions)
	if err != nil {
		return nil, err
	}
	if p.registers.Lost() {
		return nil, replica.ErrRegister
	}
	behind, err := p.data.Learn(list)
	if err != nil {
		return nil, err
	}
	return register.AppendBehind(nil, behind), nil
}

// raise begins an epoch, of which nodes hear by and by.
func (w *world) raise() {
	w.epoch++
	w.view = w.ring(w.epoch)
	v := w.view
	w.trace("epoch", v.Epoch(), 0)
	for _, n := range w.nodes {
		if p := n.process; p != nil {
			p.after(w.between(time.Millisecond, 2*time.Second), func() { p.adopt(v) })
		}
	}
}

// adopt makes v the view of what begins from now on, as node.setView does.
func (p *process) adopt(v *ring.View) {
	if p.view == nil || v.Epoch() > p.view.Epoch() {
		mustNot(p.registers.Raise(v.Epoch()))
		p.view = v
	}
}

// enter is a view for an operation, as topology's.
func (p *process) enter() (*ring.View, func()) {
	v := p.view
	p.under[v.Epoch()]++
	return v, func() { p.under[v.Epoch()]-- }
}

// oldest is the epoch of the oldest view under which something goes on or may begin.
func (p *process) oldest() uint64 {
	oldest := p.view.Epoch()
	for epoch, n := range p.under {
		if n > 0 {
			oldest = min(oldest, epoch)
		}
	}
	return oldest
}

// restore has a process that has lost its store take part in registers, as node.restore does, and comes again until that is done.
func (p *process) restore() {
	w := p.w
	if p.registers.Since() == 0 {
		return
	}
	if p.registers.Lost() {
		w.raise()
		p.adopt(w.view)
		mustNot(p.registers.Rejoin(p.view.Epoch()))
	}
	ended, since := 0, p.registers.Since()
	var failed error
	var asked []uint64
	for _, s := range w.stretches {
		if !slices.Contains(s.Nodes, p.n.id) {
			continue
		}
		for _, id := range s.Nodes {
			if id != p.n.id && !slices.Contains(asked, id) {
				asked = append(asked, id)
			}
		}
	}
	end := func(err error) {
		failed = errors.Join(failed, err)
		if ended++; ended < len(asked) {
			return
		}
		if failed != nil {
			p.after(w.between(100*time.Millisecond, time.Second), p.restore)
			return
		}
		mustNot(p.data.Settle())
		mustNot(p.registers.Restored())
		w.trace("restored", p.n.id, since)
	}
	if len(asked) == 0 {
		end(nil)
	}
	for _, id := range asked {
		p.ask(p.now().Add(2*time.Second), id, "registers", func(q *process) (any, error) {
			if q.oldest() < since {
				return nil, fmt.Errorf("operations of epoch %d are under way: %w", q.oldest(), distrib.ErrRefused)
			}
			return q.data.Keys(&distrib.KeysRequest{Last: math.MaxUint64, Limit: math.MaxInt, Bytes: math.MaxInt, Registers: true})
		}, func(list any, err error) {
			if err == nil {
				for _, k := range list.([]distrib.KeyDots) {
					must(p.data.Adopt(k.Key, k.Register))
				}
			}
			end(err)
		})
	}
}
