package engine

import (
	"cmp"
	"errors"
	"hash/crc32"
	"io"
	"io/fs"
	"slices"

	"github.com/cambiumdb/cambium/internal/deadfile"
	"github.com/cambiumdb/cambium/internal/filename"
	"github.com/cambiumdb/cambium/internal/manifest"
	"github.com/cambiumdb/cambium/internal/vfs"
	"github.com/cambiumdb/cambium/sstable/blob"
)

// loadDead reads what is dead in the blob files of the version that was recovered, before anything
// is changed. What it cannot learn of a file that is worth holes is left to learnDead.
func (db *DB) loadDead() {
	version := db.set.Current()
	defer version.Unref()
	saved, err := db.readDead()
	if err != nil {
		db.log.Warn("what is dead in blob files is learnt from the tables", "err", err)
	}
	h := &db.holes
	h.mu.Lock()
	defer h.mu.Unlock()
	h.unknown = holding(version)
	for _, s := range saved {
		if !h.unknown[s.Num] {
			continue
		}
		delete(h.unknown, s.Num)
		if f := h.file(s.Num); s.Given {
			f.dead = s.Dead
		} else {
			f.due = s.Dead
		}
	}
	for num := range h.files {
		h.count(num)
	}
	h.publish()
}

// readDead returns what the file holds, nothing where there is none or it is about another state.
func (db *DB) readDead() ([]deadfile.File, error) {
	path := filename.Path(db.dir, filename.Dead, 0)
	f, err := db.fs.Open(path, vfs.Buffered)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	size, err := f.Size()
	if err != nil {
		return nil, err
	}
	b := make([]byte, size)
	if err := vfs.ReadFullAt(f, b, 0); err != nil {
		return nil, err
	}
	state, err := db.deadState()
	if err != nil {
		return nil, err
	}
	return deadfile.Decode(path, b, state)
}

// deadState is what the database is on the device.
func (db *DB) deadState() (s deadfile.State, err error) {
	s.DBID, s.Manifest = db.set.DBID(), db.set.ManifestNum()
	f, err := db.fs.Open(filename.Path(db.dir, filename.Manifest, s.Manifest), vfs.Buffered)
	if err != nil {
		return s, err
	}
	defer f.Close()
	size, err := f.Size()
	if err != nil {
		return s, err
	}
	sum := crc32.New(crc32.MakeTable(crc32.Castagnoli))
	_, err = io.Copy(sum, io.NewSectionReader(f, 0, size))
	s.ManifestBytes, s.ManifestCRC = uint64(size), sum.Sum32()
	return s, err
}

// saveDead writes what is dead in the blob files for the next Open, where that knows it. version is
// the last one: the manifest changes no more. A failure is logged: the next Open looks through tables.
func (db *DB) saveDead(version *manifest.Version) {
	db.syncHoles()
	files := db.holes.save(version)
	if len(files) == 0 || db.set.InDoubt() {
		return
	}
	state, err := db.deadState()
	if err == nil {
		b := deadfile.Encode(state, files)
		if err = filename.Publish(db.fs, db.dir, filename.Base(filename.Dead, 0), db.set.NewFileNum(), b); err == nil {
			db.ledger.add("blob", -1, "dead", int64(len(b)+vfs.HoleUnit-1)/vfs.HoleUnit*vfs.HoleUnit)
		}
	}
	if err != nil {
		db.log.Warn("save what is dead in blob files", "file", filename.Base(filename.Dead, 0), "err", err)
	}
}

// syncHoles makes what was given back stay so after a power cut; what it cannot is due again.
func (db *DB) syncHoles() {
	h := &db.holes
	h.mu.Lock()
	defer h.mu.Unlock()
	for num, f := range h.files {
		if f.fresh && syncFile(db.fs, filename.Path(db.dir, filename.Blob, num)) != nil {
			f.due.Union(f.dead)
			f.dead = &blob.Dead{}
		}
	}
}

func syncFile(fsys vfs.FS, path string) error {
	f, err := fsys.OpenReadWrite(path, vfs.Direct)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}

// save returns what is known of the blob files of version.
func (h *holes) save(version *manifest.Version) (files []deadfile.File) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for num, b := range version.Blobs {
		f := h.files[num]
		if f == nil || b.GarbageCount == 0 || h.unknown[num] {
			continue
		}
		all := h.allDead(num)
		given := all.HoleBytes(vfs.HoleUnit) == f.dead.HoleBytes(vfs.HoleUnit)
		files = append(files, deadfile.File{Num: num, Given: given, Dead: all})
	}
	slices.SortFunc(files, func(a, b deadfile.File) int { return cmp.Compare(a.Num, b.Num) })
	return files
}
