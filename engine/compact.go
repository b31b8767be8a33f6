package engine

import (
	"context"
	"fmt"
	"time"

	"github.com/cambiumdb/cambium/compaction"
	"github.com/cambiumdb/cambium/internal/ikey"
	"github.com/cambiumdb/cambium/internal/manifest"
	"github.com/cambiumdb/cambium/sstable"
	"github.com/cambiumdb/cambium/sstable/blob"
)

// schedule starts the background work that is due and has a free worker. It never waits.
func (db *DB) schedule() {
	if db.readOnly || db.closed.Load() {
		return
	}
	db.mu.Lock()
	defer db.mu.Unlock()
	if db.ctx.Err() != nil {
		return
	}
	bg := &db.background
	if !bg.flushing && db.flushDue() && db.heal.cause() == nil {
		bg.flushing = true
		db.workers.Add(1)
		go db.flushLoop()
	}
	var due []job
	for bg.compacting < db.opts.CompactionThreads && bg.manualWaits == 0 && !time.Now().Before(bg.retryAt) {
		version := db.set.Current()
		plan := db.pick(version, db.reservations)
		if plan == nil || !db.reservations.Reserve(plan) {
			version.Unref()
			if plan == nil && bg.compacting == 0 {
				bg.compactErr = nil // what failed is not due any more
			}
			break
		}
		bg.compacting++
		due = append(due, job{version: version, plan: plan, workers: 1})
	}
	for _, j := range due {
		j.workers += db.claimWorkers(j.plan)
		db.workers.Add(1)
		go db.work(j)
	}
	db.changed.Broadcast()
}

// job is a reserved plan with the version that it was picked from and the number of workers that
// it has.
type job struct {
	version *manifest.Version
	plan    *compaction.Plan
	workers int
}

// claimWorkers takes, of the workers for whom there is no other plan, those by whom a large one is
// done sooner. db.mu is held.
func (db *DB) claimWorkers(plan *compaction.Plan) int {
	bg := &db.background
	n := min(db.opts.CompactionThreads-bg.compacting, plan.MaxParts(targetFileBytes(db.budget.memtable))-1)
	bg.compacting += max(0, n)
	return max(0, n)
}

// work carries a job out and looks for the next.
func (db *DB) work(j job) {
	defer db.workers.Done()
	err := db.runPlan(j)
	db.compactionDone(j.plan, err)
	db.mu.Lock()
	db.background.compacting -= j.workers
	db.changed.Broadcast()
	db.mu.Unlock()
	if err != nil {
		db.sleep(backgroundRetry)
	}
	db.schedule()
}

// compactionDone records how a compaction went. One that Close has stopped went neither way.
func (db *DB) compactionDone(plan *compaction.Plan, err error) {
	if err == nil {
		db.backgroundDone(&db.background.compactErr, nil)
	} else if db.ctx.Err() == nil {
		db.backgroundDone(&db.background.compactErr, fmt.Errorf("compaction %s: %w", plan, err))
	}
}

// flushDone records how a flush went.
func (db *DB) flushDone(err error) { db.backgroundDone(&db.background.flushErr, err) }

// backgroundDone records how background work went, in last, for those who wait for it.
func (db *DB) backgroundDone(last *error, err error) {
	db.mu.Lock()
	bg := &db.background
	first := err != nil && *last == nil
	*last = err
	if err != nil {
		bg.retryAt = time.Now().Add(backgroundRetry)
	}
	db.changed.Broadcast()
	db.mu.Unlock()
	if err == nil {
		return
	}
	if first {
		db.log.Error("background work failed, trying again", "err", err)
	}
	if f := db.opts.Events.BackgroundError; f != nil {
		f(classify(err))
	}
}

