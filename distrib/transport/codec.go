package transport

import (
	"encoding/binary"
	"fmt"
	"sync"

	"google.golang.org/grpc/encoding"
	"google.golang.org/grpc/mem"
	"google.golang.org/protobuf/encoding/protowire"
)

// codec writes and reads the Batch of peer.proto, byte for byte as protobuf does, without copying what it holds more
// often than gRPC itself.
type codec struct{}

const codecName = "cambium-peer"

func init() { encoding.RegisterCodecV2(codec{}) }

// Name implements encoding.CodecV2.
func (codec) Name() string { return codecName }

// The tags of a Batch's fields.
const (
	epochField, framesField = 1, 2

	headRoom = 2*(1+binary.MaxVarintLen64) + frameRoom
)

// outBatch is a Batch to be sent: frames that were gathered in a buffer, or a piece of one.
type outBatch struct {
	epoch uint64
	small *buffer
	total int // where small is nil: the length of the frame that the piece is of
	piece []byte
}

// appendBatchHead appends what stands before the frames of a Batch.
func appendBatchHead(dst []byte, epoch uint64, frames int) []byte {
	if epoch != 0 {
		dst = protowire.AppendTag(dst, epochField, protowire.VarintType)
		dst = protowire.AppendVarint(dst, epoch)
	}
	dst = protowire.AppendTag(dst, framesField, protowire.BytesType)
	return protowire.AppendVarint(dst, uint64(frames))
}

// Marshal implements encoding.CodecV2.
func (codec) Marshal(v any) (mem.BufferSlice, error) {
	b, ok := v.(*outBatch)
	if !ok {
		return nil, fmt.Errorf("%s: cannot send a %T", codecName, v)
	}
	if b.small != nil {
		return mem.BufferSlice{b.small.message(b.epoch)}, nil
	}
	head := appendPieceHead(make([]byte, 0, headRoom), b.total, len(b.piece))
	frames := len(head) + len(b.piece)
	head = append(appendBatchHead(make([]byte, 0, headRoom), b.epoch, frames), head...)
	return mem.BufferSlice{mem.SliceBuffer(head), mem.SliceBuffer(b.piece)}, nil
}

// inBatch is a Batch received.
type inBatch struct {
	epoch  uint64
	frames []byte // owned by nobody else
}

// Unmarshal implements encoding.CodecV2.
func (codec) Unmarshal(data mem.BufferSlice, v any) error {
	b, ok := v.(*inBatch)
	if !ok {
		return fmt.Errorf("%s: cannot receive a %T", codecName, v)
	}
	return b.decode(data.Materialize())
}

func (b *inBatch) decode(raw []byte) error {
	*b = inBatch{}
	for len(raw) > 0 {
		field, typ, n := protowire.ConsumeTag(raw)
		if n < 0 {
			return fmt.Errorf("batch: %w", protowire.ParseError(n))
		}
		raw = raw[n:]
		switch {
		case field == epochField && typ == protowire.VarintType:
			b.epoch, n = protowire.ConsumeVarint(raw)
		case field == framesField && typ == protowire.BytesType:
			b.frames, n = protowire.ConsumeBytes(raw)
		default: // of a later version
			n = protowire.ConsumeFieldValue(field, typ, raw)
		}
		if n < 0 {
			return fmt.Errorf("batch: field %d: %w", field, protowire.ParseError(n))
		}
		raw = raw[n:]
	}
	return nil
}

// buffer gathers frames. It leaves room for what stands before them in a message, and is used again when gRPC
// has sent it.
type buffer struct {
	b    []byte // headRoom bytes, then the frames
	sent []byte // the part of b that is the message
}

var buffers = sync.Pool{New: func() any { return &buffer{b: make([]byte, headRoom, 4<<10)} }}

func newBuffer() *buffer {
	b := buffers.Get().(*buffer)
	b.b = b.b[:headRoom]
	return b
}

func (b *buffer) frames() int { return len(b.b) - headRoom }

func (b *buffer) message(epoch uint64) mem.Buffer {
	var room [headRoom]byte
	head := appendBatchHead(room[:0], epoch, b.frames())
	start := headRoom - len(head)
	copy(b.b[start:], head)
	b.sent = b.b[start:]
	return mem.NewBuffer(&b.sent, (*returned)(b))
}

// returned is a buffer as the pool to which gRPC gives it back.
type returned buffer

// Get implements mem.BufferPool.
func (*returned) Get(length int) *[]byte {
	b := make([]byte, length)
	return &b
}

// Put implements mem.BufferPool.
func (r *returned) Put(*[]byte) {
	if r.sent = nil; cap(r.b) <= 4*pieceBytes {
		buffers.Put((*buffer)(r))
	}
}
