package compaction

import (
	"github.com/cambiumdb/cambium/internal/manifest"
)

// newPlan completes a plan from its first input: the tables of the output level that overlap,
// and the grandparents. Levels between must hold nothing in that range.
func newPlan(v *manifest.Version, first Input, output int, reason string) *Plan {
	plan := &Plan{Inputs: []Input{first}, Output: output, Reason: reason}
	keys := rangeOfAll(first.Tables)
	if output > first.Level {
		if i, j := overlapping(v.Levels[output], keys); i < j {
			plan.Inputs = append(plan.Inputs, Input{output, v.Levels[output][i:j]})
			keys = keys.union(rangeOfAll(v.Levels[output][i:j]))
		}
	}
	if below := output + 1; output > 0 && below < manifest.NumLevels {
		i, j := overlapping(v.Levels[below], keys)
		plan.Grandparents = v.Levels[below][i:j]
	}
	return plan
}

// widen adds tables of the first level beside [i, j) where that makes no table of the output
// level an input that was none, so that they move at no further cost.
func widen(v *manifest.Version, plan *Plan, level, i, j int, maxBytes int64) {
	if len(plan.Inputs) < 2 {
		return
	}
	tables := v.Levels[level]
	have := plan.Inputs[1].Tables
	keys := rangeOfAll(plan.Inputs[0].Tables).union(rangeOfAll(have))
	first, end := overlapping(tables, keys)
	if end-first <= j-i || plan.Bytes()+totalBytes(tables[first:end]) > maxBytes {
		return
	}
	wide := newPlan(v, Input{level, tables[first:end]}, plan.Output, plan.Reason)
	if len(wide.Inputs[1].Tables) == len(have) {
		*plan = *wide
	}
}

// moveOf returns a plan by which the tables of in go down as they are, or nil where they may
// not: they overlap one another, or a table of the output level, or one of them so much of the
// level after it that compacting it from there would be dear.
func moveOf(v *manifest.Version, in Input, output int, reason string, targetFileBytes int64) *Plan {
	if in.Level == 0 && !disjoint(in.Tables) {
		return nil
	}
	for _, t := range in.Tables {
		if i, j := overlapping(v.Levels[output], rangeOf(t)); i < j {
			return nil
		}
		if below := output + 1; below < manifest.NumLevels {
			i, j := overlapping(v.Levels[below], rangeOf(t))
			if totalBytes(v.Levels[below][i:j]) > maxGrandparentOverlap*targetFileBytes {
				return nil
			}
		}
	}
	return &Plan{Inputs: []Input{in}, Output: output, Reason: reason, TrivialMove: true}
}

// Manual returns the plan that compacts the tables of level that overlap the user keys
// [lo, hi], both inclusive and nil for open, or nil when there are none. They go to the next
// level that holds anything; in the last such level they are rewritten in place, so that
// deletions with nothing beneath them go. A whole compaction is:
//
//	for level := 0; level < manifest.NumLevels; level++ {
//		plan := compaction.Manual(current, lo, hi, level)
//		... run it and install its edit; plan.Final: nothing is left to do
//	}
//
// A plan that merges into the last level takes all tables of that level between lo and hi, so
// that one is final too.
func Manual(v *manifest.Version, lo, hi []byte, level int) *Plan {
	keys := userRange(lo, hi)
	tables := overlappingIn(v, level, keys)
	if len(tables) == 0 {
		return nil
	}
	last := level
	output := -1
	for below := level + 1; below < manifest.NumLevels; below++ {
		if len(v.Levels[below]) > 0 {
			last = below
			if output < 0 {
				output = below
			}
		}
	}
	if output < 0 {
		output = max(level, 1)
		if level == 0 {
			output = bottom
		}
	}
	plan := &Plan{Inputs: []Input{{level, tables}}, Output: output, Reason: ReasonManual, Final: output >= last}
	if output > level {
		reach := rangeOfAll(tables)
		if plan.Final {
			if i, j := overlapping(v.Levels[output], keys); i < j {
				reach = reach.union(rangeOfAll(v.Levels[output][i:j]))
			}
		}
		if i, j := overlapping(v.Levels[output], reach); i < j {
			plan.Inputs = append(plan.Inputs, Input{output, v.Levels[output][i:j]})
			reach = reach.union(rangeOfAll(v.Levels[output][i:j]))
		}
		if output < bottom {
			i, j := overlapping(v.Levels[output+1], reach)
			plan.Grandparents = v.Levels[output+1][i:j]
		}
	}
	return plan
}

func overlappingIn(v *manifest.Version, level int, keys keyRange) []*manifest.Table {
	if level == 0 {
		return overlappingL0(v.Levels[0], keys)
	}
	i, j := overlapping(v.Levels[level], keys)
	return v.Levels[level][i:j]
}
