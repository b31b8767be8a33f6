package coordinator

import (
	"fmt"
	"sync/atomic"
	"time"

	"github.com/cambiumdb/cambium/distrib"
)

// Limits bound what a coordinator does at a time. Zero values are the defaults.
type Limits struct {
	// Operations is how many may be under way, and Bytes their keys and values. Others are refused. Defaults 4096 and
	// 256 MiB.
	Operations int
	Bytes      int64
	// Behind is how many puts may go on when their callers have been told, and BehindBytes their keys and values. Where
	// there are more, the keys are given to Options.Unfinished instead. Defaults 16384 and 128 MiB.
	Behind      int
	BehindBytes int64
	// Repairs is how many reads may be followed by a repair at a time. Others give their keys to Options.Unfinished.
	// Default 256.
	Repairs int
	// Proposers is how many registers of idle keys are kept in mind, and ProposerBytes what they hold: their next changes
	// take one round trip. Defaults 16384 and 64 MiB.
	Proposers     int
	ProposerBytes int64
}

func (l Limits) withDefaults() Limits {
	for field, value := range map[*int]int{&l.Operations: 4096, &l.Behind: 16384, &l.Repairs: 256, &l.Proposers: 16384} {
		if *field == 0 {
			*field = value
		}
	}
	for field, value := range map[*int64]int64{&l.Bytes: 256 << 20, &l.BehindBytes: 128 << 20, &l.ProposerBytes: 64 << 20} {
		if *field == 0 {
			*field = value
		}
	}
	return l
}

// retryAfter is when to come again to a coordinator with too much to do.
const retryAfter = 50 * time.Millisecond

// load is how much of something is under way.
type load struct{ count, bytes atomic.Int64 }

// take adds one of so many bytes, unless it exceeds a limit.
func (l *load) take(bytes int, maxCount int, maxBytes int64) bool {
	count, sum := l.count.Add(1), l.bytes.Add(int64(bytes))
	if count <= int64(maxCount) && sum <= maxBytes {
		return true
	}
	l.give(bytes)
	return false
}

// give takes one off again.
func (l *load) give(bytes int) {
	l.count.Add(-1)
	l.bytes.Add(-int64(bytes))
}

// admit takes an operation on, or says why not.
func (c *Coordinator) admit(bytes int) error {
	limits := &c.opts.Limits
	if c.underWay.take(bytes, limits.Operations, limits.Bytes) {
		return nil
	}
	return &distrib.Overloaded{
		What: fmt.Sprintf("%d operations of %d bytes under way, the limits are %d and %d", c.underWay.count.Load(), c.underWay.bytes.Load(),
			limits.Operations, limits.Bytes),
		RetryAfter: retryAfter,
	}
}

// Load is how much a coordinator has to do.
type Load struct {
	Operations, Behind, Repairs int64
	Bytes, BehindBytes          int64
	Hedged                      int64 // reads, since the start
}

// Load returns how much there is to do now.
func (c *Coordinator) Load() Load {
	return Load{
		Operations: c.underWay.count.Load(), Bytes: c.underWay.bytes.Load(), Behind: c.behind.count.Load(), BehindBytes: c.behind.bytes.Load(),
		Repairs: c.repairs.count.Load(), Hedged: c.hedged.Load(),
	}
}
