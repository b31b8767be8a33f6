package register

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/cambiumdb/cambium/distrib"
)

const stateVersion = 1

// AppendState appends the encoding of s to dst and returns it:
//
//	state  = version:1 ‖ promised ‖ accepted ‖ [value]      no value where accepted is zero
//	ballot = epoch ‖ time:8 ‖ node ‖ run
//	value  = birth ‖ forgotten:8 ‖ count ‖ (op:16 ‖ time:8 ‖ cancelled:1).. ‖ record
//
// record is as package distrib encodes it. Integers with a width are big-endian, others uvarints. Equal states have
// equal encodings.
func AppendState(dst []byte, s *State) []byte {
	dst = AppendBallot(append(dst, stateVersion), s.Promised)
	dst = AppendBallot(dst, s.Accepted)
	if s.Accepted.Zero() {
		return dst
	}
	return AppendValue(dst, &s.Value)
}

// AppendBallot appends the encoding of b to dst and returns it.
func AppendBallot(dst []byte, b Ballot) []byte {
	dst = binary.AppendUvarint(dst, b.Epoch)
	dst = binary.BigEndian.AppendUint64(dst, uint64(b.Time))
	dst = binary.AppendUvarint(dst, b.Node)
	return binary.AppendUvarint(dst, b.Run)
}

// AppendValue appends the encoding of v to dst and returns it.
func AppendValue(dst []byte, v *Value) []byte {
	dst = binary.AppendUvarint(dst, v.Birth)
	dst = binary.BigEndian.AppendUint64(dst, uint64(v.Forgotten))
	dst = binary.AppendUvarint(dst, uint64(len(v.Changes)))
	for _, c := range v.Changes {
		dst = binary.BigEndian.AppendUint64(append(dst, c.Op[:]...), uint64(c.Time))
		cancelled := byte(0)
		if c.Cancelled {
			cancelled = 1
		}
		dst = append(dst, cancelled)
	}
	return distrib.AppendRecord(dst, v.Record)
}

// DecodeState reads what AppendState made, which must be all of b. The bytes of values alias b.
func DecodeState(b []byte) (s State, err error) {
	d := decoder{rest: b}
	if v := d.take(1)[0]; d.err == nil && v != stateVersion {
		d.fail(fmt.Sprintf("version %d, this program knows %d: it was written by a newer one", v, stateVersion))
	}
	s.Promised, s.Accepted = d.ballot(), d.ballot()
	switch {
	case s.Promised.Compare(s.Accepted) < 0:
		d.fail("less is promised than accepted")
	case s.Accepted.Zero() && len(d.rest) > 0:
		d.fail("bytes behind the end")
	case !s.Accepted.Zero():
		s.Value = d.value()
	}
	if d.err != nil {
		return State{}, d.err
	}
	return s, nil
}

// DecodeBallot reads a ballot from the start of b and returns the bytes behind it.
func DecodeBallot(b []byte) (ballot Ballot, rest []byte, err error) {
	d := decoder{rest: b}
	ballot = d.ballot()
	return ballot, d.rest, d.err
}

// DecodeValue reads what AppendValue made, which must be all of b. The bytes of values alias b.
func DecodeValue(b []byte) (Value, error) {
	d := decoder{rest: b}
	v := d.value()
	return v, d.err
}

// decoder reads the parts of a state; its first error sticks.
type decoder struct {
	rest []byte
	err  error
}

func (d *decoder) fail(what string) {
	if d.err == nil {
		d.err = errors.New("register: " + what)
	}
	d.rest = nil
}

func (d *decoder) take(n int) []byte {
	if n > len(d.rest) {
		d.fail("bytes end early")
		return make([]byte, n)
	}
	b := d.rest[:n:n]
	d.rest = d.rest[n:]
	return b
}

func (d *decoder) uvarint() uint64 {
	v, n := binary.Uvarint(d.rest)
	if n <= 0 || n > 1 && d.rest[n-1] == 0 {
		d.fail("bad number")
		return 0
	}
	d.rest = d.rest[n:]
	return v
}

func (d *decoder) time() distrib.Timestamp {
	return distrib.Timestamp(binary.BigEndian.Uint64(d.take(8)))
}

func (d *decoder) ballot() Ballot {
	return Ballot{Epoch: d.uvarint(), Time: d.time(), Node: d.uvarint(), Run: d.uvarint()}
}

// value reads what is left, which must be a value.
func (d *decoder) value() (v Value) {
	v.Birth, v.Forgotten = d.uvarint(), d.time()
	n := d.uvarint()
	if n > MaxChanges {
		d.fail(fmt.Sprintf("%d changes, the limit is %d", n, MaxChanges))
		return Value{}
	}
	for range n {
		c := Change{Op: distrib.OpID(d.take(len(distrib.OpID{}))), Time: d.time()}
		cancelled := d.take(1)[0]
		if c.Cancelled = cancelled == 1; cancelled > 1 {
			d.fail("a mark that is none")
		}
		v.Changes = append(v.Changes, c)
		if d.err != nil {
			return Value{}
		}
	}
	if d.err != nil {
		return Value{}
	}
	var err error
	if v.Record, err = distrib.DecodeRecord(d.rest); err != nil {
		d.fail(err.Error())
		return Value{}
	}
	d.rest = nil
	return v
}
