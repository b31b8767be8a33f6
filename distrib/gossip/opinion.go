package gossip

import (
	"errors"
	"sync"
	"time"

	"github.com/cambiumdb/cambium/distrib"
)

// Opinion is what a node thinks of another.
type Opinion struct {
	Liveness distrib.Liveness
	Since    time.Time
	Reason   string // where it is not Up
}

const (
	// suspectAfter and downAfter are how many requests in a row must have failed.
	suspectAfter = 2
	downAfter    = 5
	// believe is for how long requests that failed, or were answered, count against the probes.
	believe = 3 * time.Second
)

// witness is what is known of one node.
type witness struct {
	Member
	gone    string // why memberlist thinks that it is not there; empty: it is, or was not heard of yet
	failed  int    // requests in a row
	refused bool   // all of them: nothing listens
	last    time.Time
}

// judge says what to think of a node now.
func (w *witness) judge(now time.Time) (distrib.Liveness, string) {
	recent := now.Sub(w.last) < believe && !w.last.IsZero()
	switch {
	case recent && w.failed == 0:
		return distrib.Up, ""
	case recent && w.failed >= downAfter, recent && w.refused && w.failed >= suspectAfter:
		return distrib.Down, "requests to it fail"
	case w.gone != "":
		return distrib.Down, w.gone
	case recent && w.failed >= suspectAfter:
		return distrib.Suspect, "requests to it fail"
	}
	return distrib.Up, ""
}

// opinions are a node's of all others.
type opinions struct {
	self     uint64
	onChange func(node uint64, l distrib.Liveness)

	mu    sync.Mutex // guards nodes
	nodes map[uint64]*witness
}

func newOpinions(self uint64, onChange func(uint64, distrib.Liveness)) *opinions {
	return &opinions{self: self, onChange: onChange, nodes: map[uint64]*witness{}}
}

// change lets f change what is known of a node, and tells if that changes the opinion.
func (o *opinions) change(node uint64, now time.Time, f func(w *witness)) {
	if node == o.self {
		return
	}
	o.mu.Lock()
	w := o.nodes[node]
	if w == nil {
		w = &witness{Member: Member{Node: node, Opinion: Opinion{Since: now}}}
		o.nodes[node] = w
	}
	f(w)
	changed, l := w.settle(now), w.Liveness
	o.mu.Unlock()
	o.tell(changed, node, l)
}

func (o *opinions) tell(changed bool, node uint64, l distrib.Liveness) {
	if changed && o.onChange != nil {
		o.onChange(node, l)
	}
}

func (w *witness) settle(now time.Time) (changed bool) {
	l, reason := w.judge(now)
	if changed = l != w.Liveness; changed {
		w.Since = now
	}
	w.Liveness, w.Reason = l, reason
	return changed
}

// heard takes that memberlist found a node, or what it says of itself anew.
func (o *opinions) heard(m Member, now time.Time) {
	o.change(m.Node, now, func(w *witness) {
		if w.gone != "" || w.Name == "" {
			w.failed, w.last = 0, time.Time{} // it has come: failures of before say nothing
		}
		w.Name, w.Addr, w.State, w.gone = m.Name, m.Addr, m.State, ""
	})
}

// gone takes that memberlist has lost a node.
func (o *opinions) gone(node uint64, reason string, now time.Time) {
	o.change(node, now, func(w *witness) { w.gone = reason })
}

// observe takes what became of a request.
func (o *opinions) observe(node uint64, err error, now time.Time) {
	if errors.Is(err, distrib.ErrOverloaded) {
		err = nil // it answered
	}
	o.mu.Lock()
	if w := o.nodes[node]; err == nil && w != nil && w.failed == 0 && w.Liveness == distrib.Up {
		w.last = now
		o.mu.Unlock()
		return
	}
	o.mu.Unlock()
	o.change(node, now, func(w *witness) {
		w.last = now
		if err == nil {
			w.failed = 0
			return
		}
		refused := errors.Is(err, distrib.ErrRefused)
		w.refused = refused && (w.refused || w.failed == 0)
		w.failed++
	})
}

// of is the opinion of a node as of now: failures fade, and the probes are believed again.
func (o *opinions) of(node uint64) Opinion {
	if node == o.self {
		return Opinion{Liveness: distrib.Up}
	}
	o.mu.Lock()
	w := o.nodes[node]
	if w == nil {
		o.mu.Unlock()
		return Opinion{Liveness: distrib.Up} // a request will tell
	}
	changed, now := w.settle(time.Now()), w.Opinion
	o.mu.Unlock()
	o.tell(changed, node, now.Liveness)
	return now
}

func (o *opinions) members() (list []Member) {
	o.mu.Lock()
	for _, w := range o.nodes {
		list = append(list, w.Member)
	}
	o.mu.Unlock()
	for i := range list {
		list[i].Opinion = o.of(list[i].Node)
	}
	return list
}

// forget drops nodes that are gone and that memberlist has lost, or never found.
func (o *opinions) forget(gone func(node uint64) bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for id, w := range o.nodes {
		if gone(id) && (w.gone != "" || w.Name == "") {
			delete(o.nodes, id)
		}
	}
}
