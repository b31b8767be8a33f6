package coordinator

import (
	"container/heap"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/cambiumdb/cambium/distrib"
	"github.com/cambiumdb/cambium/distrib/register"
	"github.com/cambiumdb/cambium/distrib/ring"
	"github.com/cambiumdb/cambium/distrib/vclock"
)

// arena is a cluster of registers in one goroutine and in virtual time: what a seed says happens.
type arena struct {
	t      testing.TB
	rng    *rand.Rand
	now    time.Duration
	order  uint64
	events arenaEvents
	view   *ring.View
	views  map[uint64]*ring.View // of nodes that have another one
	nodes  []*arenaNode
	cut    map[[2]uint64]bool
	loss   int           // of 1000 messages
	slow   time.Duration // how long a message takes at most
	steps  int           // requests
	kinds  map[register.RequestKind]int
	learns int             // decisions that nodes were told
	taught int             // requests that told them
	dirty  map[string]bool // keys that were said to be unfinished
	handed int             // operations
}

// arenaNode is a node: what its disk keeps, and while it runs its coordinator.
type arenaNode struct {
	s       *arena
	id, run uint64
	states  map[string]register.State
	data    map[string]distrib.Record
	opinion map[uint64]distrib.Liveness
	life    *int // of its process; nil: it does not run
	c       *Coordinator
	refuses error // what it answers to all requests
	holds   bool  // it keeps the results of operations of other nodes
	held    []func()
}

type arenaEvent struct {
	at    time.Duration
	order uint64
	f     func()
}

type arenaEvents []arenaEvent

func (e arenaEvents) Len() int { return len(e) }
func (e arenaEvents) Less(i, j int) bool {
	return e[i].at < e[j].at || e[i].at == e[j].at && e[i].order < e[j].order
}
func (e arenaEvents) Swap(i, j int) { e[i], e[j] = e[j], e[i] }
func (e *arenaEvents) Push(x any)   { *e = append(*e, x.(arenaEvent)) }
func (e *arenaEvents) Pop() any {
	x := (*e)[len(*e)-1]
	*e = (*e)[:len(*e)-1]
	return x
}

func (s *arena) after(d time.Duration, f func()) {
	s.order++
	heap.Push(&s.events, arenaEvent{s.now + max(d, 0), s.order, f})
}

// run lets happen what is planned, for a time.
func (s *arena) run(d time.Duration) {
	until := s.now + d
	for len(s.events) > 0 && s.events[0].at <= until {
		e := heap.Pop(&s.events).(arenaEvent)
		s.now = e.at
		e.f()
	}
	s.now = until
}

// await lets happen what is planned until done.
func (s *arena) await(done func() bool) {
	for !done() {
		require.NotEmpty(s.t, s.events, "nothing is to happen any more")
		e := heap.Pop(&s.events).(arenaEvent)
		s.now = e.at
		e.f()
	}
}

func newArena(t testing.TB, seed, nodes uint64) *arena {
	s := &arena{t: t, rng: rand.New(rand.NewPCG(seed, 7)), cut: map[[2]uint64]bool{}, slow: 2 * time.Millisecond, views: map[uint64]*ring.View{}, kinds: map[register.RequestKind]int{}, dirty: map[string]bool{}}
	s.view = ring.Steady(s.ring(1, nodes))
	for id := uint64(1); id <= nodes; id++ {
		n := &arenaNode{s: s, id: id, states: map[string]register.State{}, data: map[string]distrib.Record{}, opinion: map[uint64]distrib.Liveness{}}
		s.nodes = append(s.nodes, n)
		n.start()
	}
	return s
}

func (s *arena) ring(epoch, nodes uint64) *ring.Ring {
	var members []ring.Node
	for id := uint64(1); id <= nodes; id++ {
		members = append(members, ring.Node{ID: id, Name: fmt.Sprintf("n%d", id)})
	}
	r, err := ring.New(ring.Options{Epoch: epoch}, members)
	require.NoError(s.t, err)
	return r
}

func (s *arena) node(id uint64) *arenaNode { return s.nodes[id-1] }

// owners are those of a key, the first in front.
func (s *arena) owners(key string) (list []*arenaNode) {
	for _, seat := range s.view.Seats(ring.TokenOf([]byte(key))) {
		list = append(list, s.node(seat.Node))
	}
	return list
}

