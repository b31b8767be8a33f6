package engine

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sync/semaphore"

	"github.com/cambiumdb/cambium/compaction"
	"github.com/cambiumdb/cambium/internal/batch"
	"github.com/cambiumdb/cambium/internal/cache"
	"github.com/cambiumdb/cambium/internal/filename"
	"github.com/cambiumdb/cambium/internal/manifest"
	"github.com/cambiumdb/cambium/internal/vfs"
	"github.com/cambiumdb/cambium/sstable"
	"github.com/cambiumdb/cambium/wal"
)

// Open opens the database in dir for reading and writing, making it where missing. opts may be
// nil. What the log holds beyond the tables is replayed and written to tables first. Only one
// DB may have a directory open for writing: the second gets ErrLocked.
func Open(dir string, opts *Options) (*DB, error) {
	db, err := newDB(dir, opts, false)
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", dir, err)
	}
	if err := db.open(); err != nil {
		db.abandon()
		return nil, fmt.Errorf("open %s: %w", dir, classify(err))
	}
	return db, nil
}

// OpenReadOnly opens the database in dir for reading. It makes and changes no file and takes no
// lock: logs are replayed into memory, and any number of readers may have the directory open.
// Opened beside a writer it shows the moment of opening, and reads fail once the writer has
// removed a file that they need, or given back the space of a value.
func OpenReadOnly(dir string, opts *Options) (*DB, error) {
	for try := 1; ; try++ {
		db, err := newDB(dir, opts, true)
		if err != nil {
			return nil, fmt.Errorf("open %s: %w", dir, err)
		}
		before := db.glance()
		if err = db.openReadOnly(); err == nil {
			db.lend(false)
			return db, nil
		}
		after := db.glance()
		db.abandon()
		// Files that a writer replaced or cut meanwhile, and edits after the manifest was read, look
		// like damage: look again.
		if try == readOnlyTries || slices.Equal(before, after) {
			return nil, fmt.Errorf("open %s: %w", dir, classify(err))
		}
	}
}

// glance lists the files of the directory, and how long the manifests and logs are, as far as that can
// be read: openReadOnly meets the error too.
func (db *DB) glance() []string {
	names, _ := db.fs.List(db.dir)
	for i, n := range names {
		if t, num, ok := filename.Parse(n); ok && (t == filename.Manifest || t == filename.Log) {
			if info, err := db.fs.Stat(filename.Path(db.dir, t, num)); err == nil {
				names[i] = fmt.Sprintf("%s %d", n, info.Size())
			}
		}
	}
	return names
}

// readOnlyTries is how often OpenReadOnly tries while a writer is changing the directory.
const readOnlyTries = 20

func newDB(dir string, opts *Options, readOnly bool) (*DB, error) {
	o, err := opts.withDefaults()
	if err != nil {
		return nil, err
	}
	db := &DB{
		dir: dir, opts: o, budget: divide(o), fs: o.FS, log: o.Logger, readOnly: readOnly,
		ledger: newLedger(), reservations: new(compaction.Reservations),
	}
	db.paces, db.limiter = newPaces(), newLimiter(time.Now())
	db.changed = sync.NewCond(&db.mu)
	db.ctx, db.cancel = context.WithCancel(context.Background())
	db.cache = cache.New(db.budget.cache)
	db.tables = newTables(db.fs, dir, db.cache)
	db.queue.init(0)
	db.largeWrites = semaphore.NewWeighted(db.budget.writes)
	return db, nil
}

// abandon releases what a failed open had taken.
func (db *DB) abandon() {
	db.closed.Store(true)
	db.cancel()
	db.workers.Wait()
	if db.wal != nil {
		db.wal.Close()
	}
	if db.lifetime.begun {
		db.saveLifetime(true)
	}
	if v := db.view.Swap(nil); v != nil {
		v.unref()
	}
	db.releaseMemtables()
	db.obsolete.drain()
	if db.set != nil {
		db.set.Close()
	}
	db.releaseFiles()
	if db.lock != nil {
		db.lock.Close()
	}
}

