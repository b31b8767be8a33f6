package manifest

import (
	"fmt"
	"maps"
	"slices"
	"sync/atomic"

	"github.com/cambiumdb/cambium/internal/invariants"
)

// builder makes a new version from an old one and edits. The same code builds the version of
// one edit and, at recovery, of a whole manifest.
type builder struct {
	base   *Version
	where  map[uint64]placed // lazily: the tables of base
	tables map[uint64]placed // tables that the edits touched
	blobs  map[uint64]*Blob  // blob files that the edits touched
}

// placed is where a table is after the edits.
type placed struct {
	level int // offTree = nowhere
	table *Table
}

const offTree = -1

func newBuilder(base *Version) *builder {
	return &builder{base: base, tables: make(map[uint64]placed), blobs: make(map[uint64]*Blob)}
}

// apply adds an edit, in RocksDB's order: blob files, garbage, deletions, additions.
func (b *builder) apply(e *Edit) error {
	for i := range e.BlobsAdded {
		if err := b.addBlob(e.BlobsAdded[i]); err != nil {
			return err
		}
	}
	for _, g := range e.BlobGarbage {
		if err := b.addGarbage(g); err != nil {
			return err
		}
	}
	for _, d := range e.Deleted {
		p := b.find(d.Num)
		if p.level != d.Level || d.Level == offTree {
			return fmt.Errorf("delete table %06d from level %d: it is %s", d.Num, d.Level, placeName(p.level))
		}
		b.tables[d.Num] = placed{level: offTree}
	}
	for _, a := range e.Added {
		if a.Table == nil || a.Level < 0 || a.Table.Num > maxFileNum {
			return fmt.Errorf("add table %v to level %d: not a table, a level or a number", a.Table, a.Level)
		}
		if p := b.find(a.Table.Num); p.level != offTree {
			return fmt.Errorf("add table %06d to level %d: it is %s", a.Table.Num, a.Level, placeName(p.level))
		}
		b.shareRefs(a.Table)
		b.tables[a.Table.Num] = placed{a.Level, a.Table}
	}
	return nil
}

// shareRefs lets a table that moves be counted with the one of the same file that is in the
// tree, be it the same Table or another.
func (b *builder) shareRefs(t *Table) {
	if old, ok := b.where[t.Num]; ok {
		if old.table != t {
			t.refs = old.table.refs
		}
	} else if t.refs == nil {
		t.refs = new(atomic.Int32)
	}
}

func placeName(level int) string {
	if level == offTree {
		return "not in the tree"
	}
	return fmt.Sprintf("on level %d", level)
}

// find returns where a table is now.
func (b *builder) find(num uint64) placed {
	if p, touched := b.tables[num]; touched {
		return p
	}
	if b.where == nil {
		b.where = make(map[uint64]placed)
		for level, tables := range b.base.Levels {
			for _, t := range tables {
				b.where[t.Num] = placed{level, t}
			}
		}
	}
	if p, ok := b.where[num]; ok {
		return p
	}
	return placed{level: offTree}
}

// blob returns a copy of the blob file's state that belongs to the builder, nil if there is
// no such file.
func (b *builder) blob(num uint64) *Blob {
	if own := b.blobs[num]; own != nil {
		return own
	}
	old := b.base.Blobs[num]
	if old == nil {
		return nil
	}
	own := *old
	b.blobs[num] = &own
	return &own
}

func (b *builder) addBlob(add Blob) error {
	if add.Num > maxFileNum {
		return fmt.Errorf("add blob file %d: not a file number", add.Num)
	}
	if b.blobs[add.Num] != nil || b.base.Blobs[add.Num] != nil {
		return fmt.Errorf("add blob file %06d: it is there already", add.Num)
	}
	if add.GarbageCount != 0 || add.GarbageBytes != 0 {
		return fmt.Errorf("add blob file %06d with garbage: garbage takes its own entry", add.Num)
	}
	add.refs = new(atomic.Int32)
	b.blobs[add.Num] = &add
	return nil
}

