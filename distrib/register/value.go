package register

import (
	"slices"

	"github.com/cambiumdb/cambium/distrib"
	"github.com/cambiumdb/cambium/distrib/vclock"
	"github.com/cambiumdb/cambium/internal/bugs"
)

const (
	// MaxChanges is how many changes a value remembers at most.
	MaxChanges = 128
	// ChangesFor is for how many milliseconds it remembers them.
	ChangesFor = 60_000
	// KeptChanges is how many it remembers for longer.
	KeptChanges = 8
)

// Value is what a register holds: the record of a key with all its siblings, and the changes that led to it.
// Values are never changed in place.
type Value struct {
	// Birth is the birth of the register as an actor of the record's clocks: see the package comment.
	Birth  uint64
	Record distrib.Record
	// Changes are the last ones, in their order. Those forgotten were made at Forgotten or before.
	Changes   []Change
	Forgotten distrib.Timestamp
}

// VersionBytes is about what a version takes in memory beside its bytes.
const VersionBytes = 256

// Size is about how many bytes v takes in memory.
func (v *Value) Size() int {
	const change = 32
	bytes := VersionBytes + change*len(v.Changes)
	for i := range v.Record {
		bytes += VersionBytes + len(v.Record[i].Value.Data)
	}
	return bytes
}

// Change is an operation that is part of a value.
type Change struct {
	Op   distrib.OpID
	Time distrib.Timestamp // when it was carried out
	// Cancelled: it had not happened when Resolve asked for it, and so must not any more.
	Cancelled bool
}

// has reports whether v knows of the change op: that it is part of v or must never be.
func (v *Value) has(op distrib.OpID) bool {
	return v.remembers(op) || vclock.Tried(v.Record, op) >= 0
}

// remembers reports whether op is one of the last changes.
func (v *Value) remembers(op distrib.OpID) bool {
	return op != distrib.OpID{} && slices.ContainsFunc(v.Changes, func(c Change) bool { return c.Op == op })
}

// cancelled reports whether op must never be part of v.
func (v *Value) cancelled(op distrib.OpID) bool {
	return slices.ContainsFunc(v.Changes, func(c Change) bool { return c.Op == op && c.Cancelled })
}

// remember adds a change, and forgets the oldest.
func (v *Value) remember(c Change) {
	at := c.Time
	if bugs.On(bugs.ChangesForgotten) {
		return
	}
	list := append(slices.Clip(v.Changes), c)
	drop := max(0, len(list)-MaxChanges)
	for len(list)-drop > KeptChanges && list[drop].Time.Millis()+ChangesFor < at.Millis() {
		drop++
	}
	for _, c := range list[:drop] {
		v.Forgotten = max(v.Forgotten, c.Time)
	}
	v.Changes = list[drop:]
}

// actor is who gives the register's versions their dots: no node has the number 0.
func (v *Value) actor() vclock.Actor { return vclock.Actor{Birth: v.Birth} }

// Promote makes the first value of a register, of what a quorum of replicas hold of the key as eventual writes left it: all
// siblings of all of them. at is the ballot by which it is proposed.
func Promote(at Ballot, records ...distrib.Record) Value {
	v := Value{Birth: uint64(at.Time)}
	for _, r := range records {
		v = Absorb(v, at.Time, r)
	}
	return v
}

// Strays are the versions of a replica's record of which a value knows nothing: eventual writes that replicas
// acknowledged who did not know that the key is linearizable. Those of changes that the value remembers are not among them: they
// are part of it, or were cancelled.
func Strays(v *Value, data distrib.Record) (strays distrib.Record) {
	if slices.EqualFunc(v.Record, data, func(a, b distrib.Sibling) bool { return a.Dot == b.Dot }) {
		return nil
	}
	for _, s := range data {
		if !vclock.Sees(v.Record, s.Dot) && vclock.Tried(v.Record, s.Op) < 0 && !v.remembers(s.Op) {
			strays = append(strays, s)
		}
	}
	return strays
}

// Absorb makes strays part of a value at a time, as siblings of what is there. It remembers them: another try of one may come.
func Absorb(v Value, at distrib.Timestamp, strays distrib.Record) Value {
	if len(strays) > 0 {
		v.Record = vclock.Merge(v.Record, strays)
	}
	for _, s := range strays {
		if s.Op != (distrib.OpID{}) && !v.remembers(s.Op) {
			v.remember(Change{Op: s.Op, Time: at})
		}
	}
	return v
}
