package engine

import (
	"bytes"
	"fmt"
	"path"

	"github.com/cambiumdb/cambium/internal/ikey"
	"github.com/cambiumdb/cambium/internal/manifest"
	"github.com/cambiumdb/cambium/internal/vfs"
	"github.com/cambiumdb/cambium/sstable"
)

// TableWriter makes a table file outside any database. DB.Ingest takes it in as it is, and so does
// RocksDB's IngestExternalFile.
//
//	w, err := engine.NewTableWriter("users.sst", nil)
//	defer w.Abort()                 // after Close it does nothing
//	for ... { w.Put(key, value) }   // keys strictly ascending
//	err = w.Close()                 // the first error of all calls
//	err = db.Ingest("users.sst")
//
// It holds two buffers of 1 MiB and, of what was put in, about 10 bytes a key for the filter and the
// index. It belongs to one goroutine.
type TableWriter struct {
	path    string
	partial string // where it grows, until Close gives it its name
	opts    Options
	w       *sstable.Writer
	err     error // the first one; errTableFinished after Close or Abort

	last    []byte // the last key, and the last start of a range
	started bool   // last is set
	lastLo  []byte
}

// NewTableWriter begins a table that will be the file path, replacing what is there. Of opts, which
// may be nil, it uses FS, Compression, MaxKeyBytes and MaxValueBytes. The file grows under another
// name, path.partial, until Close.
func NewTableWriter(path string, opts *Options) (*TableWriter, error) {
	o, err := opts.withDefaults()
	if err != nil {
		return nil, fmt.Errorf("write table %s: %w", path, err)
	}
	w := &TableWriter{path: path, partial: path + ".partial", opts: o}
	f, err := o.FS.Create(w.partial, vfs.Direct)
	if err != nil {
		return nil, fmt.Errorf("write table %s: %w", path, err)
	}
	table := o.tableOptions(manifest.NumLevels-1, manifest.NumLevels-1) // where it most likely goes
	table.External = true
	w.w = sstable.NewWriter(vfs.NewSequentialWriter(f, vfs.WriterOptions{}), table)
	return w, nil
}

// Put adds a key, which must be above the one before, with its value. It keeps neither.
func (w *TableWriter) Put(key, value []byte) error { return w.add("put", ikey.KindSet, key, value) }

// Delete adds a deletion of key, which must be above the key before.
func (w *TableWriter) Delete(key []byte) error { return w.add("delete", ikey.KindDelete, key, nil) }

// DeleteRange adds a deletion of the keys in [lo, hi) that the database holds when it takes the
// table in; what the table itself puts there stays. Ranges come in ascending order of their starts,
// and independently of the keys.
func (w *TableWriter) DeleteRange(lo, hi []byte) error {
	if w.err != nil {
		return w.err
	}
	err := w.opts.checkKey("delete range", lo)
	if err == nil {
		err = w.opts.checkKey("delete range", hi)
	}
	if err == nil {
		err = checkRange("delete range", lo, hi)
	}
	if err == nil && bytes.Compare(lo, w.lastLo) < 0 {
		err = errorf(ErrInvalidArgument, "delete range [%s, %s): the start is below %s, the one before: ranges must ascend", quoteKey(lo), quoteKey(hi), quoteKey(w.lastLo))
	}
	if err == nil {
		w.lastLo = append(w.lastLo[:0], lo...)
		err = w.w.AddRangeDelete(lo, hi, 0)
	}
	return w.note(err)
}

func (w *TableWriter) add(op string, kind ikey.Kind, key, value []byte) error {
	if w.err != nil {
		return w.err
	}
	err := w.opts.checkKey(op, key)
	if err == nil {
		err = w.opts.checkValue(op, key, value)
	}
	if err == nil && w.started && bytes.Compare(key, w.last) <= 0 {
		err = errorf(ErrInvalidArgument, "%s %s: the key is not above %s, the one before: keys must ascend", op, quoteKey(key), quoteKey(w.last))
	}
	if err == nil {
		w.last, w.started = append(w.last[:0], key...), true
		err = w.w.Add(ikey.Make(key, 0, kind), value)
	}
	return w.note(err)
}

// note keeps the first error.
func (w *TableWriter) note(err error) error {
	if err != nil {
		w.err = fmt.Errorf("write table %s: %w", w.path, err)
	}
	return w.err
}

// Close makes the table and its name durable. After an error, of this call or of one before, what was
// at its path is as it was, unless nothing but making the name durable failed.
func (w *TableWriter) Close() error {
	if w.err == nil && w.w.Entries() == 0 {
		w.note(errorf(ErrInvalidArgument, "nothing was put into it"))
	}
	if w.err == nil {
		w.note(w.publish())
	}
	if err := w.err; err != nil {
		w.Abort()
		return err
	}
	w.finish()
	return nil
}

func (w *TableWriter) publish() error {
	if _, err := w.w.Finish(); err != nil {
		return err
	}
	if err := w.opts.FS.Rename(w.partial, w.path); err != nil {
		return err
	}
	return w.opts.FS.SyncDir(path.Dir(w.path))
}

// Abort gives the table up and removes what there is of it. After Close it does nothing.
func (w *TableWriter) Abort() {
	if w.w == nil {
		return
	}
	_ = w.w.Abort()                 // the file goes
	_ = w.opts.FS.Remove(w.partial) // after an error it may be gone already
	w.finish()
}

// finish lets every later call fail.
func (w *TableWriter) finish() {
	w.w = nil
	if w.err == nil {
		w.err = errorf(ErrClosed, "write table %s: it is finished", w.path)
	}
}
