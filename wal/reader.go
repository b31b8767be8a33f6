package wal

import (
	"errors"
	"fmt"
	"io"

	"github.com/cambiumdb/cambium/internal/corrupt"
	"github.com/cambiumdb/cambium/internal/record"
	"github.com/cambiumdb/cambium/internal/vfs"
	"github.com/cambiumdb/cambium/internal/zstd"
)

// TornError says that the log ends in a record that is not whole, or has a hole, above
// everything that is known to have been synced: what a crash may leave. All records before
// Offset are good.
type TornError = record.TornError

const readBytes = 1 << 20

// Reader reads the records of one segment, ours or RocksDB's own, fillers included. It belongs
// to one goroutine.
type Reader struct {
	// Mark, when set, tells for a record whether it is a filler that says up to which offset
	// the segment had been synced. Without it no damage counts as corruption.
	Mark func(rec []byte) (syncedTo int64, ok bool)

	name   string
	file   vfs.File
	src    *source
	rec    *record.Reader
	plain  []byte // the last record where it was compressed
	end    int64  // of the last record
	synced int64  // the highest mark
	err    error
}

// OpenReader opens the file of segment num for reading.
func OpenReader(fs vfs.FS, path string, num uint64) (*Reader, error) {
	f, err := fs.Open(path, vfs.Direct)
	if err != nil {
		return nil, err
	}
	size, err := f.Size()
	if err != nil {
		_ = f.Close() // it was only read
		return nil, err
	}
	src := &source{file: f, size: size, buf: vfs.GetBuffer(readBytes)}
	return &Reader{name: path, file: f, src: src, rec: record.NewLogReader(src, path, num)}, nil
}

// Next returns the next record, which stays valid until the next call, and the offset at which
// its frame starts. The error is sticky:
//
//   - io.EOF: the clean end, before the end of the file, zeros, or what a former life of the
//     file left.
//   - *TornError: damage, or zeros that records follow, above the highest mark in the file.
//   - *corrupt.Error: the same below the highest mark: what is missing had been synced. Or a whole
//     record that does not decompress.
//   - *record.UnsupportedError, or an error of the file.
//
// To judge damage the rest of the file is read.
func (r *Reader) Next() (rec []byte, offset int64, err error) {
	if r.err != nil {
		return nil, 0, r.err
	}
	rec, err = r.rec.Next()
	if err == nil {
		rec, err = r.decode(rec)
	}
	if err != nil {
		r.err = r.verdict(err)
		return nil, 0, r.err
	}
	r.note(rec)
	r.end = r.rec.End()
	return rec, r.rec.Offset(), nil
}

// decode returns what the record that was just read holds.
func (r *Reader) decode(rec []byte) ([]byte, error) {
	compressed := r.rec.Compressed()
	// Behind a damaged start, where a log says that it is compressed, its records still look so.
	if !compressed && (r.end > 0 || !zstd.Starts(rec)) {
		return rec, nil
	}
	plain, err := zstd.Frames(r.plain[:0], rec, MaxRecord)
	r.plain = plain
	if err == nil {
		return plain, nil
	}
	if !compressed {
		return rec, nil
	}
	return nil, corrupt.Errorf(r.name, r.rec.Offset(), "the checksum is right, but the record does not decompress: %v", err)
}

// MaxRecord is the length in bytes of the longest compressed record that a Reader returns. Whoever
// appends keeps to it.
const MaxRecord = 1 << 30

func (r *Reader) note(rec []byte) {
	if r.Mark == nil {
		return
	}
	if to, ok := r.Mark(rec); ok {
		r.synced = max(r.synced, to)
	}
}

// verdict judges the first error of the walk by what the rest of the file holds.
func (r *Reader) verdict(err error) error {
	var torn *TornError
	if err != io.EOF && !errors.As(err, &torn) {
		return err
	}
	bad, reason, alien := r.end, "no record", r.rec.Alien()
	bad += int64(record.TrailerLen(int(bad%record.BlockSize), r.rec.Recyclable()))
	if torn != nil {
		bad, reason = torn.Offset, torn.Reason
	}
	follows := int64(-1)
	for {
		// Records that follow a sync start at a page, and blocks start with a frame. Anywhere
		// else what looks like a record may be part of a value.
		found, err := r.rec.Resync(minPage)
		if err != nil {
			return err
		}
		if !found {
			break
		}
		for {
			rec, err := r.rec.Next()
			if err != nil {
				break // Resync tells whether the file could not be read
			}
			if follows < 0 {
				follows = r.rec.Offset()
			}
			if rec, err = r.decode(rec); err == nil {
				r.note(rec)
			}
		}
	}
	switch {
	case bad < r.synced:
		return corrupt.Errorf(r.name, bad, "%s, but everything below %#x had been synced", reason, r.synced)
	case follows >= 0:
		return &TornError{File: r.name, Offset: bad, Reason: fmt.Sprintf("%s, but one follows at %#x", reason, follows)}
	case torn == nil || alien && r.rec.Recyclable() && bad%minPage == 0:
		return io.EOF
	}
	return torn
}

// End returns where the last record that Next returned ends. After an error that record is the
// last one before it.
func (r *Reader) End() int64 { return r.end }

// SyncedTo returns the highest mark seen; after an error, the highest in the file.
func (r *Reader) SyncedTo() int64 { return r.synced }

// Close closes the file. The last record stays valid.
func (r *Reader) Close() error {
	vfs.PutBuffer(r.src.buf)
	r.src.buf, r.src.have = nil, nil
	if r.err == nil {
		r.err = ErrClosed
	}
	return r.file.Close()
}

// source reads a file from its start in large aligned pieces.
type source struct {
	file vfs.File
	size int64
	at   int64 // of the next piece
	buf  []byte
	have []byte // read and not yet handed out
}

func (s *source) Read(p []byte) (int, error) {
	if len(s.have) == 0 {
		n := min(int64(len(s.buf)), s.size-s.at)
		if n <= 0 {
			return 0, io.EOF
		}
		if err := vfs.ReadFullAt(s.file, s.buf[:n], s.at); err != nil {
			return 0, err
		}
		s.at += n
		s.have = s.buf[:n]
	}
	n := copy(p, s.have)
	s.have = s.have[n:]
	return n, nil
}
