package compaction

import (
	"math"
	"slices"
	"sort"

	"github.com/cambiumdb/cambium/internal/manifest"
)

const (
	bottom = manifest.NumLevels - 1
	// minStep is the least factor between the sizes of two levels.
	minStep = 3
	// maxInputBytes limits, in multiples of the target file size, how far a plan is widened
	// beyond what it must hold.
	maxInputBytes = 25
	// urgentL0 is the L0 score from which L0 goes first, however full the levels below are.
	urgentL0 = 3
)

// leveled keeps one sorted run in each level below L0. The last level is always the bottom one,
// and the levels above are sized backwards from what it holds (the idea is RocksDB's
// level_compaction_dynamic_level_bytes): the base level, to which L0 goes, is the deepest one
// that keeps every step within Ratio. So nearly all data is in one level whatever the size of
// the database, and a level that this leaves above the base empties downwards.
type leveled struct{ o Options }

// NewLeveled returns the leveled policy.
func NewLeveled(o Options) Policy { return &leveled{o.withDefaults()} }

// shape is what the levels should look like, derived from what they hold.
type shape struct {
	base  int // where L0 goes: the first level that is or may be filled
	files [manifest.NumLevels]int
	bytes [manifest.NumLevels]int64
	// target is the size above which a level has work; 0 for one that must empty, and the
	// largest number for the bottom.
	target [manifest.NumLevels]int64
}

func (l *leveled) shapeOf(v *manifest.Version) shape {
	var s shape
	for level, tables := range v.Levels {
		s.files[level], s.bytes[level] = len(tables), totalBytes(tables)
	}
	largest := slices.Max(s.bytes[1:])

	// The number of steps from the base to the bottom: as few as Ratio allows, and one less
	// where that leaves levels too close in size to be worth a rewrite.
	growth := float64(largest) / float64(l.o.BaseBytes)
	steps := 0
	for steps < bottom-1 && growth > math.Pow(float64(l.o.Ratio), float64(steps)) {
		steps++
	}
	if steps > 0 && math.Pow(growth, 1/float64(steps)) < minStep {
		steps--
	}
	want := bottom - steps
	s.base = want
	for level := 1; level < want; level++ {
		if s.files[level] > 0 {
			s.base = level
			break
		}
	}
	size, step := float64(l.o.BaseBytes), 1.0
	if steps > 0 {
		step = math.Pow(growth, 1/float64(steps))
	}
	for level := want; level < bottom; level++ {
		s.target[level] = int64(size)
		size *= step
	}
	s.target[bottom] = math.MaxInt64
	return s
}

// next is the level below level to which its tables go: the first that is filled, or that is
// part of the wanted shape.
func (s *shape) next(level int) int {
	for below := level + 1; below < bottom; below++ {
		if s.files[below] > 0 || s.target[below] > 0 {
			return below
		}
	}
	return bottom
}

func (l *leveled) score(s *shape, level int) float64 {
	switch {
	case level == 0:
		return float64(s.files[0]) / float64(l.o.L0Trigger)
	case level == bottom || s.files[level] == 0:
		return 0
	case s.target[level] == 0:
		return 1 + float64(s.bytes[level])/float64(l.o.BaseBytes)
	case s.bytes[level] <= s.target[level]:
		return float64(s.bytes[level]) / float64(s.target[level]+1)
	}
	return float64(s.bytes[level]) / float64(s.target[level])
}

// Scores implements Policy.
func (l *leveled) Scores(v *manifest.Version) []LevelScore {
	s := l.shapeOf(v)
	out := make([]LevelScore, manifest.NumLevels)
	for level := range out {
		out[level] = LevelScore{Level: level, Files: s.files[level], Bytes: s.bytes[level], Target: s.target[level], Score: l.score(&s, level)}
	}
	return out
}

