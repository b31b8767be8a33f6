package engine

import (
	"bytes"
	"sync/atomic"

	"github.com/cambiumdb/cambium/internal/ikey"
	"github.com/cambiumdb/cambium/internal/invariants"
)

// barren remembers stretches of keys through which a scan walked without finding a live one, so that
// the next scan leaps over them. Without it, whoever looks for the head of a queue meets every item
// that was taken from it since compaction last came by.
type barren struct {
	known [8]atomic.Pointer[stretch]
	turn  atomic.Uint32 // which one makes room for the next
}

// stretch says that no key of [lower, upper) is live for whoever reads at seq and now or later. A
// write that changes this takes it away before it becomes visible.
type stretch struct {
	lower, upper []byte
	seq          uint64
	now          int64
	sound        atomic.Bool // nothing was put there after seq and before writers could see the stretch
}

func (s *stretch) contains(key []byte) bool {
	return bytes.Compare(s.lower, key) <= 0 && bytes.Compare(key, s.upper) < 0
}

// covering returns a stretch with key in it that holds for a reader at that number and time, or nil.
func (b *barren) covering(key []byte, at uint64, now int64) *stretch {
	for i := range b.known {
		if s := b.known[i].Load(); s != nil && s.seq <= at && s.now <= now && s.sound.Load() && s.contains(key) {
			return s
		}
	}
	return nil
}

// put takes away what a new value of key makes untrue. The value is in a memtable and not visible yet.
// b may be nil.
func (b *barren) put(key []byte) {
	if b == nil {
		return
	}
	for i := range b.known {
		s := b.known[i].Load()
		for s != nil && s.contains(key) && !b.known[i].CompareAndSwap(s, nil) {
			s = b.known[i].Load() // it has just grown
		}
	}
}

// clear forgets everything.
func (b *barren) clear() {
	for i := range b.known {
		b.known[i].Store(nil)
	}
}

// place makes s known in the place of leapt, which it contains, or of any other where that is nil. It
// reports false where leapt was taken away meanwhile: then s is not known to be barren either.
func (b *barren) place(s, leapt *stretch) bool {
	for i := range b.known {
		if b.known[i].CompareAndSwap(leapt, s) {
			return true
		}
	}
	if leapt == nil {
		b.known[b.turn.Add(1)%uint32(len(b.known))].Store(s)
	}
	return leapt == nil
}

// remember makes s known, found by a scan that leapt over the part of it that was known, if any.
func (db *DB) remember(s, leapt *stretch) {
	if !db.barren.place(s, leapt) {
		return
	}
	// Of the values put there after s.seq, those are taken note of in put that come to a memtable from
	// now on, and those before are in memtables.
	put := false
	if leapt == nil {
		put = db.putSince(s.lower, s.upper, s.seq)
	} else {
		put = db.putSince(s.lower, leapt.lower, s.seq) || db.putSince(leapt.upper, s.upper, s.seq)
	}
	if put {
		for i := range db.barren.known {
			db.barren.known[i].CompareAndSwap(s, nil)
		}
		return
	}
	s.sound.Store(true)
}

// putSince reports whether a key of [lower, upper) was or may have been given a value after sequence
// number at, by an entry that is in a memtable now or by Ingest.
func (db *DB) putSince(lower, upper []byte, at uint64) bool {
	v, inTables, err := db.pinSince()
	if err != nil {
		return true
	}
	defer v.unref()
	if inTables > at || v.mem.putSince(lower, upper, at) {
		return true
	}
	for _, m := range v.sealed {
		if m.lastSeq > at && m.putSince(lower, upper, at) {
			return true
		}
	}
	return false
}

func (m *memory) putSince(lower, upper []byte, at uint64) bool {
	it := m.NewIterator()
	defer it.Close()
	for ok := it.SeekGE(ikey.Seek(lower, ikey.MaxSeq)); ok && bytes.Compare(it.Key().User, upper) < 0; ok = it.Next() {
		if k := it.Key(); k.Seq() > at && k.Kind() != ikey.KindDelete {
			return true
		}
	}
	return false
}

// walk is a way of an iterator through keys of which none was live.
type walk struct {
	from  []byte   // where it began
	dead  int      // how many keys it met
	leapt *stretch // over which it leapt, nil for none; the next such begins a new walk
}

// passDead moves in from the current key, which is not live, to a key behind it and behind what is
// known to be barren.
func (it *Iterator) passDead() bool {
	w := &it.walk
	if w.dead++; w.dead == 1 && w.leapt == nil {
		w.from = append(w.from[:0], it.key...)
	}
	if w.dead%it.db.opts.tuning.patience != 0 {
		return it.pass()
	}
	s := it.db.barren.covering(it.key, it.at, it.now)
	if s == nil {
		return it.pass()
	}
	if w.leapt != nil {
		it.walked(it.key)
		w.dead = 0
	}
	if w.dead == 0 || bytes.Compare(s.lower, w.from) < 0 {
		w.from = append(w.from[:0], s.lower...)
	}
	w.leapt = s
	if invariants.Enabled {
		it.checkBarren(s)
	}
	return it.in.SeekGE(ikey.Seek(it.ownTarget(s.upper), it.at))
}

// walked says that the walk has come as far as end, and has met no live key before.
func (it *Iterator) walked(end []byte) {
	w := &it.walk
	if w.dead >= worthPatience*it.db.opts.tuning.patience {
		it.db.remember(&stretch{lower: bytes.Clone(w.from), upper: bytes.Clone(end), seq: it.at, now: it.now}, w.leapt)
	}
}

// worthPatience is how many times the patience of a scan makes a stretch worth remembering.
const worthPatience = 8

// checkBarren walks through what is left of s.
func (it *Iterator) checkBarren(s *stretch) {
	for it.in.Valid() && bytes.Compare(it.in.Key().User, s.upper) < 0 {
		k := it.in.Key()
		if k.Seq() > it.at {
			it.in.Next()
			continue
		}
		it.key = append(it.key[:0], k.User...)
		live, err := it.accept(k, it.in.Value())
		invariants.Check(err != nil || !live, "%q is live at %d, but lies in a barren stretch %q..%q of %d", it.key, it.at, s.lower, s.upper, s.seq)
		it.pass()
	}
}
