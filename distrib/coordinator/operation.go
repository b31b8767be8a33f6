package coordinator

import (
	"context"
	"sync"
	"time"

	"github.com/cambiumdb/cambium/distrib"
)

// operation is what a put and a get under way have in common: requests that wait for answers, and a timer that ends
// the patience with them. No goroutine belongs to it. Who brings an answer, and the timer, step it on and send what is
// to be sent next.
type operation struct {
	c    *Coordinator
	ctx  context.Context // of its caller, for requests to this node
	done chan struct{}   // closed when it is settled what the caller is told; nil where tell is
	tell func()          // called then, by Options.Go; nil: the caller waits for done

	mu       sync.Mutex // guards what follows, and the state of what embeds it, until it is settled
	calls    []call     // by try
	room     [4]call    // for most operations
	open     int        // calls without an answer
	settled  bool
	outcome  Outcome
	replicas []ReplicaState  // that answered until it was settled
	answers  [4]ReplicaState // room for most
	err      error           // why it was settled before its time
	timer    Timer
	wake     time.Time // when timer fires; zero: it does not
}

// call is a request without an answer.
type call struct {
	node  uint64
	open  bool
	stage stage
	began time.Time
	due   [expired]time.Time // when each stage ends
}

// stage is how patience with a call ends.
type stage uint8

const (
	fresh   stage = iota // until it may be hedged
	usual                // until another node is asked in its place
	overdue              // until nobody waits any more
	expired
)

// begin notes a request. Patience with it ends after slow, and where hedge is not 0, there may be a hedge before.
func (o *operation) begin(try int, node uint64, now time.Time, hedge, slow time.Duration) {
	if o.calls == nil {
		o.calls, o.replicas = o.room[:0], o.answers[:0]
	}
	for len(o.calls) <= try {
		o.calls = append(o.calls, call{})
	}
	c := call{node: node, open: true, began: now}
	c.due[fresh], c.due[usual], c.due[overdue] = now.Add(hedge), now.Add(slow), now.Add(max(slow, o.c.opts.Patience))
	if hedge == 0 {
		c.stage = usual
	}
	o.calls[try] = c
	o.open++
}

// end notes the answer to a request.
func (o *operation) end(try int, now time.Time) (took time.Duration) {
	c := &o.calls[try]
	c.open = false
	o.open--
	took = now.Sub(c.began)
	if c.node == o.c.opts.Self && c.stage <= usual {
		o.c.selfSlow.Store(false)
	}
	return took
}

// ended calls f for each call and each stage that has ended by now.
func (o *operation) ended(now time.Time, f func(try int, s stage)) {
	for i := range o.calls {
		for c := &o.calls[i]; c.open && c.stage < expired && !now.Before(c.due[c.stage]); c = &o.calls[i] {
			s := c.stage
			if c.stage++; s == usual && c.node == o.c.opts.Self {
				o.c.selfSlow.Store(true)
			}
			f(i, s)
		}
	}
}

// arm sets the timer to the next end of a stage, which calls tick.
func (o *operation) arm(now time.Time, tick func()) {
	var next time.Time
	for i := range o.calls {
		if c := &o.calls[i]; c.open && c.stage < expired && (next.IsZero() || c.due[c.stage].Before(next)) {
			next = c.due[c.stage]
		}
	}
	switch {
	case next.IsZero() || !o.wake.IsZero() && !next.Before(o.wake): // it wakes in time
	case o.timer == nil:
		o.wake, o.timer = next, o.c.opts.Clock.AfterFunc(next.Sub(now), tick)
	default:
		o.wake = next
		o.timer.Reset(next.Sub(now))
	}
}

// settle fixes what the caller is told.
func (o *operation) settle(outcome Outcome, s *seats, err error) {
	o.settled, o.outcome, o.err = true, outcome, err
	if outcome != OK {
		for _, r := range s.unanswered() {
			o.replicas = noteState(o.replicas, r)
		}
	}
	for i := range o.calls { // nobody waits: there is no hurry to replace a node
		o.calls[i].stage = max(o.calls[i].stage, overdue)
	}
	if o.tell != nil {
		o.c.behindIt(o.tell)
		return
	}
	close(o.done)
}

// wait returns when the operation is settled, or ctx ends.
func (o *operation) wait() (ended error) {
	select {
	case <-o.done:
		return nil
	default:
	}
	select {
	case <-o.done:
		return nil
	case <-o.ctx.Done():
		return context.Cause(o.ctx)
	}
}

// asyncTransport is the transport's own form of requests that need no goroutine, or one that starts them.
func asyncTransport(t distrib.Transport) distrib.AsyncTransport {
	if a, ok := t.(distrib.AsyncTransport); ok {
		return a
	}
	return goroutines{t}
}

// goroutines is a transport with a goroutine for each request.
type goroutines struct{ distrib.Transport }

func (g goroutines) StartPut(deadline time.Time, to uint64, r *distrib.PutRequest, done func(*distrib.PutReply, error)) {
	go func() {
		ctx, cancel := context.WithDeadline(context.Background(), deadline)
		defer cancel()
		done(g.Put(ctx, to, r))
	}()
}

func (g goroutines) StartMerge(deadline time.Time, to uint64, r *distrib.MergeRequest, done func(error)) {
	go func() {
		ctx, cancel := context.WithDeadline(context.Background(), deadline)
		defer cancel()
		done(g.Merge(ctx, to, r))
	}()
}

func (g goroutines) StartRead(deadline time.Time, to uint64, r *distrib.ReadRequest, done func(*distrib.ReadReply, error)) {
	go func() {
		ctx, cancel := context.WithDeadline(context.Background(), deadline)
		defer cancel()
		done(g.Read(ctx, to, r))
	}()
}
