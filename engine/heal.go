package engine

import (
	"context"
	"fmt"
	"slices"
	"sync"

	"github.com/cambiumdb/cambium/internal/batch"
	"github.com/cambiumdb/cambium/internal/filename"
	"github.com/cambiumdb/cambium/internal/manifest"
	"github.com/cambiumdb/cambium/wal"
)

// healer brings writes back after the log failed. The failed log is never written again: what
// memory holds and was published goes to a table, and the same manifest edit moves the log
// number past the failed log, to a new one. Only then may a write succeed again.
type healer struct {
	mu     sync.Mutex    // guards the fields below
	err    error         // why the log failed; nil when it is well
	runs   bool          // the goroutine is there
	ending chan struct{} // closed when it ends
}

// logFailed notes that the present log cannot be written and starts healing. It may be called
// under queue.publish.
func (db *DB) logFailed(err error) {
	h := &db.heal
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.err != nil {
		return
	}
	h.err = err
	db.log.Error("log failed, writes stop until what memory holds is in a table", "err", err)
	if h.runs || db.closed.Load() {
		return
	}
	h.runs = true
	h.ending = make(chan struct{})
	go db.healLoop(h.ending)
}

// logMayHaveFailed is what a log calls that failed, perhaps in the background: a policy that
// acknowledges first must not wait for the next write to find out. It may be a log that was
// replaced meanwhile.
func (db *DB) logMayHaveFailed() {
	if log := db.currentLog(); log != nil && log.Err() != nil {
		db.logFailed(log.Err())
	}
}

// cause returns nil when the log is well, else the reason it failed.
func (h *healer) cause() error {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.err
}

// stop waits for the goroutine to end; the database's context is already cancelled.
func (h *healer) stop() {
	h.mu.Lock()
	ending := h.ending
	h.mu.Unlock()
	if ending != nil {
		<-ending
	}
}

func (db *DB) healLoop(ending chan struct{}) {
	defer close(ending)
	for db.ctx.Err() == nil {
		db.queue.stage.Lock()
		err := db.healOnce(db.ctx)
		db.queue.stage.Unlock()
		h := &db.heal
		h.mu.Lock()
		if err == nil {
			h.err, h.runs, h.ending = nil, false, nil
			h.mu.Unlock()
			db.log.Info("log healed, writes go on")
			db.logMayHaveFailed() // the new one, before anybody listened
			db.schedule()
			return
		}
		h.mu.Unlock()
		db.flushDone(fmt.Errorf("replace the failed log: %w", err))
		db.sleep(backgroundRetry)
	}
}

// healOnce tries to replace the failed log. queue.stage is held, so nothing new is staged.
func (db *DB) healOnce(ctx context.Context) (err error) {
	q := &db.queue
	q.waitPublished(q.lastGroup)
	db.claimFlusher()
	defer db.releaseFlusher()

	if err := db.settleManifest(); err != nil {
		return err
	}
	db.mu.Lock()
	memories := append([]*memory{db.mem}, db.sealed...)
	db.mu.Unlock()
	edit := &manifest.Edit{}
	applied := false
	defer func() {
		if !applied {
			db.removeOutputs(edit)
		}
	}()
	// Oldest first; the newest without what was never published.
	for _, m := range slices.Backward(memories) {
		if err := db.writeInto(ctx, edit, m, db.visible.Load()); err != nil {
			return err
		}
	}
	num := db.set.NewFileNum()
	header := batch.AppendLogHeader(nil, q.lastSeq+1, 0, 0)
	log, err := wal.Create(db.walOptions(), num, header)
	if err != nil {
		return err
	}
	edit.LogNum, edit.LogExists = &num, true
	fresh := db.newMemory(num)
	db.set.SetLastSeq(q.lastSeq)
	applied = true // or perhaps not: install knows
	if err := db.install(edit, func() {
		db.mem, db.sealed = fresh, nil
		db.flushedSeq = q.lastSeq
	}); err != nil {
		log.Close()
		fresh.Unref()
		return err
	}
	db.mu.Lock()
	failed := db.wal
	db.wal = log
	db.mu.Unlock()
	q.publish.Lock()
	q.failed = nil
	db.visible.Store(q.lastSeq) // the numbers of failed writes are skipped for good
	q.turn.Broadcast()
	q.publish.Unlock()
	for _, m := range memories {
		m.Unref()
	}
	segments := failed.Segments()
	failed.Close()
	for _, n := range segments {
		if err := db.fs.Remove(filename.Path(db.dir, filename.Log, n)); err != nil {
			db.log.Warn("remove failed log", "file", filename.Base(filename.Log, n), "err", err)
		}
	}
	db.flushDone(nil)
	return nil
}

// writeInto flushes m, up to sequence number visible, and adds its table to edit.
func (db *DB) writeInto(ctx context.Context, edit *manifest.Edit, m *memory, visible uint64) error {
	if m.Empty() {
		return nil
	}
	published := m
	if m.lastSeq == 0 || m.lastSeq > visible {
		published = db.copyUpTo(m, visible)
		defer published.Unref()
	}
	res, err := db.writeMemory(ctx, nil, published)
	if err != nil {
		return err
	}
	if res.Edit != nil {
		addFlushed(edit, res.Edit)
	}
	return nil
}

// copyUpTo returns a memtable with m's entries up to sequence number visible.
func (db *DB) copyUpTo(m *memory, visible uint64) *memory {
	out := db.newMemory(m.logNum)
	it := m.NewIterator()
	defer it.Close()
	for ok := it.First(); ok; ok = it.Next() {
		if k := it.Key(); k.Seq() <= visible {
			out.Add(k, it.Value())
		}
	}
	for _, span := range m.RangeDels() {
		for _, seq := range span.Seqs {
			if seq <= visible {
				out.AddRangeDelete(span.Start, span.End, seq)
			}
		}
	}
	out.lastSeq = visible
	return out
}

// claimFlusher waits until no flush is running and keeps others from starting one until
// releaseFlusher.
func (db *DB) claimFlusher() {
	db.mu.Lock()
	defer db.mu.Unlock()
	for db.background.flushing {
		db.changed.Wait()
	}
	db.background.flushing = true
}

func (db *DB) releaseFlusher() {
	db.mu.Lock()
	defer db.mu.Unlock()
	db.background.flushing = false
	db.changed.Broadcast()
}
