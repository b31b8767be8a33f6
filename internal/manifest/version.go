package manifest

import (
	"bytes"
	"cmp"
	"fmt"
	"slices"
	"sort"
	"strings"
	"sync/atomic"

	"github.com/cambiumdb/cambium/internal/ikey"
	"github.com/cambiumdb/cambium/internal/invariants"
)

// Version is one immutable state of the tree. A version of a Set keeps the files that it names
// from being reported obsolete until its last Unref; one made by NewVersion belongs to no Set
// and its references count nothing.
type Version struct {
	// Levels holds level 0 newest first and the others by Smallest, disjoint.
	Levels [NumLevels][]*Table
	// Blobs holds the blob files by number.
	Blobs map[uint64]*Blob

	set        *Set // nil = not counted
	refs       atomic.Int32
	generation uint64 // 1, 2, ... in the order in which a Set installed them
}

// Generation is higher than that of every version which the Set had before. It is 0 outside a Set.
func (v *Version) Generation() uint64 { return v.generation }

// NewVersion returns a version outside any Set that holds the given tables, in any order, and
// blob files: the state of a test, or of a tool. It keeps the slices and sorts them.
func NewVersion(levels [NumLevels][]*Table, blobs []*Blob) *Version {
	v := &Version{Levels: levels, Blobs: make(map[uint64]*Blob, len(blobs))}
	for level, tables := range v.Levels {
		sortTables(level, tables)
	}
	for _, b := range blobs {
		v.Blobs[b.Num] = b
	}
	return v
}

// Ref adds a reference. The caller must hold one already.
func (v *Version) Ref() {
	if v.set == nil {
		return
	}
	n := v.refs.Add(1)
	invariants.Check(n > 1, "version referenced after its last Unref: %d references", n)
}

// tryRef adds a reference unless the last one is gone.
func (v *Version) tryRef() bool {
	for {
		n := v.refs.Load()
		if n == 0 {
			return false
		}
		if v.refs.CompareAndSwap(n, n+1) {
			return true
		}
	}
}

// Unref drops a reference. When it was the last one, files that no other live version names
// are handed to Options.OnObsolete before Unref returns.
func (v *Version) Unref() {
	if v.set == nil {
		return
	}
	n := v.refs.Add(-1)
	invariants.Check(n >= 0, "version unreferenced too often: %d references", n)
	if n == 0 {
		v.set.retire(v)
	}
}

// Find returns the tables of a level whose bounds hold user, in the level's order. On the
// levels from 1 on it costs a binary search and no memory; there a user key may lie in several
// adjacent tables (RocksDB cuts tables between two versions of a key), the newest in the first.
// The result must not be changed.
func (v *Version) Find(level int, user []byte) []*Table {
	return v.Overlaps(level, user, user)
}

// Overlaps returns the tables of a level whose bounds meet [lo, hi], both inclusive, nil being
// open, in the level's order. The result must not be changed.
func (v *Version) Overlaps(level int, lo, hi []byte) []*Table {
	tables := v.Levels[level]
	if level == 0 {
		return overlapsUnsorted(tables, lo, hi)
	}
	first, end := 0, len(tables)
	if lo != nil {
		first = sort.Search(len(tables), func(i int) bool { return !tables[i].endsBefore(lo) })
	}
	if hi != nil {
		rest := tables[first:]
		end = first + sort.Search(len(rest), func(i int) bool { return bytes.Compare(rest[i].Smallest.User, hi) > 0 })
	}
	return tables[first:end:end]
}

// overlapsUnsorted returns the given slice where all its tables overlap.
func overlapsUnsorted(tables []*Table, lo, hi []byte) []*Table {
	misses := func(t *Table) bool { return !t.Overlaps(lo, hi) }
	if !slices.ContainsFunc(tables, misses) {
		return tables
	}
	var hit []*Table
	for _, t := range tables {
		if !misses(t) {
			hit = append(hit, t)
		}
	}
	return hit
}

// LevelBytes returns the size in bytes of a level's tables.
func (v *Version) LevelBytes(level int) int64 {
	var sum int64
	for _, t := range v.Levels[level] {
		sum += int64(t.Size)
	}
	return sum
}

// String draws the version for people: a line for each table and blob file.
func (v *Version) String() string {
	var b strings.Builder
	for level, tables := range v.Levels {
		for _, t := range tables {
			fmt.Fprintf(&b, "L%d %s\n", level, t)
		}
	}
	for _, num := range v.blobNums() {
		fmt.Fprintf(&b, "%s\n", v.Blobs[num])
	}
	return b.String()
}

func (v *Version) blobNums() []uint64 {
	nums := make([]uint64, 0, len(v.Blobs))
	for num := range v.Blobs {
		nums = append(nums, num)
	}
	slices.Sort(nums)
	return nums
}

// sortTables puts a level's tables into its order.
func sortTables(level int, tables []*Table) {
	if level > 0 {
		slices.SortFunc(tables, bySmallest)
		return
	}
	slices.SortFunc(tables, newestFirst(tables))
}

func bySmallest(a, b *Table) int {
	if c := ikey.Compare(a.Smallest, b.Smallest); c != 0 {
		return c
	}
	return cmp.Compare(a.Num, b.Num)
}

// newestFirst returns the order of level 0: by RocksDB's epoch numbers where every table has
// one, else by sequence numbers.
func newestFirst(tables []*Table) func(a, b *Table) int {
	if allHaveEpochs(tables) {
		return func(a, b *Table) int {
			if c := cmp.Compare(b.epoch(), a.epoch()); c != 0 {
				return c
			}
			return newerSeq(a, b)
		}
	}
	return newerSeq
}

func allHaveEpochs(tables []*Table) bool {
	return len(tables) > 0 && !slices.ContainsFunc(tables, func(t *Table) bool { return t.epoch() == 0 })
}

// newerSeq orders the table with newer sequence numbers first, as RocksDB 7.8 does.
func newerSeq(a, b *Table) int {
	if c := cmp.Compare(b.LargestSeq, a.LargestSeq); c != 0 {
		return c
	}
	if c := cmp.Compare(b.SmallestSeq, a.SmallestSeq); c != 0 {
		return c
	}
	return cmp.Compare(b.Num, a.Num)
}
