package coordinator

import (
	"slices"

	"github.com/cambiumdb/cambium/distrib"
	"github.com/cambiumdb/cambium/distrib/vclock"
	"github.com/cambiumdb/cambium/internal/bugs"
)

// Ask is a read request to be made now: for the record, or for its dots alone. Try is as in Send.
type Ask struct {
	Try int
	Place
	Digest bool
}

// read decides whom a read asks, and when it has ended: one node for the record and others for what versions
// they hold; where these differ, those that hold something else for their records too. Who is slow is waited for no
// longer than another that is asked in its place.
//
// Like write it is a value that steps from event to event.
type read struct {
	seats
	record   distrib.Record // of all records that came
	holds    []holding      // of each try
	complete bool
	linear   bool // a node has said that the key's register holds it
}

// holding is what is known of what a node holds.
type holding struct {
	full bool         // the record was asked for, or came, and not the dots alone
	dots []vclock.Dot // once it has answered
}

// newRead is a read of which need of a key's owners, or of others in their place, must answer.
func newRead(k *keyNodes, need int) read { return read{seats: newSeats(k, counts{need})} }

// start returns the first requests: as many as must answer.
func (r *read) start() []Ask { return r.refill() }

// answer takes what a node said, nil for nothing, and returns what is to be asked now.
func (r *read) answer(i int, reply *distrib.ReadReply) []Ask {
	t, h := &r.tries[i], &r.holds[i]
	if !t.state.open() || r.complete {
		return nil
	}
	if reply == nil || !says(t.at, reply) {
		t.state, h.full = failed, false
		return r.next()
	}
	t.state, h.dots = done, reply.Dots
	r.linear = r.linear || reply.Linearizable
	if h.full {
		h.dots = vclock.Dots(reply.Record)
		r.record = vclock.Merge(r.record, reply.Record)
	}
	return r.next()
}

// says reports whether an answer is one. Who stands in for an owner and keeps nothing of a key knows nothing of it: that it is
// not found must not rest on him.
func says(at Place, reply *distrib.ReadReply) bool {
	return at.For == 0 || bugs.On(bugs.StandInCounts) || len(reply.Dots) > 0 || len(reply.Record) > 0
}

// slow takes that a request has not been answered for some time: another node is asked as well.
func (r *read) slow(i int) []Ask {
	if r.tries[i].state != asked || r.complete {
		return nil
	}
	r.tries[i].state = slow
	return r.next()
}

// probed takes whether a node answered that is thought to be down.
func (r *read) probed(node uint64, up bool) []Ask {
	if r.seats.probed(node, up); !up || r.complete {
		return nil
	}
	return r.next()
}

// next asks more nodes until enough have answered and all that these hold is there.
func (r *read) next() []Ask {
	if !r.count(filled).reaches(r.need) {
		return r.refill()
	}
	asks := r.differing()
	r.complete = len(asks) == 0
	return asks
}

// refill asks more nodes until as many as must answer have answered or may soon, unless too few are left. The record
// is asked of one.
func (r *read) refill() (asks []Ask) {
	if !r.possible() {
		return nil
	}
	if r.holds == nil {
		r.holds = make([]holding, 0, r.need[0]+1)
	}
	for r.count(pending)[0]+r.count(filled)[0] < r.need[0] {
		full := true
		for i, t := range r.tries {
			full = full && !(r.holds[i].full && (t.state == asked || t.state == done))
		}
		seat, at, ok := r.another()
		if !ok {
			return asks
		}
		r.holds = append(r.holds, holding{full: full})
		asks = append(asks, Ask{r.ask(seat, at, Merge), at, !full})
	}
	return asks
}

// another is whom to ask next: an owner, or who stands in for one.
func (r *read) another() (seat int, at Place, ok bool) {
	for seat := range r.owners {
		if r.state(seat) == free {
			return seat, r.owner(seat), true
		}
	}
	for seat := range r.owners {
		if r.state(seat) == vacant {
			at, ok = r.other(seat)
			return seat, at, ok
		}
	}
	return 0, Place{}, false
}

// differing asks those for their records who hold a version that is not among those that came, unless it was
// overwritten by one of these.
func (r *read) differing() (asks []Ask) {
	same := true // as mostly
	for i, t := range r.tries {
		same = same && (t.state != done || sameDots(r.holds[i].dots, r.record))
	}
	if same || bugs.On(bugs.DigestsIgnored) {
		return nil
	}
	for i := range r.tries {
		t, h := &r.tries[i], &r.holds[i]
		if t.state != done || h.full || !slices.ContainsFunc(h.dots, func(d vclock.Dot) bool { return !vclock.Sees(r.record, d) }) {
			continue
		}
		t.state, h.full = asked, true
		asks = append(asks, Ask{i, t.at, false})
	}
	return asks
}

// sameDots reports whether dots are those of a record.
func sameDots(dots []vclock.Dot, r distrib.Record) bool {
	return slices.EqualFunc(dots, r, func(d vclock.Dot, s distrib.Sibling) bool { return d == s.Dot })
}

// outcome is OK once enough have answered and all that they hold is there; Failed where that cannot be any
// more. A read changes nothing, so it is never Unknown.
func (r *read) outcome() Outcome {
	switch {
	case r.complete:
		return OK
	case r.possible() && r.waited(), r.probing > 0:
		return Pending
	}
	return Failed
}

// stale are the nodes that answered and do not hold all of the record: what they must get is the record.
func (r *read) stale() (list []Place) {
	for i, t := range r.tries {
		if t.state == done && !sameDots(r.holds[i].dots, r.record) {
			list = append(list, t.at)
		}
	}
	return list
}
