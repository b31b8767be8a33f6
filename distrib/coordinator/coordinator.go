// Package coordinator carries out the operations of clients on the nodes that hold a key: N, R and W (DeCandia
// et al., "Dynamo", SOSP 2007, sections 4.4 to 4.6).
//
//	c := coordinator.New(coordinator.Options{Self: 1, Ring: ring, Transport: transport, Alive: alive})
//	put, err := c.Put(ctx, key, value, coordinator.WriteOptions{W: 2, Context: context})
//	get, err := c.Get(ctx, key, coordinator.ReadOptions{R: 2})
//
// Whom to ask next, and what is known, decide write and read: values that step from answer to answer. This file
// sends what they say and feeds them what comes back. All methods may be called by many goroutines at once.
//
// # What an error says
//
// An *Error says whether the operation FAILED, and nothing happened, or is UNKNOWN, and may have happened or may
// still. A write that is UNKNOWN can be tried again with the same op id without being done twice at one node.
package coordinator

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/cambiumdb/cambium/distrib"
	"github.com/cambiumdb/cambium/distrib/ring"
	"github.com/cambiumdb/cambium/distrib/vclock"
)

// Options of a Coordinator. Self, Ring and Transport are required.
type Options struct {
	Self      uint64 // the node on which it runs
	Ring      func() *ring.Ring
	Transport distrib.Transport
	// Alive is the node's opinion of others. One that is not is passed over at once. nil: all are.
	Alive func(node uint64) bool
	// Patience is how long a node may take to answer before the next one is asked in its place. 0 is 2 s.
	Patience time.Duration
	// After is how long requests go on once the client has its answer: to the other replicas, and to repair.
	// 0 is 10 s.
	After time.Duration
	// Unfinished hears of keys that a write which may have happened did not reach all of their nodes, or of nodes
	// in their place: their replicas may differ until they are compared. nil: nobody listens.
	Unfinished func(key []byte)
}

// Coordinator carries out operations.
type Coordinator struct {
	opts Options
	work sync.WaitGroup // requests that go on behind an answer
}

// New returns a coordinator.
func New(opts Options) *Coordinator {
	if opts.Alive == nil {
		opts.Alive = func(uint64) bool { return true }
	}
	if opts.Patience == 0 {
		opts.Patience = 2 * time.Second
	}
	if opts.After == 0 {
		opts.After = 10 * time.Second
	}
	if opts.Unfinished == nil {
		opts.Unfinished = func([]byte) {}
	}
	return &Coordinator{opts: opts}
}

// Wait returns when nothing goes on behind the answers that were given. No operation may begin meanwhile.
func (c *Coordinator) Wait() { c.work.Wait() }

// Error is an operation that is not known to have succeeded.
type Error struct {
	Op      string // "put", "delete", "get" or "resolve"
	Key     []byte
	Outcome Outcome // Failed or Unknown
	Need    int     // how many nodes had to do it
	Places  []Place // that did
	Causes  []error // what the others said, in the order of their answers
}

// Error says what is known and why.
func (e *Error) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s %q: %s: %d of %d nodes did it", e.Op, e.Key, e.Outcome, len(e.Places), e.Need)
	for i, err := range e.Causes {
		b.WriteString([]string{": ", "; "}[min(i, 1)] + err.Error())
	}
	if e.Outcome == Unknown {
		b.WriteString(": it may happen still: read the key, or try again with the same op id")
	}
	return b.String()
}

// Unwrap returns the causes.
func (e *Error) Unwrap() []error { return e.Causes }

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
	r, token := c.opts.Ring(), ring.TokenOf(key)
	list, fallbacks := c.nodes(r, token)
	need, err := quorum(o.W, len(list), "W")
	if err != nil {
		return nil, fmt.Errorf("%s %q: %w", op, key, err)
	}
	p := &putting{c: c, key: key, value: value, o: o, w: newWrite(list, fallbacks, need, o.Strict), answers: make(chan putAnswer)}
	c.work.Add(1)
	done := make(chan struct{})
	go func() {
		defer c.work.Done()
		p.run(ctx, done)
	}()
	<-done
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.outcome == OK {
		return &WriteResult{Dot: p.first.Sibling.Dot, Context: p.first.Sibling.Seen(), Siblings: p.first.Siblings, Places: p.places}, nil
	}
	return nil, &Error{Op: op, Key: key, Outcome: p.outcome, Need: need, Places: p.places, Causes: p.causes}
}

