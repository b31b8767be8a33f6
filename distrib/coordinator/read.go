package coordinator

import (
	"slices"

	"github.com/cambiumdb/cambium/distrib"
	"github.com/cambiumdb/cambium/distrib/vclock"
)

// Ask is a read request to be made now: for the record, or for its dots alone.
type Ask struct {
	To, For uint64
	Digest  bool
}

// read decides whom a read asks, and when it has ended: one node for the record and others for what versions
// they hold; where these differ, those that hold something else for their records too.
//
// Like write it is a value that steps from event to event.
type read struct {
	need   int
	seats  []readSeat
	spare  spares
	record distrib.Record // of all records that came
}

// readSeat is a seat and what is known of it.
type readSeat struct {
	seat
	full bool         // the record was asked for, or came, and not the dots alone
	dots []vclock.Dot // what it holds, once it is stored
}

// newRead is a read of which need of a key's owners, or of others in their place, must answer.
func newRead(k *keyNodes, need int) *read {
	r := &read{need: need, seats: make([]readSeat, len(k.owners)), spare: k.spares}
	for i, n := range k.owners {
		r.seats[i].seat = seat{owner: n.Node, at: n.Node}
		if i >= k.reachable {
			r.seats[i].state = vacant
		}
	}
	return r
}

// start returns the first requests: as many as must answer.
func (r *read) start() []Ask { return r.refill() }

// refill asks more nodes until as many as must answer have answered or may, unless too few are left. The record is
// asked of one.
func (r *read) refill() (asks []Ask) {
	if r.reach() < r.need {
		return nil
	}
	for r.count(asked)+r.count(stored) < r.need {
		full := !slices.ContainsFunc(r.seats, func(s readSeat) bool { return s.full && (s.state == asked || s.state == stored) })
		ask, ok := r.askNext(full)
		if !ok {
			return asks
		}
		asks = append(asks, ask)
	}
	return asks
}

func (r *read) askNext(full bool) (Ask, bool) {
	for i := range r.seats {
		if s := &r.seats[i]; s.state == free {
			s.state, s.at, s.full = asked, s.owner, full
			return Ask{To: s.at, Digest: !full}, true
		}
	}
	for i := range r.seats {
		if s := &r.seats[i]; s.state == vacant {
			other, ok := r.spare.take()
			if !ok {
				break
			}
			s.state, s.at, s.full = asked, other, full
			return Ask{To: s.at, For: s.owner, Digest: !full}, true
		}
	}
	return Ask{}, false
}

// reach is how many nodes may come to answer.
func (r *read) reach() int {
	n := r.count(free) + r.count(asked) + r.count(stored)
	if empty := r.count(vacant); n < r.need && empty > 0 {
		n += min(empty, len(r.spare.left()))
	}
	return n
}

func (r *read) count(state seatState) (n int) {
	for _, s := range r.seats {
		if s.state == state {
			n++
		}
	}
	return n
}

// answer takes what a node said, nil for nothing, and returns what is to be asked now.
func (r *read) answer(node uint64, reply *distrib.ReadReply) []Ask {
	i := slices.IndexFunc(r.seats, func(s readSeat) bool { return s.at == node && s.state == asked })
	if i < 0 {
		return nil
	}
	s := &r.seats[i]
	if reply == nil {
		s.state, s.full = vacant, false
		return r.refill()
	}
	s.state = stored
	if s.full {
		s.dots = vclock.Dots(reply.Record)
		r.record = vclock.Merge(r.record, reply.Record)
	} else {
		s.dots = reply.Dots
	}
	if r.count(stored) < r.need {
		return r.refill()
	}
	return r.differing()
}

// differing asks those for their records who hold a version that is not among those that came, unless it was
// overwritten by one of these.
func (r *read) differing() (asks []Ask) {
	seen := vclock.Context(r.record)
	for i := range r.seats {
		s := &r.seats[i]
		if s.state != stored || s.full || !slices.ContainsFunc(s.dots, func(d vclock.Dot) bool { return !seen.Contains(d) }) {
			continue
		}
		s.state, s.full = asked, true
		asks = append(asks, Ask{To: s.at, For: s.place().For})
	}
	return asks
}

// outcome is OK once enough have answered and all that they hold is there; Failed where that cannot be any
// more. A read changes nothing, so it is never Unknown.
func (r *read) outcome() Outcome {
	switch {
	case r.reach() < r.need:
		return Failed
	case r.count(asked) > 0:
		return Pending
	case r.count(stored) >= r.need:
		return OK
	}
	return Failed
}

// stale are the nodes that answered and do not hold all of the record: what they must get is the record.
func (r *read) stale() (list []Place) {
	dots := vclock.Dots(r.record)
	for _, s := range r.seats {
		if s.state == stored && !slices.Equal(s.dots, dots) {
			list = append(list, s.place())
		}
	}
	return list
}

// answered are the nodes that answered.
func (r *read) answered() (list []Place) {
	for _, s := range r.seats {
		if s.state == stored {
			list = append(list, s.place())
		}
	}
	return list
}
