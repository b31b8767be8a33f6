package engine

import (
	"errors"
	"io/fs"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/cambiumdb/cambium/compaction"
	"github.com/cambiumdb/cambium/internal/filename"
	"github.com/cambiumdb/cambium/internal/manifest"
	"github.com/cambiumdb/cambium/internal/vfs"
	"github.com/cambiumdb/cambium/sstable/blob"
)

// holes gives the space of dead values back while other values of their blob files live, without
// copying those: it punches holes. It knows the dead records of every blob file that is worth it.
//
// A record is announced as dead before the edit that counts it as garbage is applied. When the edit
// is in effect and no older version is held, nobody can read the record, in this process or after
// a crash, and its pages are given back by the goroutine that removes files.
type holes struct {
	back     atomic.Pointer[compaction.GivenBack] // replaced under mu, never changed
	waiting  atomic.Bool                          // something is dying
	learning atomic.Bool                          // what is unknown is being learnt

	mu      sync.Mutex // guards the fields below
	files   map[uint64]*holed
	dying   []*dying
	unknown map[uint64]bool // blob files of whose dead records some are not known
	off     bool            // the file system has no holes
}

// holed is what is known of one blob file.
type holed struct {
	dead  *blob.Dead // given back
	due   *blob.Dead // nobody can read it any more
	fresh bool       // some of it since the last sync
	given int64      // bytes that the file does not take, by the file system's last count
	kept  bool       // what is due could not be given back: the file has another name, or an error
	back  compaction.Holes
}

// dying are records that lose their last reference by one edit.
type dying struct {
	dead map[uint64]*blob.Dead
	from uint64 // generation of the first version without them; 0: the edit is not in effect yet
}

// givenBack is for the picking of plans.
func (h *holes) givenBack() compaction.GivenBack {
	if p := h.back.Load(); p != nil {
		return *p
	}
	return nil
}

// file returns what is known of a blob file. h.mu is held.
func (h *holes) file(num uint64) *holed {
	f := h.files[num]
	if f == nil {
		f = &holed{dead: &blob.Dead{}, due: &blob.Dead{}}
		if h.files == nil {
			h.files = make(map[uint64]*holed)
		}
		h.files[num] = f
	}
	return f
}

// measured notes what the file system says of a blob file that is being opened.
func (h *holes) measured(num uint64, info fs.FileInfo) {
	if given := info.Size() - vfs.Allocated(info); given > 0 {
		h.mu.Lock()
		h.file(num).given = given
		h.mu.Unlock()
	}
}

// count computes anew what a file has given back or soon will. h.mu is held.
func (h *holes) count(num uint64) {
	f := h.files[num]
	if f == nil {
		return
	}
	f.back = compaction.Holes{Given: uint64(max(0, f.given))}
	if !f.kept {
		f.back.Due = uint64(h.allDead(num).HoleBytes(vfs.HoleUnit) - f.dead.HoleBytes(vfs.HoleUnit))
	}
}

// publish makes what was counted known to the picking of plans. h.mu is held.
func (h *holes) publish() {
	back := make(compaction.GivenBack, len(h.files))
	for num, f := range h.files {
		back[num] = f.back
	}
	h.back.Store(&back)
}

// allDead returns the records of a file that are dead or will be. h.mu is held.
func (h *holes) allDead(num uint64) *blob.Dead {
	all := &blob.Dead{}
	if f := h.files[num]; f != nil {
		all.Union(f.dead)
		all.Union(f.due)
	}
	for _, d := range h.dying {
		all.Union(d.dead[num])
	}
	return all
}

// announce tells of records that die by an edit. It comes before the edit, so that nobody who sees
// the version after it plans to empty files whose space comes back anyway.
func (h *holes) announce(dead map[uint64]*blob.Dead) *dying {
	d := &dying{dead: dead}
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.off || len(dead) == 0 {
		return d
	}
	h.add(d)
	return d
}

// add is for what dies by an edit. h.mu is held.
func (h *holes) add(d *dying) {
	h.dying = append(h.dying, d)
	h.waiting.Store(true)
	for num := range d.dead {
		h.file(num)
		h.count(num)
	}
	h.publish()
}

// withdraw is for an edit that is not in effect.
func (h *holes) withdraw(d *dying) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.drop(d)
	for num := range d.dead {
		h.count(num)
	}
	h.publish()
}

// drop takes d out of those that are dying. h.mu is held.
func (h *holes) drop(d *dying) {
	h.dying = slices.DeleteFunc(h.dying, func(o *dying) bool { return o == d })
}

// inEffect tells that the edit of d is in effect.
func (db *DB) inEffect(d *dying) {
	if len(d.dead) == 0 {
		return
	}
	v := db.set.Current() // that of the edit, or a later one
	from := v.Generation()
	v.Unref()
	db.holes.mu.Lock()
	d.from = from
	db.holes.mu.Unlock()
	db.versionRetired()
}

