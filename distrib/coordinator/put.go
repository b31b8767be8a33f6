package coordinator

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"time"

	"github.com/cambiumdb/cambium/distrib"
	"github.com/cambiumdb/cambium/distrib/register"
	"github.com/cambiumdb/cambium/distrib/ring"
	"github.com/cambiumdb/cambium/distrib/vclock"
)

// WriteOptions of a put or a delete.
type WriteOptions struct {
	W       int          // how many nodes must have stored it, 1 to N, or All; 0 is a majority of N
	Strict  bool         // only the key's own nodes count and are asked
	Context vclock.Seen  // what the writer has seen: it is overwritten
	Op      distrib.OpID // names the operation where it is tried more than once; zero: it is given a name
	Retried bool         // an earlier try of Op may have stored it
	Sync    distrib.Sync
}

// WriteResult is a write that has succeeded.
type WriteResult struct {
	OpID     distrib.OpID
	Dot      vclock.Dot
	Context  vclock.Seen // what its writer has seen now: its own write and what it overwrote
	Siblings int         // how many the first node to store it held then, the write included
	Places   []Place     // that had stored it when the answer was given
	// Linearizable: the key is, and its register has carried the write out: W does not count, a majority of the key's own
	// nodes has it, and Places is empty. Strays are as in register.Result. Without a context the write has replaced what was there.
	Linearizable bool
	Strays       int
}

// Put stores value. Where a node says that the key is linearizable before any has stored it, the key's register carries it out; an Error
// of that is distrib.ErrLinearizable.
func (c *Coordinator) Put(ctx context.Context, key []byte, value distrib.Value, o WriteOptions) (*WriteResult, error) {
	p, err := c.newPut(ctx, key, value, o)
	if err != nil {
		return nil, err
	}
	p.done = make(chan struct{})
	p.mu.Lock()
	p.advance(p.w.start(), true)
	if ended := p.wait(); ended != nil {
		p.giveUp(ended)
		<-p.done
	}
	p.leave()
	return p.told()
}

// newPut is a put that can begin.
func (c *Coordinator) newPut(ctx context.Context, key []byte, value distrib.Value, o WriteOptions) (*putting, error) {
	op := verb(value.Deleted)
	if err := errors.Join(distrib.CheckKey(key), distrib.CheckValue(value.Data)); err != nil {
		return nil, fmt.Errorf("%s: %w", op, err)
	}
	if o.Op == (distrib.OpID{}) {
		_, _ = rand.Read(o.Op[:]) // it never fails
	}
	bytes := len(key) + len(value.Data)
	if err := c.admit(bytes); err != nil {
		return nil, fmt.Errorf("%s %q: %w", op, key, err)
	}
	view, release := c.opts.View()
	nodes := c.writersOf(view, ring.TokenOf(key), o.Strict)
	need, err := quorums(o.W, nodes.count())
	if err != nil {
		release()
		c.underWay.give(bytes)
		return nil, fmt.Errorf("%s %q: %w", op, key, err)
	}
	c.work.Add(1)
	return &putting{operation: operation{c: c, ctx: ctx}, release: release, remove: value.Deleted, key: key, value: value, bytes: bytes, o: o, w: newWrite(nodes, need, o.Retried)}, nil
}

// verb is what a write is called in errors.
func verb(remove bool) string {
	if remove {
		return "delete"
	}
	return "put"
}

// told is what the caller of a put that is settled is told.
func (p *putting) told() (*WriteResult, error) {
	if p.outcome == OK {
		return &p.result, nil
	}
	e := &Error{Op: verb(p.remove), Key: p.key, OpID: p.o.Op, Outcome: p.outcome, Need: max(p.w.need[0], p.w.need[1]), Owners: p.w.nodes(), Replicas: append(p.replicas, passedOver(p.w.down())...),
		Err: p.err, name: p.c.opts.Name}
	if r := p.failed; r != nil {
		e.Need, e.Owners, e.Replicas = r.Need, r.Owners, r.Replicas
	}
	return nil, e
}

// leave is that the caller goes, with what is known.
func (p *putting) leave() {
	defer p.c.underWay.give(p.bytes)
	p.mu.Lock()
	defer p.mu.Unlock()
	switch limits := &p.c.opts.Limits; {
	case p.open == 0:
	case p.c.behind.take(p.bytes, limits.Behind, limits.BehindBytes):
		p.going = behind
	default:
		p.going, p.value, p.record = alone, distrib.Value{}, nil
		p.c.unfinished(p.key)
	}
}