// All as W or R asks for all N.
const All = math.MaxInt

// QuorumError is a W or R that no operation can have.
type QuorumError struct {
	What    string // "W" or "R"
	Want, N int
}

// Error names the limit.
func (e *QuorumError) Error() string {
	return fmt.Sprintf("%s is %d, want 1 to %d", e.What, e.Want, e.N)
}

// quorum is how many of n nodes must answer; 0 asks for a majority.
func quorum(want, n int, what string) (int, error) {
	switch {
	case want == 0:
		return n/2 + 1, nil
	case want == All:
		return n, nil
	case want < 1 || want > n:
		return 0, &QuorumError{what, want, n}
	}
	return want, nil
}

// nodes are the preference list of a token, the own node first where it is in it, and the fallbacks.
func (c *Coordinator) nodes(r *ring.Ring, token ring.Token) (list, fallbacks []uint64) {
	for _, i := range r.Replicas(token) {
		list = append(list, r.Node(i).ID)
	}
	if i := slices.Index(list, c.opts.Self); i > 0 {
		copy(list[1:i+1], list[:i])
		list[0] = c.opts.Self
	}
	for i := range r.Fallbacks(token) {
		if id := r.Node(i).ID; c.opts.Alive(id) {
			fallbacks = append(fallbacks, id)
		}
		if len(fallbacks) == 2*len(list) { // more hardly help, and a large ring has many
			break
		}
	}
	return list, fallbacks
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

	mu      sync.Mutex // guards what follows, which run has settled when done is closed
	outcome Outcome
	first   *distrib.PutReply
	places  []Place
	causes  []error
}

type putAnswer struct {
	node  uint64
	reply *distrib.PutReply // of the first
	err   error
}

// run sends and takes answers until none is to come. done is closed when the outcome is known, at latest when
// ctx ends; the rest goes on for some time.
func (p *putting) run(ctx context.Context, done chan struct{}) {
	after, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	p.send(after, p.w.start())
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

func (p *putting) settle(o Outcome, cause error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.outcome, p.places = o, p.w.places()
	if cause != nil {
		p.causes = append(p.causes, cause)
	}
}

// answered takes an answer and returns what is to be sent now.
func (p *putting) answered(a putAnswer) []Send {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case a.err == nil:
		if a.reply != nil {
			p.first = a.reply
		}
		return p.w.answer(a.node, Done)
	case p.outcome == Pending:
		p.causes = append(p.causes, fmt.Errorf("node %d: %w", a.node, a.err))
	}
	switch {
	case errors.Is(a.err, distrib.ErrTooManySiblings):
		return p.w.answer(a.node, TooMany)
	case errors.Is(a.err, distrib.ErrRefused):
		return p.w.answer(a.node, Refused)
	}
	return p.w.answer(a.node, Lost)
}

func (p *putting) send(ctx context.Context, sends []Send) {
	for _, s := range sends {
		p.calls++
		first := p.first
		go func() { p.answers <- p.call(ctx, s, first) }()
	}
}

func (p *putting) call(ctx context.Context, s Send, first *distrib.PutReply) putAnswer {
	ctx, cancel := context.WithTimeout(ctx, p.c.opts.Patience)
	defer cancel()
	a := putAnswer{node: s.To}
	switch {
	case !p.c.opts.Alive(s.To):
		a.err = fmt.Errorf("it is down: %w", distrib.ErrRefused)
	case s.First:
		a.reply, a.err = p.c.opts.Transport.Put(ctx, s.To, &distrib.PutRequest{Key: p.key, Op: p.o.Op, Past: p.o.Context, Value: p.value, Sync: p.o.Sync, For: s.For})
	default:
		a.err = p.c.opts.Transport.Merge(ctx, s.To, &distrib.MergeRequest{Key: p.key, Record: distrib.Record{first.Sibling}, Sync: p.o.Sync, For: s.For})
	}
	return a
}

// ReadOptions of a get.
type ReadOptions struct {
	R      int  // how many nodes must answer, 1 to N, or All; 0 is a majority of N
	Strict bool // only the key's own nodes count and are asked
	Repair bool // nodes that answered and miss something must have it before the answer is given
}

