package sim

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/cambiumdb/cambium/distrib"
)

var (
	errBroken = errors.New("the connection broke: it may have been carried out")
	errSilent = fmt.Errorf("it may have been carried out: %w", context.DeadlineExceeded)
)

// call is a request of one process to another.
type call struct {
	from  *process
	done  func(reply any, err error)
	ended bool
}

// end brings an answer, or why there is none, in d.
func (c *call) end(d time.Duration, reply any, err error) {
	c.from.after(d, func() {
		if !c.ended {
			c.ended = true
			c.done(reply, err)
		}
	})
}

// delay is how long a message takes.
func (w *world) delay() time.Duration {
	if !w.healing && w.chance(w.late) {
		return w.between(10*time.Millisecond, 4*time.Second)
	}
	return w.between(100*time.Microsecond, w.slow)
}

func (w *world) lost(from, to uint64) bool {
	return w.cut[from][to] || !w.healing && w.chance(w.loss)
}

// ask sends a request. A node that does not run refuses the connection; what was on its way to one that dies ends with
// that connection; what is cut or lost is not heard of until the deadline.
func (p *process) ask(deadline time.Time, to uint64, what string, handle func(q *process) (any, error), done func(any, error)) {
	copies := 1
	if p.w.chance(p.w.twice) {
		copies = 2
	}
	p.askLater(deadline, to, what, copies, func(q *process, tell func(any, error)) { tell(handle(q)) }, done)
}

// askLater is ask where the answer takes its time, and the request comes so many times.
func (p *process) askLater(deadline time.Time, to uint64, what string, copies int, handle func(q *process, tell func(any, error)), done func(any, error)) {
	w, n := p.w, p.w.nodes[to-1]
	c := &call{from: p, done: done}
	c.end(deadline.Sub(p.now())+w.between(0, 5*time.Millisecond), nil, errSilent)
	w.trace(what, p.n.id, to)
	switch q := n.process; {
	case w.lost(p.n.id, to):
		w.trace("lost", p.n.id, to)
	case q == nil:
		if !w.lost(to, p.n.id) {
			c.end(w.delay(), nil, distrib.ErrUnreachable)
		}
	case !w.healing && w.chance(w.refuse):
		c.end(w.delay(), nil, fmt.Errorf("by chance: %w", distrib.ErrOverloaded))
	default:
		q.calls = append(open(q.calls), c)
		for range copies {
			q.after(w.delay(), func() {
				handle(q, func(reply any, err error) {
					w.trace("did "+what, to, p.n.id, err)
					if !w.lost(to, p.n.id) {
						c.end(w.delay(), reply, err)
					}
				})
			})
		}
	}
}

// open leaves calls out that have ended, now and then.
func open(calls []*call) []*call {
	if len(calls) < 64 {
		return calls
	}
	var left []*call
	for _, c := range calls {
		if !c.ended && !c.from.dead {
			left = append(left, c)
		}
	}
	return left
}

// transport is that of a coordinator.
type transport struct{ p *process }

var _ distrib.AsyncTransport = transport{}

func (t transport) StartPut(deadline time.Time, to uint64, r *distrib.PutRequest, done func(*distrib.PutReply, error)) {
	t.p.ask(deadline, to, "put", func(q *process) (any, error) { return q.put(r) }, func(reply any, err error) {
		x, _ := reply.(*distrib.PutReply)
		done(x, err)
	})
}

func (t transport) StartMerge(deadline time.Time, to uint64, r *distrib.MergeRequest, done func(error)) {
	t.p.askMerge(deadline, to, r, done)
}

func (p *process) askMerge(deadline time.Time, to uint64, r *distrib.MergeRequest, done func(error)) {
	p.ask(deadline, to, "merge", func(q *process) (any, error) { return nil, q.merge(r) }, func(_ any, err error) { done(err) })
}

func (t transport) StartRead(deadline time.Time, to uint64, r *distrib.ReadRequest, done func(*distrib.ReadReply, error)) {
	t.p.ask(deadline, to, "read", func(q *process) (any, error) { return q.read(r) }, func(reply any, err error) {
		x, _ := reply.(*distrib.ReadReply)
		done(x, err)
	})
}

// The methods that wait are for the own node only: Go has them called by an event.

func (t transport) Put(_ context.Context, _ uint64, r *distrib.PutRequest) (*distrib.PutReply, error) {
	t.p.w.trace("own put", t.p.n.id, r.For)
	return t.p.put(r)
}

func (t transport) Merge(_ context.Context, _ uint64, r *distrib.MergeRequest) error {
	t.p.w.trace("own merge", t.p.n.id, r.For)
	return t.p.merge(r)
}

func (t transport) Read(_ context.Context, _ uint64, r *distrib.ReadRequest) (*distrib.ReadReply, error) {
	return t.p.read(r)
}

var errNot = errors.New("the simulator does not scan")

func (t transport) Parts(context.Context, uint64, *distrib.PartsRequest) ([]distrib.Part, error) {
	return nil, errNot
}

func (t transport) Keys(context.Context, uint64, *distrib.KeysRequest) ([]distrib.KeyDots, error) {
	return nil, errNot
}
