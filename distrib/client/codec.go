package client

import (
	"bytes"
	"errors"
	"fmt"
	"time"

	"google.golang.org/grpc/mem"
	"google.golang.org/protobuf/encoding/protowire"

	"github.com/cambiumdb/cambium/distrib/api"
)

// The fields of SessionRequest and SessionResponse (kv.proto). The messages of a session are put together and taken
// apart by hand at this level, so that a request is encoded once for all its tries, by the goroutine that asks, and
// an answer is decoded by the goroutine that waits for it.
const (
	fieldID      protowire.Number = 1
	fieldTimeout protowire.Number = 2
	fieldParts   protowire.Number = 9

	requestGet     protowire.Number = 3
	requestPut     protowire.Number = 4
	requestDelete  protowire.Number = 5
	requestSwap    protowire.Number = 6
	requestResolve protowire.Number = 7
	requestBatch   protowire.Number = 8

	responseGet     protowire.Number = 2
	responsePut     protowire.Number = 3
	responseSwap    protowire.Number = 4
	responseResolve protowire.Number = 5
	responseFailure protowire.Number = 6
	responseBatch   protowire.Number = 7
	responsePart    protowire.Number = 8

	fieldInBatch protowire.Number = 1

	putRetried    protowire.Number = 7
	deleteRetried protowire.Number = 5
	swapRetried   protowire.Number = 9
)

const (
	// aloneBytes is from where on a request makes a message of its own, and is not copied into it.
	aloneBytes = 64 << 10
	// batchBytes bounds what is gathered into one message.
	batchBytes = 256 << 10
	// sharedBytes is up to where the answers of a message are copied out of it, so that none keeps the others.
	sharedBytes = 64 << 10
)

// codec hands outgoing bytes to gRPC and takes incoming ones.
type codec struct{}

type (
	outgoing mem.BufferSlice
	incoming struct {
		data  []byte
		owned mem.Buffer // what data belongs to, nil: nothing else uses it
	}
)

// Name implements encoding.CodecV2. To the node it is protobuf.
func (codec) Name() string { return "proto" }

// Marshal implements encoding.CodecV2.
func (codec) Marshal(v any) (mem.BufferSlice, error) {
	if m, ok := v.(outgoing); ok {
		return mem.BufferSlice(m), nil
	}
	return nil, fmt.Errorf("session: cannot send a %T", v)
}

// Unmarshal implements encoding.CodecV2.
func (codec) Unmarshal(data mem.BufferSlice, v any) error {
	m, ok := v.(*incoming)
	if !ok {
		return fmt.Errorf("session: cannot receive a %T", v)
	}
	if data.Len() > sharedBytes {
		m.data = data.Materialize()
		return nil
	}
	m.owned = data.MaterializeToBuffer(mem.DefaultBufferPool())
	m.data = m.owned.ReadOnlyData()
	return nil
}

// free gives the bytes back, if they are of a pool.
func (m *incoming) free() {
	if m.owned != nil {
		m.owned.Free()
	}
	*m = incoming{}
}

// keep returns the bytes to somebody who keeps them.
func (m *incoming) keep() []byte {
	b := m.data
	if m.owned != nil {
		b = bytes.Clone(b)
	}
	m.free()
	return b
}

// frame is a request as it stands in a message: the operation's encoded body, and what stands before it.
type frame struct {
	id      uint64
	timeout uint64 // ms; 0: none
	field   protowire.Number
	body    []byte
}

func (f *frame) size() int {
	n := 1 + protowire.SizeVarint(f.id) + 1 + protowire.SizeBytes(len(f.body))
	if f.timeout > 0 {
		n += 1 + protowire.SizeVarint(f.timeout)
	}
	if f.parts() {
		n += 2
	}
	return n
}

// parts reports whether the answer may be long: then it may come in parts.
func (f *frame) parts() bool { return f.field == requestGet || f.field == requestSwap }

// appendHead appends all of the frame but its body.
func (f *frame) appendHead(b []byte) []byte {
	b = protowire.AppendTag(b, fieldID, protowire.VarintType)
	b = protowire.AppendVarint(b, f.id)
	if f.timeout > 0 {
		b = protowire.AppendTag(b, fieldTimeout, protowire.VarintType)
		b = protowire.AppendVarint(b, f.timeout)
	}
	if f.parts() {
		b = appendUint(b, fieldParts, 1)
	}
	b = protowire.AppendTag(b, f.field, protowire.BytesType)
	return protowire.AppendVarint(b, uint64(len(f.body)))
}

// message makes a message of requests. The bytes of bodies above aloneBytes, which come alone, are not copied.
func message(frames []*frame) outgoing {
	if len(frames) == 1 && len(frames[0].body) > aloneBytes {
		f := frames[0]
		head := f.appendHead(make([]byte, 0, f.size()-len(f.body)))
		return outgoing{mem.SliceBuffer(head), mem.SliceBuffer(f.body)}
	}
	inner := 0
	for _, f := range frames {
		inner += 1 + protowire.SizeBytes(f.size())
	}
	pool := mem.DefaultBufferPool()
	buf := pool.Get(1 + protowire.SizeBytes(inner))
	b := (*buf)[:0]
	if len(frames) == 1 {
		b = append(frames[0].appendHead(b), frames[0].body...)
	} else {
		b = protowire.AppendTag(b, requestBatch, protowire.BytesType)
		b = protowire.AppendVarint(b, uint64(inner))
		for _, f := range frames {
			b = protowire.AppendTag(b, fieldInBatch, protowire.BytesType)
			b = protowire.AppendVarint(b, uint64(f.size()))
			b = append(f.appendHead(b), f.body...)
		}
	}
	*buf = b
	return outgoing{mem.NewBuffer(buf, pool)}
}

