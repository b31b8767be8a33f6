package engine

import (
	"bytes"
	"fmt"
	"iter"

	"github.com/cambiumdb/cambium/internal/cache"
	"github.com/cambiumdb/cambium/internal/ikey"
	"github.com/cambiumdb/cambium/internal/iterator"
	"github.com/cambiumdb/cambium/internal/manifest"
	"github.com/cambiumdb/cambium/internal/rangedel"
	"github.com/cambiumdb/cambium/sstable"
)

// IterOptions says what an iterator sees. nil means every key, as of now.
type IterOptions struct {
	Lower, Upper []byte    // keys in [Lower, Upper); nil is unbounded
	Snapshot     *Snapshot // nil: the state when the iterator is made
	KeysOnly     bool      // Value is nil; large values are not read
	Err          *error    // All only: where to store what ended the loop early
}

// Prefix returns options for the keys that begin with p. An empty p means every key.
func Prefix(p []byte) *IterOptions {
	o := &IterOptions{Lower: bytes.Clone(p)}
	for i := len(p) - 1; i >= 0; i-- {
		if p[i] != 0xff {
			o.Upper = bytes.Clone(p[:i+1])
			o.Upper[i]++
			break
		}
	}
	return o
}

// Iterator walks keys in bytewise order, in both directions, over one fixed state of the
// database. It starts unpositioned. It belongs to one goroutine and must be closed: until then it
// keeps the files it sees.
//
// A positioning call returns whether the iterator is on a key. False means the end or an
// error: Err tells. Key and Value are valid until the next positioning call.
type Iterator struct {
	db           *DB
	view         *view
	at           uint64 // sequence number it reads at
	now          int64  // wall time it reads at, Unix milliseconds
	lower, upper []byte
	keysOnly     bool

	in        iterator.Iterator
	rangeDels rangedel.List

	state iterState
	key   []byte // the current user key
	value []byte
	buf   []byte // the value's copy on a backward walk
	err   error

	walk   walk
	target []byte        // of a seek
	large  *cache.Handle // holds value where that lies in a blob file
}

type iterState uint8

const (
	unset    iterState = iota
	atEntry            // forward: in stands on the current entry
	atBefore           // backward: in stands before every entry of the current key
	pastEnd            // exhausted forward
	pastHead           // exhausted backward
)

// NewIterator returns an iterator over opts' range. It never fails: an error (a closed
// database, say) makes every positioning call return false and stands in Err.
func (db *DB) NewIterator(opts *IterOptions) *Iterator {
	if opts == nil {
		opts = &IterOptions{}
	}
	it := &Iterator{
		db:       db,
		lower:    bytes.Clone(opts.Lower),
		upper:    bytes.Clone(opts.Upper),
		keysOnly: opts.KeysOnly,
		now:      db.opts.Clock.Now().UnixMilli(),
	}
	if opts.Upper != nil && it.upper == nil {
		it.upper = []byte{}
	}
	if opts.Snapshot != nil && opts.Snapshot.db != db {
		it.err = errorf(ErrInvalidArgument, "iterator: the snapshot belongs to another database")
		return it
	}
	if it.view, it.at, it.err = db.pinRead(); it.err != nil {
		return it
	}
	v := it.view
	if opts.Snapshot != nil {
		it.at = opts.Snapshot.seq
	}
	db.openIterators.Add(1)
	it.in, it.rangeDels, it.err = db.openView(v, it.lower, it.upper)
	return it
}

// All returns the keys and values of opts' range (nil = all) in order, for use with range.
// Both slices are valid only in the loop's body. A read error ends the loop: it is stored in
// *opts.Err; where that is nil All panics with it, since a loop that ends early must not look
// like one that saw everything. NewIterator returns errors instead.
func (db *DB) All(opts *IterOptions) iter.Seq2[[]byte, []byte] {
	return func(yield func([]byte, []byte) bool) {
		it := db.NewIterator(opts)
		defer it.Close()
		if opts != nil && opts.Err != nil {
			*opts.Err = nil
		}
		for ok := it.First(); ok; ok = it.Next() {
			if !yield(it.Key(), it.Value()) {
				return
			}
		}
		if err := it.Err(); err != nil {
			if opts == nil || opts.Err == nil {
				panic(fmt.Errorf("engine.DB.All: %w", err))
			}
			*opts.Err = err
		}
	}
}

// openView merges every source of v that may hold keys of [lower, upper).
func (db *DB) openView(v *view, lower, upper []byte) (iterator.Iterator, rangedel.List, error) {
	sources := []iterator.Iterator{v.mem.NewIterator()}
	lists := []rangedel.List{v.mem.RangeDels()}
	for _, m := range v.sealed {
		sources = append(sources, m.NewIterator())
		lists = append(lists, m.RangeDels())
	}
	fail := func(err error) (iterator.Iterator, rangedel.List, error) {
		for _, s := range sources {
			s.Close()
		}
		return nil, nil, err
	}
	for level := range v.version.Levels {
		overlapping := v.version.Overlaps(level, lower, upper)
		if level == 0 {
			for _, t := range overlapping {
				r, err := db.tables.get(t)
				if err != nil {
					return fail(err)
				}
				sources = append(sources, r.NewIterator(scanOptions(lower, upper)))
			}
		} else if len(overlapping) > 0 {
			sources = append(sources, db.levelIterator(overlapping, lower, upper))
		}
	}
	ranges, err := db.tableRangeDels(v)
	if err != nil {
		return fail(err)
	}
	lists = append(lists, ranges...)
	return iterator.NewMerging(sources...), mergeRangeDels(lists), nil
}

