package coordinator

import (
	"github.com/cambiumdb/cambium/distrib"
	"github.com/cambiumdb/cambium/distrib/ring"
)

// keyNodes are the nodes of a key in the order in which they are asked.
type keyNodes struct {
	// owners are this node, those that are up, suspects, and those that are down, which are not asked: reachable is how
	// many are not.
	owners    []ring.Seat
	reachable int
	spares    spares
}

// counts are numbers of owners at the old and at the new end of a key.
type counts [2]int

func (n *counts) add(e ring.Ends) {
	if e&ring.OldEnd != 0 {
		n[0]++
	}
	if e&ring.NewEnd != 0 {
		n[1]++
	}
}

// reaches reports whether there are as many as need says, at both ends.
func (n counts) reaches(need counts) bool { return n[0] >= need[0] && n[1] >= need[1] }

// lacking is how many are missing at either end.
func (n counts) lacking(need counts) (old, next int) {
	return max(0, need[0]-n[0]), max(0, need[1]-n[1])
}

// count is how many owners there are at each end.
func (k *keyNodes) count() (n counts) {
	for _, s := range k.owners {
		n.add(s.Ends)
	}
	return n
}

// spares are the nodes that may stand in for owners. They are looked for when the first is needed.
type spares struct {
	find func() []uint64 // nil: it was called, or there are none
	list []uint64
}

// maxSpares is how many there are at most for each owner: more hardly help.
const maxSpares = 2

// left are those that were not taken yet, the best first.
func (s *spares) left() []uint64 {
	if s.find != nil {
		s.list, s.find = s.find(), nil
	}
	return s.list
}

// take removes the best.
func (s *spares) take() (node uint64, ok bool) {
	list := s.left()
	if len(list) == 0 {
		return 0, false
	}
	s.list = list[1:]
	return list[0], true
}

// writersOf finds the nodes that a write to a token goes to. Without strict others may stand in.
func (c *Coordinator) writersOf(v *ring.View, token ring.Token, strict bool) *keyNodes {
	k := &keyNodes{owners: v.AppendSeats(make([]ring.Seat, 0, ring.DefaultReplicas), token)}
	k.reachable = c.byLiveness(k.owners)
	if !strict {
		k.spares.find = func() []uint64 { return c.fallbacks(v, token, maxSpares*len(k.owners)) }
	}
	return k
}

// readersOf finds the nodes that a read of a token asks: one end of it.
func (c *Coordinator) readersOf(v *ring.View, token ring.Token, strict bool) *keyNodes {
	r := v.Reads()
	list := r.Replicas(token)
	k := &keyNodes{owners: make([]ring.Seat, 0, len(list))}
	for _, i := range list {
		k.owners = append(k.owners, ring.Seat{Node: r.Node(i).ID, Ends: ring.OldEnd})
	}
	k.reachable = c.byLiveness(k.owners)
	if !strict {
		k.spares.find = func() []uint64 { return c.fallbacks(v, token, maxSpares*len(k.owners)) }
	}
	return k
}

// liveness is what this node thinks of another; itself is up.
func (c *Coordinator) liveness(id uint64) distrib.Liveness {
	if id == c.opts.Self {
		return distrib.Up
	}
	return c.opts.Liveness(id)
}

// byLiveness puts this node first, then those that are up, suspects, and those that are down. It returns how many
// are not.
func (c *Coordinator) byLiveness(nodes []ring.Seat) (reachable int) {
	var ranks [2 * ring.MaxReplicas]int // asked once: an opinion may change meanwhile
	for i, s := range nodes {
		rank, at := int(c.liveness(s.Node)), i
		if s.Node == c.opts.Self {
			rank = -1
		}
		if rank < int(distrib.Down) {
			reachable++
		}
		for ; at > 0 && ranks[at-1] > rank; at-- {
			nodes[at], ranks[at] = nodes[at-1], ranks[at-1]
		}
		nodes[at], ranks[at] = s, rank
	}
	return reachable
}

// fallbacks are the first nodes that stand in for owners of a token and are not down, suspects last.
func (c *Coordinator) fallbacks(v *ring.View, token ring.Token, enough int) []uint64 {
	var up, suspects []uint64
	for id := range v.Fallbacks(token) {
		switch c.liveness(id) {
		case distrib.Up:
			up = append(up, id)
		case distrib.Suspect:
			suspects = append(suspects, id)
		}
		if len(up) == enough {
			break
		}
	}
	return append(up, suspects...)[:min(enough, len(up)+len(suspects))]
}
