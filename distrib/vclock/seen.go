package vclock

import (
	"encoding/binary"
	"slices"
)

// Op names an operation of a client. The zero value names none.
type Op [16]byte

const (
	// KeptOps is how many operations of versions overwritten before are remembered.
	KeptOps = 8
	// MaxOps is how many a Seen remembers at most: those of all versions that its holder read, and what of
	// KeptOps is left.
	MaxOps = 128
)

// Seen is what somebody has seen of a key: dots, and the last few operations that wrote them. The operations
// are for writes that were tried twice, since nobody knew what became of the first try: each may have been
// stored, under a dot of its own, and who has seen the one has seen the other.
type Seen struct {
	Clock
	ops []Op // the latest first
}

// SeenOf is a Seen of the dots of c and no operation.
func SeenOf(c Clock) Seen { return Seen{Clock: c} }

// HasOp reports whether op is one of the operations that s remembers.
func (s Seen) HasOp(op Op) bool { return op != Op{} && slices.Contains(s.ops, op) }

// Ops is how many operations s remembers. With KeptOps or more, those before may be forgotten.
func (s Seen) Ops() int { return len(s.ops) }

// remember returns s with the operations own and, after them, as many of before as are kept.
func (s Seen) remember(own, before []Op) Seen {
	s.ops = nil
	add := func(ops []Op, limit int) {
		for _, op := range ops {
			if len(s.ops) < limit && op != (Op{}) && !slices.Contains(s.ops, op) {
				s.ops = append(s.ops, op)
			}
		}
	}
	add(own, MaxOps)
	add(before, KeptOps)
	return s
}

// Append appends the encoding of s to dst and returns it: its clock, the number of operations as a uvarint, and
// these.
func (s Seen) Append(dst []byte) []byte {
	dst = binary.AppendUvarint(s.Clock.Append(dst), uint64(len(s.ops)))
	for _, op := range s.ops {
		dst = append(dst, op[:]...)
	}
	return dst
}

// DecodeSeen reads a Seen from the start of b and returns the bytes behind it. Only what Append makes is taken.
func DecodeSeen(b []byte) (s Seen, rest []byte, err error) {
	if s.Clock, b, err = Decode(b); err != nil {
		return Seen{}, nil, err
	}
	d := decoder{rest: b}
	n := d.count(len(Op{}))
	if n > MaxOps {
		d.fail(errForm)
	}
	if d.err != nil {
		return Seen{}, nil, d.err
	}
	for range n {
		op := Op(d.rest[:len(Op{})])
		d.rest = d.rest[len(op):]
		if op == (Op{}) || slices.Contains(s.ops, op) {
			return Seen{}, nil, errForm
		}
		s.ops = append(s.ops, op)
	}
	return s, d.rest, nil
}
