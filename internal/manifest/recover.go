package manifest

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/cambiumdb/cambium/internal/corrupt"
	"github.com/cambiumdb/cambium/internal/filename"
	"github.com/cambiumdb/cambium/internal/ikey"
	"github.com/cambiumdb/cambium/internal/record"
	"github.com/cambiumdb/cambium/internal/vfs"
)

// Recover reads the tree of an existing database, RocksDB's or ours. It writes nothing and
// makes no file, nor does the Set until the first Apply, which begins a new manifest. A
// directory without CURRENT gives fs.ErrNotExist, damage a *corrupt.Error, and what we do not
// support an *UnsupportedError. A record that a crash has torn at the end is as if never
// written.
func Recover(fs vfs.FS, dir string, opts Options) (*Set, error) {
	num, err := filename.ReadCurrent(fs, dir)
	if err != nil {
		return nil, err
	}
	name := filename.Path(dir, filename.Manifest, num)
	r := newReplay(name)
	err = Read(fs, name, r.edit)
	var torn *record.TornError
	if err != nil && !errors.As(err, &torn) {
		return nil, err
	}
	v, err := r.finish()
	if err != nil {
		return nil, err
	}
	s := newSet(fs, dir, opts, v)
	if torn != nil {
		s.opts.Logger.Warn("manifest ends in a torn record, which is ignored", "file", name, "offset", torn.Offset, "reason", torn.Reason)
	}
	s.manifestNum.Store(num)
	s.MarkFileNumUsed(num)
	s.takeOver(r)
	if err := s.markExisting(); err != nil {
		return nil, err
	}
	if err := s.readIdentity(); err != nil {
		return nil, err
	}
	return s, nil
}

// takeOver fills the Set's numbers from the replayed manifest.
func (s *Set) takeOver(r *replay) {
	s.dbID = r.dbID
	s.maxCF = r.maxCF
	s.walsEnd = r.walsEnd()
	s.logNum.Store(*r.logNum)
	s.logExists.Store(r.logExists)
	s.lastSeq.Store(*r.lastSeq)
	s.minLog.Store(r.minLog)
	raise(&s.nextFile, *r.nextFile)
	s.MarkFileNumUsed(*r.logNum)
	s.MarkFileNumUsed(r.prevLog)
	v := s.current.Load()
	for _, tables := range v.Levels {
		for _, t := range tables {
			s.MarkFileNumUsed(t.Num)
		}
	}
	for num := range v.Blobs {
		s.MarkFileNumUsed(num)
	}
}

// markExisting keeps numbers from coming again that files bear which no edit mentions: what a
// crash left behind.
func (s *Set) markExisting() error {
	names, err := s.fs.List(s.dir)
	if err != nil {
		return fmt.Errorf("list %s: %w", s.dir, err)
	}
	for _, name := range names {
		if t, num, ok := filename.Parse(name); ok && t != filename.InfoLog && num <= maxFileNum {
			s.MarkFileNumUsed(num)
		}
	}
	return nil
}

// Read calls visit for each edit of a manifest file, in order, with the offset at which its
// record starts. It stops with visit's first error. A record that a crash has torn at the end
// gives a *record.TornError, damage a *corrupt.Error; both come after the edits before.
func Read(fs vfs.FS, name string, visit func(e *Edit, offset int64) error) error {
	f, err := fs.Open(name, vfs.Buffered)
	if err != nil {
		return fmt.Errorf("read manifest: %w", err)
	}
	defer f.Close()
	size, err := f.Size()
	if err != nil {
		return fmt.Errorf("read manifest: %w", err)
	}
	r := record.NewReader(bufio.NewReaderSize(io.NewSectionReader(f, 0, size), record.BlockSize), name, 0)
	for {
		rec, err := r.Next()
		if err == io.EOF {
			return nil
		}
		var foreign *record.UnsupportedError
		if errors.As(err, &foreign) {
			return fmt.Errorf("%s: %w", name, unsupported("%s", foreign.What))
		}
		if err != nil {
			return fmt.Errorf("read manifest: %w", err)
		}
		e := &Edit{}
		if err := e.Decode(rec); err != nil {
			return blame(name, r.Offset(), err)
		}
		if err := visit(e, r.Offset()); err != nil {
			return err
		}
	}
}

// blame makes err a *corrupt.Error of that place, unless it is an *UnsupportedError.
func blame(name string, offset int64, err error) error {
	var foreign *UnsupportedError
	if errors.As(err, &foreign) {
		return fmt.Errorf("%s: %w", name, err)
	}
	return &corrupt.Error{File: name, Offset: offset, Err: err}
}

// replay folds the edits of one manifest.
type replay struct {
	name string
	b    *builder

	dbID                      string
	logNum, nextFile, lastSeq *uint64 // nil = not seen
	logExists                 bool    // said by the last edit with a log number
	prevLog, minLog           uint64
	maxCF                     uint32
	families                  map[uint32]string // column families beside the default one
	wals                      map[uint64]bool   // logs that RocksDB tracks
	group                     []*Edit           // of an atomic group that is not complete
}

