package record

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"

	"github.com/cambiumdb/cambium/internal/corrupt"
)

// TornError says that the last record of a file is not whole: a write that a crash cut short.
// Everything before Offset is good.
type TornError struct {
	File   string
	Offset int64 // start of the bad record
	Reason string
}

// Error formats as "FILE: torn at 0xOFFSET: reason".
func (e *TornError) Error() string {
	return fmt.Sprintf("%s: torn at %#x: %s", e.File, e.Offset, e.Reason)
}

// UnsupportedError says that a file uses a feature of RocksDB that is not read.
type UnsupportedError struct {
	File   string
	Offset int64
	What   string
}

// Error names the feature and the place.
func (e *UnsupportedError) Error() string {
	return fmt.Sprintf("%s at %#x: unsupported: %s", e.File, e.Offset, e.What)
}

// Reader reads the records of a file in any of the formats.
type Reader struct {
	r      io.Reader
	name   string
	logNum uint32
	judge  bool // decide between a torn tail and corruption by what follows

	block     []byte // the current block, as far as it exists
	blockAt   int64  // its file offset
	pos       int    // next byte in block
	lastBlock bool   // nothing follows block
	readErr   error

	rec     []byte // a record of several fragments
	at, end int64  // bounds of the last record in the file
	recyc   bool   // a recyclable fragment was seen
	zstd    bool   // the records are zstd frames
	alien   bool   // the bytes that ended the walk do not claim to be of this log
	err     error  // sticky
}

// NewReader returns a reader of r from its start. name is for errors; logNum is what
// recyclable fragments must carry.
//
// Bad bytes that no record follows are a torn tail, others are corruption. A block of zeros,
// and in a recycled file a record of another log, end the file.
func NewReader(r io.Reader, name string, logNum uint64) *Reader {
	return &Reader{r: r, name: name, logNum: uint32(logNum), judge: true, blockAt: -BlockSize}
}

// NewLogReader is NewReader for a caller that judges damage by itself, with Resync, and decompresses
// records: Next returns a *TornError for all bad bytes, whatever follows, and io.EOF at the first zeros.
func NewLogReader(r io.Reader, name string, logNum uint64) *Reader {
	rd := NewReader(r, name, logNum)
	rd.judge = false
	return rd
}

// Next returns the next record, which stays valid until the next call. The error is io.EOF at
// a clean end, a *TornError, a *corrupt.Error, an *UnsupportedError or what the underlying
// reader said; it is sticky.
func (r *Reader) Next() ([]byte, error) {
	if r.err != nil {
		return nil, r.err
	}
	rec, err := r.next()
	if err == nil {
		return rec, nil
	}
	r.err = err
	var torn *TornError
	if r.judge && (errors.As(err, &torn) || err == io.EOF) {
		r.err = r.verdict(torn)
	}
	return nil, r.err
}

// verdict turns damage, or zeros when torn is nil, into corruption where a record follows.
func (r *Reader) verdict(torn *TornError) error {
	bad, reason := r.blockAt+int64(r.pos), "zeros"
	if torn != nil {
		bad, reason = torn.Offset, torn.Reason
	}
	found, err := r.Resync(1)
	switch {
	case err != nil:
		return err
	case found:
		return corrupt.Errorf(r.name, bad, "%s, but a good record follows at %#x", reason, r.blockAt+int64(r.pos))
	case torn != nil:
		return torn
	}
	return io.EOF
}

// Offset is where the last record returned by Next starts.
func (r *Reader) Offset() int64 { return r.at }

// End is where the last record returned by Next ends, and so the length of the good part of
// the file.
func (r *Reader) End() int64 { return r.end }

// Recyclable reports whether a recyclable fragment was seen, of this log or of another one.
func (r *Reader) Recyclable() bool { return r.recyc }

// Compressed reports whether the file says that its records are zstd frames. Next returns them as they
// are.
func (r *Reader) Compressed() bool { return r.zstd }

// Alien reports, after Next has returned an error, that the bytes there do not even claim to
// be a fragment of this log, and that no record had begun before them. In a recycled file that
// is how the place looks where a log that fills its pages has ended.
func (r *Reader) Alien() bool { return r.alien }

// next walks fragments until a record is whole.
func (r *Reader) next() ([]byte, error) {
	r.rec, r.alien = r.rec[:0], false
	started := false
	start := int64(0)
	for {
		f, state, err := r.fragment()
		if err != nil {
			return nil, err
		}
		at := r.blockAt + int64(r.pos)
		if state != good {
			return nil, r.stop(state, f, at, start, started)
		}
		if skip, err := r.special(f, at); err != nil {
			return nil, err
		} else if skip {
			r.pos += f.size
			continue
		}
		switch typ := f.plainType(); {
		case typ == typeFull || typ == typeFirst:
			// A writer of old left an empty First at the end of a block and began anew.
			if started && len(r.rec) > 0 {
				return nil, r.torn(start, "the record at %#x has no end", start)
			}
			start, started = at, true
			r.pos += f.size
			if typ == typeFull {
				r.at, r.end = at, r.blockAt+int64(r.pos)
				return f.payload, nil
			}
			r.rec = append(r.rec[:0], f.payload...)
		case !started:
			err := r.torn(at, "fragment of type %d without a beginning", f.typ)
			r.pos += f.size
			return nil, err
		default:
			r.rec = append(r.rec, f.payload...)
			r.pos += f.size
			if typ == typeLast {
				r.at, r.end = start, r.blockAt+int64(r.pos)
				return r.rec, nil
			}
		}
	}
}