var errGarbage = errors.New("its answer makes no sense")

// eachAnswer calls deliver for each answer in a message: its id, the field of its result, and the result's bytes,
// which alias b.
func eachAnswer(b []byte, deliver func(id uint64, field protowire.Number, body []byte)) error {
	id, field, body, err := parseAnswer(b)
	if err != nil {
		return err
	}
	if field != responseBatch {
		deliver(id, field, body)
		return nil
	}
	for len(body) > 0 {
		num, typ, n := protowire.ConsumeTag(body)
		if n < 0 || num != fieldInBatch || typ != protowire.BytesType {
			return errGarbage
		}
		one, m := protowire.ConsumeBytes(body[n:])
		if m < 0 {
			return errGarbage
		}
		body = body[n+m:]
		id, field, result, err := parseAnswer(one)
		if err != nil || field == responseBatch {
			return errGarbage
		}
		deliver(id, field, result)
	}
	return nil
}

// parseAnswer takes a SessionResponse apart.
func parseAnswer(b []byte) (id uint64, field protowire.Number, body []byte, err error) {
	for len(b) > 0 {
		num, typ, n := protowire.ConsumeTag(b)
		if n < 0 {
			return 0, 0, nil, errGarbage
		}
		b = b[n:]
		switch {
		case num == fieldID && typ == protowire.VarintType:
			id, n = protowire.ConsumeVarint(b)
		case num >= responseGet && num <= responsePart && typ == protowire.BytesType:
			field = num
			body, n = protowire.ConsumeBytes(b)
		default: // of a later version
			n = protowire.ConsumeFieldValue(num, typ, b)
		}
		if n < 0 {
			return 0, 0, nil, errGarbage
		}
		b = b[n:]
	}
	return id, field, body, nil
}

// assembly puts answers together that come in parts, by id.
type assembly map[uint64]*partial

// partial is what has come of an answer, and how much it is in all.
type partial struct {
	got   []byte
	total int
}

// assembledAhead is how much room for an answer is made before its bytes are there.
const assembledAhead = 16 << 20

// add takes the next part of an answer. whole is the answer, after its last part.
func (a assembly) add(id uint64, part []byte) (whole []byte, err error) {
	var data []byte
	rest := uint64(0)
	f := fields{rest: part}
	for f.next() {
		switch f.num {
		case 1:
			data = f.body
		case 2:
			rest = f.n
		}
	}
	if f.err != nil || len(data) == 0 || rest > api.MaxAnswerBytes {
		return nil, errGarbage
	}
	p := a[id]
	if p == nil {
		total := len(data) + int(rest)
		p = &partial{total: total, got: make([]byte, 0, min(total, assembledAhead))}
		a[id] = p
	}
	p.got = append(p.got, data...)
	if len(p.got)+int(rest) != p.total || p.total > api.MaxAnswerBytes {
		return nil, errGarbage
	}
	if rest > 0 {
		return nil, nil
	}
	delete(a, id)
	return p.got, nil
}

// The bodies of requests, as kv.proto has them.

func appendGet(b, key []byte, o GetOptions) []byte {
	b = appendBytes(b, 1, key)
	b = o.Level.append(b, 2)
	if o.Repair {
		b = appendUint(b, 3, 1)
	}
	return b
}

func appendPut(b, key, value []byte, o PutOptions) []byte {
	b = appendBytes(b, 1, key)
	b = appendBytes(b, 2, value)
	b = o.Level.append(b, 3)
	b = appendBytes(b, 4, o.Context)
	b = appendUint(b, 5, milliseconds(o.TTL))
	return appendBytes(b, 6, o.Op[:])
}

// milliseconds is d; what is left of one is one.
func milliseconds(d time.Duration) uint64 {
	return uint64((d + time.Millisecond - 1) / time.Millisecond)
}

func appendDelete(b, key []byte, o DeleteOptions) []byte {
	b = appendBytes(b, 1, key)
	b = o.Level.append(b, 2)
	b = appendBytes(b, 3, o.Context)
	return appendBytes(b, 4, o.Op[:])
}

// append appends the level as a field, which is left out where all is at its default.
func (l Level) append(b []byte, field protowire.Number) []byte {
	if l == (Level{}) {
		return b
	}
	var room [32]byte
	m := appendUint(room[:0], 1, uint64(l.Consistency.wire()))
	m = appendUint(m, 2, uint64(l.Nodes))
	if l.Strict {
		m = appendUint(m, 3, 1)
	}
	return appendBytes(b, field, m)
}

func appendBytes(b []byte, field protowire.Number, v []byte) []byte {
	if len(v) == 0 {
		return b
	}
	b = protowire.AppendTag(b, field, protowire.BytesType)
	return protowire.AppendBytes(b, v)
}

func appendUint(b []byte, field protowire.Number, v uint64) []byte {
	if v == 0 {
		return b
	}
	b = protowire.AppendTag(b, field, protowire.VarintType)
	return protowire.AppendVarint(b, v)
}
