package coordinator

import (
	"github.com/cambiumdb/cambium/distrib"
	"github.com/cambiumdb/cambium/distrib/ring"
)

// keyNodes are the nodes of a key in the order in which they are asked.
type keyNodes struct {
	// owners are the preference list: this node, those that are up, suspects, and those that are down, which are
	// not asked: reachable is how many are not.
	owners    []uint64
	reachable int
	spares    spares
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

// nodesOf finds the nodes of a token. Without strict others may stand in.
func (c *Coordinator) nodesOf(r *ring.Ring, token ring.Token, strict bool) *keyNodes {
	k := &keyNodes{}
	for _, i := range r.Replicas(token) {
		k.owners = append(k.owners, r.Node(i).ID)
	}
	k.reachable = c.byLiveness(k.owners)
	if !strict {
		k.spares.find = func() []uint64 { return c.fallbacks(r, token, maxSpares*len(k.owners)) }
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
func (c *Coordinator) byLiveness(nodes []uint64) (reachable int) {
	var ranks [ring.MaxReplicas]int // asked once: an opinion may change meanwhile
	for i, id := range nodes {
		rank, at := int(c.liveness(id)), i
		if id == c.opts.Self {
			rank = -1
		}
		if rank < int(distrib.Down) {
			reachable++
		}
		for ; at > 0 && ranks[at-1] > rank; at-- {
			nodes[at], ranks[at] = nodes[at-1], ranks[at-1]
		}
		nodes[at], ranks[at] = id, rank
	}
	return reachable
}

// fallbacks are the first nodes that stand in for owners of a token and are not down, suspects last.
func (c *Coordinator) fallbacks(r *ring.Ring, token ring.Token, enough int) []uint64 {
	var up, suspects []uint64
	for i := range r.Fallbacks(token) {
		id := r.Node(i).ID
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
