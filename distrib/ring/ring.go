// Package ring places keys on nodes: a consistent-hash ring of 128 bits with virtual nodes (Karger et al.,
// STOC 1997; DeCandia et al., "Dynamo", SOSP 2007, section 4.2).
//
//	r, err := ring.New(ring.Options{Epoch: 7, Replicas: 3}, nodes)
//	t := ring.TokenOf(key)
//	for _, i := range r.Replicas(t) { send(r.Node(i), key) } // the preference list
//	for i := range r.Fallbacks(t) { ... }                    // who stands in, nearest first
//	moves := ring.Moves(r, next)                             // what a change of nodes makes move
//
// # Placement
//
// A node has some 160 tokens, scaled by its weight: the MD5s of "NAME#0", "NAME#1" and so on. The token of
// a key belongs to the node whose token comes next clockwise. The preference list of a key is the first
// distinct nodes from there on, each in a zone of its own as long as there are zones left; a node without a zone is
// a zone of its own. So a ring is a function of the names, zones and weights of its nodes, and two rings
// of the same nodes are the same.
//
// A Ring never changes and may be used by any number of goroutines.
package ring

import (
	"cmp"
	"fmt"
	"iter"
	"math"
	"math/bits"
	"slices"
	"strconv"
)

// Limits of what New takes.
const (
	DefaultReplicas = 3
	MaxReplicas     = 16
	DefaultVNodes   = 160
	MinVNodes       = 150
	MaxVNodes       = 200
	MaxNodes        = 10_000
	MinWeight       = 1.0 / 16
	MaxWeight       = 16
)

// Node is a member of the ring.
type Node struct {
	ID     uint64  // never given to another node
	Name   string  // not empty, unique
	Zone   string  // where it fails together with others; empty: alone
	Weight float64 // how much it holds beside others, MinWeight to MaxWeight; 0 is 1
}

func (n Node) weight() float64 {
	if n.Weight == 0 {
		return 1
	}
	return n.Weight
}

// Options of a ring. The zero value is a ring of epoch 0 with three replicas.
type Options struct {
	Epoch    uint64 // grows with each change of the ring
	Replicas int    // length of preference lists, 1 to MaxReplicas; 0 is DefaultReplicas
	VNodes   int    // virtual nodes of a node of weight 1, MinVNodes to MaxVNodes; 0 is DefaultVNodes
}

// Ring is an immutable ring.
type Ring struct {
	opts  Options
	nodes []Node // by name

	tokens []Token // ascending
	owner  []int32 // of each token, an index of nodes
	// lists holds the preference list of each token, depth indexes each.
	lists []int32
	depth int
	zones int
	// first[b] is the first token of which the top bits are b or more.
	first []int32
	shift uint
}

// New makes a ring of nodes. Errors name the node, the field and the limit.
func New(opts Options, nodes []Node) (*Ring, error) {
	opts.Replicas, opts.VNodes = cmp.Or(opts.Replicas, DefaultReplicas), cmp.Or(opts.VNodes, DefaultVNodes)
	switch {
	case opts.Replicas < 1 || opts.Replicas > MaxReplicas:
		return nil, fmt.Errorf("ring: %d replicas, want 1 to %d", opts.Replicas, MaxReplicas)
	case opts.VNodes < MinVNodes || opts.VNodes > MaxVNodes:
		return nil, fmt.Errorf("ring: %d virtual nodes, want %d to %d", opts.VNodes, MinVNodes, MaxVNodes)
	case len(nodes) == 0 || len(nodes) > MaxNodes:
		return nil, fmt.Errorf("ring: %d nodes, want 1 to %d", len(nodes), MaxNodes)
	}
	r := &Ring{opts: opts, nodes: slices.Clone(nodes)}
	slices.SortFunc(r.nodes, func(a, b Node) int { return cmp.Compare(a.Name, b.Name) })
	if err := checkNodes(r.nodes); err != nil {
		return nil, err
	}
	if err := r.place(); err != nil {
		return nil, err
	}
	r.index()
	r.makeLists()
	return r, nil
}

func checkNodes(nodes []Node) error {
	ids := make(map[uint64]string, len(nodes))
	for i, n := range nodes {
		other, taken := ids[n.ID]
		switch w := n.weight(); {
		case n.Name == "":
			return fmt.Errorf("ring: node %d has no name", n.ID)
		case i > 0 && nodes[i-1].Name == n.Name:
			return fmt.Errorf("ring: two nodes are named %q", n.Name)
		case taken:
			return fmt.Errorf("ring: nodes %q and %q have the same id %d", other, n.Name, n.ID)
		case !(w >= MinWeight && w <= MaxWeight):
			return fmt.Errorf("ring: weight %g of node %q, want %g to %d", n.Weight, n.Name, MinWeight, MaxWeight)
		}
		ids[n.ID] = n.Name
	}
	return nil
}

// vnodes is how many tokens n has.
func (r *Ring) vnodes(n Node) int { return max(1, int(math.Round(float64(r.opts.VNodes)*n.weight()))) }

// place gives each node its tokens.
func (r *Ring) place() error {
	type vnode struct {
		token Token
		owner int32
	}
	var all []vnode
	for i, n := range r.nodes {
		name := []byte(n.Name + "#")
		for v := range r.vnodes(n) {
			all = append(all, vnode{TokenOf(strconv.AppendInt(name, int64(v), 10)), int32(i)})
		}
	}
	slices.SortFunc(all, func(a, b vnode) int { return a.token.Compare(b.token) })
	r.tokens, r.owner = make([]Token, len(all)), make([]int32, len(all))
	for i, v := range all {
		if i > 0 && v.token == all[i-1].token {
			return fmt.Errorf("ring: nodes %q and %q have the token %s both: rename one", r.nodes[all[i-1].owner].Name, r.nodes[v.owner].Name, v.token)
		}
		r.tokens[i], r.owner[i] = v.token, v.owner
	}
	return nil
}

