package wal

import (
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"time"

	"github.com/cambiumdb/cambium/internal/record"
	"github.com/cambiumdb/cambium/internal/vfs"
)

// chunkBytes is the size of the buffers that records are framed in: whole blocks, so that no
// fragment spans two.
const chunkBytes = 8 * record.BlockSize

// zeroAhead is how many bytes of zeros are written ahead of a log that syncs each write, into
// blocks that were only reserved. A later sync then has no file system metadata to commit,
// which is worth 1.4x in commits a second on ext4 (see BenchmarkDevice). Given that, RWF_DSYNC
// was no faster there than a write and fdatasync, so the log makes do with vfs.File.
const zeroAhead = 512 << 10

var zeros = vfs.AlignedBuffer(zeroAhead)

// segment is one file of the log and what of it is still in memory.
//
//	0 ... synced ... written ... tail        offsets; the first two are multiples of the page
//	                 [chunks......]
type segment struct {
	num  uint64
	path string
	file vfs.File // nil before the first write and after the last

	records int64    // appended so far, what is queued included
	queue   []queued // not framed yet

	// The next five change only under the ownership of the write stage.
	tail    int64    // end of the framed bytes
	written int64    // end of the bytes in the file
	synced  int64    // end of the bytes on the device
	chunks  [][]byte // buffers for [written rounded down to chunkBytes, tail)
	framed  []framed // what is not whole in the file; large records are not listed

	allocated int64 // length of the file
	ready     int64 // blocks below were written at least once, not only reserved

	waited   bool // a Commit waited for a sync of it
	sealed   bool // nothing more is appended
	finished bool // written, cut, synced, closed
	released bool
}

// framed is a record that is framed: bytes long as it was appended, it ends at end in the file.
type framed struct{ end, bytes int64 }

// spare is the file of a released segment. Behind its first page all is records with recyclable headers.
type spare struct {
	path string
	size int64
}

// end is the position behind everything appended.
func (s *segment) end() Position { return Position{Segment: s.num, Records: s.records} }

// room returns the unused rest of the block at the tail, of which at least one byte remains.
func (s *segment) room() []byte {
	i := int(s.tail/chunkBytes - s.written/chunkBytes)
	if i == len(s.chunks) {
		s.chunks = append(s.chunks, vfs.GetBuffer(chunkBytes))
	}
	at := int(s.tail % chunkBytes)
	end := at - at%record.BlockSize + record.BlockSize
	return s.chunks[i][at:end:end]
}

// pieces returns the framed bytes [s.written, to) as they lie in the chunks.
func (s *segment) pieces(to int64) [][]byte {
	var list [][]byte
	base := s.written / chunkBytes
	for from := s.written; from < to; {
		end := min(to, (from/chunkBytes+1)*chunkBytes)
		at := from % chunkBytes
		list = append(list, s.chunks[from/chunkBytes-base][at:at+end-from])
		from = end
	}
	return list
}

// wrote moves written, gives up the chunks below it, and returns how many bytes of records are whole
// in the file since.
func (s *segment) wrote(to int64) (whole int64) {
	n := min(to/chunkBytes-s.written/chunkBytes, int64(len(s.chunks)))
	for _, c := range s.chunks[:n] {
		vfs.PutBuffer(c)
	}
	s.chunks = append(s.chunks[:0], s.chunks[n:]...)
	s.written = to
	cut := 0
	for cut < len(s.framed) && s.framed[cut].end <= to {
		whole += s.framed[cut].bytes
		cut++
	}
	s.framed = append(s.framed[:0], s.framed[cut:]...)
	return whole
}

// behind is how many bytes of framed records are not whole in the file once it is written up to to.
func (s *segment) behind(to int64) (bytes int64) {
	for _, f := range s.framed {
		if f.end > to {
			bytes += f.bytes
		}
	}
	return bytes
}

// drop gives up the buffers and closes the file. Nobody uses either.
func (s *segment) drop() {
	for _, c := range s.chunks {
		vfs.PutBuffer(c)
	}
	for _, q := range s.queue {
		vfs.PutBuffer(q.rec)
	}
	s.chunks, s.queue = nil, nil
	if s.file != nil {
		_ = s.file.Close() // what counts was synced; what was not is lost by a failure before
		s.file = nil
	}
}

// makeFile creates s's file, or makes it from old, preallocates it and makes its name durable.
func (l *Log) makeFile(s *segment, old *spare) (err error) {
	var f vfs.File
	if old == nil {
		f, err = l.opts.FS.Create(s.path, vfs.Direct)
	} else if err = l.opts.FS.Rename(old.path, s.path); err == nil {
		f, err = l.opts.FS.OpenReadWrite(s.path, vfs.Direct)
	}
	if err != nil {
		return err
	}
	if old != nil {
		s.allocated, s.ready = old.size, old.size-old.size%record.BlockSize
	}
	if least := l.opts.allocation(0, 0); s.allocated < least {
		s.allocated = least
		err = f.Preallocate(s.allocated)
	}
	if err == nil {
		err = l.opts.FS.SyncDir(l.opts.Dir)
	}
	if err != nil {
		// Nothing was written, but a part may be allocated, and the caller may try again and again.
		_ = f.Close()
		_ = l.opts.FS.Remove(s.path)
		return err
	}
	s.file = f
	return nil
}

// Steps in which a segment is preallocated.
const (
	leastAllocated = 1 << 20
	mostAllocated  = 8 << 20
)

