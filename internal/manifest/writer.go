package manifest

import (
	"fmt"

	"github.com/cambiumdb/cambium/internal/filename"
	"github.com/cambiumdb/cambium/internal/record"
	"github.com/cambiumdb/cambium/internal/vfs"
)

// writer appends edits to one new manifest file. After an error it must not be used again.
type writer struct {
	f       vfs.File
	records *record.Writer
	onWrite func(bytes int64)
	size    int64
	state   int64 // part of size: the state at the file's start
	buf     []byte
}

func newWriter(fs vfs.FS, name string, onWrite func(bytes int64)) (*writer, error) {
	f, err := fs.Create(name, vfs.Buffered)
	if err != nil {
		return nil, err
	}
	w := &writer{f: f, onWrite: onWrite}
	w.records = record.NewWriter(w, 0, false)
	return w, nil
}

// Write is what the record framing calls, once for each record.
func (w *writer) Write(p []byte) (int, error) {
	n, err := w.f.WriteAt(p, w.size)
	w.size += int64(n)
	if w.onWrite != nil && n > 0 {
		w.onWrite(int64(n))
	}
	return n, err
}

func (w *writer) append(e *Edit) error {
	w.buf = e.Encode(w.buf[:0])
	return w.records.Write(w.buf)
}

func (w *writer) sync() error { return w.f.Sync() }

func (w *writer) close() error { return w.f.Close() }

// full reports whether it is time for a new manifest of at most limit bytes.
func (w *writer) full(limit int64) bool { return w.size >= max(limit, 2*w.state) }

// roll makes a new manifest that holds the current state and the edit (nil = none), syncs it
// and lets CURRENT name it. Edits go there from then on. After an error CURRENT names the old
// manifest, or either one if it was CURRENT that could not be published.
func (s *Set) roll(e *Edit) error {
	num := s.NewFileNum()
	name := filename.Path(s.dir, filename.Manifest, num)
	w, err := s.writeState(name, e)
	if err != nil {
		s.fs.Remove(name)
		return fmt.Errorf("begin manifest %06d: %w", num, err)
	}
	if err := filename.SetCurrent(s.fs, s.dir, num); err != nil {
		w.close()
		return err
	}
	s.wrote(int64(len(filename.Base(filename.Manifest, num)) + 1))
	s.out = w
	s.walsEnd = 0
	s.opts.Logger.Info("new manifest", "number", num, "replaces", s.manifestNum.Load(), "bytes", w.size)
	s.manifestNum.Store(num)
	return nil
}

// writeState returns the writer of a manifest that is durable, its name included.
func (s *Set) writeState(name string, e *Edit) (*writer, error) {
	if err := s.publishIdentity(); err != nil {
		return nil, err
	}
	w, err := newWriter(s.fs, name, s.opts.OnWrite)
	if err != nil {
		return nil, err
	}
	if err := s.fillState(w, e); err != nil {
		w.close()
		return nil, err
	}
	return w, nil
}

func (s *Set) fillState(w *writer, e *Edit) error {
	if s.walsEnd > 0 {
		// RocksDB looks at nothing else in such a record.
		if err := w.append(&Edit{WalDeletion: s.walsEnd}); err != nil {
			return err
		}
	}
	if err := w.append(s.snapshot()); err != nil {
		return err
	}
	w.state = w.size
	if e != nil {
		e.NextFileNum = ptr(s.nextFile.Load())
		if err := w.append(e); err != nil {
			return err
		}
	}
	if err := w.sync(); err != nil {
		return err
	}
	// The name must be durable before CURRENT can be.
	return s.fs.SyncDir(s.dir)
}

// snapshot returns the edit that makes the current version from nothing.
func (s *Set) snapshot() *Edit {
	e := &Edit{
		DBID:        s.dbID,
		Comparator:  ptr(Comparator),
		LogNum:      ptr(s.logNum.Load()),
		LogExists:   s.logExists.Load(),
		PrevLogNum:  new(uint64),
		NextFileNum: ptr(s.nextFile.Load()),
		LastSeq:     ptr(s.lastSeq.Load()),
	}
	if n := s.minLog.Load(); n > 0 {
		e.MinLogToKeep = &n
	}
	if s.maxCF > 0 {
		e.MaxColumnFamily = ptr(s.maxCF)
	}
	v := s.current.Load()
	for level, tables := range v.Levels {
		for _, t := range tables {
			e.Added = append(e.Added, AddedTable{Level: level, Table: t})
		}
	}
	for _, num := range v.blobNums() {
		b := *v.Blobs[num]
		if b.GarbageCount > 0 || b.GarbageBytes > 0 {
			e.BlobGarbage = append(e.BlobGarbage, BlobGarbage{Num: num, Count: b.GarbageCount, Bytes: b.GarbageBytes})
		}
		e.BlobsAdded = append(e.BlobsAdded, b)
	}
	return e
}

func (s *Set) wrote(bytes int64) {
	if s.opts.OnWrite != nil {
		s.opts.OnWrite(bytes)
	}
}
