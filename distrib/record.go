package distrib

import (
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"github.com/cambiumdb/cambium/distrib/vclock"
	"github.com/cambiumdb/cambium/internal/decode"
)

// Timestamp is a hybrid logical clock's: milliseconds since 1970 in the upper 48 bits, a count below. It
// orders siblings for those who want the last one; nothing rests on it.
type Timestamp uint64

// TimestampOf is the first one of a millisecond.
func TimestampOf(t time.Time) Timestamp { return Timestamp(max(0, t.UnixMilli())) << 16 }

// Millis is the wall clock's part of t, in milliseconds since 1970.
func (t Timestamp) Millis() int64 { return int64(t >> 16) }

// Value is what a write wrote.
type Value struct {
	Data    []byte // nil where Deleted
	Deleted bool
	Expires int64 // milliseconds since 1970 from which on it is absent; 0: never
	Time    Timestamp
}

// Expired reports whether v is absent at now, in milliseconds since 1970, because of its time to live.
func (v *Value) Expired(now int64) bool { return v.Expires != 0 && v.Expires <= now }

// OpID names an operation of a client, so that it can be tried again without being done twice. The zero value
// names none.
type OpID = vclock.Op

// Sibling is a write and what its writer had seen.
type Sibling = vclock.Version[Value]

// Record is what a replica holds of a key. The empty one is that of a key never written.
type Record = vclock.Set[Value]

// InlineBytes is the longest value that stands in a record's head.
const InlineBytes = 4 << 10

const recordVersion = 1

// markLinearizable is set in the version of a head.
const markLinearizable = 0x80

const (
	flagDeleted = 1 << iota
	flagExpires
	flagOp
	flagApart   // the bytes are in an entry of their own
	flagRetried // there may be another dot of the operation
	flagsKnown  = flagDeleted | flagExpires | flagOp | flagApart | flagRetried
)

// AppendHead appends the encoding of h, whose Missing is not looked at, to dst and returns it. Values of more than InlineBytes
// are not in it, only their lengths: lengths has those of all, since the bytes of such a value need not be in h.
func AppendHead(dst []byte, h *Head, lengths []int) []byte {
	dst = appendDot(dst, h.Minted)
	version := len(dst)
	dst = appendCount(dst, h.Record)
	if h.Linearizable {
		dst[version] |= markLinearizable
	}
	for i := range h.Record {
		dst = appendSibling(dst, &h.Record[i], lengths[i], lengths[i] > InlineBytes)
	}
	return dst
}

// AppendRecord appends all of r to dst, as it travels between nodes, and returns it.
func AppendRecord(dst []byte, r Record) []byte {
	dst = appendCount(dst, r)
	for i := range r {
		dst = appendSibling(dst, &r[i], len(r[i].Value.Data), false)
	}
	return dst
}

func appendCount(dst []byte, r Record) []byte {
	return binary.AppendUvarint(append(dst, recordVersion), uint64(len(r)))
}

func appendSibling(dst []byte, s *Sibling, length int, apart bool) []byte {
	dst = appendDot(dst, s.Dot)
	dst = s.Past.Append(dst)
	v, flags := &s.Value, byte(0)
	if v.Deleted {
		flags |= flagDeleted
	}
	if v.Expires != 0 {
		flags |= flagExpires
	}
	if s.Op != (OpID{}) {
		flags |= flagOp
	}
	if apart {
		flags |= flagApart
	}
	if s.Retried {
		flags |= flagRetried
	}
	dst = append(dst, flags)
	dst = binary.BigEndian.AppendUint64(dst, uint64(v.Time))
	if flags&flagExpires != 0 {
		dst = binary.BigEndian.AppendUint64(dst, uint64(v.Expires))
	}
	if flags&flagOp != 0 {
		dst = append(dst, s.Op[:]...)
	}
	dst = binary.AppendUvarint(dst, uint64(length))
	if apart {
		return dst
	}
	return append(dst, v.Data...)
}

func appendDot(dst []byte, d vclock.Dot) []byte {
	dst = binary.AppendUvarint(dst, d.Node)
	dst = binary.AppendUvarint(dst, d.Birth)
	return binary.AppendUvarint(dst, d.Counter)
}

// DecodeRecord reads what AppendRecord made, which must be all of b. The record's bytes alias b.
func DecodeRecord(b []byte) (Record, error) {
	d := recordDecoder{Reader: decode.Reader{Rest: b}}
	r, missing := d.record(d.Byte())
	if d.Err == nil && len(missing) > 0 {
		return nil, errors.New("record: the bytes of a value are not there")
	}
	return r, d.wrong()
}

