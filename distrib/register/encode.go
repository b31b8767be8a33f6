package register

import (
	"encoding/binary"
	"fmt"

	"github.com/cambiumdb/cambium/distrib"
	"github.com/cambiumdb/cambium/internal/decode"
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
	d := newDecoder(b)
	if v := d.Byte(); d.Err == nil && v != stateVersion {
		d.Fail(fmt.Sprintf("version %d, this program knows %d: it was written by a newer one", v, stateVersion))
	}
	s.Promised, s.Accepted = d.ballot(), d.ballot()
	switch {
	case s.Promised.Compare(s.Accepted) < 0:
		d.Fail("less is promised than accepted")
	case s.Accepted.Zero() && len(d.Rest) > 0:
		d.Fail("bytes behind the end")
	case !s.Accepted.Zero():
		s.Value = d.value()
	}
	if d.Err != nil {
		return State{}, d.wrong()
	}
	return s, nil
}

// DecodeBallot reads a ballot from the start of b and returns the bytes behind it.
func DecodeBallot(b []byte) (ballot Ballot, rest []byte, err error) {
	d := newDecoder(b)
	ballot = d.ballot()
	return ballot, d.Rest, d.wrong()
}

// DecodeValue reads what AppendValue made, which must be all of b. The bytes of values alias b.
func DecodeValue(b []byte) (Value, error) {
	d := newDecoder(b)
	v := d.value()
	return v, d.wrong()
}

// decoder reads the parts of a state.
type decoder struct{ decode.Reader }

func newDecoder(b []byte) decoder { return decoder{decode.Reader{Rest: b}} }

// wrong says what is wrong with a state, nil: nothing.
func (d *decoder) wrong() error {
	if d.Err == nil {
		return nil
	}
	return fmt.Errorf("register: %w", d.Err)
}

func (d *decoder) time() distrib.Timestamp {
	return distrib.Timestamp(d.Uint64())
}

func (d *decoder) ballot() Ballot {
	return Ballot{Epoch: d.Uvarint(), Time: d.time(), Node: d.Uvarint(), Run: d.Uvarint()}
}

// value reads what is left, which must be a value.
func (d *decoder) value() (v Value) {
	v.Birth, v.Forgotten = d.Uvarint(), d.time()
	n := d.Uvarint()
	if n > MaxChanges {
		d.Fail(fmt.Sprintf("%d changes, the limit is %d", n, MaxChanges))
		return Value{}
	}
	for range n {
		c := Change{Op: distrib.OpID(d.Take(len(distrib.OpID{}))), Time: d.time()}
		cancelled := d.Byte()
		if c.Cancelled = cancelled == 1; cancelled > 1 {
			d.Fail("a mark that is none")
		}
		v.Changes = append(v.Changes, c)
		if d.Err != nil {
			return Value{}
		}
	}
	if d.Err != nil {
		return Value{}
	}
	var err error
	if v.Record, err = distrib.DecodeRecord(d.Rest); err != nil {
		d.Fail(err.Error())
		return Value{}
	}
	d.Rest = nil
	return v
}
