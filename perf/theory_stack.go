package perf

import (
	"math"
	"slices"
)

// policyLimits are MaxRuns and MaxSpace of the policies that stack runs.
var policyLimits = map[string]struct{ runs, space float64 }{
	"tiered": {14, 1.6},
	"lazy":   {8, 1.15},
}

// The constants by which package engine slows writes for the sake of these policies, and the size
// of L0 beside the last level from which package compaction merges it early.
const (
	modelRunsSlow, modelRunsStop   = 12, 16
	modelSpaceSlow, modelSpaceStop = 1.6, 2.2
	modelSpaceLeast                = 8 // flushes in the last level from which space counts
	modelMostBehind                = 0.98
	modelL0Space                   = 0.25
	modelSlices                    = 16 // of a flush, in which the pace of writes is the same
)

// stackModel is a tree of runs: tables of L0, and below them columns, each with a stack of runs of
// its own.
type stackModel struct {
	*treeModel
	columns           [][]float64 // the runs over each part of the key space, the oldest last
	maxRuns, maxSpace float64
	lead              float64 // bytes compacted in the time of one byte flushed; 0: all that there is to do
	running           *stackMerge
	fromL0            float64 // of merged
}

// stackMerge is the compaction under way: of the oldest l0 tables of L0, or where that is 0 of a column's newest
// runs up to the one called to.
type stackMerge struct {
	l0, column, to int
	result, left   float64 // entries that it writes
}

// settle is called after a flush: it compacts for as long as writes take to fill the next one.
func (t *stackModel) settle() {
	if t.columns == nil {
		t.columns = make([][]float64, modelColumns)
	}
	if t.lead == 0 {
		t.work(math.Inf(1))
		return
	}
	for i := range modelSlices {
		t.work(t.unit / modelSlices * t.pace(float64(i)/modelSlices))
	}
}

// rest compacts until there is nothing to do.
func (t *stackModel) rest() { t.work(math.Inf(1)) }

// pace is how much is compacted in the time in which one entry is flushed. Writes that are a share p of
// the way to too many runs or too much space are let in at (1-p)/p times what leaves L0. making is the share of
// a table that the flush under way has made.
func (t *stackModel) pace(making float64) float64 {
	share := func(x, slow, stop float64) float64 { return min(modelMostBehind, max(0, (x-slow)/(stop-slow))) }
	total, last := t.stacked()
	depth, _ := t.depth()
	p := share(float64(len(t.l0)+depth)+making, modelRunsSlow, modelRunsStop)
	if last >= modelSpaceLeast*t.unit {
		p = max(p, share(total/last, modelSpaceSlow, modelSpaceStop))
	}
	each := 1.0 // compacted for each that leaves L0
	if t.fromL0 > 0 {
		each = t.merged / t.fromL0
	}
	return max(t.lead, each*p/(1-p))
}

// work compacts budget entries.
func (t *stackModel) work(budget float64) {
	for {
		if t.running == nil {
			if t.running = t.pick(); t.running == nil {
				return
			}
		}
		m := t.running
		if m.left > budget {
			m.left -= budget
			return
		}
		budget -= m.left
		t.merged += m.result
		t.running = nil
		if m.l0 == 0 {
			t.columns[m.column] = slices.Replace(t.columns[m.column], 0, m.to+1, m.result)
			continue
		}
		t.fromL0 += m.result
		t.l0 = t.l0[m.l0:]
		for i, c := range t.columns {
			t.columns[i] = slices.Insert(c, 0, m.result/modelColumns)
		}
	}
}

// depth is the number of runs in the deepest column, and the index of a column with as many as there are levels, or
// -1.
func (t *stackModel) depth() (most, full int) {
	full = -1
	for i, c := range t.columns {
		most = max(most, len(c))
		if len(c) == modelLevels {
			full = i
		}
	}
	return most, full
}

// pick makes a run of L0 when there are too many tables; merges the newest runs of a column to the depth at
// which a freed level costs least, when its levels are full and half of the next run is there; and merges the
// column with the most above its last level down while that may hide too much.
func (t *stackModel) pick() *stackMerge {
	depth, full := t.depth()
	total, last := t.stacked()
	tooMuch := last > 0 && total > t.maxSpace*last
	limit := max(modelTrigger, t.maxRuns-float64(depth))
	if depth == 1 && tooMuch || last > 0 && sum(t.l0) > modelL0Space*last {
		limit = modelTrigger
	}
	n := float64(len(t.l0))
	if n >= limit && full < 0 {
		run := t.unionAll(t.l0)
		return &stackMerge{l0: len(t.l0), result: run, left: run}
	}
	if full >= 0 && 2*n >= limit {
		return t.mergeOf(full, cheapest(t.columns[full]))
	}
	if highest := t.highest(); tooMuch && highest >= 0 {
		return t.mergeOf(highest, len(t.columns[highest])-1)
	}
	return nil
}

func (t *stackModel) mergeOf(column, to int) *stackMerge {
	run := 0.0
	for _, r := range t.columns[column][:to+1] {
		run = t.union(run, r, 1.0/modelColumns)
	}
	return &stackMerge{column: column, to: to, result: run, left: run}
}

// stacked is what the tree holds, and its last runs alone.
func (t *stackModel) stacked() (total, last float64) {
	total = sum(t.l0)
	for _, c := range t.columns {
		total += sum(c)
		if len(c) > 0 {
			last += c[len(c)-1]
		}
	}
	return total, last
}

// highest is the column with the most above its last run for its size; -1 if none has any.
func (t *stackModel) highest() int {
	at, most := -1, 0.0
	for i, c := range t.columns {
		if len(c) < 2 {
			continue
		}
		if gain := sum(c[:len(c)-1]) / c[len(c)-1]; gain > most {
			at, most = i, gain
		}
	}
	return at
}

// cheapest is the run to which merging the newest ones costs least for each that goes away. What
// reaches the last run has to be written to it once anyway.
func cheapest(c []float64) int {
	best, least := 1, math.Inf(1)
	for j := 1; j < len(c); j++ {
		cost := sum(c[:j+1])
		if j == len(c)-1 {
			cost = c[j]
		}
		if cost /= float64(j); cost < least {
			best, least = j, cost
		}
	}
	return best
}
