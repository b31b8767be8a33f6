package blob

import (
	"bytes"
	"errors"
	"fmt"
	"path"

	"github.com/cambiumdb/cambium/internal/cache"
	"github.com/cambiumdb/cambium/internal/corrupt"
	"github.com/cambiumdb/cambium/internal/vfs"
	"github.com/cambiumdb/cambium/sstable/block"
)

// ReaderOptions says how a file is opened.
type ReaderOptions struct {
	// Cache keeps uncompressed values; nil reads each from the file.
	Cache *cache.Cache
	// FileNum is the number that the indexes of this file carry; it names the file in Cache.
	FileNum uint64
	// Counters, when set, counts what reading costs.
	Counters *block.Counters
}

// Reader reads one file.
type Reader struct {
	file        vfs.File
	name        string // base name, for errors
	opts        ReaderOptions
	size        int64
	compression block.Compression
	closed      bool   // has a footer
	count       uint64 // records, from the footer
}

// Open takes over f, also when it fails, and reads its header and footer. A file without a
// footer, whose writer was killed, can be read too: see Closed.
func Open(f vfs.File, o ReaderOptions) (*Reader, error) {
	r := &Reader{file: f, name: path.Base(f.Name()), opts: o}
	if err := r.open(); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return r, nil
}

func (r *Reader) open() (err error) {
	if r.size, err = r.file.Size(); err != nil {
		return err
	}
	if r.size < HeaderLen {
		return corrupt.Errorf(r.name, 0, "blob file of %d bytes, the header has %d", r.size, HeaderLen)
	}
	var b [max(HeaderLen, FooterLen)]byte
	if err := r.read(b[:HeaderLen], 0); err != nil {
		return err
	}
	if r.compression, err = decodeHeader(b[:]); err != nil {
		return r.bad(0, err)
	}
	if r.size < HeaderLen+FooterLen {
		return nil
	}
	at := r.size - FooterLen
	if err := r.read(b[:FooterLen], at); err != nil {
		return err
	}
	if r.count, r.closed, err = decodeFooter(b[:FooterLen]); err != nil {
		return r.bad(at, err)
	}
	return nil
}

// bad turns the cause of a failed decode into the error that callers see.
func (r *Reader) bad(off int64, cause error) error {
	var u *UnsupportedError
	if errors.As(cause, &u) {
		return &UnsupportedError{File: r.name, What: u.What}
	}
	return corrupt.Errorf(r.name, off, "%w", cause)
}

// Close closes the file. Values read before stay valid.
func (r *Reader) Close() error { return r.file.Close() }

// Closed reports whether the file has a footer: its writer finished it.
func (r *Reader) Closed() bool { return r.closed }

// Count is the number of records by the footer; 0 for a file without one.
func (r *Reader) Count() uint64 { return r.count }

// Size is the file's length in bytes.
func (r *Reader) Size() int64 { return r.size }

// Compression is how all values of the file are stored.
func (r *Reader) Compression() block.Compression { return r.compression }

// End is where the records end at the latest.
func (r *Reader) End() int64 {
	if r.closed {
		return r.size - FooterLen
	}
	return r.size
}

func (r *Reader) read(p []byte, off int64) error {
	if c := r.opts.Counters; c != nil {
		c.DeviceReads.Add(1)
		c.DeviceBytes.Add(uint64(len(p)))
	}
	return vfs.ReadFullAt(r.file, p, off)
}

// Get returns the value that x points to, uncompressed; the caller owns it. The record must be
// that of key and both its CRCs must be right, unless the value comes from the cache, where it
// was checked when it was put there. A failed check gives a corrupt.Error.
func (r *Reader) Get(key []byte, x Index) ([]byte, error) {
	h, err := r.Read(key, x, block.ReadOptions{})
	if err != nil {
		return nil, err
	}
	defer h.Release()
	return bytes.Clone(h.Bytes()), nil
}

