package node

import (
	"fmt"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/cambiumdb/cambium/distrib"
	"github.com/cambiumdb/cambium/distrib/ring"
	"github.com/cambiumdb/cambium/distrib/topology"
)

// view is the cluster as a node sees it: one topology and what follows from it. It does not change.
type view struct {
	topology *distrib.Topology
	revision int64 // of the metadata store; 0: another node told it
	keys     *ring.View
	members  map[uint64]distrib.Member // joining ones too
}

func newView(t *distrib.Topology, revision int64) (*view, error) {
	v := &view{topology: t, revision: revision, members: map[uint64]distrib.Member{}}
	for _, m := range slices.Concat(t.Members, t.Joining) {
		v.members[m.ID] = m
	}
	if c := t.Change; c != nil {
		for _, m := range c.Next {
			v.members[m.ID] = m
		}
	}
	var err error
	if v.keys, err = topology.ViewOf(t); err != nil {
		return nil, fmt.Errorf("ring of epoch %d: %w", t.Epoch, err)
	}
	return v, nil
}

// views is the last view of a node. What operations hold is the mover's.
type views struct {
	last atomic.Pointer[view] // nil until the cluster is found
	mu   sync.Mutex           // guards the change of last
}

// take makes v the last view, unless a newer one is.
func (s *views) take(v *view) {
	s.mu.Lock()
	defer s.mu.Unlock()
	last := s.last.Load()
	if last == nil || last.topology.Epoch < v.topology.Epoch || last.topology.Epoch == v.topology.Epoch && last.revision < v.revision {
		s.last.Store(v)
	}
}

// gone reports whether a node is not of the cluster.
func (v *view) gone(id uint64) bool {
	_, ok := v.members[id]
	return !ok
}

// named is the node of a name.
func (v *view) named(name string) (distrib.Member, bool) {
	for _, m := range v.members {
		if m.Name == name {
			return m, true
		}
	}
	return distrib.Member{}, false
}

// name is a node's for people.
func (v *view) name(id uint64) string {
	if m, ok := v.members[id]; ok {
		return m.Name
	}
	return fmt.Sprintf("node %d", id)
}

// others are all nodes but one.
func (v *view) others(id uint64) (list []distrib.Member) {
	for _, m := range slices.Concat(v.topology.Members, v.topology.Joining) {
		if m.ID != id {
			list = append(list, m)
		}
	}
	return list
}

// founded is the topology of a new cluster of one node.
func founded(cluster string, secret []byte, replicas int, metadata []string, m distrib.Member) *distrib.Topology {
	m.ID = 1
	return &distrib.Topology{
		ClusterID: cluster, Secret: secret, Epoch: 1, Replicas: replicas, VNodes: ring.DefaultVNodes, NextID: 2,
		Members: []distrib.Member{m}, Metadata: metadata,
	}
}

// joined is t with a new node. As long as there are fewer than N members it becomes one at once: it holds what all
// others hold, and no key moves. Else it waits for a plan.
func joined(t *distrib.Topology, m distrib.Member) *distrib.Topology {
	next := *t
	m.ID = t.NextID
	next.NextID++
	next.Epoch++
	if len(t.Members) < t.Replicas && t.Change == nil {
		next.Members = append(slices.Clone(t.Members), m)
	} else {
		next.Joining = append(slices.Clone(t.Joining), m)
	}
	return &next
}

// started is t with what a node that is in it says of itself at its start. Its number, weight and zone stay.
func started(t *distrib.Topology, m distrib.Member) (next *distrib.Topology, changed bool) {
	n := *t
	n.Members, n.Joining = slices.Clone(t.Members), slices.Clone(t.Joining)
	lists := [][]distrib.Member{n.Members, n.Joining}
	if t.Change != nil {
		change := *t.Change
		change.Next = slices.Clone(change.Next)
		n.Change, lists = &change, append(lists, change.Next)
	}
	moved := false
	for _, list := range lists {
		for i := range list {
			is := &list[i]
			if is.ID != m.ID {
				continue
			}
			moved = moved || is.Addr != m.Addr || is.HTTP != m.HTTP
			changed = changed || moved || is.Run < m.Run
			is.Addr, is.HTTP, is.Run = m.Addr, m.HTTP, max(is.Run, m.Run)
		}
	}
	if moved {
		n.Epoch++
	}
	return &n, changed
}
