package sim

import (
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/cambiumdb/cambium/distrib"
	"github.com/cambiumdb/cambium/distrib/antientropy"
	"github.com/cambiumdb/cambium/distrib/coordinator"
	"github.com/cambiumdb/cambium/distrib/hint"
	"github.com/cambiumdb/cambium/distrib/recovery"
	"github.com/cambiumdb/cambium/distrib/replica"
	"github.com/cambiumdb/cambium/distrib/ring"
	"github.com/cambiumdb/cambium/distrib/storetest"
	"github.com/cambiumdb/cambium/distrib/vclock"
	"github.com/cambiumdb/cambium/internal/bugs"
)

const (
	patience = 500 * time.Millisecond // of coordinators
	goOn     = 3 * time.Second        // of requests for which nobody waits
)

// node is a member: its disk, and while it runs its process.
type node struct {
	w       *world
	id      uint64
	store   *storetest.Mem
	copies  []*storetest.Mem // of the disk, one from before each start but the last
	process *process         // nil: it does not run
	starts  int              // attempts to start that were begun
	run     uint64           // its last, as the metadata has it
	ahead   time.Duration    // its clock, when the run begins
	drift   int64            // of its clock, in millionths
	// opinion is what it thinks of others.
	opinion map[uint64]distrib.Liveness
}

func (n *node) name() string { return fmt.Sprintf("n%d", n.id) }

// clock is what the node's clock shows, since epoch. The other way about its timers are right: they are short.
func (n *node) clock(now time.Duration) time.Duration {
	return n.ahead + now + now/1_000_000*time.Duration(n.drift)
}

// process is one life of a node.
type process struct {
	w           *world
	n           *node
	dead        bool
	paused      bool
	queue       []func() // what a paused process will do
	calls       []*call  // that it was asked
	drained     []func() // end the drains of hints that are under way
	draining    bool
	births      *replica.Births
	data        *replica.Replica
	hints       *hint.Hints
	dirty       *antientropy.Dirty
	coordinator *coordinator.Coordinator
	refill      recovery.Refill
	registers   *recovery.Registers
	view        *ring.View
	under       map[uint64]int // operations, by the epoch of their view
}

// after has f called in d, if the process lives then, and once it goes on where it is paused.
func (p *process) after(d time.Duration, f func()) { p.w.after(d, func() { p.do(f) }) }

func (p *process) do(f func()) {
	switch {
	case p.dead:
	case p.paused:
		p.queue = append(p.queue, f)
	default:
		f()
	}
}

// resume ends a pause: what has waited happens in its order.
func (p *process) resume() {
	p.paused = false
	for len(p.queue) > 0 && !p.dead {
		f := p.queue[0]
		p.queue = p.queue[1:]
		f()
	}
}

// start begins a life of the node, again and again until somebody knows of its last one, as node.begin does.
func (n *node) start() {
	n.starts++
	mine := n.starts
	var try func()
	try = func() {
		if n.process != nil || n.starts != mine {
			return
		}
		if !n.begin() {
			n.w.after(200*time.Millisecond, try)
		}
	}
	n.w.after(n.w.between(time.Millisecond, 100*time.Millisecond), try)
}

// begin judges the disk by what others know, and starts a process on it. ok: one of them answered.
func (n *node) begin() (ok bool) {
	w, told := n.w, []*node{}
	run := n.run // the metadata is up
	for _, o := range w.nodes {
		if o == n || o.process == nil || o.process.paused || w.cut[n.id][o.id] || w.cut[o.id][n.id] {
			continue
		}
		told = append(told, o)
		run = max(run, must(recovery.KnownRun(o.process.store(), n.id)))
	}
	found := must(recovery.Look(n.store))
	verdict := must(recovery.Judge(found, n.name(), recovery.Known{Cluster: "c", ID: n.id, Run: run, Others: true}))
	n.copies = append(n.copies, n.store.Crash(n.store.Unsynced()))
	if verdict.Aside {
		n.store = storetest.NewMem()
	}
	mustNot(recovery.MarkBegun(n.store, recovery.Self{ClusterID: "c", ID: n.id, Name: n.name()}, verdict.Refill, w.sync))
	births := must(n.births(run))
	n.run = births.Run()
	for _, o := range told {
		mustNot(recovery.Remember(o.process.store(), n.id, n.run))
	}
	w.trace("start", n.id, n.run, verdict)
	n.wire(births, verdict)
	return true
}

