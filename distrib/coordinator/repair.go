package coordinator

import (
	"context"
	"fmt"
	"math"
	"sync"
	"time"

	"github.com/cambiumdb/cambium/distrib"
)

// repairing is a read repair under way.
type repairing struct {
	c    *Coordinator
	done chan struct{} // closed when all nodes have answered

	mu     sync.Mutex // guards what follows
	open   int
	failed []ReplicaState
}

// repair gives stale nodes what they miss. With wait it returns when they have it, or those that did not take it; err
// is that ctx has ended. Without, it goes on in the background, unless too many do.
func (c *Coordinator) repair(ctx context.Context, key []byte, res *ReadResult, wait bool) (failed []ReplicaState, err error) {
	limit := c.opts.Limits.Repairs
	if wait {
		limit = math.MaxInt // bounded with the operations
	}
	if !c.repairs.take(0, limit, math.MaxInt64) {
		c.unfinished(key)
		return nil, nil
	}
	c.work.Add(1)
	r := &repairing{c: c, done: make(chan struct{}), open: len(res.Stale)}
	deadline := time.Now().Add(c.opts.After)
	for _, p := range res.Stale {
		q := &distrib.MergeRequest{Key: key, Record: res.Record, For: p.For}
		if p.Node != c.opts.Self {
			c.transport.StartMerge(deadline, p.Node, q, func(err error) { r.came(p, err) })
			continue
		}
		go func() {
			ctx, cancel := context.WithDeadline(context.WithoutCancel(ctx), deadline)
			defer cancel()
			r.came(p, c.transport.Merge(ctx, p.Node, q))
		}()
	}
	if !wait {
		return nil, nil
	}
	select {
	case <-r.done:
	case <-ctx.Done():
		err = context.Cause(ctx)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.failed, err
}

// came takes the answer of a node.
func (r *repairing) came(p Place, err error) {
	r.c.observe(p.Node, err)
	r.mu.Lock()
	defer r.mu.Unlock()
	if err != nil {
		r.failed = note(r.failed, p.Node, p.For, fmt.Errorf("repair: %w", err))
	}
	if r.open--; r.open == 0 {
		close(r.done)
		r.c.repairs.give(0)
		r.c.work.Done()
	}
}
