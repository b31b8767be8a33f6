// Package wal is the write-ahead log: opaque records in RocksDB's log format over numbered
// segment files, written with direct I/O and committed in groups.
//
//	l, err := wal.Create(wal.Options{FS: fs, Dir: dir, FileName: name, Filler: batch.Filler, MinFiller: batch.MinFiller}, 7, nil)
//	pos, err := l.Append(rec, wal.PerWrite)  // in memory
//	err = l.Commit(pos, wal.PerWrite)        // on the device
//	err = l.Rotate(8, header)                // later records go to segment 8
//	err = l.Release(7)                       // its records live in tables now: the file is used again
//	err = l.Close()
//
//	r, err := wal.OpenReader(fs, path, 7)
//	for rec, _, err := r.Next(); err == nil; rec, _, err = r.Next() { ... }
//
// # Who may call what
//
// Append and Rotate are serialised by the caller; their order is the order of the log. Commit,
// Flush, SyncAll, Release, Trim, Segments, Err and Metrics may be called by many goroutines beside
// them and beside each other. Close waits for nobody: it comes after all other calls have
// returned. One background goroutine writes and syncs what no caller waits for; Close ends it.
//
// # Format
//
// A segment is a sequence of records with recyclable headers (package record) whose log number
// is the low 32 bits of the segment's. It is written in whole pages, of 4 KiB or of the device's
// unit where that is larger, each of them once: where a write must end inside a page, a filler
// record takes the rest. Readers of the payload skip fillers. A gap that is too small for a
// filler's frame and payload spills it over the next page; fewer than 11 bytes before the end
// of a 32 KiB block are zeros. A filler also says up to which offset the segment had been synced
// when it was made, so that a reader can tell a torn tail from corruption: see Reader.
//
// Before the first byte of a segment is written, the one before it has been written, cut to its
// logical end, synced and closed, and the name of the new one is durable. So whatever a crash
// leaves is a prefix of the log. Segments are preallocated. A released one is renamed to become
// a later one; what its former life left behind carries another log number and ends the log.
//
// # Failure
//
// The first failed write, sync or file operation is sticky: nothing more is written, and every
// call that needs the device returns that error. A record whose Commit failed may or may not be
// found by a reader later.
package wal

import (
	"errors"
	"fmt"
	"log/slog"
	"path"
	"sync"
	"time"

	"github.com/cambiumdb/cambium/internal/record"
)

// ErrClosed is returned by calls after Close.
var ErrClosed = errors.New("log is closed")

const (
	defaultSegmentBytes = 64 << 20
	minPage             = 4096

	// None's promise: a killed process loses at most a mebibyte or a second. backlogBytes bounds
	// the records, as they were appended, that are not whole in the file. backlogSealing takes its
	// place for at most sealGrace while a full segment is being synced.
	backlogBytes   = 1 << 20
	backlogSealing = 4 << 20
	sealGrace      = 900 * time.Millisecond
	// largeRecord is the length from which Append itself writes a record out.
	largeRecord = 256 << 10
	// writeTrigger is the backlog at which the background goroutine begins to write.
	writeTrigger = 512 << 10

	syncEvery = 450 * time.Millisecond // the background goroutine's aim for PerSecond
	syncLimit = time.Second            // beyond which PerSecond waits
	writeIdle = 500 * time.Millisecond // when None's last bytes are written

	// headBytes is how much of the last record is kept for Filler.
	headBytes = 64
)

// Log is the write-ahead log. See the package comment for who may call what.
type Log struct {
	opts Options
	page int64 // unit of writes
	// depth is how many groups may be in their syncs at a time. Two on direct files: the second
	// group's pages travel while the first waits for the device. One on buffered files, where
	// the kernel reports a lost page to a single caller of fdatasync.
	depth int

	mu   sync.Mutex // guards everything below and in segment and group; no I/O under it
	slot *sync.Cond // writing, syncing or err changed

	segs    []*segment // not released, or not yet finished; ascending; the last one is filling
	free    []spare    // released files to use again
	writing bool       // someone owns the write stage
	syncing int        // groups in their syncs

	next   *group   // will take all that is framed; its leader waits for the stages
	flight []*group // being written or synced, in order
	synced Position // everything up to here is on the device

	unwritten    int64     // bytes of records, as appended, that are not whole in the file
	noneSince    time.Time // the oldest None commit that may still be unwritten; zero: there is none
	dueSince     time.Time // the oldest PerSecond commit that no group in flight covers
	sealingSince time.Time // since when a full segment is being written out and synced

	// Owned by who owns the write stage.
	last       [headBytes]byte // start of the last record framed
	lastLen    int
	scratch    []byte // for compressed bytes
	futile     futile
	spareQueue []queued // the memory of a queue

	err     error // sticky
	closed  bool
	metrics Metrics

	kick   chan struct{} // tells the background goroutine to look
	quit   chan struct{}
	bgDone chan struct{}
}