// allocation is how long to make a segment of have bytes that is to be written up to to.
func (o *Options) allocation(have, to int64) int64 {
	n := max(have, to) + min(mostAllocated, max(leastAllocated, have))
	if to < o.SegmentBytes {
		n = min(n, o.SegmentBytes)
	}
	return n
}

// openFile makes the file of the segment whose first bytes are to be written. The caller owns
// the write stage; the lock is released meanwhile.
func (l *Log) openFile(s *segment) error {
	var old *spare
	if n := len(l.free); n > 0 {
		f := l.free[n-1]
		l.free, old = l.free[:n-1], &f
		l.metrics.Recycled++
	}
	l.mu.Unlock()
	err := l.makeFile(s, old)
	l.mu.Lock()
	if err != nil {
		return fmt.Errorf("open log %s: %w", s.path, err)
	}
	return nil
}

// finish writes the rest of a sealed segment, cuts its file, syncs and closes it. The caller
// owns the write stage; the lock is released meanwhile.
func (l *Log) finish(s *segment) error {
	for l.syncing > 0 {
		l.slot.Wait() // for the groups that are syncing the file closed here
	}
	if l.err != nil {
		return l.err
	}
	l.frameQueue(s, true)
	if s.file != nil || s.tail > 0 {
		if err := l.writeOut(s); err != nil {
			return err
		}
	}
	s.synced, s.finished = s.tail, true
	s.drop()
	l.synced = s.end()
	if !slices.ContainsFunc(l.segs, (*segment).unsettled) {
		l.sealingSince = time.Time{}
	}
	if s.released {
		if err := l.retire(s); err != nil {
			l.opts.Logger.Warn("log file stays behind", "file", s.path, "err", err)
		}
	}
	return nil
}

// unsettled reports whether nothing more will be added to s but not all of it is on the device.
func (s *segment) unsettled() bool { return s.sealed && !s.finished }

// writeOut brings a sealed segment to the device as it shall stay.
func (l *Log) writeOut(s *segment) error {
	end := s.tail
	padded := (end + l.page - 1) / l.page * l.page
	if padded > end {
		b := s.room()
		clear(b[:min(int64(len(b)), padded-end)])
	}
	if err := l.write(s, padded, false); err != nil {
		return err
	}
	s.written = min(s.written, end)
	l.mu.Unlock()
	err := s.file.Truncate(end)
	if err == nil {
		err = s.file.Sync()
	}
	l.mu.Lock()
	l.metrics.Syncs++
	if err != nil {
		return fmt.Errorf("seal log %s: %w", s.path, err)
	}
	return nil
}

// Release says that no record of segment num is needed any more. Its file will become a new
// segment's, or is removed where MaxRecycled files wait already or no Commit waited for a sync of it.
// A segment that is still being written is released when that is done. The segment being appended to
// cannot be released.
func (l *Log) Release(num uint64) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, s := range l.segs {
		switch {
		case s.num != num || s.released:
			continue
		case !s.sealed:
			return fmt.Errorf("release log %d: it is being appended to", num)
		}
		s.released = true
		if s.finished || l.err != nil {
			return l.retire(s)
		}
		return nil
	}
	return fmt.Errorf("release log %d: no such segment", num)
}

// retire keeps the file of a released segment for recycling, or removes it, and takes the
// segment off the list. After a failure the list keeps it, since its file may be in use. The
// lock is released while a file is removed.
func (l *Log) retire(s *segment) error {
	if s.finished {
		i := slices.Index(l.segs, s)
		l.segs = slices.Delete(l.segs, i, i+1)
		if s.tail == 0 {
			return nil // there never was a file
		}
		// Where nobody waits for syncs, cheap ones are not worth the space.
		if s.waited && l.err == nil && !l.closed && len(l.free) < l.opts.MaxRecycled {
			l.free = append(l.free, spare{path: s.path, size: s.tail})
			return nil
		}
	}
	l.mu.Unlock()
	err := l.opts.FS.Remove(s.path)
	l.mu.Lock()
	if err == nil || errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return fmt.Errorf("release log %d: %w", s.num, err)
}

// Trim gives back the space that is kept for what may come: the files for recycling, and what is
// reserved behind the last byte written. Later writes reserve anew, so it is for a log to which
// nobody writes. It gives up where it meets an error, which costs nothing else.
func (l *Log) Trim() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := l.usable(); err != nil {
		return err
	}
	if err := l.acquire(false); err != nil {
		return err
	}
	defer l.release()
	if err := l.removeSpares(); err != nil {
		return err
	}
	s := l.current()
	if s.file == nil || s.allocated == s.written {
		return nil
	}
	l.mu.Unlock()
	err := s.file.Truncate(s.written)
	l.mu.Lock()
	if err != nil {
		return fmt.Errorf("cut log %s: %w", s.path, err)
	}
	s.allocated, s.ready = s.written, min(s.ready, s.written)
	return nil
}

// removeSpares removes the files kept for recycling. The lock is released meanwhile.
func (l *Log) removeSpares() (err error) {
	for len(l.free) > 0 && err == nil {
		f := l.free[len(l.free)-1]
		l.free = l.free[:len(l.free)-1]
		l.mu.Unlock()
		err = l.opts.FS.Remove(f.path)
		l.mu.Lock()
	}
	if err != nil {
		return fmt.Errorf("remove recycled log: %w", err)
	}
	return nil
}
