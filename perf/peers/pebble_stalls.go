package peers

import (
	"sync"
	"time"

	"github.com/cockroachdb/pebble/v2"

	"github.com/cambiumdb/cambium/perf"
)

// stallClock times the stalls that Pebble tells of. Pebble stops all writers at once.
type stallClock struct {
	mu    sync.Mutex // guards everything below
	since time.Time  // of the present stall; zero: none
	why   string
	seen  perf.StallStats
}

func (c *stallClock) listener() *pebble.EventListener {
	l := &pebble.EventListener{
		WriteStallBegin: func(info pebble.WriteStallBeginInfo) {
			c.mu.Lock()
			defer c.mu.Unlock()
			c.since, c.why = time.Now(), info.Reason
		},
		WriteStallEnd: func() {
			c.mu.Lock()
			defer c.mu.Unlock()
			c.end(time.Since(c.since))
			c.since = time.Time{}
		},
		BackgroundError: func(error) {}, // the next write returns it
	}
	l.EnsureDefaults(quiet{})
	return l
}

func (c *stallClock) end(took time.Duration) {
	c.seen.Count++
	c.seen.Total += took
	c.seen.Longest = max(c.seen.Longest, took)
	if c.seen.ByCause == nil {
		c.seen.ByCause = map[string]time.Duration{}
	}
	c.seen.ByCause[c.why] += took
}

// stats returns a copy that later stalls do not change.
func (c *stallClock) stats() perf.StallStats {
	c.mu.Lock()
	defer c.mu.Unlock()
	s := c.seen
	s.ByCause = map[string]time.Duration{}
	for why, took := range c.seen.ByCause {
		s.ByCause[why] = took
	}
	return s
}
