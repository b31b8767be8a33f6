package coordinator

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/cambiumdb/cambium/distrib"
	"github.com/cambiumdb/cambium/distrib/check"
	"github.com/cambiumdb/cambium/distrib/register"
	"github.com/cambiumdb/cambium/distrib/ring"
)

// TestOperateFaults: with messages that are late, lost or come twice, cuts, nodes that are killed, wrong beliefs and new epochs, what
// clients are told is linearizable; and when all that ends everything goes on.
func TestOperateFaults(t *testing.T) {
	seeds := uint64(200)
	if testing.Short() {
		seeds = 20
	}
	sums := map[string]int{}
	for seed := range seeds {
		f := newFaulty(t, seed)
		f.run()
		violations, undecided := check.Linearizable(f.steps)
		require.Empty(t, violations, "seed %d", seed)
		require.Empty(t, undecided, "seed %d", seed)
		for _, s := range f.steps {
			sums[s.Outcome.String()]++
		}
		sums["handed"] += f.handed
		sums["resolved"] += f.resolved
		sums["repeated"] += f.repeated
	}
	t.Log(sums)
	for _, what := range []string{"OK", "FAILED", "UNKNOWN", "handed", "resolved", "repeated"} {
		require.Greater(t, sums[what], int(seeds)/10, what)
	}
}

// TestRefusedSteps: an owner that refuses all steps holds nothing up: an operation is carried out without it, or ends soon and names it.
func TestRefusedSteps(t *testing.T) {
	refilled := fmt.Errorf("it is being refilled: %w", distrib.ErrRefused)
	s := newArena(t, 1, 3)
	owners := s.owners("k")
	cut := func(is bool) {
		s.cut[[2]uint64{owners[0].id, owners[2].id}] = is
	}
	cut(true)
	require.NoError(t, owners[0].operate("k", aPut("0")).err)
	cut(false)
	owners[0].kill()
	owners[0].start()
	owners[1].refuses = refilled
	r := owners[0].operate("k", register.Operation{})
	require.NoError(t, r.err, "the value of one owner only is proposed again to the other that answers")
	require.Equal(t, "0", texts(r.Record))
	require.Less(t, r.took, 100*time.Millisecond)

	owners[2].kill()
	owners[0].opinion[owners[2].id] = distrib.Down
	r = owners[0].operate("other", aPut("1"))
	require.Equal(t, Failed, r.outcome(t))
	require.Less(t, r.took, 400*time.Millisecond)
	require.ErrorContains(t, r.err, fmt.Sprintf("n%d refused: it is being refilled", owners[1].id))
	require.ErrorContains(t, r.err, fmt.Sprintf("n%d down", owners[2].id))
	r, _ = owners[0].begin("other", aPut("2"))
	s.run(50 * time.Millisecond)
	owners[1].refuses = nil
	s.await(func() bool { return r.done })
	require.NoError(t, r.err, "it refused for a moment")
}

// TestLostAcceptIsUnknown: what may have been accepted has not FAILED when the patience with the answers ends.
func TestLostAcceptIsUnknown(t *testing.T) {
	s := newArena(t, 1, 3)
	owners := s.owners("k")
	require.NoError(t, owners[0].operate("k", aPut("0")).err)
	for _, n := range owners {
		s.cut[[2]uint64{n.id, owners[0].id}] = true // its own answers too
	}
	r := owners[0].operate("k", aSwap("0", "1"))
	require.Equal(t, Unknown, r.outcome(t))
	clear(s.cut)
	got := owners[1].operate("k", register.Operation{})
	require.NoError(t, got.err)
	require.Equal(t, "1", texts(got.Record))
}

// TestLateMismatch: that an earlier try at another node met something else is not the answer while a later one is under way.
func TestLateMismatch(t *testing.T) {
	s := newArena(t, 1, 3)
	owners := s.owners("k")
	require.NoError(t, owners[0].operate("k", aPut("0")).err)
	owners[0].holds = true
	r, _ := owners[2].begin("k", aSwap("1", "2"))
	s.await(func() bool { return len(owners[0].held) > 0 })
	for _, n := range owners[:2] {
		s.cut[[2]uint64{owners[2].id, n.id}] = true
	}
	s.run(200 * time.Millisecond) // until it tries by itself
	owners[0].held[0]()
	s.run(50 * time.Millisecond)
	require.NoError(t, owners[0].operate("k", aPut("1")).err)
	clear(s.cut)
	s.await(func() bool { return r.done })
	require.NoError(t, r.err)
	require.Equal(t, register.Done, r.Verdict)
	require.Equal(t, "2", texts(r.Record))
}

