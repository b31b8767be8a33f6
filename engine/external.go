package engine

import (
	"bytes"
	"context"
	"os"
	"path"

	"github.com/cambiumdb/cambium/internal/filename"
	"github.com/cambiumdb/cambium/internal/ikey"
	"github.com/cambiumdb/cambium/internal/manifest"
	"github.com/cambiumdb/cambium/internal/vfs"
	"github.com/cambiumdb/cambium/sstable"
)

// external is a table from outside whose file is in the directory, complete and durable but for
// its name, and of which no version knows yet.
type external struct {
	table     *manifest.Table // its sequence numbers are still to come
	userBytes int64           // keys and values
	linked    bool            // it shares its bytes with the file that was given
}

// bringIn makes the table file name one of the directory's: by a link where it can stay as it is,
// else by a copy or, where it is no table for other databases, by rewriting it as one.
func (db *DB) bringIn(ctx context.Context, name string) (_ *external, err error) {
	src, err := db.openExternal(name)
	if err != nil {
		return nil, err
	}
	defer src.Close()
	e := &external{}
	num := db.set.NewFileNum()
	to := filename.Path(db.dir, filename.Table, num)
	defer func() {
		if err != nil {
			_ = db.fs.Remove(to) // it may not have come so far
		}
	}()
	if staysAsItIs(src) {
		e.linked, err = db.adopt(ctx, name, to)
	} else {
		err = db.rewrite(ctx, src, to, num)
	}
	if err == nil {
		err = db.describe(e, to, num)
	}
	if err != nil {
		return nil, err
	}
	return e, nil
}

// openExternal opens a table file that somebody names, and refuses what can be no such file.
func (db *DB) openExternal(name string) (*sstable.Reader, error) {
	info, err := db.fs.Stat(name)
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, errorf(ErrInvalidArgument, "it is no file: name table files")
	}
	if db.isOwnDir(path.Dir(path.Clean(name))) {
		return nil, errorf(ErrInvalidArgument, "it lies in the database's own directory: name a file elsewhere")
	}
	return db.openSupported(name, name)
}

// openSupported opens the table file at, which errors call by the base of name.
func (db *DB) openSupported(at, name string) (*sstable.Reader, error) {
	f, err := db.fs.Open(at, vfs.Direct)
	if err != nil {
		return nil, err
	}
	r, err := sstable.Open(f, sstable.ReaderOptions{Name: path.Base(name)})
	if err != nil {
		return nil, err
	}
	if err := supported(r.Properties()); err != nil {
		r.Close()
		return nil, err
	}
	return r, nil
}

func (db *DB) isOwnDir(dir string) bool {
	if dir == path.Clean(db.dir) {
		return true
	}
	a, errA := db.fs.Stat(dir)
	b, errB := db.fs.Stat(db.dir)
	return errA == nil && errB == nil && os.SameFile(a, b)
}

// newestForRocksDB is the newest format version that RocksDB 7.8 reads.
const newestForRocksDB = 5

// staysAsItIs reports whether a table can be part of a tree without a change: where it says that
// all its entries have the sequence number that the manifest gives, and RocksDB 7.8 opens it.
func staysAsItIs(r *sstable.Reader) bool {
	p := r.Properties()
	return p.ExternalVersion == sstable.ExternalVersion && p.GlobalSeq == 0 && r.FormatVersion() <= newestForRocksDB
}

// adopt links or copies the file name to the path to, where every byte must be right: name may be
// another file by then than the one that was opened.
func (db *DB) adopt(ctx context.Context, name, to string) (linked bool, err error) {
	linked, err = db.linkOrCopy(name, to, db.ingestWrote("copy"))
	if err != nil {
		return linked, err
	}
	r, err := db.openSupported(to, name)
	if err != nil {
		return linked, err
	}
	defer r.Close()
	if !staysAsItIs(r) {
		return linked, errorf(ErrInvalidArgument, "another file came in its place while it was taken in")
	}
	stats, err := r.VerifyEach(ctx, ingestible)
	if err == nil && stats.Entries == 0 {
		err = errNoEntries()
	}
	if err != nil || !linked {
		return linked, err
	}
	// Its bytes may be in the kernel's memory only.
	f, err := db.fs.Open(to, vfs.Buffered)
	if err != nil {
		return true, err
	}
	defer f.Close()
	return true, f.Sync()
}

