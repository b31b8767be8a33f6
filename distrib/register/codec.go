package register

import (
	"encoding/binary"
	"fmt"

	"github.com/cambiumdb/cambium/distrib"
	"github.com/cambiumdb/cambium/distrib/vclock"
)

// What travels between nodes. A ballot, a value and a record are as in a State; bytes are a length and the bytes.
//
//	request   = version:1 ‖ kind:1 ‖ flags:1 ‖ ballot ‖ next ‖ have ‖ decided ‖ [value]            a value in an Accept
//	reply     = version:1 ‖ kind:1 ‖ flags:1 ‖ ballot ‖ promised ‖ accepted ‖ fence ‖ data ‖ [value]
//	operation = version:1 ‖ kind:1 ‖ if:1 ‖ flags:1 ‖ id:16 ‖ since:8 ‖ time:8 ‖ expires:8 ‖ seen ‖ expect ‖ data
//	result    = version:1 ‖ outcome:1 ‖ verdict:1 ‖ op:16 ‖ strays ‖ record
//	decisions = version:1 ‖ count ‖ (key ‖ ballot)..
//	behind    = version:1 ‖ count ‖ place..
//
// data of a reply is the bytes of a record; a reply has a value unless it is Omitted or of nothing.
const travelVersion = 1

const (
	flagDigest  = 1 << iota // of a request
	flagOK                  // of a reply
	flagOmitted             // of a reply
	flagValue               // of a reply
	flagDeleted             // of an operation
	flagRetried             // of an operation
)

func appendBytes(dst, b []byte) []byte {
	return append(binary.AppendUvarint(dst, uint64(len(b))), b...)
}

// mark is bit where it is set.
func mark(set bool, bit byte) byte {
	if set {
		return bit
	}
	return 0
}

// AppendRequest appends the encoding of r to dst and returns it.
func AppendRequest(dst []byte, r *Request) []byte {
	dst = append(dst, travelVersion, byte(r.Kind), mark(r.Digest, flagDigest))
	for _, b := range [...]Ballot{r.Ballot, r.Next, r.Have, r.Decided} {
		dst = AppendBallot(dst, b)
	}
	if r.Kind == Accept {
		dst = AppendValue(dst, &r.Value)
	}
	return dst
}

// DecodeRequest reads what AppendRequest made, which must be all of b. The bytes of values alias b.
func DecodeRequest(b []byte) (r Request, err error) {
	d := newDecoder(b)
	d.version()
	r.Kind = RequestKind(d.upTo(byte(Ask), "kind"))
	r.Digest = d.flags(flagDigest)&flagDigest != 0
	r.Ballot, r.Next, r.Have, r.Decided = d.ballot(), d.ballot(), d.ballot(), d.ballot()
	if r.Kind == Accept {
		r.Value = d.value()
	}
	if err := d.end(); err != nil {
		return Request{}, err
	}
	return r, nil
}

// AppendReply appends the encoding of r to dst and returns it.
func AppendReply(dst []byte, r *Reply) []byte {
	has := !r.Omitted && !r.Accepted.Zero() && r.OK
	dst = append(dst, travelVersion, byte(r.Kind), mark(r.OK, flagOK)|mark(r.Omitted, flagOmitted)|mark(has, flagValue))
	for _, b := range [...]Ballot{r.Ballot, r.Promised, r.Accepted} {
		dst = AppendBallot(dst, b)
	}
	dst = binary.AppendUvarint(dst, r.Fence)
	if len(r.Data) == 0 {
		dst = append(dst, 0)
	} else {
		dst = appendBytes(dst, distrib.AppendRecord(nil, r.Data))
	}
	if has {
		dst = AppendValue(dst, &r.Value)
	}
	return dst
}

// DecodeReply reads what AppendReply made, which must be all of b. The bytes of values alias b.
func DecodeReply(b []byte) (r Reply, err error) {
	d := newDecoder(b)
	d.version()
	r.Kind = RequestKind(d.upTo(byte(Ask), "kind"))
	flags := d.flags(flagOK | flagOmitted | flagValue)
	r.OK, r.Omitted = flags&flagOK != 0, flags&flagOmitted != 0
	r.Ballot, r.Promised, r.Accepted, r.Fence = d.ballot(), d.ballot(), d.ballot(), d.Uvarint()
	if data := d.bytes(); len(data) > 0 {
		r.Data = d.record(data)
	}
	if flags&flagValue != 0 {
		r.Value = d.value()
	}
	if err := d.end(); err != nil {
		return Reply{}, err
	}
	return r, nil
}

