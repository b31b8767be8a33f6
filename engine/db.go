package engine

import (
	"context"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/semaphore"

	"github.com/cambiumdb/cambium/compaction"
	"github.com/cambiumdb/cambium/internal/cache"
	"github.com/cambiumdb/cambium/internal/manifest"
	"github.com/cambiumdb/cambium/internal/vfs"
	"github.com/cambiumdb/cambium/wal"
)

// DB is an open database. Open and OpenReadOnly make one; any number of goroutines may use it.
type DB struct {
	dir      string
	opts     Options
	budget   budget
	fs       vfs.FS
	log      *slog.Logger
	readOnly bool
	lock     vfs.Lock

	set          *manifest.Set
	cache        *cache.Cache
	lending      lending
	tables       *tables
	ledger       *ledger
	lifetime     lifetime
	policy       compaction.Policy
	reservations *compaction.Reservations

	view    atomic.Pointer[view] // nil when closed
	visible atomic.Uint64        // sequence number that new reads see
	snaps   snapshots

	queue       commitQueue
	largeWrites *semaphore.Weighted
	commits     sync.Pool // of *commit: what a write needs
	wal         *wal.Log  // replaced under queue.stage and mu
	// mem is written by the leader of the commit queue, under queue.stage; the pointer changes
	// under queue.stage and mu.
	mem *memory

	mu          sync.Mutex // guards the fields below; nothing waits for I/O under it
	sealed      []*memory  // newest first
	flushedSeq  uint64     // every write up to it is in tables
	ingestedSeq uint64     // the last sequence number of an ingested table
	background  background
	changed     *sync.Cond // on mu: any of the fields above changed

	stall   stallMeter
	limiter *limiter
	paces   paces
	heal    healer
	reads   readCounters
	barren  barren

	openIterators atomic.Int64
	liveViews     atomic.Int64
	released      sync.Once
	closed        atomic.Bool
	ctx           context.Context // ends when Close begins
	cancel        context.CancelFunc
	workers       sync.WaitGroup
	obsolete      obsoleteFiles
	holes         holes
	shown         manifestState // of a read-only database
}

// readCounters count point reads.
type readCounters struct {
	gets, tablesProbed atomic.Int64
}

// background is the state of flushes and compactions.
type background struct {
	flushing    bool
	flushWaits  int // those who wait for every sealed memtable to be flushed
	compacting  int // workers at compactions
	manual      int // manual compactions under way
	manualWaits int // of these, those that wait for a compaction in their way: nothing new starts
	flushes     int64
	compactions int64
	moves       int64
	duration    time.Duration
	flushErr    error     // of the last flush, nil after one went well
	compactErr  error     // of the last compaction, likewise
	retryAt     time.Time // no compaction before, after an error
}

// err is what keeps background work from getting on, nil if nothing does.
func (bg *background) err() error {
	if bg.flushErr != nil {
		return bg.flushErr
	}
	return bg.compactErr
}

// Close waits for running background work to stop, writes and syncs the log and releases
// everything. Writes that were acknowledged under any policy are then durable. Iterators and
// snapshots should be closed before; those that are not keep their memory, and their files are
// closed with the last of them. Later calls return ErrClosed.
func (db *DB) Close() error {
	if db.closed.Swap(true) {
		return ErrClosed
	}
	db.cancel()
	db.mu.Lock()
	db.changed.Broadcast()
	db.mu.Unlock()
	db.heal.stop()

	var err error
	if !db.readOnly {
		// Whoever leads now ends first; whoever comes later sees closed.
		db.queue.stage.Lock()
		last := db.queue.lastGroup
		db.queue.stage.Unlock()
		db.queue.waitPublished(last)
		db.workers.Wait()
		if db.wal != nil {
			db.queue.stage.Lock()
			if err = db.wal.Close(); err != nil {
				err = db.keepWhatTheLogLost(err)
			}
			db.queue.stage.Unlock()
		}
	}
	if v := db.view.Swap(nil); v != nil {
		v.unref()
	}
	db.releaseMemtables()
	db.obsolete.drain()
	version := db.set.Current()
	if e := db.set.Close(); err == nil {
		err = e
	}
	if !db.readOnly {
		db.saveDead(version)
		db.saveLifetime(true)
	}
	version.Unref()
	db.releaseFiles()
	if db.lock != nil {
		if e := db.lock.Close(); err == nil {
			err = e
		}
	}
	return err
}

// releaseFiles closes the open files and frees the cache once the database is closed and no
// reader is left: called by Close and by the last reader after it.
func (db *DB) releaseFiles() {
	if db.liveViews.Load() == 0 && db.view.Load() == nil {
		db.released.Do(func() {
			db.tables.close()
			db.cache.Close()
		})
	}
}

// releaseMemtables gives back the references that the database itself holds.
func (db *DB) releaseMemtables() {
	db.mu.Lock()
	defer db.mu.Unlock()
	if db.mem != nil {
		db.mem.Unref()
	}
	for _, m := range db.sealed {
		m.Unref()
	}
	db.sealed = nil
}

// keepWhatTheLogLost is for a log that failed at Close: what memory holds is written as a table
// instead, so that what was acknowledged is not lost.
func (db *DB) keepWhatTheLogLost(logErr error) error {
	if err := db.healOnce(context.Background()); err != nil {
		return logErr
	}
	return db.wal.Close()
}