// TestClose: a coordinator that ends refuses what other nodes hand in, who carry it out themselves; what was under way ends.
func TestClose(t *testing.T) {
	s := newArena(t, 1, 5)
	owners := s.owners("k")
	require.NoError(t, owners[2].operate("k", aPut("0")).err)
	s.run(time.Second)
	require.Equal(t, 1, s.handed)
	owners[0].c.Close()
	owners[0].c.StartServe(time.Now(), []byte("k"), register.AppendOperation(nil, &register.Operation{}), func(_ []byte, err error) {
		require.ErrorIs(t, err, distrib.ErrRefused)
	})
	require.Zero(t, owners[0].c.Load().Operations)
	r := owners[2].operate("k", aSwap("0", "1"))
	require.NoError(t, r.err)
	require.Equal(t, register.Done, r.Verdict)
	require.Less(t, r.took, 100*time.Millisecond)
}

// faulty is an arena with clients and faults.
type faulty struct {
	*arena
	steps    []check.Step
	names    uint64
	open     int
	healing  bool
	epoch    uint64
	resolved int
	repeated int
}

func newFaulty(t testing.TB, seed uint64) *faulty {
	f := &faulty{arena: newArena(t, seed, 3+2*(seed%2)), epoch: 1}
	f.loss, f.slow = []int{0, 10, 100}[seed%3], []time.Duration{2, 10, 40}[seed/3%3]*time.Millisecond
	return f
}

func (f *faulty) run() {
	for i := range 5 {
		f.client(i + 1)
	}
	f.fault()
	f.arena.run(4 * time.Second)
	f.healing, f.loss, f.slow = true, 0, 2*time.Millisecond
	clear(f.cut)
	for _, n := range f.nodes {
		if n.life == nil {
			n.start()
		}
		clear(n.opinion)
	}
	f.views = map[uint64]*ring.View{}
	f.arena.run(6 * time.Second)
	require.Zero(f.t, f.open, "operations that are not told of")
	for _, key := range faultyKeys {
		r := f.nodes[0].operate(key, register.Operation{})
		require.NoError(f.t, r.err)
		f.note(check.Step{Key: key, Call: int64(f.now - r.took), Return: int64(f.now)}, r)
	}
	f.arena.run(6 * time.Second)
	for _, n := range f.nodes {
		n.c.Wait()
		require.Zero(f.t, n.c.Load().Operations)
	}
}

// fault makes one after the other.
func (f *faulty) fault() {
	f.after(f.between(10*time.Millisecond, 400*time.Millisecond), func() {
		if f.healing {
			return
		}
		n := f.nodes[f.rng.IntN(len(f.nodes))]
		m := f.nodes[f.rng.IntN(len(f.nodes))]
		lasts := f.between(10*time.Millisecond, 900*time.Millisecond)
		switch f.rng.IntN(5) {
		case 0:
			if n.life == nil {
				break
			}
			n.kill()
			f.after(lasts, func() {
				if n.life == nil {
					n.start()
				}
			})
		case 1, 2: // one way, or both
			f.cut[[2]uint64{n.id, m.id}] = n != m
			if f.rng.IntN(2) == 0 {
				f.cut[[2]uint64{m.id, n.id}] = n != m
			}
			f.after(lasts, func() {
				delete(f.cut, [2]uint64{n.id, m.id})
				delete(f.cut, [2]uint64{m.id, n.id})
			})
		case 3:
			n.opinion[m.id] = []distrib.Liveness{distrib.Up, distrib.Suspect, distrib.Down}[f.rng.IntN(3)]
		case 4: // nodes learn of it one after the other
			f.epoch++
			v := ring.Steady(f.ring(f.epoch, uint64(len(f.nodes))))
			for _, n := range f.nodes {
				f.after(f.between(0, 300*time.Millisecond), func() {
					if old := f.views[n.id]; !f.healing && (old == nil || old.Epoch() < v.Epoch()) {
						f.views[n.id] = v
					}
				})
			}
			f.view = v
		}
		f.fault()
	})
}

