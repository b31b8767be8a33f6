// Package batch encodes and decodes RocksDB's WriteBatch: the one record type of the
// write-ahead log and the unit that is applied atomically.
//
//	rep := make([]byte, batch.HeaderLen)
//	rep = batch.AppendOp(rep, ikey.KindSet, key, value)
//	batch.SetHeader(rep, seq, 1)
//	r, err := batch.NewReader(rep)
//	for op, ok, err := r.Next(); ok; op, ok, err = r.Next() { ... } // err ends the loop too
//
// # Format (db/write_batch.cc)
//
//	fixed64 sequence number of the first counted op ‖ fixed32 count ‖ ops
//	op = tag byte ‖ operands; each operand is varint32 length ‖ bytes
//
//	0x00 Delete{key}              0x01 Set{key, value}       0x03 LogData{blob}
//	0x07 SingleDelete{key}        0x0F RangeDelete{lo, hi}   0x11 BlobIndex{key, ref}
//	0x16 Entity{key, columns}     0x0D Noop{}
//	0x04 0x05 0x08 0x0E 0x10 0x17: as 0x00 0x01 0x07 0x0F 0x11 0x16 behind a varint32 column
//	family id, of which only 0, the default one, is read
//
// Every op but LogData and Noop is counted and takes the next sequence number. A batch with
// nothing but LogData has the count 0 and uses none, so readers skip it; the log pads its pages
// with such batches (see AppendFiller), starts each file with one (see AppendLogHeader), and notes
// in one that tables were ingested (see AppendIngestMark).
//
// All functions are pure. A Reader belongs to one goroutine; the slices it returns alias the
// batch. No input makes it panic or allocate in proportion to a length that it claims.
package batch

import (
	"encoding/binary"
	"fmt"

	"github.com/cambiumdb/cambium/internal/ikey"
)

// HeaderLen is the length in bytes of the sequence number and the count before the first op.
const HeaderLen = 12

// Tags that exist only in batches. Those that carry a column family id have the plain kind
// beside them.
const (
	tagCFDelete       = 0x04
	tagCFSet          = 0x05
	tagCFMerge        = 0x06
	tagCFSingleDelete = 0x08
	tagBeginPrepare   = 0x09
	tagEndPrepare     = 0x0A
	tagCommit         = 0x0B
	tagRollback       = 0x0C
	tagNoop           = 0x0D
	tagCFRangeDelete  = 0x0E
	tagCFBlobIndex    = 0x10
	tagBeginPersisted = 0x12
	tagBeginUnprepare = 0x13
	tagDeleteWithTS   = 0x14
	tagCommitWithTS   = 0x15
	tagCFEntity       = 0x17
	tagTimedPut       = 0x18
	tagCFTimedPut     = 0x19
)

// Op is one operation of a batch. A RangeDelete has its start in Key and its exclusive end in
// Value, a LogData its blob in Value. The slices alias the batch.
type Op struct {
	Kind       ikey.Kind
	Key, Value []byte
}

// AppendOp appends one op of the default column family to rep, which begins with a header
// already, and returns it. The count in the header is left to SetHeader. kind is one of
// Delete, SingleDelete (value is not used), Set, BlobIndex, Entity, RangeDelete (key is the
// start, value the end) and LogData (key is not used).
func AppendOp(rep []byte, kind ikey.Kind, key, value []byte) []byte {
	rep = append(rep, byte(kind))
	if kind != ikey.KindLogData {
		rep = appendBytes(rep, key)
	}
	if kind != ikey.KindDelete && kind != ikey.KindSingleDelete {
		rep = appendBytes(rep, value)
	}
	return rep
}

func appendBytes(dst, b []byte) []byte {
	dst = binary.AppendUvarint(dst, uint64(len(b)))
	return append(dst, b...)
}

