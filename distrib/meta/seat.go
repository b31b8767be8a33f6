package meta

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"go.etcd.io/etcd/server/v3/storage/wal"
)

// A seat is taken and given up in steps, each durable before the next begins, and Seats goes on from whatever is there:
//
//	seat.new     what the member will be
//	             the others let it in
//	seat         it is in; it says beside whom it begins
//	etcd/        its data, from the first start on, and the seat says so
//
// To give it up the others take the member out first, then goes the seat, then the data.
const (
	seatNew   = "seat.new"
	seatTaken = "seat"
	seatData  = "etcd"
)

// seat is what a member must come back with, kept as JSON.
type seat struct {
	Name, ClientURL, PeerURL string
	Join                     string // the members beside which it began, NAME=PEERURL,..; empty: it founded
	Served                   bool   // it has started: from then on it has data
}

// errDataGone: the member has no data any more.
var errDataGone = errors.New("it has served, but its data is gone: put that back, from a copy if need be; where other members are left, they let it in anew")

var errDamaged = errors.New("it is damaged")

// HasSeat tells whether dir holds a member.
func HasSeat(dir string) bool {
	_, err := os.Stat(filepath.Join(dir, seatTaken))
	return err == nil
}

// hasData reports whether a member in dir has ever written its log.
func hasData(dir string) bool { return wal.Exist(filepath.Join(dir, seatData, "member", "wal")) }

// lost reports whether the member of t, in dir, has no data any more.
func (t seat) lost(dir string) bool { return t.Served && !hasData(dir) }

// takeSeat reads the seat of options.Dir, or writes the one that options ask for.
func takeSeat(options EmbeddedOptions) (t seat, err error) {
	path := filepath.Join(options.Dir, seatTaken)
	t, err = readSeat(path)
	switch {
	case err == nil && t.Name != options.Name:
		return t, fmt.Errorf("it holds member %s", t.Name)
	case err == nil && t.lost(options.Dir):
		return t, errDataGone
	case !errors.Is(err, fs.ErrNotExist):
		return t, err
	case hasData(options.Dir):
		return t, fmt.Errorf("%s is of a member that has no seat any more", filepath.Join(options.Dir, seatData))
	}
	if t, err = newSeat(options); err != nil {
		return t, err
	}
	return t, writeSeat(path, t)
}

// newSeat is the seat that options ask for.
func newSeat(options EmbeddedOptions) (t seat, err error) {
	t = seat{Name: options.Name, ClientURL: options.ClientURL, PeerURL: options.PeerURL}
	for _, u := range []*string{&t.ClientURL, &t.PeerURL} {
		if *u == "" {
			if *u, err = freeURL(options.ListenHost, options.TLS); err != nil {
				return t, err
			}
		}
	}
	return t, nil
}

func readSeat(path string) (t seat, err error) {
	b, err := os.ReadFile(path)
	if err == nil {
		if err = json.Unmarshal(b, &t); err != nil {
			err = fmt.Errorf("%w: %w", errDamaged, err)
		}
	}
	if err != nil {
		return t, fmt.Errorf("read %s: %w", path, err)
	}
	return t, nil
}

func writeSeat(path string, t seat) error {
	b, err := json.Marshal(t)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return err
	}
	return replace(path, b)
}

// freeURL returns a port of host that nobody listens on now.
func freeURL(host string, files TLS) (string, error) {
	l, err := net.Listen("tcp", net.JoinHostPort(host, "0"))
	if err != nil {
		return "", fmt.Errorf("find a free port of %s: %w", host, err)
	}
	scheme := "http://"
	if files != (TLS{}) {
		scheme = "https://"
	}
	return scheme + l.Addr().String(), l.Close()
}

// place is what the node has of a seat.
func (s *Store) place() (place, error) {
	for _, file := range []string{seatTaken, seatNew} {
		t, err := readSeat(filepath.Join(s.options.Dir, file))
		if err == nil {
			return place{
				peer: t.PeerURL, taken: file == seatTaken, lost: t.lost(s.options.Dir),
				runs: s.member != nil && !s.member.stopped(),
			}, nil
		}
		switch {
		case errors.Is(err, errDamaged): // nobody knows which member it was: it is let in anew
			return place{taken: true, lost: true}, nil
		case !errors.Is(err, fs.ErrNotExist):
			return place{}, err
		}
	}
	return place{}, nil
}

