package coordinator

import (
	"slices"

	"github.com/cambiumdb/cambium/distrib/ring"
)

// seats are the places in the preference list of a key, one for each owner, and whom was asked to fill them: the owner
// first, then others in his place. It is what a write and a read have in common.
type seats struct {
	owners    []ring.Seat
	need      counts // how many seats must be filled
	reachable int    // owners from here on are thought to be down: they are not asked
	revived   uint64 // a bit for each seat of those that have answered a probe: they are up
	doubted   bool   // whether they are down was asked
	probing   int    // probes without an answer
	spare     spares
	tries     []try
	room      [6]try // for most operations
}

// try is a node that was asked.
type try struct {
	seat  int
	at    Place
	kind  Kind
	state tryState
	// stored is that it has stored a write first, and is asked no more than the others: to make that durable.
	stored bool
	// lost is that it was to store the write first, and its answer is lost.
	lost bool
}

// Kind is what a node is asked to do.
type Kind uint8

// The kinds.
const (
	Merge Kind = iota // store what another node has stored first; of a read: say what it holds
	First             // store the write first, and give it its dot
	// Keep asks a node that has stored the write to keep it for another as well, since nobody stands in. It does
	// not count: it would be lost with the copy beside it.
	Keep
	// Mend gives a node what another has stored of the same write under another dot, so that they agree.
	Mend
)

// counts reports whether who does it fills the seat.
func (k Kind) counts() bool { return k <= First }

type tryState uint8

const (
	asked tryState = iota // its answer is waited for
	slow                  // another may have been asked in its place; its answer is waited for still
	late                  // nobody waits for its answer, which counts if it comes
	done
	failed
)

func (s tryState) open() bool { return s <= late }

type seatState uint8

const (
	free    seatState = iota // its owner was not asked yet
	pending                  // an answer is waited for
	vacant                   // who was asked did not do it, or not yet
	filled
)

func newSeats(k *keyNodes, need counts) (s seats) {
	s.owners, s.need, s.reachable, s.spare = k.owners, need, k.reachable, k.spares
	return s
}

// ask notes that a node is asked.
func (s *seats) ask(seat int, at Place, kind Kind) (index int) {
	if s.tries == nil {
		s.tries = s.room[:0]
	}
	s.tries = append(s.tries, try{seat: seat, at: at, kind: kind, state: asked})
	return len(s.tries) - 1
}

// owner is the place of a seat's owner.
func (s *seats) owner(seat int) Place { return Place{Node: s.owners[seat].Node} }

// other takes a node that may stand in for the owner of a seat.
func (s *seats) other(seat int) (at Place, ok bool) {
	node, ok := s.spare.take()
	return Place{Node: node, For: s.owners[seat].Node}, ok
}

// nodes are the owners.
func (s *seats) nodes() (list []uint64) {
	for _, o := range s.owners {
		list = append(list, o.Node)
	}
	return list
}

// isDown reports whether the owner of a seat is thought to be down.
func (s *seats) isDown(seat int) bool { return seat >= s.reachable && s.revived&(1<<seat) == 0 }

// down are the owners that are thought to be down.
func (s *seats) down() (nodes []uint64) {
	for seat, o := range s.owners {
		if s.isDown(seat) {
			nodes = append(nodes, o.Node)
		}
	}
	return nodes
}

// doubt returns the nodes that are to be probed, since the operation, which has ended so, would need them: all that are
// thought to be down, once.
func (s *seats) doubt(o Outcome) (nodes []uint64) {
	if o == Pending || o == OK || s.doubted {
		return nil
	}
	s.doubted, nodes = true, s.down()
	s.probing = len(nodes)
	return nodes
}

// probed takes what came of the probe of a node.
func (s *seats) probed(node uint64, up bool) (seat int) {
	s.probing--
	seat = slices.IndexFunc(s.owners, func(o ring.Seat) bool { return o.Node == node })
	if up {
		s.revived |= 1 << seat
	}
	return seat
}

// state is that of a seat.
func (s *seats) state(seat int) seatState {
	state := free
	if s.isDown(seat) {
		state = vacant
	}
	for i := range s.tries {
		switch t := &s.tries[i]; {
		case t.seat != seat || !t.kind.counts():
		case t.state == done:
			return filled
		case t.state == asked:
			state = pending
		case state == free:
			state = vacant
		}
	}
	return state
}

// count is how many seats are in a state.
func (s *seats) count(state seatState) (n counts) {
	for i, o := range s.owners {
		if s.state(i) == state {
			n.add(o.Ends)
		}
	}
	return n
}

// possible reports whether enough seats of each end may come to be filled.
func (s *seats) possible() bool {
	var have, empty counts
	both := 0 // of the empty seats those of both ends
	for i, o := range s.owners {
		if s.state(i) != vacant || s.has(i, slow) {
			have.add(o.Ends)
			continue
		}
		if empty.add(o.Ends); o.Ends == ring.BothEnds {
			both++
		}
	}
	old, next := have.lacking(s.need)
	if old == 0 && next == 0 {
		return true
	}
	// One who stands in for an owner of both ends counts at both.
	shared := min(both, max(old, next))
	old, next = max(0, old-shared), max(0, next-shared)
	return old <= empty[0]-both && next <= empty[1]-both && shared+old+next <= len(s.spare.left())
}

// has reports whether a node that was asked to fill a seat is in a state.
func (s *seats) has(seat int, state tryState) bool {
	return slices.ContainsFunc(s.tries, func(t try) bool { return t.seat == seat && t.state == state && t.kind.counts() })
}

// waited reports whether an answer is waited for that could fill a seat.
func (s *seats) waited() bool {
	for i := range s.tries {
		if t := &s.tries[i]; t.kind.counts() && t.state <= slow && s.state(t.seat) != filled {
			return true
		}
	}
	return false
}

// places are those that fill a seat.
func (s *seats) places() []Place {
	list := make([]Place, 0, len(s.owners))
	for seat := range s.owners {
		i := slices.IndexFunc(s.tries, func(t try) bool { return t.seat == seat && t.state == done && t.kind.counts() })
		if i >= 0 {
			list = append(list, s.tries[i].at)
		}
	}
	return list
}

// unanswered are the nodes that were asked and have not answered yet.
func (s *seats) unanswered() (list []ReplicaState) {
	for _, t := range s.tries {
		if t.state.open() && t.kind.counts() {
			list = append(list, ReplicaState{Node: t.at.Node, For: t.at.For, State: NoAnswer})
		}
	}
	return list
}
