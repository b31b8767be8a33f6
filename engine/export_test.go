package engine

import (
	"context"
	"time"

	"github.com/cambiumdb/cambium/internal/manifest"
	"github.com/cambiumdb/cambium/sstable/blob"
)

// CurrentVersion calls fn with the current version.
func (db *DB) CurrentVersion(fn func(*manifest.Version)) {
	v := db.set.Current()
	defer v.Unref()
	fn(v)
}

// HoldLargeWrites keeps every large value out of the log until the function that it returns is called.
func (db *DB) HoldLargeWrites() (release func()) {
	b := db.borrowBatchFor(nil, make([]byte, db.budget.writes))
	return func() { returnBatch(b) }
}

// SaveLedger saves what the sweep saves now and then.
func (db *DB) SaveLedger() { db.saveLifetime(false) }

// FlushOften returns o with at most four memtables flushed together, so that a small database has
// tables, and with scans that are impatient where little is live.
func FlushOften(o Options) *Options {
	o.tuning.maxTogether, o.tuning.patience = 4, 1
	return &o
}

// DeadRecords returns what is known to be dead in each blob file that may have holes, of how many of
// these not all is known, and how many wait for something to be given back.
func (db *DB) DeadRecords() (dead map[uint64]*blob.Dead, unknown, waiting int) {
	v := db.set.Current()
	defer v.Unref()
	h := &db.holes
	h.mu.Lock()
	defer h.mu.Unlock()
	dead = make(map[uint64]*blob.Dead)
	for num := range holding(v) {
		if dead[num] = h.allDead(num); h.unknown[num] {
			unknown++
		}
		if f := h.files[num]; f == nil || !f.due.Empty() {
			waiting++
		}
	}
	return dead, unknown, waiting + len(h.dying)
}

// FindDead returns the same by looking through the tables.
func (db *DB) FindDead() (map[uint64]*blob.Dead, error) {
	v := db.set.Current()
	defer v.Unref()
	dead, _, err := db.findDead(context.Background(), v, holding(v))
	return dead, err
}

// SweepOften lets no test wait for seconds.
func (o *Options) SweepOften() { o.tuning.sweepEvery = 20 * time.Millisecond }
