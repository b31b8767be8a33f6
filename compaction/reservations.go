package compaction

import (
	"fmt"
	"slices"
	"sync"

	"github.com/cambiumdb/cambium/internal/manifest"
)

// Reservations keeps compactions that run at the same time apart: a plan holds the range of its
// inputs in the first level, and in every level from there to its output the range of all its
// inputs. No second plan may hold an overlapping range of the same level. The zero value holds
// nothing. All methods may be called concurrently.
type Reservations struct {
	mu   sync.Mutex // guards held; taken after whatever mutex the caller holds, never around another
	held []reservation
}

type reservation struct {
	plan    *Plan
	from    int      // first level
	through int      // last level
	first   keyRange // in the first level
	keys    keyRange // in the levels after it
}

func reservationOf(p *Plan) reservation {
	r := reservation{plan: p, from: p.Output, through: p.Output}
	for i, in := range p.Inputs {
		keys := rangeOfAll(in.Tables)
		if i == 0 || in.Level < r.from {
			r.from, r.first = in.Level, keys
		}
		r.through = max(r.through, in.Level)
		if i > 0 {
			keys = r.keys.union(keys)
		}
		r.keys = keys
	}
	return r
}

// in returns what r holds of a level between from and through.
func (r reservation) in(level int) keyRange {
	if level == r.from {
		return r.first
	}
	return r.keys
}

func (r reservation) conflicts(o reservation) bool {
	for level := max(r.from, o.from); level <= min(r.through, o.through); level++ {
		if r.in(level).overlaps(o.in(level)) {
			return true
		}
	}
	return false
}

// Reserve takes what plan needs and reports true, or takes nothing and reports false when a
// plan that is already held conflicts. Whoever reserved must Release the same plan.
func (r *Reservations) Reserve(plan *Plan) bool {
	want := reservationOf(plan)
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, h := range r.held {
		if h.conflicts(want) {
			return false
		}
	}
	r.held = append(r.held, want)
	return true
}

// Release gives back what Reserve took for plan. A plan that is not held is ignored.
func (r *Reservations) Release(plan *Plan) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for i, h := range r.held {
		if h.plan == plan {
			r.held = append(r.held[:i], r.held[i+1:]...)
			return
		}
	}
}

// Len is the number of plans that are held.
func (r *Reservations) Len() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.held)
}

// Verify is the second check, made against the version on which plan's edit is about to be
// installed: plan is still held, its inputs still are where it found them, and nothing else in
// the output level overlaps what it writes. An error means a bug of ours; the edit must not be
// applied.
func (r *Reservations) Verify(plan *Plan, v *manifest.Version) error {
	want := reservationOf(plan)
	r.mu.Lock()
	held := false
	for _, h := range r.held {
		if h.plan == plan {
			held = true
		} else if h.conflicts(want) {
			r.mu.Unlock()
			return fmt.Errorf("compaction %s overlaps %s, which runs at the same time", plan, h.plan)
		}
	}
	r.mu.Unlock()
	if !held {
		return fmt.Errorf("compaction %s has no reservation", plan)
	}
	inputs := make(map[uint64]bool)
	for _, in := range plan.Inputs {
		present := make(map[uint64]bool)
		for _, t := range v.Levels[in.Level] {
			present[t.Num] = true
		}
		for _, t := range in.Tables {
			inputs[t.Num] = true
			if !present[t.Num] {
				return fmt.Errorf("compaction %s: input table %06d is no longer in L%d", plan, t.Num, in.Level)
			}
		}
	}
	for level := want.from + 1; level <= plan.Output; level++ {
		passing := plan.passing(level)
		for _, t := range v.Levels[level] {
			if !inputs[t.Num] && slices.ContainsFunc(passing, rangeOf(t).overlaps) {
				return fmt.Errorf("compaction %s: table %06d %s in L%d is no input but overlaps", plan, t.Num, rangeOf(t), level)
			}
		}
	}
	return nil
}

// passing is what of the plan comes down to level or through it: the inputs of the levels
// above, and in the output level everything that is written there.
func (p *Plan) passing(level int) []keyRange {
	var out []keyRange
	for _, in := range p.Inputs {
		switch {
		case p.TrivialMove:
			for _, t := range in.Tables {
				out = append(out, rangeOf(t))
			}
		case in.Level < level || level == p.Output:
			keys := rangeOfAll(in.Tables)
			if len(out) > 0 {
				keys = keys.union(out[0])
			}
			out = []keyRange{keys}
		}
	}
	return out
}

// free reports whether plan could be reserved now. A nil r holds nothing.
func (r *Reservations) free(plan *Plan) bool {
	if r == nil {
		return true
	}
	want := reservationOf(plan)
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, h := range r.held {
		if h.conflicts(want) {
			return false
		}
	}
	return true
}

// busy reports whether a held plan covers t in level.
func (r *Reservations) busy(level int, t *manifest.Table) bool {
	if r == nil {
		return false
	}
	keys := rangeOf(t)
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, h := range r.held {
		if h.from <= level && level <= h.through && h.in(level).overlaps(keys) {
			return true
		}
	}
	return false
}
