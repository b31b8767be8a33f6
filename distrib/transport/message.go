package transport

import (
	"encoding/binary"
	"fmt"

	"github.com/cambiumdb/cambium/distrib"
	"github.com/cambiumdb/cambium/distrib/vclock"
	"github.com/cambiumdb/cambium/internal/decode"
)

// The bodies of requests and answers, without the remaining time that requests begin with. key and data are a
// length and bytes; seen and record are as packages vclock and distrib encode them; dots are a count and three
// numbers each.
//
//	put          = flags:1 ‖ sync:1 ‖ for ‖ key ‖ seen ‖ time:8 ‖ expires:8 ‖ [op:16] ‖ data
//	put answer   = flags:1 ‖ siblings ‖ record of the one sibling
//	merge        = sync:1 ‖ for ‖ key ‖ record
//	read         = flags:1 ‖ for ‖ key
//	read answer  = flags:1 ‖ record or dots
//	step         = key ‖ request             likewise operate; their answers are bytes
//	parts        = first:8 ‖ last:8 ‖ parts
//	parts answer = count ‖ (first:8 ‖ last:8 ‖ keys ‖ bytes ‖ sum:8)..
//	keys         = flags:1 ‖ first:8 ‖ last:8 ‖ limit ‖ bytes
//	keys answer  = count ‖ (key ‖ dots ‖ register ‖ record)..     each with its length, 0: it was not asked for

const (
	flagDeleted = 1 << iota
	flagOp
	flagDigest
	flagPartial
	flagSameData // the bytes of the value are those of the request
	flagRecords
	flagRetried
	flagLinearizable
)

// bodyRoom is more than a body takes beside keys, data and clocks.
const bodyRoom = 128

// outgoing is a body that can be sent.
type outgoing interface {
	// size is about how many bytes append will append.
	size() int
	append(dst []byte) []byte
}

type (
	putRequest   distrib.PutRequest
	mergeRequest distrib.MergeRequest
	readRequest  distrib.ReadRequest
	readAnswer   distrib.ReadReply
	partsRequest distrib.PartsRequest
	partsAnswer  []distrib.Part
	keysRequest  distrib.KeysRequest
	keysAnswer   []distrib.KeyDots
	noAnswer     struct{}

	registerRequest struct{ key, body []byte }
	registerAnswer  []byte
)

func appendBytes(dst, b []byte) []byte {
	return append(binary.AppendUvarint(dst, uint64(len(b))), b...)
}

func (r *putRequest) size() int { return bodyRoom + len(r.Key) + len(r.Value.Data) }

func (r *putRequest) append(dst []byte) []byte {
	flags := byte(0)
	if r.Value.Deleted {
		flags |= flagDeleted
	}
	if r.Op != (distrib.OpID{}) {
		flags |= flagOp
	}
	if r.Retried {
		flags |= flagRetried
	}
	dst = append(dst, flags, byte(r.Sync))
	dst = binary.AppendUvarint(dst, r.For)
	dst = appendBytes(dst, r.Key)
	dst = r.Past.Append(dst)
	dst = binary.BigEndian.AppendUint64(dst, uint64(r.Value.Time))
	dst = binary.BigEndian.AppendUint64(dst, uint64(r.Value.Expires))
	if flags&flagOp != 0 {
		dst = append(dst, r.Op[:]...)
	}
	return appendBytes(dst, r.Value.Data)
}

func decodePut(b []byte) (*distrib.PutRequest, error) {
	d := newDecoder(b)
	flags := d.Byte()
	r := &distrib.PutRequest{Sync: distrib.Sync(d.Byte()), For: d.Uvarint(), Key: d.bytes(), Past: d.seen()}
	r.Value.Time, r.Value.Expires = distrib.Timestamp(d.Uint64()), int64(d.Uint64())
	if flags&flagOp != 0 {
		copy(r.Op[:], d.Take(len(r.Op)))
	}
	r.Value.Data, r.Value.Deleted, r.Retried = d.bytes(), flags&flagDeleted != 0, flags&flagRetried != 0
	if r.Value.Deleted && len(r.Value.Data) > 0 {
		d.Fail("a deleted value has bytes")
	}
	if r.Value.Deleted {
		r.Value.Data = nil
	}
	return r, d.end("put")
}

// putAnswer is the answer to a put of data: that is not sent back where the sibling holds just this.
type putAnswer struct {
	*distrib.PutReply
	data []byte
}

func (r *putAnswer) size() int { return bodyRoom + len(r.Sibling.Value.Data) }

func (r *putAnswer) append(dst []byte) []byte {
	s, flags := r.Sibling, byte(0)
	if n := len(r.data); n > 0 && len(s.Value.Data) == n && &s.Value.Data[0] == &r.data[0] {
		flags, s.Value.Data = flagSameData, nil
	}
	dst = binary.AppendUvarint(append(dst, flags), uint64(r.Siblings))
	return distrib.AppendRecord(dst, distrib.Record{s})
}