var faultyKeys = []string{"a", "b"}

// client does one operation after the other.
func (f *faulty) client(id int) {
	last := ""
	var next func()
	next = func() {
		f.after(f.between(0, 20*time.Millisecond), func() {
			if f.healing {
				return
			}
			f.names++
			op := distrib.OpID{8: byte(id)}
			binary.BigEndian.PutUint64(op[:], f.names)
			s := check.Step{Key: faultyKeys[f.rng.IntN(2)], Client: id, Call: int64(f.now), Op: op, Value: fmt.Sprint(f.names)}
			o := aPut(s.Value)
			switch f.rng.IntN(4) {
			case 0:
				s.Op, s.Value, o = distrib.OpID{}, "", register.Operation{}
			case 1:
				s.If, o.If = check.IfAbsent, register.IfAbsent
			case 2:
				s.If, s.Expect = check.IfValue, last
				o = aSwap(last, s.Value)
			}
			o.ID = s.Op
			f.open++
			f.try(s, o, 1+f.rng.IntN(2), func(r *told) {
				f.open--
				if r.err == nil && len(r.Record) == 1 {
					last = string(r.Record[0].Value.Data)
				}
				next()
			})
		})
	}
	next()
}

// try carries an operation out, again where its outcome is not known, and asks then what became of it.
func (f *faulty) try(s check.Step, o register.Operation, tries int, then func(*told)) {
	f.send(s.Key, o, func(r *told) {
		unknown := r.outcome(f.t) == Unknown
		switch {
		case unknown && tries > 1:
			f.repeated++
			o.Retried = true
			f.try(s, o, tries-1, then)
		case unknown && f.rng.IntN(2) == 0:
			f.send(s.Key, register.Operation{ID: s.Op, Kind: register.Resolve}, func(fate *told) {
				f.resolved++
				switch {
				case fate.err != nil || fate.Verdict == register.Forgotten:
					f.note(s, r)
				case fate.Verdict == register.Repeated:
					s.Return, s.Blind = int64(f.now), true
					f.steps = append(f.steps, s)
				default:
					s.Return, s.Outcome = int64(f.now), check.Failed
					f.steps = append(f.steps, s)
				}
				then(r)
			})
		default:
			if r.outcome(f.t) == Failed && o.Retried && !errors.Is(r.err, ErrCancelled) {
				r.err = &Error{Outcome: Unknown, name: f.nodes[0].name} // of the first try
			}
			s.Return = int64(f.now)
			f.note(s, r)
			then(r)
		}
	})
}

// note adds what was told of a step to the history.
func (f *faulty) note(s check.Step, r *told) {
	switch r.outcome(f.t) {
	case Failed:
		s.Outcome = check.Failed
	case Unknown:
		s.Outcome = check.Unknown
	default:
		s.Mismatch, s.Blind = r.Verdict == register.Mismatch, r.Verdict == register.Repeated
		for _, v := range r.Record {
			if !s.Blind {
				s.Found = append(s.Found, v.Op)
			}
		}
	}
	f.steps = append(f.steps, s)
}

// send has some node carry an operation out, as a client would.
func (f *faulty) send(key string, o register.Operation, then func(*told)) {
	n := f.nodes[f.rng.IntN(len(f.nodes))]
	ended := false
	end := func(r *told) {
		if !ended {
			ended = true
			then(r)
		}
	}
	failed := Failed
	if o.Kind == register.Put {
		failed = Unknown
	}
	patience := f.between(50*time.Millisecond, 1500*time.Millisecond)
	f.after(patience+100*time.Millisecond, func() { end(&told{err: &Error{Outcome: failed, name: n.name}}) }) // the node was killed
	f.after(f.between(0, time.Millisecond), func() {
		if n.life == nil {
			return
		}
		giveUp := n.c.StartOperate([]byte(key), o, func(out *Operated, err error) {
			r := &told{Operated: out, err: err}
			f.after(f.between(0, time.Millisecond), func() { end(r) })
		})
		n.do(n.life, patience, func() { giveUp(context.DeadlineExceeded) })
	})
}