// OpLen is the number of bytes that AppendOp adds for a key and a value of these lengths.
func OpLen(kind ikey.Kind, keyLen, valueLen int) int {
	n := 1
	if kind != ikey.KindLogData {
		n += uvarintLen(keyLen) + keyLen
	}
	if kind != ikey.KindDelete && kind != ikey.KindSingleDelete {
		n += uvarintLen(valueLen) + valueLen
	}
	return n
}

func uvarintLen(n int) int {
	l := 1
	for ; n >= 0x80; n >>= 7 {
		l++
	}
	return l
}

// SetHeader writes the sequence number of the first op and the number of counted ops into the
// first HeaderLen bytes of rep, which must be there.
func SetHeader(rep []byte, seq uint64, count uint32) {
	binary.LittleEndian.PutUint64(rep, seq)
	binary.LittleEndian.PutUint32(rep[8:], count)
}

// Header reads what SetHeader wrote. ok is false when rep is shorter than a header.
func Header(rep []byte) (seq uint64, count uint32, ok bool) {
	if len(rep) < HeaderLen {
		return 0, 0, false
	}
	return binary.LittleEndian.Uint64(rep), binary.LittleEndian.Uint32(rep[8:]), true
}

// Merge appends the ops of rep to dst, the batch whose sequence numbers come right before, so that both
// are one batch, and returns it. ok is false, and nothing changes, where the numbers do not follow each
// other or one of the two counts no op; it has the shape of wal.Options.Merge.
func Merge(dst, rep []byte) (merged []byte, ok bool) {
	seq, count, ok1 := Header(dst)
	next, more, ok2 := Header(rep)
	if !ok1 || !ok2 || count == 0 || more == 0 || seq+uint64(count) != next || count+more < more {
		return dst, false
	}
	SetHeader(dst, seq, count+more)
	return append(dst, rep[HeaderLen:]...), true
}

// UnsupportedError is returned for a batch that is well formed but uses a feature of RocksDB
// that this engine does not have. What names the feature.
type UnsupportedError struct {
	What string
	Key  []byte // the key concerned, nil where there is none; aliases the batch
}

// Error names the feature and the key.
func (e *UnsupportedError) Error() string {
	if e.Key == nil {
		return "unsupported in a write batch: " + e.What
	}
	return fmt.Sprintf("unsupported in a write batch: %s of key %q", e.What, e.Key)
}

// Reader walks the ops of a batch.
type Reader struct {
	rest  []byte
	at    int // offset of rest in the batch
	seq   uint64
	want  uint32
	got   uint32
	ended error // what Next returns from now on, with ok false
	done  bool
}

// NewReader returns a reader of rep, which must stay unchanged while it or an Op is used.
func NewReader(rep []byte) (*Reader, error) {
	seq, count, ok := Header(rep)
	if !ok {
		return nil, fmt.Errorf("write batch of %d bytes, want at least %d", len(rep), HeaderLen)
	}
	if seq > ikey.MaxSeq || uint64(count) > ikey.MaxSeq-seq {
		return nil, fmt.Errorf("write batch: sequence number %d with %d ops is beyond 56 bits", seq, count)
	}
	return &Reader{rest: rep[HeaderLen:], at: HeaderLen, seq: seq, want: count}, nil
}

// Seq returns the sequence number of the first counted op.
func (r *Reader) Seq() uint64 { return r.seq }

// Count returns the number of counted ops that the header states.
func (r *Reader) Count() uint32 { return r.want }

// Next returns the next op, counted or not. ok is false at the end, where err is nil when the
// count in the header was right. A feature that is not supported gives an *UnsupportedError.
// Ops of the default column family come as their plain kinds and SingleDelete as Delete.
func (r *Reader) Next() (op Op, ok bool, err error) {
	for !r.done {
		if len(r.rest) == 0 {
			r.done = true
			if r.got != r.want {
				r.ended = fmt.Errorf("write batch: header counts %d ops, found %d", r.want, r.got)
			}
			break
		}
		tag := r.rest[0]
		start := r.at
		r.skip(1)
		if tag == tagNoop {
			continue
		}
		op, err := r.op(tag)
		if err != nil {
			r.done = true
			if _, is := err.(*UnsupportedError); !is {
				err = fmt.Errorf("write batch: op at byte %d: %w", start, err)
			}
			r.ended = err
			break
		}
		if op.Kind != ikey.KindLogData {
			r.got++
		}
		return op, true, nil
	}
	return Op{}, false, r.ended
}