// decodePutAnswer reads the answer to a put of data.
func decodePutAnswer(b, data []byte) (*distrib.PutReply, error) {
	d := newDecoder(b)
	flags := d.Byte()
	r := &distrib.PutReply{Siblings: int(d.Uvarint())}
	record := d.record()
	switch {
	case d.Err != nil:
	case len(record) != 1:
		d.Fail(fmt.Sprintf("%d siblings, want 1", len(record)))
	default:
		if r.Sibling = record[0]; flags&flagSameData != 0 {
			r.Sibling.Value.Data = data
		}
	}
	return r, d.end("answer to a put")
}

func recordSize(r distrib.Record) int {
	n := bodyRoom
	for i := range r {
		n += bodyRoom + len(r[i].Value.Data)
	}
	return n
}

func (r *mergeRequest) size() int { return bodyRoom + len(r.Key) + recordSize(r.Record) }

func (r *mergeRequest) append(dst []byte) []byte {
	dst = binary.AppendUvarint(append(dst, byte(r.Sync)), r.For)
	return distrib.AppendRecord(appendBytes(dst, r.Key), r.Record)
}

func decodeMerge(b []byte) (*distrib.MergeRequest, error) {
	d := newDecoder(b)
	r := &distrib.MergeRequest{Sync: distrib.Sync(d.Byte()), For: d.Uvarint(), Key: d.bytes(), Record: d.record()}
	return r, d.end("merge")
}

func (noAnswer) size() int                { return 0 }
func (noAnswer) append(dst []byte) []byte { return dst }

func (r *readRequest) size() int { return bodyRoom + len(r.Key) }

func (r *readRequest) append(dst []byte) []byte {
	flags := byte(0)
	if r.Digest {
		flags |= flagDigest
	}
	if r.Partial {
		flags |= flagPartial
	}
	return appendBytes(binary.AppendUvarint(append(dst, flags), r.For), r.Key)
}

func decodeRead(b []byte) (*distrib.ReadRequest, error) {
	d := newDecoder(b)
	flags := d.Byte()
	r := &distrib.ReadRequest{Digest: flags&flagDigest != 0, Partial: flags&flagPartial != 0, For: d.Uvarint(), Key: d.bytes()}
	return r, d.end("read")
}

func (r *readAnswer) size() int { return recordSize(r.Record) + len(r.Dots)*bodyRoom/4 }

func (r *readAnswer) append(dst []byte) []byte {
	flags := byte(0)
	if r.Linearizable {
		flags |= flagLinearizable
	}
	if r.Dots != nil {
		return appendDots(append(dst, flags|flagDigest), r.Dots)
	}
	return distrib.AppendRecord(append(dst, flags), r.Record)
}

func decodeReadAnswer(b []byte) (*distrib.ReadReply, error) {
	d, r := newDecoder(b), &distrib.ReadReply{}
	flags := d.Byte()
	if r.Linearizable = flags&flagLinearizable != 0; flags&flagDigest != 0 {
		r.Dots = d.dots()
	} else {
		r.Record = d.record()
	}
	return r, d.end("answer to a read")
}

func (r registerRequest) size() int { return bodyRoom + len(r.key) + len(r.body) }

func (r registerRequest) append(dst []byte) []byte { return append(appendBytes(dst, r.key), r.body...) }

func decodeRegisterRequest(b []byte) (r registerRequest, err error) {
	d := newDecoder(b)
	r.key = d.bytes()
	r.body = d.Take(len(d.Rest))
	return r, d.end("request to a register")
}

func (r registerAnswer) size() int { return len(r) }

func (r registerAnswer) append(dst []byte) []byte { return append(dst, r...) }

func (r *partsRequest) size() int { return bodyRoom }

func (r *partsRequest) append(dst []byte) []byte {
	dst = binary.BigEndian.AppendUint64(dst, r.First)
	dst = binary.BigEndian.AppendUint64(dst, r.Last)
	return binary.AppendUvarint(dst, uint64(r.Parts))
}

func decodeParts(b []byte) (*distrib.PartsRequest, error) {
	d := newDecoder(b)
	r := &distrib.PartsRequest{First: d.Uint64(), Last: d.Uint64(), Parts: int(d.Uvarint())}
	if r.Parts < 1 || r.Parts > distrib.MaxParts {
		d.Fail(fmt.Sprintf("%d parts, want 1 to %d", r.Parts, distrib.MaxParts))
	}
	return r, d.end("parts")
}

func (r partsAnswer) size() int { return bodyRoom + len(r)*bodyRoom/2 }

func (r partsAnswer) append(dst []byte) []byte {
	dst = binary.AppendUvarint(dst, uint64(len(r)))
	for _, p := range r {
		dst = binary.BigEndian.AppendUint64(dst, p.First)
		dst = binary.BigEndian.AppendUint64(dst, p.Last)
		dst = binary.AppendUvarint(dst, uint64(p.Keys))
		dst = binary.AppendUvarint(dst, uint64(p.Bytes))
		dst = binary.BigEndian.AppendUint64(dst, p.Sum)
	}
	return dst
}

