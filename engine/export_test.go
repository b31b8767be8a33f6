package engine

import "github.com/cambiumdb/cambium/internal/manifest"

// CurrentVersion calls fn with the current version.
func (db *DB) CurrentVersion(fn func(*manifest.Version)) {
	v := db.set.Current()
	defer v.Unref()
	fn(v)
}

// SaveLedger saves what the sweep saves now and then.
func (db *DB) SaveLedger() { db.saveLifetime(false) }

// FlushOften returns o with at most four memtables flushed together, so that a small database has
// tables.
func FlushOften(o Options) *Options {
	o.tuning.maxTogether = 4
	return &o
}
