package engine

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"strings"

	"github.com/cambiumdb/cambium/internal/filename"
	"github.com/cambiumdb/cambium/internal/manifest"
	"github.com/cambiumdb/cambium/internal/vfs"
)

// Checkpoint makes dir, which must not exist or be empty, a complete database that holds what
// this one held at one moment during the call. Tables are linked where the file system can, so
// it costs little space; else they are copied. What memory holds is flushed first.
func (db *DB) Checkpoint(dir string) error {
	if err := db.checkpoint(dir); err != nil {
		return fmt.Errorf("checkpoint %s to %s: %w", db.dir, dir, err)
	}
	return nil
}

func (db *DB) checkpoint(dir string) (err error) {
	if err := db.Flush(); err != nil {
		return err
	}
	if err := db.mustBeNew(dir); err != nil {
		return err
	}
	// It is made under another name, so that a crash leaves nothing that looks complete.
	partial := strings.TrimRight(dir, "/") + ".partial"
	if err := db.removeUnfinished(partial); err != nil {
		return err
	}
	if err := makeDir(db.fs, partial); err != nil {
		return explainPermission(err, partial)
	}
	defer func() {
		if err != nil {
			db.removeDir(partial)
		}
	}()
	if err := db.fillCheckpoint(partial); err != nil {
		return err
	}
	if err := db.fs.SyncDir(partial); err != nil {
		return err
	}
	_ = db.fs.Remove(dir) // an empty directory may be there
	if err := db.fs.Rename(partial, dir); err != nil {
		return err
	}
	return db.fs.SyncDir(path.Dir(strings.TrimRight(dir, "/")))
}

// mustBeNew refuses a directory that holds anything.
func (db *DB) mustBeNew(dir string) error {
	names, err := db.fs.List(dir)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return err
	case len(names) > 0:
		return errorf(ErrInvalidArgument, "%s is not empty (%s, ...): name a new directory, or remove it", dir, names[0])
	}
	return nil
}

// removeUnfinished removes what a checkpoint left that a crash interrupted, and refuses a
// directory with anything else in it.
func (db *DB) removeUnfinished(partial string) error {
	names, err := db.fs.List(partial)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	for _, n := range names {
		if _, _, ok := filename.Parse(n); !ok {
			return errorf(ErrInvalidArgument, "%s holds %s, which no checkpoint left: remove it, or name another directory", partial, n)
		}
	}
	db.removeDir(partial)
	return nil
}

// removeDir removes a directory of files as far as it can.
func (db *DB) removeDir(dir string) {
	names, err := db.fs.List(dir)
	for _, n := range names {
		_ = db.fs.Remove(dir + "/" + n) // the error that brought us here is what counts
	}
	if err == nil {
		_ = db.fs.Remove(dir)
	}
}

// fillCheckpoint makes a database of the current version in the empty directory dir.
func (db *DB) fillCheckpoint(dir string) error {
	// A version first, then a sequence number: what a later flush adds is not in the version,
	// and every write in the version's tables is at or below the number.
	version := db.set.Current()
	defer version.Unref()
	lastSeq := db.visible.Load()
	set, err := manifest.Create(db.fs, dir, manifest.Options{Logger: db.log})
	if err != nil {
		return err
	}
	edit := &manifest.Edit{}
	highest := uint64(0)
	for level, tables := range version.Levels {
		for _, t := range tables {
			edit.Added = append(edit.Added, manifest.AddedTable{Level: level, Table: copyOfTable(t)})
			highest = max(highest, t.Num)
			if err := db.linkOrCopyTo(dir, filename.Table, t.Num); err != nil {
				return errors.Join(err, set.Close())
			}
		}
	}
	for num, b := range version.Blobs {
		edit.BlobsAdded = append(edit.BlobsAdded, manifest.Blob{Num: num, Count: b.Count, Bytes: b.Bytes, ChecksumMethod: b.ChecksumMethod, ChecksumValue: b.ChecksumValue})
		if b.GarbageCount > 0 {
			edit.BlobGarbage = append(edit.BlobGarbage, manifest.BlobGarbage{Num: num, Count: b.GarbageCount, Bytes: b.GarbageBytes})
		}
		highest = max(highest, num)
		if err := db.linkOrCopyTo(dir, filename.Blob, num); err != nil {
			return errors.Join(err, set.Close())
		}
	}
	set.MarkFileNumUsed(highest)
	set.SetLastSeq(lastSeq)
	log := set.NewFileNum() // no log is needed: the number is above every file's
	edit.LogNum = &log
	return errors.Join(set.Apply(edit), set.Close())
}

// copyOfTable returns what is known of t for another database: a Table belongs to one.
func copyOfTable(t *manifest.Table) *manifest.Table {
	return &manifest.Table{
		Num: t.Num, Size: t.Size, Smallest: t.Smallest, Largest: t.Largest,
		SmallestSeq: t.SmallestSeq, LargestSeq: t.LargestSeq, OldestBlob: t.OldestBlob,
		OldestAncestorTime: t.OldestAncestorTime, CreationTime: t.CreationTime,
		MarkedForCompaction: t.MarkedForCompaction, Extra: t.Extra, Stats: t.Stats,
	}
}

func (db *DB) linkOrCopyTo(dir string, kind filename.Type, num uint64) error {
	_, err := db.linkOrCopy(filename.Path(db.dir, kind, num), filename.Path(dir, kind, num), nil)
	return err
}

// linkOrCopy gives the file from a second name or, where that cannot be, copies it and makes the
// copy durable, but not its name. wrote hears of the bytes copied, when not nil. A copy ends early
// when the database is closed.
func (db *DB) linkOrCopy(from, to string, wrote func(n int)) (linked bool, err error) {
	if db.fs.Link(from, to) == nil {
		return true, nil
	}
	in, err := db.fs.Open(from, vfs.Buffered)
	if err != nil {
		return false, err
	}
	defer in.Close()
	size, err := in.Size()
	if err != nil {
		return false, err
	}
	out, err := db.fs.Create(to, vfs.Direct)
	if err != nil {
		return false, err
	}
	w := vfs.NewSequentialWriter(out, vfs.WriterOptions{Preallocate: size, OnWrite: wrote})
	const piece = 4 << 20
	for off := int64(0); off < size; off += piece {
		if db.ctx.Err() != nil {
			err = ErrClosed
		} else {
			_, err = io.Copy(w, io.NewSectionReader(in, off, min(piece, size-off)))
		}
		if err != nil {
			w.Abort()
			return false, err
		}
	}
	return false, w.Finish()
}