// versionRetired has given back what only the version that has gone referred to. It never waits:
// whoever let go of the version may be a reader.
func (db *DB) versionRetired() {
	if db.holes.waiting.Load() {
		db.obsolete.lookForHoles(db)
	}
}

// ripen makes due what no version from oldest on refers to, and returns the blob files of which
// something is due.
func (h *holes) ripen(oldest uint64) (nums []uint64) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, d := range slices.Clone(h.dying) {
		if d.from == 0 || d.from > oldest {
			continue
		}
		h.drop(d)
		for num, dead := range d.dead {
			if f := h.files[num]; f != nil {
				f.due.Union(dead)
			}
		}
	}
	h.waiting.Store(len(h.dying) > 0)
	for num, f := range h.files {
		if !f.due.Empty() {
			nums = append(nums, num)
		}
	}
	slices.Sort(nums)
	return nums
}

// giveBackDue gives back what nobody can read any more, file after file, and reports whether it
// stopped before the end since hurry said so. Only the remover of files calls it.
func (db *DB) giveBackDue(hurry func() bool) (more bool) {
	nums := db.holes.ripen(db.set.Oldest())
	for i, num := range nums {
		if more = i > 0 && hurry(); more {
			break
		}
		switch err := db.giveBack(num); {
		case err == nil || errors.Is(err, errShared):
		case errors.Is(err, errors.ErrUnsupported):
			db.log.Info("the file system has no holes: blob files are emptied by copying what lives", "err", err)
		default:
			db.log.Warn("give the space of dead values back", "file", filename.Base(filename.Blob, num), "err", err)
		}
	}
	if len(nums) > 0 {
		db.holes.mu.Lock()
		db.holes.publish()
		db.holes.mu.Unlock()
		db.schedule() // what is not given back may be worth a plan
	}
	return more
}

// giveBack gives the pages back that are due in a blob file.
func (db *DB) giveBack(num uint64) error {
	h := &db.holes
	h.mu.Lock()
	defer h.mu.Unlock()
	f := h.files[num]
	if f == nil {
		return nil
	}
	all := f.dead.Clone()
	all.Union(f.due)
	due := f.due
	h.mu.Unlock() // due grows in this goroutine only
	given, err := punch(db.fs, filename.Path(db.dir, filename.Blob, num), all, due)
	h.mu.Lock()
	switch {
	case err == nil:
		f.dead, f.due, f.fresh, f.given, f.kept = all, &blob.Dead{}, true, given, false
	case errors.Is(err, fs.ErrNotExist): // nothing refers to it any more
		delete(h.files, num)
		err = nil
	case errors.Is(err, errors.ErrUnsupported):
		h.off, h.files, h.dying, h.unknown = true, nil, nil, nil
	default:
		f.kept = true
	}
	h.count(num)
	return err
}

// startHoles gives back what was due when the database was closed, and has the rest learnt.
func (db *DB) startHoles() {
	// What was read is in memory now. The file says nothing of the edits to come.
	path := filename.Path(db.dir, filename.Dead, 0)
	if err := db.fs.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		db.log.Warn("remove the file of dead records", "file", path, "err", err)
	}
	h := &db.holes
	h.mu.Lock()
	defer h.mu.Unlock()
	if len(h.unknown) > 0 {
		h.learning.Store(true)
		db.workers.Add(1)
		go db.learnDead()
	}
	if len(h.files) > 0 {
		db.obsolete.lookForHoles(db)
	}
}

// errShared is for a blob file that another directory has as well: a checkpoint.
var errShared = errors.New("the file has another name")

// punch gives the pages back that became dead with due, of all that are dead, and returns how many
// bytes the file does not take now.
func punch(fsys vfs.FS, path string, all, due *blob.Dead) (given int64, err error) {
	info, err := fsys.Stat(path)
	if err != nil {
		return 0, err
	}
	// A checkpoint links files under a version that it holds, so one that links this file after
	// the look does not refer to what is due.
	if vfs.Links(info) != 1 {
		return 0, errShared
	}
	f, err := fsys.OpenReadWrite(path, vfs.Direct)
	if err != nil {
		return 0, err
	}
	defer f.Close()
	for off, n := range all.Holes(vfs.HoleUnit, due) {
		if err := f.PunchHole(off, n); err != nil {
			return 0, err
		}
	}
	if info, err = fsys.Stat(path); err != nil {
		return 0, err
	}
	return info.Size() - vfs.Allocated(info), nil
}

// removed forgets a blob file.
func (h *holes) removed(num uint64) {
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.files, num)
}

// unknownOf returns the blob files of a version some of whose dead records are not known.
func (h *holes) unknownOf(v *manifest.Version) map[uint64]bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	out := make(map[uint64]bool)
	for num := range h.unknown {
		if v.Blobs[num] != nil {
			out[num] = true
		}
	}
	return out
}