// putting is a put under way. It goes on when its caller has been told until no answer is to come.
type putting struct {
	operation
	release func() // of the view
	key     []byte
	bytes   int // of key and value
	o       WriteOptions

	// Guarded by mu.
	w      write
	value  distrib.Value
	record distrib.Record // what nodes must merge: the write, or where several stored it first what stands of these
	result WriteResult
	going  going
	remove bool // value is a delete, also when it is not needed any more

	// Of a key that is linearizable:
	carried bool            // its register was asked
	abandon func(why error) // gives that up; nil: not yet
	why     error           // of giveUp, where the register is to say what is known
	failed  *Error          // what it said
}

// going is how a put goes on.
type going uint8

const (
	waited going = iota // its caller waits
	behind              // counted as such
	alone               // too many do: what is under way ends, and nothing follows
)

// what is stored.
type what struct {
	value  distrib.Value
	record distrib.Record
}

// advance sends what is to be sent now, and settles the put when its outcome is known. p.mu is held, and released.
// mine says that the caller of Put calls, who may carry out requests to this node.
func (p *putting) advance(sends []Send, mine bool) {
	now := p.c.opts.Clock.Now()
	slow := time.Duration(0)
	for _, s := range sends {
		slow = patience(p.c.latencies.of(s.Node).write99.get(), p.bytes, p.c.opts.Patience)
		p.begin(s.Try, s.Node, now, 0, slow)
	}
	var doubted []uint64
	if outcome := p.w.outcome(); !p.settled && outcome != Pending {
		if doubted = p.w.doubt(outcome); len(doubted) == 0 {
			p.settlePut(outcome, nil)
		}
	}
	var carry *register.Operation
	if p.w.linear && !p.carried && !p.settled {
		p.carried = true
		p.open++ // its answer is awaited too
		carry = &register.Operation{Kind: register.Put, If: register.Beside, ID: p.o.Op, Context: p.o.Context, Value: p.value, Retried: p.o.Retried || p.w.strays()}
	}
	w := what{p.value, p.record}
	switch {
	case p.open > 0:
		p.arm(now, p.tick)
	case p.w.probing == 0:
		p.finish()
	}
	p.mu.Unlock()
	if carry != nil {
		p.carry(carry)
	}
	for _, node := range doubted {
		p.c.probe(node, p.key, func(up bool) { p.probed(node, up) })
	}
	deadline := now.Add(p.c.opts.After)
	for _, s := range sends {
		if s.Node != p.c.opts.Self {
			p.start(deadline, s, w)
		}
	}
	for _, s := range sends {
		switch {
		case s.Node != p.c.opts.Self:
		case mine && !p.c.selfSlow.Load():
			p.local(s, w, true)
		default:
			p.c.opts.Go(func() { p.local(s, w, false) })
		}
	}
}

// probed takes what came of a probe.
func (p *putting) probed(node uint64, up bool) {
	p.mu.Lock()
	p.advance(p.w.probed(node, up && !p.settled), false)
}

// finish ends the put: no answer is to come. p.mu is held.
func (p *putting) finish() {
	if p.timer != nil {
		p.timer.Stop()
	}
	if p.going == behind {
		p.c.behind.give(p.bytes)
	}
	if p.going != alone && !p.w.finished() {
		p.c.unfinished(p.key)
	}
	p.release()
	p.c.work.Done()
}

func (p *putting) settlePut(o Outcome, err error) {
	if p.result.OpID = p.o.Op; o == OK && !p.carried {
		p.result.Places = p.w.places()
	}
	p.settle(o, &p.w.seats, err)
}

func (p *putting) request(s Send, w what) *distrib.PutRequest {
	return &distrib.PutRequest{Key: p.key, Op: p.o.Op, Past: p.o.Context, Value: w.value, Sync: p.o.Sync, For: s.For, Retried: s.Retried}
}

func (p *putting) merge(s Send, w what) *distrib.MergeRequest {
	return &distrib.MergeRequest{Key: p.key, Record: w.record, Sync: p.o.Sync, For: s.For}
}

// start sends a request to another node.
func (p *putting) start(deadline time.Time, s Send, w what) {
	if s.Kind == First {
		p.c.transport.StartPut(deadline, s.Node, p.request(s, w), func(reply *distrib.PutReply, err error) { p.came(s, reply, err, false) })
		return
	}
	p.c.transport.StartMerge(deadline, s.Node, p.merge(s, w), func(err error) { p.came(s, nil, err, false) })
}

