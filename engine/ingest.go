package engine

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/cambiumdb/cambium/compaction"
	"github.com/cambiumdb/cambium/internal/batch"
	"github.com/cambiumdb/cambium/internal/filename"
	"github.com/cambiumdb/cambium/internal/ikey"
	"github.com/cambiumdb/cambium/internal/manifest"
	"github.com/cambiumdb/cambium/wal"
)

// Ingest takes tables into the database that were written outside of it, by TableWriter or by
// RocksDB, without passing their entries through log and memtable. It is one write: all of the
// tables or none, durable when it returns, in order with other writes, and atomic for every reader.
// Entries of the tables are newer than all that was written before; where tables overlap, the later
// one is the newer.
//
// Every byte is read and checked first. A table for other databases (TableWriter, SstFileWriter) is
// linked, or copied where the file system cannot link it. A file that was linked shares its bytes
// with the database: remove it or rename it, but do not write into it. Any other sorted table, such
// as one of another database, is rewritten: of each key its newest version comes in. The given files
// are never changed.
//
// Keys and values may be larger than Options allow for writes. Merge operands, references into blob
// files and other column families are refused.
func (db *DB) Ingest(paths ...string) error {
	if db.readOnly {
		return db.readOnlyError("ingest")
	}
	if len(paths) == 0 {
		return nil
	}
	db.mu.Lock()
	if db.ctx.Err() != nil { // under mu: Close waits for the workers that it sees
		db.mu.Unlock()
		return ErrClosed
	}
	db.workers.Add(1)
	db.mu.Unlock()
	defer db.workers.Done()

	start := time.Now()
	tables, err := db.bringAllIn(paths)
	if err == nil {
		err = db.ingest(tables)
	}
	if db.ctx.Err() != nil && err != nil {
		return ErrClosed
	}
	if err != nil {
		return fmt.Errorf("ingest into %s: %w", db.dir, classify(err))
	}
	db.reportIngest(tables, time.Since(start))
	return nil
}

// bringAllIn makes all the files files of the directory, with durable names, or none.
func (db *DB) bringAllIn(paths []string) ([]*external, error) {
	if i := slices.Index(paths, ""); i >= 0 {
		return nil, errorf(ErrInvalidArgument, "path %d of %d is empty", i+1, len(paths))
	}
	if err := db.settleManifest(); err != nil {
		return nil, err
	}
	tables := make([]*external, len(paths))
	g, ctx := errgroup.WithContext(db.ctx)
	g.SetLimit(db.opts.CompactionThreads)
	for i, name := range paths {
		g.Go(func() (err error) {
			if tables[i], err = db.bringIn(ctx, name); err != nil {
				err = fmt.Errorf("%s: %w", name, err)
			}
			return err
		})
	}
	err := g.Wait()
	if err == nil {
		err = db.fs.SyncDir(db.dir)
	}
	if err != nil {
		tables = slices.DeleteFunc(tables, func(e *external) bool { return e == nil })
		db.removeOutputs(ingestEdit(tables, nil))
		return nil, err
	}
	return tables, nil
}

// ingest makes the tables part of the tree at the next sequence numbers, while no other write is
// staged: so those before are published and on the device, and none after it is logged before the
// tables are. After an error their files are gone.
func (db *DB) ingest(tables []*external) error {
	err := db.flushAhead(tables)
	if err == nil {
		err = db.waitForRoom(tables)
	}
	if err != nil {
		db.removeOutputs(ingestEdit(tables, nil))
		return err
	}
	db.queue.stage.Lock()
	defer db.queue.stage.Unlock()
	first, err := db.readyToIngest(tables)
	if err != nil {
		db.removeOutputs(ingestEdit(tables, nil))
		return err
	}
	for i, e := range tables {
		e.setSeq(first + uint64(i))
	}
	last := first + uint64(len(tables)) - 1
	places := db.placeIngested(tables)
	defer func() {
		for _, p := range places {
			db.reservations.Release(p)
		}
		db.schedule()
	}()
	if err := db.install(ingestEdit(tables, places), func() { db.ingestedSeq = last }); err != nil {
		return errors.Join(err, db.forgetIngest())
	}
	db.barren.clear() // who remembers something from now on sees ingestedSeq
	db.publishIngest(last)
	for _, e := range tables {
		db.ledger.addUser(e.userBytes)
	}
	return nil
}

// readyToIngest returns the first sequence number for the tables once every write before is
// durable, and none that they overlap is still in memory.
func (db *DB) readyToIngest(tables []*external) (first uint64, err error) {
	if err := db.writable(); err != nil {
		return 0, err
	}
	if err := db.flushBeneath(tables); err != nil {
		return 0, err
	}
	q := &db.queue
	q.waitPublished(q.lastGroup)
	if err := db.writable(); err != nil {
		return 0, err
	}
	if err := db.wal.SyncAll(); err != nil {
		db.logFailed(err)
		return 0, err
	}
	if q.lastSeq+uint64(len(tables)) > ikey.MaxSeq {
		return 0, fmt.Errorf("sequence numbers end at %d", ikey.MaxSeq)
	}
	return q.lastSeq + 1, nil
}

// flushAhead flushes what flushBeneath would have to flush now, so that writers, who wait for that,
// wait for what has been written in between only.
func (db *DB) flushAhead(tables []*external) error {
	if overlap, err := db.memoryHolds(tables); err != nil || !overlap {
		return err
	}
	return db.Flush()
}