// Head is what stands in the head of a record.
type Head struct {
	Minted vclock.Dot // the last dot that the node gave the key; of counter 0 where it gave none
	// Linearizable: the node knows that the key's register holds it, so eventual writes go there.
	Linearizable bool
	Record       Record
	Missing      []Missing // what of it stands in entries of their own
}

// Bytes is what the record of a key of so many bytes counts for where data is counted: each version's value, and the
// key with it.
func (h *Head) Bytes(key int) (n int64) {
	for i := range h.Record {
		n += int64(key + len(h.Record[i].Value.Data))
	}
	for _, m := range h.Missing {
		n += int64(m.Bytes)
	}
	return n
}

// Missing is a value whose bytes are in an entry of their own: Bytes of them, to become the Data of the
// sibling of that index.
type Missing struct {
	Sibling int
	Bytes   int
}

// DecodeHead reads what AppendHead made, which must be all of b. The record's bytes alias b.
func DecodeHead(b []byte) (h Head, err error) {
	d := recordDecoder{Reader: decode.Reader{Rest: b}}
	h.Minted = d.dot()
	version := d.Byte()
	h.Linearizable = version&markLinearizable != 0
	h.Record, h.Missing = d.record(version &^ markLinearizable)
	if d.Err != nil {
		return Head{}, d.wrong()
	}
	return h, nil
}

// recordDecoder reads the parts of a record.
type recordDecoder struct {
	decode.Reader
	apart int // the length of the last sibling's value where that is in an entry of its own, else -1
}

// wrong says what is wrong with a record, nil: nothing.
func (d *recordDecoder) wrong() error {
	if d.Err == nil {
		return nil
	}
	return fmt.Errorf("record: %w", d.Err)
}

func (d *recordDecoder) dot() vclock.Dot {
	return vclock.Dot{Actor: vclock.Actor{Node: d.Uvarint(), Birth: d.Uvarint()}, Counter: d.Uvarint()}
}

// record reads what is left, which must be a record of that version.
func (d *recordDecoder) record(version byte) (r Record, missing []Missing) {
	if d.Err == nil && version != recordVersion {
		d.Fail(fmt.Sprintf("version %d, this program knows %d: it was written by a newer one", version, recordVersion))
	}
	const least = 3 + 1 + 1 + 1 + 8 + 1 // bytes of a sibling
	for n := d.Uvarint(); n > 0 && d.Err == nil; n-- {
		if n > uint64(len(d.Rest)/least) {
			d.Fail("bytes end early")
			break
		}
		s := d.sibling()
		if k := len(r); k > 0 && d.Err == nil && r[k-1].Dot.Compare(s.Dot) >= 0 {
			d.Fail("siblings out of order")
		}
		if d.apart >= 0 {
			missing = append(missing, Missing{len(r), d.apart})
		}
		r = append(r, s)
	}
	if d.Err == nil && len(d.Rest) > 0 {
		d.Fail("bytes behind the end")
	}
	if d.Err != nil {
		return nil, nil
	}
	return r, missing
}

func (d *recordDecoder) sibling() (s Sibling) {
	s.Dot = d.dot()
	d.apart = -1
	if d.Err != nil {
		return s
	}
	past, rest, err := vclock.DecodeSeen(d.Rest)
	if err != nil {
		d.Fail(err.Error())
		return s
	}
	s.Past, d.Rest = past, rest
	if s.Dot.Counter == 0 || past.Contains(s.Dot) {
		d.Fail("a version that has seen itself")
	}
	v, flags := &s.Value, d.Byte()
	if flags&^flagsKnown != 0 {
		d.Fail("unknown flags")
	}
	v.Deleted = flags&flagDeleted != 0
	v.Time = Timestamp(d.Uint64())
	if flags&flagExpires != 0 {
		if v.Expires = int64(d.Uint64()); v.Expires == 0 {
			d.Fail("an expiry of 0")
		}
	}
	if flags&flagOp != 0 {
		if s.Op = OpID(d.Take(len(s.Op))); s.Op == (OpID{}) || past.HasOp(s.Op) {
			d.Fail("a bad op id")
		}
	}
	if s.Retried = flags&flagRetried != 0; s.Retried && flags&flagOp == 0 {
		d.Fail("retried, without an op id")
	}
	n := d.Uvarint()
	switch {
	case n > 0 && v.Deleted:
		d.Fail("a deleted value has bytes")
	case flags&flagApart != 0 && (n <= InlineBytes || n > MaxValueBytes):
		d.Fail("a value apart of a length that is none")
	case flags&flagApart != 0:
		d.apart = int(n)
	case n > uint64(len(d.Rest)):
		d.Fail("bytes end early")
	case !v.Deleted:
		v.Data = d.Take(int(n))
	}
	return s
}
