package engine

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"time"

	"github.com/cambiumdb/cambium/compaction"
	"github.com/cambiumdb/cambium/internal/batch"
	"github.com/cambiumdb/cambium/internal/filename"
	"github.com/cambiumdb/cambium/internal/iterator"
	"github.com/cambiumdb/cambium/internal/manifest"
	"github.com/cambiumdb/cambium/internal/rangedel"
	"github.com/cambiumdb/cambium/memtable"
)

// Flush writes what memory holds into tables and returns when they are durable.
func (db *DB) Flush() error {
	if db.readOnly {
		return db.readOnlyError("flush")
	}
	db.queue.stage.Lock()
	if db.closed.Load() {
		db.queue.stage.Unlock()
		return ErrClosed
	}
	if !db.mem.Empty() {
		if err := db.rotate(); err != nil {
			db.queue.stage.Unlock()
			return fmt.Errorf("flush %s: %w", db.dir, err)
		}
	}
	upTo := db.queue.lastSeq
	db.queue.stage.Unlock()

	return db.waitFlushed(upTo, func() error { return nil })
}

// waitFlushed returns when every write up to sequence number upTo is in tables, or with the error
// that keeps flushes from getting on, or with stop's, which is asked whenever something has changed.
func (db *DB) waitFlushed(upTo uint64, stop func() error) error {
	defer db.wantFlushed()()
	db.mu.Lock()
	defer db.mu.Unlock()
	for len(db.sealed) > 0 && db.sealed[len(db.sealed)-1].lastSeq <= upTo {
		if db.closed.Load() {
			return ErrClosed
		}
		if err := db.background.flushErr; err != nil {
			return fmt.Errorf("flush %s: %w", db.dir, err)
		}
		if err := stop(); err != nil {
			return err
		}
		db.changed.Wait()
	}
	return nil
}

// wantFlushed has every sealed memtable flushed, few as they may be, until the function that it
// returns is called.
func (db *DB) wantFlushed() (done func()) {
	add := func(n int) {
		db.mu.Lock()
		db.background.flushWaits += n
		db.mu.Unlock()
	}
	add(1)
	db.schedule()
	return func() { add(-1) }
}

// flushDue reports whether enough memtables are sealed to be flushed as one table, or somebody
// waits for them, or the last try failed. db.mu is held.
func (db *DB) flushDue() bool {
	n, bg := len(db.sealed), &db.background
	return n >= db.budget.flushTogether || n > 0 && (bg.flushWaits > 0 || bg.flushErr != nil)
}

// rotate seals the active memtable and starts a new one with a new log segment. queue.stage is
// held.
func (db *DB) rotate() error {
	num := db.set.NewFileNum()
	last := db.queue.lastSeq
	header := batch.AppendLogHeader(nil, last+1, db.mem.logNum, last)
	if err := db.wal.Rotate(num, header); err != nil {
		db.logFailed(err)
		return err
	}
	fresh := db.newMemory(num)
	db.mu.Lock()
	db.mem.lastSeq = last
	db.sealed = slices.Insert(db.sealed, 0, db.mem)
	db.mem = fresh
	db.installView()
	db.changed.Broadcast()
	if db.ctx.Err() == nil { // under mu: Close waits for the workers that it sees
		db.workers.Go(func() { db.lend(false) }) // no write waits for evictions
	}
	db.mu.Unlock()
	db.schedule()
	return nil
}

func (db *DB) newMemory(logNum uint64) *memory {
	return &memory{Memtable: memtable.New(memtable.Options{SizeBytes: db.budget.memtable}), logNum: logNum}
}

// flushLoop flushes sealed memtables, several as one table, while that is due. It runs as the
// only flusher.
func (db *DB) flushLoop() {
	defer db.workers.Done()
	for {
		db.mu.Lock()
		if !db.flushDue() || db.ctx.Err() != nil || db.heal.cause() != nil {
			db.background.flushing = false
			db.changed.Broadcast()
			db.mu.Unlock()
			db.schedule()
			return
		}
		ms := slices.Clone(db.sealed)
		db.mu.Unlock()

		err := db.flushMemory(ms)
		if errors.Is(err, errNotVisible) {
			continue
		}
		if err == nil {
			db.flushDone(nil)
			db.schedule()
			continue
		}
		if db.ctx.Err() != nil {
			continue
		}
		db.flushDone(err)
		db.sleep(backgroundRetry)
	}
}

// backgroundRetry is the pause after failed background work.
const backgroundRetry = 200 * time.Millisecond

// flushMemory writes the oldest sealed memtables ms, newest first, as one table of L0 and installs it.
func (db *DB) flushMemory(ms []*memory) (err error) {
	var bytes, made int64
	var entries uint64
	for _, m := range ms {
		bytes, entries = bytes+m.Bytes(), entries+uint64(m.Count())
	}
	pace := db.paces.beginFlush(bytes, entries)
	defer func() { db.paces.end(pace, made, err) }()

	if !db.waitVisible(ms[0].lastSeq) {
		return errNotVisible
	}
	if err := db.settleManifest(); err != nil {
		return err
	}
	start := time.Now()
	res, err := db.writeMemory(db.ctx, pace, ms...)
	if err != nil {
		return err
	}
	made = res.BytesWritten
	edit := res.Edit
	if edit == nil {
		edit = &manifest.Edit{}
	}
	// The next log must exist before the manifest says so.
	if err := db.wal.Flush(); err != nil {
		db.logFailed(err)
		db.removeOutputs(edit) // healing writes them again
		return err
	}
	newest := ms[0]
	next := db.logAfter(newest)
	edit.LogNum, edit.LogExists = &next, true
	db.set.SetLastSeq(newest.lastSeq) // not the visible one: a crash may still lose what is only in the log
	if err := db.install(edit, func() {
		db.sealed = db.sealed[:len(db.sealed)-len(ms)]
		db.flushedSeq = newest.lastSeq
		db.background.flushes++
		db.background.duration += time.Since(start)
	}); err != nil {
		return err
	}
	for _, m := range ms {
		m.Unref()
	}
	db.releaseLogs(next)
	db.reportFlush(res, time.Since(start))
	return nil
}

