package engine

import (
	"fmt"
	"sync"
	"sync/atomic"

	"github.com/cambiumdb/cambium/internal/cache"
	"github.com/cambiumdb/cambium/internal/filename"
	"github.com/cambiumdb/cambium/internal/manifest"
	"github.com/cambiumdb/cambium/internal/rangedel"
	"github.com/cambiumdb/cambium/internal/vfs"
	"github.com/cambiumdb/cambium/sstable"
	"github.com/cambiumdb/cambium/sstable/blob"
)

// table is an open sstable with its range tombstones cut to its bounds.
type table struct {
	*sstable.Reader
	rangeDels rangedel.List
}

// tables opens table and blob files once and keeps them open. Whoever uses one holds a version
// that names it; a file is closed and dropped when the last such version has gone, so an open
// file needs no count of its own.
type tables struct {
	fs       vfs.FS
	dir      string
	cache    *cache.Cache
	counters sstable.Counters

	open  sync.Map // file number -> *slot[*table]
	blobs sync.Map // file number -> *slot[*blob.Reader]
}

// slot is one file being opened or open.
type slot[T any] struct {
	mu    sync.Mutex // held while opening
	ready atomic.Pointer[T]
}

func newTables(fs vfs.FS, dir string, c *cache.Cache) *tables {
	return &tables{fs: fs, dir: dir, cache: c}
}

// get returns the open table t, opening it where needed. Several goroutines may ask for one.
func (ts *tables) get(t *manifest.Table) (*table, error) {
	v, ok := ts.open.Load(t.Num)
	if !ok {
		v, _ = ts.open.LoadOrStore(t.Num, new(slot[table]))
	}
	s := v.(*slot[table])
	if r := s.ready.Load(); r != nil {
		return r, nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if r := s.ready.Load(); r != nil {
		return r, nil
	}
	r, err := ts.openTable(t)
	if err != nil {
		return nil, fmt.Errorf("open table %s: %w", filename.Base(filename.Table, t.Num), classify(err))
	}
	s.ready.Store(r)
	return r, nil
}

func (ts *tables) openTable(t *manifest.Table) (*table, error) {
	f, err := ts.fs.Open(filename.Path(ts.dir, filename.Table, t.Num), vfs.Direct)
	if err != nil {
		return nil, err
	}
	r, err := sstable.Open(f, sstable.ReaderOptions{Cache: ts.cache, FileNum: t.Num, LargestSeq: t.LargestSeq, Counters: &ts.counters})
	if err != nil {
		return nil, err
	}
	p := r.Properties()
	if err := supported(p); err != nil {
		r.Close()
		return nil, err
	}
	out := &table{Reader: r}
	if p.NumRangeDeletions > 0 {
		out.rangeDels = r.RangeDels().TruncateToBounds(t.Smallest, t.Largest)
	}
	return out, nil
}

// blob returns the open blob file num.
func (ts *tables) blob(num uint64) (*blob.Reader, error) {
	v, ok := ts.blobs.Load(num)
	if !ok {
		v, _ = ts.blobs.LoadOrStore(num, new(slot[blob.Reader]))
	}
	s := v.(*slot[blob.Reader])
	if r := s.ready.Load(); r != nil {
		return r, nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if r := s.ready.Load(); r != nil {
		return r, nil
	}
	f, err := ts.fs.Open(filename.Path(ts.dir, filename.Blob, num), vfs.Direct)
	if err != nil {
		return nil, fmt.Errorf("open blob file %s: %w", filename.Base(filename.Blob, num), err)
	}
	r, err := blob.Open(f, blob.ReaderOptions{Cache: ts.cache, FileNum: num, Counters: &ts.counters.Counters})
	if err != nil {
		return nil, fmt.Errorf("open blob file %s: %w", filename.Base(filename.Blob, num), classify(err))
	}
	s.ready.Store(r)
	return r, nil
}

// drop closes a file that no version names any more and forgets its cached blocks.
func (ts *tables) drop(num uint64) {
	if v, ok := ts.open.LoadAndDelete(num); ok {
		if r := v.(*slot[table]).ready.Load(); r != nil {
			r.Close()
		}
	}
	if v, ok := ts.blobs.LoadAndDelete(num); ok {
		if r := v.(*slot[blob.Reader]).ready.Load(); r != nil {
			r.Close()
		}
	}
	ts.cache.EvictFile(num)
}

// close closes every file. No reader may be left.
func (ts *tables) close() {
	ts.open.Range(func(num, _ any) bool { ts.drop(num.(uint64)); return true })
	ts.blobs.Range(func(num, _ any) bool { ts.drop(num.(uint64)); return true })
}

// supported refuses by name the tables that hold what this engine cannot read right.
func supported(p sstable.Properties) error {
	if c := p.Comparator; c != "" && c != bytewiseComparator {
		return errorf(ErrUnsupported, "table uses comparator %q, only %q is supported", c, bytewiseComparator)
	}
	if p.ColumnFamilyName != "" && p.ColumnFamilyName != "default" {
		return errorf(ErrUnsupported, "table belongs to column family %q, only \"default\" is supported", p.ColumnFamilyName)
	}
	if p.NumMergeOperands > 0 {
		return errorf(ErrUnsupported, "table holds %d merge operands of operator %q: merge operators are not supported; resolve them with RocksDB first", p.NumMergeOperands, p.MergeOperator)
	}
	return nil
}

const bytewiseComparator = "leveldb.BytewiseComparator"
