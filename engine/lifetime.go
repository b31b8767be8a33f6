package engine

import (
	"errors"
	"fmt"
	"io/fs"
	"sync"
	"time"

	"github.com/cambiumdb/cambium/internal/filename"
	"github.com/cambiumdb/cambium/internal/ledgerfile"
)

// Lifetime is the ledger over the life of the directory: all opens together. The file
// CAMBIUM-LEDGER keeps it. A writer saves it every ten seconds in which something was written, and
// at Close; a reader shows what was saved.
type Lifetime struct {
	Ledger
	Since time.Time // when the counting began; zero for a reader that found nothing to show
	Saved time.Time // when it was last saved; zero before the first time
	// Gaps is how many times bytes were written that are not counted, and nobody knows how many:
	// a crash lost what was counted after Saved, another program wrote, the file was damaged, or
	// the database is older than its ledger. Several in a row with nothing saved between are one.
	Gaps int
}

// lifetime is what the ledger was before this open, and how far it has been saved since.
type lifetime struct {
	before  Lifetime // not changed after Open
	existed bool     // the database was there before; Open alone uses it
	begun   bool     // something was or will be written; likewise

	mu     sync.Mutex // guards the rest; serialises saving, with its I/O
	total  int64      // of this open's ledger when it was last saved
	open   bool       // what was last saved said that there may be more
	failed bool       // the last try to save failed

	savedMu sync.Mutex // guards saved; nothing waits under it
	saved   time.Time  // by this open
}

// openLifetime takes up the ledger of a database that was there before, or begins one. The set
// is open, and nothing has been written since.
func (db *DB) openLifetime(existed bool) {
	l := &db.lifetime
	if l.existed = existed; !existed {
		l.before.Since = db.ledgerTime()
		return
	}
	name := filename.Base(filename.Ledger, 0)
	c, err := db.readLedgerFile()
	if db.readOnly { // what looks like a crash may be a writer at work
		l.before = lifetimeOf(c)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			db.log.Warn("the ledger cannot be read", "file", name, "err", err)
		}
	} else {
		var gap string
		if l.before, gap = resumeLifetime(c, err, db.set.ManifestNum(), db.ledgerTime()); gap != "" {
			db.log.Warn("bytes were written that the ledger does not count", "file", name, "why", gap)
		}
	}
}

// beginLifetime comes before the first write of Open: a database that is refused stays as it is.
func (db *DB) beginLifetime() {
	l := &db.lifetime
	if l.existed && !l.begun {
		db.saveLifetime(false) // from here on a crash leaves a gap
	}
	l.begun = true
}

// readLedgerFile returns nothing with an error, which another database's file is, too.
func (db *DB) readLedgerFile() (ledgerfile.Content, error) {
	path := filename.Path(db.dir, filename.Ledger, 0)
	b, err := readSmall(db.fs, path)
	if err != nil {
		return ledgerfile.Content{}, err
	}
	c, err := ledgerfile.Decode(path, b)
	if err == nil && c.DBID != db.set.DBID() {
		return ledgerfile.Content{}, fmt.Errorf("%s is that of database %s", path, c.DBID)
	}
	return c, err
}

func lifetimeOf(c ledgerfile.Content) Lifetime {
	l := Lifetime{Ledger: Ledger{UserBytes: c.UserBytes}, Since: c.Since, Saved: c.Saved, Gaps: c.Gaps}
	for _, r := range c.Rows {
		l.Rows = append(l.Rows, LedgerRow(r))
	}
	return l
}

// resumeLifetime returns the ledger that goes on from c, or begins at now where err says that it
// could not be read, and why something is missing from it, if so.
func resumeLifetime(c ledgerfile.Content, err error, manifestNum uint64, now time.Time) (l Lifetime, gap string) {
	l = lifetimeOf(c)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		l, gap = Lifetime{Since: now}, "the database is older than the ledger, which begins now"
	case err != nil:
		l, gap = Lifetime{Since: now}, "the ledger begins anew: "+err.Error()
	case c.Manifest != manifestNum:
		gap = "a crash, or another program that wrote"
	case !c.Closed:
		gap = "a crash"
	}
	if gap != "" {
		l.Gaps++
	}
	return l, gap
}

// saveLifetime writes the file anew where that says more than it did. closed says that nothing is
// written after. A failure is logged and costs nothing but the counts that a crash then loses.
func (db *DB) saveLifetime(closed bool) {
	l := &db.lifetime
	l.mu.Lock()
	defer l.mu.Unlock()
	now := db.ledger.snapshot()
	if now.Total() == l.total && closed == !l.open {
		return
	}
	size, err := db.publishLedger(now, closed)
	if err != nil {
		if !l.failed {
			db.log.Warn("save the ledger", "file", filename.Base(filename.Ledger, 0), "err", err)
		}
		l.failed = true
		return
	}
	db.ledger.add("ledger", -1, "", size)
	l.total, l.open, l.failed = now.Total()+size, !closed, false
}

// publishLedger saves what was counted before this open and now, and returns what that cost, which
// it counts in what it saves.
func (db *DB) publishLedger(now Ledger, closed bool) (size int64, err error) {
	l := &db.lifetime
	c := ledgerfile.Content{DBID: db.set.DBID(), Manifest: db.set.ManifestNum(), Closed: closed,
		Since: l.before.Since, Saved: db.ledgerTime(), Gaps: l.before.Gaps}
	var b []byte
	for int64(len(b)) != size || size == 0 { // larger numbers may take another page
		size = int64(len(b))
		sum := l.before.Add(now).Add(Ledger{Rows: []LedgerRow{{Cause: "ledger", Level: -1, Bytes: size}}})
		c.UserBytes, c.Rows = sum.UserBytes, nil
		for _, r := range sum.Rows {
			c.Rows = append(c.Rows, ledgerfile.Row(r))
		}
		if b, err = c.Encode(); err != nil {
			return 0, err
		}
	}
	if err := filename.Publish(db.fs, db.dir, filename.Base(filename.Ledger, 0), db.set.NewFileNum(), b); err != nil {
		return 0, err
	}
	l.savedMu.Lock()
	l.saved = c.Saved
	l.savedMu.Unlock()
	return size, nil
}

// now returns the life up to the ledger of this open.
func (l *lifetime) now(open Ledger) Lifetime {
	out := l.before
	out.Ledger = out.Add(open)
	l.savedMu.Lock()
	defer l.savedMu.Unlock()
	if !l.saved.IsZero() {
		out.Saved = l.saved
	}
	return out
}

// ledgerTime is the present as the file keeps it.
func (db *DB) ledgerTime() time.Time { return db.opts.Clock.Now().UTC().Truncate(time.Millisecond) }
