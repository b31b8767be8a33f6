package manifest

import (
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"

	"github.com/cambiumdb/cambium/internal/filename"
	"github.com/cambiumdb/cambium/internal/ikey"
	"github.com/cambiumdb/cambium/internal/vfs"
)

// ErrClosed is in the chain of the error that Apply returns after Close.
var ErrClosed = errors.New("manifest is closed")

// Options adjusts a Set. The zero value works.
type Options struct {
	// DBID identifies a new database; empty = a random UUID.
	DBID string
	// Logger is told of new manifests and of torn tails; nil = nobody.
	Logger *slog.Logger
	// OnWrite is told, after each write, how many bytes went to the device.
	OnWrite func(bytes int64)
	// OnObsolete is told once of the files that no live version names any more, both slices
	// ascending. It runs in the goroutine whose Unref or Apply let go of them, with no lock of
	// the Set held, and never after Close.
	OnObsolete func(tables, blobs []uint64)
	// OnRetire is told that a version has lost its last reference, so that Oldest may have risen.
	// It runs where OnObsolete does, after it.
	OnRetire func()
	// MaxBytes is the length at which Apply begins a new manifest, unless the state with which
	// it began takes more than half of that; 0 = 64 MiB.
	MaxBytes int64
}

const defaultMaxBytes = 64 << 20

// Set is the tree of one database directory over time. Current, NewFileNum and the other
// methods that return numbers take no lock and wait for no I/O.
type Set struct {
	fs   vfs.FS
	dir  string
	opts Options

	current     atomic.Pointer[Version]
	nextFile    atomic.Uint64 // the next free file number
	lastSeq     atomic.Uint64
	logNum      atomic.Uint64
	minLog      atomic.Uint64
	manifestNum atomic.Uint64
	logExists   atomic.Bool // the last LogNum came with Edit.LogExists
	closed      atomic.Bool

	// mu serialises Apply and Close, with their I/O. It is taken before liveMu.
	mu       sync.Mutex
	out      *writer // nil = the next Apply begins a new manifest
	dbID     string
	identity bool   // the file IDENTITY says dbID
	maxCF    uint32 // highest id of a column family that ever was; RocksDB gives none twice
	walsEnd  uint64 // RocksDB tracked logs below; 0 = none

	// liveMu guards the files that must not be removed. Nothing waits under it.
	liveMu   sync.Mutex
	live     map[*Version]struct{}
	versions uint64   // installed so far
	doubted  *doubted // nil = no failed edit can be in effect after a crash
}

// newSet returns a Set whose current version is v, which has no references yet.
func newSet(fs vfs.FS, dir string, opts Options, v *Version) *Set {
	if opts.Logger == nil {
		opts.Logger = slog.New(slog.DiscardHandler)
	}
	if opts.MaxBytes <= 0 {
		opts.MaxBytes = defaultMaxBytes
	}
	s := &Set{fs: fs, dir: dir, opts: opts, live: make(map[*Version]struct{})}
	s.nextFile.Store(1)
	s.adopt(v)
	s.current.Store(v)
	return s
}

// Current returns the newest version, referenced: the caller must Unref it.
func (s *Set) Current() *Version {
	for {
		// The Set holds a reference to its current version, so none left means that another
		// one has been installed since the load.
		if v := s.current.Load(); v.tryRef() {
			return v
		}
	}
}

// NewFileNum returns a file number that was never returned before in this database. After a
// crash a number that no edit has made durable may come again, unless a file bears it.
func (s *Set) NewFileNum() uint64 { return s.nextFile.Add(1) - 1 }

// MarkFileNumUsed keeps NewFileNum from returning num or anything below.
func (s *Set) MarkFileNumUsed(num uint64) { raise(&s.nextFile, num+1) }

// LogNum is the lowest number of a log that a recovery replays.
func (s *Set) LogNum() uint64 { return s.logNum.Load() }

// LogExists reports whether the log LogNum must be there: see Edit.LogExists.
func (s *Set) LogExists() bool { return s.logExists.Load() }

// MinLogToKeep is the lowest number of a log that must not be removed, as the last edit that
// spoke of it said; 0 where none did. RocksDB replays the logs that are at or above both this
// and LogNum.
func (s *Set) MinLogToKeep() uint64 { return s.minLog.Load() }

// LastSeq is the newest sequence number that is known here.
func (s *Set) LastSeq() uint64 { return s.lastSeq.Load() }

// SetLastSeq tells the newest sequence number; a lower one than before is ignored. The next
// Apply makes it durable.
func (s *Set) SetLastSeq(seq uint64) { raise(&s.lastSeq, seq) }

// ManifestNum is the number of the manifest that CURRENT names. After an Apply that failed it
// may be another one until the next Apply succeeds.
func (s *Set) ManifestNum() uint64 { return s.manifestNum.Load() }

// DBID identifies the database. It is empty only where a foreign database has none and no Apply
// has made one.
func (s *Set) DBID() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.dbID
}

func raise(a *atomic.Uint64, to uint64) {
	for {
		old := a.Load()
		if old >= to || a.CompareAndSwap(old, to) {
			return
		}
	}
}

// Apply makes the edit durable and then installs the version that follows from it. It fills
// the edit's NextFileNum and LastSeq. The tables that the edit adds belong to the Set from then
// on; their files must be durable before.
//
// An edit that does not fit the tree is refused and nothing is written. After any other error
// the tree in memory is as before, but whether the edit is in effect after a crash is not
// known: the files that it adds stay among those of Live until a later Apply succeeds, which
// hands them to OnObsolete unless it adds them itself. That Apply begins a new manifest.
func (s *Set) Apply(e *Edit) error {
	obsolete, err := s.apply(e)
	obsolete.report(s)
	if err != nil {
		return fmt.Errorf("apply edit to manifest %06d: %w", s.ManifestNum(), err)
	}
	return nil
}