// Create makes segment num and the log that appends to it. The file exists and its name is
// durable when it returns. first, when not nil, becomes the first record; like any other it is
// durable after a Commit.
func Create(opts Options, num uint64, first []byte) (*Log, error) {
	l, err := create(opts, num, first)
	if err != nil {
		return nil, fmt.Errorf("create log %d: %w", num, err)
	}
	go l.background()
	return l, nil
}

// create is Create without the background goroutine.
func create(opts Options, num uint64, first []byte) (*Log, error) {
	if opts.FS == nil || opts.FileName == nil || opts.Filler == nil {
		return nil, errors.New("wal.Options: FS, FileName and Filler are required")
	}
	if opts.MinFiller < 0 || opts.MinFiller > minPage/2 {
		return nil, fmt.Errorf("wal.Options: MinFiller %d, want 0 to %d", opts.MinFiller, minPage/2)
	}
	if opts.SegmentBytes <= 0 {
		opts.SegmentBytes = defaultSegmentBytes
	}
	if opts.Logger == nil {
		opts.Logger = slog.New(slog.DiscardHandler)
	}
	if opts.Now == nil {
		opts.Now = time.Now
	}
	l := &Log{
		opts:   opts,
		page:   minPage,
		depth:  1,
		kick:   make(chan struct{}, 1),
		quit:   make(chan struct{}),
		bgDone: make(chan struct{}),
	}
	l.slot = sync.NewCond(&l.mu)
	s := &segment{num: num, path: l.path(num)}
	if err := l.makeFile(s, nil); err != nil {
		return nil, err
	}
	if s.file.Direct() {
		l.page, l.depth = max(minPage, int64(s.file.Alignment())), 2
	}
	if l.page > record.BlockSize {
		_ = s.file.Close() // nothing was written
		return nil, fmt.Errorf("%s: direct I/O in units of %d bytes; at most %d are supported", s.path, l.page, record.BlockSize)
	}
	l.segs = []*segment{s}
	l.metrics.Segments = 1
	l.synced = Position{Segment: num}
	if first != nil {
		l.add(first, PerWrite)
	}
	return l, nil
}

func (l *Log) path(num uint64) string { return path.Join(l.opts.Dir, l.opts.FileName(num)) }

func (l *Log) current() *segment { return l.segs[len(l.segs)-1] }

// Append takes rec as the next record and returns the position behind it. p is the strictest policy
// that will be asked of it. It keeps no reference to rec. It waits for the device only while too much
// is unwritten, 1 MiB in general, and to write a record of 256 KiB or more.
func (l *Log) Append(rec []byte, p Policy) (Position, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := l.usable(); err != nil {
		return Position{}, err
	}
	if len(rec) >= largeRecord {
		if err := l.appendLarge(rec, p); err != nil {
			return Position{}, err
		}
	} else {
		l.add(rec, p)
	}
	pos := l.current().end()
	if l.unwritten >= writeTrigger {
		l.wake()
	}
	if l.unwritten > l.backlogBound() {
		if err := l.drain(); err != nil {
			return Position{}, err
		}
	}
	return pos, nil
}

// add counts and queues a record that is small enough for the backlog.
func (l *Log) add(rec []byte, p Policy) {
	l.metrics.Records++
	l.metrics.RecordBytes += uint64(len(rec))
	l.enqueue(l.current(), rec, p)
}

// drain waits until the backlog is within its bound. The lock is held.
func (l *Log) drain() error {
	l.metrics.Stalls++
	start := l.opts.Now()
	for l.unwritten > l.backlogBound() {
		g := &group{}
		if l.run(g); g.err != nil {
			return g.err
		}
	}
	d := l.opts.Now().Sub(start)
	l.metrics.StallTime += d
	l.metrics.LongestStall = max(l.metrics.LongestStall, d)
	return nil
}

// backlogBound is how much may be unwritten before Append waits.
func (l *Log) backlogBound() int64 {
	if !l.sealingSince.IsZero() && l.opts.Now().Sub(l.sealingSince) < sealGrace {
		return backlogSealing
	}
	return backlogBytes
}

