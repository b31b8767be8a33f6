package compaction

import (
	"math"

	"github.com/cambiumdb/cambium/internal/manifest"
)

// stack lets sorted runs pile up and merges several of them at a time. Tiered and LazyLeveled
// are stacks that differ in how much may lie above the last level.
//
// A merge of all of L0 makes one run, which takes the deepest free level above the older ones;
// so the newest runs are the tables of L0, the older ones L1 to L6, and RocksDB opens the
// directory at every stage. From there on nothing is ever done to a run as a whole. Runs are cut
// where those beneath them are cut, so that a table of one run stands over whole tables of the
// next, and the tree is a row of columns, each with a stack of its own:
//
//   - a table with nothing beneath it in the next level falls there, by an edit alone;
//   - a column that reaches up to L1 is merged from there to the depth at which a freed level
//     costs least, once half of the next run is there, which needs L1;
//   - while what lies above the last level may hide too much of it, the column with the most
//     above its last level is merged down to it.
//
// So the space that a merge needs for a moment is that of a column, and since columns are at
// different points of their lives at any time, garbage is at its average rather than its peak
// over the whole tree.
type stack struct{ o Options }

// NewTiered returns the tiered policy: the fewest rewrites, for more runs to read and more
// space. MaxRuns is 14 and MaxSpace 1.6 where o leaves them at 0.
func NewTiered(o Options) Policy {
	if o.MaxRuns <= 0 {
		o.MaxRuns = 14
	}
	if o.MaxSpace <= 1 {
		o.MaxSpace = 1.6
	}
	return &stack{o.withDefaults()}
}

// NewLazyLeveled returns the lazy leveled policy: tiered above a last level that holds nearly
// everything. MaxRuns is 8 and MaxSpace 1.15 where o leaves them at 0.
func NewLazyLeveled(o Options) Policy {
	if o.MaxRuns <= 0 {
		o.MaxRuns = 8
	}
	if o.MaxSpace <= 1 {
		o.MaxSpace = 1.15
	}
	return &stack{o.withDefaults()}
}

// Pick implements Policy.
func (s *stack) Pick(v *manifest.Version, busy *Reservations) *Plan {
	if plan := s.pickFall(v, busy); plan != nil {
		return plan
	}
	if plan := s.pickL0(v); plan != nil && busy.free(plan) {
		return plan
	}
	if s.nearL0(v) {
		if plan := s.pickRuns(v, busy); plan != nil {
			return plan
		}
	}
	return s.pickSpace(v, busy)
}

// pickFall moves tables of one level that lie side by side as deep as they can go.
func (s *stack) pickFall(v *manifest.Version, busy *Reservations) *Plan {
	for level := bottom - 1; level >= 1; level-- {
		tables := v.Levels[level]
		for i := 0; i < len(tables); {
			_, j := cleanCut(tables, i, i+1)
			to := fallOf(v, level, rangeOfAll(tables[i:j]))
			for to > level && j < len(tables) {
				_, next := cleanCut(tables, j, j+1)
				if fallOf(v, level, rangeOfAll(tables[j:next])) != to {
					break
				}
				j = next
			}
			plan := &Plan{Inputs: []Input{{level, tables[i:j]}}, Output: to, Reason: ReasonRuns, TrivialMove: true}
			if to > level && busy.free(plan) {
				return plan
			}
			i = j
		}
	}
	return nil
}

// fallOf is the deepest level to which something with these keys can go from level without
// meeting or passing anything that overlaps it.
func fallOf(v *manifest.Version, level int, keys keyRange) int {
	for level < bottom {
		if i, j := overlapping(v.Levels[level+1], keys); i < j {
			break
		}
		level++
	}
	return level
}

// maxL0Space is how large L0 may become beside the last level, once it holds as many tables as
// the trigger says: a merge of L0 needs that much again for a moment.
const maxL0Space = 0.25

// limitL0 is the number of tables of L0 from which they are merged: the fewer levels are
// filled, the longer that can wait.
func (s *stack) limitL0(v *manifest.Version) int {
	levels, upper := 0, 0
	for level := 1; level < manifest.NumLevels; level++ {
		if len(v.Levels[level]) > 0 {
			levels++
			if level < bottom {
				upper++
			}
		}
	}
	if upper == 0 && levels > 0 && s.tooMuchSpace(v) {
		return s.o.L0Trigger
	}
	if last := totalBytes(v.Levels[bottom]); last > 0 && float64(totalBytes(v.Levels[0])) > maxL0Space*float64(last) {
		return s.o.L0Trigger
	}
	return max(s.o.L0Trigger, s.o.MaxRuns-levels)
}

