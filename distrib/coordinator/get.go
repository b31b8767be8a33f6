package coordinator

import (
	"context"
	"fmt"
	"sync"

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
}

// Get reads a record. Nodes that answered and miss something get it in the background, unless o.Repair has the
// call wait for that.
func (c *Coordinator) Get(ctx context.Context, key []byte, o ReadOptions) (*ReadResult, error) {
	if err := distrib.CheckKey(key); err != nil {
		return nil, fmt.Errorf("get: %w", err)
	}
	view, release := c.opts.View()
	defer release()
	nodes := c.readersOf(view, ring.TokenOf(key), o.Strict)
	need, err := quorum(o.R, len(nodes.owners), "R")
	if err != nil {
		return nil, fmt.Errorf("get %q: %w", key, err)
	}
	r := newRead(nodes, need)
	replicas, err := c.ask(ctx, key, r)
	if err != nil || r.outcome() != OK {
		return nil, &Error{Op: "get", Key: key, Outcome: Failed, Need: need, Replicas: append(replicas, nodes.passedOver()...), Err: err, name: c.opts.Name}
	}
	res := &ReadResult{Record: r.record, Context: vclock.Context(r.record), Places: r.answered(), Stale: r.stale()}
	repaired := c.repair(ctx, key, res)
	if o.Repair {
		failed, err := repaired()
		if err != nil || len(failed) > 0 {
			return nil, &Error{Op: "get", Key: key, Outcome: Failed, Need: need, Replicas: append(replicas, failed...), Err: err, name: c.opts.Name}
		}
	}
	return res, nil
}

// ask sends what r says until it has ended, and returns what became of that; err is that ctx has ended.
func (c *Coordinator) ask(ctx context.Context, key []byte, r *read) (replicas []ReplicaState, err error) {
	asking, cancel := context.WithCancel(ctx)
	defer cancel()
	type answer struct {
		Ask
		reply *distrib.ReadReply
		err   error
	}
	// A node may be asked twice, for what it holds and for the record, and each seat be taken by several.
	answers := make(chan answer, 2*(len(r.seats)+maxSpares*len(r.seats)))
	send := func(asks []Ask) {
		for _, a := range asks {
			c.work.Go(func() {
				patient, cancel := context.WithTimeout(asking, c.opts.Patience)
				defer cancel()
				reply, err := c.opts.Transport.Read(patient, a.To, &distrib.ReadRequest{Key: key, For: a.For, Digest: a.Digest})
				c.observe(asking, a.To, err)
				answers <- answer{a, reply, err} // there is room for all
			})
		}
	}
	send(r.start())
	for r.outcome() == Pending {
		select {
		case a := <-answers:
			replicas = note(replicas, a.To, a.For, a.err)
			if a.err != nil {
				a.reply = nil
			}
			send(r.answer(a.To, a.reply))
		case <-ctx.Done():
			return append(replicas, r.unanswered()...), context.Cause(ctx)
		}
	}
	return append(replicas, r.unanswered()...), nil
}

// repair begins to give stale nodes what they miss. The function that it returns waits for that, and returns those
// that did not take it; err is that ctx has ended.
func (c *Coordinator) repair(ctx context.Context, key []byte, res *ReadResult) (wait func() (failed []ReplicaState, err error)) {
	if len(res.Stale) == 0 {
		return func() ([]ReplicaState, error) { return nil, nil }
	}
	after, cancel := context.WithTimeout(context.WithoutCancel(ctx), c.opts.After)
	type answer struct {
		Place
		err error
	}
	came := make(chan answer, len(res.Stale))
	var all sync.WaitGroup
	for _, p := range res.Stale {
		c.work.Add(1)
		all.Go(func() {
			defer c.work.Done()
			err := c.opts.Transport.Merge(after, p.Node, &distrib.MergeRequest{Key: key, Record: res.Record, For: p.For})
			c.observe(after, p.Node, err)
			came <- answer{p, err}
		})
	}
	go func() { all.Wait(); cancel() }()
	return func() (failed []ReplicaState, err error) {
		for range res.Stale {
			select {
			case a := <-came:
				if a.err != nil {
					failed = note(failed, a.Node, a.For, fmt.Errorf("repair: %w", a.err))
				}
			case <-ctx.Done():
				return failed, context.Cause(ctx)
			}
		}
		return failed, nil
	}
}
