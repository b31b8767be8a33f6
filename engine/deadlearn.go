package engine

import (
	"context"
	"fmt"
	"slices"

	"github.com/cambiumdb/cambium/internal/filename"
	"github.com/cambiumdb/cambium/internal/ikey"
	"github.com/cambiumdb/cambium/internal/manifest"
	"github.com/cambiumdb/cambium/sstable"
	"github.com/cambiumdb/cambium/sstable/blob"
)

// learnDead finds out what is dead in the blob files of which that is not known, as after a crash
// or after RocksDB has written: all that no table refers to. It runs in the background; until it
// ends no blob file is emptied, since its space may come back without.
func (db *DB) learnDead() {
	defer db.workers.Done()
	version := db.set.Current()
	nums := db.holes.unknownOf(version)
	dead, doubtful, err := db.findDead(db.ctx, version, nums)
	from := version.Generation()
	version.Unref()
	h := &db.holes
	h.mu.Lock()
	if err == nil && !h.off {
		for _, num := range doubtful {
			delete(dead, num)
		}
		for num := range dead {
			delete(h.unknown, num)
		}
		h.add(&dying{dead: dead, from: from})
	}
	h.mu.Unlock()
	switch {
	case err == nil:
		db.log.Info("dead records of blob files learnt from tables", "files", len(nums))
		if len(doubtful) > 0 {
			db.log.Warn("the manifest counts other values as live than tables refer to: no holes in these blob files", "files", doubtful)
		}
	case db.ctx.Err() == nil:
		db.log.Warn("what is dead in blob files stays unknown", "err", err)
	}
	db.versionRetired() // before it counts as learnt: then nothing is left to do
	h.learning.Store(false)
	db.schedule()
}

// findDead returns what is dead in the blob files nums of a version that the caller holds: all that
// no table refers to. It reads every table that refers, or may refer, to one of them. Where what is
// found to live is not what the manifest counts, the file is doubtful as well.
func (db *DB) findDead(ctx context.Context, version *manifest.Version, nums map[uint64]bool) (dead map[uint64]*blob.Dead, doubtful []uint64, err error) {
	live := make(map[uint64]*blob.Live, len(nums))
	for num := range nums {
		live[num] = &blob.Live{}
	}
	for _, tables := range version.Levels {
		for _, t := range tables {
			if !mayRefer(t, nums) {
				continue
			}
			if err := db.addReferences(ctx, t, live); err != nil {
				return nil, nil, fmt.Errorf("look for values in %s: %w", filename.Base(filename.Table, t.Num), err)
			}
		}
	}
	dead = make(map[uint64]*blob.Dead, len(nums))
	for num, l := range live {
		r, err := db.tables.blob(num)
		if err != nil {
			return nil, nil, err
		}
		dead[num] = l.Rest(r.End())
		if b := version.Blobs[num]; l.Count != b.Count-b.GarbageCount || l.Bytes != b.Bytes-b.GarbageBytes {
			doubtful = append(doubtful, num)
		}
	}
	slices.Sort(doubtful)
	return dead, doubtful, nil
}

// mayRefer reports whether a table may have a reference to one of the blob files.
func mayRefer(t *manifest.Table, nums map[uint64]bool) bool {
	if t.Stats.BlobRefsKnown {
		for _, r := range t.Stats.BlobRefs {
			if nums[r.Num] {
				return true
			}
		}
		return false
	}
	for num := range nums {
		if num >= t.OldestBlob {
			return true
		}
	}
	return false
}

// addReferences adds what a table refers to.
func (db *DB) addReferences(ctx context.Context, t *manifest.Table, live map[uint64]*blob.Live) error {
	r, err := db.tables.get(t)
	if err != nil {
		return err
	}
	it := r.NewIterator(sstable.IterOptions{Compaction: true})
	defer it.Close()
	entries := 0
	for ok := it.First(); ok; ok = it.Next() {
		if entries++; entries%1024 == 0 && ctx.Err() != nil {
			return ctx.Err()
		}
		key := it.Key()
		if key.Kind() != ikey.KindBlobIndex {
			continue
		}
		idx, err := blob.DecodeIndex(it.Value())
		if err != nil {
			return fmt.Errorf("key %s at sequence %d: %w", quoteKey(key.User), key.Seq(), err)
		}
		if l := live[idx.File]; l != nil {
			l.Add(len(key.User), idx)
		}
	}
	return it.Err()
}
