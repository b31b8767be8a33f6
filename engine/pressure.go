package engine

import (
	"math"

	"github.com/cambiumdb/cambium/internal/manifest"
)

// pressure is how far background work is behind what is written, in numbers.
//
// Each kind of backlog is a share p of the way from where it is nothing out of the ordinary to
// where there must not be more, and writes may go on at (1-p)/p times the speed at which that
// backlog is worked off: far faster where p is small, at just that speed in the middle, and ever
// slower towards the end, which is never reached. So what is written settles at what the device
// and the processors do achieve, whatever that is, and a backlog that stands still slows writes
// little by little.
type pressure struct {
	memory    float64 // share of all memtables that holds what is neither flushed nor about to be
	room      float64 // bytes that the memtables still take
	flushLeft float64 // bytes of the flush under way that it has not read yet; 0 where there is none
	quiet     float64 // seconds since that was last heard of
	flushRate float64 // bytes a second

	runs      float64 // share of the way from runLimits.slow to stop
	debt      float64 // share of the way from debtSlow to debtStop, or from spaceSlow to spaceStop
	drainRate float64 // bytes a second that leave L0
}

// rate is the bytes a second that may be written, infinite where nothing is behind, and the cause
// of the limit.
func (p pressure) rate() (limit float64, cause string) {
	limit = math.Inf(1)
	for _, c := range []struct {
		cause string
		rate  float64
	}{
		{stallMemtables, p.memoryRate()},
		{stallL0, p.drainRate * ease(p.runs)},
		{stallDebt, p.drainRate * ease(p.debt)},
	} {
		if c.rate < limit {
			limit, cause = c.rate, c.cause
		}
	}
	return limit, cause
}

// memoryRate also makes the room last until the flush under way gives its memory back.
func (p pressure) memoryRate() float64 {
	if p.flushLeft <= 0 {
		return math.Inf(1)
	}
	lasts := p.flushLeft/p.flushRate + p.quiet
	return min(p.flushRate*ease(p.memory), p.room/lasts)
}

// ease is (1-p)/p. Whatever p is, a fiftieth is left: a tree that is behind for good, since
// compaction fails, is for its error to stop.
func ease(p float64) float64 {
	if p <= 0 {
		return math.Inf(1)
	}
	const most = 0.98
	p = min(p, most)
	return (1 - p) / p
}

// runLimits are the numbers of sorted runs from which writes are slowed and which they should not
// reach. Leveled counts the tables of L0; the tiered policies keep old runs on the levels below
// and count these as well.
type runLimits struct {
	slow, stop int64
	all        bool // count levels below L0 too
}

func (c Compaction) runLimits() runLimits {
	if c == Leveled {
		return runLimits{slow: 12, stop: 36}
	}
	return runLimits{slow: 12, stop: 16, all: true}
}

// count is the number of runs in v that count.
func (l runLimits) count(v *manifest.Version) int64 {
	n := int64(len(v.Levels[0]))
	for _, tables := range v.Levels[1:] {
		if l.all && len(tables) > 0 {
			n++
		}
	}
	return n
}

// debtSlow and debtStop are the same for the bytes that leveled compaction owes, in flushes. A
// tiered policy always owes much, so there the space counts, beside the runs.
const debtSlow, debtStop = 24, 96

// spaceSlow and spaceStop are the same for the size of the whole tree under the tiered policies, as a
// multiple of its last level: from what Tiered lets it become by itself. Where the last level is
// smaller than spaceLeast flushes the tree is small, whatever the multiple.
const (
	spaceSlow, spaceStop = 1.6, 2.2
	spaceLeast           = 8
)

// spaceShare is how far a tree of total bytes above and in its last level is on that way.
func spaceShare(total, last, flush int64) float64 {
	if last < spaceLeast*flush {
		return 0
	}
	return fraction(float64(total)/float64(last), spaceSlow, spaceStop)
}

// treeBytes is the size of all tables, and of those of the last level.
func treeBytes(v *manifest.Version) (total, last int64) {
	for _, tables := range v.Levels {
		last = 0
		for _, t := range tables {
			last += int64(t.Size)
		}
		total += last
	}
	return total, last
}

// fraction maps x from [from, to] to [0, 1].
func fraction(x, from, to float64) float64 {
	return max(0, min(1, (x-from)/(to-from)))
}
