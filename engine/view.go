package engine

import (
	"sync"
	"sync/atomic"

	"github.com/cambiumdb/cambium/compaction"
	"github.com/cambiumdb/cambium/internal/manifest"
	"github.com/cambiumdb/cambium/internal/rangedel"
	"github.com/cambiumdb/cambium/memtable"
)

// memory is one memtable and the part of the log that holds its writes.
type memory struct {
	*memtable.Memtable
	logNum  uint64       // the first log segment with its writes
	lastSeq uint64       // set when sealed: the last sequence number assigned to it
	ending  atomic.Int64 // deletions and values with a time to live
}

// view is everything a read needs, frozen: the memtables and the version at one moment. A
// reader pins the current view, then loads the visible sequence number, in this order: what a
// flush or compaction dropped before the view was installed is shadowed at that number.
type view struct {
	db      *DB
	mem     *memory
	sealed  []*memory // newest first
	version *manifest.Version

	debtOnce  sync.Once // guards debtBytes
	debtBytes int64

	spaceOnce  sync.Once // guards spaceShare
	spaceShare float64

	refs atomic.Int64 // at 0 the view is retired for good

	rangeMu    sync.Mutex // held while the next two are made
	rangeDels  []rangedel.List
	rangeKnown atomic.Bool
}

// newView references its parts; the caller's reference to the view is the first.
func (db *DB) newView(mem *memory, sealed []*memory, version *manifest.Version) *view {
	db.liveViews.Add(1)
	v := &view{db: db, mem: mem, sealed: sealed, version: version}
	v.refs.Store(1)
	mem.Ref()
	for _, m := range sealed {
		m.Ref()
	}
	version.Ref()
	return v
}

func (v *view) tryRef() bool {
	for {
		n := v.refs.Load()
		if n == 0 {
			return false
		}
		if v.refs.CompareAndSwap(n, n+1) {
			return true
		}
	}
}

func (v *view) unref() {
	if v.refs.Add(-1) != 0 {
		return
	}
	v.mem.Unref()
	for _, m := range v.sealed {
		m.Unref()
	}
	v.version.Unref()
	if v.db.liveViews.Add(-1) == 0 && v.db.closed.Load() {
		v.db.releaseFiles()
	}
}

// debt is the bytes that compaction still has to rewrite in this version.
func (v *view) debt() int64 {
	v.debtOnce.Do(func() {
		v.debtBytes = v.db.policy.Debt(v.version) + compaction.ValueDebt(v.version, v.db.holes.givenBack())
	})
	return v.debtBytes
}

// space is how far the tree's size is on its way from spaceSlow to spaceStop.
func (v *view) space() float64 {
	v.spaceOnce.Do(func() {
		total, last := treeBytes(v.version)
		v.spaceShare = spaceShare(total, last, v.db.budget.flushBytes())
	})
	return v.spaceShare
}

// pin returns the current view with a reference, or ErrClosed.
func (db *DB) pin() (*view, error) {
	for {
		v := db.view.Load()
		if v == nil {
			return nil, ErrClosed
		}
		if v.tryRef() {
			return v, nil
		}
	}
}

// pinRead pins the current view and returns with it the sequence number to read at.
func (db *DB) pinRead() (v *view, at uint64, err error) {
	for {
		if v, err = db.pin(); err != nil {
			return nil, 0, err
		}
		at = db.visible.Load()
		// Healing a failed log replaces the view first and then makes later numbers visible:
		// a number read while the view is still current never shows a failed write.
		if db.view.Load() == v {
			return v, at, nil
		}
		v.unref()
	}
}

// installView makes the state under db.mu what new reads see. db.mu is held.
func (db *DB) installView() {
	version := db.set.Current()
	defer version.Unref()
	old := db.view.Swap(db.newView(db.mem, append([]*memory(nil), db.sealed...), version))
	if old != nil {
		old.unref()
	}
}
