package compaction

import (
	"encoding/binary"
	"fmt"
	"math/rand"
	"slices"

	"github.com/cambiumdb/cambium/internal/ikey"
	"github.com/cambiumdb/cambium/internal/manifest"
)

// world simulates a database whose tables are sets of numbers, so that what a policy costs is
// known in seconds and without I/O: the plans, the cuts of their outputs and the effects of
// duplicates are those of the engine, since the same code decides them.
//
// Time is measured in bytes. While the writer fills one memtable, compactions write lead times
// as many bytes; the writer waits while its policy says that there are too many runs.
type world struct {
	policy  Policy
	shape   shapeUnderTest
	v       *manifest.Version
	keys    map[uint64][]uint32 // of each table, ascending
	nextNum uint64
	seq     uint64
	busy    Reservations
	jobs    []*job

	user, flushed int64
	moved         int
	byLevel       [manifest.NumLevels]int64
	byReason      map[string]int64
	peakBytes     int64
	runsPeak      int
	runsSum       float64
	samples       int
	stalled       int64 // bytes that compactions wrote while the writer waited
	longestStall  int64
	largestPlan   int64
}

// shapeUnderTest is a workload's dimensions.
type shapeUnderTest struct {
	keys     int     // numbers below keys are written
	user     int64   // bytes of a key with its value
	entry    int64   // bytes of an entry in a table
	memtable int     // entries of a full memtable
	lead     float64 // bytes that compaction can write for each byte that is flushed
	threads  int
	stopRuns int // the writer waits from so many runs on
	wal      float64
}

type job struct {
	plan    *Plan
	outputs []*manifest.Table
	left    int64
	bytes   int64
}

func newWorld(p Policy, s shapeUnderTest) *world {
	return &world{policy: p, shape: s, keys: map[uint64][]uint32{}, byReason: map[string]int64{},
		v: manifest.NewVersion([manifest.NumLevels][]*manifest.Table{}, nil)}
}

func worldKey(k uint32) []byte { return binary.BigEndian.AppendUint32(nil, k) }

func (w *world) table(keys []uint32, lo, hi uint64) *manifest.Table {
	w.nextNum++
	w.keys[w.nextNum] = keys
	return &manifest.Table{
		Num: w.nextNum, Size: uint64(int64(len(keys))*w.shape.entry + 1024),
		Smallest:    ikey.Make(worldKey(keys[0]), hi, ikey.KindSet),
		Largest:     ikey.Make(worldKey(keys[len(keys)-1]), lo, ikey.KindSet),
		SmallestSeq: lo, LargestSeq: hi,
		Stats: manifest.TableStats{Entries: uint64(len(keys)), Known: true},
	}
}

// write writes every number that next gives, n of them.
func (w *world) write(n int, next func() uint32) {
	for n > 0 {
		batch := make([]uint32, min(n, w.shape.memtable))
		n -= len(batch)
		for i := range batch {
			batch[i] = next()
		}
		w.user += int64(len(batch)) * w.shape.user
		first := w.seq + 1
		w.seq += uint64(len(batch))
		slices.Sort(batch)
		batch = slices.Compact(batch)
		w.stall()
		t := w.table(batch, first, w.seq)
		w.flushed += int64(t.Size)
		w.install(nil, []manifest.AddedTable{{Level: 0, Table: t}})
		w.work(int64(float64(t.Size) * w.shape.lead))
	}
}

// stall lets compactions work until the writer may go on.
func (w *world) stall() {
	before := w.stalled
	for runsOf(w.v) >= w.shape.stopRuns {
		w.schedule()
		if len(w.jobs) == 0 {
			break // the policy is content with more
		}
		n := w.jobs[0].left
		for _, j := range w.jobs {
			n = min(n, j.left)
		}
		w.stalled += n * int64(len(w.jobs))
		w.advance(n)
	}
	w.longestStall = max(w.longestStall, w.stalled-before)
}

func (w *world) schedule() {
	for len(w.jobs) < w.shape.threads {
		plan := w.policy.Pick(w.v, &w.busy)
		if plan == nil {
			return
		}
		if !w.busy.Reserve(plan) {
			panic(fmt.Sprintf("conflicting plan %s", plan))
		}
		w.start(plan)
	}
}

