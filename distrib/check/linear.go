package check

import (
	"encoding/binary"
	"fmt"
	"io"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/anishathalye/porcupine"

	"github.com/cambiumdb/cambium/distrib"
)

// Condition says of a write when it is done, and what it replaces.
type Condition uint8

// The conditions, as in package register.
const (
	Always   Condition = iota // it replaces all
	IfAbsent                  // nothing is there, or only deletes
	IfValue                   // one value is there, and it is Expect
	IfSeen                    // all that is there was read
	// Beside is of an eventual write. Carried out by the register, it replaces what was read, or all where nothing was;
	// acknowledged by replicas that did not know better, it becomes a sibling when it comes to light.
	Beside
)

// String is the condition's name.
func (c Condition) String() string {
	return [...]string{"always", "if absent", "if value", "if seen", "beside"}[c]
}

// Step is an operation on a key: one that is linearizable, or an eventual write beside such.
type Step struct {
	Key          string
	Client       int // for people
	Call, Return int64
	Outcome      Outcome // of FAILED and UNKNOWN the fields of the answer say nothing

	Op     distrib.OpID // of a write; zero: it reads
	Value  string       // that it stores
	Delete bool         // it stores none
	If     Condition
	Expect string         // of IfValue
	Read   []distrib.OpID // the siblings that its context is of

	Mismatch bool           // the condition did not hold
	Found    []distrib.OpID // what the key held behind it, deletes included
	Absent   bool           // Found is not known but for one thing: it holds no value, only deletes or nothing
	Blind    bool           // Found is not known

	// Twice is of a write Beside others that replicas have stored as two: the second may come to light again at any time.
	Twice bool
}

// patience is how long a key's history is judged at most. One with a mistake may take for ever.
const patience = 20 * time.Second

// never is a time behind all: when what is UNKNOWN returns.
const never = math.MaxInt64

// Late is when a write Beside others returns that no register has ordered: by then it has come to light. The last read of its key begins later.
const Late = int64(1) << 60

// Linearizable returns which keys' histories show that they were not linearizable: of each key there must be an order of its steps in which
// each step lies between its call and its return, and is answered what the steps before left.
//
//   - What FAILED must not have happened, what is UNKNOWN may have, or may still: it returns never.
//   - A write Beside others that is OK counts from its call on. It may come to light late: when it returns says who makes the history.
//
// undecided are keys for which 20 s were too short.
func Linearizable(steps []Step) (violations []Violation, undecided []string) {
	return linearizable(steps, patience)
}

func linearizable(steps []Step, patience time.Duration) (violations []Violation, undecided []string) {
	byKey := map[string][]Step{}
	for _, s := range steps {
		byKey[s.Key] = append(byKey[s.Key], s)
	}
	for _, key := range sorted(byKey) {
		r := newRegister(byKey[key])
		violations = append(violations, r.wrong...)
		if len(r.wrong) > 0 {
			continue
		}
		switch r.check(patience) {
		case porcupine.Illegal:
			violations = append(violations, Violation{Key: key, What: "not linearizable"})
		case porcupine.Unknown:
			undecided = append(undecided, key)
		}
	}
	return violations, undecided
}

// Draw writes an HTML page that shows the history of one key, and how far it can be ordered.
func Draw(w io.Writer, steps []Step, key string) error {
	r := newRegister(slices.DeleteFunc(slices.Clone(steps), func(s Step) bool { return s.Key != key }))
	_, info := porcupine.CheckOperationsVerbose(r.model(), r.operations(nil), patience)
	return porcupine.Visualize(r.model(), info, w)
}

// register is the history of one key. Writes are numbered, so that a state is a short string: the numbers of the siblings, ascending.
type register struct {
	steps  []*Step // without those that FAILED
	number map[distrib.OpID]uint16
	writes []*Step         // by number
	past   [][]uint16      // of writes, by number: what their writers had seen, at once or by way of others
	found  map[*Step]state // what steps found, where that is known
	shown  map[*Step]bool  // writes that answers show
	wrong  []Violation
}

// state are the siblings of a key.
type state string

func newRegister(steps []Step) *register {
	r := &register{number: map[distrib.OpID]uint16{}, found: map[*Step]state{}, shown: map[*Step]bool{}}
	failed := map[distrib.OpID]bool{}
	for _, s := range steps {
		switch {
		case s.Outcome == Failed:
			failed[s.Op] = true
			continue
		case s.Outcome == Unknown:
			s.Return, s.Blind, s.Mismatch = never, true, false
		}
		if s.Blind || s.Absent {
			s.Found = nil
		}
		r.steps = append(r.steps, &s)
		if s.writes() {
			r.number[s.Op] = uint16(len(r.writes))
			r.writes = append(r.writes, &s)
		}
	}
	for _, s := range r.steps {
		r.known(s, failed)
		r.found[s] = r.stateOf(s.Found)
	}
	for _, w := range r.writes {
		r.past = append(r.past, r.closure(w.Read))
	}
	r.tighten()
	return r
}

