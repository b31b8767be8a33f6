package coordinator

import (
	"context"
	"fmt"
	"time"

	"github.com/cambiumdb/cambium/distrib"
	"github.com/cambiumdb/cambium/distrib/ring"
	"github.com/cambiumdb/cambium/distrib/vclock"
)

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
	// Linearizable: the key's register holds it, as a node that answered knows. What is shown may be behind that.
	Linearizable bool
}

// Get reads a record. Nodes that answered and miss something get it in the background, unless o.Repair has the
// call wait for that.
func (c *Coordinator) Get(ctx context.Context, key []byte, o ReadOptions) (*ReadResult, error) {
	nodes, need, release, err := c.beginGet(key, o)
	if err != nil {
		return nil, err
	}
	defer c.endGet(key, release)
	g := c.ask(ctx, key, nodes, need)
	if g.outcome != OK || len(g.result.Stale) == 0 {
		return g.told(nil)
	}
	if !o.Repair {
		c.repair(key, &g.result, false, nil)
		return g.told(nil)
	}
	ended := make(chan struct{})
	r := c.repair(key, &g.result, true, func(*repairing) { close(ended) })
	select {
	case <-ended:
		return g.told(r)
	case <-ctx.Done():
		return nil, g.failure(r, context.Cause(ctx))
	}
}

// beginGet finds whom a get may ask, of whom need must answer. endGet ends it.
func (c *Coordinator) beginGet(key []byte, o ReadOptions) (nodes *keyNodes, need int, release func(), err error) {
	if err := distrib.CheckKey(key); err != nil {
		return nil, 0, nil, fmt.Errorf("get: %w", err)
	}
	if err := c.admit(len(key)); err != nil {
		return nil, 0, nil, fmt.Errorf("get %q: %w", key, err)
	}
	view, release := c.opts.View()
	nodes = c.readersOf(view, ring.TokenOf(key), o.Strict)
	if need, err = quorum(o.R, len(nodes.owners), "R"); err != nil {
		c.endGet(key, release)
		return nil, 0, nil, fmt.Errorf("get %q: %w", key, err)
	}
	return nodes, need, release, nil
}

func (c *Coordinator) endGet(key []byte, release func()) {
	release()
	c.underWay.give(len(key))
}

// told is what the caller of a get that is settled is told, after a repair that it waited for, if any.
func (g *getting) told(r *repairing) (*ReadResult, error) {
	if g.outcome == OK && len(r.refused()) == 0 {
		return &g.result, nil
	}
	return nil, g.failure(r, g.err)
}

func (g *getting) failure(r *repairing, why error) *Error {
	e := &Error{Op: "get", Key: g.key, Outcome: Failed, Need: g.r.need[0], Owners: g.r.nodes(), Replicas: g.replicas, Err: why, name: g.c.opts.Name}
	if g.outcome != OK {
		e.Replicas = append(e.Replicas, passedOver(g.r.down())...)
	}
	e.Replicas = append(e.Replicas, r.refused()...)
	return e
}

// newGet is a get that can begin.
func (c *Coordinator) newGet(ctx context.Context, key []byte, nodes *keyNodes, need int) *getting {
	c.hedges.earn()
	g := &getting{operation: operation{c: c, ctx: ctx}, key: key, r: newRead(nodes, need)}
	g.deadline = c.opts.Clock.Now().Add(c.opts.After)
	if d, ok := ctx.Deadline(); ok && d.Before(g.deadline) {
		g.deadline = d
	}
	c.work.Add(1)
	return g
}

// ask reads a key and returns when that is settled.
func (c *Coordinator) ask(ctx context.Context, key []byte, nodes *keyNodes, need int) *getting {
	g := c.newGet(ctx, key, nodes, need)
	g.done = make(chan struct{})
	g.mu.Lock()
	g.advance(g.r.start(), true)
	if ended := g.wait(); ended != nil {
		g.giveUp(ended)
	}
	return g
}

// getting is a get under way. Answers that come when it is settled are not needed.
type getting struct {
	operation
	key      []byte
	deadline time.Time

	// Guarded by mu.
	r      read
	result ReadResult
}