func newReplay(name string) *replay {
	return &replay{name: name, b: newBuilder(&Version{}), families: make(map[uint32]string), wals: make(map[uint64]bool)}
}

// edit takes the next edit, and those of an atomic group when the last one has come.
func (r *replay) edit(e *Edit, offset int64) error {
	if err := r.collect(e); err != nil {
		return blame(r.name, offset, err)
	}
	if e.InAtomicGroup && e.Remaining > 0 {
		return nil
	}
	for _, e := range r.group {
		if err := r.apply(e); err != nil {
			return blame(r.name, offset, err)
		}
	}
	r.group = nil
	return nil
}

// collect appends the edit to the group that it belongs to: often of one.
func (r *replay) collect(e *Edit) error {
	if n := len(r.group); n > 0 {
		if want := r.group[n-1].Remaining - 1; !e.InAtomicGroup || e.Remaining != want {
			return fmt.Errorf("an atomic group of edits is interrupted with %d to come", want+1)
		}
	}
	r.group = append(r.group, e)
	return nil
}

func (r *replay) apply(e *Edit) error {
	r.numbers(e)
	if err := r.family(e); err != nil || e.ColumnFamily != 0 {
		return err
	}
	if e.Comparator != nil && *e.Comparator != Comparator {
		return unsupported("comparator %q; keys must be ordered by %q", *e.Comparator, Comparator)
	}
	for _, w := range e.WalAdditions {
		r.wals[w.Num] = true
	}
	for num := range r.wals {
		if num < e.WalDeletion {
			delete(r.wals, num)
		}
	}
	highest(&r.logNum, e.LogNum)
	if e.LogNum != nil {
		r.logExists = e.LogExists
	}
	return r.b.apply(e)
}

// numbers takes what concerns the whole database, whatever the column family.
func (r *replay) numbers(e *Edit) {
	if e.DBID != "" {
		r.dbID = e.DBID
	}
	highest(&r.nextFile, e.NextFileNum)
	highest(&r.lastSeq, e.LastSeq)
	if e.PrevLogNum != nil {
		r.prevLog = max(r.prevLog, *e.PrevLogNum)
	}
	if e.MinLogToKeep != nil {
		r.minLog = max(r.minLog, *e.MinLogToKeep)
	}
	if e.MaxColumnFamily != nil {
		r.maxCF = max(r.maxCF, *e.MaxColumnFamily)
	}
	r.maxCF = max(r.maxCF, e.ColumnFamily)
}

// highest raises *to to from, where from is given.
func highest(to **uint64, from *uint64) {
	if from != nil && (*to == nil || **to < *from) {
		*to = from
	}
}

// family follows which column families exist.
func (r *replay) family(e *Edit) error {
	id := e.ColumnFamily
	name, exists := r.families[id]
	exists = exists || id == 0
	switch {
	case e.ColumnFamilyAdd != nil && exists:
		return fmt.Errorf("column family %d is added twice, as %q and as %q", id, name, *e.ColumnFamilyAdd)
	case e.ColumnFamilyAdd != nil:
		r.families[id] = *e.ColumnFamilyAdd
	case !exists:
		return fmt.Errorf("edit of column family %d, which does not exist", id)
	case e.ColumnFamilyDrop && id == 0:
		return errors.New("the default column family is dropped")
	case e.ColumnFamilyDrop:
		delete(r.families, id)
	}
	return nil
}

// walsEnd returns the number above every tracked log, 0 where there is none.
func (r *replay) walsEnd() (end uint64) {
	for num := range r.wals {
		end = max(end, num+1)
	}
	return end
}

// finish returns the version that the manifest describes, once everything needed was there.
func (r *replay) finish() (*Version, error) {
	var missing []string
	for _, need := range [...]struct {
		name string
		v    *uint64
	}{{"log_number", r.logNum}, {"next_file", r.nextFile}, {"last_seq", r.lastSeq}} {
		if need.v == nil {
			missing = append(missing, need.name)
		}
	}
	if len(missing) > 0 {
		return nil, corrupt.Errorf(r.name, -1, "no %s in the manifest", strings.Join(missing, ", "))
	}
	if *r.lastSeq > ikey.MaxSeq {
		return nil, corrupt.Errorf(r.name, -1, "last sequence number %d is above %d", *r.lastSeq, ikey.MaxSeq)
	}
	if high := max(*r.logNum, *r.nextFile, r.prevLog, r.minLog); high > maxFileNum {
		return nil, corrupt.Errorf(r.name, -1, "file number %d is above %d", high, maxFileNum)
	}
	if len(r.families) > 0 {
		return nil, fmt.Errorf("%s: %w", r.name, unsupported("column families %s beside the default one", r.familyNames()))
	}
	v, _, err := r.b.build()
	if err != nil {
		return nil, blame(r.name, -1, err)
	}
	return v, nil
}

func (r *replay) familyNames() string {
	var names []string
	for _, name := range r.families {
		names = append(names, fmt.Sprintf("%q", name))
	}
	slices.Sort(names)
	return strings.Join(names, ", ")
}