// runPlan carries out a job and gives its plan and its version back.
func (db *DB) runPlan(j job) (err error) {
	plan := j.plan
	defer j.version.Unref()
	defer db.reservations.Release(plan)
	pace := db.paces.beginCompaction(plan)
	defer func() { db.paces.end(pace, 0, err) }()
	if err := db.settleManifest(); err != nil {
		return err
	}
	start := time.Now()
	env := db.env(j.version)
	env.Parts, env.Limiter = j.workers, db.newTurn(plan)
	env.Read = func(entries uint64) { db.paces.advance(pace, entries) }
	res, err := compaction.Run(db.ctx, env, plan)
	if err != nil {
		return classify(err)
	}
	if err := db.fillStats(res.Edit); err != nil {
		db.removeOutputs(res.Edit)
		return err
	}
	now := db.set.Current()
	err = db.reservations.Verify(plan, now)
	now.Unref()
	if err != nil {
		db.removeOutputs(res.Edit)
		return err
	}
	dead := db.holes.announce(res.Dead)
	if err := db.install(res.Edit, func() {
		db.background.duration += time.Since(start)
		if plan.TrivialMove {
			db.background.moves++
		} else {
			db.background.compactions++
		}
	}); err != nil {
		db.holes.withdraw(dead)
		return err
	}
	db.inEffect(dead)
	info := CompactionInfo{
		Reason: plan.Reason, FromLevel: plan.Inputs[0].Level, ToLevel: plan.Output,
		OutputTables: len(res.Tables), BytesRead: res.BytesRead + res.ValuesMoved, BytesWritten: res.BytesWritten + res.ValuesWritten,
		BlocksReused: res.BlocksReused, Start: start, Duration: time.Since(start),
	}
	for _, in := range plan.Inputs {
		info.InputTables += len(in.Tables)
	}
	db.log.Debug("compacted", "plan", plan.String(), "reason", plan.Reason, "read", info.BytesRead, "written", info.BytesWritten,
		"in", res.In, "out", res.Out, "dropped", res.Dropped.Total(), "took", info.Duration)
	if f := db.opts.Events.Compacted; f != nil {
		f(info)
	}
	return nil
}

// env is what flushes and compactions need of the database.
func (db *DB) env(version *manifest.Version) *compaction.Env {
	last := lastLevel(version)
	return &compaction.Env{
		FS:         db.fs,
		Dir:        db.dir,
		NewFileNum: db.set.NewFileNum,
		OpenTable: func(t *manifest.Table) (*sstable.Reader, func(), error) {
			r, err := db.tables.get(t)
			if err != nil {
				return nil, nil, err
			}
			return r.Reader, func() {}, nil
		},
		OpenBlob: func(num uint64) (*blob.Reader, func(), error) {
			r, err := db.tables.blob(num)
			return r, func() {}, err
		},
		WriterOptions: func(level int) sstable.WriterOptions {
			o := db.opts.tableOptions(level, last)
			o.DBID = db.set.DBID()
			return o
		},
		TargetFileBytes:  targetFileBytes(db.budget.memtable),
		ValueThreshold:   max(0, db.opts.ValueThreshold),
		ValueCompression: db.opts.Compression.valueCompression(),
		ValueFileBytes:   valueFileBytes(version, db.budget.memtable),
		Cache:            db.cache,
		Snapshots:        db.boundaries(),
		NowMillis:        db.nowMillis(),
		Version:          version,
		Wrote:            db.tableBytesWritten,
		WroteValues:      func(reason string, n int64) { db.ledger.add("blob", -1, reason, n) },
		Filter:           db.opts.Filter,
		Logger:           db.log,
	}
}

// The shape of tables.
const (
	tableBlockSize   = 4 << 10
	filterBitsPerKey = 10
)

// tableOptions shapes tables of level, where last is the deepest level that holds data.
func (o *Options) tableOptions(level, last int) sstable.WriterOptions {
	return sstable.WriterOptions{
		BlockSize:       tableBlockSize,
		RestartInterval: 16,
		Compression:     o.Compression.blockCompression(level, last),
		BitsPerKey:      filterBitsPerKey,
		CreationTime:    uint64(time.Now().Unix()),
	}
}

// targetFileBytes is the size of compaction outputs: half a memtable keeps plans fine-grained,
// within bounds that keep the number of files sane.
func targetFileBytes(memtable int64) int64 { return min(64<<20, max(1<<20, memtable/2)) }

// valueFileBytes is the size at which a blob file ends: that of a memtable, which is what a flush
// makes, and more where there are many, since all of them are kept open.
func valueFileBytes(v *manifest.Version, memtable int64) int64 {
	var total uint64
	for _, b := range v.Blobs {
		total += b.Bytes
	}
	return min(256<<20, max(memtable, int64(total/128)))
}

func lastLevel(v *manifest.Version) int {
	for level := len(v.Levels) - 1; level > 0; level-- {
		if len(v.Levels[level]) > 0 {
			return level
		}
	}
	return 0
}

func (db *DB) tableBytesWritten(level int, reason string, n int64) {
	if reason == compaction.ReasonFlush {
		db.ledger.add("flush", 0, "", n)
	} else {
		db.ledger.add("compaction", level, reason, n)
	}
}

// Compact rewrites every table that holds keys of [lo, hi) down to the last level, so that
// what was deleted, overwritten or has expired gives its space back. nil bounds are open. It
// flushes first and returns when done.
func (db *DB) Compact(lo, hi []byte) error {
	if lo != nil && hi != nil {
		if err := checkRange("compact", lo, hi); err != nil {
			return err
		}
	}
	if err := db.Flush(); err != nil {
		return err
	}
	db.mu.Lock()
	db.background.manual++
	db.mu.Unlock()
	defer func() {
		db.mu.Lock()
		db.background.manual--
		db.mu.Unlock()
		db.schedule()
	}()
	for level := 0; level < manifest.NumLevels; level++ {
		final, err := db.compactLevel(lo, hi, level)
		if err != nil {
			return fmt.Errorf("compact %s: %w", db.dir, err)
		}
		if final {
			break
		}
	}
	return nil
}

