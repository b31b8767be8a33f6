package register

import (
	"bytes"
	"slices"

	"github.com/cambiumdb/cambium/distrib"
	"github.com/cambiumdb/cambium/distrib/vclock"
	"github.com/cambiumdb/cambium/internal/bugs"
)

// Kind is what an operation does.
type Kind uint8

// The kinds.
const (
	Get Kind = iota
	// Put stores Value, which may be a delete, where If holds.
	Put
	// Resolve tells what became of the change named ID. Where nothing did, it sees to it that nothing will.
	Resolve
)

// Condition says of a Put when it is done.
type Condition uint8

// The conditions.
const (
	// Always: whatever is there is replaced.
	Always Condition = iota
	// IfAbsent: nothing is there, or only what is deleted or expired.
	IfAbsent
	// IfValue: one value is there, and it is Expect.
	IfValue
	// IfSeen: Context has seen all that is there.
	IfSeen
	// Beside is how eventual writes are carried out: what Context has seen is replaced, beside the rest it becomes a sibling.
	// Who has seen nothing at all replaces everything.
	Beside
)

// Operation is one operation of a client on a key.
type Operation struct {
	ID      distrib.OpID // of changes never zero
	Kind    Kind
	If      Condition
	Expect  []byte      // of IfValue
	Context vclock.Seen // of IfSeen and Beside
	Value   distrib.Value
	// Since is of Resolve, and of a Put that is Retried: the change was not proposed before, by the clock of who proposed it.
	// Zero: that is not known.
	Since distrib.Timestamp
	// Retried: another try of the Put may have been made, or may still be. Where this one is not done, no other will be.
	Retried bool
}

// reads reports whether who knows the last value may be able to answer it.
func (o *Operation) reads() bool { return o.Kind == Get || o.Kind == Resolve }

// Outcome is what is known of an operation that has ended.
type Outcome uint8

// The outcomes.
const (
	OK      Outcome = iota + 1 // it was ordered; Verdict says what came of it
	Failed                     // nothing happened, and nothing will
	Unknown                    // it may have happened, or may still: Resolve tells
)

// String returns the outcome's name.
func (o Outcome) String() string { return [...]string{"PENDING", "OK", "FAILED", "UNKNOWN"}[o] }

// Verdict is what came of an operation that is OK.
type Verdict uint8

// The verdicts.
const (
	Done      Verdict = iota // a read was answered, a change is made
	Repeated                 // the change had been made by an earlier try
	Mismatch                 // the condition does not hold: nothing was changed
	Siblings                 // IfValue, and there are several values: nothing was changed
	TooMany                  // it would make more than distrib.SiblingsMax: nothing was changed
	BadPast                  // no version can follow what Context says it has seen: nothing was changed
	NotDone                  // it did not happen and never will: Resolve or another try said or says so
	Forgotten                // of Resolve, and of a Put that is Retried: it is too long ago to tell
)

// String returns the verdict's name.
func (v Verdict) String() string {
	return [...]string{"done", "repeated", "mismatch", "siblings", "too-many", "bad-past", "not-done", "forgotten"}[v]
}

// Result is what an operation is answered.
type Result struct {
	Op      distrib.OpID
	Outcome Outcome
	Verdict Verdict
	// Record is what the key holds behind the operation.
	Record distrib.Record
	// Strays is how many versions came to light with it that were stored by replicas that did not know the key to be
	// linearizable. They are siblings in Record, or, but for a Get, will be for the next operation.
	Strays int

	changed bool // the operation is why the value is another
}

// Apply carries out operations one after another on a value, each on what the one before left, and says what came of
// each. at is the time of the ballot by which next is to be proposed: it tells what
// has expired. changed reports whether next is not v: then nobody may be answered before next is decided.
func Apply(v Value, at distrib.Timestamp, ops []Operation) (next Value, results []Result, changed bool) {
	next, changed = expire(v, at)
	for i := range ops {
		verdict, did := next.apply(&ops[i], at)
		changed = changed || did
		r := Result{Op: ops[i].ID, Outcome: OK, Verdict: verdict, Record: next.Record, changed: did}
		if ops[i].Kind == Put {
			switch verdict {
			case NotDone:
				r.Outcome = Failed
			case Forgotten:
				r.Outcome = Unknown
			}
		}
		results = append(results, r)
	}
	return next, results, changed
}

