// Package vclock says which versions of a key have seen which others: dotted version vectors with
// births (Preguiça, Baquero, Almeida, Fonte, Gonçalves, "Brief announcement: efficient causality
// tracking in distributed storage systems with dotted version vectors", PODC 2012).
//
//	a := vclock.Actor{Node: 1, Birth: 7}
//	dot, err := vclock.Next(set, a, minted, context) // node 1 stores a write
//	set = vclock.Merge(set, vclock.Set[T]{{Dot: dot, Op: op, Past: context, Value: value}})
//	set = vclock.Merge(set, other)                   // what another replica holds
//	context = vclock.Context(set)                    // what a reader of it has seen
//	x.Clock.Compare(y.Clock)                         // Equal, Ancestor, Descends or Concurrent
//
// # Model
//
// Each write of a key has a dot: who stored it first (an actor), and which of that actor's writes of this
// key it was. A Clock is a set of dots: what somebody has seen. A Version is a write's dot, the clock that
// the writer had seen, and the value. It is overwritten by every version whose past holds its dot, and by no
// other. What is left in a Set are the siblings: they have not seen each other.
//
// Plain version vectors say of each actor only up to where it was seen. But a replica may miss a write and
// get the next one, and a reader of it has seen the second and not the first. A clock therefore keeps, beside
// the vector, the dots above a gap one by one; the gap closes when the missing dot comes.
//
// # Births
//
// An actor is a node and a birth. A node counts on from the highest dot of its own that its copy of the key
// knows. Where the copy is gone (lost, handed off, reaped), or may be older than what others got from it (a
// crash), it must take a birth that it never had: else it would give a dot away twice, and whoever has seen
// the first would throw the second away. TestOldBirthLosesWrites shows it.
//
// # Operations that are tried again
//
// A write whose answer is lost is tried at another node, and may then have two dots. Who has seen the one has seen the
// other: versions remember the last few operations of their past, and for much longer those of which it is known that
// they were or may have been tried at more than one node (Version.Retried). Of these a copy may come very late, from a
// node that was cut off. TestLateCopy shows it. That an operation was retried may be learned after the first copy was
// read and overwritten: whatever is merged with what knows it, and remembers the operation, knows it too.
//
// All values are immutable and every function is pure. No input of Decode makes it panic or allocate more
// than in proportion to the input.
package vclock

import (
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"iter"
	"slices"
	"strings"
)

// Actor is who counts: a node, by its number in the ring, since one birth of its copy of a key.
type Actor struct {
	Node  uint64
	Birth uint64
}

// Compare orders actors by node, then by birth.
func (a Actor) Compare(b Actor) int {
	return cmp.Or(cmp.Compare(a.Node, b.Node), cmp.Compare(a.Birth, b.Birth))
}

// Dot names one write of a key. Counter begins at 1.
type Dot struct {
	Actor
	Counter uint64
}

// Compare orders dots by actor, then by counter.
func (d Dot) Compare(e Dot) int {
	return cmp.Or(d.Actor.Compare(e.Actor), cmp.Compare(d.Counter, e.Counter))
}

// String formats as NODE.BIRTH:COUNTER.
func (d Dot) String() string { return fmt.Sprintf("%d.%d:%d", d.Node, d.Birth, d.Counter) }

// Clock is a set of dots. The zero value is the empty one.
type Clock struct{ entries []entry } // by actor, ascending; none is empty

// entry holds the dots of one actor: 1 to upTo, and extra, ascending, all above upTo+1.
type entry struct {
	Actor
	upTo  uint64
	extra []uint64
}

// last is the highest counter of e.
func (e entry) last() uint64 {
	if n := len(e.extra); n > 0 {
		return e.extra[n-1]
	}
	return e.upTo
}

func (e entry) contains(counter uint64) bool {
	if counter <= e.upTo {
		return counter > 0
	}
	_, ok := slices.BinarySearch(e.extra, counter)
	return ok
}

// within reports whether every dot of e is one of f.
func (e entry) within(f entry) bool {
	if e.upTo > f.upTo {
		return false // f has a gap right above its upTo
	}
	for _, c := range e.extra {
		if !f.contains(c) {
			return false
		}
	}
	return true
}