// Debt implements Policy: what each level holds too much travels down, and each step rewrites
// it together with its share of the next level.
func (l *leveled) Debt(v *manifest.Version) int64 {
	s := l.shapeOf(v)
	var debt int64
	move := func(from, to int, bytes int64) {
		share := min(float64(s.bytes[to])/float64(max(s.bytes[from], 1)), float64(l.o.Ratio))
		debt += max(1, bytes+int64(float64(bytes)*share))
		s.bytes[to] += bytes
	}
	if s.files[0] >= l.o.L0Trigger {
		move(0, s.base, s.bytes[0])
	}
	for level := 1; level < bottom; level++ {
		if over := s.bytes[level] - s.target[level]; over > 0 {
			move(level, s.next(level), over)
		}
	}
	return debt
}

// Pick implements Policy.
func (l *leveled) Pick(v *manifest.Version, busy *Reservations) *Plan {
	s := l.shapeOf(v)
	type candidate struct {
		level    int
		priority float64
	}
	var work []candidate
	for level := 0; level < bottom; level++ {
		score := l.score(&s, level)
		if score < 1 {
			continue
		}
		// Filling a level that is itself too full would rewrite what must move on anyway.
		priority := score / max(1, l.score(&s, l.outputOf(&s, level)))
		if level == 0 && score >= urgentL0 {
			priority = math.Inf(1)
		}
		work = append(work, candidate{level, priority})
	}
	slices.SortStableFunc(work, func(a, b candidate) int {
		switch {
		case a.priority > b.priority:
			return -1
		case a.priority < b.priority:
			return 1
		}
		return 0
	})
	for _, c := range work {
		var plan *Plan
		if c.level == 0 {
			plan = l.pickL0(v, &s)
		} else {
			plan = l.pickSize(v, &s, c.level, busy)
		}
		if plan != nil && busy.free(plan) {
			return plan
		}
	}
	return nil
}

func (l *leveled) outputOf(s *shape, level int) int {
	if level == 0 {
		return s.base
	}
	return s.next(level)
}

// pickL0 takes all of L0: a part of it would leave tables that overlap what it wrote.
func (l *leveled) pickL0(v *manifest.Version, s *shape) *Plan {
	if plan := moveOf(v, Input{0, v.Levels[0]}, s.base, ReasonL0, l.o.TargetFileBytes); plan != nil {
		return plan
	}
	return newPlan(v, Input{0, v.Levels[0]}, s.base, ReasonL0)
}

// pickSize takes the table of level whose rewrite moves the most bytes for its cost.
func (l *leveled) pickSize(v *manifest.Version, s *shape, level int, busy *Reservations) *Plan {
	tables, below := v.Levels[level], v.Levels[s.next(level)]
	type candidate struct {
		at   int
		cost float64 // bytes rewritten in the next level for each byte moved
	}
	order := make([]candidate, 0, len(tables))
	for i, t := range tables {
		if busy.busy(level, t) {
			continue
		}
		first, end := overlapping(below, rangeOf(t))
		order = append(order, candidate{i, float64(totalBytes(below[first:end])) / weight(t)})
	}
	sort.SliceStable(order, func(i, j int) bool { return order[i].cost < order[j].cost })
	for _, c := range order {
		i, j := cleanCut(tables, c.at, c.at+1)
		plan := moveOf(v, Input{level, tables[i:j]}, s.next(level), ReasonSize, l.o.TargetFileBytes)
		if plan == nil {
			plan = newPlan(v, Input{level, tables[i:j]}, s.next(level), ReasonSize)
			widen(v, plan, level, i, j, maxInputBytes*l.o.TargetFileBytes)
		}
		if busy.free(plan) {
			return plan
		}
	}
	return nil
}

// weight is a table's size in bytes, raised by the deletions it holds: they free space below.
func weight(t *manifest.Table) float64 {
	w := float64(max(t.Size, 1))
	if t.Stats.Known && t.Stats.Entries > 0 {
		w *= 1 + float64(t.Stats.Deletes)/float64(t.Stats.Entries)
	}
	return w
}