// ReadResult is what a get found.
type ReadResult struct {
	Record  distrib.Record // all siblings, deleted and expired ones included; empty: never written
	Context vclock.Seen    // what a put must hold to overwrite all of it
	Places  []Place        // that answered
	Stale   []Place        // of these, who did not hold all of it
}

// Get reads a record. Nodes that answered and miss something get it in the background, unless o.Repair has the
// call wait for that.
func (c *Coordinator) Get(ctx context.Context, key []byte, o ReadOptions) (*ReadResult, error) {
	if err := distrib.CheckKey(key); err != nil {
		return nil, fmt.Errorf("get: %w", err)
	}
	rg, token := c.opts.Ring(), ring.TokenOf(key)
	list, fallbacks := c.nodes(rg, token)
	need, err := quorum(o.R, len(list), "R")
	if err != nil {
		return nil, fmt.Errorf("get %q: %w", key, err)
	}
	r := newRead(list, fallbacks, need, o.Strict)
	causes, err := c.ask(ctx, key, r)
	if err != nil {
		causes = append(causes, err)
	}
	if err != nil || r.outcome() != OK {
		return nil, &Error{Op: "get", Key: key, Outcome: Failed, Need: need, Places: r.answered(), Causes: causes}
	}
	res := &ReadResult{Record: r.record, Context: vclock.Context(r.record), Places: r.answered(), Stale: r.stale()}
	repaired := c.repair(ctx, key, res)
	if o.Repair {
		if err := repaired(); err != nil {
			return nil, &Error{Op: "get", Key: key, Outcome: Failed, Need: need, Places: res.Places, Causes: []error{err}}
		}
	}
	return res, nil
}

// ask sends what r says until it has ended, and returns what went wrong on the way.
func (c *Coordinator) ask(ctx context.Context, key []byte, r *read) (causes []error, err error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	type answer struct {
		node  uint64
		reply *distrib.ReadReply
		err   error
	}
	answers := make(chan answer, 2*(len(r.seats)+len(r.spare)))
	send := func(asks []Ask) {
		for _, a := range asks {
			c.work.Add(1)
			go func() {
				defer c.work.Done()
				if !c.opts.Alive(a.To) {
					answers <- answer{a.To, nil, fmt.Errorf("it is down: %w", distrib.ErrRefused)}
					return
				}
				ctx, cancel := context.WithTimeout(ctx, c.opts.Patience)
				defer cancel()
				reply, err := c.opts.Transport.Read(ctx, a.To, &distrib.ReadRequest{Key: key, For: a.For, Digest: a.Digest})
				answers <- answer{a.To, reply, err} // there is room for all
			}()
		}
	}
	send(r.start())
	for r.outcome() == Pending {
		select {
		case a := <-answers:
			if a.err != nil {
				causes, a.reply = append(causes, fmt.Errorf("node %d: %w", a.node, a.err)), nil
			}
			send(r.answer(a.node, a.reply))
		case <-ctx.Done():
			return causes, context.Cause(ctx)
		}
	}
	return causes, nil
}

// repair begins to give stale nodes what they miss. The function that it returns waits for that.
func (c *Coordinator) repair(ctx context.Context, key []byte, res *ReadResult) (wait func() error) {
	if len(res.Stale) == 0 {
		return func() error { return nil }
	}
	after, cancel := context.WithTimeout(context.WithoutCancel(ctx), c.opts.After)
	errs := make(chan error, len(res.Stale))
	var all sync.WaitGroup
	for _, p := range res.Stale {
		c.work.Add(1)
		all.Go(func() {
			defer c.work.Done()
			err := c.opts.Transport.Merge(after, p.Node, &distrib.MergeRequest{Key: key, Record: res.Record, For: p.For})
			if err != nil {
				err = fmt.Errorf("repair node %d: %w", p.Node, err)
			}
			errs <- err
		})
	}
	go func() { all.Wait(); cancel() }()
	return func() error {
		for range res.Stale {
			select {
			case err := <-errs:
				if err != nil {
					return err
				}
			case <-ctx.Done():
				return context.Cause(ctx)
			}
		}
		return nil
	}
}