// rewrite writes what is to be seen of src as a table for other databases: of each key the newest
// version, unless a newer range tombstone hides it.
func (db *DB) rewrite(ctx context.Context, src *sstable.Reader, to string, num uint64) error {
	f, err := db.fs.Create(to, vfs.Direct)
	if err != nil {
		return err
	}
	version := db.set.Current()
	last := lastLevel(version)
	version.Unref()
	opts := db.opts.tableOptions(last, last)
	opts.External, opts.FileNumber, opts.DBID = true, num, db.set.DBID()
	w := sstable.NewWriter(vfs.NewSequentialWriter(f, vfs.WriterOptions{OnWrite: db.ingestWrote("rewrite")}), opts)
	defer w.Abort() // after Finish it does nothing
	if err := rewriteEntries(ctx, src, w); err != nil {
		return err
	}
	for _, span := range src.RangeDels() {
		if err := w.AddRangeDelete(span.Start, span.End, 0); err != nil {
			return err
		}
	}
	if w.Entries() == 0 {
		return errNoEntries()
	}
	_, err = w.Finish()
	return err
}

// rewriteEntries does so for the point entries.
func rewriteEntries(ctx context.Context, src *sstable.Reader, w *sstable.Writer) error {
	ranges := src.RangeDels()
	var last []byte
	read := uint64(0)
	_, err := src.VerifyEach(ctx, func(key ikey.Key, value []byte) error {
		if err := ingestible(key, value); err != nil {
			return err
		}
		read++
		if read > 1 && bytes.Equal(key.User, last) {
			return nil
		}
		last = append(last[:0], key.User...)
		if hidden, ok := ranges.Cover(key.User, ikey.MaxSeq); ok && hidden > key.Seq() {
			return nil
		}
		kind := key.Kind()
		switch kind {
		case ikey.KindSingleDelete:
			kind = ikey.KindDelete
		case ikey.KindEntity:
			if e, err := decodeEntity(key.User, value); err == nil && e.HasExpiry {
				w.NoteExpiry(uint64(max(0, e.ExpiryMillis)))
			}
		}
		return w.Add(ikey.Make(key.User, 0, kind), value)
	})
	return err
}

// ingestible refuses an entry that could not be read, or that would keep compaction from going on.
func ingestible(key ikey.Key, value []byte) error {
	switch key.Kind() {
	case ikey.KindSet, ikey.KindDelete, ikey.KindSingleDelete:
		return nil
	case ikey.KindEntity:
		_, err := decodeEntity(key.User, value)
		return err
	case ikey.KindBlobIndex:
		return errorf(ErrUnsupported, "key %s refers to a blob file, which does not come along: write the table with its values in it", quoteKey(key.User))
	}
	return unsupportedKind(key.User, key.Trailer)
}

func errNoEntries() error { return errorf(ErrInvalidArgument, "it holds no entries") }

// ingestWrote counts the bytes of an ingest that go to the device.
func (db *DB) ingestWrote(reason string) func(n int) {
	return func(n int) { db.ledger.add("ingest", -1, reason, int64(n)) }
}

// describe fills e from the file of the directory that is to be table num.
func (db *DB) describe(e *external, name string, num uint64) error {
	f, err := db.fs.Open(name, vfs.Direct)
	if err != nil {
		return err
	}
	r, err := sstable.Open(f, sstable.ReaderOptions{})
	if err != nil {
		return err
	}
	defer r.Close()
	p, now := r.Properties(), db.nowMillis()/1000
	e.userBytes = int64(p.RawKeySize+p.RawValueSize) - ikey.TrailerLen*int64(p.NumEntries)
	e.table = &manifest.Table{Num: num, Size: uint64(r.Size()), OldestAncestorTime: now, CreationTime: now, Stats: tableStats(p, 0)}
	e.table.Smallest, e.table.Largest, err = bounds(r)
	return err
}

// bounds returns the bounds of a table's entries and range tombstones.
func bounds(r *sstable.Reader) (smallest, largest ikey.Key, err error) {
	it := r.NewIterator(sstable.IterOptions{NoFill: true})
	defer it.Close()
	points := it.First()
	if points {
		smallest = it.Key().Clone()
		if it.Last() {
			largest = it.Key().Clone()
		}
	}
	if err := it.Err(); err != nil {
		return smallest, largest, err
	}
	ranges := r.RangeDels()
	if len(ranges) == 0 {
		return smallest, largest, nil
	}
	lo := ikey.Make(ranges[0].Start, 0, ikey.KindRangeDelete)
	hi := ikey.Key{User: ranges[len(ranges)-1].End, Trailer: ikey.RangeDelSentinel}
	if !points || ikey.Compare(lo, smallest) < 0 {
		smallest = lo.Clone()
	}
	if !points || ikey.Compare(hi, largest) > 0 {
		largest = hi.Clone()
	}
	return smallest, largest, nil
}

// setSeq gives every entry of the table its sequence number.
func (e *external) setSeq(seq uint64) {
	t := e.table
	t.SmallestSeq, t.LargestSeq = seq, seq
	t.Smallest.Trailer = ikey.MakeTrailer(seq, t.Smallest.Kind())
	if !t.Largest.IsExclusiveBound() {
		t.Largest.Trailer = ikey.MakeTrailer(seq, t.Largest.Kind())
	}
}
