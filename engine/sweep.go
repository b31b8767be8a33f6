package engine

import "time"

const (
	// sweepEvery is how often an idle database looks whether values have expired.
	sweepEvery = time.Second
	// idleSweeps is after how many sweeps without a write the database counts as idle.
	idleSweeps = 3
	// ledgerSweeps is after how many sweeps the ledger is saved.
	ledgerSweeps = 10
)

// sweep has the space come back that nothing else asks for: it has tables compacted that have
// come due by the passing of time alone, and memory flushed where that is what keeps deleted
// entries alive. It saves the ledger now and then.
func (db *DB) sweep() {
	defer db.workers.Done()
	last, idle := db.visible.Load(), 0
	for n := 1; db.ctx.Err() == nil; n++ {
		db.sleep(sweepEvery)
		if n%ledgerSweeps == 0 {
			db.saveLifetime(false)
		}
		if seq := db.visible.Load(); seq != last {
			last, idle = seq, 0
		} else if idle++; idle == idleSweeps && db.memoryHoldsBackSpace() {
			_ = db.Flush() // background work reports its errors
		}
		if db.holdsExpiries() {
			db.schedule()
		}
	}
}

// holdsExpiries reports whether any table has a value with a time to live.
func (db *DB) holdsExpiries() bool {
	v, err := db.pin()
	if err != nil {
		return false
	}
	defer v.unref()
	for _, level := range v.version.Levels {
		for _, t := range level {
			if t.Stats.MaxExpiry != 0 {
				return true
			}
		}
	}
	return false
}

// memoryHoldsBackSpace reports whether the memtables hold deletions, or values with a time to
// live, that are more than a hundredth of what the tables hold, or delete ranges.
func (db *DB) memoryHoldsBackSpace() bool {
	v, err := db.pin()
	if err != nil {
		return false
	}
	defer v.unref()
	ending, ranges := v.mem.ending.Load(), len(v.mem.RangeDels())
	for _, m := range v.sealed {
		ending += m.ending.Load()
		ranges += len(m.RangeDels())
	}
	entries := uint64(0)
	for _, level := range v.version.Levels {
		for _, t := range level {
			entries += t.Stats.Entries
		}
	}
	return ranges > 0 || ending > 0 && uint64(ending)*100 >= entries
}