// union returns the dots of both, which are of one actor.
func (e entry) union(f entry) entry {
	out := entry{Actor: e.Actor, upTo: max(e.upTo, f.upTo)}
	all := slices.Concat(e.extra, f.extra)
	slices.Sort(all)
	for _, c := range slices.Compact(all) {
		switch {
		case c <= out.upTo:
		case c == out.upTo+1:
			out.upTo = c
		default:
			out.extra = append(out.extra, c)
		}
	}
	return out
}

func (c Clock) find(a Actor) (entry, bool) {
	i, ok := slices.BinarySearchFunc(c.entries, a, func(e entry, a Actor) int { return e.Actor.Compare(a) })
	if !ok {
		return entry{}, false
	}
	return c.entries[i], true
}

// Empty reports whether c holds no dot.
func (c Clock) Empty() bool { return len(c.entries) == 0 }

// Contains reports whether d is one of c's dots.
func (c Clock) Contains(d Dot) bool {
	e, ok := c.find(d.Actor)
	return ok && e.contains(d.Counter)
}

// Last is the highest counter of a in c, 0 where there is none.
func (c Clock) Last(a Actor) uint64 {
	e, _ := c.find(a)
	return e.last()
}

// Actors returns the actors that have a dot in c, ascending.
func (c Clock) Actors() []Actor {
	list := make([]Actor, len(c.entries))
	for i, e := range c.entries {
		list[i] = e.Actor
	}
	return list
}

// All yields what c holds of each actor, by actor: all dots up to last, and those of beyond, ascending, which the
// caller must not change.
func (c Clock) All() iter.Seq2[Actor, Span] {
	return func(yield func(Actor, Span) bool) {
		for _, e := range c.entries {
			if !yield(e.Actor, Span{Last: e.upTo, Beyond: e.extra}) {
				return
			}
		}
	}
}

// Span is dots of one actor: 1 to Last, and those of Beyond, which all lie above Last+1.
type Span struct {
	Last   uint64
	Beyond []uint64
}

// Of returns the clock of spans, which may come in any order and more than once of an actor.
func Of(spans iter.Seq2[Actor, Span]) (c Clock) {
	for a, s := range spans {
		beyond := slices.DeleteFunc(slices.Clone(s.Beyond), func(n uint64) bool { return n == 0 })
		e := entry{Actor: a, upTo: s.Last}.union(entry{Actor: a, extra: beyond})
		if e.last() > 0 {
			c = c.Union(Clock{[]entry{e}})
		}
	}
	return c
}

// With returns c and d. A dot whose counter is 0 names no write and changes nothing.
func (c Clock) With(d Dot) Clock {
	if d.Counter == 0 || c.Contains(d) {
		return c
	}
	e := entry{Actor: d.Actor, upTo: 1}
	if d.Counter > 1 {
		e.upTo, e.extra = 0, []uint64{d.Counter}
	}
	return c.Union(Clock{[]entry{e}})
}

// Union returns the dots of both.
func (c Clock) Union(d Clock) Clock {
	switch {
	case c.Empty():
		return d
	case d.Empty():
		return c
	}
	out := make([]entry, 0, len(c.entries)+len(d.entries))
	a, b := c.entries, d.entries
	for len(a) > 0 && len(b) > 0 {
		switch order := a[0].Actor.Compare(b[0].Actor); {
		case order < 0:
			out, a = append(out, a[0]), a[1:]
		case order > 0:
			out, b = append(out, b[0]), b[1:]
		default:
			out, a, b = append(out, a[0].union(b[0])), a[1:], b[1:]
		}
	}
	return Clock{append(append(out, a...), b...)}
}

// within reports whether every dot of c is one of d.
func (c Clock) within(d Clock) bool {
	for _, e := range c.entries {
		if f, ok := d.find(e.Actor); !ok || !e.within(f) {
			return false
		}
	}
	return true
}

// Relation is how two clocks, or two versions, stand to each other.
type Relation uint8

