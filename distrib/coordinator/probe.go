package coordinator

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/cambiumdb/cambium/distrib"
)

const (
	// probePatience is the least time that a node is given to answer a probe.
	probePatience = 250 * time.Millisecond
	// probeHolds is for how long a probe that failed answers for those that come after it: where too few nodes are up
	// indeed, operations fail at once, and cost a few requests a second.
	probeHolds = 200 * time.Millisecond
)

// probes ask nodes that are thought to be down whether they are, where an operation cannot be without them. There is one
// request to a node at a time, for all operations.
type probes struct {
	mu   sync.Mutex // guards last, and what is in it
	last map[uint64]*probe
}

// probe is a question to a node.
type probe struct {
	waiting []func(up bool)
	ended   bool
	failed  time.Time // when it ended without an answer
	timer   Timer
}

// probe asks a node what it holds of key, and calls done with whether it answered, perhaps before it returns. An answer is
// told to Options.Observe, which ends the belief that the node is down.
func (c *Coordinator) probe(node uint64, key []byte, done func(up bool)) {
	s := &c.probes
	now := c.opts.Clock.Now()
	s.mu.Lock()
	switch p := s.last[node]; {
	case p != nil && !p.ended:
		p.waiting = append(p.waiting, done)
		s.mu.Unlock()
		return
	case p != nil && now.Sub(p.failed) < probeHolds:
		s.mu.Unlock()
		done(false)
		return
	}
	p := &probe{waiting: []func(bool){done}}
	if s.last == nil {
		s.last = map[uint64]*probe{}
	}
	s.last[node] = p
	wait := max(probePatience, patience(c.latencies.of(node).read99.get(), 0, c.opts.Patience))
	p.timer = c.opts.Clock.AfterFunc(wait, func() { s.end(node, p, false, c.opts.Clock.Now()) })
	s.mu.Unlock()
	c.work.Add(1)
	c.transport.StartRead(now.Add(wait), node, &distrib.ReadRequest{Key: key, Digest: true, Partial: true}, func(_ *distrib.ReadReply, err error) {
		defer c.work.Done()
		c.observe(node, err)
		s.end(node, p, answered(err), c.opts.Clock.Now())
	})
}

// end tells all that wait for a probe what came of it.
func (s *probes) end(node uint64, p *probe, up bool, now time.Time) {
	s.mu.Lock()
	if up && s.last[node] == p {
		delete(s.last, node)
	}
	if p.ended {
		s.mu.Unlock()
		return
	}
	p.ended, p.failed = true, now
	p.timer.Stop()
	waiting := p.waiting
	p.waiting = nil
	s.mu.Unlock()
	for _, done := range waiting {
		done(up)
	}
}

// answered reports whether a node answered a request, be it to refuse.
func answered(err error) bool {
	switch {
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, context.Canceled), errors.Is(err, distrib.ErrUnreachable):
		return false
	}
	return err == nil || errors.Is(err, distrib.ErrRefused)
}
