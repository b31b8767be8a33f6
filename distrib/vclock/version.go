package vclock

import (
	"fmt"
	"slices"
)

// Version is one write of a key.
type Version[T any] struct {
	Dot   Dot
	Past  Clock // what its writer had seen; Dot is not in it
	Value T
}

// Clock is what a reader of v has seen: its past and itself.
func (v Version[T]) Clock() Clock { return v.Past.With(v.Dot) }

// Compare returns how v stands to w: Equal where they are one write, Ancestor where w overwrites v,
// Descends where v overwrites w, Concurrent where they are siblings.
func (v Version[T]) Compare(w Version[T]) Relation {
	same := v.Dot == w.Dot
	return relation(same || w.Past.Contains(v.Dot), same || v.Past.Contains(w.Dot))
}

// Set is what a replica holds of a key: versions by their dots, ascending, of which none overwrites another.
// The zero value is that of a key never written.
type Set[T any] []Version[T]

// Context is what a reader of set has seen. It is what a put must hold to overwrite all of set.
func Context[T any](set Set[T]) Clock {
	var c Clock
	for _, v := range set {
		c = c.Union(v.Clock())
	}
	return c
}

// Merge returns the versions of both sets less those that one of the other set overwrites. It is
// commutative, associative and idempotent, so replicas that exchange what they hold, in any order and as often as
// may be, come to hold the same. A version alone may be sent as a set of one.
func Merge[T any](a, b Set[T]) Set[T] {
	out := make(Set[T], 0, len(a)+len(b))
	keep := func(v Version[T], others Set[T]) {
		for _, w := range others {
			if w.Past.Contains(v.Dot) {
				return
			}
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

// Put returns set after a write by actor of a value whose writer had seen context, and the write's dot. The
// versions that context covers are overwritten; any that are left are siblings of the new one. actor is the
// node that holds set, in a birth that it may use for it: see the package comment.
//
// An error says that no counter is left, which only a forged context brings about.
func Put[T any](set Set[T], actor Actor, context Clock, value T) (Set[T], Dot, error) {
	last := max(Context(set).Last(actor), context.Last(actor))
	if last+1 == 0 {
		return set, Dot{}, fmt.Errorf("context counts %d writes of actor %d.%d: no more can follow", last, actor.Node, actor.Birth)
	}
	v := Version[T]{Dot: Dot{actor, last + 1}, Past: context, Value: value}
	return Merge(set, Set[T]{v}), v.Dot, nil
}

// Covered returns how many versions of set context covers. Fewer than all means that a put with this
// context leaves, and makes, siblings.
func Covered[T any](set Set[T], context Clock) int {
	n := 0
	for _, v := range set {
		if context.Contains(v.Dot) {
			n++
		}
	}
	return n
}
