// Package record frames records into blocks of 32 KiB, the physical format that the
// write-ahead log and the MANIFEST share, byte for byte RocksDB's (db/log_format.h).
//
//	w := record.NewWriter(file, 0, false) // MANIFEST: legacy headers, no log number
//	err := w.Write(edit)
//	r := record.NewReader(file, "MANIFEST-000005", 0)
//	for rec, err := r.Next(); err == nil; rec, err = r.Next() { ... } // io.EOF at a clean end
//
// # Format
//
// A file is a sequence of blocks of BlockSize bytes, the last one possibly short. A block is a
// sequence of fragments; fewer bytes than a header at its end are zeros. A record is one Full
// fragment, or First, Middle.., Last; more than one only where it does not fit its block.
//
//	legacy      masked crc32c:4 ‖ payload length:2 ‖ type:1 ‖ payload
//	recyclable  masked crc32c:4 ‖ payload length:2 ‖ type:1 ‖ log number:4 ‖ payload
//
//	types  0 nothing written here   1 Full 2 First 3 Middle 4 Last   5-8 the same, recyclable
//	       9 compression follows   10, 11 timestamp sizes   128.. may be skipped by readers
//
// A file whose first fragment is of type 9 with the payload 7 holds records that are compressed: each
// is zstd frames. There a fragment need not fill its block, and two things must not be, since RocksDB
// 7.8 loses such a record: fragments of it that follow each other and begin at the same offset of their
// blocks, of which it takes the second for the first again; and zeros that close a block between them.
//
// Integers are little-endian. The checksum covers everything behind the length field. A log
// number that is not the file's marks what a former life of a recycled file left there: the
// end of the log.
//
// The functions are pure. A Writer and a Reader belong to one goroutine each. No input makes
// a Reader panic or hold more memory than one block and the longest record really there.
package record

import (
	"encoding/binary"
	"hash/crc32"
	"io"
)

// BlockSize is the length in bytes of a block.
const BlockSize = 32768

// Header lengths in bytes.
const (
	LegacyHeaderLen     = 7
	RecyclableHeaderLen = 11
)

