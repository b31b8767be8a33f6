package wal

import (
	"github.com/cambiumdb/cambium/internal/record"
	"github.com/cambiumdb/cambium/internal/vfs"
	"github.com/cambiumdb/cambium/internal/zstd"
)

// What is appended waits in its segment's queue until whoever owns the write stage frames it: so
// small records are merged into one that is worth compressing, and nobody who appends waits for that.
//
//	Append -> queue -> [merge] -> frameQueue -> [compress] -> fragments in the chunks -> write

const (
	// mergeBytes is how long the records are that Options.Merge makes, at most.
	mergeBytes = 64 << 10
	// pieceBytes is how much of a record is compressed at a time.
	pieceBytes = 256 << 10
)

// queued is a record on its way into the file.
type queued struct {
	rec    []byte
	stored bool // not to be compressed: somebody waits for it
}

// enqueue adds a copy of rec to the queue of s, merged with the record before it where that goes.
func (l *Log) enqueue(s *segment, rec []byte, p Policy) {
	s.records++
	stored := p == PerWrite
	if n := len(s.queue); n > 0 && l.opts.Merge != nil && len(s.queue[n-1].rec)+len(rec) <= mergeBytes {
		last := &s.queue[n-1]
		if merged, ok := l.opts.Merge(last.rec, rec); ok {
			l.unwritten += int64(len(merged) - len(last.rec))
			last.rec, last.stored = merged, last.stored || stored
			return
		}
	}
	l.unwritten += int64(len(rec))
	size := len(rec)
	if l.opts.Merge != nil {
		size = max(size, mergeBytes)
	}
	buf := vfs.GetBuffer(max(size, 1))
	s.queue = append(s.queue, queued{append(buf[:0], rec...), stored})
}

// frameQueue frames what is queued in s; but the last record, where more may yet be merged into it,
// only if all is set. The caller owns the write stage; the lock is released meanwhile.
func (l *Log) frameQueue(s *segment, all bool) {
	n := len(s.queue)
	if !all && n > 0 && len(s.queue[n-1].rec) < mergeBytes/2 {
		n--
	}
	if n == 0 {
		return
	}
	taken := s.queue[:n:n]
	s.queue = append(l.spareQueue[:0], s.queue[n:]...)
	l.mu.Unlock()
	for i := range taken {
		_ = l.frame(s, taken[i].rec, taken[i].stored, nil) // only spilling fails
		s.framed = append(s.framed, framed{end: s.tail, bytes: int64(len(taken[i].rec))})
		vfs.PutBuffer(taken[i].rec)
	}
	clear(taken)
	l.mu.Lock()
	l.spareQueue = taken
}

// frame appends a record to s: fragments of rec itself, or of zstd frames that hold it. spill, which
// may be nil, is called after each fragment, and its first error ends the work. The caller owns the
// write stage.
func (l *Log) frame(s *segment, rec []byte, stored bool, spill func() error) error {
	l.lastLen = copy(l.last[:], rec)
	for first, more := true, true; more; {
		piece := rec
		if l.opts.Compress {
			piece = rec[:min(len(rec), pieceBytes)]
		}
		rec = rec[len(piece):]
		more = len(rec) > 0
		for out, rest := l.encode(piece, stored), true; rest; first = false {
			out, rest = l.fragment(s, first, !more, out)
			if spill == nil {
				continue
			}
			if err := spill(); err != nil {
				return err
			}
		}
	}
	return nil
}

// encode returns what stands in the file for a piece of a record, valid until the next call.
func (l *Log) encode(piece []byte, stored bool) []byte {
	if !l.opts.Compress {
		return piece
	}
	if !stored && l.futile.try() {
		out, err := zstd.Compress(l.scratch[:0], piece, zstdLevel, nil)
		l.scratch = out[:0]
		if l.futile.note(err == nil && len(out) < len(piece)-len(piece)/16) {
			return out
		}
	}
	l.scratch = zstd.AppendStored(l.scratch[:0], piece)
	return l.scratch
}

// futile spares the time of compressing what does not get shorter: after each piece in a row that did
// not, twice as many are stored without a try, up to maxUntried.
type futile struct{ rest, next int }

const maxUntried = 32

func (f *futile) try() bool {
	f.rest--
	return f.rest < 0
}

// note takes the outcome of a try and returns it.
func (f *futile) note(worthIt bool) bool {
	if worthIt {
		*f = futile{}
		return true
	}
	f.next = min(max(1, 2*f.next), maxUntried)
	f.rest = f.next
	return false
}

// zstdLevel is the fastest of the ordinary levels: on values that halve it takes 0.5 ms for a
// mebibyte with libzstd and 1 ms with the Go implementation, a tenth of what the flush takes for them.
const zstdLevel = 1

// fragment frames of rec, which is the end of its record if last is set, what the block at the tail
// of s takes.
func (l *Log) fragment(s *segment, first, last bool, rec []byte) (rest []byte, more bool) {
	if s.tail == 0 && l.opts.Compress {
		s.tail += int64(len(record.AppendCompression(s.room()[:0])))
	}
	room := s.room()
	if n := record.TrailerLen(record.BlockSize-len(room), true); n > 0 {
		clear(room)
		s.tail += int64(n)
		room = s.room()
	}
	n := min(len(rec), len(room)-record.RecyclableHeaderLen)
	last = last && n == len(rec)
	if left := len(room) - record.RecyclableHeaderLen - n; !last && (left > 0 && left < record.RecyclableHeaderLen ||
		l.opts.Compress && len(room) == record.BlockSize) {
		// RocksDB would lose the record: see package record. What is left has room for another header.
		n = min((n+1)/2, len(room)-2*record.RecyclableHeaderLen-1)
	}
	out := record.AppendFragment(room[:0], uint32(s.num), true, first, last, rec[:n])
	s.tail += int64(len(out))
	return rec[n:], n < len(rec)
}

// pad makes the tail of s a multiple of the page, with zeros where the block has no room for a
// header and with a filler everywhere else. The caller owns the write stage and holds the lock.
func (l *Log) pad(s *segment) {
	gap := int((l.page - s.tail%l.page) % l.page)
	if gap == 0 {
		return
	}
	at := int(s.tail % record.BlockSize)
	before := s.tail
	if record.TrailerLen(at, true) == gap {
		clear(s.room())
		s.tail += int64(gap)
	} else {
		around := 0
		if l.opts.Compress {
			around = zstd.StoredLen(0)
		}
		size := fillerPayload(at, gap, int(l.page), l.opts.MinFiller+around) - around
		filler := l.encode(l.opts.Filler(size, l.last[:l.lastLen], s.synced), true)
		for first, more := true, true; more; first = false {
			filler, more = l.fragment(s, first, true, filler)
		}
	}
	l.metrics.FillerBytes += uint64(s.tail - before)
}

// fillerPayload returns how long a record must be, framed at offset at of a block, to end where
// the page ends, gap bytes further on; or one page later where that would be less than least.
func fillerPayload(at, gap, page, least int) int {
	for {
		// A record of n bytes takes one header more for each block that it enters.
		n := gap - record.RecyclableHeaderLen
		if over := at + gap - record.BlockSize; over > 0 {
			n -= record.RecyclableHeaderLen * ((over + record.BlockSize - 1) / record.BlockSize)
		}
		if n >= least {
			return n
		}
		gap += page
	}
}
