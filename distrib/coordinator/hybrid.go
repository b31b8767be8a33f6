package coordinator

import (
	"sync"

	"github.com/cambiumdb/cambium/distrib"
	"github.com/cambiumdb/cambium/distrib/register"
)

// hybrid is the hybrid clock of the node, of which its ballots have their times.
type hybrid struct {
	mu    sync.Mutex // guards clock
	clock register.Clock
}

// tick is a time above all before, also above those that were seen elsewhere.
func (c *Coordinator) tick(seen ...distrib.Timestamp) distrib.Timestamp {
	wall := c.opts.Clock.Now().UnixMilli()
	h := &c.hybrid
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, t := range seen {
		_ = h.clock.Observe(t, wall) // one that is wrong by far must not carry this one away: what it promised is still met
	}
	return h.clock.Tick(wall)
}

// observed takes a time of another node, or says why not.
func (c *Coordinator) observed(t distrib.Timestamp) error {
	wall := c.opts.Clock.Now().UnixMilli()
	c.hybrid.mu.Lock()
	defer c.hybrid.mu.Unlock()
	return c.hybrid.clock.Observe(t, wall)
}
