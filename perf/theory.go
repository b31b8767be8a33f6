package perf

import (
	"math"
	"slices"
	"strings"
	"time"
)

// Prediction is what the arithmetic of a policy says about one step of writeamp, for keys drawn
// independently and uniformly.
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
	flushed float64
	merged  float64

	unit  float64 // what a flush writes
	base  float64 // the first full level
	ratio float64 // the largest factor between two levels
}

// Measured is what the formula takes from the load instead of deriving it.
type Measured struct {
	Tables float64 // bytes of tables for each live byte: compression and overhead
	L0     float64 // bytes that flushes write for each byte put, which other levels may compress better; 0: as Tables
	Log    float64 // bytes of the log for each byte put
	Blob   float64 // bytes of blob files for each byte put
	Flush  int64   // bytes of memory that a flush takes together; 0: a memtable
	Table  float64 // bytes of the table that a flush makes; 0: those of Flush in a table
	// Lead is, for the load and for the overwrite, the bytes that compaction writes in the time in which one is
	// flushed while nothing holds writes back; 0: all that there is to do.
	Lead [2]float64
	// Peer: levels are sized as RocksDB and Pebble are told to size them, in steps of ten down to
	// four flushes, and not as engine does.
	Peer bool
}

// The constants of package compaction.
const (
	modelTrigger = 4
	modelMinStep = 3
	modelLevels  = 6 // below L0
	modelColumns = 64
)

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
	if m.L0 == 0 {
		m.L0 = m.Tables
	}
	if m.Table > 0 {
		t.unit = max(1, m.Table/(entry*m.L0))
	}
	var stacked *stackModel
	settle, rest := t.leveled, func() {}
	switch limits, stacks := policyLimits[policy]; {
	case stacks:
		stacked = &stackModel{treeModel: t, maxRuns: limits.runs, maxSpace: limits.space}
		settle, rest = stacked.settle, stacked.rest
	case policy == "universal":
		settle = t.universal
	case policy != "leveled":
		return load, overwrite, false
	}
	step := func(n int) Prediction {
		t.fresh, t.flushed, t.merged = n == 0, 0, 0
		if stacked != nil {
			stacked.fromL0, stacked.lead = 0, m.Lead[n]
		}
		for left := t.keys; left > 0; left -= t.unit {
			t.flush(min(left, t.unit))
			settle()
		}
		rest()
		p := Prediction{Flush: t.flushed * m.L0 / t.keys, Compaction: t.merged * m.Tables / t.keys}
		p.Factor = m.Log + m.Blob + p.Flush + p.Compaction
		total := sum(t.l0) + sum(t.runs)
		if stacked != nil {
			total, _ = stacked.stacked()
		}
		for _, level := range t.levels {
			total += sum(level)
		}
		p.Space = total * m.Tables / t.keys
		return p
	}
	return step(0), step(1), true
}

// flush writes n entries as a table.
func (t *treeModel) flush(n float64) {
	distinct := n
	if t.fresh {
		t.present += n
	} else {
		distinct = t.keys * -math.Expm1(n*math.Log1p(-1/max(2, t.keys)))
	}
	t.flushed += distinct
	t.l0 = append(t.l0, distinct)
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
	tables := float64(load.Space.Tables) / float64(load.Space.Live)
	loadSays, overSays, ok := Predict(modelOf(r.Config.Engine, r.Config.Compaction), r.Config, Measured{
		Tables: tables,
		Log:    load.Settled.Of(load.Settled.Cause("wal")),
		Blob:   load.Settled.Of(load.Settled.Cause("blob")),
		L0:     load.Settled.Of(load.Settled.Cause("flush")),
		Flush:  load.FlushBytes,
		Table:  flushedTable(load.Jobs),
		Lead:   [2]float64{leadOf(load, tables), leadOf(over, tables)},
		Peer:   r.Config.Engine != ownEngine,
	})
	if ok {
		load.Predicted = &loadSays
		if over.Workload == overwrite.Name { // drawn uniformly
			over.Predicted = &overSays
		}
	}
}

// flushedTable is the median size of the tables that flushes made, 0 where the engine does not tell. It is less
// than the memory that a flush takes: memtables hold more than pairs.
func flushedTable(jobs []Job) float64 {
	var made []int64
	for _, j := range jobs {
		if j.Kind == "flush" {
			made = append(made, j.Wrote)
		}
	}
	if len(made) == 0 {
		return 0
	}
	slices.Sort(made)
	return float64(made[len(made)/2])
}

// leadOf is how fast compactions wrote while operations ran, divided by how fast what was put would have been
// flushed had compaction not held it back; 0 where the engine does not tell, or nothing was compacted. tables is the bytes of
// tables for each byte put.
func leadOf(p *Phase, tables float64) float64 {
	var wrote int64
	var busy, until time.Duration
	for _, j := range p.Jobs { // in the order in which they began
		end := j.At + j.Took
		if j.Kind != "compaction" || j.At < 0 || end > p.Elapsed {
			continue
		}
		wrote += j.Wrote
		busy += max(0, end-max(until, j.At))
		until = max(until, end)
	}
	held := (p.Stalls.ByCause["l0files"] + p.Stalls.ByCause["debt"]) / time.Duration(max(1, p.Threads))
	put := float64(p.Settled.UserBytes) * tables
	if busy <= 0 || put <= 0 || p.Elapsed <= held {
		return 0
	}
	return float64(wrote) / busy.Seconds() / (put / (p.Elapsed - held).Seconds())
}
