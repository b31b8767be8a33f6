package replica

import (
	"errors"
	"fmt"
	"slices"

	"github.com/cambiumdb/cambium/distrib"
	"github.com/cambiumdb/cambium/distrib/register"
	"github.com/cambiumdb/cambium/distrib/ring"
	"github.com/cambiumdb/cambium/distrib/vclock"
)

// ErrRegister is a distrib.ErrRefused: the node may lack what it had promised or accepted of a register, since it has lost its
// store, and does not answer for it yet.
var ErrRegister = fmt.Errorf("what this node held of the register is being restored from the others: %w", distrib.ErrRefused)

// Step takes a request of a proposer to the register of key. fence is the oldest epoch whose requests the node takes. since is
// 0, or the epoch since which a node that has lost its store takes part again, and has not copied all registers yet: what it
// held before is refused to be told, with ErrRegister. What the reply tells is durable, together with what was learned.
func (r *Replica) Step(key []byte, fence, since uint64, q *register.Request) (*register.Reply, error) {
	defer r.lock(key)()
	reply, err := r.step(key, fence, since, q)
	if err != nil {
		return nil, fmt.Errorf("%s of the register of %q: %w", q.Kind, key, err)
	}
	return reply, nil
}

func (r *Replica) step(key []byte, fence, since uint64, q *register.Request) (*register.Reply, error) {
	head := r.headKey(key)
	state, h, err := r.knows(key, head)
	if err != nil {
		return nil, err
	}
	if !state.Answers(q.Kind, since) {
		return nil, ErrRegister
	}
	s := state.Step(max(fence, since), q, h.Record)
	if err := r.fill(head, &h, s.Reply.Data); err != nil { // before what was learned replaces it
		return nil, err
	}
	next := distrib.Head{Minted: h.Minted, Linearizable: h.Linearizable, Record: h.Record}
	if s.Learned != nil {
		next.Record = vclock.Merge(h.Record, s.Learned)
	}
	if s.State.Linearizable() && len(next.Record) > 0 {
		next.Linearizable = true
	}
	var save *register.State
	sync := distrib.SyncLater // what is only learned need not be durable: the register has it
	if s.Save {
		save, sync = &s.State, distrib.SyncNow
	}
	changed, err := r.keep(key, head, h, next, save, sync)
	if err != nil {
		return nil, err
	}
	if changed && len(h.Missing) == 0 {
		if s.Save && q.Kind == register.Accept {
			s.State.Value.Record = owned(s.State.Value.Record)
		}
		r.knownOf(key).put(key, s.State, next)
	}
	return &s.Reply, nil
}

// knows returns the register of a key and the head of its record.
func (r *Replica) knows(key, head []byte) (state register.State, h distrib.Head, err error) {
	known := r.knownOf(key)
	if n := known.get(key); n != nil {
		return n.state, n.head, nil
	}
	if state, err = r.state(registerKey(key)); err != nil {
		return state, h, err
	}
	if h, err = r.readHead(head); err != nil {
		return state, h, err
	}
	if state.Linearizable() {
		known.put(key, state, h)
	}
	return state, h, nil
}

// keep makes next of the record h, and stores the register's state unless that is nil, as one change, and reports whether there was
// any.
func (r *Replica) keep(key, head []byte, h, next distrib.Head, state *register.State, sync distrib.Sync) (changed bool, err error) {
	var ops []distrib.Op
	if state != nil {
		ops = []distrib.Op{{Key: registerKey(key), Value: register.AppendState(nil, state)}}
	}
	switch {
	case next.Linearizable != h.Linearizable || !vclock.Same(next.Record, h.Record):
		return true, r.store(key, head, h, next, sync, ops...)
	case state != nil:
		r.knownOf(key).forget(key)
		return true, r.opts.Store.Apply(ops, sync)
	}
	return false, nil
}

