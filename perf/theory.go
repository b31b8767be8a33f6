package perf

import (
	"math"
	"slices"
	"strings"
)

// Prediction is what the arithmetic of a policy says about one step of writeamp, for keys drawn
// independently and uniformly, and compaction that keeps up with writes.
type Prediction struct {
	Factor     float64 `json:"factor"` // log, blob files, flush and compaction
	Flush      float64 `json:"flush"`
	Compaction float64 `json:"compaction"`
	Space      float64 `json:"space"` // of the tables when settled, for each live byte
}

// treeModel is a tree in numbers of entries. All quantities are real numbers: only sums and
// expectations matter.
type treeModel struct {
	keys    float64 // that there are
	fresh   bool    // every write is of a key that was never written: a load
	present float64 // keys written so far, in a load

	l0      []float64   // distinct entries of each table, oldest first
	levels  [][]float64 // leveled: columns of each level below L0, the bottom last
	runs    []float64   // universal: the oldest last
	columns [][]float64 // stacked: the runs over each part of the key space, the oldest last
	flushed float64
	merged  float64

	unit   float64 // what a flush writes
	base   float64 // the first full level
	ratio  float64 // the largest factor between two levels
	settle func(t *treeModel)
}

// Measured is what the formula takes from the load instead of deriving it.
type Measured struct {
	Tables float64 // bytes of tables for each live byte: compression and overhead
	Log    float64 // bytes of the log for each byte put
	Blob   float64 // bytes of blob files for each byte put
	Flush  int64   // bytes of memory that a flush takes together; 0: a memtable
	// Peer: levels are sized as RocksDB and Pebble are told to size them, in steps of ten down to
	// four flushes, and not as engine does.
	Peer bool
}

// The constants of package compaction.
const (
	modelTrigger = 4
	modelMinStep = 3
	modelL0Space = 0.25
	modelLevels  = 6 // below L0
	modelColumns = 64
)

// policyLimits are MaxRuns and MaxSpace of the policies that stack runs.
var policyLimits = map[string]struct{ runs, space float64 }{
	"tiered": {14, 1.6},
	"lazy":   {8, 1.15},
}

// Predict returns what policy should write for load and overwrite under c. ok is false for a
// policy without a formula.
func Predict(policy string, c Config, m Measured) (load, overwrite Prediction, ok bool) {
	entry := float64(c.KeySize) + float64(c.ValueSize)
	unit := float64(m.Flush)
	if unit == 0 {
		unit = float64(c.Memtable)
	}
	if unit == 0 {
		unit = 64 << 20
	}
	base, ratio := unit*5/4, 16.0 // as engine sizes its tree
	if m.Peer {
		base, ratio = min(256<<20, 4*unit), 10
	}
	t := &treeModel{
		keys: float64(c.Keys), unit: max(1, unit/entry),
		base: max(4<<20, base) / (entry * m.Tables), ratio: ratio,
	}
	switch limits, stacked := policyLimits[policy]; {
	case stacked:
		t.settle = func(t *treeModel) { t.stack(limits.runs, limits.space) }
	case policy == "leveled":
		t.settle = (*treeModel).leveled
	case policy == "universal":
		t.settle = (*treeModel).universal
	default:
		return load, overwrite, false
	}
	step := func(fresh bool) Prediction {
		t.fresh, t.flushed, t.merged = fresh, 0, 0
		for left := t.keys; left > 0; left -= t.unit {
			t.flush(min(left, t.unit))
		}
		p := Prediction{Flush: t.flushed * m.Tables / t.keys, Compaction: t.merged * m.Tables / t.keys}
		p.Factor = m.Log + m.Blob + p.Flush + p.Compaction
		total, _ := t.stacked()
		for _, level := range t.levels {
			total += sum(level)
		}
		p.Space = (total + sum(t.runs)) * m.Tables / t.keys
		return p
	}
	return step(true), step(false), true
}

// flush writes n entries as a table and compacts until there is nothing to do.
func (t *treeModel) flush(n float64) {
	distinct := n
	if t.fresh {
		t.present += n
	} else {
		distinct = t.keys * -math.Expm1(n*math.Log1p(-1/max(2, t.keys)))
	}
	t.flushed += distinct
	t.l0 = append(t.l0, distinct)
	t.settle(t)
}

// union is how many distinct keys two sets of a and b of the keys in a share of the key space
// hold together.
func (t *treeModel) union(a, b, share float64) float64 {
	if t.fresh {
		return a + b
	}
	return a + b - a*b/(t.keys*share)
}

func (t *treeModel) unionAll(sets []float64) float64 {
	all := 0.0
	for _, s := range sets {
		all = t.union(all, s, 1)
	}
	return all
}

// leveled merges L0 into the base level, and of a level above its target the columns with the least
// beneath them in the next level for what they hold.
func (t *treeModel) leveled() {
	const part = 1.0 / modelColumns
	if len(t.levels) == 0 {
		t.levels = [][]float64{make([]float64, modelColumns)}
	}
	if len(t.l0) >= modelTrigger {
		run := t.unionAll(t.l0) * part
		for c, held := range t.levels[0] {
			t.levels[0][c] = t.union(run, held, part)
		}
		t.merged += sum(t.levels[0])
		t.l0 = nil
	}
	steps, step := t.steps()
	for len(t.levels) <= steps {
		t.levels = slices.Insert(t.levels, 0, make([]float64, modelColumns))
	}
	if steps == 0 {
		return
	}
	target := t.base
	for i := range len(t.levels) - 1 {
		level, below := t.levels[i], t.levels[i+1]
		for over := sum(level) - target; over > 0; {
			c := cheapestColumn(level, below)
			over -= level[c]
			after := t.union(level[c], below[c], part)
			if below[c] > 0 {
				t.merged += after
			}
			level[c], below[c] = 0, after
		}
		target *= step
	}
}