// The relations of a to b.
const (
	Equal      Relation = iota // both have seen the same
	Ancestor                   // b has seen all that a has, and more
	Descends                   // a has seen all that b has, and more
	Concurrent                 // each has seen something that the other has not
)

// String returns the relation's name in lower case.
func (r Relation) String() string {
	if int(r) < 4 {
		return [...]string{"equal", "ancestor", "descends", "concurrent"}[r]
	}
	return fmt.Sprintf("Relation(%d)", uint8(r))
}

func relation(before, after bool) Relation {
	switch {
	case before && after:
		return Equal
	case before:
		return Ancestor
	case after:
		return Descends
	}
	return Concurrent
}

// Compare returns how c stands to d.
func (c Clock) Compare(d Clock) Relation { return relation(c.within(d), d.within(c)) }

// String formats as {NODE.BIRTH:UPTO+EXTRA+EXTRA NODE.BIRTH:...}.
func (c Clock) String() string {
	var b strings.Builder
	b.WriteByte('{')
	for i, e := range c.entries {
		if i > 0 {
			b.WriteByte(' ')
		}
		fmt.Fprintf(&b, "%d.%d:%d", e.Node, e.Birth, e.upTo)
		for _, x := range e.extra {
			fmt.Fprintf(&b, "+%d", x)
		}
	}
	b.WriteByte('}')
	return b.String()
}

// Append appends the encoding of c to dst and returns it: the number of actors; then for each its node,
// birth, upTo, and the number of extra counters with each one's distance from the one before, or from
// upTo; all as uvarints. Equal clocks have equal encodings.
func (c Clock) Append(dst []byte) []byte {
	dst = binary.AppendUvarint(dst, uint64(len(c.entries)))
	for _, e := range c.entries {
		dst = binary.AppendUvarint(dst, e.Node)
		dst = binary.AppendUvarint(dst, e.Birth)
		dst = binary.AppendUvarint(dst, e.upTo)
		dst = binary.AppendUvarint(dst, uint64(len(e.extra)))
		for before := e.upTo; len(e.extra) > 0; e.extra = e.extra[1:] {
			dst = binary.AppendUvarint(dst, e.extra[0]-before)
			before = e.extra[0]
		}
	}
	return dst
}

var (
	errShort = errors.New("clock: bytes end early")
	errForm  = errors.New("clock: not in canonical form")
)

// Decode reads a clock from the start of b and returns the bytes behind it. Only what Append makes is
// taken.
func Decode(b []byte) (c Clock, rest []byte, err error) {
	d := decoder{rest: b}
	n := d.count(4)
	for range n {
		e := entry{Actor: Actor{Node: d.uvarint(), Birth: d.uvarint()}, upTo: d.uvarint()}
		before := e.upTo
		extras := d.count(1)
		for i := range extras {
			step := d.uvarint()
			if step == 0 || i == 0 && step < 2 || before+step < before {
				d.fail(errForm)
				break
			}
			before += step
			e.extra = append(e.extra, before)
		}
		if k := len(c.entries); e.last() == 0 || k > 0 && c.entries[k-1].Actor.Compare(e.Actor) >= 0 {
			d.fail(errForm)
		}
		if d.err != nil {
			return Clock{}, nil, d.err
		}
		c.entries = append(c.entries, e)
	}
	return c, d.rest, d.err
}

// decoder reads uvarints; its first error sticks.
type decoder struct {
	rest []byte
	err  error
}

func (d *decoder) fail(err error) {
	if d.err == nil {
		d.err = err
	}
}

func (d *decoder) uvarint() uint64 {
	v, n := binary.Uvarint(d.rest)
	switch {
	case d.err != nil:
		return 0
	case n == 0:
		d.fail(errShort)
		return 0
	case n < 0 || n > 1 && d.rest[n-1] == 0:
		d.fail(errForm)
		return 0
	}
	d.rest = d.rest[n:]
	return v
}

// count reads the number of things of at least size bytes each that follow.
func (d *decoder) count(size int) int {
	n := d.uvarint()
	if n > uint64(len(d.rest)/size) {
		d.fail(errShort)
		return 0
	}
	return int(n)
}