func (n *arenaNode) start() {
	n.run++
	n.life = new(int)
	n.c = New(Options{
		Self: n.id, Run: n.run, Clock: arenaClock{n, n.life}, Registers: n, Transport: probed{nil, n}, Patience: 500 * time.Millisecond, After: 3 * time.Second,
		View: func() (*ring.View, func()) {
			if v := n.s.views[n.id]; v != nil {
				return v, func() {}
			}
			return n.s.view, func() {}
		},
		Liveness:   func(id uint64) distrib.Liveness { return n.opinion[id] },
		Unfinished: func(key []byte) { n.s.dirty[string(key)] = true },
		Name:       n.name,
		Go:         func(f func()) { n.do(n.life, n.s.between(0, 100*time.Microsecond), f) },
	})
}

func (n *arenaNode) name(id uint64) string { return fmt.Sprintf("n%d", id) }

func (n *arenaNode) kill() { n.life, n.c = nil, nil }

func (s *arena) between(low, high time.Duration) time.Duration {
	return low + time.Duration(s.rng.Int64N(int64(high-low)))
}

// do has f called in d if the process lives then.
func (n *arenaNode) do(life *int, d time.Duration, f func()) {
	n.s.after(d, func() {
		if n.life == life {
			f()
		}
	})
}

type arenaClock struct {
	n    *arenaNode
	life *int
}

func (c arenaClock) Now() time.Time { return time.Unix(1_600_000_000, 0).Add(c.n.s.now) }

func (c arenaClock) AfterFunc(d time.Duration, f func()) Timer {
	t := &arenaTimer{arenaClock: c, f: f}
	t.Reset(d)
	return t
}

type arenaTimer struct {
	arenaClock
	f      func()
	armed  bool
	resets int
}

func (t *arenaTimer) Stop() bool {
	was := t.armed
	t.armed = false
	return was
}

func (t *arenaTimer) Reset(d time.Duration) bool {
	was := t.armed
	t.armed = true
	t.resets++
	mine := t.resets
	t.n.do(t.life, d, func() {
		if t.armed && t.resets == mine {
			t.armed = false
			t.f()
		}
	})
	return was
}

// ask sends a request to a node, to which it comes so many times: carry answers it there, perhaps later.
func (n *arenaNode) ask(deadline time.Time, to uint64, copies int, carry func(*arenaNode, func([]byte, error)), done func([]byte, error)) {
	s, life, ended := n.s, n.life, false
	end := func(d time.Duration, reply []byte, err error) {
		n.do(life, d, func() {
			if !ended {
				ended = true
				done(reply, err)
			}
		})
	}
	lost := func(a, b uint64) bool { return s.cut[[2]uint64{a, b}] || a != b && s.rng.IntN(1000) < s.loss }
	delay := func() time.Duration {
		if n.id == to {
			return s.between(50*time.Microsecond, 100*time.Microsecond)
		}
		return s.between(100*time.Microsecond, s.slow)
	}
	end(deadline.Sub(arenaClock{n, life}.Now())+time.Millisecond, nil, fmt.Errorf("no answer: %w", context.DeadlineExceeded))
	m := s.node(to)
	switch {
	case lost(n.id, to):
		return
	case m.life == nil:
		end(delay(), nil, distrib.ErrUnreachable)
		return
	}
	at := m.life
	for range copies {
		s.after(delay(), func() {
			if m.life != at {
				end(delay(), nil, errLost)
				return
			}
			carry(m, func(reply []byte, err error) {
				if !lost(to, n.id) {
					end(delay(), reply, err)
				}
			})
		})
	}
}

// StartStep implements distrib.Registers.
func (n *arenaNode) StartStep(deadline time.Time, to uint64, key, request []byte, done func([]byte, error)) {
	n.s.steps++
	copies := 1
	if n.s.rng.IntN(1000) < n.s.loss {
		copies = 2
	}
	n.ask(deadline, to, copies, func(m *arenaNode, answer func([]byte, error)) { answer(m.step(string(key), request)) }, done)
}

