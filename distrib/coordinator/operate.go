package coordinator

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"sync"

	"github.com/cambiumdb/cambium/distrib"
	"github.com/cambiumdb/cambium/distrib/register"
	"github.com/cambiumdb/cambium/distrib/ring"
	"github.com/cambiumdb/cambium/distrib/vclock"
)

// Operated is a linearizable operation that was ordered: Verdict says what came of it. What Record holds must not be changed.
type Operated struct {
	register.Result
	Context vclock.Seen // of Record
}

var (
	// ErrCancelled is in an Error that FAILED for good: the change did not happen, and no try of it ever will.
	ErrCancelled = errors.New("it was cancelled, since somebody asked what became of it, or another try of it was refused")
	// ErrForgotten is in an Error that is UNKNOWN, and stays so: nobody can tell any more.
	ErrForgotten = errors.New("it was tried before, and so many changes have been made since that nobody knows whether it was done then")
	// errStopping is why an operation of another node is not carried out.
	errStopping = errors.New("the node is being stopped")
	// errNoRegisters is why a coordinator carries out no linearizable operation.
	errNoRegisters = errors.New("this node asks no registers")
)

// Operate carries out a linearizable operation. One that ended otherwise is an *Error.
func (c *Coordinator) Operate(ctx context.Context, key []byte, op register.Operation) (*Operated, error) {
	return await(ctx, func(done func(*Operated, error)) func(error) { return c.StartOperate(key, op, done) })
}

// await waits for what start starts, which is given up when ctx ends.
func await[T any](ctx context.Context, start func(done func(T, error)) (giveUp func(why error))) (out T, err error) {
	ended := make(chan struct{})
	giveUp := start(func(t T, e error) {
		out, err = t, e
		close(ended)
	})
	select {
	case <-ended:
	case <-ctx.Done():
		giveUp(context.Cause(ctx))
		<-ended
	}
	return out, err
}

// StartOperate is Operate without a goroutine that waits: done and giveUp are as with StartPut. Where this node is not the
// first owner of the key that is up, that one is asked to carry it out.
func (c *Coordinator) StartOperate(key []byte, op register.Operation, done func(*Operated, error)) (giveUp func(why error)) {
	return c.startOperate(key, op, fromClient, done)
}

// origin is where an operation comes from.
type origin uint8

const (
	fromClient origin = iota
	fromNode          // which has handed it to this one
	fromHere          // it is a part of one that was admitted
)

func (c *Coordinator) startOperate(key []byte, op register.Operation, from origin, done func(*Operated, error)) (giveUp func(why error)) {
	o, err := c.newOperating(key, op, from)
	if err != nil {
		c.behindIt(func() { done(nil, err) })
		return func(error) {}
	}
	o.tell = done
	o.route()
	return o.giveUp
}

// operating is a linearizable operation under way. It is with the proposer of this node, or handed to another node, or both
// where that one does not answer: a value knows which changes it has, so none is made twice.
type operating struct {
	c     *Coordinator
	key   []byte
	token ring.Token
	op    register.Operation // its ID is what the proposer knows it by
	id    distrib.OpID       // of the client
	began distrib.Timestamp
	from  origin
	bytes int // admitted
	tell  func(*Operated, error)

	mu     sync.Mutex // guards what follows
	ended  bool
	at     *proposing // which has it; nil: none
	here   bool       // it is not handed on any more
	handed bool       // it was handed to another node
	away   bool       // whose answer is awaited
	tried  bool       // another node may have carried it out, or may still
	why    error      // of giveUp
	timer  Timer      // ends the patience with the other node, or of it; nil: there is none
}