// errNotVisible: the log failed before what memory holds was published. Healing flushes what was.
var errNotVisible = errors.New("the log failed")

// writeMemory writes what survives of ms together as a table of L0. pace, where not nil, hears how
// far it has got.
func (db *DB) writeMemory(ctx context.Context, pace *task, ms ...*memory) (*compaction.Result, error) {
	version := db.set.Current()
	defer version.Unref()
	its := make([]iterator.Iterator, len(ms))
	lists := make([]rangedel.List, len(ms))
	for i, m := range ms {
		its[i], lists[i] = m.NewIterator(), m.RangeDels()
	}
	it := its[0]
	if len(its) > 1 {
		it = iterator.NewMerging(its...)
	}
	defer it.Close()
	env := db.env(version)
	if pace != nil {
		env.Read = func(entries uint64) { db.paces.advance(pace, entries) }
	}
	res, err := compaction.Flush(ctx, env, it, mergeRangeDels(lists))
	if err != nil || res == nil {
		return &compaction.Result{}, err
	}
	if err := db.fillStats(res.Edit); err != nil {
		db.removeOutputs(res.Edit)
		return nil, err
	}
	return res, nil
}

// logAfter is the first log segment that is still needed once m is in a table.
func (db *DB) logAfter(m *memory) uint64 {
	db.mu.Lock()
	defer db.mu.Unlock()
	for i, s := range db.sealed {
		if s == m {
			if i == 0 {
				return db.mem.logNum
			}
			return db.sealed[i-1].logNum
		}
	}
	return m.logNum
}

// install applies edit and makes the new version visible together with change, which runs under
// db.mu. After an error the files made for edit are gone, unless it may be in effect after a crash:
// then the manifest keeps them until that is settled.
func (db *DB) install(edit *manifest.Edit, change func()) error {
	if err := db.set.Apply(edit); err != nil {
		if !db.set.InDoubt() {
			db.removeOutputs(edit)
		}
		return err
	}
	db.mu.Lock()
	change()
	db.installView()
	db.changed.Broadcast()
	db.mu.Unlock()
	return nil
}

// removeOutputs removes the tables and blob files that were written for an edit that was given up.
// Tables that it would only have moved stay.
func (db *DB) removeOutputs(edit *manifest.Edit) {
	remove := func(kind filename.Type, num uint64) {
		db.tables.drop(num)
		if err := db.fs.Remove(filename.Path(db.dir, kind, num)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			db.log.Warn("remove unused file", "file", filename.Base(kind, num), "err", err)
		}
	}
	for _, a := range edit.Added {
		if !slices.ContainsFunc(edit.Deleted, func(d manifest.DeletedTable) bool { return d.Num == a.Table.Num }) {
			remove(filename.Table, a.Table.Num)
		}
	}
	for i := range edit.BlobsAdded {
		remove(filename.Blob, edit.BlobsAdded[i].Num)
	}
}

// settleManifest is called before files are written for a new edit. Where an edit before could
// not be written for certain, it brings the manifest in order first: else each try would leave
// files behind that cannot be removed before that.
func (db *DB) settleManifest() error {
	if !db.set.InDoubt() {
		return nil
	}
	return db.set.Apply(&manifest.Edit{})
}

// releaseLogs gives the segments below next back to the log for recycling.
func (db *DB) releaseLogs(next uint64) {
	for _, num := range db.wal.Segments() {
		if num >= next {
			continue
		}
		if err := db.wal.Release(num); err != nil {
			db.log.Warn("release log", "file", filename.Base(filename.Log, num), "err", err)
		}
	}
}

func (db *DB) reportFlush(res *compaction.Result, d time.Duration) {
	info := FlushInfo{Entries: res.Out, Duration: d}
	for _, t := range res.Tables {
		info.Table, info.Bytes = t.Num, info.Bytes+int64(t.Size)
	}
	db.log.Debug("flushed", "table", info.Table, "bytes", info.Bytes, "entries", info.Entries, "took", d)
	if f := db.opts.Events.Flushed; f != nil {
		f(info)
	}
}

// waitVisible waits until every write up to seq is published, and reports false if instead the
// log failed.
func (db *DB) waitVisible(seq uint64) bool {
	q := &db.queue
	q.publish.Lock()
	defer q.publish.Unlock()
	for db.visible.Load() < seq && q.failed == nil {
		q.turn.Wait()
	}
	return db.visible.Load() >= seq
}

// sleep waits for d or until Close.
func (db *DB) sleep(d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-db.ctx.Done():
	}
}