func (b *builder) addGarbage(g BlobGarbage) error {
	own := b.blob(g.Num)
	if own == nil {
		return fmt.Errorf("garbage in blob file %06d: no such file", g.Num)
	}
	if g.Count > own.Count-own.GarbageCount || g.Bytes > own.Bytes-own.GarbageBytes {
		return fmt.Errorf("garbage of %d values, %d bytes overflows %s", g.Count, g.Bytes, own)
	}
	own.GarbageCount += g.Count
	own.GarbageBytes += g.Bytes
	return nil
}

// build returns the new version, checked, without references, and the blob files that left the
// tree, by number. The error is an *UnsupportedError for tables on levels that we do not have.
func (b *builder) build() (v *Version, gone []*Blob, err error) {
	v = &Version{}
	var added [NumLevels][]*Table
	var touched [NumLevels]bool
	for num, p := range b.tables {
		if p.level >= NumLevels {
			return nil, nil, unsupported("level %d of table %06d; there are %d levels (num_levels)", p.level, num, NumLevels)
		}
		if p.level != offTree {
			added[p.level] = append(added[p.level], p.table)
			touched[p.level] = true
		}
		if p, ok := b.where[num]; ok {
			touched[p.level] = true
		}
	}
	for level, old := range b.base.Levels {
		if v.Levels[level] = old; touched[level] {
			v.Levels[level] = b.buildLevel(level, old, added[level])
		}
	}
	gone = b.buildBlobs(v)
	if err := v.Check(); err != nil {
		return nil, nil, err
	}
	if invariants.Enabled {
		b.checkAgainstScratch(v)
	}
	return v, gone, nil
}

// buildLevel merges what stays of a level with what is new.
func (b *builder) buildLevel(level int, old, added []*Table) []*Table {
	out := make([]*Table, 0, len(old)+len(added))
	for _, t := range old {
		if _, touched := b.tables[t.Num]; !touched {
			out = append(out, t)
		}
	}
	if len(added) == 0 {
		return out
	}
	if level == 0 { // few tables, and a new one can change the rule of their order
		out = append(out, added...)
		sortTables(0, out)
		return out
	}
	sortTables(level, added)
	kept := out
	out = make([]*Table, 0, len(kept)+len(added))
	for _, t := range added {
		n, _ := slices.BinarySearchFunc(kept, t, bySmallest)
		out = append(append(out, kept[:n]...), t)
		kept = kept[n:]
	}
	return append(out, kept...)
}

// buildBlobs fills v.Blobs by RocksDB's rule: a blob file stays while a table names it as its
// oldest, or while it holds live values and is not older than every file so named. It returns
// those that left.
func (b *builder) buildBlobs(v *Version) (gone []*Blob) {
	if len(b.base.Blobs) == 0 && len(b.blobs) == 0 {
		return nil
	}
	all := maps.Clone(b.base.Blobs)
	if all == nil {
		all = make(map[uint64]*Blob, len(b.blobs))
	}
	maps.Copy(all, b.blobs)
	linked := make(map[uint64]bool)
	oldest := ^uint64(0)
	for _, tables := range v.Levels {
		for _, t := range tables {
			if all[t.OldestBlob] != nil {
				linked[t.OldestBlob] = true
				oldest = min(oldest, t.OldestBlob)
			}
		}
	}
	for num, blob := range all {
		if num < oldest || !linked[num] && blob.GarbageCount >= blob.Count {
			gone = append(gone, blob)
			delete(all, num)
		}
	}
	v.Blobs = all
	return gone
}

// checkAgainstScratch makes the same version without any cleverness and compares.
func (b *builder) checkAgainstScratch(v *Version) {
	var levels [NumLevels][]*Table
	for level, tables := range b.base.Levels {
		for _, t := range tables {
			if _, touched := b.tables[t.Num]; !touched {
				levels[level] = append(levels[level], t)
			}
		}
	}
	for _, p := range b.tables {
		if p.level != offTree {
			levels[p.level] = append(levels[p.level], p.table)
		}
	}
	for level, tables := range levels {
		sortTables(level, tables)
		invariants.Check(slices.Equal(tables, v.Levels[level]), "level %d: built %v, from scratch %v", level, v.Levels[level], tables)
	}
}
