package ring

import (
	"iter"
	"slices"
)

// View is where keys lie at one epoch, also while their owners change. Then a key has two ends, its owners before
// and after: reads ask one of them, and a write counts where W of each have it, so whichever end is asked by R of
// its owners knows of it.
//
//	v := ring.Steady(r)                                // nothing changes
//	v := ring.Changing(epoch, old, next, false)        // writes go to both ends, reads to the old one
//	list := v.Seats(token)
//
// A View never changes and may be used by any number of goroutines.
type View struct {
	epoch     uint64
	old, next *Ring // the same where nothing changes
	readNext  bool
}

// Ends says to which ends of a key a node belongs.
type Ends uint8

// The ends. Where nothing changes there is but the old one.
const (
	OldEnd Ends = 1 << iota
	NewEnd
	BothEnds = OldEnd | NewEnd
)

// Seat is an owner of a key and the ends that he belongs to.
type Seat struct {
	Node uint64
	Ends Ends
}

// Steady is the view of a ring of which nothing changes.
func Steady(r *Ring) *View { return &View{epoch: r.Epoch(), old: r, next: r} }

// Changing is the view of a ring on its way from old to next. readNext says that reads ask the owners in next.
func Changing(epoch uint64, old, next *Ring, readNext bool) *View {
	return &View{epoch: epoch, old: old, next: next, readNext: readNext}
}

// Epoch is that of the topology of which it is the view.
func (v *View) Epoch() uint64 { return v.epoch }

// Steady reports whether nothing changes.
func (v *View) Steady() bool { return v.old == v.next }

// Reads is the ring of those that reads ask.
func (v *View) Reads() *Ring {
	if v.readNext {
		return v.next
	}
	return v.old
}

// other is the ring that reads do not ask.
func (v *View) other() *Ring {
	if v.readNext {
		return v.old
	}
	return v.next
}

// AppendSeats appends the owners of t to seats and returns it: those that reads ask, in the order of their
// preference list, then the others.
func (v *View) AppendSeats(seats []Seat, t Token) []Seat {
	start, first, second := len(seats), OldEnd, NewEnd
	if v.readNext {
		first, second = NewEnd, OldEnd
	}
	reads := v.Reads()
	for _, i := range reads.Replicas(t) {
		seats = append(seats, Seat{Node: reads.nodes[i].ID, Ends: first})
	}
	if v.Steady() {
		return seats
	}
	other := v.other()
	for _, i := range other.Replicas(t) {
		id := other.nodes[i].ID
		if k := slices.IndexFunc(seats[start:], func(s Seat) bool { return s.Node == id }); k >= 0 {
			seats[start+k].Ends = BothEnds
		} else {
			seats = append(seats, Seat{Node: id, Ends: second})
		}
	}
	return seats
}

// Seats returns the owners of t as AppendSeats does.
func (v *View) Seats(t Token) []Seat { return v.AppendSeats(nil, t) }

// Fallbacks yields who may stand in for an owner of t, nearest first: nodes that own it at neither end and are in
// both rings. One that leaves would have to hand over what it keeps for others before it may.
func (v *View) Fallbacks(t Token) iter.Seq[uint64] {
	reads, other := v.Reads(), v.other()
	return func(yield func(uint64) bool) {
		for i := range reads.Fallbacks(t) {
			id := reads.nodes[i].ID
			if !v.Steady() && (!other.has(id) || slices.Contains(other.ids(t), id)) {
				continue
			}
			if !yield(id) {
				return
			}
		}
	}
}

// has reports whether the node of that id is in the ring.
func (r *Ring) has(id uint64) bool {
	return slices.ContainsFunc(r.nodes, func(n Node) bool { return n.ID == id })
}