func (n *node) births(known uint64) (*replica.Births, error) {
	if bugs.On(bugs.BirthsDropped) {
		known = 0
		mustNot(n.store.Apply([]distrib.Op{{Key: append([]byte{byte(distrib.SpaceMeta)}, "run"...), Delete: true}}, distrib.SyncNow))
	}
	return replica.NextRun(n.store, known)
}

// wire makes the parts of a process as node.work does, and starts what goes on in the background.
func (n *node) wire(births *replica.Births, verdict recovery.Verdict) {
	w := n.w
	if bugs.On(bugs.StateForgotten) {
		mustNot(n.store.DeleteRange([]byte{byte(distrib.SpaceRegister)}, []byte{byte(distrib.SpaceRegister) + 1}, distrib.SyncNow))
	}
	p := &process{w: w, n: n, births: births, refill: verdict.Refill, under: map[uint64]int{}}
	p.registers = must(recovery.OpenRegisters(n.store))
	p.adopt(w.view)
	p.data = replica.New(replica.Options{Store: n.store, Prefix: distrib.DataPrefix(), Node: n.id, Births: births})
	p.hints = must(hint.Open(hint.Options{Store: n.store, Node: n.id, Births: births}))
	p.dirty = must(antientropy.OpenDirty(n.store))
	if verdict.Dirty {
		own, _ := p.stretches(antientropy.Slots{Last: math.MaxUint64})
		for _, s := range own {
			mustNot(p.dirty.MarkRange(antientropy.Slots{First: s.First.Hi, Last: s.Last.Hi}))
		}
	}
	p.coordinator = coordinator.New(coordinator.Options{
		Self: n.id, View: p.enter, Transport: transport{p}, Registers: transport{p}, Run: births.Run(), Liveness: func(id uint64) distrib.Liveness { return n.opinion[id] },
		Patience: patience, After: goOn, Unfinished: func(key []byte) { mustNot(p.dirty.Mark(ring.TokenOf(key).Hi)) },
		Settle: p.settle, Clock: clock{p}, Go: func(f func()) { p.after(w.between(0, 200*time.Microsecond), f) },
	})
	n.process = p
	for _, o := range w.nodes {
		if o != n {
			n.opinion[o.id] = distrib.Up
			w.opine(n, o)
			w.opine(o, n)
		}
	}
	p.every(time.Second, p.handOver)
	p.after(w.between(0, 100*time.Millisecond), p.restore)
	p.after(w.between(time.Millisecond, 100*time.Millisecond), p.compareDirty)
	p.every(900*time.Millisecond, func() { mustNot(p.store().Apply(nil, distrib.SyncNow)) })
}

func (p *process) store() *storetest.Mem { return p.n.store }

// every calls f now and then, at least once in a period.
func (p *process) every(period time.Duration, f func()) {
	p.after(p.w.between(period/2, period), func() {
		f()
		p.every(period, f)
	})
}

// kill ends the process. Of what its disk had not synced, the first keep changes are left.
func (n *node) kill(keep int) {
	p := n.process
	n.starts++ // an attempt to start that is under way ends
	n.store = n.store.Crash(keep)
	if p == nil {
		return
	}
	p.dead, n.process = true, nil
	for _, end := range p.drained {
		end()
	}
	for _, c := range p.calls {
		if !n.w.cut[n.id][c.from.n.id] {
			c.end(n.w.delay(), nil, errBroken)
		}
	}
	for _, o := range n.w.nodes {
		n.w.opine(o, n)
	}
}

