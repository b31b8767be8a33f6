package vclock

import (
	"fmt"
	"slices"
)

// Version is one write of a key.
type Version[T any] struct {
	Dot  Dot
	Op   Op   // the operation that wrote it, zero where that has no name
	Past Seen // what its writer had seen; Dot is not in it
	// Retried: Op was or may have been tried at more than one node, so that there may be another dot of it. Whoever
	// learns of that later says so: of the versions of one dot this may differ, and what their pasts say of it.
	Retried bool
	Value   T
}

// Seen is what a reader of v has seen: its past and itself.
func (v Version[T]) Seen() Seen {
	return SeenOf(v.Past.With(v.Dot)).remember([]knownOp{{v.Op, v.Retried}}, v.Past.ops)
}

// Retry returns v, which knows that op was or may have been tried at more than one node, if it is v's own or v
// remembers it.
func (v Version[T]) Retry(op Op) Version[T] {
	if op == (Op{}) {
		return v
	}
	v.Retried = v.Retried || v.Op == op
	v.Past = v.Past.retry(op)
	return v
}

// learn returns v, which knows what w shows to have been retried, of the operations that v knows.
func (v Version[T]) learn(w Version[T]) Version[T] {
	// Who has seen an operation, and not this dot of it, has seen another.
	if w.Retried || w.Dot != v.Dot && (w.Op == v.Op || !v.Past.Contains(w.Dot) && v.Past.HasOp(w.Op)) {
		v = v.Retry(w.Op)
	}
	for _, k := range w.Past.ops {
		if k.retried {
			v = v.Retry(k.Op)
		}
	}
	return v
}

// overwrites reports whether who wrote v had seen w, or another try of the operation that wrote w.
func (v Version[T]) overwrites(w Version[T]) bool {
	return v.Past.Contains(w.Dot) || v.Past.HasOp(w.Op)
}

// repeats reports whether v and w are tries of one operation, of which v stands, since all must agree on one.
func (v Version[T]) repeats(w Version[T]) bool {
	return v.Op == w.Op && v.Op != Op{} && v.Dot.Compare(w.Dot) < 0
}

// Compare returns how v stands to w: Equal where they are one write, Ancestor where w overwrites v,
// Descends where v overwrites w, Concurrent where they are siblings.
func (v Version[T]) Compare(w Version[T]) Relation {
	same := v.Dot == w.Dot || v.Op == w.Op && v.Op != Op{}
	return relation(same || w.overwrites(v), same || v.overwrites(w))
}

// Set is what a replica holds of a key: versions by their dots, ascending, of which none overwrites another.
// The zero value is that of a key never written.
type Set[T any] []Version[T]

// Context is what a reader of set has seen. It is what a put must hold to overwrite all of set.
func Context[T any](set Set[T]) Seen {
	if len(set) == 1 {
		return set[0].Seen()
	}
	var s Seen
	var own, before []knownOp
	longest := 0
	for _, v := range set {
		s.Clock = s.Union(v.Past.With(v.Dot))
		own, longest = append(own, knownOp{v.Op, v.Retried}), max(longest, len(v.Past.ops))
	}
	for i := range longest { // the latest of each first, so that none is forgotten for the sake of another's
		for _, v := range set {
			if i < len(v.Past.ops) {
				before = append(before, v.Past.ops[i])
			}
		}
	}
	return s.remember(own, before)
}

// Merge returns the versions of both sets less those that one of the other set overwrites, or is another try of
// the same operation. It is commutative, associative and idempotent, so replicas that exchange what they hold, in
// any order and as often as may be, come to hold the same. A version alone may be sent as a set of one.
//
// What one of them knows to have been retried all know that remember the operation.
func Merge[T any](a, b Set[T]) Set[T] {
	out := make(Set[T], 0, len(a)+len(b))
	keep := func(v Version[T], others Set[T]) {
		for _, w := range others {
			if w.overwrites(v) || w.repeats(v) {
				return
			}
		}
		for _, w := range others {
			v = v.learn(w)
		}
		out = append(out, v)
	}
	for _, v := range a {
		keep(v, b)
	}
	for _, v := range b {
		keep(v, a)
	}
	slices.SortFunc(out, func(v, w Version[T]) int { return v.Dot.Compare(w.Dot) })
	return slices.CompactFunc(out, func(v, w Version[T]) bool { return v.Dot == w.Dot })
}

// Next returns the dot of the next write that actor gives one, whose writer had seen past. actor is the node that
// holds set, in a birth that it may use for it (see the package comment); minted is the counter of the last dot
// that it gave in this birth. It must remember that beside the set: a version of its own may have gone from there
// without a trace, where another try of the same operation stands.
//
// An error says that no counter is left, which only a forged context brings about.
func Next[T any](set Set[T], actor Actor, minted uint64, past Seen) (Dot, error) {
	last := max(minted, past.Last(actor))
	for _, v := range set {
		if last = max(last, v.Past.Last(actor)); v.Dot.Actor == actor {
			last = max(last, v.Dot.Counter)
		}
	}
	if last+1 == 0 {
		return Dot{}, fmt.Errorf("context counts %d writes of actor %d.%d: no more can follow", last, actor.Node, actor.Birth)
	}
	return Dot{actor, last + 1}, nil
}

// Tried returns the index of the version that op wrote, or else of one whose writer had seen that; -1 where
// set shows neither.
func Tried[T any](set Set[T], op Op) int {
	if op == (Op{}) {
		return -1
	}
	i := slices.IndexFunc(set, func(v Version[T]) bool { return v.Op == op })
	if i < 0 {
		i = slices.IndexFunc(set, func(v Version[T]) bool { return v.Past.HasOp(op) })
	}
	return i
}

// Sees reports whether d is a version of set, or its writer had seen it: whether Context(set) contains it.
func Sees[T any](set Set[T], d Dot) bool {
	return slices.ContainsFunc(set, func(v Version[T]) bool { return v.Dot == d || v.Past.Contains(d) })
}

// Same reports whether a and b hold the same versions, and know the same of what was retried.
func Same[T any](a, b Set[T]) bool {
	return slices.EqualFunc(a, b, func(v, w Version[T]) bool {
		return v.Dot == w.Dot && v.Retried == w.Retried && slices.Equal(v.Past.ops, w.Past.ops)
	})
}

// Dots returns the dots of set, ascending: which versions it holds. A version never changes, so two sets of the
// same dots are the same but for what they know to have been retried.
func Dots[T any](set Set[T]) []Dot {
	dots := make([]Dot, len(set))
	for i, v := range set {
		dots[i] = v.Dot
	}
	return dots
}
