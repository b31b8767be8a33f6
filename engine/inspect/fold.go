package inspect

import (
	"fmt"
	"math"

	"github.com/cambiumdb/cambium/internal/manifest"
)

// fold applies edits of the default column family without judging them: a tool shows what is
// there.
type fold struct {
	levels   [manifest.NumLevels]map[uint64]*manifest.Table
	blobs    map[uint64]*manifest.Blob
	problems []error
}

func newFold() *fold {
	f := &fold{blobs: map[uint64]*manifest.Blob{}}
	for i := range f.levels {
		f.levels[i] = map[uint64]*manifest.Table{}
	}
	return f
}

func (f *fold) problem(format string, args ...any) {
	f.problems = append(f.problems, fmt.Errorf(format, args...))
}

func (f *fold) add(e *manifest.Edit) {
	if e.ColumnFamily != 0 {
		return
	}
	for _, d := range e.Deleted {
		if d.Level < 0 || d.Level >= len(f.levels) || f.levels[d.Level][d.Num] == nil {
			f.problem("table %06d is deleted from level %d, where it is not", d.Num, d.Level)
			continue
		}
		delete(f.levels[d.Level], d.Num)
	}
	for _, a := range e.Added {
		if a.Level < 0 || a.Level >= len(f.levels) {
			f.problems = append(f.problems, &manifest.UnsupportedError{
				What: fmt.Sprintf("table %06d on level %d; there are %d levels (num_levels)", a.Table.Num, a.Level, len(f.levels))})
			continue
		}
		f.levels[a.Level][a.Table.Num] = a.Table
	}
	for i := range e.BlobsAdded {
		f.blobs[e.BlobsAdded[i].Num] = &e.BlobsAdded[i]
	}
	for _, g := range e.BlobGarbage {
		b := f.blobs[g.Num]
		if b == nil {
			f.problem("garbage in blob file %06d, which is not there", g.Num)
			continue
		}
		b.GarbageCount += g.Count
		b.GarbageBytes += g.Bytes
	}
}

// version returns the tree. As in RocksDB a blob file has left it when no table refers to it or
// to one before it, or when it is all garbage and no table begins with it.
func (f *fold) version() *manifest.Version {
	var levels [manifest.NumLevels][]*manifest.Table
	first := map[uint64]bool{}
	oldest := uint64(math.MaxUint64)
	for i, tables := range f.levels {
		for _, t := range tables {
			levels[i] = append(levels[i], t)
			if f.blobs[t.OldestBlob] != nil {
				first[t.OldestBlob] = true
				oldest = min(oldest, t.OldestBlob)
			}
		}
	}
	var blobs []*manifest.Blob
	for _, b := range f.blobs {
		if b.Num >= oldest && (first[b.Num] || b.GarbageCount < b.Count) {
			blobs = append(blobs, b)
		}
	}
	return manifest.NewVersion(levels, blobs)
}
