package coordinator

import (
	"context"
	"fmt"
	"slices"

	"github.com/cambiumdb/cambium/distrib"
	"github.com/cambiumdb/cambium/distrib/register"
	"github.com/cambiumdb/cambium/distrib/ring"
	"github.com/cambiumdb/cambium/distrib/vclock"
)

// Fate is what became of an operation.
type Fate uint8

// The fates.
const (
	NotSeen     Fate = iota // no node that answered knows it; it may still come
	Happened                // its write is there, or one that has seen it
	Overtaken               // more has been written since than is remembered
	NotHappened             // it did not happen and never will: the key is linearizable, and its register has seen to that
)

// String returns the fate's name.
func (f Fate) String() string {
	return [...]string{"NOT_SEEN", "HAPPENED", "OVERTAKEN", "NOT_HAPPENED"}[f]
}

// fateOf reads from a record what became of op.
func fateOf(r distrib.Record, op distrib.OpID) Fate {
	switch {
	case vclock.Tried(r, op) >= 0:
		return Happened
	case slices.ContainsFunc(r, func(s distrib.Sibling) bool { return s.Past.MayForget() }):
		return Overtaken
	}
	return NotSeen
}

// Resolve finds out what became of a write whose outcome was unknown. It asks all nodes of the key, and who stands in
// for those that do not answer; places are those that answered. Where one says that the key is linearizable, its register
// is asked: a write that has not happened is cancelled.
func (c *Coordinator) Resolve(ctx context.Context, key []byte, op distrib.OpID) (fate Fate, places []Place, err error) {
	if err := distrib.CheckKey(key); err != nil {
		return NotSeen, nil, fmt.Errorf("resolve: %w", err)
	}
	if op == (distrib.OpID{}) {
		return NotSeen, nil, fmt.Errorf("resolve %q: the operation has no name", key)
	}
	if err := c.admit(len(key)); err != nil {
		return NotSeen, nil, fmt.Errorf("resolve %q: %w", key, err)
	}
	defer c.underWay.give(len(key))
	view, release := c.opts.View()
	defer release()
	nodes := c.readersOf(view, ring.TokenOf(key), false)
	e := &Error{Op: "resolve", Key: key, Outcome: Failed, Need: 1, name: c.opts.Name}
	var down []uint64
	for need := len(nodes.owners); need > 0; need-- { // as many as answer, and then all that these hold
		g := c.ask(ctx, key, nodes, need)
		if down, e.Owners = g.r.down(), g.r.nodes(); g.outcome == OK {
			if fate = fateOf(g.result.Record, op); g.result.Linearizable {
				fate, err = c.resolveLinear(ctx, key, op, fate)
			}
			return fate, g.result.Places, err
		}
		if e.Replicas, e.Err = g.replicas, g.err; e.Err != nil {
			break
		}
	}
	e.Replicas = append(e.Replicas, passedOver(down)...)
	return NotSeen, nil, e
}

// resolveLinear asks a key's register. seen is what the replicas' records say: an eventual write may have gone astray there.
func (c *Coordinator) resolveLinear(ctx context.Context, key []byte, op distrib.OpID, seen Fate) (Fate, error) {
	r, err := await(ctx, func(done func(*Operated, error)) func(error) {
		return c.startOperate(key, register.Operation{Kind: register.Resolve, ID: op}, fromHere, done)
	})
	switch {
	case err != nil:
		return NotSeen, err
	case r.Verdict == register.NotDone:
		return NotHappened, nil
	case r.Verdict == register.Forgotten && seen != Happened:
		return Overtaken, nil
	}
	return Happened, nil
}