func (n *arenaNode) step(key string, request []byte) ([]byte, error) {
	r, err := register.DecodeRequest(request)
	require.NoError(n.s.t, err)
	n.s.kinds[r.Kind]++
	if n.refuses != nil {
		return nil, n.refuses
	}
	if !slices.Contains(n.s.owners(key), n) {
		return nil, fmt.Errorf("not an owner: %w", distrib.ErrRefused)
	}
	view, release := n.c.opts.View()
	release()
	out := n.states[key].Step(view.Epoch(), &r, n.data[key])
	n.states[key] = out.State
	n.data[key] = vclock.Merge(n.data[key], out.Learned)
	return register.AppendReply(nil, &out.Reply), nil
}

// StartLearn implements distrib.Registers.
func (n *arenaNode) StartLearn(deadline time.Time, to uint64, decisions []byte, done func([]byte, error)) {
	n.ask(deadline, to, 1, func(m *arenaNode, answer func([]byte, error)) { answer(m.learn(decisions)) }, done)
}

func (n *arenaNode) learn(decisions []byte) ([]byte, error) {
	list, err := register.DecodeDecisions(decisions)
	require.NoError(n.s.t, err)
	n.s.learns += len(list)
	n.s.taught++
	if n.refuses != nil {
		return nil, n.refuses
	}
	var behind []int
	for i, d := range list {
		s, key := n.states[string(d.Key)], string(d.Key)
		learned, late := s.Learn(d.Ballot, n.data[key])
		if n.data[key] = vclock.Merge(n.data[key], learned); late {
			behind = append(behind, i)
		}
	}
	return register.AppendBehind(nil, behind), nil
}

// StartOperate implements distrib.Registers.
func (n *arenaNode) StartOperate(deadline time.Time, to uint64, key, operation []byte, done func([]byte, error)) {
	n.s.handed++
	n.ask(deadline, to, 1, func(m *arenaNode, answer func([]byte, error)) {
		if m.refuses != nil {
			answer(nil, m.refuses)
			return
		}
		m.c.StartServe(deadline, key, operation, func(result []byte, err error) {
			if m.holds {
				m.held = append(m.held, func() { answer(result, err) })
				return
			}
			answer(result, err)
		})
	}, done)
}

// probed is the transport of a node: it is asked for signs of life only.
type probed struct {
	distrib.Transport
	n *arenaNode
}

func (p probed) StartPut(time.Time, uint64, *distrib.PutRequest, func(*distrib.PutReply, error)) {
	panic("no eventual write")
}

func (p probed) StartMerge(time.Time, uint64, *distrib.MergeRequest, func(error)) {
	panic("no eventual write")
}

func (p probed) StartRead(deadline time.Time, to uint64, _ *distrib.ReadRequest, done func(*distrib.ReadReply, error)) {
	p.n.ask(deadline, to, 1, func(_ *arenaNode, answer func([]byte, error)) { answer(nil, nil) }, func(_ []byte, err error) { done(&distrib.ReadReply{}, err) })
}

// told is what became of an operation.
type told struct {
	*Operated
	err  error
	done bool
	took time.Duration
}

func (r *told) outcome(t testing.TB) Outcome {
	var e *Error
	if r.err == nil {
		return OK
	}
	require.ErrorAs(t, r.err, &e)
	return e.Outcome
}

// begin begins an operation at a node; giveUp ends it.
func (n *arenaNode) begin(key string, op register.Operation) (r *told, giveUp func(error)) {
	r = &told{}
	began := n.s.now
	giveUp = n.c.StartOperate([]byte(key), op, func(out *Operated, err error) {
		require.False(n.s.t, r.done, "told twice")
		*r = told{out, err, true, n.s.now - began}
	})
	return r, giveUp
}

// operate carries an operation out at a node.
func (n *arenaNode) operate(key string, op register.Operation) *told {
	r, _ := n.begin(key, op)
	n.s.await(func() bool { return r.done })
	return r
}

func aPut(v string) register.Operation {
	return register.Operation{Kind: register.Put, Value: distrib.Value{Data: []byte(v)}}
}

func aSwap(old, v string) register.Operation {
	o := aPut(v)
	o.If, o.Expect = register.IfValue, []byte(old)
	return o
}

var errGivenUp = errors.New("given up")
