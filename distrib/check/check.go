// Package check says what the history of a cluster's clients shows to be wrong. It is pure, so that simulated and real
// clusters are judged by the same rules.
//
//	violations := check.Eventual(check.History{Writes: writes, Reads: reads}, final)
//	violations, undecided := check.Linearizable(steps)
//	mixture := check.Judge(steps, twice, patience)
//	violations := check.Counter(key, counts, end)
package check

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/cambiumdb/cambium/distrib"
)

// Outcome is what a writer was told.
type Outcome uint8

// The outcomes.
const (
	OK      Outcome = iota
	Failed          // nothing happened
	Unknown         // it may have happened
)

// String is the outcome's name.
func (o Outcome) String() string { return [...]string{"OK", "FAILED", "UNKNOWN"}[o] }

// Write is a put or a delete of a history.
type Write struct {
	Key     string
	Op      distrib.OpID   // no other write of the history has it
	Read    []distrib.OpID // the siblings that its writer had read: its context is theirs
	Outcome Outcome
}

// Read is a get of a history: the siblings that it returned.
type Read struct {
	Key string
	Ops []distrib.OpID
}

// History is what clients did, in any order.
type History struct {
	Writes []Write
	Reads  []Read // no more is needed than those that a writer's context came from
}

// Final is the siblings that each key has in the end.
type Final map[string][]distrib.OpID

// Violation is a promise that was broken.
type Violation struct {
	Key  string
	Op   distrib.OpID // of the write that it is about
	What string
}

// String says what is wrong.
func (v Violation) String() string { return fmt.Sprintf("%s: write %x: %s", v.Key, v.Op, v.What) }

// Eventual returns what a history and its end show to be wrong, by key:
//
//   - lost: a write that was acknowledged is no sibling in the end, nor had the writer of one seen it, at once or by
//     way of others
//   - resurrected: a sibling of the end was seen by the writer of another, or of a write that was acknowledged
//   - failed, but there: a write that was said to have had no effect was read, or is a sibling of the end
//   - foreign: nobody wrote what was read under this key
//
// A write whose outcome is unknown may be there or not.
func Eventual(h History, final Final) (violations []Violation) {
	byKey := map[string]*keyHistory{}
	at := func(key string) *keyHistory {
		if byKey[key] == nil {
			byKey[key] = &keyHistory{writes: map[distrib.OpID]*Write{}}
		}
		return byKey[key]
	}
	for i := range h.Writes {
		w := &h.Writes[i]
		at(w.Key).writes[w.Op] = w
	}
	for _, r := range h.Reads {
		k := at(r.Key)
		k.shown = append(k.shown, r.Ops...)
	}
	for key, ops := range final {
		at(key).final = ops
	}
	for key, k := range byKey {
		violations = append(violations, k.check(key)...)
	}
	slices.SortFunc(violations, func(a, b Violation) int {
		return cmp.Or(cmp.Compare(a.Key, b.Key), slices.Compare(a.Op[:], b.Op[:]), cmp.Compare(a.What, b.What))
	})
	return slices.Compact(violations)
}

// keyHistory is the part of a history about one key.
type keyHistory struct {
	writes map[distrib.OpID]*Write
	shown  []distrib.OpID // by reads
	final  []distrib.OpID
}

func (k *keyHistory) check(key string) (violations []Violation) {
	report := func(op distrib.OpID, what string) { violations = append(violations, Violation{key, op, what}) }
	for _, op := range slices.Concat(k.shown, k.final) {
		if w := k.writes[op]; w == nil {
			report(op, "foreign: nobody wrote it to this key")
		} else if w.Outcome == Failed {
			report(op, "failed, but there: its writer was told that nothing happened")
		}
	}
	accounted, overwritten := map[distrib.OpID]bool{}, map[distrib.OpID]bool{}
	for _, op := range k.final {
		accounted[op] = true
		k.follow(op, accounted)
		k.follow(op, overwritten)
	}
	for op, w := range k.writes {
		if w.Outcome == OK && !accounted[op] {
			report(op, "lost: it was acknowledged, is no sibling, and no sibling's writer has seen it")
		}
		if w.Outcome == OK {
			k.follow(op, overwritten)
		}
	}
	for _, op := range k.final {
		if overwritten[op] {
			report(op, "resurrected: it is a sibling, and was overwritten by who had seen it")
		}
	}
	return violations
}

// follow adds to seen all writes that the writer of op had seen, at once or by way of others.
func (k *keyHistory) follow(op distrib.OpID, seen map[distrib.OpID]bool) {
	rest := []distrib.OpID{op}
	for len(rest) > 0 {
		w := k.writes[rest[len(rest)-1]]
		rest = rest[:len(rest)-1]
		if w == nil {
			continue
		}
		for _, before := range w.Read {
			if !seen[before] {
				seen[before] = true
				rest = append(rest, before)
			}
		}
	}
}