// index divides the tokens by their top bits, so finely that few share them: tokens are evenly spread.
func (r *Ring) index() {
	width := bits.Len(uint(len(r.tokens)))
	r.shift = uint(64 - width)
	r.first = make([]int32, 1<<width+1)
	at := 0
	for b := range r.first {
		for at < len(r.tokens) && r.tokens[at].Hi>>r.shift < uint64(b) {
			at++
		}
		r.first[b] = int32(at)
	}
}

// slot is the index of the first token at or clockwise behind t.
func (r *Ring) slot(t Token) int {
	b := t.Hi >> r.shift
	i, end := int(r.first[b]), int(r.first[b+1])
	for i < end && r.tokens[i].Compare(t) < 0 {
		i++
	}
	if i == len(r.tokens) {
		return 0
	}
	return i
}

// makeLists computes the preference list of every token.
func (r *Ring) makeLists() {
	zones := map[string]bool{}
	for _, n := range r.nodes {
		if n.Zone != "" {
			zones[n.Zone] = true
		} else {
			r.zones++
		}
	}
	r.zones += len(zones)
	r.depth = min(r.opts.Replicas, len(r.nodes))
	r.lists = make([]int32, 0, r.depth*len(r.tokens))
	skipped := make([]int32, 0, r.depth)
	for slot := range r.tokens {
		start := len(r.lists)
		skipped = skipped[:0]
		for i := range r.walk(slot) {
			list := r.lists[start:]
			if len(list) == min(r.depth, r.zones) && len(list)+len(skipped) >= r.depth {
				break
			}
			switch i := int32(i); {
			case len(list) < min(r.depth, r.zones) && !r.sharesZone(list, i):
				r.lists = append(r.lists, i)
			case len(skipped) < r.depth:
				skipped = append(skipped, i)
			}
		}
		missing := r.depth - (len(r.lists) - start)
		r.lists = append(r.lists, skipped[:missing]...)
	}
}

// sharesZone reports whether node i is in the zone of one of list.
func (r *Ring) sharesZone(list []int32, i int32) bool {
	zone := r.nodes[i].Zone
	return zone != "" && slices.ContainsFunc(list, func(j int32) bool { return r.nodes[j].Zone == zone })
}

// walk yields the distinct nodes clockwise from a token on.
func (r *Ring) walk(slot int) iter.Seq[int] {
	return func(yield func(int) bool) {
		var few [32]int32 // most walks end after a few nodes
		seen := few[:0]
		var many []bool
		left := len(r.nodes)
		for range r.tokens {
			i := r.owner[slot]
			if slot++; slot == len(r.tokens) {
				slot = 0
			}
			switch {
			case many != nil && many[i] || many == nil && slices.Contains(seen, i):
				continue
			case many != nil:
				many[i] = true
			case len(seen) == cap(seen):
				many = make([]bool, len(r.nodes))
				for _, j := range seen {
					many[j] = true
				}
				many[i] = true
			default:
				seen = append(seen, i)
			}
			left--
			if !yield(int(i)) || left == 0 {
				return
			}
		}
	}
}

// Epoch is that of the options.
func (r *Ring) Epoch() uint64 { return r.opts.Epoch }

// Nodes returns all nodes, by name. The caller must not change them.
func (r *Ring) Nodes() []Node { return r.nodes }

// Node returns the node of an index, which is its place in Nodes.
func (r *Ring) Node(i int32) Node { return r.nodes[i] }

// Tokens is how many virtual nodes there are.
func (r *Ring) Tokens() int { return len(r.tokens) }

// Replicas returns the preference list of t, as indexes of nodes: as many as the options ask for, or all
// nodes where there are fewer. The caller must not change it.
func (r *Ring) Replicas(t Token) []int32 {
	at := r.slot(t) * r.depth
	return r.lists[at : at+r.depth : at+r.depth]
}

// Fallbacks yields the nodes that are not in the preference list of t, in the order in which they stand in
// for one that is: clockwise.
func (r *Ring) Fallbacks(t Token) iter.Seq[int32] {
	return func(yield func(int32) bool) {
		slot := r.slot(t)
		list := r.lists[slot*r.depth : (slot+1)*r.depth]
		for i := range r.walk(slot) {
			if !slices.Contains(list, int32(i)) && !yield(int32(i)) {
				return
			}
		}
	}
}

// Ranges yields the ranges into which the tokens divide the ring, clockwise, each with the preference list
// of its keys.
func (r *Ring) Ranges() iter.Seq2[Range, []int32] {
	return func(yield func(Range, []int32) bool) {
		after := r.tokens[len(r.tokens)-1]
		for slot, t := range r.tokens {
			if !yield(Range{after, t}, r.lists[slot*r.depth:(slot+1)*r.depth]) {
				return
			}
			after = t
		}
	}
}

// Load returns for each node the share of all replicas that it holds, of 1.
func (r *Ring) Load() []float64 {
	load := make([]float64, len(r.nodes))
	for rng, list := range r.Ranges() {
		for _, i := range list {
			load[i] += rng.Share() / float64(r.depth)
		}
	}
	return load
}
