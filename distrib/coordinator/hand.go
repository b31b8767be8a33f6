package coordinator

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/cambiumdb/cambium/distrib"
	"github.com/cambiumdb/cambium/distrib/register"
	"github.com/cambiumdb/cambium/distrib/vclock"
)

// mayHand reports whether the operation may be handed to another node, which it may once.
func (o *operating) mayHand() bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return !o.here && !o.handed && !o.ended
}

// handOver hands an operation to another node that the proposer of this one has no more.
func (o *operating) handOver(to uint64) {
	o.mu.Lock()
	o.at = nil
	if o.why != nil && !o.ended { // it was not with the proposer when its caller went
		group := o.c.groupOf(o.token)
		o.end(nil, o.failure(o.without(), group.Seats, nil, o.why), false)
		return
	}
	o.hand(to)
}

// hand asks another node to carry the operation out. o.mu is held, and released.
func (o *operating) hand(to uint64) {
	if o.ended {
		o.mu.Unlock()
		return
	}
	c := o.c
	o.handed, o.away = true, true
	o.timer = c.opts.Clock.AfterFunc(c.opts.Patience/4, func() { o.impatient(to) })
	body := register.AppendOperation(nil, &o.op)
	o.mu.Unlock()
	c.work.Add(1)
	c.opts.Registers.StartOperate(c.opts.Clock.Now().Add(c.opts.After), to, o.key, body, func(result []byte, err error) {
		defer c.work.Done()
		o.answered(to, result, err)
	})
}

// impatient has this node carry out what another does not answer, though that one may do so still.
func (o *operating) impatient(to uint64) {
	c := o.c
	o.mu.Lock()
	if o.ended || !o.away {
		o.mu.Unlock()
		return
	}
	c.work.Add(1) // o is counted still
	defer c.work.Done()
	o.tried, o.here = true, true
	o.mu.Unlock()
	c.silent([]uint64{to})
	o.route()
}

// answered takes what another node says of the operation.
func (o *operating) answered(to uint64, body []byte, err error) {
	o.c.observe(to, err)
	var r register.Result
	if err == nil {
		r, err = register.DecodeResult(body)
	}
	o.mu.Lock()
	o.away = false
	if o.ended {
		o.mu.Unlock()
		return
	}
	o.timer.Stop()
	r.Op = o.id
	ordered := err == nil && r.Outcome == register.OK
	switch {
	case ordered && o.changes() && r.Verdict > register.Repeated && o.at != nil:
		o.mu.Unlock() // the try of this node may still do it
		return
	case ordered:
		o.end(&Operated{Result: r, Context: vclock.Context(r.Record)}, nil, false)
		return
	case err == nil && r.Outcome == register.Failed:
		group := o.c.groupOf(o.token)
		o.end(nil, o.failure(Failed, group.Seats, nil, ErrCancelled), false)
		return
	case !errors.Is(err, distrib.ErrRefused): // also one that is UNKNOWN
		o.tried = true
	}
	o.here = true
	o.mu.Unlock()
	o.route()
}

// StartServe carries out an operation that another node has handed to this one: operation and result are those of
// distrib.Registers, and so is done. The operation is given up at deadline.
func (c *Coordinator) StartServe(deadline time.Time, key, operation []byte, done func(result []byte, err error)) {
	op, err := register.DecodeOperation(operation)
	if err == nil {
		err = c.opts.Hybrid.Observe(op.Since) // what is done must have a later time
	}
	if err != nil {
		done(nil, fmt.Errorf("%w: %w", err, distrib.ErrRefused))
		return
	}
	o, err := c.newOperating(key, op, fromNode)
	if err != nil {
		done(nil, fmt.Errorf("%w: %w", err, distrib.ErrRefused))
		return
	}
	o.tell = func(out *Operated, err error) { done(served(out, err)) }
	o.mu.Lock()
	o.timer = c.opts.Clock.AfterFunc(deadline.Sub(c.opts.Clock.Now()), func() { o.giveUp(context.DeadlineExceeded) })
	o.mu.Unlock()
	o.route()
}

// served is what the node is told that has handed an operation on.
func served(out *Operated, err error) (result []byte, failed error) {
	var e *Error
	switch {
	case err == nil:
		return register.AppendResult(nil, &out.Result), nil
	case !errors.As(err, &e):
	case errors.Is(err, ErrCancelled):
		return register.AppendResult(nil, &register.Result{Op: e.OpID, Outcome: register.Failed, Verdict: register.NotDone}), nil
	case e.Outcome == Unknown:
		return register.AppendResult(nil, &register.Result{Op: e.OpID, Outcome: register.Unknown}), nil
	}
	return nil, fmt.Errorf("%w: %w", err, distrib.ErrRefused)
}
