package vclock

import (
	"encoding/binary"
	"slices"

	"github.com/cambiumdb/cambium/internal/bugs"
)

// Op names an operation of a client. The zero value names none.
type Op [16]byte

const (
	// KeptOps is how many operations of versions overwritten before are remembered.
	KeptOps = 8
	// KeptRetried is how many of those are remembered besides that were tried at more than one node. A copy of such an
	// operation may come after any number of others, as late as a node may be paused, or a hint be kept; but they are few.
	// Each takes 16 bytes of the versions that follow.
	KeptRetried = 32
	// ownOps is of how many versions that its holder read a Seen remembers the operations.
	ownOps = 128
	// MaxOps is how many a Seen remembers at most: ownOps, and what of KeptOps and KeptRetried is left.
	MaxOps = ownOps + KeptRetried
)

// Seen is what somebody has seen of a key: dots, and the last few operations that wrote them. The operations
// are for writes that were tried twice, since nobody knew what became of the first try: each may have been
// stored, under a dot of its own, and who has seen the one has seen the other.
type Seen struct {
	Clock
	ops []knownOp // the latest first
}

// knownOp is an operation that is remembered. retried: it was or may have been tried at more than one node.
type knownOp struct {
	Op
	retried bool
}

// SeenOf is a Seen of the dots of c and no operation.
func SeenOf(c Clock) Seen { return Seen{Clock: c} }

func (s Seen) find(op Op) int {
	for i := range s.ops {
		if s.ops[i].Op == op {
			return i
		}
	}
	return -1
}

// HasOp reports whether op is one of the operations that s remembers.
func (s Seen) HasOp(op Op) bool { return op != Op{} && s.find(op) >= 0 }

// MayForget reports whether there may have been operations that s does not remember.
func (s Seen) MayForget() bool {
	retried := 0
	for _, k := range s.ops {
		if k.retried {
			retried++
		}
	}
	return retried >= KeptRetried || len(s.ops)-retried >= KeptOps
}

// retry returns s, which knows that op was retried, if it remembers it.
func (s Seen) retry(op Op) Seen {
	if i := s.find(op); i >= 0 && !s.ops[i].retried {
		s.ops = slices.Clone(s.ops)
		s.ops[i].retried = true
	}
	return s
}

// remember returns s with the operations own and, after them, as many of before as are kept.
func (s Seen) remember(own, before []knownOp) Seen {
	s.ops = make([]knownOp, 0, min(len(own)+len(before), MaxOps))
	s.add(own)
	n := min(len(s.ops), ownOps)
	s.ops = s.ops[:n]
	s.add(before)
	kept, retried, usual := s.ops[:0], 0, 0
	for i, k := range s.ops {
		count, limit := &usual, KeptOps
		if k.retried {
			count, limit = &retried, KeptRetried
		}
		if i < n || *count < limit && !bugs.On(bugs.OperationsForgotten) {
			kept = append(kept, k)
			*count++
		}
	}
	if s.ops = kept; len(kept) == 0 {
		s.ops = nil
	}
	return s
}

// add appends operations that are not there yet.
func (s *Seen) add(ops []knownOp) {
	for _, k := range ops {
		if i := s.find(k.Op); i >= 0 {
			s.ops[i].retried = s.ops[i].retried || k.retried
		} else if k.Op != (Op{}) {
			s.ops = append(s.ops, k)
		}
	}
}

// withRetried is added to the number of operations where some were retried. It is above MaxOps.
const withRetried = 256

// Append appends the encoding of s to dst and returns it: its clock, the number of operations as a uvarint, and
// these. Where some were retried, the number is higher by 256, and a bit for each follows, the first one the lowest of
// the first byte.
func (s Seen) Append(dst []byte) []byte {
	n := uint64(len(s.ops))
	retried := slices.ContainsFunc(s.ops, func(k knownOp) bool { return k.retried })
	if retried {
		n += withRetried
	}
	dst = binary.AppendUvarint(s.Clock.Append(dst), n)
	for _, k := range s.ops {
		dst = append(dst, k.Op[:]...)
	}
	if !retried {
		return dst
	}
	bits := len(dst)
	dst = append(dst, make([]byte, bitBytes(len(s.ops)))...)
	for i, k := range s.ops {
		if k.retried {
			dst[bits+i/8] |= 1 << (i % 8)
		}
	}
	return dst
}

func bitBytes(n int) int { return (n + 7) / 8 }

// DecodeSeen reads a Seen from the start of b and returns the bytes behind it. Only what Append makes is taken.
func DecodeSeen(b []byte) (s Seen, rest []byte, err error) {
	if s.Clock, b, err = Decode(b); err != nil {
		return Seen{}, nil, err
	}
	d := decoder{rest: b}
	count := d.uvarint()
	retried := count >= withRetried
	if retried {
		count -= withRetried
	}
	if count > MaxOps {
		d.fail(errForm)
	}
	if d.err != nil {
		return Seen{}, nil, d.err
	}
	n, bits := int(count), 0
	if retried {
		bits = bitBytes(n)
	}
	if len(d.rest) < n*len(Op{})+bits {
		return Seen{}, nil, errShort
	}
	for range n {
		op := Op(d.rest[:len(Op{})])
		d.rest = d.rest[len(op):]
		if op == (Op{}) || s.HasOp(op) {
			return Seen{}, nil, errForm
		}
		s.ops = append(s.ops, knownOp{Op: op})
	}
	if retried && !s.setRetried(d.rest[:bits]) {
		return Seen{}, nil, errForm
	}
	return s, d.rest[bits:], nil
}

// setRetried sets what was retried by a bit for each operation. At least one must be, and no bit be left.
func (s Seen) setRetried(bits []byte) (ok bool) {
	for i := range 8 * len(bits) {
		set := bits[i/8]&(1<<(i%8)) != 0
		if set && i >= len(s.ops) {
			return false
		}
		if set {
			s.ops[i].retried, ok = true, true
		}
	}
	return ok
}