// inOrder does one step after the other until one fails.
func (s *Store) inOrder(steps ...func() error) error {
	for _, step := range steps {
		if err := step(); err != nil {
			return err
		}
		if s.cut != nil {
			if err := s.cut(); err != nil {
				return err
			}
		}
	}
	return nil
}

// sit starts a member beside those that are there. What it will be is on disk before the others let it in, so a crash in
// between leaves nobody in that does not come.
func (s *Store) sit(ctx context.Context) error {
	o, path := s.embeddedOptions(), filepath.Join(s.options.Dir, seatNew)
	var t seat
	ask := []func() error{
		func() (err error) { t, err = readOrPlan(path, o); return err },
		func() (err error) { t.Join, err = s.letIn(ctx, t); return err },
		func() error { return s.removeData() }, // of a member that was taken out
		func() error { return writeSeat(path, t) },
		func() error {
			return errors.Join(os.Rename(path, filepath.Join(o.Dir, seatTaken)), syncDir(o.Dir))
		},
	}
	if HasSeat(o.Dir) {
		ask = nil
	}
	return s.inOrder(append(ask, func() error { return s.startMember(ctx, o) })...)
}

// startMember starts the member, in place of one that has stopped.
func (s *Store) startMember(ctx context.Context, o EmbeddedOptions) error {
	if err := s.closeMember(); err != nil {
		return err
	}
	member, err := StartEmbedded(ctx, o)
	if err == nil {
		s.member = member
	}
	return err
}

// readOrPlan is the seat at path, which is written where there is none.
func readOrPlan(path string, o EmbeddedOptions) (seat, error) {
	t, err := readSeat(path)
	if errors.Is(err, fs.ErrNotExist) {
		if t, err = newSeat(o); err == nil {
			err = writeSeat(path, t)
		}
	}
	return t, err
}

// letIn has the others let the member of t in, unless they have, and returns who they are, with it.
func (s *Store) letIn(ctx context.Context, t seat) (join string, err error) {
	holders, err := s.holders(ctx)
	if err != nil {
		return "", err
	}
	if !slices.ContainsFunc(holders, func(h holder) bool { return h.peer == t.PeerURL }) {
		r, err := s.client.MemberAddAsLearner(ctx, []string{t.PeerURL})
		if err != nil {
			return "", err
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
	return strings.Join(cluster, ","), nil
}

// rise takes the own member out and gives its seat up.
func (s *Store) rise(ctx context.Context, id uint64) error {
	if t, err := readSeat(filepath.Join(s.options.Dir, seatTaken)); err == nil {
		if others := without(s.client.Endpoints(), t.ClientURL); len(others) > 0 {
			s.client.SetEndpoints(others...)
		}
	}
	return s.inOrder(func() error { _, err := s.client.MemberRemove(ctx, id); return err }, s.clear)
}

// PutAside stops the member and moves its directory, which is an old copy, to another: it has forgotten what it agreed to. The
// others let it in anew. Where nobody else is known it stays: there is no other copy.
func (s *Store) PutAside(to string) error {
	t, err := readSeat(filepath.Join(s.options.Dir, seatTaken))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	others := without(s.client.Endpoints(), t.ClientURL)
	if len(others) == 0 {
		return nil
	}
	s.client.SetEndpoints(others...)
	return errors.Join(s.closeMember(), os.Rename(s.options.Dir, to), syncDir(filepath.Dir(to)))
}

// clear stops the member, which the others have taken out, and removes what is left of it.
func (s *Store) clear() error {
	return s.inOrder(
		s.closeMember,
		func() error {
			return errors.Join(os.Remove(filepath.Join(s.options.Dir, seatTaken)), syncDir(s.options.Dir))
		},
		s.removeData,
	)
}

// removeData removes the data of a member.
func (s *Store) removeData() error {
	return errors.Join(os.RemoveAll(filepath.Join(s.options.Dir, seatData)), syncDir(s.options.Dir))
}

func without(list []string, one string) []string {
	return slices.DeleteFunc(slices.Clone(list), func(s string) bool { return s == one })
}

func syncDir(path string) error {
	dir, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}