// nearL0 reports whether half of the next run is there. It will need L1; before that, a merge
// to free L1 may be for nothing, since one for the sake of space often frees it too, and what it
// would merge can still grow.
func (s *stack) nearL0(v *manifest.Version) bool { return 2*len(v.Levels[0]) >= s.limitL0(v) }

// pickL0 makes a run of all of L0. There is no plan while the level for it is not free.
func (s *stack) pickL0(v *manifest.Version) *Plan {
	l0 := v.Levels[0]
	if len(l0) < s.limitL0(v) {
		return nil
	}
	keys := rangeOfAll(l0)
	to := fallOf(v, 0, keys)
	if to == 0 {
		return nil
	}
	in := Input{0, l0}
	if disjoint(l0) {
		return &Plan{Inputs: []Input{in}, Output: to, Reason: ReasonL0, TrivialMove: true}
	}
	return &Plan{Inputs: []Input{in}, Output: to, Reason: ReasonL0, Grandparents: skyline(v, to+1, keys), Align: to < bottom}
}

// pickRuns merges a column that reaches up to L1.
func (s *stack) pickRuns(v *manifest.Version, busy *Reservations) *Plan {
	for i, t := range v.Levels[1] {
		if busy.busy(1, t) {
			continue
		}
		c := columnOf(v, 1, i)
		if plan := c.plan(v, c.cheapest(), ReasonRuns); busy.free(plan) {
			return plan
		}
	}
	return nil
}

// tooMuchSpace assumes the worst: that whatever lies above the last level hides something in
// it.
func (s *stack) tooMuchSpace(v *manifest.Version) bool {
	var total int64
	for _, tables := range v.Levels {
		total += totalBytes(tables)
	}
	return float64(total) > s.o.MaxSpace*float64(totalBytes(v.Levels[bottom]))
}

// pickSpace merges into the last level the column that has the most above it: it frees the most
// for what it rewrites.
func (s *stack) pickSpace(v *manifest.Version, busy *Reservations) *Plan {
	if !s.tooMuchSpace(v) {
		return nil
	}
	var best *Plan
	most := -1.0
	for level := 1; level < bottom; level++ {
		for i, t := range v.Levels[level] {
			if busy.busy(level, t) {
				continue
			}
			c := columnOf(v, level, i)
			gain := float64(c.above(bottom)) / float64(c.bytes[bottom]+1)
			if gain <= most {
				continue
			}
			if plan := c.plan(v, bottom, ReasonSpace); busy.free(plan) {
				best, most = plan, gain
			}
		}
	}
	return best
}

// Debt implements Policy: L0 where it is due, the columns that must give up L1, and what must
// come down for the sake of space with its share of the last level.
func (s *stack) Debt(v *manifest.Version) int64 {
	var debt int64
	if s.pickFall(v, nil) != nil {
		debt++
	}
	if plan := s.pickL0(v); plan != nil {
		debt += max(1, plan.Bytes())
	}
	if s.nearL0(v) {
		for i := range v.Levels[1] {
			c := columnOf(v, 1, i)
			debt += max(1, c.above(c.cheapest()+1))
		}
	}
	if s.tooMuchSpace(v) {
		var upper int64
		for level := 1; level < bottom; level++ {
			upper += totalBytes(v.Levels[level])
		}
		base := totalBytes(v.Levels[bottom])
		if over := upper - int64((s.o.MaxSpace-1)*float64(base)); upper > 0 {
			debt += max(1, over) + int64(float64(base)*float64(max(0, over))/float64(upper))
		}
	}
	return debt
}

// Scores implements Policy. The last level's score is that of space.
func (s *stack) Scores(v *manifest.Version) []LevelScore {
	out := make([]LevelScore, manifest.NumLevels)
	for level, tables := range v.Levels {
		out[level] = LevelScore{Level: level, Files: len(tables), Bytes: totalBytes(tables), Target: math.MaxInt64}
	}
	out[0].Target = 0
	out[0].Score = float64(out[0].Files) / float64(s.limitL0(v))
	out[1].Target = 0
	if out[1].Files > 0 && s.nearL0(v) {
		out[1].Score = 1
	}
	var total int64
	for _, l := range out {
		total += l.Bytes
	}
	if total > out[0].Bytes+out[bottom].Bytes {
		out[bottom].Score = float64(total) / (s.o.MaxSpace * float64(max(1, out[bottom].Bytes)))
	}
	return out
}
