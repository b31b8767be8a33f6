package coordinator

import (
	"context"

	"github.com/cambiumdb/cambium/distrib"
)

// StartPut is Put without a goroutine that waits: done hears of its end, called by Options.Go. giveUp is what the end of
// the context is to Put: where the put has not ended yet, done is told that it is UNKNOWN, or FAILED where nothing was sent, because of why.
func (c *Coordinator) StartPut(key []byte, value distrib.Value, o WriteOptions, done func(*WriteResult, error)) (giveUp func(why error)) {
	p, err := c.newPut(context.Background(), key, value, o)
	if err != nil {
		c.behindIt(func() { done(nil, err) })
		return func(error) {}
	}
	p.tell = func() {
		p.leave()
		done(p.told())
	}
	p.mu.Lock()
	p.advance(p.w.start(), false)
	return p.giveUp
}

// giveUp ends the put for its caller, at once or when its register has said what is known.
func (p *putting) giveUp(why error) {
	p.mu.Lock()
	if !p.settled && !p.carried {
		p.settlePut(p.w.without(), why)
	}
	p.why = why
	abandon := p.abandon
	p.mu.Unlock()
	if abandon != nil {
		abandon(why)
	}
}

// StartGet is Get without a goroutine that waits: done and giveUp are as with StartPut, of a get that FAILED.
func (c *Coordinator) StartGet(key []byte, o ReadOptions, done func(*ReadResult, error)) (giveUp func(why error)) {
	nodes, need, release, err := c.beginGet(key, o)
	if err != nil {
		c.behindIt(func() { done(nil, err) })
		return func(error) {}
	}
	g := c.newGet(context.Background(), key, nodes, need)
	g.tell = func() {
		end := func(r *repairing) {
			c.endGet(key, release)
			done(g.told(r))
		}
		switch {
		case g.outcome != OK || len(g.result.Stale) == 0:
			end(nil)
		case o.Repair:
			c.repair(key, &g.result, true, func(r *repairing) { c.behindIt(func() { end(r) }) })
		default:
			c.repair(key, &g.result, false, nil)
			end(nil)
		}
	}
	g.mu.Lock()
	g.advance(g.r.start(), false)
	return g.giveUp
}

// giveUp ends the get for its caller.
func (g *getting) giveUp(why error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if !g.settled {
		g.settle(Failed, &g.r.seats, why)
	}
}
