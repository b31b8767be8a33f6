package meta

import (
	"context"
	"fmt"
	"slices"

	"go.etcd.io/etcd/api/v3/etcdserverpb"
)

// WantedSeats are the nodes that should run the members of the etcd: three of those that are to stay in the cluster
// where there are as many, else one. Those that do already are preferred, then the first of stay.
func WantedSeats(stay, holders []string) []string {
	n := 1
	if len(stay) >= 3 {
		n = 3
	}
	holds := func(name string) bool { return slices.Contains(holders, name) }
	first := slices.DeleteFunc(slices.Clone(stay), func(name string) bool { return !holds(name) })
	rest := slices.DeleteFunc(slices.Clone(stay), holds)
	return slices.Concat(first, rest)[:min(n, len(stay))]
}

// holder is a member of the etcd as the others have it.
type holder struct {
	id      uint64
	name    string // empty: it was let in and did not start yet
	peer    string // its URL
	client  string // likewise, empty until it started
	learner bool
}

// step is what a node does about seats.
type step struct {
	do stepKind
	id uint64 // of the member
}

type stepKind string

const (
	stepNone    stepKind = "none"
	stepSit     stepKind = "sit"     // start a member, as a learner
	stepPromote stepKind = "promote" // let the own learner vote
	stepEvict   stepKind = "evict"   // take out a member that does not come back
	stepRise    stepKind = "rise"    // take out the own member, and stop it
	stepClear   stepKind = "clear"   // stop the own member, which was taken out, and remove its seat
)

// place is what a node has of a seat itself.
type place struct {
	peer  string // URL of its member, empty: it has none
	taken bool   // the others have let it in once
	lost  bool   // its data is gone
	runs  bool
}

// nextStep says what the node of a name does now: at most one member changes at a time, and one that votes goes only when all
// that are wanted vote. known says whether a node is still one of the cluster. The members as the others have them decide, so
// the step after one that was cut off is found from what is there.
func nextStep(name string, at place, holders []holder, wanted []string, known func(name string) bool) step {
	votes := func(name string) bool {
		return slices.ContainsFunc(holders, func(h holder) bool { return h.name == name && !h.learner })
	}
	own := slices.IndexFunc(holders, func(h holder) bool { return at.peer != "" && h.peer == at.peer })
	stale := slices.IndexFunc(holders, func(h holder) bool { return h.name == name && h.peer != at.peer })
	learner := slices.ContainsFunc(holders, func(h holder) bool { return h.learner })
	wants := slices.Contains(wanted, name)
	switch {
	case stale >= 0: // the node lost the directory of that member
		return step{stepEvict, holders[stale].id}
	case own >= 0 && at.lost:
		return step{stepEvict, holders[own].id}
	case own < 0 && at.taken:
		return step{do: stepClear}
	case own >= 0 && !at.runs, own < 0 && wants && !learner:
		return step{do: stepSit}
	case own >= 0 && wants && holders[own].learner:
		return step{stepPromote, holders[own].id}
	case own >= 0 && !wants && !slices.ContainsFunc(wanted, func(w string) bool { return !votes(w) }):
		return step{stepRise, holders[own].id}
	}
	first := slices.IndexFunc(wanted, votes)
	gone := slices.IndexFunc(holders, func(h holder) bool { return h.name != "" && !known(h.name) })
	if gone >= 0 && first >= 0 && wanted[first] == name {
		return step{stepEvict, holders[gone].id}
	}
	return step{do: stepNone}
}

// Seats does the next thing, if there is one, for the etcd to run on the nodes that WantedSeats names: stay are the
// nodes that are to stay in the cluster, known says who is in it still. It returns where clients find the members
// that vote: what Topology.Metadata should be. Every node calls it now and then, one call at a time. An etcd of the
// operator's is left alone: nil.
func (s *Store) Seats(ctx context.Context, stay []string, known func(name string) bool) (endpoints []string, err error) {
	if len(s.options.External) > 0 {
		return nil, nil
	}
	holders, err := s.holders(ctx)
	if err != nil {
		return nil, err
	}
	var names []string
	for _, h := range holders {
		names = append(names, h.name)
		if h.client != "" && !h.learner {
			endpoints = append(endpoints, h.client)
		}
	}
	slices.Sort(endpoints)
	at, err := s.place()
	if err != nil {
		return nil, err
	}
	next := nextStep(s.options.Name, at, holders, WantedSeats(stay, names), known)
	if next.do == stepNone {
		return endpoints, nil
	}
	ctx, cancel := context.WithTimeout(ctx, 5*s.Etcd.options.Timeout)
	defer cancel()
	switch next.do {
	case stepSit:
		err = s.sit(ctx)
	case stepPromote:
		_, err = s.client.MemberPromote(ctx, next.id)
	case stepEvict:
		_, err = s.client.MemberRemove(ctx, next.id)
	case stepRise:
		err = s.rise(ctx, next.id)
	case stepClear:
		err = s.clear()
	}
	if err != nil {
		return nil, fmt.Errorf("seat of the ring metadata: %s: %w", next.do, err)
	}
	s.options.Logger.Info("seat of the ring metadata", "node", s.options.Name, "step", next.do)
	return nil, nil // the next call tells
}

func (s *Store) holders(ctx context.Context) (list []holder, err error) {
	ctx, cancel := context.WithTimeout(ctx, s.Etcd.options.Timeout)
	defer cancel()
	r, err := s.client.MemberList(ctx)
	if err != nil {
		return nil, fmt.Errorf("members of the metadata store: %w", s.explain(ctx, err))
	}
	for _, m := range r.Members {
		list = append(list, holderOf(m))
	}
	return list, nil
}

func holderOf(m *etcdserverpb.Member) holder {
	h := holder{id: m.ID, name: m.Name, learner: m.IsLearner}
	if len(m.PeerURLs) > 0 {
		h.peer = m.PeerURLs[0]
	}
	if len(m.ClientURLs) > 0 {
		h.client = m.ClientURLs[0]
	}
	return h
}