func (db *DB) open() error {
	if err := makeDir(db.fs, db.dir); err != nil {
		return explainPermission(err, db.dir)
	}
	if err := db.takeLock(); err != nil {
		return err
	}
	names, err := db.fs.List(db.dir)
	if err != nil {
		return err
	}
	exists, err := holdsDatabase(db.dir, names)
	if err != nil {
		return err
	}
	if exists && db.opts.ErrorIfExists {
		return errorf(ErrExists, "%s holds a database and Options.ErrorIfExists is set", db.dir)
	}
	if !exists {
		db.set, err = manifest.Create(db.fs, db.dir, db.manifestOptions())
		if err != nil {
			return explainPermission(err, db.dir)
		}
		db.openLifetime(false)
		return db.start(nil, names)
	}
	if err := checkForeignOptions(db.fs, db.dir, names); err != nil {
		return err
	}
	if db.set, err = manifest.Recover(db.fs, db.dir, db.manifestOptions()); err != nil {
		return err
	}
	db.openLifetime(true)
	if err := db.openTables(); err != nil {
		return err
	}
	db.loadDead()
	var flushed []*manifest.Edit
	r := &replay{db: db, full: func(m *memory) (*memory, error) {
		db.beginLifetime()
		edit, err := db.flushRecovered(m)
		if err != nil {
			return nil, err
		}
		flushed = append(flushed, edit)
		return db.newMemory(0), nil
	}}
	if err := r.run(names); err != nil {
		if r.mem != nil { // a full one that could not be flushed is gone
			r.mem.Unref()
		}
		return err
	}
	if !r.mem.Empty() {
		if r.mem, err = r.full(r.mem); err != nil {
			return err
		}
	}
	r.mem.Unref()
	db.queue.init(r.lastSeq)
	db.visible.Store(r.lastSeq)
	return db.start(flushed, names)
}

// makeDir makes dir and its parents, and makes the new names durable.
func makeDir(fsys vfs.FS, dir string) error {
	var parents []string
	for d := path.Clean(dir); ; d = path.Dir(d) {
		if _, err := fsys.Stat(d); !errors.Is(err, fs.ErrNotExist) {
			break
		}
		parents = append(parents, path.Dir(d))
		if d == path.Dir(d) {
			break
		}
	}
	if err := fsys.MkdirAll(dir); err != nil {
		return err
	}
	for _, d := range parents {
		if err := fsys.SyncDir(d); err != nil {
			return err
		}
	}
	return nil
}

// start makes a new log, records it together with what recovery flushed in one edit, removes
// files that are no longer needed, and lets work begin.
func (db *DB) start(flushed []*manifest.Edit, names []string) error {
	db.beginLifetime()
	edit := &manifest.Edit{}
	for _, e := range flushed {
		addFlushed(edit, e)
	}
	num := db.set.NewFileNum()
	log, err := wal.Create(db.walOptions(), num, batch.AppendLogHeader(nil, db.queue.lastSeq+1, 0, 0))
	if err != nil {
		return explainPermission(err, db.dir)
	}
	db.mu.Lock()
	db.wal = log
	db.mu.Unlock()
	edit.LogNum, edit.LogExists = &num, true
	db.mem = db.newMemory(num)
	db.flushedSeq = db.queue.lastSeq
	db.set.SetLastSeq(db.queue.lastSeq)
	if err := db.install(edit, func() {}); err != nil {
		return err
	}
	db.policy = db.newPolicy()
	db.removeOrphans(names)
	db.lend(false)
	db.workers.Add(1)
	go db.sweep()
	db.startHoles()
	db.schedule()
	return nil
}

// addFlushed adds what a flush makes of the tree to edit.
func addFlushed(edit, flushed *manifest.Edit) {
	edit.Added = append(edit.Added, flushed.Added...)
	edit.BlobsAdded = append(edit.BlobsAdded, flushed.BlobsAdded...)
	edit.BlobGarbage = append(edit.BlobGarbage, flushed.BlobGarbage...)
}