// steps is how many steps the levels make from the base to the largest, and the factor of each.
func (t *treeModel) steps() (n int, step float64) {
	largest := 0.0
	for _, level := range t.levels {
		largest = max(largest, sum(level))
	}
	growth := largest / t.base
	for n < modelLevels-1 && growth > math.Pow(t.ratio, float64(n)) {
		n++
	}
	if n > 0 && math.Pow(growth, 1/float64(n)) < modelMinStep {
		n--
	}
	return n, math.Pow(growth, 1/float64(max(1, n)))
}

// cheapestColumn is the column of level that has the least beneath it for what it holds.
func cheapestColumn(level, below []float64) int {
	best, least := 0, math.Inf(1)
	for c, held := range level {
		if held > 0 && below[c]/held < least {
			best, least = c, below[c]/held
		}
	}
	return best
}

// stack makes a run of L0 when there are too many tables, merges the newest runs of a column to
// the depth at which a freed level costs least when its levels are full, and merges the column
// with the most above its last level down while that may hide too much.
func (t *treeModel) stack(maxRuns, maxSpace float64) {
	if t.columns == nil {
		t.columns = make([][]float64, modelColumns)
	}
	for {
		depth, full := 0, -1
		for i, c := range t.columns {
			depth = max(depth, len(c))
			if len(c) == modelLevels {
				full = i
			}
		}
		total, last := t.stacked()
		tooMuch := last > 0 && total > maxSpace*last
		limit := max(modelTrigger, maxRuns-float64(depth))
		if depth == 1 && tooMuch || last > 0 && sum(t.l0) > modelL0Space*last {
			limit = modelTrigger
		}
		switch highest := t.highest(); {
		case full >= 0:
			t.mergeColumn(full, cheapest(t.columns[full]))
		case float64(len(t.l0)) >= limit:
			run := t.unionAll(t.l0)
			t.merged += run
			t.l0 = nil
			for i, c := range t.columns {
				t.columns[i] = slices.Insert(c, 0, run/modelColumns)
			}
		case tooMuch && highest >= 0:
			t.mergeColumn(highest, len(t.columns[highest])-1)
		default:
			return
		}
	}
}

// stacked is what the tree holds, and its last runs alone.
func (t *treeModel) stacked() (total, last float64) {
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
func (t *treeModel) highest() int {
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

// cheapest is the run to which merging the newest ones costs least for each that goes away.
func cheapest(c []float64) int {
	best, least := 1, math.Inf(1)
	for j := 1; j < len(c); j++ {
		if cost := sum(c[:j+1]) / float64(j); cost < least {
			best, least = j, cost
		}
	}
	return best
}

// mergeColumn merges the newest runs of a column, up to the one called to, into one.
func (t *treeModel) mergeColumn(column, to int) {
	c := t.columns[column]
	run := 0.0
	for _, r := range c[:to+1] {
		run = t.union(run, r, 1.0/modelColumns)
	}
	t.merged += run
	t.columns[column] = slices.Replace(c, 0, to+1, run)
}

// universal is RocksDB's universal compaction with its defaults, L0 being runs like all others.
func (t *treeModel) universal() {
	t.runs, t.l0 = append(t.l0, t.runs...), nil // one table at a time
	for {
		from, to := universalPick(t.runs)
		if from == to {
			return
		}
		run := t.unionAll(t.runs[from:to])
		t.merged += run
		t.runs = slices.Replace(t.runs, from, to, run)
	}
}

// universalPick is what universal compaction merges next of runs, the oldest last: everything,
// where all but the oldest are twice its size together; else neighbours of which none is more than
// 1 % larger than those before it together; else the newest, to come down to three runs.
func universalPick(runs []float64) (from, to int) {
	n := len(runs)
	if n < modelTrigger {
		return 0, 0
	}
	if sum(runs[:n-1]) >= 2*runs[n-1] {
		return 0, n
	}
	for from := range n - 1 {
		together := runs[from]
		to := from + 1
		for ; to < n && runs[to] <= 1.01*together; to++ {
			together += runs[to]
		}
		if to > from+1 {
			return from, to
		}
	}
	if n > modelTrigger {
		return 0, n - modelTrigger + 1
	}
	return 0, 0
}

func sum(v []float64) float64 {
	all := 0.0
	for _, x := range v {
		all += x
	}
	return all
}

// modelOf names the formula for what an engine makes of a policy; "" where there is none.
func modelOf(engine, policy string) string {
	switch {
	case engine == ownEngine, policy == "leveled" && engine != "badger":
		return policy
	case policy == "tiered" && strings.HasPrefix(engine, "rocksdb"):
		return "universal"
	}
	return ""
}

// predict adds the formula's figures to the two steps of a run of writeamp.
func (r *Run) predict() {
	if len(r.Phases) != 4 {
		return
	}
	load, over := &r.Phases[0], &r.Phases[2]
	if load.Space.Live == 0 || load.Space.Tables == 0 || load.Settled == nil {
		return
	}
	loadSays, overSays, ok := Predict(modelOf(r.Config.Engine, r.Config.Compaction), r.Config, Measured{
		Tables: float64(load.Space.Tables) / float64(load.Space.Live),
		Log:    load.Settled.Of(load.Settled.Cause("wal")),
		Blob:   load.Settled.Of(load.Settled.Cause("blob")),
		Flush:  load.FlushBytes,
		Peer:   r.Config.Engine != ownEngine,
	})
	if ok {
		load.Predicted = &loadSays
		if over.Workload == overwrite.Name { // drawn uniformly
			over.Predicted = &overSays
		}
	}
}