func (s *Step) writes() bool { return s.Op != distrib.OpID{} }

// known wants what a step had to do with to have been written.
func (r *register) known(s *Step, failed map[distrib.OpID]bool) {
	for _, op := range slices.Concat(s.Found, s.Read) {
		if failed[op] {
			r.report(s.Key, op, "failed, but there: its writer was told that nothing happened")
		} else if _, ok := r.number[op]; !ok {
			r.report(s.Key, op, "foreign: nobody wrote it to this key")
		}
	}
}

// tighten has writes return no later than when somebody had an answer that shows them: by then they had happened.
func (r *register) tighten() {
	shown := func(op distrib.OpID, at int64, anywhere bool) {
		n, ok := r.number[op]
		if !ok {
			return
		}
		w := r.writes[n]
		r.shown[w] = r.shown[w] || w.writes() && !anywhere
		if anywhere && w.If == Beside {
			return // a replica that did not know better may have shown it, before it came to light
		}
		if w.Return = min(w.Return, at); w.Return < w.Call {
			r.report(w.Key, op, "it was read before it was written")
		}
	}
	for _, s := range r.steps {
		for _, op := range s.Found {
			shown(op, s.Return, false)
		}
		for _, op := range s.Read { // who gave the context had answered before
			shown(op, s.Call, true)
		}
	}
}

func (r *register) report(key string, op distrib.OpID, what string) {
	if v := (Violation{key, op, what}); !slices.Contains(r.wrong, v) {
		r.wrong = append(r.wrong, v)
	}
}

// closure are the numbers of ops, and of all that their writers had seen.
func (r *register) closure(ops []distrib.OpID) (list []uint16) {
	seen := map[uint16]bool{}
	rest := slices.Clone(ops)
	for len(rest) > 0 {
		n, ok := r.number[rest[len(rest)-1]]
		rest = rest[:len(rest)-1]
		if ok && !seen[n] {
			seen[n] = true
			list = append(list, n)
			rest = append(rest, r.writes[n].Read...)
		}
	}
	slices.Sort(list)
	return list
}

// check judges the history, first without what need not have happened. What can be ordered so can be with it at the end.
func (r *register) check(patience time.Duration) porcupine.CheckResult {
	needless := r.needless()
	result := porcupine.CheckOperationsTimeout(r.model(), r.operations(needless), patience)
	if result == porcupine.Ok || len(needless) == 0 {
		return result
	}
	return porcupine.CheckOperationsTimeout(r.model(), r.operations(nil), patience)
}

// needless are writes that may never have happened, and that nobody's answer shows: neither by itself, nor by
// what can only be where it was. Likewise eventual writes that nobody was shown, where one that replaces all was begun later: they
// can stand right before that one.
func (r *register) needless() map[*Step]bool {
	expected := map[string]bool{}
	replaced, lastReturn := int64(0), int64(0) // the last call, and return, of writes that replace all
	for _, s := range r.steps {
		if s.If == IfValue {
			expected[s.Expect] = true
		}
		if s.writes() && s.If == Always && s.Outcome == OK {
			replaced, lastReturn = max(replaced, s.Call), max(lastReturn, s.Return)
		}
	}
	list := map[*Step]bool{}
	for _, s := range r.steps {
		maybe := s.Return == never && !s.Delete && !expected[s.Value]
		behind := s.If == Beside && s.Outcome == OK && !r.shown[s] && s.Call < replaced && s.Return >= lastReturn
		if maybe || behind {
			list[s] = true
		}
	}
	return list
}

// operations is the history for porcupine, without some writes.
func (r *register) operations(without map[*Step]bool) (list []porcupine.Operation) {
	for _, s := range r.steps {
		if !without[s] && (s.writes() || !s.Blind) { // a blind read says nothing
			list = append(list, porcupine.Operation{ClientId: s.Client, Input: s, Call: s.Call, Return: max(s.Call, s.Return)})
		}
		if s.Twice {
			again := *s
			again.Outcome, again.Blind, again.Mismatch = Unknown, true, false
			list = append(list, porcupine.Operation{ClientId: s.Client, Input: &again, Call: s.Call, Return: never})
		}
	}
	return list
}

// model is what a key does. It has more than one next state where an eventual write may have gone more than one way.
func (r *register) model() porcupine.Model {
	m := porcupine.NondeterministicModel{
		Init:              func() []any { return []any{state("")} },
		Step:              func(s, input, _ any) []any { return r.step(s.(state), input.(*Step)) },
		DescribeOperation: func(input, _ any) string { return input.(*Step).String() },
		DescribeState:     func(s any) string { return r.describe(s.(state)) },
	}
	return m.ToModel()
}