// local carries out a request to this node.
func (p *putting) local(s Send, w what, mine bool) {
	ctx := p.ctx
	if !mine { // it may go on behind the answer
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(context.WithoutCancel(ctx), p.c.opts.After)
		defer cancel()
	}
	switch {
	case s.Kind == First && s.For == 0 && p.o.Sync == distrib.SyncNow && p.c.opts.Settle != nil:
		p.storeEarly(ctx, s, w, mine)
		return
	case s.Kind == First:
		reply, err := p.c.transport.Put(ctx, s.Node, p.request(s, w))
		p.came(s, reply, err, mine)
		return
	}
	p.came(s, nil, p.c.transport.Merge(ctx, s.Node, p.merge(s, w)), mine)
}

// storeEarly has this node store the write first, and make it durable while it goes to the others already. A crash
// here in between leaves the others with a dot that this node has forgotten. It never gives that dot to another write:
// the next run of a node begins births of its own (package replica).
func (p *putting) storeEarly(ctx context.Context, s Send, w what, mine bool) {
	q := p.request(s, w)
	q.Sync = distrib.SyncLater
	reply, err := p.c.transport.Put(ctx, s.Node, q)
	if err != nil {
		p.came(s, nil, err, mine)
		return
	}
	p.mu.Lock()
	var sends []Send
	if p.going != alone {
		sends = p.learn(s, reply, p.w.stored(s.Try))
	}
	p.advance(sends, false)
	s.Kind = Merge // what the others do is left: make it durable
	p.came(s, nil, p.c.opts.Settle(), mine)
}

// came takes an answer.
func (p *putting) came(s Send, reply *distrib.PutReply, err error, mine bool) {
	p.c.observe(s.Node, err)
	now := p.c.opts.Clock.Now()
	p.mu.Lock()
	if took := p.end(s.Try, now); err == nil && p.bytes <= smallBytes {
		p.c.latencies.of(s.Node).sawWrite(took)
	}
	if !p.settled && s.Kind.counts() {
		p.replicas = note(p.replicas, s.Node, s.For, err)
	}
	var sends []Send
	switch {
	case p.going == alone:
	case err == nil && s.Kind == First:
		sends = p.learn(s, reply, p.w.answer(s.Try, did))
	case err == nil:
		sends = p.w.answer(s.Try, did)
	case errors.Is(err, distrib.ErrTooManySiblings):
		sends = p.w.answer(s.Try, tooMany)
	case errors.Is(err, distrib.ErrLinearizable):
		sends = p.w.answer(s.Try, inRegister)
	case errors.Is(err, distrib.ErrRefused):
		sends = p.w.answer(s.Try, refused)
	default:
		sends = p.w.answer(s.Try, lost)
	}
	p.advance(sends, mine)
}

// learn takes the dot that a node has given the write, and returns what is to be sent: sends, and what mends that
// another node has given it one before, or may have.
func (p *putting) learn(s Send, reply *distrib.PutReply, sends []Send) []Send {
	if p.w.linear {
		return sends
	}
	one, before := distrib.Record{reply.Sibling}, p.record
	p.record = vclock.Merge(before, one)
	if before == nil {
		if p.w.retried {
			p.record[0] = p.record[0].Retry(p.o.Op)
		}
		p.result.Dot, p.result.Context, p.result.Siblings = reply.Sibling.Dot, p.record[0].Seen(), reply.Siblings
		return append(sends, p.w.mend(s.Try, !vclock.Same(one, p.record), false)...)
	}
	return append(sends, p.w.mend(s.Try, !vclock.Same(one, p.record), !vclock.Same(before, p.record))...)
}

// tick is what the timer does: patience with some node has ended.
func (p *putting) tick() {
	now := p.c.opts.Clock.Now()
	p.mu.Lock()
	p.wake = time.Time{}
	if p.open == 0 || p.going == alone {
		p.mu.Unlock()
		return
	}
	var sends []Send
	var silent []uint64
	p.ended(now, func(try int, s stage) {
		if s == usual {
			sends = append(sends, p.w.slow(try)...)
			return
		}
		silent = append(silent, p.calls[try].node)
		sends = append(sends, p.w.expire(try)...)
	})
	p.c.work.Add(1)
	defer p.c.work.Done()
	p.advance(sends, false)
	p.c.silent(silent)
}
