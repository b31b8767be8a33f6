package wal

import (
	"fmt"
	"slices"
	"time"

	"github.com/cambiumdb/cambium/internal/vfs"
)

// group is one pass through the stages: everything framed is written, in whole pages, and
// synced if anyone asked. The fields are guarded by Log.mu; err may be read after done.
//
//	pending (Log.next) -> owns the write stage -> syncing, next to others -> finished
//
// Its leader is the goroutine that made it.
type group struct {
	pad  bool // fill up the last page; else leave what does not fill one, unless that is much
	sync bool

	commits  uint64    // how many PerWrite commits wait for it
	end      Position  // what it covers, once it has left Log.next
	to       int64     // and where that ends in the file
	dueSince time.Time // the oldest PerSecond commit that it covers
	prev     *group    // in flight before it, must finish first

	finished bool
	err      error
	done     chan struct{} // closed when finished; made by the first who waits
}

// wait releases the lock, which the caller holds, until g is finished. The lock is not taken
// again, so that the waiters of a group go on without queueing for it.
func (l *Log) wait(g *group) error {
	if g.finished {
		l.mu.Unlock()
		return g.err
	}
	if g.done == nil {
		g.done = make(chan struct{})
	}
	done := g.done
	l.mu.Unlock()
	<-done
	return g.err
}

// complete publishes g's outcome.
func (l *Log) complete(g *group, err error) {
	g.finished, g.err, g.prev = true, err, nil
	if g.done != nil {
		close(g.done)
	}
}

// acquire takes the write stage, and a place among the syncs when sync is set, and prepares the
// current segment's file. Nothing is owned when it returns an error.
func (l *Log) acquire(sync bool) error {
	for l.err == nil && (l.writing || sync && l.syncing >= l.depth) {
		l.slot.Wait()
	}
	if l.err != nil {
		return l.err
	}
	l.writing = true
	if err := l.prepare(); err != nil {
		l.release()
		return l.fail(err)
	}
	return nil
}

// release gives the write stage to the next.
func (l *Log) release() {
	l.writing = false
	l.slot.Broadcast()
}

// prepare finishes the sealed segments in their order. The lock is released meanwhile, so that
// others may be sealed while it runs; when it returns nil there are none.
func (l *Log) prepare() error {
	for {
		i := slices.IndexFunc(l.segs, (*segment).unsettled)
		if i < 0 {
			return nil
		}
		if err := l.finish(l.segs[i]); err != nil {
			return err
		}
	}
}

// run takes g through the stages. The lock is held at entry and at return, not between.
func (l *Log) run(g *group) {
	err := l.acquire(g.sync)
	if l.next == g {
		l.next = nil // later commits make a new group
	}
	if err != nil {
		l.complete(g, err)
		return
	}
	s := l.current()
	if s.finished {
		l.release()
		l.complete(g, ErrClosed)
		return
	}
	g.end = s.end()
	if g.pad {
		l.noneSince = time.Time{}
	}
	if g.sync {
		g.dueSince, l.dueSince = l.dueSince, time.Time{}
		if n := len(l.flight); n > 0 {
			g.prev = l.flight[n-1]
		}
		l.flight = append(l.flight, g)
		l.syncing++
	}
	l.frameQueue(s, g.pad)
	if g.pad || s.behind(s.tail-s.tail%l.page) >= largeRecord {
		l.pad(s)
	}
	g.to = s.tail - s.tail%l.page
	err = l.write(s, g.to, g.commits > 0)
	if err != nil {
		err = l.fail(err)
	}
	file := s.file
	l.release()
	if g.sync {
		err = l.syncGroup(g, s, file, err)
	}
	l.complete(g, err)
}

// syncGroup is run's second half for a group whose write ended with err.
func (l *Log) syncGroup(g *group, s *segment, file vfs.File, err error) error {
	if err == nil {
		err = l.err // a sync may have failed while g was written: there is no other on that file
	}
	needed := err == nil && file != nil && g.end.After(l.synced)
	if needed {
		l.mu.Unlock()
		if err = file.Sync(); err != nil {
			err = fmt.Errorf("sync log %s: %w", s.path, err)
		}
		l.mu.Lock()
		l.metrics.Syncs++
	}
	// A later sync says nothing about the pages of an earlier one that failed.
	if prev := g.prev; prev != nil && !prev.finished {
		prevErr := l.wait(prev)
		l.mu.Lock()
		if err == nil {
			err = prevErr
		}
	} else if prev != nil && err == nil {
		err = prev.err
	}
	if err != nil {
		err = l.fail(err)
	} else {
		s.synced = max(s.synced, g.to)
		if g.end.After(l.synced) {
			l.synced = g.end
		}
		if g.commits > 0 {
			s.waited = true
			l.metrics.Groups++
			l.metrics.GroupedCommits += g.commits
			l.metrics.MaxGroup = max(l.metrics.MaxGroup, g.commits)
		}
	}
	l.flight = slices.DeleteFunc(l.flight, func(f *group) bool { return f == g })
	l.syncing--
	l.slot.Broadcast()
	return err
}

// write gives the bytes of s below to, a multiple of the page, to the device, and with ahead
// some zeros beyond where the blocks are new. Sealed segments are finished. The caller owns the
// write stage; the lock is released meanwhile. The bytes do not change any more.
func (l *Log) write(s *segment, to int64, ahead bool) error {
	if to <= s.written {
		return nil
	}
	if s.file == nil {
		if err := l.openFile(s); err != nil {
			return err
		}
	}
	pieces, from, ready := s.pieces(to), s.written, s.ready
	var allocated, n, zeroed int64
	var writes uint64
	l.mu.Unlock()
	err := func() error {
		if to > s.allocated {
			allocated = l.opts.allocation(s.allocated, to)
			if err := s.file.Preallocate(allocated); err != nil {
				return err
			}
		}
		for _, p := range pieces {
			if err := l.device(s, p, from+n); err != nil {
				return err
			}
			n += int64(len(p))
			writes++
		}
		if limit := max(s.allocated, allocated); ahead && to > ready && to+l.page <= limit {
			zeroed = min(zeroAhead, limit-limit%l.page-to)
			writes++
			return l.device(s, zeros[:zeroed], to)
		}
		return nil
	}()
	l.mu.Lock()
	l.metrics.Writes += writes
	l.metrics.Bytes += uint64(n + zeroed)
	l.metrics.ZeroBytes += uint64(zeroed)
	if err != nil {
		return fmt.Errorf("write log %s at %d: %w", s.path, from+n, err)
	}
	l.unwritten -= s.wrote(to)
	s.allocated = max(s.allocated, allocated)
	s.ready = max(s.ready, to+zeroed)
	return nil
}

// device is one write.
func (l *Log) device(s *segment, p []byte, off int64) error {
	n, err := s.file.WriteAt(p, off)
	if l.opts.OnWrite != nil && n > 0 {
		l.opts.OnWrite(int64(n))
	}
	return err
}
