package sim

import (
	"container/heap"
	"encoding/binary"
	"fmt"
	"io"
	"math/rand/v2"
	"time"

	"github.com/zeebo/xxh3"

	"github.com/cambiumdb/cambium/distrib/coordinator"
	"github.com/cambiumdb/cambium/distrib/ring"
)

// epoch is when all runs begin.
var epoch = time.Unix(1_600_000_000, 0)

// world is time, what is to happen, and the nodes.
type world struct {
	scene
	rng     *rand.Rand
	now     time.Duration // since epoch
	events  events
	count   uint64 // of events so far
	hash    *xxh3.Hasher
	log     io.Writer
	members []ring.Node
	epoch   uint64 // of the topology
	view    *ring.View

	nodes   []*node
	clients []*client
	history history
	healing bool
	stats   Stats
}

// ring is where keys lie in an epoch: nobody comes or goes.
func (w *world) ring(epoch uint64) *ring.View {
	return ring.Steady(must(ring.New(ring.Options{Epoch: epoch, VNodes: ring.MinVNodes}, w.members)))
}

// event is something that happens at a time. Of one time, what was planned first happens first.
type event struct {
	at    time.Duration
	order uint64
	f     func()
}

type events []event

func (e events) Len() int { return len(e) }
func (e events) Less(i, j int) bool {
	return e[i].at < e[j].at || e[i].at == e[j].at && e[i].order < e[j].order
}
func (e events) Swap(i, j int) { e[i], e[j] = e[j], e[i] }
func (e *events) Push(x any)   { *e = append(*e, x.(event)) }
func (e *events) Pop() any {
	last := len(*e) - 1
	x := (*e)[last]
	(*e)[last] = event{}
	*e = (*e)[:last]
	return x
}

// after plans f.
func (w *world) after(d time.Duration, f func()) {
	w.count++
	heap.Push(&w.events, event{w.now + max(d, 0), w.count, f})
}

// run lets happen what is planned until a time, or until nothing is.
func (w *world) run(until time.Duration) {
	for len(w.events) > 0 && w.events[0].at <= until {
		e := heap.Pop(&w.events).(event)
		w.now = e.at
		e.f()
	}
	w.now = until
}

// between is a random duration.
func (w *world) between(low, high time.Duration) time.Duration {
	return low + time.Duration(w.rng.Int64N(int64(high-low)))
}

// chance is true so many times of 1000.
func (w *world) chance(of1000 int) bool { return w.rng.IntN(1000) < of1000 }

// trace notes what happens: a and b are nodes, or clients, that it is about.
func (w *world) trace(what string, a, b uint64, details ...any) {
	var head [24]byte
	binary.LittleEndian.PutUint64(head[:], uint64(w.now))
	binary.LittleEndian.PutUint64(head[8:], a)
	binary.LittleEndian.PutUint64(head[16:], b)
	_, _ = w.hash.Write(head[:]) // a hash takes all
	_, _ = w.hash.WriteString(what)
	if w.log == nil {
		return
	}
	fmt.Fprintf(w.log, "%9.3f %-14s %d %d", float64(w.now)/float64(time.Millisecond), what, a, b)
	for _, d := range details {
		fmt.Fprintf(w.log, " %v", d)
	}
	fmt.Fprintln(w.log)
}

// now is the time by the clock of the node.
func (p *process) now() time.Time { return epoch.Add(p.n.clock(p.w.now)) }

// clock is the time of a process.
type clock struct{ p *process }

var _ coordinator.Clock = clock{}

func (c clock) Now() time.Time { return c.p.now() }

func (c clock) AfterFunc(d time.Duration, f func()) coordinator.Timer {
	t := &timer{p: c.p, f: f}
	t.Reset(d)
	return t
}

// timer calls f once, for the last Reset.
type timer struct {
	p      *process
	f      func()
	armed  bool
	resets int
}

func (t *timer) Stop() bool {
	was := t.armed
	t.armed = false
	return was
}

func (t *timer) Reset(d time.Duration) bool {
	was := t.armed
	t.armed = true
	t.resets++
	mine := t.resets
	t.p.after(d, func() {
		if t.armed && t.resets == mine {
			t.armed = false
			t.f()
		}
	})
	return was
}