// Learn takes that values of registers are decided, which need not be durable: the registers have them. behind are the places in
// the list of those that this node has not accepted.
func (r *Replica) Learn(list []register.Decision) (behind []int, err error) {
	rest := make([]int, len(list))
	for i := range list {
		rest[i] = i
	}
	for len(rest) > 0 {
		var late []int
		if late, rest, err = r.learnSome(list, rest); err != nil {
			return nil, err
		}
		behind = append(behind, late...)
	}
	slices.Sort(behind)
	return behind, nil
}

// learnSome learns what is at places of a list, but for rest, whose keys others change.
func (r *Replica) learnSome(list []register.Decision, places []int) (behind, rest []int, err error) {
	got, rest, unlock := r.lockSome(list, places)
	defer unlock()
	var c changes
	var learned []knowing
	for _, at := range got {
		d := &list[at]
		head := r.headKey(d.Key)
		state, h, err := r.knows(d.Key, head)
		if err != nil {
			return nil, nil, fmt.Errorf("learn of the register of %q: %w", d.Key, err)
		}
		record, late := state.Learn(d.Ballot, h.Record)
		if late {
			behind = append(behind, at)
		}
		if record == nil {
			continue
		}
		next := distrib.Head{Minted: h.Minted, Linearizable: true, Record: vclock.Merge(h.Record, record)}
		r.replace(&c, d.Key, head, h, next)
		if len(h.Missing) == 0 {
			learned = append(learned, knowing{key: string(d.Key), state: state, head: next})
		}
	}
	if len(c.ops) == 0 {
		return behind, rest, nil
	}
	if err := r.apply(&c, distrib.SyncLater); err != nil {
		return nil, nil, fmt.Errorf("learn of %d registers: %w", len(got), err)
	}
	for _, l := range learned {
		key := []byte(l.key)
		r.knownOf(key).put(key, l.state, l.head)
	}
	return behind, rest, nil
}

// Adopt takes over what another node had accepted in the register of key, where that is later, and reports whether it was. It
// is durable with the next Settle.
func (r *Replica) Adopt(key, state []byte) (changed bool, err error) {
	other, err := register.DecodeState(state)
	if err == nil {
		defer r.lock(key)()
		changed, err = r.adopt(key, &other)
	}
	if err != nil {
		return false, fmt.Errorf("take over the register of %q: %w", key, err)
	}
	return changed, nil
}

func (r *Replica) adopt(key []byte, other *register.State) (changed bool, err error) {
	own, err := r.state(registerKey(key))
	if err != nil {
		return false, err
	}
	next, changed := own.Adopt(other)
	if !changed {
		return false, nil
	}
	head := r.headKey(key)
	h, err := r.readHead(head)
	if err != nil {
		return false, err
	}
	marked := distrib.Head{Minted: h.Minted, Linearizable: len(h.Record) > 0, Record: h.Record}
	_, err = r.keep(key, head, h, marked, &next, distrib.SyncLater)
	return true, err
}

func registerKey(key []byte) []byte {
	return distrib.HeadKey(distrib.RegisterPrefix(), ring.TokenOf(key).Hi, key)
}

// state is that of the register behind a key of the store.
func (r *Replica) state(at []byte) (s register.State, err error) {
	b, err := r.opts.Store.Get(at)
	if errors.Is(err, distrib.ErrNotFound) {
		return s, nil
	}
	if err != nil {
		return s, err
	}
	return register.DecodeState(b)
}

// scanRegisters calls visit for every register of a range of tokens in which a value was accepted, as Scan does.
func (r *Replica) scanRegisters(first, last uint64, visit func(token uint64, key, state []byte) error) error {
	prefix := distrib.RegisterPrefix()
	lower, upper := distrib.TokenBounds(prefix, first, last)
	return r.opts.Store.Scan(lower, upper, func(k, v []byte) error {
		token, key, _, err := distrib.ParseKey(prefix, k)
		if err != nil {
			return err
		}
		s, err := register.DecodeState(v)
		switch {
		case err != nil:
			return fmt.Errorf("register of %q: %w", key, err)
		case !s.Linearizable():
			return nil
		}
		return visit(token, key, v)
	})
}
