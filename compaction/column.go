package compaction

import (
	"math"

	"github.com/cambiumdb/cambium/internal/manifest"
)

// column is a table with all that it stands over: what must come along when it goes down to a
// level, in each level from its own to the bottom.
type column struct {
	top    int
	tables [manifest.NumLevels][]*manifest.Table
	bytes  [manifest.NumLevels]int64
}

// columnOf returns the column of table i of level, which is not L0.
func columnOf(v *manifest.Version, level, i int) *column {
	c := &column{top: level}
	i, j := cleanCut(v.Levels[level], i, i+1)
	keys := rangeOfAll(v.Levels[level][i:j])
	for {
		if i < j {
			c.tables[level] = v.Levels[level][i:j]
			c.bytes[level] = totalBytes(c.tables[level])
			keys = keys.union(rangeOfAll(c.tables[level]))
		}
		if level++; level > bottom {
			return c
		}
		i, j = overlapping(v.Levels[level], keys)
	}
}

// above is the number of bytes in the levels above level.
func (c *column) above(level int) (n int64) {
	for k := c.top; k < level; k++ {
		n += c.bytes[k]
	}
	return n
}

// cheapest is the level to merge to at which a level that becomes free costs the fewest bytes.
// What reaches the last level is not counted there: it has to be written to it once anyway.
func (c *column) cheapest() int {
	to, least := bottom, math.Inf(1)
	for level := c.top + 1; level <= bottom; level++ {
		if level < bottom && c.bytes[level+1] == 0 {
			continue // further down costs nothing more
		}
		cost := float64(c.above(level + 1))
		if level == bottom {
			cost = float64(c.bytes[bottom])
		}
		if cost /= float64(level - c.top); cost < least {
			to, least = level, cost
		}
	}
	return to
}

// plan merges the column down to output.
func (c *column) plan(v *manifest.Version, output int, reason string) *Plan {
	plan := &Plan{Output: output, Reason: reason, Align: output < bottom}
	keys := rangeOfAll(c.tables[c.top])
	for level := c.top; level <= output; level++ {
		if len(c.tables[level]) > 0 {
			plan.Inputs = append(plan.Inputs, Input{level, c.tables[level]})
			keys = keys.union(rangeOfAll(c.tables[level]))
		}
	}
	plan.Grandparents = skyline(v, output+1, keys)
	return plan
}

// skyline is what one sees who looks down on the levels from level on: the topmost tables over
// keys, ascending and disjoint.
func skyline(v *manifest.Version, level int, keys keyRange) []*manifest.Table {
	var seen []*manifest.Table
	for ; level <= bottom; level++ {
		i, j := overlapping(v.Levels[level], keys)
		if i == j {
			continue
		}
		both := make([]*manifest.Table, 0, len(seen)+j-i)
		for _, t := range v.Levels[level][i:j] {
			for len(seen) > 0 && rangeOf(seen[0]).endsBefore(t.Smallest.User) {
				both, seen = append(both, seen[0]), seen[1:]
			}
			if len(seen) == 0 || rangeOf(t).endsBefore(seen[0].Smallest.User) {
				both = append(both, t)
			}
		}
		seen = append(both, seen...)
	}
	return seen
}
