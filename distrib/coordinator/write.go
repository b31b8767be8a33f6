package coordinator

import (
	"slices"

	"github.com/cambiumdb/cambium/internal/bugs"
)

// Outcome is what is known of an operation that has ended.
type Outcome uint8

// The outcomes.
const (
	Pending Outcome = iota // not one: it goes on
	OK
	Failed  // nothing happened
	Unknown // it may have happened, or may still
)

// String returns the outcome's name.
func (o Outcome) String() string {
	return [...]string{"PENDING", "OK", "FAILED", "UNKNOWN"}[o]
}

// answer is what became of a request to a node.
type answer uint8

const (
	did        answer = iota
	refused           // nothing happened there
	lost              // no answer: it may have happened, or may still
	tooMany           // nothing happened there, and must not elsewhere: the key has too many siblings
	inRegister        // nothing happened there: the key is linearizable
)

// Place is a node that did what it was asked, for itself or, where For is not 0, in the place of another.
type Place struct{ Node, For uint64 }

// Send is a request to be made now, to a node that keeps what it stores for another where For is not 0. Try names it
// where its answer is told.
type Send struct {
	Try int
	Place
	Kind    Kind
	Retried bool // as in distrib.PutRequest, of a First
}

// write decides whom a write goes to, and when it has ended. First one node stores it and gives it its dot;
// then all others merge that. Who does not do it, or is slow, is replaced by the next fallback, unless the write is
// strict; where none is left, a node that has stored the write keeps it for the owner, so that he gets it when he is
// back. While the owners change, it goes to both ends of the key and is good when enough of each have it: an owner that
// is in both counts at both. A slow node's answer still counts. Where it is that of a first one, the write has two dots: all nodes are given
// the one that stands. Where one says that the key is linearizable before any has stored the write, its register is to carry it out.
//
// It is a value that steps from event to event: no clock, no goroutine, no I/O.
type write struct {
	seats
	first bool // some node has stored it
	// stray is that a node was asked to store it first and its answer is lost: it may hold the write under a dot of
	// its own, of which no other node hears.
	stray bool
	// retried is that it was or may have been tried at more than one node, in this operation or before: it may have two
	// dots, and all that is stored of it says so.
	retried bool
	denied  bool // the key has too many siblings
	linear  bool // the key's register is to carry it out
	differ  bool // a node holds another dot of it than the others, and could not be told
}

// newWrite is a write to the owners of a key that is good when need of them, or of others in their place, have
// stored it. retried: it may have been tried before.
func newWrite(k *keyNodes, need counts, retried bool) write {
	return write{seats: newSeats(k, need), retried: retried}
}

// start returns the first request.
func (w *write) start() []Send { return w.findFirst() }

// answer takes what became of a request, and returns what is to be sent now.
func (w *write) answer(i int, a answer) []Send {
	t := &w.tries[i]
	before := t.state
	if !before.open() {
		return nil
	}
	if a == did {
		t.state = done
		if t.kind != First {
			return nil
		}
		return w.begun()
	}
	t.state = failed
	switch {
	case t.kind == Mend:
		w.differ = true
	case t.kind == First:
		t.lost = a == lost
		w.stray = w.stray || t.lost
		w.denied = w.denied || a == tooMany && !w.first
		w.linear = w.linear || a == inRegister && !w.first
	}
	if before != asked {
		return nil
	}
	return w.replace(*t)
}

// stored takes that a node has stored the write first and given it its dot, though it may forget that in a crash yet:
// the others get it meanwhile. Its answer is still to come, and means what that of the others does.
func (w *write) stored(i int) []Send {
	t := &w.tries[i]
	t.kind, t.stored = Merge, true
	return w.begun()
}

// slow takes that a request has not been answered for some time: another node is asked as well.
func (w *write) slow(i int) []Send {
	if w.tries[i].state != asked {
		return nil
	}
	w.tries[i].state = slow
	return w.replace(w.tries[i])
}

// expire takes that the answer to a request is not to be waited for any more.
func (w *write) expire(i int) []Send {
	sends := w.slow(i)
	if t := &w.tries[i]; t.state.open() {
		t.state = late
	}
	return sends
}

// doubt is that of the seats. Where the key has too many siblings it is not for want of nodes.
func (w *write) doubt(o Outcome) (nodes []uint64) {
	if w.denied && !w.first {
		return nil
	}
	return w.seats.doubt(o)
}

// probed takes whether a node answered that is thought to be down.
func (w *write) probed(node uint64, up bool) []Send {
	seat := w.seats.probed(node, up)
	switch {
	case !up:
	case !w.first && !w.waited():
		return w.findFirst()
	case w.first && w.state(seat) == free:
		return []Send{w.send(seat, w.owner(seat), Merge)}
	}
	return nil
}