// AppendOperation appends the encoding of o to dst and returns it.
func AppendOperation(dst []byte, o *Operation) []byte {
	dst = append(dst, travelVersion, byte(o.Kind), byte(o.If), mark(o.Value.Deleted, flagDeleted)|mark(o.Retried, flagRetried))
	dst = append(dst, o.ID[:]...)
	dst = binary.BigEndian.AppendUint64(dst, uint64(o.Since))
	dst = binary.BigEndian.AppendUint64(dst, uint64(o.Value.Time))
	dst = binary.BigEndian.AppendUint64(dst, uint64(o.Value.Expires))
	dst = o.Context.Append(dst)
	return appendBytes(appendBytes(dst, o.Expect), o.Value.Data)
}

// DecodeOperation reads what AppendOperation made, which must be all of b. Its bytes alias b.
func DecodeOperation(b []byte) (o Operation, err error) {
	d := newDecoder(b)
	d.version()
	o.Kind, o.If = Kind(d.upTo(byte(Resolve), "kind")), Condition(d.upTo(byte(Beside), "condition"))
	flags := d.flags(flagDeleted | flagRetried)
	o.Value.Deleted, o.Retried = flags&flagDeleted != 0, flags&flagRetried != 0
	o.ID, o.Since = d.op(), d.time()
	o.Value.Time, o.Value.Expires = d.time(), int64(d.Uint64())
	if d.Err == nil {
		var rest []byte
		if o.Context, rest, err = vclock.DecodeSeen(d.Rest); err != nil {
			d.Fail(err.Error())
		}
		d.Rest = rest
	}
	o.Expect, o.Value.Data = d.bytes(), d.bytes()
	if o.Value.Deleted && len(o.Value.Data) > 0 {
		d.Fail("a deleted value has bytes")
	}
	if o.Value.Deleted {
		o.Value.Data = nil
	}
	if err := d.end(); err != nil {
		return Operation{}, err
	}
	return o, nil
}

// AppendResult appends the encoding of r to dst and returns it.
func AppendResult(dst []byte, r *Result) []byte {
	dst = append(append(dst, travelVersion, byte(r.Outcome), byte(r.Verdict)), r.Op[:]...)
	return distrib.AppendRecord(binary.AppendUvarint(dst, uint64(r.Strays)), r.Record)
}

// DecodeResult reads what AppendResult made, which must be all of b. The bytes of values alias b.
func DecodeResult(b []byte) (r Result, err error) {
	d := newDecoder(b)
	d.version()
	r.Outcome, r.Verdict = Outcome(d.upTo(byte(Unknown), "outcome")), Verdict(d.upTo(byte(Forgotten), "verdict"))
	r.Op, r.Strays = d.op(), int(d.Uvarint())
	if r.Strays < 0 || r.Outcome == 0 {
		d.Fail("a result that is none")
	}
	if d.Err == nil {
		r.Record = d.record(d.Rest)
		d.Rest = nil
	}
	if err := d.end(); err != nil {
		return Result{}, err
	}
	return r, nil
}

func (d *decoder) version() {
	if v := d.Byte(); d.Err == nil && v != travelVersion {
		d.Fail(fmt.Sprintf("version %d, this program knows %d", v, travelVersion))
	}
}

// upTo reads a byte of at most limit.
func (d *decoder) upTo(limit byte, what string) byte {
	b := d.Byte()
	if b > limit {
		d.Fail(fmt.Sprintf("unknown %s %d", what, b))
	}
	return b
}

func (d *decoder) flags(known byte) byte {
	b := d.Byte()
	if b&^known != 0 {
		d.Fail("unknown flags")
	}
	return b
}

func (d *decoder) bytes() []byte { return d.Take(d.Count(1)) }

func (d *decoder) op() (id distrib.OpID) {
	copy(id[:], d.Take(len(id)))
	return id
}

func (d *decoder) record(b []byte) distrib.Record {
	if d.Err != nil {
		return nil
	}
	r, err := distrib.DecodeRecord(b)
	if err != nil {
		d.Fail(err.Error())
	}
	return r
}

// end returns what was wrong with what must have been read whole.
func (d *decoder) end() error {
	if d.Err == nil && len(d.Rest) > 0 {
		d.Fail(fmt.Sprintf("%d bytes behind the end", len(d.Rest)))
	}
	return d.wrong()
}
