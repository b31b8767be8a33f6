package blob

import (
	"bytes"
	"hash/crc32"

	"github.com/cambiumdb/cambium/internal/cache"
	"github.com/cambiumdb/cambium/internal/corrupt"
	"github.com/cambiumdb/cambium/sstable/block"
)

// pieceBytes is how much of a record is in memory at once beside what becomes of it. A record up to
// that size is read with one call.
const pieceBytes = 1 << 20

// pieces calls fn with the record of key that x points to, piece by piece from its header on: the
// first piece holds header and key. fn may keep no piece. What it has been given is good only when
// pieces returns nil, since the checksum comes at the end. The caller has checked x.
func (r *Reader) pieces(key []byte, x Index, fn func(piece []byte) error) error {
	front := RecordHeaderLen + len(key)
	at := int64(x.Offset) - int64(front)
	r.countRecord(uint64(front) + x.Size)
	var head recordHeader
	var sum uint32
	n := front + int(x.Size)
	for pos := 0; pos < n; {
		end := n
		if n > pieceBytes { // aligned ends, so that no page is read twice
			end = min(n, max(front, int((at+int64(pos))/pieceBytes*pieceBytes+pieceBytes-at)))
		}
		s, err := r.span(at+int64(pos), end-pos)
		if err != nil {
			return err
		}
		piece, checked := s.bytes, s.bytes
		if pos == 0 {
			if head, err = r.frontOf(piece, key, x, at); err != nil {
				s.release()
				return err
			}
			checked = piece[RecordHeaderLen:]
		}
		sum = crc32.Update(sum, castagnoli, checked)
		err = fn(piece)
		s.release()
		if err != nil {
			return err
		}
		pos = end
	}
	if err := head.compare(mask(sum)); err != nil {
		return r.bad(at, err)
	}
	return nil
}

// frontOf returns the header of a record that begins with b, after checking that the record is that
// of key and x.
func (r *Reader) frontOf(b, key []byte, x Index, at int64) (recordHeader, error) {
	head, err := decodeRecordHeader(b)
	if err != nil {
		return head, r.bad(at, err)
	}
	if head.keyLen != uint64(len(key)) || head.valueLen != x.Size {
		return head, corrupt.Errorf(r.name, at, "blob record of %d+%d bytes, the index wants %d+%d",
			head.keyLen, head.valueLen, len(key), x.Size)
	}
	if got := b[RecordHeaderLen : RecordHeaderLen+len(key)]; !bytes.Equal(got, key) {
		return head, corrupt.Errorf(r.name, at, "blob record of key %q, the index is that of %q", clip(got), clip(key))
	}
	return head, nil
}

// loadInPieces is load of a record that does not fit one piece: a value that is stored as it is goes
// straight to where it stays, a compressed one is in memory beside what it becomes for a moment.
func (r *Reader) loadInPieces(key []byte, x Index) (*cache.Handle, error) {
	stored := r.opts.Cache.Alloc(int(x.Size))
	used, skip := 0, RecordHeaderLen+len(key)
	err := r.pieces(key, x, func(piece []byte) error {
		used += copy(stored.Bytes()[used:], piece[skip:])
		skip = 0
		return nil
	})
	if err != nil {
		stored.Release()
		return nil, err
	}
	if x.Compression == block.None {
		return stored, nil
	}
	defer stored.Release()
	return r.decompress(stored.Bytes(), int64(x.Offset)-int64(len(key))-RecordHeaderLen)
}

// Copy appends the record of key that x points to in r, as it is stored there, and returns its new
// index. The file has r's compression. No more than a piece of it is in memory.
func (b *Writer) Copy(r *Reader, key []byte, x Index) (Index, error) {
	if b.err != nil {
		return Index{}, b.err
	}
	if b.err = r.check(key, x); b.err != nil {
		return Index{}, b.err
	}
	at := b.w.Offset()
	if err := r.pieces(key, x, func(piece []byte) error {
		b.write(piece)
		return b.err
	}); err != nil {
		b.err = err
		return Index{}, err
	}
	n := uint64(b.w.Offset() - at)
	b.info.Count++
	b.info.Bytes += n
	x.File, x.Offset = b.opts.FileNum, uint64(at)+n-x.Size
	return x, nil
}