// newOperating is an operation that can begin.
func (c *Coordinator) newOperating(key []byte, op register.Operation, from origin) (*operating, error) {
	o := &operating{c: c, key: key, op: op, id: op.ID, from: from, here: from == fromNode, bytes: len(key) + len(op.Value.Data)}
	if err := errors.Join(distrib.CheckKey(key), distrib.CheckValue(op.Value.Data)); err != nil {
		return nil, fmt.Errorf("%s: %w", o.verb(), err)
	}
	if c.opts.Registers == nil {
		return nil, fmt.Errorf("%s %q: %w", o.verb(), key, errNoRegisters)
	}
	switch {
	case op.Kind == register.Get:
		o.op.ID = c.proposers.name()
	case op.ID != (distrib.OpID{}):
	case op.Kind == register.Resolve:
		return nil, fmt.Errorf("%s %q: the operation has no name", o.verb(), key)
	default:
		_, _ = rand.Read(o.op.ID[:]) // it never fails
		o.id = o.op.ID
	}
	if from != fromHere {
		if err := c.admit(o.bytes); err != nil {
			return nil, fmt.Errorf("%s %q: %w", o.verb(), key, err)
		}
	}
	o.token, o.began = ring.TokenOf(key), c.opts.Hybrid.Tick()
	o.op.Value.Data = bytes.Clone(op.Value.Data) // the proposer keeps it
	if o.changes() && !op.Retried {
		o.op.Since = o.began
	}
	if from == fromNode && !c.handedIn() {
		c.underWay.give(o.bytes)
		return nil, fmt.Errorf("%s %q: %w", o.verb(), key, errStopping)
	}
	if from != fromNode {
		c.work.Add(1)
	}
	return o, nil
}

// changes reports whether it may change what the key holds, so that it matters whether it was carried out.
func (o *operating) changes() bool { return o.op.Kind == register.Put }

// verb is what the operation is called in errors.
func (o *operating) verb() string {
	switch {
	case o.op.Kind == register.Get:
		return "linearizable get"
	case o.op.Kind == register.Resolve:
		return "resolve"
	case o.op.If != register.Always && o.op.If != register.Beside:
		return "compare and swap"
	}
	return "linearizable " + verb(o.op.Value.Deleted)
}

// groupOf is who holds a token now.
func (c *Coordinator) groupOf(token ring.Token) register.Group {
	view, release := c.opts.View()
	defer release()
	return register.Group{Epoch: view.Epoch(), Seats: view.AppendSeats(make([]ring.Seat, 0, ring.DefaultReplicas), token)}
}

// route gives the operation to the first owner that is up. Where too few are thought to be, they are asked first.
func (o *operating) route() {
	group := o.c.groupOf(o.token)
	down := o.c.down(group.Seats)
	if down != 0 && !group.Quorum(func(i int) bool { return down&(1<<i) == 0 }) {
		o.doubt(&group, down)
		return
	}
	o.give(&group, down)
}

// give gives the operation to the first owner that is not down.
func (o *operating) give(group *register.Group, down uint64) {
	self := o.c.opts.Self
	to := self
	for i, s := range group.Seats {
		if down&(1<<i) == 0 {
			to = s.Node
			break
		}
	}
	o.mu.Lock()
	if to == self || o.here {
		o.own(group)
		return
	}
	o.hand(to)
}

// doubt asks the nodes that are thought to be down whether they are, since nothing can be decided without some of them.
func (o *operating) doubt(group *register.Group, down uint64) {
	var mu sync.Mutex // guards down, open and over
	open, over := 0, false
	var list []uint64
	for i, s := range group.Seats {
		if down&(1<<i) != 0 {
			list = append(list, s.Node)
		}
	}
	open = len(list)
	for _, node := range list {
		o.c.probe(node, o.key, func(up bool) {
			mu.Lock()
			open--
			for i, s := range group.Seats {
				if up && s.Node == node {
					down &^= 1 << i
				}
			}
			left := down
			enough := group.Quorum(func(i int) bool { return left&(1<<i) == 0 })
			decided := !over && (enough || open == 0)
			over = over || decided
			mu.Unlock()
			switch {
			case !decided:
			case enough:
				o.give(group, left)
			default:
				o.refuse(group, left)
			}
		})
	}
}

