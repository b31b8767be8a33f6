package engine

import (
	"errors"
	"io/fs"
	"sync"

	"github.com/cambiumdb/cambium/internal/filename"
)

// obsoleteFiles removes the tables and blob files that no version names any more, and gives back
// what is dead in others, in a goroutine of its own, since the last one to let go may be a reader.
type obsoleteFiles struct {
	mu      sync.Mutex // guards the fields below
	queue   []obsoleteFile
	holes   bool // something dead in blob files may be due
	running bool
	drained bool // nothing more is removed: the directory may be another database's
	idle    sync.WaitGroup
}

type obsoleteFile struct {
	kind filename.Type
	num  uint64
}

// add queues files for removal. It never waits.
func (o *obsoleteFiles) add(db *DB, tables, blobs []uint64) {
	if db.readOnly {
		return
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.drained {
		return
	}
	for _, n := range tables {
		o.queue = append(o.queue, obsoleteFile{filename.Table, n})
	}
	for _, n := range blobs {
		o.queue = append(o.queue, obsoleteFile{filename.Blob, n})
	}
	o.start(db)
}

// lookForHoles has what is due in blob files given back. It never waits.
func (o *obsoleteFiles) lookForHoles(db *DB) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if !o.drained {
		o.holes = true
		o.start(db)
	}
}

// start has done what is to be done. o.mu is held.
func (o *obsoleteFiles) start(db *DB) {
	if (len(o.queue) > 0 || o.holes) && !o.running {
		o.running = true
		o.idle.Add(1)
		go o.remove(db)
	}
}

func (o *obsoleteFiles) remove(db *DB) {
	defer o.idle.Done()
	for {
		o.mu.Lock()
		files, holes := o.queue, o.holes
		o.queue, o.holes = nil, false
		if len(files) == 0 && !holes {
			o.running = false
			o.mu.Unlock()
			db.mu.Lock()
			db.changed.Broadcast()
			db.mu.Unlock()
			break
		}
		o.mu.Unlock()
		for _, f := range files {
			db.tables.drop(f.num)
			if err := db.fs.Remove(filename.Path(db.dir, f.kind, f.num)); err != nil && !errors.Is(err, fs.ErrNotExist) {
				db.log.Warn("remove obsolete file", "file", filename.Base(f.kind, f.num), "err", err)
			}
			if f.kind == filename.Blob {
				db.holes.removed(f.num)
			}
		}
		if holes && db.giveBackDue(o.filesWait) {
			o.mu.Lock()
			o.holes = true
			o.mu.Unlock()
		}
	}
	manifests, err := db.set.ObsoleteManifests()
	if err != nil {
		return
	}
	for _, n := range manifests {
		if err := db.fs.Remove(filename.Path(db.dir, filename.Manifest, n)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			db.log.Warn("remove old manifest", "file", filename.Base(filename.Manifest, n), "err", err)
		}
	}
}

// filesWait reports whether files are queued: removing one gives back more at once than holes do.
func (o *obsoleteFiles) filesWait() bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return len(o.queue) > 0
}

// busy reports whether files wait for their removal.
func (o *obsoleteFiles) busy() bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.running
}

// drain waits until what was queued has been removed. What comes later is left to the next Open.
func (o *obsoleteFiles) drain() {
	o.mu.Lock()
	o.drained = true
	o.mu.Unlock()
	o.idle.Wait()
}

// removeOrphans removes the files, of those that were there at Open, that nothing needs: what a
// crash left of unfinished work, and logs that are in tables. OPTIONS files are RocksDB's own
// and stay, and so does every name that is not a database file's.
func (db *DB) removeOrphans(names []string) {
	version := db.set.Current()
	defer version.Unref()
	live := map[obsoleteFile]bool{}
	for _, level := range version.Levels {
		for _, t := range level {
			live[obsoleteFile{filename.Table, t.Num}] = true
		}
	}
	for num := range version.Blobs {
		live[obsoleteFile{filename.Blob, num}] = true
	}
	for _, n := range names {
		t, num, ok := filename.Parse(n)
		if !ok {
			continue
		}
		switch t {
		case filename.Table, filename.Blob:
			ok = !live[obsoleteFile{t, num}]
		case filename.Log:
			ok = num < db.set.LogNum()
		case filename.Manifest:
			ok = num != db.set.ManifestNum()
		case filename.Temp:
			ok = true
		default:
			ok = false
		}
		if !ok {
			continue
		}
		if err := db.fs.Remove(filename.Path(db.dir, t, num)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			db.log.Warn("remove orphan", "file", n, "err", err)
		}
	}
}
