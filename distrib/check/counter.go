package check

import (
	"cmp"
	"fmt"
	"math"
	"slices"

	"github.com/cambiumdb/cambium/distrib"
)

// Count is a step on a counter: a compare-and-swap of Found by Found+1, or where Op is zero what a read, or a swap that
// found another number, was told.
type Count struct {
	Op           distrib.OpID
	Found        int64
	Call, Return int64
	Outcome      Outcome
}

// place is where a step must be in the only order that there can be.
func (c *Count) place() int64 {
	if c.Op == (distrib.OpID{}) {
		return 2 * c.Found
	}
	return 2*c.Found + 1
}

// Counter returns what the history of a counter that began at 0, and its end, show to be wrong. It is Linearizable for this case, where
// the numbers say the order: so it takes millions of steps. What is UNKNOWN counts where nothing else explains the number behind it.
func Counter(key string, steps []Count, end int64) (violations []Violation) {
	report := func(op distrib.OpID, format string, args ...any) {
		violations = append(violations, Violation{key, op, fmt.Sprintf(format, args...)})
	}
	done, maybe := map[int64]*Count{}, map[int64]*Count{}
	for i := range steps {
		c := &steps[i]
		switch {
		case c.Op == (distrib.OpID{}) || c.Outcome == Failed:
		case c.Outcome == Unknown:
			maybe[c.Found] = c
		case done[c.Found] != nil:
			report(c.Op, "lost update: %d was also incremented by %x", c.Found, done[c.Found].Op)
		default:
			done[c.Found] = c
		}
	}
	for n := range end {
		if done[n] == nil && maybe[n] == nil {
			report(distrib.OpID{}, "the end is %d, but nobody has incremented %d", end, n)
		}
	}
	for n, c := range done {
		if n >= end {
			report(c.Op, "lost: it incremented %d, and the end is %d", n, end)
		}
	}
	slices.SortFunc(violations, func(a, b Violation) int {
		return cmp.Or(slices.Compare(a.Op[:], b.Op[:]), cmp.Compare(a.What, b.What))
	})
	return append(violations, inOrder(key, steps)...)
}

// inOrder wants no step to end before one begins that must have been earlier.
func inOrder(key string, steps []Count) (violations []Violation) {
	list := make([]*Count, 0, len(steps))
	for i := range steps {
		if c := &steps[i]; c.Outcome == OK {
			list = append(list, c)
		}
	}
	slices.SortStableFunc(list, func(a, b *Count) int { return cmp.Compare(b.place(), a.place()) })
	first, before := int64(math.MaxInt64), int64(math.MaxInt64) // returns of what comes later in the order
	for i, c := range list {
		if i > 0 && list[i-1].place() != c.place() {
			before = first
		}
		if before < c.Call {
			violations = append(violations, Violation{key, c.Op, fmt.Sprintf("stale: it found %d, and was begun at %d, when a later number had been answered at %d", c.Found, c.Call, before)})
		}
		first = min(first, c.Return)
	}
	return violations
}
