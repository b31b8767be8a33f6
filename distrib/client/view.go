package client

import (
	"cmp"

	"github.com/cambiumdb/cambium/distrib/api"
	"github.com/cambiumdb/cambium/distrib/ring"
)

// view is the cluster as the client knows it. It never changes.
type view struct {
	cluster string
	epoch   uint64
	members []*api.Member
	ring    *ring.Ring // nil: no node tells it, and all are asked in turn
	nodes   []*node    // as the ring's, or the endpoints
	names   map[string]string
}

// candidates fills dst with the nodes to ask for key, in this order: those that hold it, then those that stand in for
// them, each as the ring has them; but first all that seem to answer. It returns how many there are.
func (v *view) candidates(c *Client, key []byte, dst *[maxCandidates]*node) int {
	var all [maxCandidates]*node
	n := 0
	if v.ring == nil {
		for first := int(c.turn.Add(1)); n < min(len(v.nodes), maxCandidates); n++ {
			all[n] = v.nodes[(first+n)%len(v.nodes)]
		}
	} else {
		n = v.preferred(ring.TokenOf(key), &all)
	}
	var ranks [maxCandidates]int
	worst := 0
	for i, node := range all[:n] {
		ranks[i] = node.rank(key)
		worst = max(worst, ranks[i])
	}
	if worst == 0 {
		*dst = all
		return n
	}
	at := 0
	for rank := range worst + 1 {
		for i, node := range all[:n] {
			if ranks[i] == rank {
				dst[at] = node
				at++
			}
		}
	}
	return n
}

func (v *view) preferred(t ring.Token, dst *[maxCandidates]*node) (n int) {
	for _, i := range v.ring.Replicas(t) {
		if n < len(dst) {
			dst[n] = v.nodes[i]
			n++
		}
	}
	if n == len(v.nodes) {
		return n
	}
	for i := range v.ring.Fallbacks(t) {
		if n == len(dst) {
			break
		}
		dst[n] = v.nodes[i]
		n++
	}
	return n
}

// viewOf makes a view of what a node tells.
func (c *Client) viewOf(m *api.RingResponse) (*view, error) {
	nodes := make([]ring.Node, len(m.GetMembers()))
	addrs := map[string]string{}
	for i, member := range m.GetMembers() {
		nodes[i] = ring.Node{ID: member.GetId(), Name: member.GetName(), Zone: member.GetZone(), Weight: member.GetWeight()}
		addrs[member.GetName()] = member.GetAddr()
	}
	r, err := ring.New(ring.Options{Epoch: m.GetEpoch(), Replicas: int(m.GetReplicas()), VNodes: int(m.GetVnodes())}, nodes)
	if err != nil {
		return nil, err
	}
	v := &view{cluster: m.GetClusterId(), epoch: m.GetEpoch(), members: m.GetMembers(), ring: r, names: map[string]string{}}
	for _, n := range r.Nodes() {
		v.names[n.Name] = n.Name
		v.nodes = append(v.nodes, c.node(cmp.Or(addrs[n.Name], n.Name), n.Name))
	}
	return v, nil
}

// node returns the node at an address. name is that of the ring; empty: not known.
func (c *Client) node(addr, name string) *node {
	c.mu.Lock()
	defer c.mu.Unlock()
	n := c.nodes[addr]
	if n == nil {
		n = &node{client: c, addr: addr, closed: c.nodes == nil}
		if c.nodes != nil {
			c.nodes[addr] = n
		}
	}
	if name != "" {
		n.name.Store(&name)
	}
	return n
}

// show replaces the view, and lets nodes go that are neither in it nor endpoints.
func (c *Client) show(v *view) {
	keep := map[*node]bool{}
	for _, n := range v.nodes {
		keep[n] = true
	}
	for _, addr := range c.opts.Endpoints {
		keep[c.node(addr, "")] = true
	}
	c.view.Store(v)
	c.mu.Lock()
	var gone []*node
	for addr, n := range c.nodes {
		if !keep[n] {
			gone = append(gone, n)
			delete(c.nodes, addr)
		}
	}
	c.mu.Unlock()
	for _, n := range gone {
		n.close() // its requests go on at another
	}
}

// manySuspects reports whether most nodes are: then it is rather the client, or all of the cluster, that is slow.
func (c *Client) manySuspects() bool {
	return 2*int(c.suspects.Load()) > len(c.view.Load().nodes)
}