// compactLevel moves the tables of one level that overlap the range down, waiting for
// compactions that are in the way. final says that all of it is in its last place.
func (db *DB) compactLevel(lo, hi []byte, level int) (final bool, err error) {
	for {
		db.mu.Lock()
		if db.ctx.Err() != nil { // under mu: Close waits for the workers that it sees
			db.mu.Unlock()
			return false, ErrClosed
		}
		version := db.set.Current()
		plan := compaction.Manual(version, lo, hi, level)
		if plan == nil {
			db.mu.Unlock()
			version.Unref()
			return false, nil
		}
		if !db.reservations.Reserve(plan) {
			version.Unref()
			db.background.manualWaits++
			db.changed.Wait()
			db.background.manualWaits--
			db.mu.Unlock()
			continue
		}
		extra := db.claimWorkers(plan)
		db.workers.Add(1)
		db.mu.Unlock()
		err := db.runPlan(job{version, plan, 1 + extra})
		if err == nil { // an error goes to the caller
			db.compactionDone(plan, nil)
		}
		db.workers.Done()
		db.mu.Lock()
		db.background.compacting -= extra
		db.changed.Broadcast()
		db.mu.Unlock()
		return plan.Final, err
	}
}

// WaitIdle returns when no flush or compaction is running or due and the files that none needs
// any more are removed, with ctx's error when that
// ends first, or with the error that keeps background work from getting on.
func (db *DB) WaitIdle(ctx context.Context) error {
	if db.readOnly {
		return nil
	}
	stop := context.AfterFunc(ctx, func() {
		db.mu.Lock()
		db.changed.Broadcast()
		db.mu.Unlock()
	})
	defer stop()
	defer db.wantFlushed()()
	db.mu.Lock()
	defer db.mu.Unlock()
	for {
		if db.closed.Load() {
			return ErrClosed
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		bg := &db.background
		if err := bg.err(); err != nil {
			return fmt.Errorf("wait idle %s: %w", db.dir, err)
		}
		if !bg.flushing && bg.compacting == 0 && bg.manual == 0 && len(db.sealed) == 0 && !db.workDue() && !db.obsolete.busy() && !db.holes.learning.Load() {
			return nil
		}
		db.changed.Wait()
	}
}

// workDue reports whether the policy wants something. db.mu is held.
func (db *DB) workDue() bool {
	version := db.set.Current()
	defer version.Unref()
	return db.pick(version, nil) != nil
}

// pick returns a plan that costs nothing, the policy's plan or, where no level is too full, one that
// gives space back.
func (db *DB) pick(version *manifest.Version, busy *compaction.Reservations) *compaction.Plan {
	if plan := compaction.PickDead(version, busy, db.nowMillis()); plan != nil {
		return plan
	}
	back, learning := db.holes.givenBack(), db.holes.learning.Load()
	if !learning && compaction.ValuesUrgent(version, back) {
		if plan := compaction.PickValues(version, back, busy, db.compactionOptions()); plan != nil {
			return plan
		}
	}
	if plan := db.policy.Pick(version, busy); plan != nil {
		return plan
	}
	if !learning {
		if plan := compaction.PickValues(version, back, busy, db.compactionOptions()); plan != nil {
			return plan
		}
	}
	oldest := ikey.MaxSeq
	db.snaps.mu.Lock()
	if len(db.snaps.seqs) > 0 {
		oldest = db.snaps.seqs[0]
	}
	db.snaps.mu.Unlock()
	now := compaction.Moment{NowMillis: db.nowMillis(), OldestSnapshot: oldest}
	return compaction.PickIdle(version, busy, now, db.compactionOptions())
}

// compactionOptions shapes the tree to what a flush takes from memory. The first level below L0
// holds a little more: it is rewritten with each merge of L0, so a larger one costs as much there
// as it saves below.
func (db *DB) compactionOptions() compaction.Options {
	return compaction.Options{
		BaseBytes:       max(4<<20, db.budget.flushBytes()*5/4),
		TargetFileBytes: targetFileBytes(db.budget.memtable),
	}
}

func (db *DB) newPolicy() compaction.Policy {
	switch o := db.compactionOptions(); db.opts.Compaction {
	case Tiered:
		return compaction.NewTiered(o)
	case LazyLeveled:
		return compaction.NewLazyLeveled(o)
	default:
		return compaction.NewLeveled(o)
	}
}

func (db *DB) nowMillis() uint64 { return uint64(max(0, db.opts.Clock.Now().UnixMilli())) }
