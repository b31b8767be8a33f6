// Package topology changes who owns what: nodes join, leave, take each other's place or get another weight, while reads
// and writes go on.
//
//	plan, err := topology.NewPlan(t, changes, down)        // pure: what moves
//	t, err = plan.Commit(t, owner)                         // pure: the first stage
//	next, waiting := topology.Step(t, reports)             // pure: the next one, or for what it waits
//
//	m, err := topology.New(topology.Options{Self: 1, Meta: meta}) // a node's part in it
//	err = m.Adopt(t)                                       // with every new topology
//	view, release := m.View()                              // for each operation
//	m.Run(ctx)                                             // until ctx ends
//
// # Stages
//
// Each stage is an epoch of the topology. The node that owns the change asks all others how far they are, and replaces
// the topology by the next stage's, by compare-and-set, when all are done. So whoever is killed, the change stands where
// it stood: a node goes on with its part when it is back, and another member takes over from an owner that is gone.
//
//	write-both  writes count where W of the old and W of the new owners have them; reads ask the old ones
//	stream      each new owner is given what the old ones hold
//	verify      and compares it with them, until nothing differs
//	switch      reads ask the new owners
//	clean-up    writes go to the new ones only; who has lost a range gives them what he still has of it, and removes it
//
// # Why nothing is lost
//
// An operation keeps to one view of the owners from its begin to its end. A stage ends when every node has its epoch and
// nothing goes on there under an older view. So no write that reached the old owners only is under way when the new ones
// are given what these hold, and no read asks an owner that has begun to remove. A node refuses requests of an epoch
// older than the stage before (Topology.Fence), of nodes that slept meanwhile. Dead members are waited for, unless the
// change takes them out: then nobody takes a request of theirs.
package topology

import (
	"fmt"
	"slices"

	"github.com/cambiumdb/cambium/distrib"
	"github.com/cambiumdb/cambium/distrib/ring"
)

// ringOf is the ring of members of t.
func ringOf(t *distrib.Topology, members []distrib.Member) (*ring.Ring, error) {
	nodes := make([]ring.Node, len(members))
	for i, m := range members {
		nodes[i] = ring.Node{ID: m.ID, Name: m.Name, Zone: m.Zone, Weight: m.Weight}
	}
	r, err := ring.New(ring.Options{Epoch: t.Epoch, Replicas: t.Replicas, VNodes: t.VNodes}, nodes)
	if err != nil {
		return nil, fmt.Errorf("topology of epoch %d: %w", t.Epoch, err)
	}
	return r, nil
}

// ViewOf is where keys lie by a topology.
func ViewOf(t *distrib.Topology) (*ring.View, error) {
	members := t.Members
	if t.Change != nil && t.Change.Stage == distrib.StageClean {
		members = t.Change.Next
	}
	r, err := ringOf(t, members)
	if err != nil || t.Change == nil || t.Change.Stage == distrib.StageClean {
		if err != nil {
			return nil, err
		}
		return ring.Steady(r), nil
	}
	next, err := ringOf(t, t.Change.Next)
	if err != nil {
		return nil, err
	}
	return ring.Changing(t.Epoch, r, next, t.Change.Stage == distrib.StageSwitch), nil
}

// everybody are all nodes that t knows, each once.
func everybody(t *distrib.Topology) (all []distrib.Member) {
	for _, m := range slices.Concat(t.Members, t.Joining) {
		if !slices.ContainsFunc(all, func(o distrib.Member) bool { return o.ID == m.ID }) {
			all = append(all, m)
		}
	}
	return all
}

// participants are the nodes that a change waits for: members before and after it, without the dead.
func participants(t *distrib.Topology) (list []distrib.Member) {
	for _, m := range everybody(t) {
		if in(t.Members, m.ID) || in(t.Change.Next, m.ID) {
			if !slices.Contains(t.Change.Dead, m.ID) {
				list = append(list, m)
			}
		}
	}
	return list
}

func in(list []distrib.Member, id uint64) bool {
	return slices.ContainsFunc(list, func(m distrib.Member) bool { return m.ID == id })
}

// nameOf is a node's for people.
func nameOf(t *distrib.Topology, id uint64) string {
	for _, m := range everybody(t) {
		if m.ID == id {
			return m.Name
		}
	}
	return fmt.Sprintf("node %d", id)
}
