package compaction

import (
	"slices"

	"github.com/cambiumdb/cambium/internal/manifest"
)

// ReasonIngest is that of the plans of PlaceIngested.
const ReasonIngest = "ingest"

// PlaceIngested says where tables from outside go, each as a plan that has its place as Output
// and, from L1 on, must be reserved. A table is newer than everything in v and than the tables
// before it. It goes as deep as it can: above whatever it overlaps, and to no place that busy
// holds. busy is what was held before v became current, so that what has been given back since
// is in v.
func PlaceIngested(v *manifest.Version, busy *Reservations, tables []*manifest.Table) []*Plan {
	plans := make([]*Plan, 0, len(tables))
	for _, t := range tables {
		output := 0
		for level := range manifest.NumLevels {
			if overlapsLevel(v, plans, level, rangeOf(t)) {
				break
			}
			if level > 0 && !busy.busy(level, t) {
				output = level
			}
		}
		plans = append(plans, &Plan{Inputs: []Input{{Level: output, Tables: []*manifest.Table{t}}}, Output: output, Reason: ReasonIngest})
	}
	return plans
}

// overlapsLevel reports whether a table of the level, or one that placed puts there, meets keys.
func overlapsLevel(v *manifest.Version, placed []*Plan, level int, keys keyRange) bool {
	meets := func(t *manifest.Table) bool { return rangeOf(t).overlaps(keys) }
	if slices.ContainsFunc(placed, func(p *Plan) bool { return p.Output == level && meets(p.Inputs[0].Tables[0]) }) {
		return true
	}
	if level == 0 {
		return slices.ContainsFunc(v.Levels[0], meets)
	}
	i, j := overlapping(v.Levels[level], keys)
	return i < j
}

// Clone returns a copy that holds what r holds now.
func (r *Reservations) Clone() *Reservations {
	r.mu.Lock()
	defer r.mu.Unlock()
	return &Reservations{held: slices.Clone(r.held)}
}
