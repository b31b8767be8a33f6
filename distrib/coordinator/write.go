package coordinator

import (
	"slices"

	"github.com/cambiumdb/cambium/distrib/ring"
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
	did     answer = iota
	refused        // nothing happened there
	lost           // no answer: it may have happened, or may still
	tooMany        // nothing happened there, and must not elsewhere: the key has too many siblings
)

// Send is a request to be made now: to node To, which keeps what it stores for node For where that is not 0.
type Send struct {
	To, For uint64
	// First asks the node to store the write first and give it its dot; else it merges what the first one
	// stored.
	First bool
	// Keep asks a node that has stored the write to keep it for another as well, since nobody stands in. It does
	// not count: it would be lost with the copy beside it.
	Keep bool
}

// seat is a place in the preference list and who sits in it.
type seat struct {
	owner uint64
	at    uint64 // who was asked last: the owner, or who stands in
	ends  ring.Ends
	state seatState
}

type seatState uint8

const (
	free    seatState = iota // its owner was not asked yet
	asked                    // a request is on its way
	vacant                   // who was asked did not do it, and nobody stands in yet
	stored                   // it is done
	given                    // nobody is left to ask
	keeping                  // a node that has stored it is asked to keep it for the owner
	kept                     // and does
)

// write decides whom a write goes to, and when it has ended. First one node stores it and gives it its dot;
// then all others merge that. Who does not answer is replaced by the next fallback, unless the write is strict;
// where none is left, a node that has stored the write keeps it for the owner, so that he gets it when he is back.
// While the owners change, it goes to both ends of the key and is good when enough of each have it: an owner that is
// in both counts at both.
//
// It is a value that steps from event to event: no clock, no goroutine, no I/O.
type write struct {
	need  counts
	seats []seat
	spare spares
	first bool   // some node has stored it
	done  counts // seats where it is stored
	// stray is that a node was asked to store it first and did not answer: it may hold the write under a dot of
	// its own, of which no other node hears.
	stray  bool
	denied bool // the key has too many siblings
}

// newWrite is a write to the owners of a key that is good when need of them, or of others in their place, have
// stored it.
func newWrite(k *keyNodes, need counts) *write {
	w := &write{need: need, seats: make([]seat, len(k.owners)), spare: k.spares}
	for i, n := range k.owners {
		w.seats[i] = seat{owner: n.Node, at: n.Node, ends: n.Ends}
		if i >= k.reachable {
			w.seats[i].state = vacant
		}
	}
	return w
}

// start returns the first request.
func (w *write) start() []Send { return w.findFirst() }

// answer takes what became of the request to node, and returns what is to be sent now.
func (w *write) answer(node uint64, a answer) []Send {
	i := slices.IndexFunc(w.seats, func(s seat) bool { return s.at == node && (s.state == asked || s.state == keeping) })
	if i < 0 {
		return nil
	}
	s := &w.seats[i]
	if s.state == keeping {
		if s.state = given; a == did {
			s.state = kept
		}
		return nil
	}
	if a != did {
		s.state = vacant
		if w.denied = w.denied || a == tooMany && !w.first; w.denied {
			return nil
		}
		if w.first {
			return w.standIn(s)
		}
		w.stray = w.stray || a == lost
		return w.findFirst()
	}
	s.state = stored
	w.done.add(s.ends)
	if w.first {
		return nil
	}
	w.first = true
	var sends []Send
	for i := range w.seats {
		switch s := &w.seats[i]; s.state {
		case free:
			s.state, s.at = asked, s.owner
			sends = append(sends, Send{To: s.owner})
		case vacant, given:
			sends = append(sends, w.standIn(s)...)
		}
	}
	return sends
}

// findFirst asks the next node to store the write first: an owner as long as there is one that was not asked,
// then who stands in for one. Where too few are left it asks nobody: a copy would only make the outcome unknown.
func (w *write) findFirst() []Send {
	if !w.possible() {
		return nil
	}
	for i := range w.seats {
		if s := &w.seats[i]; s.state == free {
			s.state, s.at = asked, s.owner
			return []Send{{To: s.owner, First: true}}
		}
	}
	for i := range w.seats {
		if s := &w.seats[i]; s.state == vacant {
			sends := w.standIn(s)
			for j := range sends {
				sends[j].First = true
			}
			return sends
		}
	}
	return nil
}

// standIn asks the next fallback to sit in s, or else a node that has stored it to keep it for the owner.
func (w *write) standIn(s *seat) []Send {
	other, ok := w.spare.take()
	if !ok {
		i := slices.IndexFunc(w.seats, func(s seat) bool { return s.state == stored })
		if s.state = given; i < 0 {
			return nil
		}
		s.state, s.at = keeping, w.seats[i].at
		return []Send{{To: s.at, For: s.owner, Keep: true}}
	}
	s.state, s.at = asked, other
	return []Send{{To: s.at, For: s.owner}}
}

// possible reports whether enough nodes of each end may come to store it.
func (w *write) possible() bool {
	var have, empty counts
	both := 0 // of the empty seats those of both ends
	for _, s := range w.seats {
		switch s.state {
		case free, asked, stored:
			have.add(s.ends)
		case vacant:
			empty.add(s.ends)
			if s.ends == ring.BothEnds {
				both++
			}
		}
	}
	old, next := have.lacking(w.need)
	if old == 0 && next == 0 {
		return true
	}
	// One who stands in for an owner of both ends counts at both.
	shared := min(both, max(old, next))
	old, next = max(0, old-shared), max(0, next-shared)
	return old <= empty[0]-both && next <= empty[1]-both && shared+old+next <= len(w.spare.left())
}

// outcome is what is known now. Requests may still be on their way when it is OK.
func (w *write) outcome() Outcome {
	switch {
	case w.done.reaches(w.need):
		return OK
	case w.open():
		return Pending
	case w.first || w.stray:
		return Unknown
	}
	return Failed
}

// open reports whether an answer may still come.
func (w *write) open() bool {
	return slices.ContainsFunc(w.seats, func(s seat) bool { return s.state == asked })
}

// Place is a node that did what it was asked, for itself or, where For is not 0, in the place of another.
type Place struct{ Node, For uint64 }

// finished reports whether every owner has it or gets it, and nobody else does, or certainly nobody.
func (w *write) finished() bool {
	left := slices.ContainsFunc(w.seats, func(s seat) bool { return s.state != stored && s.state != kept })
	return !w.stray && (!w.first || !left)
}

// places are where it is stored.
func (w *write) places() (list []Place) {
	for _, s := range w.seats {
		if s.state == stored {
			list = append(list, s.place())
		}
	}
	return list
}

func (s seat) place() Place {
	if s.at == s.owner {
		return Place{Node: s.at}
	}
	return Place{Node: s.at, For: s.owner}
}
