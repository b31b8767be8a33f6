package blob

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/cambiumdb/cambium/internal/corrupt"
	"github.com/cambiumdb/cambium/sstable/block"
)

// scanBytes is how much of the file a walk reads at once.
const scanBytes = 1 << 20

// Record is one record of a file as Iterate meets it. Its slices are valid until the callback
// returns.
type Record struct {
	Key    []byte
	Stored []byte // the value in the file's compression
	Index  Index  // what a table holds for it
}

// Iterate calls fn for every record in the order of the file, after checking its CRCs, and
// stops at the first error of fn. It returns the offset behind the last record.
//
// In a file with a footer every damage is a corrupt.Error, a wrong count too. In one without
// footer the first record that is incomplete or damaged is where the writer was killed: the
// walk ends there without an error and the offset says where.
func (r *Reader) Iterate(fn func(rec Record) error) (end int64, err error) {
	return r.iterate(&Dead{}, fn)
}

// iterate is Iterate over the records that are not dead.
func (r *Reader) iterate(dead *Dead, fn func(rec Record) error) (end int64, err error) {
	w := window{r: r}
	defer w.release()
	at, count := int64(HeaderLen), uint64(0)
	for at < r.End() {
		if near, ok := dead.skip(at); ok {
			if at, err = r.firstFrom(&w, near); err != nil {
				return near, err
			}
			continue
		}
		rec, err := r.record(&w, at)
		if err != nil {
			if _, damaged := corrupt.As(err); damaged && !r.closed {
				return at, nil
			}
			return at, err
		}
		if err := fn(rec); err != nil {
			return at, err
		}
		at = int64(rec.Index.Offset + rec.Index.Size)
		count++
	}
	if r.closed && count != r.count && dead.Empty() {
		return at, corrupt.Errorf(r.name, r.End(), "blob footer counts %d records, the file has %d", r.count, count)
	}
	return at, nil
}

// firstFrom returns the offset of the first record that begins in the unit at near, behind dead
// ones: the header's checksum tells where. Where the rest is too short for a record it is the end.
func (r *Reader) firstFrom(w *window, near int64) (at int64, err error) {
	if r.End()-near < unitBytes {
		return r.End(), nil
	}
	n := int(min(unitBytes-1+RecordHeaderLen, r.End()-near))
	b, err := w.get(near, n)
	if err != nil {
		return 0, err
	}
	for i := 0; i+RecordHeaderLen <= n; i++ {
		if _, err := decodeRecordHeader(b[i:]); err == nil {
			return near + int64(i), nil
		}
	}
	return 0, corrupt.Errorf(r.name, near, "no blob record begins here, where a live one should")
}

// record reads and checks the record at offset at.
func (r *Reader) record(w *window, at int64) (rec Record, err error) {
	room := uint64(r.End() - at)
	if room < RecordHeaderLen {
		return rec, corrupt.Errorf(r.name, at, "blob record header: %d bytes left of %d", room, RecordHeaderLen)
	}
	b, err := w.get(at, RecordHeaderLen)
	if err != nil {
		return rec, err
	}
	head, err := decodeRecordHeader(b)
	if err != nil {
		return rec, r.bad(at, err)
	}
	room -= RecordHeaderLen
	if head.keyLen > room || head.valueLen > room-head.keyLen {
		return rec, corrupt.Errorf(r.name, at, "blob record of %d+%d bytes, %d are left", head.keyLen, head.valueLen, room)
	}
	if head.keyLen > block.MaxSize || head.valueLen > block.MaxSize {
		return rec, corrupt.Errorf(r.name, at, "blob record of %d+%d bytes exceeds %d", head.keyLen, head.valueLen, block.MaxSize)
	}
	if b, err = w.get(at+RecordHeaderLen, int(head.keyLen+head.valueLen)); err != nil {
		return rec, err
	}
	rec.Key, rec.Stored = b[:head.keyLen:head.keyLen], b[head.keyLen:]
	if err := head.check(rec.Key, rec.Stored); err != nil {
		return rec, r.bad(at, err)
	}
	rec.Index = Index{
		File:        r.opts.FileNum,
		Offset:      uint64(at) + RecordHeaderLen + head.keyLen,
		Size:        head.valueLen,
		Compression: r.compression,
	}
	return rec, nil
}

// Value appends the uncompressed value of a record to dst.
func (r *Reader) Value(dst []byte, rec Record) ([]byte, error) {
	at := int64(rec.Index.Offset) - int64(len(rec.Key)) - RecordHeaderLen
	size, body, err := block.DecompressedSize(rec.Stored, r.compression)
	if err != nil {
		return dst, r.bad(at, fmt.Errorf("blob record: %w", err))
	}
	n := len(dst)
	if cap(dst)-n < size {
		dst = append(make([]byte, 0, n+size), dst...)
	}
	if err := block.Decompress(dst[n:n+size], body, r.compression, nil); err != nil {
		return dst[:n], r.bad(at, fmt.Errorf("blob record: %w", err))
	}
	return dst[:n+size], nil
}

// VerifyStats is what Verify saw.
type VerifyStats struct {
	Records    uint64
	Bytes      uint64 // of records, with headers and keys
	ValueBytes uint64 // of values, uncompressed
}

// Verify reads the whole file: header, every record with its CRCs and its compression, and the
// footer, whose absence is an error here. It passes over what is dead, which may have been given
// back: dead is then all that is dead, or nil.
func (r *Reader) Verify(ctx context.Context, dead *Dead) (st VerifyStats, err error) {
	var buf []byte
	if dead == nil {
		dead = &Dead{}
	}
	end, err := r.iterate(dead, func(rec Record) error {
		if err := ctx.Err(); err != nil {
			return err
		}
		v, err := r.Value(buf[:0], rec)
		if err != nil {
			return err
		}
		buf = v
		st.Records++
		st.Bytes += uint64(RecordHeaderLen + len(rec.Key) + len(rec.Stored))
		st.ValueBytes += uint64(len(v))
		return nil
	})
	if err == nil && !r.closed {
		err = corrupt.Errorf(r.name, end, "blob file has no footer; whole records end here")
	}
	return st, err
}

// window is a stretch of the file that moves forward.
type window struct {
	r   *Reader
	s   span
	off int64
}

// get returns n bytes at off, valid until the next call.
func (w *window) get(off int64, n int) ([]byte, error) {
	if off < w.off || off+int64(n) > w.off+int64(len(w.s.bytes)) {
		w.release()
		s, err := w.r.span(off, int(min(int64(max(n, scanBytes)), w.r.End()-off)))
		if err != nil {
			return nil, err
		}
		w.s, w.off = s, off
	}
	at := off - w.off
	return w.s.bytes[at : at+int64(n)], nil
}

func (w *window) release() {
	if w.s.buf != nil {
		w.s.release()
	}
	w.s, w.off = span{}, 0
}

// endOf is the cause of a short read: the end of the file is unexpected here.
func endOf(err error) error {
	if err == nil || errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}
