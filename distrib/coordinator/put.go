package coordinator

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/cambiumdb/cambium/distrib"
	"github.com/cambiumdb/cambium/distrib/ring"
	"github.com/cambiumdb/cambium/distrib/vclock"
)

// WriteOptions of a put or a delete.
type WriteOptions struct {
	W       int          // how many nodes must have stored it, 1 to N, or All; 0 is a majority of N
	Strict  bool         // only the key's own nodes count and are asked
	Context vclock.Seen  // what the writer has seen: it is overwritten
	Op      distrib.OpID // names the operation where it is tried more than once; zero: it is given a name
	Sync    distrib.Sync
}

// WriteResult is a write that has succeeded.
type WriteResult struct {
	OpID     distrib.OpID
	Dot      vclock.Dot
	Context  vclock.Seen // what its writer has seen now: its own write and what it overwrote
	Siblings int         // how many the first node to store it held then, the write included
	Places   []Place     // that had stored it when the answer was given
}

// Put stores value.
func (c *Coordinator) Put(ctx context.Context, key []byte, value distrib.Value, o WriteOptions) (*WriteResult, error) {
	op := "put"
	if value.Deleted {
		op = "delete"
	}
	if err := errors.Join(distrib.CheckKey(key), distrib.CheckValue(value.Data)); err != nil {
		return nil, fmt.Errorf("%s: %w", op, err)
	}
	if o.Op == (distrib.OpID{}) {
		_, _ = rand.Read(o.Op[:]) // it never fails
	}
	view, release := c.opts.View()
	nodes := c.writersOf(view, ring.TokenOf(key), o.Strict)
	need, err := quorums(o.W, nodes.count())
	if err != nil {
		release()
		return nil, fmt.Errorf("%s %q: %w", op, key, err)
	}
	p := &putting{c: c, key: key, value: value, o: o, w: newWrite(nodes, need), answers: make(chan putAnswer)}
	c.work.Add(1)
	done := make(chan struct{})
	go func() {
		defer c.work.Done()
		defer release()
		p.run(ctx, done)
	}()
	<-done
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.outcome == OK {
		first := &p.first.Sibling
		return &WriteResult{OpID: o.Op, Dot: first.Dot, Context: first.Seen(), Siblings: p.first.Siblings, Places: p.places}, nil
	}
	return nil, &Error{Op: op, Key: key, OpID: o.Op, Outcome: p.outcome, Need: max(need[0], need[1]), Replicas: append(p.replicas, nodes.passedOver()...),
		Err: p.ended, name: c.opts.Name}
}

// putting is a put under way.
type putting struct {
	c       *Coordinator
	key     []byte
	value   distrib.Value
	o       WriteOptions
	answers chan putAnswer

	// The goroutine of run alone uses these.
	w     *write
	calls int

	mu       sync.Mutex // guards what follows, which run has settled when done is closed
	outcome  Outcome
	first    *distrib.PutReply
	places   []Place
	replicas []ReplicaState // that answered by then
	ended    error          // the caller's context
}

type putAnswer struct {
	Send
	reply *distrib.PutReply // of the first
	err   error
}

// run sends and takes answers until none is to come. done is closed when the outcome is known, at latest when
// ctx ends; the rest goes on for some time.
func (p *putting) run(ctx context.Context, done chan struct{}) {
	after, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	if p.send(after, p.w.start()); p.calls == 0 { // too few nodes are left: nothing was sent
		p.settle(p.w.outcome(), nil)
		close(done)
		return
	}
	ended := ctx.Done()
	for open := true; p.calls > 0; {
		select {
		case a := <-p.answers:
			p.calls--
			p.send(after, p.answered(a))
		case <-ended:
			ended = nil
			if open {
				p.settle(Unknown, context.Cause(ctx))
			}
		}
		if open && (ended == nil || p.w.outcome() != Pending) {
			open = false
			if ended != nil {
				p.settle(p.w.outcome(), nil)
			}
			close(done)
			defer time.AfterFunc(p.c.opts.After, cancel).Stop()
		}
	}
	if !p.w.finished() {
		p.c.opts.Unfinished(p.key)
	}
}

// settle fixes what the caller is told. cause is that its context has ended.
func (p *putting) settle(o Outcome, cause error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.outcome, p.places, p.ended = o, p.w.places(), cause
	p.replicas = append(p.replicas, p.w.unanswered()...)
}

// answered takes an answer and returns what is to be sent now.
func (p *putting) answered(a putAnswer) []Send {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.outcome == Pending && !a.Keep {
		p.replicas = note(p.replicas, a.To, a.For, a.err)
	}
	switch {
	case a.err == nil:
		if a.reply != nil {
			p.first = a.reply
		}
		return p.w.answer(a.To, did)
	case errors.Is(a.err, distrib.ErrTooManySiblings):
		return p.w.answer(a.To, tooMany)
	case errors.Is(a.err, distrib.ErrRefused):
		return p.w.answer(a.To, refused)
	}
	return p.w.answer(a.To, lost)
}

func (p *putting) send(ctx context.Context, sends []Send) {
	for _, s := range sends {
		p.calls++
		first := p.first
		go func() { p.answers <- p.call(ctx, s, first) }()
	}
}

func (p *putting) call(ctx context.Context, s Send, first *distrib.PutReply) putAnswer {
	patient, cancel := context.WithTimeout(ctx, p.c.opts.Patience)
	defer cancel()
	a := putAnswer{Send: s}
	if s.First {
		a.reply, a.err = p.c.opts.Transport.Put(patient, s.To, &distrib.PutRequest{Key: p.key, Op: p.o.Op, Past: p.o.Context, Value: p.value, Sync: p.o.Sync, For: s.For})
	} else {
		a.err = p.c.opts.Transport.Merge(patient, s.To, &distrib.MergeRequest{Key: p.key, Record: distrib.Record{first.Sibling}, Sync: p.o.Sync, For: s.For})
	}
	p.c.observe(ctx, s.To, a.err)
	return a
}