// advance sends what is to be asked now, and settles the get when its outcome is known. g.mu is held, and released.
// mine is as in putting.advance.
func (g *getting) advance(asks []Ask, mine bool) {
	now := g.c.opts.Clock.Now()
	for _, a := range asks {
		l := g.c.latencies.of(a.Node)
		g.begin(a.Try, a.Node, now, max(hedgeMin, l.read95.get()), patience(l.read99.get(), 0, g.c.opts.Patience))
	}
	var doubted []uint64
	if outcome := g.r.outcome(); !g.settled && outcome != Pending {
		if outcome == OK {
			g.result = ReadResult{Record: g.r.record, Context: vclock.Context(g.r.record), Places: g.r.places(), Stale: g.r.stale(), Linearizable: g.r.linear}
		}
		if doubted = g.r.doubt(outcome); len(doubted) == 0 {
			g.settle(outcome, &g.r.seats, nil)
		}
	}
	switch {
	case g.open > 0:
		g.arm(now, g.tick)
	case g.r.probing == 0:
		if g.timer != nil {
			g.timer.Stop()
		}
		g.c.work.Done()
	}
	g.mu.Unlock()
	for _, node := range doubted {
		g.c.probe(node, g.key, func(up bool) { g.probed(node, up) })
	}
	for _, a := range asks {
		if a.Node != g.c.opts.Self {
			g.c.transport.StartRead(g.deadline, a.Node, g.request(a), func(reply *distrib.ReadReply, err error) { g.came(a, reply, err, false) })
		}
	}
	for _, a := range asks {
		switch {
		case a.Node != g.c.opts.Self:
		case mine && !g.c.selfSlow.Load():
			g.local(a, true)
		default:
			g.c.opts.Go(func() { g.local(a, false) })
		}
	}
}

// probed takes what came of a probe.
func (g *getting) probed(node uint64, up bool) {
	g.mu.Lock()
	g.advance(g.r.probed(node, up && !g.settled), false)
}

func (g *getting) request(a Ask) *distrib.ReadRequest {
	return &distrib.ReadRequest{Key: g.key, For: a.For, Digest: a.Digest}
}

// local asks this node.
func (g *getting) local(a Ask, mine bool) {
	reply, err := g.c.transport.Read(g.ctx, a.Node, g.request(a))
	g.came(a, reply, err, mine)
}

// came takes an answer.
func (g *getting) came(a Ask, reply *distrib.ReadReply, err error, mine bool) {
	g.c.observe(a.Node, err)
	now := g.c.opts.Clock.Now()
	g.mu.Lock()
	took := g.end(a.Try, now)
	if err != nil {
		reply = nil
	} else {
		if size(reply.Record) <= smallBytes {
			g.c.latencies.of(a.Node).sawRead(took)
		}
		if !says(a.Place, reply) {
			err = errKeepsNothing
		}
	}
	var asks []Ask
	if !g.settled {
		g.replicas = note(g.replicas, a.Node, a.For, err)
		asks = g.r.answer(a.Try, reply)
	}
	g.advance(asks, mine)
}

var errKeepsNothing = fmt.Errorf("it stands in, and keeps nothing of the key: %w", distrib.ErrRefused)

// size is the bytes of a record's values.
func size(r distrib.Record) (n int) {
	for i := range r {
		n += len(r[i].Value.Data)
	}
	return n
}

// tick is what the timer does: patience with some node has ended, or nearly.
func (g *getting) tick() {
	now := g.c.opts.Clock.Now()
	g.mu.Lock()
	g.wake = time.Time{}
	if g.open == 0 { // it has ended
		g.mu.Unlock()
		return
	}
	var asks []Ask
	var silent []uint64
	g.ended(now, func(try int, s stage) {
		switch s {
		case fresh:
			if g.c.hedges.spend() {
				more := g.r.slow(try)
				if asks = append(asks, more...); len(more) == 0 {
					g.c.hedges.giveBack()
				} else {
					g.c.hedged.Add(1)
				}
			}
		case usual:
			asks = append(asks, g.r.slow(try)...)
		case overdue:
			silent = append(silent, g.calls[try].node)
			if !g.settled {
				asks = append(asks, g.r.answer(try, nil)...)
			}
		}
	})
	g.c.work.Add(1)
	defer g.c.work.Done()
	g.advance(asks, false)
	g.c.silent(silent)
}