// Read is Get without the copy: the value is pinned in the cache and the caller releases it.
// Of o only Priority and NoFill matter.
func (r *Reader) Read(key []byte, x Index, o block.ReadOptions) (*cache.Handle, error) {
	if err := r.check(key, x); err != nil {
		return nil, err
	}
	ck := cache.Key{File: r.opts.FileNum, Offset: x.Offset}
	if h := r.opts.Cache.Get(ck); h != nil {
		if r.opts.Counters != nil {
			r.opts.Counters.CacheHits.Add(1)
		}
		return h, nil
	}
	h, err := r.load(key, x)
	if err != nil {
		return nil, err
	}
	if !o.NoFill {
		r.opts.Cache.Insert(ck, h, o.Priority)
	}
	return h, nil
}

// check refuses an index that cannot be one of this file, before anything is read or
// allocated for it.
func (r *Reader) check(key []byte, x Index) error {
	end := uint64(r.End())
	start := uint64(HeaderLen + RecordHeaderLen + len(key))
	switch {
	case x.File != r.opts.FileNum:
		return fmt.Errorf("blob file %s has number %d, the index names %d", r.name, r.opts.FileNum, x.File)
	case x.Offset < start || x.Offset > end || x.Size > end-x.Offset:
		return corrupt.Errorf(r.name, -1, "index [%#x,+%d] lies outside the records [%#x,%#x)", x.Offset, x.Size, start, end)
	case x.Size > block.MaxSize:
		return corrupt.Errorf(r.name, int64(x.Offset), "value of %d bytes exceeds %d", x.Size, block.MaxSize)
	case x.Compression != r.compression:
		return corrupt.Errorf(r.name, int64(x.Offset), "index says %v, the file's header %v", x.Compression, r.compression)
	}
	return nil
}

// load reads and verifies the whole record and returns its value.
func (r *Reader) load(key []byte, x Index) (*cache.Handle, error) {
	front := RecordHeaderLen + len(key)
	if uint64(front)+x.Size > pieceBytes {
		return r.loadInPieces(key, x)
	}
	at := int64(x.Offset) - int64(front)
	r.countRecord(uint64(front) + x.Size)
	s, err := r.span(at, front+int(x.Size))
	if err != nil {
		return nil, err
	}
	defer s.release()
	head, err := r.frontOf(s.bytes, key, x, at)
	if err != nil {
		return nil, err
	}
	if err := head.check(s.bytes[RecordHeaderLen:front], s.bytes[front:]); err != nil {
		return nil, r.bad(at, err)
	}
	return r.decompress(s.bytes[front:], at)
}

func (r *Reader) countRecord(n uint64) {
	if c := r.opts.Counters; c != nil {
		c.BlockReads.Add(1)
		c.BlockBytes.Add(n)
	}
}

// decompress returns the value of the record at offset at.
func (r *Reader) decompress(stored []byte, at int64) (*cache.Handle, error) {
	size, body, err := block.DecompressedSize(stored, r.compression)
	if err != nil {
		return nil, r.bad(at, fmt.Errorf("blob record: %w", err))
	}
	h := r.opts.Cache.Alloc(size)
	if err := block.Decompress(h.Bytes(), body, r.compression, nil); err != nil {
		h.Release()
		return nil, r.bad(at, fmt.Errorf("blob record: %w", err))
	}
	return h, nil
}

// clip shortens a key for an error.
func clip(key []byte) []byte { return key[:min(len(key), 64)] }

// span is a stretch of the file in a pooled buffer.
type span struct{ bytes, buf []byte }

func (s span) release() { vfs.PutBuffer(s.buf) }

// span reads n bytes at off with one read call; a direct file gets a read with aligned ends.
func (r *Reader) span(off int64, n int) (span, error) {
	start, end := off, off+int64(n)
	if r.file.Direct() {
		unit := int64(r.file.Alignment())
		start = start &^ (unit - 1)
		end = (end + unit - 1) &^ (unit - 1)
	}
	s := span{buf: vfs.GetBuffer(int(end - start))}
	if c := r.opts.Counters; c != nil {
		c.DeviceReads.Add(1)
		c.DeviceBytes.Add(uint64(end - start))
	}
	skip := int(off - start)
	got, err := r.file.ReadAt(s.buf, start)
	if got < skip+n {
		s.release()
		return span{}, fmt.Errorf("read %s at %d: %d of %d bytes: %w", r.file.Name(), off, max(got-skip, 0), n, endOf(err))
	}
	s.bytes = s.buf[skip : skip+n]
	return s, nil
}
