package block

import (
	"bytes"
	"encoding/binary"

	"github.com/cambiumdb/cambium/internal/ikey"
)

// IndexFormat says how an index block is encoded; table properties hold it.
type IndexFormat struct {
	UserKeys   bool // rocksdb.index.key.is.user.key
	DeltaValue bool // rocksdb.index.value.is.delta.encoded
	FirstKey   bool // index type 3: the first internal key of the block follows the handle
}

// IndexIter walks an index block: separators and handles. The zero value is ready for Init.
type IndexIter struct {
	layout
	format    IndexFormat
	off, next int
	key       []byte
	handle    Handle
	firstKey  []byte
	valid     bool
	err       error
}

// Init points the iterator at data, which must stay unchanged until the next Init or Reset.
func (i *IndexIter) Init(data []byte, f IndexFormat, origin Origin) error {
	i.Reset()
	i.format = f
	i.err = i.parse(data, origin)
	if i.err != nil {
		i.layout = layout{origin: origin}
	}
	return i.err
}

// Reset drops the block and keeps the buffers.
func (i *IndexIter) Reset() {
	*i = IndexIter{key: i.key[:0]}
}

// Valid reports whether the iterator is on an entry.
func (i *IndexIter) Valid() bool { return i.valid }

// Key is the separator as stored: a user key or an encoded internal key. It is valid until
// the iterator moves.
func (i *IndexIter) Key() []byte { return i.key }

// User is the separator's user key.
func (i *IndexIter) User() []byte {
	if i.format.UserKeys {
		return i.key
	}
	return i.key[:len(i.key)-ikey.TrailerLen]
}

// Handle is the block that the current entry points to.
func (i *IndexIter) Handle() Handle { return i.handle }

// FirstKey is the encoded first key of that block where the format stores it, else nil.
func (i *IndexIter) FirstKey() []byte { return i.firstKey }

// Err is the corruption that stopped the iterator, if any.
func (i *IndexIter) Err() error { return i.err }

func (i *IndexIter) fail(format string, args ...any) bool {
	if i.err == nil {
		i.err = i.origin.Errorf("index: "+format, args...)
	}
	i.valid = false
	return false
}

func (i *IndexIter) exhaust() bool {
	i.off, i.next, i.valid = i.end, i.end, false
	return false
}

// header decodes the lengths at off: the key's place and where its value starts.
func (i *IndexIter) header(off int) (shared, keyAt, valAt int, ok bool) {
	if !i.format.DeltaValue {
		e, ok := i.entryAt(off)
		return e.shared, e.keyAt, e.valAt, ok
	}
	d := i.data[:i.end]
	if off < 0 || off >= len(d) {
		return 0, 0, 0, false
	}
	s, n := uvarint32(d, off)
	if n == 0 {
		return 0, 0, 0, false
	}
	u, n := uvarint32(d, n)
	if n == 0 || uint64(u) > uint64(len(d)-n) {
		return 0, 0, 0, false
	}
	return int(s), n, n + int(u), true
}

// load makes the entry at off current; key and handle are those of the entry before it,
// unless off is a restart.
func (i *IndexIter) load(off int) bool {
	shared, keyAt, valAt, ok := i.header(off)
	if !ok || shared > len(i.key) {
		return i.fail("bad entry at byte %d of %d", off, i.end)
	}
	i.key = append(i.key[:shared], i.data[keyAt:valAt]...)
	if !i.format.UserKeys && len(i.key) < ikey.TrailerLen {
		return i.fail("key of %d bytes at byte %d", len(i.key), off)
	}
	v := i.data[valAt:i.end]
	used := 0
	if i.format.DeltaValue && shared > 0 {
		delta, n := binary.Varint(v)
		if n <= 0 {
			return i.fail("bad handle at byte %d", valAt)
		}
		i.handle = Handle{Offset: i.handle.End(), Size: i.handle.Size + uint64(delta)}
		used = n
	} else {
		h, n := DecodeHandle(v)
		if n == 0 {
			return i.fail("bad handle at byte %d", valAt)
		}
		i.handle, used = h, n
	}
	i.firstKey = nil
	if i.format.FirstKey {
		l, n := uvarint32(v, used)
		if n == 0 || uint64(l) > uint64(len(v)-n) || l < ikey.TrailerLen {
			return i.fail("bad first key at byte %d", valAt+used)
		}
		i.firstKey = v[n : n+int(l)]
		used = n + int(l)
	}
	i.off, i.next, i.valid = off, valAt+used, true
	return true
}

