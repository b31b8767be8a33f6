package block

import (
	"bytes"
	"encoding/binary"

	"github.com/cambiumdb/cambium/internal/ikey"
)

// Iter walks a data block, whose keys are encoded internal keys. The zero value is ready for
// Init; reusing one Iter for many blocks allocates nothing once its buffers have grown.
//
// It follows iterator.Iterator, except that an exhausted Iter does not turn round.
type Iter struct {
	layout
	off, next int // of the current entry; off == end when exhausted
	buf       []byte
	val       []byte
	key       ikey.Key
	valid     bool
	global    uint64 // sequence number + 1 that replaces each entry's; 0 = none
	err       error

	// run caches the entries before off, back to their restart, for Prev.
	run     []runEntry
	runKeys []byte
}

type runEntry struct {
	off, valAt, next int
	keyEnd           int // in runKeys; the key starts where the one before ends
}

// Init points the iterator at data, which must stay unchanged until the next Init or Reset.
// The iterator is not positioned.
func (i *Iter) Init(data []byte, origin Origin) error {
	i.Reset()
	i.err = i.parse(data, origin)
	if i.err != nil {
		i.layout = layout{origin: origin}
	}
	return i.err
}

// SetGlobalSeq makes every key carry seq: the table was ingested.
func (i *Iter) SetGlobalSeq(seq uint64) { i.global = seq + 1 }

// Reset drops the block and keeps the buffers.
func (i *Iter) Reset() {
	i.layout = layout{}
	i.off, i.next = 0, 0
	i.val, i.key, i.valid, i.err = nil, ikey.Key{}, false, nil
	i.global = 0
	i.run, i.runKeys = i.run[:0], i.runKeys[:0]
}

// Valid reports whether the iterator is on an entry.
func (i *Iter) Valid() bool { return i.valid }

// Key is the current key; it is valid until the iterator moves.
func (i *Iter) Key() ikey.Key { return i.key }

// Value is the current value; it aliases the block.
func (i *Iter) Value() []byte { return i.val }

// Err is the corruption that stopped the iterator, if any.
func (i *Iter) Err() error { return i.err }

func (i *Iter) fail(format string, args ...any) bool {
	if i.err == nil {
		i.err = i.origin.Errorf(format, args...)
	}
	i.valid = false
	return false
}

func (i *Iter) exhaust() bool {
	i.off, i.next, i.valid = i.end, i.end, false
	return false
}

// load makes the entry at off current. buf must hold the key of the entry before it, unless
// off is a restart.
func (i *Iter) load(off int) bool {
	e, ok := i.entryAt(off)
	if !ok {
		return i.fail("bad entry at byte %d of %d", off, i.end)
	}
	if e.shared > len(i.buf) {
		return i.fail("entry at byte %d shares %d bytes with a key of %d", off, e.shared, len(i.buf))
	}
	i.buf = append(i.buf[:e.shared], i.data[e.keyAt:e.valAt]...)
	return i.set(off, e.valAt, e.next)
}

// set makes the entry with key buf current.
func (i *Iter) set(off, valAt, next int) bool {
	n := len(i.buf) - ikey.TrailerLen
	if n < 0 {
		return i.fail("key of %d bytes at byte %d", len(i.buf), off)
	}
	t := ikey.Trailer(binary.LittleEndian.Uint64(i.buf[n:]))
	if i.global != 0 {
		t = ikey.MakeTrailer(i.global-1, t.Kind())
	}
	i.key = ikey.Key{User: i.buf[:n:n], Trailer: t}
	i.val = i.data[valAt:next:next]
	i.off, i.next, i.valid = off, next, true
	return true
}

// loadRestart makes the entry at restart r current.
func (i *Iter) loadRestart(r int) bool {
	i.run = i.run[:0]
	i.buf = i.buf[:0]
	return i.load(i.restart(r))
}

// First moves to the first entry.
func (i *Iter) First() bool {
	if i.err != nil || i.end == 0 {
		return i.exhaust()
	}
	i.run = i.run[:0]
	i.buf = i.buf[:0]
	return i.load(0)
}

// Next moves to the next entry.
func (i *Iter) Next() bool {
	if !i.valid {
		return false
	}
	i.run = i.run[:0]
	if i.next >= i.end {
		return i.exhaust()
	}
	return i.load(i.next)
}