func (db *DB) openReadOnly() error {
	names, err := db.fs.List(db.dir)
	if err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			return errorf(ErrNotDatabase, "%s does not exist: engine.Open creates it", db.dir)
		}
		return explainUnreadable(err, db.dir)
	}
	exists, err := holdsDatabase(db.dir, names)
	if err != nil {
		return err
	}
	if !exists {
		return errorf(ErrNotDatabase, "%s holds no database: engine.Open creates one", db.dir)
	}
	if err := checkForeignOptions(db.fs, db.dir, names); err != nil {
		return err
	}
	if db.shown, err = db.manifestState(); err != nil {
		return err
	}
	if db.set, err = manifest.Recover(db.fs, db.dir, db.manifestOptions()); err != nil {
		return err
	}
	db.openLifetime(true)
	if err := db.openTables(); err != nil {
		return err
	}
	var replayed []*memory // oldest first
	r := &replay{db: db, full: func(m *memory) (*memory, error) {
		replayed = append(replayed, m)
		return db.newMemory(0), nil
	}}
	err = r.run(names)
	db.mu.Lock()
	defer db.mu.Unlock()
	if db.mem = r.mem; db.mem == nil {
		db.mem = db.newMemory(0)
	}
	for _, m := range replayed {
		db.sealed = append([]*memory{m}, db.sealed...)
	}
	if err != nil {
		return err
	}
	db.policy = db.newPolicy()
	db.queue.init(r.lastSeq)
	db.visible.Store(r.lastSeq)
	db.installView()
	return nil
}

// manifestState is the number and the length of a manifest.
type manifestState struct {
	num  uint64
	size int64
}

// manifestState returns that of the manifest which CURRENT names now.
func (db *DB) manifestState() (s manifestState, err error) {
	if s.num, err = filename.ReadCurrent(db.fs, db.dir); err != nil {
		return s, err
	}
	info, err := db.fs.Stat(filename.Path(db.dir, filename.Manifest, s.num))
	if err != nil {
		return s, err
	}
	s.size = info.Size()
	return s, nil
}

// overtaken reports whether a writer has changed the tree since the database was opened read-only,
// so that it may have removed what the state that is shown here refers to.
func (db *DB) overtaken() bool {
	if !db.readOnly {
		return false
	}
	now, err := db.manifestState()
	return err != nil || now != db.shown
}

func (db *DB) manifestOptions() manifest.Options {
	return manifest.Options{
		Logger:     db.log,
		OnWrite:    func(n int64) { db.ledger.add("manifest", -1, "", n) },
		OnObsolete: func(tables, blobs []uint64) { db.obsolete.add(db, tables, blobs) },
		OnRetire:   db.versionRetired,
	}
}

func (db *DB) walOptions() wal.Options {
	return wal.Options{
		FS: db.fs, Dir: db.dir,
		FileName:     func(num uint64) string { return filename.Base(filename.Log, num) },
		SegmentBytes: db.budget.memtable + db.budget.memtable/8,
		MaxRecycled:  2,
		Filler:       batch.Filler,
		MinFiller:    batch.MinFiller,
		Compress:     db.opts.Compression.compressesLog(),
		Merge:        batch.Merge,
		OnWrite:      func(n int64) { db.ledger.add("wal", -1, "", n) },
		OnFail:       db.logMayHaveFailed,
		Logger:       db.log,
	}
}

// takeLock locks the directory and notes in the lock file, for the next who tries, who has it.
func (db *DB) takeLock() error {
	path := filename.Path(db.dir, filename.LockFile, 0)
	lock, err := db.fs.Lock(path)
	if errors.Is(err, ErrLocked) {
		owner := ""
		if b, err := readSmall(db.fs, path); err == nil && len(b) > 0 {
			owner = " by " + strings.TrimSpace(string(b))
		}
		return errorf(ErrLocked, "locked%s: stop it, or open it read-only", owner)
	}
	if err != nil {
		return explainPermission(err, db.dir)
	}
	db.lock = lock
	note := fmt.Sprintf("pid %d (%s, since %s)\n", os.Getpid(), filepath.Base(os.Args[0]), time.Now().Format("15:04"))
	if err := writeSmall(db.fs, path, []byte(note)); err != nil {
		return explainPermission(err, db.dir)
	}
	return nil
}