func (s *Set) apply(e *Edit) (obsolete fileNums, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed.Load() {
		return fileNums{}, ErrClosed
	}
	if err := s.admissible(e); err != nil {
		return fileNums{}, err
	}
	old := s.current.Load() // mu keeps it current, so it needs no reference
	b := newBuilder(old)
	if err := b.apply(e); err != nil {
		return fileNums{}, err
	}
	v, gone, err := b.build()
	if err != nil {
		return fileNums{}, err
	}
	s.stamp(e)
	if err := s.write(withClosedBlobs(e, gone)); err != nil {
		s.doubt(e)
		return fileNums{}, err
	}
	if e.LogNum != nil {
		raise(&s.logNum, *e.LogNum)
		s.logExists.Store(e.LogExists)
	}
	if e.MinLogToKeep != nil {
		raise(&s.minLog, *e.MinLogToKeep)
	}
	return s.install(v, old), nil
}

// admissible refuses edits that this package does not write or that would go back in time.
func (s *Set) admissible(e *Edit) error {
	switch {
	case e.ColumnFamily != 0 || e.ColumnFamilyAdd != nil || e.ColumnFamilyDrop:
		return unsupported("column families")
	case len(e.WalAdditions) > 0 || e.WalDeletion != 0:
		return unsupported("tracked logs")
	case e.InAtomicGroup:
		return unsupported("atomic groups in Apply: one edit is atomic")
	case e.Comparator != nil && *e.Comparator != Comparator:
		return unsupported("comparator %q", *e.Comparator)
	case e.DBID != "" && e.DBID != s.dbID:
		return fmt.Errorf("edit changes the database id from %s to %s", s.dbID, e.DBID)
	case e.LogNum != nil && *e.LogNum < s.logNum.Load():
		return fmt.Errorf("edit sets the log number back from %d to %d", s.logNum.Load(), *e.LogNum)
	}
	for _, a := range e.Added {
		if a.Table != nil && a.Table.LargestSeq > ikey.MaxSeq {
			return fmt.Errorf("sequence number %d of table %06d is above %d", a.Table.LargestSeq, a.Table.Num, ikey.MaxSeq)
		}
	}
	return nil
}

// stamp puts into the edit what every edit carries.
func (s *Set) stamp(e *Edit) {
	for _, a := range e.Added {
		s.MarkFileNumUsed(a.Table.Num)
		s.SetLastSeq(a.Table.LargestSeq)
	}
	for i := range e.BlobsAdded {
		s.MarkFileNumUsed(e.BlobsAdded[i].Num)
	}
	if e.LogNum != nil {
		s.MarkFileNumUsed(*e.LogNum)
	}
	if e.LastSeq != nil {
		s.SetLastSeq(*e.LastSeq)
	}
	e.LastSeq = ptr(s.lastSeq.Load())
	if e.NextFileNum != nil && *e.NextFileNum > 0 {
		s.MarkFileNumUsed(*e.NextFileNum - 1)
	}
	e.NextFileNum = ptr(s.nextFile.Load())
}

// withClosedBlobs returns the edit with the rest of every blob file that leaves the tree
// declared garbage, so that each version of RocksDB agrees that the file is gone.
func withClosedBlobs(e *Edit, gone []*Blob) *Edit {
	closed := *e
	closed.BlobGarbage = append([]BlobGarbage(nil), e.BlobGarbage...)
	for _, b := range gone {
		if rest := b.Count - b.GarbageCount; rest > 0 {
			closed.BlobGarbage = append(closed.BlobGarbage, BlobGarbage{Num: b.Num, Count: rest, Bytes: b.Bytes - b.GarbageBytes})
		}
	}
	return &closed
}

// write makes the edit durable, in a new manifest where there is none to append to. After an
// error there is none.
func (s *Set) write(e *Edit) error {
	if s.out != nil && s.out.full(s.opts.MaxBytes) {
		s.closeOut()
	}
	if s.out == nil {
		return s.roll(e)
	}
	err := s.out.append(e)
	if err == nil {
		err = s.out.sync()
	}
	if err != nil {
		s.closeOut()
	}
	return err
}

func (s *Set) closeOut() {
	if s.out != nil {
		s.out.close()
		s.out = nil
	}
}

// InDoubt reports whether an Apply has failed so that its edit may be in effect after a crash.
// The next Apply that succeeds, be its edit empty, settles that.
func (s *Set) InDoubt() bool {
	s.liveMu.Lock()
	defer s.liveMu.Unlock()
	return s.doubted != nil
}

// ObsoleteManifests returns the numbers of the manifests in the directory that CURRENT does not
// name, ascending. It returns none while that is in doubt because an Apply failed, and none
// after Close: the directory may be another Set's by then.
func (s *Set) ObsoleteManifests() ([]uint64, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed.Load() || s.InDoubt() {
		return nil, nil
	}
	names, err := s.fs.List(s.dir)
	if err != nil {
		return nil, fmt.Errorf("list manifests: %w", err)
	}
	var nums []uint64
	for _, name := range names {
		if t, num, ok := filename.Parse(name); ok && t == filename.Manifest && num != s.manifestNum.Load() {
			nums = append(nums, num)
		}
	}
	return nums, nil
}

// Close ends writing. Versions stay readable; files are not reported obsolete any more. A
// second call does nothing.
func (s *Set) Close() error {
	s.closed.Store(true)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.out == nil {
		return nil
	}
	err := s.out.close()
	s.out = nil
	return err
}