// stop makes the error for a walk that ends at at, inside a record that began at start or not.
func (r *Reader) stop(s state, f fragment, at, start int64, started bool) error {
	r.alien = !started && f.typ != 0 && !(f.recyclable() && f.logNum == r.logNum)
	if s == stale {
		r.pos += f.size
	}
	if s == ended || s == stale || s == zero {
		if started {
			return r.torn(start, "the record ends at %#x: %s", at, s)
		}
		return io.EOF
	}
	if started {
		return r.torn(start, "bad fragment at %#x: %s", at, f.problem)
	}
	return r.torn(at, "%s", f.problem)
}

func (r *Reader) torn(at int64, format string, args ...any) error {
	return &TornError{File: r.name, Offset: at, Reason: fmt.Sprintf(format, args...)}
}

// special handles the types that hold no part of a record.
func (r *Reader) special(f fragment, at int64) (skip bool, err error) {
	switch {
	case f.typ >= typeIgnorable:
		return true, nil
	case f.typ == typeSetCompression:
		kind := uint32(math.MaxUint32)
		if len(f.payload) == 4 {
			kind = binary.LittleEndian.Uint32(f.payload)
		}
		if kind == compressionZstd && at == 0 && !r.judge {
			r.zstd = true
			return true, nil
		}
		if kind == 0 {
			return true, nil
		}
		return false, &UnsupportedError{File: r.name, Offset: at, What: fmt.Sprintf("compression %d of records (wal_compression)", int32(kind))}
	case f.typ == typeTimestampSize || f.typ == typeTimestampSizeRecy:
		return false, &UnsupportedError{File: r.name, Offset: at, What: "user-defined timestamps"}
	}
	return false, nil
}

// state says what lies at the reader's position.
type state uint8

const (
	good  state = iota
	ended       // the end of the file
	zero        // never written
	stale       // a good fragment of another log
	bad         // f.problem says why
)

func (s state) String() string {
	return [...]string{"good", "end of file", "zeros", "a record of another log", "bad"}[s]
}

// fragment brings the next fragment into view without stepping over it.
func (r *Reader) fragment() (fragment, state, error) {
	for {
		b := r.block[r.pos:]
		// A block's rest that takes no header is filled with zeros.
		if tail := BlockSize - r.pos; len(b) == 0 || len(b) == tail && (tail < LegacyHeaderLen || tail < RecyclableHeaderLen && allZero(b)) {
			if r.lastBlock {
				return fragment{}, ended, nil
			}
			if err := r.nextBlock(); err != nil {
				return fragment{}, ended, err
			}
			continue
		}
		f, s := parse(b, r.logNum)
		if f.recyclable() && (s == good || s == stale) {
			r.recyc = true
		}
		return f, s, nil
	}
}

// nextBlock reads the block that follows.
func (r *Reader) nextBlock() error {
	if r.readErr != nil {
		return r.readErr
	}
	if r.block == nil {
		r.block = make([]byte, BlockSize)
	}
	n, err := io.ReadFull(r.r, r.block[:BlockSize])
	if err == io.EOF || err == io.ErrUnexpectedEOF {
		r.lastBlock = true
	} else if err != nil {
		r.readErr = fmt.Errorf("read %s at %#x: %w", r.name, r.blockAt+BlockSize, err)
		r.block, r.pos, r.lastBlock = r.block[:0], 0, true
		return r.readErr
	}
	r.block, r.pos = r.block[:n], 0
	r.blockAt += BlockSize
	return nil
}

// scanBudget bounds the bytes of one block that Resync checksums: many times what happens by
// accident, little enough that no file makes it slow.
const scanBudget = 64 * BlockSize

// Resync searches, after Next has returned io.EOF, damage or a judgement of it, for the next
// good fragment that begins a record of this log, at offsets that are multiples of align, a
// power of two up to BlockSize. When found Next goes on from there. Where the log is known to
// be recyclable only such fragments count. A coarse align keeps out what lies inside payloads:
// a value may well be a piece of a log.
func (r *Reader) Resync(align int) (found bool, err error) {
	budget := scanBudget
	for {
		r.pos = (r.pos + align - 1) &^ (align - 1)
		for ; r.pos+LegacyHeaderLen <= len(r.block); r.pos += align {
			b := r.block[r.pos:]
			typ := b[6]
			if typ != recyclable+typeFull && typ != recyclable+typeFirst && (r.recyc || typ != typeFull && typ != typeFirst) {
				continue
			}
			if typ > recyclable && (len(b) < RecyclableHeaderLen || binary.LittleEndian.Uint32(b[7:]) != r.logNum) {
				continue
			}
			size := int(binary.LittleEndian.Uint16(b[4:]))
			if size > len(b) || budget < size {
				continue
			}
			budget -= size + LegacyHeaderLen
			if _, s := parse(b, r.logNum); s == good {
				r.err = nil
				return true, nil
			}
		}
		if r.lastBlock {
			r.pos = len(r.block)
			return false, r.readErr
		}
		if err := r.nextBlock(); err != nil {
			return false, err
		}
		budget = scanBudget
	}
}