// mergeRangeDels avoids work where no list has anything, which is nearly always.
func mergeRangeDels(lists []rangedel.List) rangedel.List {
	n := 0
	for _, l := range lists {
		n += len(l)
	}
	if n == 0 {
		return nil
	}
	return rangedel.Merge(lists...)
}

// tableRangeDels returns the range tombstones of v's tables, a list for each table that has any.
// The first call on a view opens those tables that were never opened.
func (db *DB) tableRangeDels(v *view) ([]rangedel.List, error) {
	if v.rangeKnown.Load() {
		return v.rangeDels, nil
	}
	v.rangeMu.Lock()
	defer v.rangeMu.Unlock()
	if v.rangeKnown.Load() {
		return v.rangeDels, nil
	}
	var lists []rangedel.List
	for _, level := range v.version.Levels {
		for _, t := range level {
			if t.Stats.Known && t.Stats.RangeDeletes == 0 {
				continue
			}
			r, err := db.tables.get(t)
			if err != nil {
				return nil, err // the next call tries again
			}
			if len(r.rangeDels) > 0 {
				lists = append(lists, r.rangeDels)
			}
		}
	}
	v.rangeDels = lists
	v.rangeKnown.Store(true)
	return lists, nil
}

// First goes to the first key.
func (it *Iterator) First() bool {
	if it.lower != nil {
		return it.SeekGE(it.lower)
	}
	if !it.ready() {
		return false
	}
	return it.forward(it.in.First())
}

// SeekGE goes to the first key >= target.
func (it *Iterator) SeekGE(target []byte) bool {
	if !it.ready() {
		return false
	}
	if it.lower != nil && bytes.Compare(target, it.lower) < 0 {
		target = it.lower
	}
	return it.forward(it.in.SeekGE(ikey.Seek(it.ownTarget(target), it.at)))
}

// Last goes to the last key.
func (it *Iterator) Last() bool {
	if it.upper != nil {
		return it.SeekLT(it.upper)
	}
	if !it.ready() {
		return false
	}
	return it.backward(it.in.Last())
}

// SeekLT goes to the last key < target.
func (it *Iterator) SeekLT(target []byte) bool {
	if !it.ready() {
		return false
	}
	if it.upper != nil && bytes.Compare(target, it.upper) > 0 {
		target = it.upper
	}
	return it.backward(it.in.SeekLT(ikey.Seek(it.ownTarget(target), ikey.MaxSeq)))
}

// ownTarget copies target: a caller may seek to the current value, and the block that holds it is
// given back before the seek is done.
func (it *Iterator) ownTarget(target []byte) []byte {
	it.target = append(it.target[:0], target...)
	return it.target
}

// Next goes to the following key; from past the head to the first, unpositioned likewise.
func (it *Iterator) Next() bool {
	switch it.state {
	case unset, pastHead:
		return it.First()
	case pastEnd:
		return false
	case atBefore:
		// in stands before the key: go to its oldest possible entry, then leave the key behind.
		if !it.in.SeekGE(ikey.Make(it.key, 0, 0)) {
			return it.forward(false)
		}
		if !bytes.Equal(it.in.Key().User, it.key) {
			return it.forward(true)
		}
	}
	return it.forward(it.pass())
}

// Prev goes to the preceding key; from past the end to the last, unpositioned likewise.
func (it *Iterator) Prev() bool {
	switch it.state {
	case unset, pastEnd:
		return it.Last()
	case pastHead:
		return false
	case atEntry:
		return it.backward(it.in.SeekLT(ikey.Seek(it.key, ikey.MaxSeq)))
	}
	return it.backward(it.in.Valid())
}

// Valid reports whether the iterator is on a key.
func (it *Iterator) Valid() bool { return it.state == atEntry || it.state == atBefore }

// Key returns the current key; nil when not on one. Valid until the next positioning call.
func (it *Iterator) Key() []byte {
	if !it.Valid() {
		return nil
	}
	return it.key
}

// Value returns the current value; nil when not on a key and with KeysOnly. Valid until the
// next positioning call.
func (it *Iterator) Value() []byte {
	if !it.Valid() {
		return nil
	}
	return it.value
}

// Err returns what stopped the iterator, nil if that was the end of its range.
func (it *Iterator) Err() error { return it.err }

// Close releases what the iterator holds. It may be called twice.
func (it *Iterator) Close() error {
	if it.view == nil {
		return it.err
	}
	it.dropValue()
	if it.in != nil {
		if err := it.in.Close(); it.err == nil {
			it.err = classify(err)
		}
		it.in = nil
	}
	it.view.unref()
	it.view = nil
	it.state = unset
	it.db.openIterators.Add(-1)
	if it.err == nil {
		it.err = ErrClosed
		return nil
	}
	return it.err
}

