package sim

import (
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	"github.com/zeebo/xxh3"

	"github.com/cambiumdb/cambium/distrib"
	"github.com/cambiumdb/cambium/distrib/check"
	"github.com/cambiumdb/cambium/distrib/ring"
	"github.com/cambiumdb/cambium/distrib/storetest"
	"github.com/cambiumdb/cambium/distrib/vclock"
)

// Options of a run.
type Options struct {
	Seed uint64
	Log  io.Writer // hears all that happens; nil: nobody does
}

// Stats count what a run did.
type Stats struct {
	Gets, Got, Writes, Acked int
	Faults                   [faults]int
	Twice                    int // writes that came back since their second dot was late
	Different                int // keys of which nodes did not hold the same when they owed each other nothing
	Unnoted                  int // of these, those of writes with two dots, of which nobody would have known

	LinearGets, LinearWrites, LinearDone int // linearizable operations; done are those that were answered
	Carried                              int // eventual writes that a register has carried out
	Undecided                            int // keys of which the checker did not find out whether they were linearizable
}

// Result is what a run has shown.
type Result struct {
	Trace      uint64 // a hash of all that happened
	Events     uint64
	Lasted     time.Duration // of virtual time
	Stats      Stats
	Violations []string
	Pages      map[string][]byte // porcupine's, in HTML, of each key that was not linearizable
}

// scene is what a seed makes of a cluster, its load and its faults.
type scene struct {
	keys      [][]byte
	uses      map[string]use
	sync      distrib.Sync
	slow      time.Duration // the usual delay at most
	late      int           // messages of 1000 that take much longer
	loss      int           // that are lost
	twice     int           // that are carried out twice
	refuse    int           // that are refused
	think     time.Duration // of clients at most
	calm      time.Duration // between faults at most
	lasts     time.Duration // of a fault at most
	load      time.Duration
	kinds     []fault
	cut       [][]bool // from, to
	stretches []ring.Stretch
	mayCrash  time.Duration
}

// Run runs one seed.
func Run(o Options) *Result {
	w := newWorld(o)
	for _, n := range w.nodes {
		n.start()
	}
	w.run(time.Second)
	for _, c := range w.clients {
		c.next()
	}
	w.trouble()
	w.run(w.now + w.load)
	w.heal()
	w.settle()
	violations := w.judge()
	r := &Result{Lasted: w.now, Violations: violations, Pages: w.history.pages}
	for _, n := range w.nodes {
		if n.process != nil {
			n.kill(0) // coroutines end
		}
	}
	r.Trace, r.Events, r.Stats = w.hash.Sum64(), w.count, w.stats
	return r
}

func newWorld(o Options) *world {
	w := &world{rng: rand.New(rand.NewPCG(o.Seed, 0x5eed)), hash: xxh3.New(), log: o.Log}
	r := w.rng
	pick := func(list ...int) int { return list[r.IntN(len(list))] }
	nodes, clients, keys := uint64(pick(3, 3, 4, 5, 5)), uint64(1+r.IntN(6)), 1+r.IntN(8)
	w.scene = scene{
		slow: time.Duration(pick(1, 5, 5, 30)) * time.Millisecond, late: pick(0, 0, 5, 30), loss: pick(0, 0, 5, 30), twice: pick(0, 0, 10), refuse: pick(0, 0, 10),
		think: time.Duration(pick(5, 20, 100)) * time.Millisecond, calm: time.Duration(pick(300, 1500, 4000)) * time.Millisecond,
		lasts: time.Duration(pick(1000, 3000, 8000)) * time.Millisecond, load: time.Duration(pick(5, 10, 20)) * time.Second,
	}
	if r.IntN(4) == 0 {
		w.sync = distrib.SyncSoon
	}
	for f := range faults {
		if r.IntN(2) == 0 {
			w.kinds = append(w.kinds, f)
		}
	}
	if len(w.kinds) == 0 {
		w.kinds = []fault{crash, pause}
	}
	var members []ring.Node
	for id := uint64(1); id <= nodes; id++ {
		n := &node{w: w, id: id, store: storetest.NewMem(), opinion: map[uint64]distrib.Liveness{}}
		w.nodes = append(w.nodes, n)
		if slices.Contains(w.kinds, skew) {
			n.ahead, n.drift = w.between(-maxAhead, maxAhead), int64(r.IntN(1001)-500)
		}
		members = append(members, ring.Node{ID: id, Name: n.name()})
		w.cut = append(w.cut, make([]bool, nodes+1))
	}
	w.cut = append(w.cut, make([]bool, nodes+1))
	w.members = members
	w.view = w.ring(0)
	w.uses = map[string]use{}
	first := use(r.IntN(3)) // a third of the seeds: no key is linearizable
	for i := range keys {
		w.keys = append(w.keys, fmt.Appendf(nil, "key%d", i))
		if first > 0 {
			w.uses[string(w.keys[i])] = use((i + int(first)) % int(uses))
		}
	}
	for _, s := range w.view.Reads().Stretches() {
		if slices.ContainsFunc(w.keys, func(key []byte) bool {
			t := ring.TokenOf(key)
			return s.First.Compare(t) <= 0 && t.Compare(s.Last) <= 0
		}) {
			w.stretches = append(w.stretches, s)
		}
	}
	for id := range clients {
		w.clients = append(w.clients, &client{w: w, id: id + 1, seen: map[string]*seen{}})
	}
	return w
}

