package engine

const (
	// idleSweeps is after how many sweeps without a write the database counts as idle.
	idleSweeps = 3
	// trimSweeps is after how many the log gives back what it keeps for writes to come.
	trimSweeps = 10
	// ledgerSweeps is after how many sweeps the ledger is saved.
	ledgerSweeps = 10
)

// sweep has the space come back that nothing else asks for: it has tables compacted that have
// come due by the passing of time alone, and memory flushed where that is what keeps deleted
// entries alive; and it has the log give back what it keeps for writes to come, and lends the
// cache the memory that writes do not need. It saves the ledger now and then.
func (db *DB) sweep() {
	defer db.workers.Done()
	last, idle := db.visible.Load(), 0
	for n := 1; db.ctx.Err() == nil; n++ {
		db.sleep(db.opts.tuning.sweepEvery)
		db.lend(true)
		if n%ledgerSweeps == 0 {
			db.saveLifetime(false)
		}
		if seq := db.visible.Load(); seq != last {
			last, idle = seq, 0
		} else {
			idle++
		}
		switch {
		case idle == idleSweeps && db.memoryHoldsBackSpace():
			_ = db.Flush() // background work reports its errors
		case idle == trimSweeps:
			db.trimLog()
		}
		if db.holdsExpiries() {
			db.schedule()
		}
	}
}

// trimLog gives back the space of a log to which nobody writes.
func (db *DB) trimLog() {
	db.queue.stage.Lock() // nobody writes to the log or replaces it
	defer db.queue.stage.Unlock()
	if err := db.wal.Trim(); err != nil {
		db.log.Warn("give back the space of the log", "err", err)
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