// work spends a budget of bytes on compactions.
func (w *world) work(budget int64) {
	for budget > 0 {
		w.schedule()
		if len(w.jobs) == 0 {
			return
		}
		n := budget/int64(len(w.jobs)) + 1
		for _, j := range w.jobs {
			n = min(n, j.left)
		}
		n = max(n, 1)
		budget -= n * int64(len(w.jobs))
		w.advance(n)
	}
}

func (w *world) settle() {
	for {
		w.schedule()
		if len(w.jobs) == 0 {
			return
		}
		w.advance(w.jobs[0].left)
	}
}

func (w *world) advance(n int64) {
	running := w.jobs
	w.jobs = nil
	for _, j := range running {
		if j.left -= n; j.left > 0 {
			w.jobs = append(w.jobs, j)
			continue
		}
		w.finish(j)
	}
}

func (w *world) start(plan *Plan) {
	if plan.TrivialMove {
		w.finish(&job{plan: plan})
		w.moved++
		return
	}
	j := &job{plan: plan}
	var keys []uint32
	lo, hi := ^uint64(0), uint64(0)
	var held int64
	for _, in := range plan.Inputs {
		for k := range in.Tables {
			t := in.Tables[k]
			held += int64(t.Size)
			lo, hi = min(lo, t.SmallestSeq), max(hi, t.LargestSeq)
			if in.Level == 0 {
				keys = unionOf(keys, w.keys[t.Num])
			}
		}
		if in.Level > 0 {
			var level []uint32
			for _, t := range in.Tables {
				level = append(level, w.keys[t.Num]...)
			}
			keys = unionOf(keys, level)
		}
	}
	w.largestPlan = max(w.largestPlan, held)
	c := newCutter(plan, w.target())
	begin := 0
	buf := make([]byte, 4)
	for i, k := range keys {
		binary.BigEndian.PutUint32(buf, k)
		if plan.Output == 0 {
			break
		}
		for {
			_, cut := c.next(buf, false, int64(i-begin)*w.shape.entry)
			if !cut {
				break
			}
			if i > begin {
				j.outputs = append(j.outputs, w.table(keys[begin:i:i], lo, hi))
				begin = i
			}
		}
	}
	j.outputs = append(j.outputs, w.table(keys[begin:], lo, hi))
	j.bytes = totalBytes(j.outputs)
	j.left = j.bytes
	w.byLevel[plan.Output] += j.bytes
	w.byReason[plan.Reason] += j.bytes
	w.jobs = append(w.jobs, j)
}

func unionOf(a, b []uint32) []uint32 {
	if len(a) == 0 {
		return b
	}
	out := make([]uint32, 0, len(a)+len(b))
	for len(a) > 0 && len(b) > 0 {
		switch {
		case a[0] < b[0]:
			out, a = append(out, a[0]), a[1:]
		case a[0] > b[0]:
			out, b = append(out, b[0]), b[1:]
		default:
			a = a[1:]
		}
	}
	return append(append(out, a...), b...)
}

func (w *world) target() int64 {
	switch p := w.policy.(type) {
	case *leveled:
		return p.o.TargetFileBytes
	case *stack:
		return p.o.TargetFileBytes
	}
	panic("unknown policy")
}

func (w *world) finish(j *job) {
	if err := w.busy.Verify(j.plan, w.v); err != nil {
		panic(err)
	}
	outputs := j.outputs
	if j.plan.TrivialMove {
		outputs = j.plan.Inputs[0].Tables
	}
	var added []manifest.AddedTable
	for _, t := range outputs {
		added = append(added, manifest.AddedTable{Level: j.plan.Output, Table: t})
	}
	// Until the edit is installed, inputs and outputs of all jobs take space.
	now := versionBytes(w.v) + j.bytes
	for _, other := range w.jobs {
		now += other.bytes - max(other.left, 0)
	}
	w.peakBytes = max(w.peakBytes, now)
	w.install(j.plan.Inputs, added)
	w.busy.Release(j.plan)
}

func versionBytes(v *manifest.Version) (n int64) {
	for level := range v.Levels {
		n += totalBytes(v.Levels[level])
	}
	return n
}