// opine has a node change its opinion of another as it learns of it.
func (w *world) opine(n, of *node) {
	if n == of {
		return
	}
	w.after(w.between(100*time.Millisecond, 2500*time.Millisecond), func() {
		is := distrib.Up
		if p := of.process; p == nil || p.paused || w.cut[n.id][of.id] || w.cut[of.id][n.id] {
			is = []distrib.Liveness{distrib.Suspect, distrib.Down, distrib.Down}[w.rng.IntN(3)]
		}
		n.think(of.id, is)
		if is == distrib.Suspect {
			w.opine(n, of)
		}
	})
}

// think sets an opinion. Who is back gets what was kept for him.
func (n *node) think(of uint64, is distrib.Liveness) {
	if n.opinion[of] == is {
		return
	}
	n.w.trace("thinks", n.id, of, is)
	n.opinion[of] = is
	if p := n.process; p != nil {
		p.after(0, p.handOver)
	}
}

// The methods that follow carry out requests, as node's handler does.

func (p *process) put(r *distrib.PutRequest) (*distrib.PutReply, error) {
	sync := r.Sync
	if bugs.On(bugs.Unsynced) {
		sync = distrib.SyncLater
	}
	if r.For != 0 {
		q := *r
		q.Sync = sync
		reply, err := p.hints.Put(&q)
		if err == nil {
			p.w.history.minted(r, reply)
		}
		return reply, err
	}
	w, err := p.data.Put(r.Key, replica.Put{Op: r.Op, Past: r.Past, Value: r.Value, Sync: sync, Retried: r.Retried})
	if err != nil {
		return nil, err
	}
	reply := &distrib.PutReply{Sibling: w.Sibling, Siblings: w.Siblings}
	p.w.history.minted(r, reply)
	return reply, nil
}

func (p *process) merge(r *distrib.MergeRequest) error {
	q := *r
	if bugs.On(bugs.Unsynced) {
		q.Sync = distrib.SyncLater
	}
	if r.For != 0 {
		return p.hints.Merge(&q)
	}
	_, err := p.data.Merge(q.Key, q.Record, q.Sync)
	return err
}

func (p *process) read(r *distrib.ReadRequest) (*distrib.ReadReply, error) {
	var record distrib.Record
	var err error
	switch {
	case r.For != 0:
		record, err = p.hints.Read(r)
	case p.refill != recovery.RefillNot && !r.Partial && !bugs.On(bugs.RefilledReads):
		return nil, fmt.Errorf("node %s is being refilled: %w", p.n.name(), distrib.ErrRefused)
	default:
		held, err := p.data.Hold(r.Key)
		if r.Digest {
			return &distrib.ReadReply{Dots: vclock.Dots(held.Record), Linearizable: held.Linearizable}, err
		}
		return &distrib.ReadReply{Record: held.Record, Linearizable: held.Linearizable}, err
	}
	if r.Digest {
		return &distrib.ReadReply{Dots: vclock.Dots(record)}, err
	}
	return &distrib.ReadReply{Record: record}, err
}

// settle makes the own writes durable, unless the node crashes right before: then others may have what it has not.
func (p *process) settle() error {
	w := p.w
	if !w.healing && w.chance(5) && slices.Contains(w.kinds, crash) {
		w.trace("crash", p.n.id, 0)
		w.stats.Faults[crash]++
		w.die(p.n, 0, w.between(50*time.Millisecond, w.lasts))
		return errBroken
	}
	if bugs.On(bugs.Unsynced) {
		return nil
	}
	return p.data.Settle()
}

// owners are the nodes of a key.
func (w *world) owners(key []byte) (list []*node) {
	for _, s := range w.view.Seats(ring.TokenOf(key)) {
		list = append(list, w.nodes[s.Node-1])
	}
	return list
}

// whole reports whether a node runs and its reads count.
func (n *node) whole() bool {
	return n.process != nil && !n.process.paused && n.process.refill == recovery.RefillNot && n.process.registers.Since() == 0
}

func (w *world) allWhole() bool {
	return !slices.ContainsFunc(w.nodes, func(n *node) bool { return !n.whole() })
}

// must and mustNot are for what cannot fail: the store is in memory.
func must[T any](v T, err error) T {
	mustNot(err)
	return v
}

func mustNot(err error) {
	if err != nil {
		panic(err)
	}
}
