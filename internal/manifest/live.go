package manifest

import (
	"maps"
	"slices"

	"github.com/cambiumdb/cambium/internal/invariants"
)

// fileNums lists tables and blob files by number.
type fileNums struct {
	tables, blobs []uint64
	retired       bool // they come from a version that has gone
}

// report hands the files to OnObsolete and calls OnRetire. No lock may be held.
func (n fileNums) report(s *Set) {
	if s.closed.Load() {
		return
	}
	if s.opts.OnObsolete != nil && len(n.tables)+len(n.blobs) > 0 {
		slices.Sort(n.tables)
		slices.Sort(n.blobs)
		s.opts.OnObsolete(n.tables, n.blobs)
	}
	if s.opts.OnRetire != nil && n.retired {
		s.opts.OnRetire()
	}
}

// doubted holds the files that failed edits add. They may be in effect after a crash, so their
// files must stay until a new manifest has taken the place of the doubtful one.
type doubted struct {
	tables, blobs map[uint64]struct{}
}

// doubt remembers the files of an edit that could not be written for certain.
func (s *Set) doubt(e *Edit) {
	s.liveMu.Lock()
	defer s.liveMu.Unlock()
	if s.doubted == nil {
		s.doubted = &doubted{tables: make(map[uint64]struct{}), blobs: make(map[uint64]struct{})}
	}
	for _, a := range e.Added {
		s.doubted.tables[a.Table.Num] = struct{}{}
	}
	for i := range e.BlobsAdded {
		s.doubted.blobs[e.BlobsAdded[i].Num] = struct{}{}
	}
}

// resolveDoubt returns what failed edits added and no live version holds, now that a version
// is durable in a manifest without doubt. The caller holds liveMu.
func (s *Set) resolveDoubt() (orphans fileNums) {
	if s.doubted == nil {
		return fileNums{}
	}
	tables, blobs := s.doubted.tables, s.doubted.blobs
	s.doubted = nil
	// A failed edit may have moved a table that live versions hold: the last of them reports it.
	for v := range s.live {
		for _, level := range v.Levels {
			for _, t := range level {
				delete(tables, t.Num)
			}
		}
		for num := range v.Blobs {
			delete(blobs, num)
		}
	}
	return fileNums{tables: slices.Collect(maps.Keys(tables)), blobs: slices.Collect(maps.Keys(blobs))}
}

// adopt makes v a live version of the Set with one reference, the Set's own.
func (s *Set) adopt(v *Version) {
	v.set = s
	v.refs.Store(1)
	for _, tables := range v.Levels {
		for _, t := range tables {
			t.refs.Add(1)
		}
	}
	for _, b := range v.Blobs {
		b.refs.Add(1)
	}
	s.liveMu.Lock()
	s.versions++
	v.generation = s.versions
	s.live[v] = struct{}{}
	s.liveMu.Unlock()
}

// Oldest is the lowest generation of a version that somebody holds. What no version from a
// generation on refers to is free once Oldest has reached it.
func (s *Set) Oldest() uint64 {
	s.liveMu.Lock()
	defer s.liveMu.Unlock()
	oldest := s.versions
	for v := range s.live {
		oldest = min(oldest, v.generation)
	}
	return oldest
}

// install makes v the current version in place of old and returns the files that this leaves
// without a reader. The caller holds mu.
func (s *Set) install(v, old *Version) (obsolete fileNums) {
	s.adopt(v)
	s.liveMu.Lock()
	obsolete = s.resolveDoubt()
	s.liveMu.Unlock()
	s.current.Store(v)
	if n := old.refs.Add(-1); n == 0 {
		more := s.release(old)
		obsolete.tables = append(obsolete.tables, more.tables...)
		obsolete.blobs = append(obsolete.blobs, more.blobs...)
		obsolete.retired = more.retired
	}
	return obsolete
}

// retire takes a version whose last reference is gone out of the live ones.
func (s *Set) retire(v *Version) { s.release(v).report(s) }

// release drops a dead version's hold on its files and returns those that no other version
// holds.
func (s *Set) release(v *Version) (obsolete fileNums) {
	obsolete.retired = true
	s.liveMu.Lock()
	defer s.liveMu.Unlock()
	delete(s.live, v)
	for _, tables := range v.Levels {
		for _, t := range tables {
			n := t.refs.Add(-1)
			invariants.Check(n >= 0, "table %06d is held by %d versions", t.Num, n)
			if n == 0 {
				obsolete.tables = append(obsolete.tables, t.Num)
			}
		}
	}
	for num, b := range v.Blobs {
		n := b.refs.Add(-1)
		invariants.Check(n >= 0, "blob file %06d is held by %d versions", num, n)
		if n == 0 {
			obsolete.blobs = append(obsolete.blobs, num)
		}
	}
	return obsolete
}

// Live calls fn once with the numbers of the files that must not be removed, both slices
// ascending: those of all live versions, and those of edits that failed in Apply and may be in
// effect after a crash. Files that are being written for a later edit are the caller's to know.
func (s *Set) Live(fn func(tables, blobs []uint64)) {
	tables, blobs := make(map[uint64]struct{}), make(map[uint64]struct{})
	s.liveMu.Lock()
	for v := range s.live {
		for _, level := range v.Levels {
			for _, t := range level {
				tables[t.Num] = struct{}{}
			}
		}
		for num := range v.Blobs {
			blobs[num] = struct{}{}
		}
	}
	if s.doubted != nil {
		maps.Copy(tables, s.doubted.tables)
		maps.Copy(blobs, s.doubted.blobs)
	}
	s.liveMu.Unlock()
	fn(slices.Sorted(maps.Keys(tables)), slices.Sorted(maps.Keys(blobs)))
}
