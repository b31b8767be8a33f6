package service

import (
	"context"
	"sync/atomic"
	"time"
)

// deadline is a context that ends at a time, for all operations of a session that end at about that time: a timer for
// each would cost more than much of the rest. The last that drops it cancels it.
type deadline struct {
	ctx    context.Context
	cancel context.CancelFunc
	at     time.Time
	users  atomic.Int64 // and one for as long as it is the session's latest
}

func newDeadline(ctx context.Context, at time.Time) *deadline {
	d := &deadline{at: at}
	d.ctx, d.cancel = context.WithDeadline(ctx, at)
	d.users.Store(1)
	return d
}

// next is the deadline of an operation that came at now: d, where that is later by no more than 1/64 of the timeout,
// or else a new one, for which d is dropped. Without a timeout it is that of ctx.
func (d *deadline) next(ctx context.Context, timeout time.Duration, now time.Time) *deadline {
	at := now.Add(timeout)
	if timeout == 0 {
		at, _ = ctx.Deadline()
		timeout = at.Sub(now)
	}
	slack := timeout / 64
	if d != nil {
		if over := d.at.Sub(at); 0 <= over && over <= slack {
			return d
		}
		d.drop()
	}
	return newDeadline(ctx, at.Add(slack))
}

func (d *deadline) drop() {
	if d != nil && d.users.Add(-1) == 0 {
		d.cancel()
	}
}