func decodePartsAnswer(b []byte) ([]distrib.Part, error) {
	d := newDecoder(b)
	parts := make([]distrib.Part, d.Count(8+8+1+1+8))
	for i := range parts {
		parts[i] = distrib.Part{First: d.Uint64(), Last: d.Uint64(), Keys: int(d.Uvarint()), Bytes: int64(d.Uvarint()), Sum: d.Uint64()}
	}
	return parts, d.end("answer to parts")
}

func (r *keysRequest) size() int { return bodyRoom }

func (r *keysRequest) append(dst []byte) []byte {
	flags := byte(0)
	if r.Records {
		flags |= flagRecords
	}
	if r.Registers {
		flags |= flagLinearizable
	}
	dst = append(dst, flags)
	dst = binary.BigEndian.AppendUint64(dst, r.First)
	dst = binary.BigEndian.AppendUint64(dst, r.Last)
	return binary.AppendUvarint(binary.AppendUvarint(dst, uint64(r.Limit)), uint64(r.Bytes))
}

func decodeKeys(b []byte) (*distrib.KeysRequest, error) {
	d := newDecoder(b)
	flags := d.Byte()
	r := &distrib.KeysRequest{Records: flags&flagRecords != 0, Registers: flags&flagLinearizable != 0, First: d.Uint64(), Last: d.Uint64(), Limit: int(d.Uvarint()), Bytes: int(d.Uvarint())}
	switch {
	case flags&^(flagRecords|flagLinearizable) != 0:
		d.Fail("unknown flags")
	case r.Limit < 0 || r.Bytes < 0:
		d.Fail("a limit below 0")
	}
	return r, d.end("keys")
}

func (r keysAnswer) size() int {
	n := bodyRoom
	for i := range r {
		n += bodyRoom/4*(1+len(r[i].Dots)) + len(r[i].Key) + len(r[i].Register)
		if r[i].Record != nil {
			n += recordSize(r[i].Record)
		}
	}
	return n
}

func (r keysAnswer) append(dst []byte) []byte {
	dst = binary.AppendUvarint(dst, uint64(len(r)))
	for i := range r {
		dst = appendBytes(appendDots(appendBytes(dst, r[i].Key), r[i].Dots), r[i].Register)
		if r[i].Record == nil {
			dst = append(dst, 0)
			continue
		}
		record := distrib.AppendRecord(make([]byte, 0, recordSize(r[i].Record)), r[i].Record)
		dst = appendBytes(dst, record)
	}
	return dst
}

func decodeKeysAnswer(b []byte) ([]distrib.KeyDots, error) {
	d := newDecoder(b)
	keys := make([]distrib.KeyDots, d.Count(4))
	for i := range keys {
		keys[i] = distrib.KeyDots{Key: d.bytes(), Dots: d.dots()}
		if b := d.bytes(); len(b) > 0 {
			keys[i].Register = b
		}
		if record := d.bytes(); len(record) > 0 {
			part := newDecoder(record)
			if keys[i].Record = part.record(); part.Err != nil {
				d.Fail(part.Err.Error())
			}
		}
	}
	return keys, d.end("answer to keys")
}

func appendDots(dst []byte, dots []vclock.Dot) []byte {
	dst = binary.AppendUvarint(dst, uint64(len(dots)))
	for _, dot := range dots {
		dst = binary.AppendUvarint(dst, dot.Node)
		dst = binary.AppendUvarint(dst, dot.Birth)
		dst = binary.AppendUvarint(dst, dot.Counter)
	}
	return dst
}

// decoder reads the parts of a body.
type decoder struct{ decode.Reader }

func newDecoder(b []byte) decoder { return decoder{decode.Reader{Rest: b}} }

// end returns what was wrong with a body of that name, which must have been read whole.
func (d *decoder) end(name string) error {
	if d.Err == nil && len(d.Rest) > 0 {
		d.Fail(fmt.Sprintf("%d bytes behind the end", len(d.Rest)))
	}
	if d.Err != nil {
		return fmt.Errorf("%s: %w", name, d.Err)
	}
	return nil
}

func (d *decoder) bytes() []byte { return d.Take(d.Count(1)) }

func (d *decoder) seen() vclock.Seen {
	s, rest, err := vclock.DecodeSeen(d.Rest)
	if err != nil {
		d.Fail(err.Error())
		return vclock.Seen{}
	}
	d.Rest = rest
	return s
}

// record reads what is left.
func (d *decoder) record() distrib.Record {
	r, err := distrib.DecodeRecord(d.Rest)
	if err != nil {
		d.Fail(err.Error())
	}
	d.Rest = nil
	return r
}

func (d *decoder) dots() []vclock.Dot {
	dots := make([]vclock.Dot, d.Count(3))
	for i := range dots {
		dots[i] = vclock.Dot{Actor: vclock.Actor{Node: d.Uvarint(), Birth: d.Uvarint()}, Counter: d.Uvarint()}
	}
	return dots
}
