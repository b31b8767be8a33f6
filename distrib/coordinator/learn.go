package coordinator

import (
	"time"

	"github.com/cambiumdb/cambium/distrib/register"
)

// learnAfter is how long what was decided waits at most for a next request to tell the owners of it, or to be told together with that
// of other keys. Until then eventual reads may be stale.
const learnAfter = 20 * time.Millisecond

// learnSoon has the owners of a key told what was decided, unless they are told by then.
func (c *Coordinator) learnSoon(e *proposing) {
	s := &c.proposers
	s.mu.Lock()
	defer s.mu.Unlock()
	s.learns = append(s.learns, e)
	switch {
	case len(s.learns) > 1:
	case s.timer == nil:
		s.timer = c.opts.Clock.AfterFunc(learnAfter, c.learnDue)
	default:
		s.timer.Reset(learnAfter)
	}
}

// learnDue tells owners what was decided: the first of it has waited for long enough.
func (c *Coordinator) learnDue() {
	s := &c.proposers
	s.mu.Lock()
	due := s.learns
	s.learns = nil
	s.mu.Unlock()
	c.work.Add(1) // what is due is counted until it is in list
	defer c.work.Done()
	var list lessons
	for _, e := range due {
		e.learn(&list)
	}
	for _, node := range list.nodes {
		for all := list.of[node]; len(all) > 0; {
			n := min(len(all), register.MaxDecisions)
			c.teach(node, all[:n])
			all = all[n:]
		}
	}
}

// lessons are what nodes are to be told.
type lessons struct {
	nodes []uint64 // in the order in which they came
	of    map[uint64][]register.Decision
}

// learn adds what the owners of the key were not told yet.
func (e *proposing) learn(list *lessons) {
	var w work
	e.mu.Lock()
	e.learns = false
	if d := e.decided; !d.Zero() {
		e.decided = register.Ballot{}
		for _, s := range e.group.Seats {
			if list.of[s.Node] == nil {
				list.nodes = append(list.nodes, s.Node)
			}
			if list.of == nil {
				list.of = map[uint64][]register.Decision{}
			}
			list.of[s.Node] = append(list.of[s.Node], register.Decision{Key: e.key, Ballot: d})
		}
	}
	e.release(&w)
}

// teach tells a node what is decided. Keys of which it is behind are unfinished.
func (c *Coordinator) teach(node uint64, list []register.Decision) {
	c.work.Add(1)
	c.opts.Registers.StartLearn(c.opts.Clock.Now().Add(c.opts.Patience), node, register.AppendDecisions(nil, list), func(body []byte, err error) {
		defer c.work.Done()
		c.noteAnswer(node, err)
		var behind []int
		if err == nil {
			behind, err = register.DecodeBehind(body, len(list))
		}
		for _, i := range behind {
			c.unfinished(list[i].Key)
		}
		if err != nil {
			for _, d := range list {
				c.unfinished(d.Key)
			}
		}
	})
}