// waitForRoom returns when background work has got on by as much as the tables will add to it, since
// each that comes to L0 is a sorted run like a flush's. Others write meanwhile. It gives up after
// Options.MaxStall.
func (db *DB) waitForRoom(tables []*external) error {
	left := float64(int64(db.runsOf(tables)) * db.budget.flushBytes())
	start := time.Now()
	for last := start; left > 0; {
		if err := db.writable(); err != nil {
			return err
		}
		limit, cause, err := db.allowance(0)
		if err != nil {
			return err
		}
		if math.IsInf(limit, 1) {
			return nil
		}
		now := time.Now()
		if left -= limit * now.Sub(last).Seconds(); now.Sub(start) >= db.opts.MaxStall {
			return db.stalledError(now.Sub(start), cause, limit)
		}
		last = now
		db.sleep(recheck)
	}
	return nil
}

// runsOf is how many of the tables would come to L0 now.
func (db *DB) runsOf(tables []*external) (runs int) {
	version := db.set.Current()
	defer version.Unref()
	for _, p := range compaction.PlaceIngested(version, nil, manifestTables(tables)) {
		if p.Output == 0 {
			runs++
		}
	}
	return runs
}

func manifestTables(tables []*external) (out []*manifest.Table) {
	for _, e := range tables {
		out = append(out, e.table)
	}
	return out
}

// flushBeneath flushes memory when it holds keys of the tables: they are older, and reads look into
// memory first. queue.stage is held.
func (db *DB) flushBeneath(tables []*external) error {
	if overlap, err := db.memoryHolds(tables); err != nil || !overlap {
		return err
	}
	db.stallBegin(stallIngest)
	defer db.stallEnd()
	db.mu.Lock()
	full := len(db.sealed) >= db.budget.maxSealed
	db.mu.Unlock()
	if full {
		if err := db.waitFlushed(db.queue.lastSeq, db.heal.cause); err != nil {
			return err
		}
	}
	if !db.mem.Empty() {
		if err := db.rotate(); err != nil {
			return err
		}
	}
	return db.waitFlushed(db.queue.lastSeq, db.heal.cause)
}

// memoryHolds reports whether a memtable has an entry or a tombstone in the bounds of a table.
func (db *DB) memoryHolds(tables []*external) (bool, error) {
	v, err := db.pin()
	if err != nil {
		return false, err
	}
	defer v.unref()
	for _, e := range tables {
		meets := func(m *memory) bool { return m.meets(e.table) }
		if meets(v.mem) || slices.ContainsFunc(v.sealed, meets) {
			return true, nil
		}
	}
	return false, nil
}

func (m *memory) meets(t *manifest.Table) bool {
	it := m.NewIterator()
	defer it.Close()
	if it.SeekGE(ikey.Seek(t.Smallest.User, ikey.MaxSeq)) && t.Contains(it.Key().User) {
		return true
	}
	for _, span := range m.RangeDels() {
		if t.Overlaps(span.Start, span.End) {
			return true
		}
	}
	return false
}

// placeIngested finds the tables' places and keeps compactions from them.
func (db *DB) placeIngested(tables []*external) []*compaction.Plan {
	db.mu.Lock()
	defer db.mu.Unlock()
	busy := db.reservations.Clone() // before the version: see PlaceIngested
	version := db.set.Current()
	defer version.Unref()
	places := compaction.PlaceIngested(version, busy, manifestTables(tables))
	for _, p := range places {
		if p.Output > 0 {
			db.reservations.Reserve(p) // it is free: nothing else reserves without mu
		}
	}
	return places
}

// ingestEdit is the edit that adds the tables at their places; nil places are for removing them.
func ingestEdit(tables []*external, places []*compaction.Plan) *manifest.Edit {
	edit := &manifest.Edit{}
	for i, e := range tables {
		a := manifest.AddedTable{Table: e.table}
		if places != nil {
			a.Level = places[i].Output
		}
		edit.Added = append(edit.Added, a)
	}
	return edit
}

// forgetIngest is called after an edit that could not be written for certain: before it is settled
// that it is not in effect after a crash, no write may follow it.
func (db *DB) forgetIngest() error {
	err := db.settleManifest()
	if err != nil {
		db.logFailed(err) // healing settles it, and no write succeeds before
	}
	return err
}

// publishIngest makes the tables, whose sequence numbers end at last, visible, and accounts for the
// numbers in the log. queue.stage is held and every group is published.
func (db *DB) publishIngest(last uint64) {
	q := &db.queue
	q.lastSeq = last
	q.publish.Lock()
	db.visible.Store(last)
	q.turn.Broadcast()
	q.publish.Unlock()
	if _, err := db.wal.Append(batch.AppendIngestMark(nil, last), wal.PerWrite); err != nil {
		db.logFailed(err) // the tables do not need the log
	}
}

func (db *DB) reportIngest(tables []*external, d time.Duration) {
	info := IngestInfo{Tables: len(tables), Duration: d}
	for _, e := range tables {
		info.Bytes += int64(e.table.Size)
		if e.linked {
			info.Linked++
		}
		db.log.Debug("ingested", "table", filename.Base(filename.Table, e.table.Num), "bytes", e.table.Size, "seq", e.table.LargestSeq, "linked", e.linked)
	}
	if f := db.opts.Events.Ingested; f != nil {
		f(info)
	}
}
