package coordinator

import (
	"context"
	"fmt"
	"math"
	"slices"
	"sync"

	"github.com/cambiumdb/cambium/distrib"
)

// repairing is a read repair under way.
type repairing struct {
	c    *Coordinator
	then func(*repairing) // called when all nodes have answered; nil: nobody waits

	mu     sync.Mutex // guards what follows
	open   int
	failed []ReplicaState
}

// repair gives stale nodes what they miss, and has then called when they have it, or have not taken it: one that is waited
// for. One that is not does not begin where too many are under way.
func (c *Coordinator) repair(key []byte, res *ReadResult, waited bool, then func(*repairing)) *repairing {
	limit := c.opts.Limits.Repairs
	if waited {
		limit = math.MaxInt // bounded with the operations
	}
	if !c.repairs.take(0, limit, math.MaxInt64) {
		c.unfinished(key)
		return nil
	}
	c.work.Add(1)
	r := &repairing{c: c, then: then, open: len(res.Stale)}
	deadline := c.opts.Clock.Now().Add(c.opts.After)
	for _, p := range res.Stale {
		q := &distrib.MergeRequest{Key: key, Record: res.Record, For: p.For}
		if p.Node != c.opts.Self {
			c.transport.StartMerge(deadline, p.Node, q, func(err error) { r.came(p, err) })
			continue
		}
		c.opts.Go(func() {
			ctx, cancel := context.WithTimeout(context.Background(), c.opts.After)
			defer cancel()
			r.came(p, c.transport.Merge(ctx, p.Node, q))
		})
	}
	return r
}

// refused are the nodes that have not taken it so far; none of nil.
func (r *repairing) refused() []ReplicaState {
	if r == nil {
		return nil
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.failed)
}

// came takes the answer of a node.
func (r *repairing) came(p Place, err error) {
	r.c.observe(p.Node, err)
	r.mu.Lock()
	if err != nil {
		r.failed = note(r.failed, p.Node, p.For, fmt.Errorf("repair: %w", err))
	}
	r.open--
	last := r.open == 0
	r.mu.Unlock()
	if !last {
		return
	}
	r.c.repairs.give(0)
	if r.then != nil {
		r.then(r)
	}
	r.c.work.Done()
}