func (i *IndexIter) loadRestart(r int) bool {
	i.key = i.key[:0]
	return i.load(i.restart(r))
}

// First moves to the first entry.
func (i *IndexIter) First() bool {
	if i.err != nil || i.end == 0 {
		return i.exhaust()
	}
	i.key = i.key[:0]
	return i.load(0)
}

// Next moves to the next entry.
func (i *IndexIter) Next() bool {
	if !i.valid {
		return false
	}
	if i.next >= i.end {
		return i.exhaust()
	}
	return i.load(i.next)
}

// Last moves to the last entry.
func (i *IndexIter) Last() bool {
	if i.err != nil || i.end == 0 {
		return i.exhaust()
	}
	return i.before(i.end)
}

// Prev moves to the entry before.
func (i *IndexIter) Prev() bool {
	if !i.valid {
		return false
	}
	return i.before(i.off)
}

// before makes the entry that ends at off current.
func (i *IndexIter) before(off int) bool {
	if off == 0 {
		return i.exhaust()
	}
	r := i.restartBefore(off)
	if r < 0 {
		return i.fail("no restart before byte %d", off)
	}
	for ok := i.loadRestart(r); ok; ok = i.load(i.next) {
		if i.next == off {
			return true
		}
		if i.next > off {
			return i.fail("entry at byte %d runs over byte %d", i.off, off)
		}
	}
	return false
}

// SeekGE moves to the first entry whose separator is at or after (user, t): the only block
// that can hold the first entry at or after it.
func (i *IndexIter) SeekGE(user []byte, t ikey.Trailer) bool {
	if i.err != nil || i.end == 0 {
		return i.exhaust()
	}
	lo, hi := 0, i.restarts // restarts below lo are below the target, from hi on they are not
	for lo < hi {
		mid := int(uint(lo+hi) >> 1)
		shared, keyAt, valAt, ok := i.header(i.restart(mid))
		if !ok || shared != 0 || (!i.format.UserKeys && valAt-keyAt < ikey.TrailerLen) {
			return i.fail("bad entry at restart %d, byte %d of %d", mid, i.restart(mid), i.end)
		}
		if i.less(i.data[keyAt:valAt], user, t) {
			lo = mid + 1
		} else {
			hi = mid
		}
	}
	if lo == 0 {
		return i.loadRestart(0)
	}
	// The entry may lie inside the run of restart lo-1, unless that run is a single entry.
	end := i.end
	if lo < i.restarts {
		end = i.restart(lo)
	}
	if i.single(i.restart(lo-1), end) {
		if lo == i.restarts {
			return i.exhaust()
		}
		return i.loadRestart(lo)
	}
	for ok := i.loadRestart(lo - 1); ok; {
		if i.next >= i.end {
			return i.exhaust()
		}
		if ok = i.load(i.next); ok && !i.less(i.key, user, t) {
			return true
		}
	}
	return false
}

// single reports whether the run that starts at off is one entry, which ends at end.
func (i *IndexIter) single(off, end int) bool {
	shared, _, valAt, ok := i.header(off)
	if !ok || shared != 0 || i.format.FirstKey {
		return false
	}
	_, n := DecodeHandle(i.data[valAt:i.end])
	return n > 0 && valAt+n == end
}

// less reports whether the stored separator k sorts before the target.
func (i *IndexIter) less(k []byte, user []byte, t ikey.Trailer) bool {
	if i.format.UserKeys {
		return bytes.Compare(k, user) < 0
	}
	n := len(k) - ikey.TrailerLen
	return less(k[:n], ikey.Trailer(binary.LittleEndian.Uint64(k[n:])), user, t)
}