func (it *Iterator) ready() bool {
	it.state = unset
	return it.in != nil && it.err == nil
}

// fail stops the iterator at err.
func (it *Iterator) fail(err error) bool {
	it.state = unset
	it.err = classify(err)
	return false
}

// forward finds the first live key at or after the entry that in stands on. ok says whether in
// is on one.
func (it *Iterator) forward(ok bool) bool {
	it.walk.dead, it.walk.leapt = 0, nil
	for ok {
		k := it.in.Key()
		if it.upper != nil && bytes.Compare(k.User, it.upper) >= 0 {
			it.walked(it.upper)
			it.state = pastEnd
			return false
		}
		if k.Seq() > it.at {
			ok = it.in.Next()
			continue
		}
		it.key = append(it.key[:0], k.User...)
		live, err := it.accept(k, it.in.Value())
		if err != nil {
			return it.fail(err)
		}
		if live {
			it.walked(it.key)
			it.state = atEntry
			return true
		}
		ok = it.passDead()
	}
	if err := it.in.Err(); err != nil {
		return it.fail(err)
	}
	it.walked(append(it.key, 0))
	it.state = pastEnd
	return false
}

// stepsBeforeSeek is how many entries of one key are stepped over before a seek is cheaper.
const stepsBeforeSeek = 8

// pass moves in from an entry of the current key to the first entry of the next key.
func (it *Iterator) pass() bool {
	for steps := 0; it.in.Next(); steps++ {
		if !bytes.Equal(it.in.Key().User, it.key) {
			return true
		}
		if steps == stepsBeforeSeek {
			if !it.in.SeekGE(ikey.Make(it.key, 0, 0)) {
				return false
			}
			if !bytes.Equal(it.in.Key().User, it.key) {
				return true
			}
		}
	}
	return false
}

// backward finds the last live key at or before the entry that in stands on, and leaves in
// before every entry of it. ok says whether in is on an entry.
func (it *Iterator) backward(ok bool) bool {
	for ok {
		it.key = append(it.key[:0], it.in.Key().User...)
		if it.lower != nil && bytes.Compare(it.key, it.lower) < 0 {
			it.state = pastHead
			return false
		}
		// Versions come oldest first; the last one visible is the one that counts.
		var newest ikey.Key
		found := false
		for ok && bytes.Equal(it.in.Key().User, it.key) {
			if k := it.in.Key(); k.Seq() <= it.at {
				newest, found = ikey.Key{User: it.key, Trailer: k.Trailer}, true
				it.buf = append(it.buf[:0], it.in.Value()...)
			}
			ok = it.in.Prev()
		}
		if err := it.in.Err(); err != nil {
			return it.fail(err)
		}
		if !found {
			continue
		}
		live, err := it.accept(newest, it.buf)
		if err != nil {
			return it.fail(err)
		}
		if live {
			it.state = atBefore
			return true
		}
	}
	if err := it.in.Err(); err != nil {
		return it.fail(err)
	}
	it.state = pastHead
	return false
}

// dropValue gives the current value back.
func (it *Iterator) dropValue() {
	it.value = nil
	if it.large != nil {
		it.large.Release()
		it.large = nil
	}
}

// accept decides whether k, the newest visible entry of its key, is live, and sets value.
func (it *Iterator) accept(k ikey.Key, value []byte) (live bool, err error) {
	it.dropValue()
	if len(it.rangeDels) > 0 {
		if seq, ok := it.rangeDels.Cover(k.User, it.at); ok && seq > k.Seq() {
			return false, nil
		}
	}
	switch k.Kind() {
	case ikey.KindDelete, ikey.KindSingleDelete:
		return false, nil
	case ikey.KindSet:
	case ikey.KindEntity:
		e, err := decodeEntity(k.User, value)
		if err != nil || e.Expired(it.now) {
			return false, err
		}
		value = e.Value
	case ikey.KindBlobIndex:
		if it.keysOnly {
			return true, nil
		}
		if it.large, err = it.db.readBlob(k.User, value, passesBy); err != nil {
			return false, err
		}
		value = it.large.Bytes()
	default:
		return false, unsupportedKind(k.User, k.Trailer)
	}
	if !it.keysOnly {
		it.value = value
	}
	return true, nil
}

// scanOptions are the hints for tables read by an iterator over [lower, upper).
func scanOptions(lower, upper []byte) sstable.IterOptions {
	return sstable.IterOptions{Lower: lower, Upper: upper}
}

// levelIterator walks tables of one sorted level, which are opened as the walk reaches them.
func (db *DB) levelIterator(ts []*manifest.Table, lower, upper []byte) iterator.Iterator {
	return iterator.NewConcat(len(ts),
		func(i int) (ikey.Key, ikey.Key) { return ts[i].Smallest, ts[i].Largest },
		func(i int) (iterator.Iterator, error) {
			r, err := db.tables.get(ts[i])
			if err != nil {
				return nil, err
			}
			return r.NewIterator(scanOptions(lower, upper)), nil
		})
}