func (w *world) install(gone []Input, added []manifest.AddedTable) {
	levels := w.v.Levels
	for _, in := range gone {
		out := make(map[uint64]bool, len(in.Tables))
		for _, t := range in.Tables {
			out[t.Num] = true
		}
		levels[in.Level] = slices.DeleteFunc(slices.Clone(levels[in.Level]), func(t *manifest.Table) bool { return out[t.Num] })
	}
	touched := map[int]bool{}
	for _, a := range added {
		if !touched[a.Level] {
			levels[a.Level] = slices.Clone(levels[a.Level])
			touched[a.Level] = true
		}
		levels[a.Level] = append(levels[a.Level], a.Table)
	}
	w.v = manifest.NewVersion(levels, nil)
	if err := w.v.Check(); err != nil {
		panic(err)
	}
	w.peakBytes = max(w.peakBytes, versionBytes(w.v))
	if len(gone) == 0 {
		n := runsOf(w.v)
		w.runsPeak = max(w.runsPeak, n)
		w.runsSum += float64(n)
		w.samples++
	}
	stays := map[uint64]bool{}
	for _, a := range added {
		stays[a.Table.Num] = true
	}
	for _, in := range gone {
		for _, t := range in.Tables {
			if !stays[t.Num] {
				delete(w.keys, t.Num)
			}
		}
	}
}

// runsOf counts sorted runs: each table of L0 and each level that is filled.
func runsOf(v *manifest.Version) int {
	n := len(v.Levels[0])
	for _, tables := range v.Levels[1:] {
		if len(tables) > 0 {
			n++
		}
	}
	return n
}

// phase is what one step of a simulation cost.
type phase struct {
	name                    string
	amp                     float64 // with log and flush
	spacePeak, spaceSettled float64
	runs                    float64
	runsPeak                int
	byReason, byLevel       string
	longestStall            float64 // in memtables
	stalled                 float64
	largestPlan             float64
	moved                   int
}

func (p phase) String() string {
	return fmt.Sprintf("%-9s amp %.2f  space peak %.2f settled %.2f  runs %.1f peak %d  stalled %.1f longest %.0f largest %.2f moves %d | %s| %s",
		p.name, p.amp, p.spacePeak, p.spaceSettled, p.runs, p.runsPeak, p.stalled, p.longestStall, p.largestPlan, p.moved, p.byReason, p.byLevel)
}

// measure runs a step, settles and says what it cost.
func (w *world) measure(name string, step func()) phase {
	w.user, w.flushed, w.byLevel, w.peakBytes, w.moved = 0, 0, [manifest.NumLevels]int64{}, 0, 0
	w.byReason = map[string]int64{}
	w.runsPeak, w.runsSum, w.samples, w.stalled, w.longestStall, w.largestPlan = 0, 0, 0, 0, 0, 0
	step()
	w.settle()
	var written int64
	p := phase{name: name, runs: w.runsSum / float64(w.samples), runsPeak: w.runsPeak, moved: w.moved}
	for level, n := range w.byLevel {
		written += n
		if n > 0 {
			p.byLevel += fmt.Sprintf("L%d %.2f ", level, float64(n)/float64(w.user))
		}
	}
	for _, reason := range []string{ReasonL0, ReasonSize, ReasonRuns, ReasonSpace} {
		if n := w.byReason[reason]; n > 0 {
			p.byReason += fmt.Sprintf("%s %.2f ", reason, float64(n)/float64(w.user))
		}
	}
	live := float64(int64(w.shape.keys) * w.shape.user)
	p.amp = w.shape.wal + float64(w.flushed+written)/float64(w.user)
	p.spacePeak, p.spaceSettled = float64(w.peakBytes)/live, float64(versionBytes(w.v))/live
	mem := float64(int64(w.shape.memtable) * w.shape.entry)
	p.longestStall, p.stalled = float64(w.longestStall)/mem, float64(w.stalled)/float64(w.user)
	p.largestPlan = float64(w.largestPlan) / live
	return p
}

// loadAndOverwrite is kvbench's writeamp.
func (w *world) loadAndOverwrite(rng *rand.Rand) (load, overwrite phase) {
	order := rng.Perm(w.shape.keys)
	i := 0
	load = w.measure("load", func() {
		w.write(len(order), func() uint32 { i++; return uint32(order[i-1]) })
	})
	overwrite = w.measure("overwrite", func() {
		w.write(len(order), func() uint32 { return uint32(rng.Intn(len(order))) })
	})
	return load, overwrite
}