// holdsDatabase reports whether the names in a directory are a database's. A directory with
// other files is refused: opening must not mix a database into somebody's files.
func holdsDatabase(dir string, names []string) (bool, error) {
	var foreign []string
	for _, n := range names {
		t, _, ok := filename.Parse(n)
		switch {
		case ok && t == filename.Current:
			return true, nil
		case ok && (t == filename.LockFile || t == filename.InfoLog || t == filename.Identity || t == filename.Temp || t == filename.Ledger || t == filename.Dead):
		case ok && t == filename.Manifest:
			// A crash while the database was being made leaves it without CURRENT.
		default:
			foreign = append(foreign, n)
		}
	}
	if len(foreign) > 0 {
		return false, errorf(ErrNotDatabase, "%s has no CURRENT but holds %d other files (%s, ...): name an empty or new directory",
			dir, len(foreign), foreign[0])
	}
	return false, nil
}

func explainPermission(err error, dir string) error {
	if errors.Is(err, fs.ErrPermission) || strings.Contains(err.Error(), "read-only file system") {
		return fmt.Errorf("%w: make %s writable for this user, or open it read-only", err, dir)
	}
	return err
}

// explainUnreadable says what a reader needs, who needs less than a writer.
func explainUnreadable(err error, dir string) error {
	if errors.Is(err, fs.ErrPermission) {
		return fmt.Errorf("%w: make %s and its files readable for this user", err, dir)
	}
	return err
}

// openTables opens every table of the current version, so that a missing, cut or unsupported
// file is refused here and not met later, and learns from their properties what compaction and
// iterators want to know.
func (db *DB) openTables() error {
	version := db.set.Current()
	defer version.Unref()
	var g errgroup.Group
	g.SetLimit(8)
	for _, level := range version.Levels {
		for _, t := range level {
			g.Go(func() error {
				path := filename.Path(db.dir, filename.Table, t.Num)
				info, err := db.fs.Stat(path)
				if err != nil {
					return missingFile(err, filename.Base(filename.Table, t.Num))
				}
				if uint64(info.Size()) != t.Size {
					return errorf(ErrCorruption, "corruption: %s is %d bytes, the manifest says %d: restore it from a backup or checkpoint",
						filename.Base(filename.Table, t.Num), info.Size(), t.Size)
				}
				return db.learnStats(t)
			})
		}
	}
	for num := range version.Blobs {
		g.Go(func() error {
			if _, err := db.tables.blob(num); err != nil {
				return missingFile(err, filename.Base(filename.Blob, num))
			}
			info, err := db.fs.Stat(filename.Path(db.dir, filename.Blob, num))
			if err == nil {
				db.holes.measured(num, info)
			}
			return err
		})
	}
	return g.Wait()
}

func missingFile(err error, name string) error {
	if errors.Is(err, fs.ErrNotExist) {
		return &opError{kind: ErrCorruption, err: err,
			msg: fmt.Sprintf("corruption: %s is missing, the manifest names it: restore it from a backup or checkpoint", name)}
	}
	return err
}

// learnStats fills t.Stats from the table's properties. Nobody else sees t yet.
func (db *DB) learnStats(t *manifest.Table) error {
	r, err := db.tables.get(t)
	if err != nil {
		return err
	}
	t.Stats = tableStats(r.Properties(), t.OldestBlob)
	return nil
}

// fillStats does so for the tables that an edit adds.
func (db *DB) fillStats(edit *manifest.Edit) error {
	if edit == nil {
		return nil
	}
	for _, a := range edit.Added {
		if a.Table.Stats.Known {
			continue
		}
		if err := db.learnStats(a.Table); err != nil {
			return err
		}
	}
	return nil
}

func tableStats(p sstable.Properties, oldestBlob uint64) manifest.TableStats {
	refs, known := compaction.BlobRefs(p, oldestBlob)
	return manifest.TableStats{
		Entries: p.NumEntries, Deletes: p.NumDeletions - min(p.NumDeletions, p.NumRangeDeletions), RangeDeletes: p.NumRangeDeletions,
		Hidden: p.Hidden, Expiring: p.ExpiryCount, MinExpiry: p.ExpiryMin, MaxExpiry: p.ExpiryMax,
		BlobRefs: refs, BlobRefsKnown: known, Known: true,
	}
}