// step returns the states in which a key may be behind a step. None: it cannot have been answered so.
func (r *register) step(s state, o *Step) (next []any) {
	if !o.writes() {
		if !r.shows(o, s) {
			return nil
		}
		return []any{s}
	}
	n := r.number[o.Op]
	if holds := r.holds(s, o, n); holds == o.Mismatch && o.Outcome == OK {
		return nil
	} else if !holds {
		if o.Outcome == OK && !r.shows(o, s) {
			return nil
		}
		return []any{s}
	}
	for _, to := range r.written(s, o, n) {
		if r.shows(o, to) {
			next = append(next, to)
		}
	}
	return next
}

// shows reports whether a step may have been answered that the key holds s behind it.
func (r *register) shows(o *Step, s state) bool {
	if !o.Absent || o.Blind {
		return o.Blind || s == r.found[o]
	}
	for v := range s.numbers() {
		if !r.writes[v].Delete {
			return false
		}
	}
	return true
}

// holds reports whether the condition of a write does.
func (r *register) holds(s state, o *Step, n uint16) bool {
	live, same, unseen := 0, false, false
	for v := range s.numbers() {
		w := r.writes[v]
		if !w.Delete {
			live++
			same = same || w.Value == o.Expect
		}
		_, seen := slices.BinarySearch(r.past[n], v)
		unseen = unseen || !seen
	}
	switch o.If {
	case IfAbsent:
		return live == 0
	case IfValue:
		return live == 1 && same
	case IfSeen:
		return !unseen
	}
	return true
}

// written are the states that a write may leave.
func (r *register) written(s state, o *Step, n uint16) []state {
	alone := state("").with(n)
	if o.If != Beside {
		return []state{alone}
	}
	beside := state("")
	for v := range s.numbers() {
		if _, seen := slices.BinarySearch(r.past[v], n); seen {
			return []state{s} // who wrote v has seen it already
		}
		if _, seen := slices.BinarySearch(r.past[n], v); !seen {
			beside = beside.with(v)
		}
	}
	if beside = beside.with(n); len(o.Read) > 0 || beside == alone {
		return []state{beside}
	}
	return []state{beside, alone}
}

func (r *register) stateOf(ops []distrib.OpID) (s state) {
	numbers := make([]uint16, len(ops))
	for i, op := range ops {
		numbers[i] = r.number[op]
	}
	slices.Sort(numbers)
	for _, n := range numbers {
		s = s.with(n)
	}
	return s
}

// with is s and one more sibling.
func (s state) with(n uint16) state {
	i := 0
	for i < len(s) && uint16(s[i])<<8|uint16(s[i+1]) < n {
		i += 2
	}
	return s[:i] + state(binary.BigEndian.AppendUint16(nil, n)) + s[i:]
}

func (s state) numbers() func(yield func(uint16) bool) {
	return func(yield func(uint16) bool) {
		for i := 0; i < len(s) && yield(uint16(s[i])<<8|uint16(s[i+1])); i += 2 {
		}
	}
}

func (r *register) describe(s state) string {
	var list []string
	for n := range s.numbers() {
		list = append(list, r.writes[n].what())
	}
	return "{" + strings.Join(list, " ") + "}"
}

func (s *Step) what() string {
	if s.Delete {
		return fmt.Sprintf("%s:deleted", shortOp(s.Op))
	}
	return fmt.Sprintf("%s:%.12q", shortOp(s.Op), s.Value)
}

// String is such as: write 01#07:"x" if value "y" -> mismatch {..}.
func (s *Step) String() string {
	var b strings.Builder
	if !s.writes() {
		b.WriteString("read")
	} else {
		fmt.Fprintf(&b, "write %s %s", s.what(), s.If)
	}
	if s.If == IfValue {
		fmt.Fprintf(&b, " %.12q", s.Expect)
	}
	if len(s.Read) > 0 {
		fmt.Fprintf(&b, " having read %s", shortOps(s.Read))
	}
	switch {
	case s.Outcome == Unknown:
		return b.String() + " -> UNKNOWN"
	case s.Mismatch:
		b.WriteString(" -> mismatch")
	default:
		b.WriteString(" -> ok")
	}
	switch {
	case s.Blind:
	case s.Absent:
		b.WriteString(" absent")
	default:
		b.WriteString(" " + shortOps(s.Found))
	}
	return b.String()
}

// shortOp names an operation in few letters: without zeros, which most of its bytes are in tests.
func shortOp(op distrib.OpID) string {
	return strings.TrimLeft(fmt.Sprintf("%x", op[:8]), "0") + "#" + strings.TrimLeft(fmt.Sprintf("%x", op[8:]), "0")
}

func shortOps(ops []distrib.OpID) string {
	var list []string
	for _, op := range ops {
		list = append(list, shortOp(op))
	}
	return "{" + strings.Join(list, " ") + "}"
}

func sorted[V any](m map[string]V) (keys []string) {
	for key := range m {
		keys = append(keys, key)
	}
	slices.Sort(keys)
	return keys
}