const (
	typeZero   = 0
	typeFull   = 1
	typeFirst  = 2
	typeMiddle = 3
	typeLast   = 4
	recyclable = 4 // added to the four above

	typeSetCompression    = 9
	typeTimestampSize     = 10
	typeTimestampSizeRecy = 11
	typeIgnorable         = 128
	typePredecessorRecy   = 131

	compressionZstd = 7 // payload of typeSetCompression
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// checksum is the masked crc32c of b, which begins at a header's type byte.
func checksum(b []byte) uint32 {
	crc := crc32.Checksum(b, castagnoli)
	return (crc>>15 | crc<<17) + 0xa282ead8
}

// HeaderLen is the header's length in bytes for either format.
func HeaderLen(recyclable bool) int {
	if recyclable {
		return RecyclableHeaderLen
	}
	return LegacyHeaderLen
}

// TrailerLen is the number of zeros that must be written at blockOffset before a fragment can
// follow: the rest of the block where that is shorter than a header, else 0.
func TrailerLen(blockOffset int, recyclable bool) int {
	if room := BlockSize - blockOffset; room < HeaderLen(recyclable) {
		return room
	}
	return 0
}

// FramedLen is the number of bytes that AppendRecord adds for a record of n bytes.
func FramedLen(blockOffset int, recyclable bool, n int) int {
	header, total := HeaderLen(recyclable), 0
	for {
		total += TrailerLen(blockOffset, recyclable)
		blockOffset += TrailerLen(blockOffset, recyclable)
		if blockOffset == BlockSize {
			blockOffset = 0
		}
		room := BlockSize - blockOffset - header
		if n <= room {
			return total + header + n
		}
		// From a block's start on every fragment but the last is a whole block.
		total, n, blockOffset = total+header+room, n-room, 0
		if whole := BlockSize - header; n > whole {
			k := (n - 1) / whole
			total, n = total+k*BlockSize, n-k*whole
		}
	}
}

// AppendRecord appends rec, framed, to dst and returns it. blockOffset is where in its block
// the first appended byte will lie, from 0 to BlockSize. logNum is used by recyclable headers only.
func AppendRecord(dst []byte, blockOffset int, logNum uint32, recyclable bool, rec []byte) []byte {
	for first := true; ; first = false {
		if n := TrailerLen(blockOffset, recyclable); n > 0 {
			dst = append(dst, make([]byte, n)...)
			blockOffset = 0
		} else if blockOffset == BlockSize {
			blockOffset = 0
		}
		n := min(len(rec), BlockSize-blockOffset-HeaderLen(recyclable))
		last := n == len(rec)
		dst = AppendFragment(dst, logNum, recyclable, first, last, rec[:n])
		if last {
			return dst
		}
		rec, blockOffset = rec[n:], BlockSize
	}
}

// AppendFragment appends to dst a fragment, which must fit the block that dst's end lies in. first
// and last say whether the record begins and ends with it.
func AppendFragment(dst []byte, logNum uint32, recyc, first, last bool, payload []byte) []byte {
	var typ byte
	switch {
	case first && last:
		typ = typeFull
	case first:
		typ = typeFirst
	case last:
		typ = typeLast
	default:
		typ = typeMiddle
	}
	if recyc {
		typ += recyclable
	}
	start := len(dst)
	dst = append(dst, 0, 0, 0, 0, byte(len(payload)), byte(len(payload)>>8), typ)
	if recyc {
		dst = binary.LittleEndian.AppendUint32(dst, logNum)
	}
	dst = append(dst, payload...)
	binary.LittleEndian.PutUint32(dst[start:], checksum(dst[start+6:]))
	return dst
}

// CompressionHeaderLen is the number of bytes that AppendCompression adds.
const CompressionHeaderLen = LegacyHeaderLen + 4

// AppendCompression appends to dst, a file still empty, the fragment which says that the records
// that follow are zstd frames.
func AppendCompression(dst []byte) []byte {
	start := len(dst)
	dst = append(dst, 0, 0, 0, 0, 4, 0, typeSetCompression)
	dst = binary.LittleEndian.AppendUint32(dst, compressionZstd)
	binary.LittleEndian.PutUint32(dst[start:], checksum(dst[start+6:]))
	return dst
}

// LogNumber returns the low 32 bits of the log number that the first fragment with one names. start
// is the start of a file.
func LogNumber(start []byte) (num uint32, ok bool) {
	if len(start) > CompressionHeaderLen && start[6] == typeSetCompression {
		start = start[CompressionHeaderLen:]
	}
	if len(start) < RecyclableHeaderLen || !hasLogNum(start[6]) {
		return 0, false
	}
	return binary.LittleEndian.Uint32(start[7:]), true
}

// Writer appends framed records to an io.Writer, one Write each. Its first error is sticky:
// the file then ends in the middle of a record and must not be appended to.
type Writer struct {
	w          io.Writer
	logNum     uint32
	recyclable bool
	offset     int64
	buf        []byte
	err        error
}

// NewWriter returns a writer for an empty file. logNum is used by recyclable headers only.
func NewWriter(w io.Writer, logNum uint64, recyclable bool) *Writer {
	return &Writer{w: w, logNum: uint32(logNum), recyclable: recyclable}
}

// Write appends rec, which may be empty. It keeps no reference to rec and does not sync.
func (w *Writer) Write(rec []byte) error {
	if w.err != nil {
		return w.err
	}
	w.buf = AppendRecord(w.buf[:0], int(w.offset%BlockSize), w.logNum, w.recyclable, rec)
	n, err := w.w.Write(w.buf)
	if err == nil && n < len(w.buf) {
		err = io.ErrShortWrite
	}
	w.offset += int64(n)
	w.err = err
	if cap(w.buf) > 1<<20 {
		w.buf = nil
	}
	return err
}

// Offset is the number of bytes written.
func (w *Writer) Offset() int64 { return w.offset }