// mend takes that a node has stored the write first, and another had done so before or may. The dot of one of them
// stands, and that it was retried is to be known: own says that the node must learn it, others that all others must.
func (w *write) mend(i int, own, others bool) (sends []Send) {
	for j := range w.tries {
		t := w.tries[j]
		if t.kind == Mend || t.state == failed || j == i && !own || j != i && !others {
			continue
		}
		sends = append(sends, w.send(t.seat, t.at, Mend))
	}
	return sends
}

// begun takes that a node has stored the write. Now it has a dot. Who may have given it another one hears of that at once, by a Mend: until then
// he may show his to readers, and what they write would remember the operation as one that was not retried.
func (w *write) begun() []Send {
	switch {
	case w.first:
		return nil
	case w.linear: // the register knows it by its operation, or hears of it as of a stray
		w.stray = true
		return nil
	}
	w.first, w.retried = true, w.retried || w.strays()
	sends := w.spread()
	for _, t := range w.tries {
		if t.kind == First && (t.state.open() || t.lost) {
			sends = append(sends, w.send(t.seat, t.at, Mend))
		}
	}
	return sends
}

// spread sends the write to all seats that do not have it, once one has.
func (w *write) spread() (sends []Send) {
	for seat := range w.owners {
		switch w.state(seat) {
		case free:
			sends = append(sends, w.send(seat, w.owner(seat), Merge))
		case vacant:
			sends = append(sends, w.standIn(seat)...)
		}
	}
	return sends
}

func (w *write) send(seat int, at Place, kind Kind) Send {
	if kind == First {
		w.retried = w.retried || w.strays()
	}
	return Send{w.ask(seat, at, kind), at, kind, kind == First && w.retried}
}

// replace asks another node in the place of one that did not do what it was asked.
func (w *write) replace(t try) []Send {
	switch {
	case !t.kind.counts():
		return nil
	case !w.first:
		return w.findFirst()
	case w.state(t.seat) == vacant:
		return w.standIn(t.seat)
	}
	return nil
}

// findFirst asks the next node to store the write first: an owner as long as there is one that was not asked,
// then who stands in for one. Where too few are left it asks nobody: a copy would only make the outcome unknown.
func (w *write) findFirst() []Send {
	if w.denied || w.linear || !w.possible() {
		return nil
	}
	for seat := range w.owners {
		if w.state(seat) == free {
			return []Send{w.send(seat, w.owner(seat), First)}
		}
	}
	for seat := range w.owners {
		if w.state(seat) == vacant {
			if at, ok := w.other(seat); ok {
				return []Send{w.send(seat, at, First)}
			}
		}
	}
	return nil
}

// standIn asks the next fallback to fill a seat, or else a node that has stored the write to keep it for the owner.
func (w *write) standIn(seat int) []Send {
	if at, ok := w.other(seat); ok {
		return []Send{w.send(seat, at, Merge)}
	}
	i := slices.IndexFunc(w.tries, func(t try) bool {
		return t.kind.counts() && (t.state == done || t.stored && t.state.open())
	})
	if i < 0 || slices.ContainsFunc(w.tries, func(t try) bool { return t.seat == seat && t.kind == Keep }) {
		return nil
	}
	return []Send{w.send(seat, Place{Node: w.tries[i].at.Node, For: w.owners[seat].Node}, Keep)}
}

// outcome is what is known now. Requests may still be on their way. Of a write that is linear the register says it.
func (w *write) outcome() Outcome {
	switch {
	case w.linear:
		return Pending
	case w.count(filled).reaches(w.need):
		return OK
	case w.possible() && w.waited(), w.probing > 0:
		return Pending
	}
	return w.without()
}

// without is the outcome of a write that is not OK.
func (w *write) without() Outcome {
	if w.first || w.strays() && !bugs.On(bugs.StraysForgotten) {
		return Unknown
	}
	return Failed
}

// strays reports whether a node may hold the write under a dot that is not known.
func (w *write) strays() bool {
	return w.stray || slices.ContainsFunc(w.tries, func(t try) bool { return t.kind == First && t.state.open() })
}

// finished reports whether every owner has it or gets it, under one dot, and nobody else does, or certainly nobody.
func (w *write) finished() bool {
	if w.strays() || w.differ {
		return false
	}
	for seat := range w.owners {
		kept := slices.ContainsFunc(w.tries, func(t try) bool { return t.seat == seat && t.kind == Keep && t.state == done })
		if w.first && w.state(seat) != filled && !kept {
			return false
		}
	}
	return true
}
