package batch

import (
	"bytes"
	"encoding/binary"
	"fmt"

	"github.com/cambiumdb/cambium/internal/ikey"
)

// LogData blobs of ours begin with magic and a kind byte:
//
//	"cambium" 'F' ‖ fixed64 offset synced before this filler ‖ zeros
//	"cambium" 'H' ‖ fixed64 previous log's number ‖ fixed64 last sequence number it held
//	"cambium" 'I' ‖ fixed64 last sequence number that ingested tables have taken
const (
	magic         = "cambium"
	kindFiller    = 'F'
	kindLogHeader = 'H'
	kindIngest    = 'I'

	markLen      = len(magic) + 1 + 8
	logHeaderLen = len(magic) + 1 + 16
	ingestLen    = len(magic) + 1 + 8
)

// MinFiller is the length in bytes of the shortest filler: a header and an empty LogData.
const MinFiller = HeaderLen + 2

// AppendFiller appends to rep a batch of exactly size bytes, at least MinFiller, that holds
// nothing but LogData, and returns it. seq is the sequence number that the next batch will
// have. The blob begins with mark where mark fits, else it is all zeros. A smaller size panics.
func AppendFiller(rep []byte, size int, seq uint64, mark []byte) []byte {
	if size < MinFiller {
		panic(fmt.Sprintf("batch: filler of %d bytes, want at least %d", size, MinFiller))
	}
	end := len(rep) + size
	rep = append(rep, make([]byte, HeaderLen)...)
	SetHeader(rep[len(rep)-HeaderLen:], seq, 0)
	blob := fillerBlob(end - len(rep))
	if blob < 0 {
		// No varint makes a LogData of this length, but every length two bytes less has one.
		rep = AppendOp(rep, ikey.KindLogData, nil, nil)
		blob = fillerBlob(end - len(rep))
	}
	rep = append(rep, byte(ikey.KindLogData))
	rep = binary.AppendUvarint(rep, uint64(blob))
	if len(mark) <= blob {
		rep = append(rep, mark...)
	}
	return append(rep, make([]byte, end-len(rep))...)
}

// fillerBlob returns the length of the blob that makes a LogData op of size bytes, or -1 where
// the varint's own growth skips that size.
func fillerBlob(size int) int {
	for lenLen := 1; lenLen <= 5; lenLen++ {
		if n := size - 1 - lenLen; n >= 0 && uvarintLen(n) == lenLen {
			return n
		}
	}
	return -1
}

// FillerMark returns the blob prefix of a filler that tells readers that all bytes of the log
// file below syncedTo were on the device when the filler was made.
func FillerMark(syncedTo int64) []byte {
	b := append(make([]byte, 0, markLen), magic...)
	b = append(b, kindFiller)
	return binary.LittleEndian.AppendUint64(b, uint64(syncedTo))
}

// Filler returns a filler of exactly size bytes that follows the batch which begins with prev,
// of which the header suffices; it has the shape of wal.Options.Filler.
func Filler(size int, prev []byte, syncedTo int64) []byte {
	seq, count, _ := Header(prev)
	return AppendFiller(make([]byte, 0, size), size, seq+uint64(count), FillerMark(syncedTo))
}

// ParseFiller reads the mark of a filler's blob. ok is false for every other blob and for a
// filler too short for a mark.
func ParseFiller(blob []byte) (syncedTo int64, ok bool) {
	if len(blob) < markLen || !hasMagic(blob, kindFiller) {
		return 0, false
	}
	v := int64(binary.LittleEndian.Uint64(blob[len(magic)+1:]))
	return v, v >= 0
}

// Mark reads the mark of a whole batch if that is a filler with one; it has the shape of
// wal.ReaderOptions.Mark.
func Mark(rep []byte) (syncedTo int64, ok bool) {
	blob, ok := soleBlob(rep)
	if !ok {
		return 0, false
	}
	return ParseFiller(blob)
}

// IsFiller reports whether rep is a batch that AppendFiller made or one like it: no counted ops,
// no log header and no ingest mark. A reader that replays a log may skip it.
func IsFiller(rep []byte) bool {
	blob, ok := soleBlob(rep)
	return ok && !hasMagic(blob, kindLogHeader) && !hasMagic(blob, kindIngest)
}

// soleBlob returns the last blob of a batch whose count is 0 and which is nothing but LogData.
func soleBlob(rep []byte) (blob []byte, ok bool) {
	if _, count, ok := Header(rep); !ok || count != 0 {
		return nil, false
	}
	r, err := NewReader(rep)
	if err != nil {
		return nil, false
	}
	for {
		op, more, err := r.Next()
		if err != nil || more && op.Kind != ikey.KindLogData {
			return nil, false
		}
		if !more {
			return blob, ok
		}
		blob, ok = op.Value, true
	}
}

func hasMagic(blob []byte, kind byte) bool {
	return len(blob) > len(magic) && blob[len(magic)] == kind && bytes.HasPrefix(blob, []byte(magic))
}

// LogHeader is the first record of each log of ours: by it recovery knows that the log before
// was read to its end. Both fields are 0 in a log without a predecessor.
type LogHeader struct {
	PrevLog     uint64 // file number of the log before
	PrevLastSeq uint64 // last sequence number that log held
}

// AppendLogHeader appends to rep a whole batch, count 0, that holds a log header, and returns
// it. seq is the sequence number that the next batch will have.
func AppendLogHeader(rep []byte, seq, prevLog, prevLastSeq uint64) []byte {
	return appendNote(rep, seq, kindLogHeader, prevLog, prevLastSeq)
}

// appendNote appends a whole batch, count 0, that holds a blob of ours.
func appendNote(rep []byte, seq uint64, kind byte, fields ...uint64) []byte {
	start := len(rep)
	rep = append(rep, make([]byte, HeaderLen)...)
	SetHeader(rep[start:], seq, 0)
	blob := append(make([]byte, 0, logHeaderLen), magic...)
	blob = append(blob, kind)
	for _, f := range fields {
		blob = binary.LittleEndian.AppendUint64(blob, f)
	}
	return AppendOp(rep, ikey.KindLogData, nil, blob)
}

// ParseLogHeader reads the blob of a log header. ok is false for every other blob.
func ParseLogHeader(blob []byte) (h LogHeader, ok bool) {
	if len(blob) < logHeaderLen || !hasMagic(blob, kindLogHeader) {
		return LogHeader{}, false
	}
	b := blob[len(magic)+1:]
	return LogHeader{PrevLog: binary.LittleEndian.Uint64(b), PrevLastSeq: binary.LittleEndian.Uint64(b[8:])}, true
}

// AppendIngestMark appends to rep a whole batch, count 0, that accounts for the sequence numbers
// up to lastSeq, which ingested tables have taken, and returns it. The next batch has the one
// after.
func AppendIngestMark(rep []byte, lastSeq uint64) []byte {
	return appendNote(rep, lastSeq+1, kindIngest, lastSeq)
}

// ParseIngestMark reads the blob of an ingest mark. ok is false for every other blob.
func ParseIngestMark(blob []byte) (lastSeq uint64, ok bool) {
	if len(blob) < ingestLen || !hasMagic(blob, kindIngest) {
		return 0, false
	}
	return binary.LittleEndian.Uint64(blob[len(magic)+1:]), true
}