// durable reports whether no fault of this scene makes so many disks lose what they have acknowledged.
func (w *world) durable(disks int) bool {
	return disks > 1 || w.sync == distrib.SyncNow && !slices.Contains(w.kinds, wipe) && !slices.Contains(w.kinds, restore)
}

// settle lets nodes give each other what they owe, and linearizable keys be read once more, then has all be compared, as kvctl
// repair does.
func (w *world) settle() {
	w.await()
	w.stats.Different = len(w.different())
	if w.stats.Different > 0 && w.owed() == "" && !w.mayForget() {
		for _, d := range w.different() {
			if w.uses[d.key] != eventual { // what a register has decided may reach a replica's record late
				continue
			}
			if d.twice {
				w.stats.Unnoted++
			} else {
				w.history.violation(w, "different though nothing is owed: %s", d)
			}
		}
	}
	w.finish()
	for _, n := range w.nodes {
		if n.process != nil {
			mustNot(n.process.dirty.MarkAll())
		}
	}
	w.await()
}

// mayForget reports whether a process may have ended with work that nobody else knows of: an operation whose coordinator is
// none of the key's nodes, or hints whose disk was lost. Then keys may differ until all is compared.
func (w *world) mayForget() bool {
	return w.stats.Faults[crash]+w.stats.Faults[restart]+w.stats.Faults[wipe]+w.stats.Faults[restore] > 0
}

func (w *world) await() {
	for end := w.now + 2*time.Minute; w.owed() != "" && w.now < end; {
		w.run(w.now + 500*time.Millisecond)
	}
}

// difference is a key of which two nodes hold different versions. twice: one is of a write that has more than one dot.
type difference struct {
	key, what string
	twice     bool
}

func (d difference) String() string { return d.what }

// different are keys of which nodes hold different versions.
func (w *world) different() (list []difference) {
	for _, key := range w.keys {
		var first distrib.Record
		for i, n := range w.owners(key) {
			record := must(n.data(key))
			if i == 0 {
				first = record
			} else if !slices.Equal(vclock.Dots(first), vclock.Dots(record)) {
				d := difference{string(key), fmt.Sprintf("%s: %s holds %s, %s %s", key, w.owners(key)[0].name(), describe(first), n.name(), describe(record)), false}
				for _, v := range slices.Concat(first, record) {
					d.twice = d.twice || w.history.twice[v.Op]
				}
				list = append(list, d)
			}
		}
	}
	return list
}

func (n *node) data(key []byte) (distrib.Record, error) {
	if n.process == nil {
		return nil, nil
	}
	return n.process.data.Read(key)
}

// judge says what was wrong.
func (w *world) judge() []string {
	h := &w.history
	if owed := w.owed(); owed != "" {
		h.violation(w, "not healed: %s", owed)
		return h.wrong
	}
	for _, d := range w.different() {
		h.violation(w, "different: %s", d)
	}
	h.linearizable(w)
	final := check.Final{}
	for _, key := range w.keys {
		if w.uses[string(key)] != eventual {
			continue
		}
		var all distrib.Record
		for _, n := range w.owners(key) {
			all = vclock.Merge(all, must(n.data(key)))
		}
		h.names(w, string(key), all)
		for _, v := range all {
			final[string(key)] = append(final[string(key)], v.Op)
		}
	}
	for _, v := range check.Eventual(h.History, final) {
		if h.twice[v.Op] && strings.HasPrefix(v.What, "resurrected") {
			w.stats.Twice++
			continue
		}
		h.violation(w, "%s: write %s: %s", v.Key, short(v.Op), v.What)
	}
	return h.wrong
}
