package engine

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/cambiumdb/cambium/compaction"
	"github.com/cambiumdb/cambium/internal/filename"
	"github.com/cambiumdb/cambium/internal/manifest"
)

// CheckReport is what a check of a whole directory found.
type CheckReport struct {
	Tables, Blobs   int
	Entries         uint64 // in tables
	Bytes           int64  // read
	ReplayedEntries int    // in logs only
	Problems        []error
}

// Check opens dir read-only, reads every byte of every table and blob file, and verifies
// checksums, order, counts, filters and the manifest's own rules; the logs are replayed. It
// returns nil if all is well, else every problem found, joined. It changes nothing.
func Check(dir string) error {
	r, err := CheckWith(context.Background(), dir, nil, nil)
	if err != nil {
		return err
	}
	return errors.Join(r.Problems...)
}

// CheckWith is Check with a context, options (nil = default) and a callback that hears about
// progress after each file (nil = none). The error says why the check could not be made.
func CheckWith(ctx context.Context, dir string, opts *Options, progress func(file string, done, total int)) (*CheckReport, error) {
	for try := 1; ; try++ {
		db, err := OpenReadOnly(dir, opts)
		if err != nil {
			if errors.Is(err, ErrCorruption) {
				return &CheckReport{Problems: []error{err}}, nil
			}
			return nil, err
		}
		r, err := db.check(ctx, progress)
		again := err == nil && len(r.Problems) > 0 && try < readOnlyTries && db.overtaken()
		db.Close()
		if !again {
			return r, err
		}
	}
}

// check checks what db shows, which was opened read-only.
func (db *DB) check(ctx context.Context, progress func(file string, done, total int)) (*CheckReport, error) {
	v, _, err := db.pinRead()
	if err != nil {
		return nil, err
	}
	defer v.unref()
	r := &CheckReport{ReplayedEntries: v.mem.Count()}
	for _, m := range v.sealed {
		r.ReplayedEntries += m.Count()
	}
	problem := func(err error) {
		if err != nil {
			r.Problems = append(r.Problems, classify(err))
		}
	}
	problem(v.version.Check())
	problem(checkReferences(v.version))
	total := len(v.version.Blobs)
	for _, level := range v.version.Levels {
		total += len(level)
	}
	done := 0
	step := func(name string) {
		if done++; progress != nil {
			progress(name, done, total)
		}
	}
	for level, tables := range v.version.Levels {
		for _, t := range tables {
			name := filename.Base(filename.Table, t.Num)
			tr, err := db.tables.get(t)
			if err != nil {
				problem(err)
				step(name)
				continue
			}
			stats, err := tr.Verify(ctx)
			if ctx.Err() != nil {
				return nil, ctx.Err()
			}
			if err != nil {
				problem(fmt.Errorf("level %d: %w", level, err))
			}
			r.Tables++
			r.Entries += stats.Entries
			r.Bytes += int64(t.Size)
			step(name)
		}
	}
	dead, _, err := db.findDead(ctx, v.version, holding(v.version))
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	problem(err)
	for num, b := range v.version.Blobs {
		name := filename.Base(filename.Blob, num)
		br, err := db.tables.blob(num)
		if err == nil {
			_, err = br.Verify(ctx, dead[num])
		}
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		problem(err)
		r.Blobs++
		r.Bytes += int64(b.Bytes)
		step(name)
	}
	return r, nil
}

// holding returns the blob files that may have holes.
func holding(v *manifest.Version) map[uint64]bool {
	nums := make(map[uint64]bool)
	for num, b := range v.Blobs {
		if b.GarbageCount > 0 && compaction.WorthHoles(b) {
			nums[num] = true
		}
	}
	return nums
}

// checkReferences compares what the tables refer to in each blob file with what the manifest
// counts as live there. Where a table of RocksDB's does not say what it refers to, less may be
// found.
func checkReferences(v *manifest.Version) error {
	refs := make(map[uint64]manifest.BlobRef)
	all := true
	for _, tables := range v.Levels {
		for _, t := range tables {
			all = all && t.Stats.BlobRefsKnown
			for _, r := range t.Stats.BlobRefs {
				was := refs[r.Num]
				refs[r.Num] = manifest.BlobRef{Num: r.Num, Count: was.Count + r.Count, Bytes: was.Bytes + r.Bytes}
			}
		}
	}
	for num := range v.Blobs {
		if _, ok := refs[num]; !ok {
			refs[num] = manifest.BlobRef{Num: num}
		}
	}
	var errs []error
	for _, num := range slices.Sorted(maps.Keys(refs)) {
		r, count, bytes := refs[num], uint64(0), uint64(0)
		if b := v.Blobs[num]; b != nil {
			count, bytes = b.Count-b.GarbageCount, b.Bytes-b.GarbageBytes
		}
		if r.Count > count || r.Bytes > bytes || all && (r.Count < count || r.Bytes < bytes) {
			errs = append(errs, errorf(ErrCorruption, "corruption: tables refer to %d values of %d bytes in %s, the manifest counts %d of %d bytes as live",
				r.Count, r.Bytes, filename.Base(filename.Blob, num), count, bytes))
		}
	}
	return errors.Join(errs...)
}
