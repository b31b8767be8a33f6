// Package hlc is the hybrid logical clock of a node: never behind the wall clock, never behind a time that it was told, and never
// behind itself, also after a restart (Kulkarni, Demirbas, Madappa, Avva, Leone, "Logical physical clocks", OPODIS 2014).
//
//	c, err := hlc.Open(store, time.Now)   // once, when the node starts
//	at := c.Tick()
//	err = c.Observe(told)                 // by another node
//	err = c.Keep()                        // each second
//
// No safety property rests on wall clocks. One that is wrong makes ballots win or lose too often, and values expire too
// early or too late by as much.
package hlc

import (
	"encoding/binary"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/cambiumdb/cambium/distrib"
)

// MaxAhead is how far the clock of another node may be ahead.
const MaxAhead = time.Minute

// window is how far ahead of the times that it gave the clock has its ceiling at most. After a crash it goes on from there.
const window = 3 * time.Second

// Clock is a node's. All methods may be called by many goroutines at once.
type Clock struct {
	wall  func() time.Time
	store distrib.Store // of the ceiling; nil: there is none

	raises sync.Mutex // held by who raises the ceiling; before mu

	mu      sync.Mutex // guards what follows
	last    distrib.Timestamp
	ceiling distrib.Timestamp // no time above it was given
}

// New returns a clock that begins anew with the process.
func New(wall func() time.Time) *Clock { return &Clock{wall: wall} }

// ceilingKey is where the ceiling is kept, 8 bytes big-endian.
var ceilingKey = []byte{byte(distrib.SpaceMeta), 'c', 'e', 'i', 'l', 'i', 'n', 'g'}

// Open returns the clock of a node that owns s: it goes on where the last one ended.
func Open(s distrib.Store, wall func() time.Time) (*Clock, error) {
	c := &Clock{wall: wall, store: s}
	b, err := s.Get(ceilingKey)
	switch {
	case errors.Is(err, distrib.ErrNotFound):
		return c, nil
	case err != nil:
		return nil, fmt.Errorf("ceiling of the clock: %w", err)
	case len(b) != 8:
		return nil, fmt.Errorf("ceiling of the clock is %d bytes, want 8", len(b))
	}
	c.ceiling = distrib.Timestamp(binary.BigEndian.Uint64(b))
	c.last = c.ceiling
	return c, nil
}

// Wall is the wall clock.
func (c *Clock) Wall() time.Time { return c.wall() }

// Tick returns a time above all before, and above those seen elsewhere unless one is more than MaxAhead ahead: that must not
// carry this clock away.
func (c *Clock) Tick(seen ...distrib.Timestamp) distrib.Timestamp {
	at, ceiling := c.next(seen)
	if c.store != nil && at > ceiling {
		_ = c.raise(at) // a store that takes no changes any more takes none with this time either
	}
	return at
}

// next returns the time that is given next, and the ceiling.
func (c *Clock) next(seen []distrib.Timestamp) (at, ceiling distrib.Timestamp) {
	now := c.wall()
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, t := range seen {
		_ = c.observe(t, now) // as Tick says
	}
	c.last = max(c.last+1, distrib.TimestampOf(now))
	return c.last, c.ceiling
}

// Observe takes a time of another node. One that is more than MaxAhead ahead is refused with an error and changes nothing.
func (c *Clock) Observe(t distrib.Timestamp) error {
	now := c.wall()
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.observe(t, now)
}

func (c *Clock) observe(t distrib.Timestamp, now time.Time) error {
	if ahead := t.Millis() - now.UnixMilli(); ahead > MaxAhead.Milliseconds() {
		return fmt.Errorf("a time %d ms ahead of this node's clock, the limit is %d ms: one of the clocks is wrong", ahead, MaxAhead.Milliseconds())
	}
	c.last = max(c.last, t)
	return nil
}

// Keep raises the ceiling, so that Tick does not wait for it, unless no time was given since it did so last. Times are given
// meanwhile.
func (c *Clock) Keep() error {
	c.mu.Lock()
	last, ceiling := c.last, c.ceiling
	c.mu.Unlock()
	if c.store == nil || ceiling.Millis()-last.Millis() > window.Milliseconds()/2 {
		return nil
	}
	return c.raise(ceiling + 1)
}

// raise notes a ceiling durably that is not below a time, which the clock has given or would.
func (c *Clock) raise(at distrib.Timestamp) error {
	c.raises.Lock()
	defer c.raises.Unlock()
	c.mu.Lock()
	last, ceiling := c.last, c.ceiling
	c.mu.Unlock()
	if ceiling >= at { // raised by another meanwhile
		return nil
	}
	next := last + distrib.Timestamp(window.Milliseconds())<<16
	if err := c.store.Apply([]distrib.Op{{Key: ceilingKey, Value: binary.BigEndian.AppendUint64(nil, uint64(next))}}, distrib.SyncNow); err != nil {
		return fmt.Errorf("ceiling of the clock: %w", err)
	}
	c.mu.Lock()
	c.ceiling = next
	c.mu.Unlock()
	return nil
}
