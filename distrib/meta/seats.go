package meta

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

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
)

// nextStep says what the node of a name does now: at most one member changes at a time, and one that votes goes only when all
// that are wanted vote. peer is the URL of its own member, empty where it has none, and runs says whether that has started;
// known says whether a node is still one of the cluster.
func nextStep(name, peer string, runs bool, holders []holder, wanted []string, known func(name string) bool) step {
	votes := func(name string) bool {
		return slices.ContainsFunc(holders, func(h holder) bool { return h.name == name && !h.learner })
	}
	own := slices.IndexFunc(holders, func(h holder) bool { return peer != "" && h.peer == peer })
	stale := slices.IndexFunc(holders, func(h holder) bool { return h.name == name && h.peer != peer })
	learner := slices.ContainsFunc(holders, func(h holder) bool { return h.learner })
	wants := slices.Contains(wanted, name)
	switch {
	case stale >= 0: // the node lost the directory of that member
		return step{stepEvict, holders[stale].id}
	case own >= 0 && !runs, own < 0 && wants && !learner:
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
	peer, err := s.peerURL()
	if err != nil {
		return nil, err
	}
	next := nextStep(s.options.Name, peer, s.member != nil, holders, WantedSeats(stay, names), known)
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

// peerURL is that of the own member, or of the one that is to be; empty where there is neither.
func (s *Store) peerURL() (string, error) {
	if s.member != nil {
		return s.member.seat.PeerURL, nil
	}
	for _, file := range []string{"seat", seatNew} {
		t, err := readSeat(filepath.Join(s.options.Dir, file))
		if err == nil {
			return t.PeerURL, nil
		}
		if !errors.Is(err, fs.ErrNotExist) {
			return "", err
		}
	}
	return "", nil
}

// seatNew is the file of a seat until the others have let it in.
const seatNew = "seat.new"

// sit starts a member beside those that are there. What it will be is on disk before the others let it in, so a crash in
// between leaves nobody in that does not come.
func (s *Store) sit(ctx context.Context) (err error) {
	o := s.embeddedOptions()
	if !HasSeat(o.Dir) {
		if err := s.ask(ctx, o); err != nil {
			return err
		}
	}
	s.member, err = StartEmbedded(ctx, o)
	return err
}

// ask has the others let a member in, and writes its seat.
func (s *Store) ask(ctx context.Context, o EmbeddedOptions) error {
	path := filepath.Join(o.Dir, seatNew)
	t, err := readSeat(path)
	if errors.Is(err, fs.ErrNotExist) {
		if t, err = newSeat(o); err == nil {
			err = writeSeat(path, t)
		}
	}
	if err != nil {
		return err
	}
	holders, err := s.holders(ctx)
	if err != nil {
		return err
	}
	if !slices.ContainsFunc(holders, func(h holder) bool { return h.peer == t.PeerURL }) {
		r, err := s.client.MemberAddAsLearner(ctx, []string{t.PeerURL})
		if err != nil {
			return err
		}
		holders = nil
		for _, m := range r.Members {
			holders = append(holders, holderOf(m))
		}
	}
	var cluster []string
	for _, h := range holders {
		if h.peer == t.PeerURL {
			h.name = t.Name
		}
		cluster = append(cluster, h.name+"="+h.peer)
	}
	t.Join = strings.Join(cluster, ",")
	if err := errors.Join(os.RemoveAll(filepath.Join(o.Dir, "etcd")), writeSeat(path, t)); err != nil { // of a member that was taken out
		return err
	}
	return os.Rename(path, filepath.Join(o.Dir, "seat"))
}

// rise takes the own member out and stops it.
func (s *Store) rise(ctx context.Context, id uint64) error {
	var others []string
	for _, e := range s.client.Endpoints() {
		if e != s.member.seat.ClientURL {
			others = append(others, e)
		}
	}
	if len(others) > 0 {
		s.client.SetEndpoints(others...)
	}
	if _, err := s.client.MemberRemove(ctx, id); err != nil {
		return err
	}
	err := s.closeMember()
	s.member = nil
	return errors.Join(err, os.Remove(filepath.Join(s.options.Dir, "seat")), os.RemoveAll(filepath.Join(s.options.Dir, "etcd")))
}
