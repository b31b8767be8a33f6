package coordinator

import (
	"container/list"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"github.com/cambiumdb/cambium/distrib"
	"github.com/cambiumdb/cambium/distrib/register"
	"github.com/cambiumdb/cambium/distrib/ring"
)

// proposers are those that this node has for keys. Some that are idle are kept: who has changed a key last needs but one round
// trip for the next change.
type proposers struct {
	mu    sync.Mutex // guards what follows; it may be taken with that of a proposing held, and not the other way about
	keys  map[string]*proposing
	idle  list.List         // of *proposing, the last used in front
	bytes int64             // of the idle ones
	above distrib.Timestamp // the highest time of those that were dropped
	rng   *rand.Rand
	names uint64 // given to operations without one

	learns []*proposing // of which the owners are to be told what was decided
	timer  Timer        // of the first; nil: never set
}

func newProposers(self, run uint64) proposers {
	return proposers{keys: map[string]*proposing{}, rng: rand.New(rand.NewPCG(self, run))}
}

// proposerOf returns the proposer of a key, pinned until unpin.
func (c *Coordinator) proposerOf(key []byte, token ring.Token, group *register.Group) *proposing {
	s := &c.proposers
	s.mu.Lock()
	defer s.mu.Unlock()
	e := s.keys[string(key)]
	if e == nil {
		g := register.Group{Epoch: group.Epoch, Seats: slices.Clone(group.Seats)}
		e = &proposing{c: c, key: slices.Clone(key), token: token, group: g, ops: map[distrib.OpID]*operating{}, p: register.NewProposer(c.opts.Self, c.opts.Run, g, s.above)}
		s.keys[string(e.key)] = e
	}
	if e.place != nil {
		s.idle.Remove(e.place)
		e.place = nil
		s.bytes -= e.bytes
	}
	e.pins++
	return e
}

// pin keeps a proposer that is pinned already.
func (s *proposers) pin(e *proposing) {
	s.mu.Lock()
	e.pins++
	s.mu.Unlock()
}

// rested notes of an idle proposer how high it went and what it keeps, and ends a pin.
func (s *proposers) rested(e *proposing) {
	last, bytes := e.p.Last(), int64(len(e.key)+e.p.Size())
	s.mu.Lock()
	defer s.mu.Unlock()
	e.last, e.bytes = last, bytes
	s.drop(e)
}

// drop ends a pin. s.mu is held.
func (s *proposers) drop(e *proposing) {
	if e.pins--; e.pins > 0 {
		return
	}
	e.place = s.idle.PushFront(e)
	s.bytes += e.bytes
	limits := &e.c.opts.Limits
	for s.idle.Len() > limits.Proposers || s.bytes > limits.ProposerBytes {
		old := s.idle.Remove(s.idle.Back()).(*proposing)
		s.bytes -= old.bytes
		s.above = max(s.above, old.last)
		old.place = nil
		delete(s.keys, string(old.key))
	}
}

// unpin lets a proposer be dropped when it is idle.
func (s *proposers) unpin(e *proposing) {
	s.mu.Lock()
	s.drop(e)
	s.mu.Unlock()
}

// name is one for an operation of this node that needs none elsewhere.
func (s *proposers) name() (id distrib.OpID) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.names++
	for i := range 8 {
		id[i] = byte(s.names >> (8 * i))
	}
	return id
}

// chance is a random duration below d.
func (s *proposers) chance(d time.Duration) time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	return time.Duration(s.rng.Int64N(int64(max(d, 1))))
}