// op reads the operands that follow tag.
func (r *Reader) op(tag byte) (Op, error) {
	kind := ikey.Kind(tag)
	switch tag {
	case tagCFDelete, tagCFSet, tagCFMerge, tagCFSingleDelete, tagCFRangeDelete, tagCFBlobIndex, tagCFEntity, tagCFTimedPut:
		cf, err := r.uvarint32()
		if err != nil {
			return Op{}, fmt.Errorf("column family id: %w", err)
		}
		if cf != 0 {
			return Op{}, &UnsupportedError{What: fmt.Sprintf("column family %d", cf)}
		}
		kind = plain(tag)
	}
	switch kind {
	case ikey.KindLogData:
		blob, err := r.bytes()
		return Op{Kind: kind, Value: blob}, err
	case ikey.KindDelete, ikey.KindSingleDelete:
		key, err := r.bytes()
		return Op{Kind: ikey.KindDelete, Key: key}, err
	case ikey.KindSet, ikey.KindRangeDelete, ikey.KindBlobIndex, ikey.KindEntity:
		key, err := r.bytes()
		if err != nil {
			return Op{}, err
		}
		value, err := r.bytes()
		return Op{Kind: kind, Key: key, Value: value}, err
	case ikey.KindMerge:
		key, err := r.bytes()
		if err != nil {
			return Op{}, err
		}
		return Op{}, &UnsupportedError{What: "merge", Key: key}
	}
	if what := unsupported(tag); what != "" {
		return Op{}, &UnsupportedError{What: what}
	}
	return Op{}, fmt.Errorf("unknown tag 0x%02x", tag)
}

// plain maps a tag with a column family id to the kind without.
func plain(tag byte) ikey.Kind {
	switch tag {
	case tagCFDelete:
		return ikey.KindDelete
	case tagCFSet:
		return ikey.KindSet
	case tagCFMerge:
		return ikey.KindMerge
	case tagCFSingleDelete:
		return ikey.KindSingleDelete
	case tagCFRangeDelete:
		return ikey.KindRangeDelete
	case tagCFBlobIndex:
		return ikey.KindBlobIndex
	case tagCFEntity:
		return ikey.KindEntity
	}
	return tagTimedPut
}

func unsupported(tag byte) string {
	switch tag {
	case tagBeginPrepare, tagEndPrepare, tagCommit, tagRollback, tagBeginPersisted, tagBeginUnprepare:
		return "two-phase commit marker"
	case tagDeleteWithTS, tagCommitWithTS:
		return "user-defined timestamp"
	case tagTimedPut:
		return "TimedPut"
	}
	return ""
}

func (r *Reader) skip(n int) { r.rest, r.at = r.rest[n:], r.at+n }

func (r *Reader) uvarint32() (uint32, error) {
	v, n := binary.Uvarint(r.rest)
	if n <= 0 || v > 1<<32-1 {
		return 0, fmt.Errorf("bad varint32 at byte %d", r.at)
	}
	r.skip(n)
	return uint32(v), nil
}

func (r *Reader) bytes() ([]byte, error) {
	n, err := r.uvarint32()
	if err != nil {
		return nil, err
	}
	if uint64(n) > uint64(len(r.rest)) {
		return nil, fmt.Errorf("operand of %d bytes at byte %d, %d left", n, r.at, len(r.rest))
	}
	b := r.rest[:n:n]
	r.skip(int(n))
	return b, nil
}