// refuse ends the operation: too few owners are up.
func (o *operating) refuse(group *register.Group, down uint64) {
	var replicas []ReplicaState
	up := "no owner"
	for i, s := range group.Seats {
		switch name := o.c.opts.Name(s.Node); {
		case down&(1<<i) != 0:
			replicas = append(replicas, passedOver([]uint64{s.Node})...)
			continue
		case up == "no owner":
			up = "only " + name
		default:
			up += " and " + name
		}
		replicas = append(replicas, ReplicaState{Node: s.Node, State: Reachable})
	}
	o.mu.Lock()
	if !o.ended {
		o.end(nil, o.failure(o.without(), group.Seats, replicas, fmt.Errorf("%s can be reached, which is no majority", up)), false)
		return
	}
	o.mu.Unlock()
}

// without is the outcome of an operation that this node did not carry out. o.mu is held.
func (o *operating) without() Outcome {
	if o.changes() && (o.tried || o.away) {
		return Unknown
	}
	return Failed
}

// own has the proposer of this node carry the operation out. o.mu is held, and released.
func (o *operating) own(group *register.Group) {
	if o.ended || o.at != nil {
		o.mu.Unlock()
		return
	}
	if o.changes() && (o.tried || o.away) {
		o.op.Retried = true
	}
	o.here = o.here || o.handed
	e := o.c.proposerOf(o.key, o.token, group)
	o.at = e
	o.mu.Unlock()
	e.submit(o, group)
	o.c.proposers.unpin(e)
}

// givenUp reports whether the caller does not wait any more.
func (o *operating) givenUp() bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.why != nil
}

// came takes what the proposer of this node says of it. Options.Go calls.
func (o *operating) came(end *ending) {
	r := &end.result
	o.mu.Lock()
	if o.ended {
		o.mu.Unlock()
		return
	}
	o.at = nil
	r.Op = o.id
	switch {
	case r.Outcome == register.OK:
		o.end(&Operated{Result: *r, Context: vclock.Context(r.Record)}, nil, true)
	case r.Outcome == register.Failed && r.Verdict == register.NotDone:
		o.end(nil, o.failure(Failed, end.owners, nil, ErrCancelled), true)
	case r.Outcome == register.Failed:
		o.end(nil, o.failure(o.without(), end.owners, end.replicas, o.why), true)
	case r.Verdict == register.Forgotten:
		o.end(nil, o.failure(Unknown, end.owners, end.replicas, ErrForgotten), true)
	default:
		o.end(nil, o.failure(Unknown, end.owners, end.replicas, o.why), true)
	}
}

// failure is what the caller is told of an operation that is not known to have been ordered.
func (o *operating) failure(outcome Outcome, owners []ring.Seat, replicas []ReplicaState, why error) *Error {
	e := &Error{Op: o.verb(), Key: o.key, OpID: o.id, Outcome: outcome, Replicas: replicas, Err: why, name: o.c.opts.Name}
	var n counts
	for _, s := range owners {
		e.Owners = append(e.Owners, s.Node)
		n.add(s.Ends)
	}
	e.Need = max(n[0], n[1])/2 + 1
	return e
}

// end tells the caller. o.mu is held, and released. direct says that Options.Go calls.
func (o *operating) end(out *Operated, err error, direct bool) {
	o.ended = true
	if o.timer != nil {
		o.timer.Stop()
	}
	o.mu.Unlock()
	if o.from != fromHere {
		o.c.underWay.give(o.bytes)
	}
	if direct {
		o.tell(out, err)
	} else {
		o.c.behindIt(func() { o.tell(out, err) })
	}
	o.c.work.Done()
}

// giveUp ends the operation for its caller.
func (o *operating) giveUp(why error) {
	o.mu.Lock()
	if o.ended {
		o.mu.Unlock()
		return
	}
	o.why = why
	if e := o.at; e != nil {
		o.mu.Unlock()
		e.expire(o)
		return
	}
	group := o.c.groupOf(o.token)
	o.end(nil, o.failure(o.without(), group.Seats, nil, why), false)
}