// expire replaces what has expired at a time by deletes. So it is decided, and no reader whose clock is behind sees it again.
func expire(v Value, at distrib.Timestamp) (next Value, changed bool) {
	next = v
	for _, s := range v.Record {
		if s.Value.Deleted || !s.Value.Expired(at.Millis()) {
			continue
		}
		if next.write(&Operation{Value: distrib.Value{Deleted: true}}, s.Seen(), at) {
			changed = true
		}
	}
	return next, changed
}

func (v *Value) apply(o *Operation, at distrib.Timestamp) (verdict Verdict, changed bool) {
	switch {
	case o.Kind == Resolve:
		return v.resolve(o, at)
	case o.Kind != Put:
		return Done, false
	case v.cancelled(o.ID):
		return NotDone, false
	case v.has(o.ID):
		return Repeated, false
	case o.Retried && v.forgets(o):
		return Forgotten, false
	}
	if verdict := v.holds(o, at); verdict != Done {
		return v.leave(o, verdict, at)
	}
	past := both(v.Record, o.Context)
	if o.If == Beside && !o.Context.Empty() {
		past = o.Context
		if n := len(v.Record); n >= distrib.SiblingsMax && !covers(past, v.Record) {
			return v.leave(o, TooMany, at)
		}
	}
	if !v.write(o, past, at) {
		return v.leave(o, BadPast, at)
	}
	v.remember(Change{Op: o.ID, Time: at})
	return Done, true
}

// leave is that a Put is not done. Where there may be other tries of it, they must not be either.
func (v *Value) leave(o *Operation, why Verdict, at distrib.Timestamp) (verdict Verdict, changed bool) {
	if o.Retried {
		v.remember(Change{Op: o.ID, Time: at, Cancelled: true})
	}
	return why, o.Retried
}

// forgets reports whether o may have been one of the changes that v does not remember any more.
func (v *Value) forgets(o *Operation) bool { return v.Forgotten != 0 && v.Forgotten >= o.Since }

// write adds a version of the register's own. It fails only where past was made up, and counts to the end.
func (v *Value) write(o *Operation, past vclock.Seen, at distrib.Timestamp) bool {
	dot, err := vclock.Next(v.Record, v.actor(), 0, past)
	if err != nil {
		return false
	}
	s := distrib.Sibling{Dot: dot, Op: o.ID, Past: past, Value: o.Value}
	if s.Value.Time = at; o.Retried { // a replica may hold it as an eventual write
		s = s.Retry(o.ID)
	}
	v.Record = vclock.Merge(v.Record, distrib.Record{s})
	return true
}

// both is what has been seen by a reader of r who had seen s before.
func both(r distrib.Record, s vclock.Seen) vclock.Seen {
	if s.Empty() {
		return vclock.Context(r)
	}
	return vclock.Context(append(slices.Clip(r), distrib.Sibling{Past: s}))
}

// covers reports whether s has seen all of r.
func covers(s vclock.Seen, r distrib.Record) bool {
	return !slices.ContainsFunc(r, func(v distrib.Sibling) bool { return !s.Contains(v.Dot) && !s.HasOp(v.Op) })
}

// holds says whether the condition of a Put does: Done, or why not.
func (v *Value) holds(o *Operation, at distrib.Timestamp) Verdict {
	seen, live := distrib.AsOf(v.Record, at.Millis())
	ok := true
	switch o.If {
	case IfAbsent:
		ok = live == 0
	case IfSeen:
		ok = covers(o.Context, v.Record)
	case IfValue:
		if live > 1 {
			return Siblings
		}
		ok = slices.ContainsFunc(seen, func(s distrib.Sibling) bool { return !s.Value.Deleted && bytes.Equal(s.Value.Data, o.Expect) })
	}
	if !ok {
		return Mismatch
	}
	return Done
}

func (v *Value) resolve(o *Operation, at distrib.Timestamp) (verdict Verdict, changed bool) {
	switch {
	case v.cancelled(o.ID):
		return NotDone, false
	case v.has(o.ID):
		return Repeated, false
	case v.forgets(o):
		return Forgotten, false
	}
	if bugs.On(bugs.NotCancelled) {
		return NotDone, false
	}
	v.remember(Change{Op: o.ID, Time: at, Cancelled: true})
	return NotDone, true
}