// appendLarge frames a record that may not fit the backlog and writes it out as it goes. It
// owns the write stage meanwhile, so that nobody puts a filler into the record.
func (l *Log) appendLarge(rec []byte, p Policy) error {
	if err := l.acquire(false); err != nil {
		return err
	}
	defer l.release()
	l.metrics.Records++
	l.metrics.RecordBytes += uint64(len(rec))
	s := l.current()
	l.frameQueue(s, true)
	err := l.frame(s, rec, p == PerWrite, func() error {
		if s.tail-s.written < writeTrigger {
			return nil
		}
		return l.write(s, s.tail-s.tail%l.page, false)
	})
	if err == nil {
		s.records++
		l.pad(s)
		err = l.write(s, s.tail, false)
	}
	if err != nil {
		return l.fail(err)
	}
	return nil
}

// Rotate seals the current segment and starts segment num, which must be greater. first, when
// not nil, becomes its first record. Rotate itself touches no file: the old segment is written
// out and synced, and the new file made, by whoever writes next, or soon by the background
// goroutine. An error there is sticky.
func (l *Log) Rotate(num uint64, first []byte) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := l.usable(); err != nil {
		return err
	}
	cur := l.current()
	if num <= cur.num {
		return fmt.Errorf("rotate log %d to %d: numbers must ascend", cur.num, num)
	}
	cur.sealed = true
	if l.sealingSince.IsZero() {
		l.sealingSince = l.opts.Now()
	}
	l.segs = append(l.segs, &segment{num: num, path: l.path(num)})
	l.metrics.Segments++
	if first != nil {
		l.add(first, PerWrite)
	}
	l.wake()
	return nil
}

// Segments returns the numbers of the segments that were not released, ascending; the last one
// is being appended to.
func (l *Log) Segments() []uint64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	nums := make([]uint64, 0, len(l.segs))
	for _, s := range l.segs {
		if !s.released {
			nums = append(nums, s.num)
		}
	}
	return nums
}

// Err returns the sticky error, nil while the log is healthy.
func (l *Log) Err() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.err
}

// Metrics returns the counters.
func (l *Log) Metrics() Metrics {
	l.mu.Lock()
	defer l.mu.Unlock()
	m := l.metrics
	m.Backlog = l.unwritten
	return m
}

// Flush returns when everything appended before the call is written to the file, though not
// synced: a reader of the file finds it.
func (l *Log) Flush() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := l.usable(); err != nil {
		return err
	}
	g := &group{pad: true}
	l.run(g)
	return g.err
}

// SyncAll returns when everything appended before the call is on the device.
func (l *Log) SyncAll() error {
	l.mu.Lock()
	pos := l.current().end()
	if err := l.usable(); err != nil {
		l.mu.Unlock()
		return err
	}
	return l.syncTo(pos)
}

// Close writes and syncs everything, cuts each file to its logical end, ends the background
// goroutine and removes the files kept for recycling. After a failure it writes nothing and
// returns the sticky error.
func (l *Log) Close() error {
	l.mu.Lock()
	if l.closed {
		l.mu.Unlock()
		return ErrClosed
	}
	l.closed = true
	l.mu.Unlock()
	close(l.quit)
	<-l.bgDone
	return l.shut()
}

// shut is Close after the background goroutine has ended.
func (l *Log) shut() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.closed = true
	l.current().sealed = true
	if err := l.acquire(false); err == nil {
		l.release()
	}
	for l.writing || l.syncing > 0 {
		l.slot.Wait()
	}
	for _, s := range l.segs {
		s.drop()
	}
	for _, f := range l.free {
		if err := l.opts.FS.Remove(f.path); err != nil {
			l.opts.Logger.Warn("remove recycled log", "file", f.path, "err", err)
		}
	}
	l.free = nil
	return l.err
}

// usable returns why nothing can be appended or waited for, or nil.
func (l *Log) usable() error {
	if l.err != nil {
		return l.err
	}
	if l.closed {
		return ErrClosed
	}
	return nil
}

// fail makes err sticky unless an earlier one is, and returns the one that sticks.
func (l *Log) fail(err error) error {
	if l.err == nil {
		l.err = err
		l.opts.Logger.Error("write-ahead log failed", "err", err)
		if l.opts.OnFail != nil {
			go l.opts.OnFail()
		}
		l.slot.Broadcast()
	}
	return l.err
}

// wake makes the background goroutine look at the log soon.
func (l *Log) wake() {
	select {
	case l.kick <- struct{}{}:
	default:
	}
}