// Last moves to the last entry.
func (i *Iter) Last() bool {
	if i.err != nil || i.end == 0 {
		return i.exhaust()
	}
	return i.before(i.end)
}

// Prev moves to the entry before.
func (i *Iter) Prev() bool {
	if !i.valid {
		return false
	}
	return i.before(i.off)
}

// before makes the entry that ends at off current.
func (i *Iter) before(off int) bool {
	if off == 0 {
		return i.exhaust()
	}
	if len(i.run) == 0 && !i.fillRun(off) {
		return false
	}
	n := len(i.run) - 1
	e := i.run[n]
	start := 0
	if n > 0 {
		start = i.run[n-1].keyEnd
	}
	i.run = i.run[:n]
	i.buf = append(i.buf[:0], i.runKeys[start:e.keyEnd]...)
	return i.set(e.off, e.valAt, e.next)
}

// fillRun decodes the entries from the restart below off up to off.
func (i *Iter) fillRun(off int) bool {
	i.run, i.runKeys = i.run[:0], i.runKeys[:0]
	r := i.restartBefore(off)
	if r < 0 {
		return i.fail("no restart before byte %d", off)
	}
	prev := 0 // start in runKeys of the key before
	for at := i.restart(r); at != off; {
		e, ok := i.entryAt(at)
		have := len(i.runKeys) - prev
		if !ok || e.next > off || e.shared > have {
			i.run = i.run[:0]
			return i.fail("bad entry at byte %d of %d", at, i.end)
		}
		start := len(i.runKeys)
		i.runKeys = append(i.runKeys, i.runKeys[prev:prev+e.shared]...)
		i.runKeys = append(i.runKeys, i.data[e.keyAt:e.valAt]...)
		i.run = append(i.run, runEntry{off: at, valAt: e.valAt, next: e.next, keyEnd: len(i.runKeys)})
		prev, at = start, e.next
	}
	return true
}

// SeekGE moves to the first entry at or after (user, t).
func (i *Iter) SeekGE(user []byte, t ikey.Trailer) bool {
	if i.err != nil || i.end == 0 {
		return i.exhaust()
	}
	r, ok := i.searchRestart(user, t)
	if !ok {
		return false
	}
	return i.scan(r, user, t)
}

// SeekLT moves to the last entry before (user, t).
func (i *Iter) SeekLT(user []byte, t ikey.Trailer) bool {
	if !i.SeekGE(user, t) {
		if i.err != nil {
			return false
		}
		return i.Last()
	}
	return i.before(i.off)
}

// SeekUser is SeekGE for a point lookup: where the block has a hash index that knows the user
// key is absent, it is exhausted at once.
func (i *Iter) SeekUser(user []byte, t ikey.Trailer) bool {
	if i.buckets == 0 || i.err != nil {
		return i.SeekGE(user, t)
	}
	switch b := i.bucket(user); {
	case b == hashCollision:
		return i.SeekGE(user, t)
	case b == hashEmpty:
		return i.exhaust()
	case int(b) >= i.restarts:
		return i.fail("hash index points at restart %d of %d", b, i.restarts)
	default:
		return i.scan(int(b), user, t)
	}
}

// searchRestart returns the last restart whose key is below the target, or 0.
func (i *Iter) searchRestart(user []byte, t ikey.Trailer) (int, bool) {
	lo, hi := 0, i.restarts-1 // the answer is in [lo, hi]
	for lo < hi {
		mid := int(uint(lo+hi+1) >> 1)
		k, ok := i.restartKey(mid)
		n := len(k) - ikey.TrailerLen
		if !ok || n < 0 {
			return 0, i.fail("bad entry at restart %d, byte %d of %d", mid, i.restart(mid), i.end)
		}
		kt := ikey.Trailer(binary.LittleEndian.Uint64(k[n:]))
		if i.global != 0 {
			kt = ikey.MakeTrailer(i.global-1, kt.Kind())
		}
		if less(k[:n], kt, user, t) {
			lo = mid
		} else {
			hi = mid - 1
		}
	}
	return lo, true
}

// scan walks from restart r to the first entry at or after the target.
func (i *Iter) scan(r int, user []byte, t ikey.Trailer) bool {
	for ok := i.loadRestart(r); ok; {
		switch c := bytes.Compare(i.key.User, user); {
		case c > 0 || (c == 0 && i.key.Trailer <= t):
			return true
		case i.next >= i.end:
			return i.exhaust()
		}
		ok = i.load(i.next)
	}
	return false
}
