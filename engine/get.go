package engine

import (
	"errors"
	"fmt"

	"github.com/cambiumdb/cambium/internal/cache"
	"github.com/cambiumdb/cambium/internal/entity"
	"github.com/cambiumdb/cambium/internal/ikey"
	"github.com/cambiumdb/cambium/sstable/blob"
	"github.com/cambiumdb/cambium/sstable/block"
)

// Get returns a copy of key's value, or ErrNotFound.
func (db *DB) Get(key []byte) ([]byte, error) {
	var out []byte
	err := db.View(key, func(v []byte) error {
		out = append(make([]byte, 0, len(v)), v...)
		return nil
	})
	return out, err
}

// View calls fn with key's value without copying it, and returns fn's error, or ErrNotFound
// without calling it. The slice is valid only inside fn and must not be changed.
func (db *DB) View(key []byte, fn func(value []byte) error) error {
	if len(key) == 0 {
		return errorf(ErrInvalidArgument, "get: key is empty")
	}
	v, at, err := db.pinRead()
	if err != nil {
		return err
	}
	defer v.unref()
	return db.getAt(v, key, at, db.opts.Clock.Now().UnixMilli(), fn)
}

// getAt finds key as of sequence number at and wall time now in a pinned view, newest source
// first, and calls fn with the value.
//
// A range tombstone in a source hides every entry of older sources, since for one key the
// sources hold descending sequence numbers.
func (db *DB) getAt(v *view, key []byte, at uint64, now int64, fn func([]byte) error) error {
	db.reads.gets.Add(1)
	if done, err := db.getFromMemory(v.mem, key, at, now, fn); done {
		return err
	}
	for _, m := range v.sealed {
		if done, err := db.getFromMemory(m, key, at, now, fn); done {
			return err
		}
	}
	for level := range v.version.Levels {
		if len(v.version.Levels[level]) == 0 {
			continue
		}
		for _, t := range v.version.Find(level, key) {
			if t.SmallestSeq > at {
				continue
			}
			r, err := db.tables.get(t)
			if err != nil {
				return err
			}
			if done, err := db.getFromTable(r, key, at, now, fn); done {
				return err
			}
		}
	}
	return ErrNotFound
}

func (db *DB) getFromMemory(m *memory, key []byte, at uint64, now int64, fn func([]byte) error) (done bool, err error) {
	t, value, ok := m.Get(key, at)
	if hidden, covered := m.Cover(key, at); covered && (!ok || hidden > t.Seq()) {
		return true, ErrNotFound
	}
	if !ok {
		return false, nil
	}
	return true, db.resolve(key, t, value, now, fn)
}

func (db *DB) getFromTable(r *table, key []byte, at uint64, now int64, fn func([]byte) error) (done bool, err error) {
	db.reads.tablesProbed.Add(1)
	value, ok, err := r.Get(key, at)
	if err != nil {
		return true, classify(err)
	}
	if len(r.rangeDels) > 0 {
		if hidden, covered := r.rangeDels.Cover(key, at); covered && (!ok || hidden > value.Trailer.Seq()) {
			if ok {
				value.Release()
			}
			return true, ErrNotFound
		}
	}
	if !ok {
		return false, nil
	}
	defer value.Release()
	return true, db.resolve(key, value.Trailer, value.Bytes, now, fn)
}

// resolve turns an entry into what the user wrote: it follows a blob reference, unwraps an
// entity, and gives ErrNotFound for tombstones and what has expired.
func (db *DB) resolve(key []byte, t ikey.Trailer, value []byte, now int64, fn func([]byte) error) error {
	switch t.Kind() {
	case ikey.KindSet:
		return fn(value)
	case ikey.KindDelete, ikey.KindSingleDelete:
		return ErrNotFound
	case ikey.KindEntity:
		e, err := decodeEntity(key, value)
		if err != nil {
			return err
		}
		if e.Expired(now) {
			return ErrNotFound
		}
		return fn(e.Value)
	case ikey.KindBlobIndex:
		v, err := db.readBlob(key, value, db.keepsValue)
		if err != nil {
			return err
		}
		defer v.Release()
		return fn(v.Bytes())
	}
	return unsupportedKind(key, t)
}

func decodeEntity(key, value []byte) (entity.Entity, error) {
	e, err := entity.Decode(value)
	if err != nil {
		return e, &opError{msg: fmt.Sprintf("key %s: %v", quoteKey(key), err), kind: ErrCorruption, err: err}
	}
	return e, nil
}

// readBlob returns the value that a blob reference names, pinned: the caller releases it. keep
// says whether the cache keeps one of that size.
func (db *DB) readBlob(key, ref []byte, keep func(blob.Index) bool) (*cache.Handle, error) {
	idx, err := blob.DecodeIndex(ref)
	if err != nil {
		return nil, fmt.Errorf("key %s: %w", quoteKey(key), classify(err))
	}
	r, err := db.tables.blob(idx.File)
	if err != nil {
		return nil, err
	}
	v, err := r.Read(key, idx, block.ReadOptions{NoFill: !keep(idx)})
	if err = classify(err); errors.Is(err, ErrCorruption) && db.overtaken() {
		return nil, fmt.Errorf("key %s: its value may be gone, since %s was written to after it was opened read-only: open it again: %v", quoteKey(key), db.dir, err)
	}
	return v, err
}

// keepsValue reports whether a large value that a get has read stays in the cache: one that is
// not so large that it takes the place of too much else.
func (db *DB) keepsValue(idx blob.Index) bool { return idx.Size <= uint64(db.budget.cache/256) }

// passesBy is for values that a scan reads: they do not stay.
func passesBy(blob.Index) bool { return false }

func unsupportedKind(key []byte, t ikey.Trailer) error {
	if t.Kind() == ikey.KindMerge {
		return errorf(ErrUnsupported, "key %s holds a merge operand: merge operators are not supported; resolve it with RocksDB and its operator first", quoteKey(key))
	}
	return errorf(ErrUnsupported, "key %s holds an entry of kind %v", quoteKey(key), t.Kind())
}
