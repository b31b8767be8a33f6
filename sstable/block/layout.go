package block

import (
	"bytes"
	"encoding/binary"

	"github.com/cambiumdb/cambium/internal/corrupt"
	"github.com/cambiumdb/cambium/internal/ikey"
)

// Origin says where a block came from, for errors.
type Origin struct {
	File   string
	Offset int64
}

// Errorf makes a corrupt.Error for the block.
func (o Origin) Errorf(format string, args ...any) error {
	return corrupt.Errorf(o.File, o.Offset, format, args...)
}

// layout is the split of an uncompressed block into entries, restarts and hash index.
type layout struct {
	data     []byte // the whole block
	end      int    // of the entries, and start of the restarts
	restarts int    // their number, at least 1
	hashAt   int    // start of the hash index's buckets
	buckets  int    // 0 = no hash index
	origin   Origin
}

// parse splits data. It reads nothing outside data whatever the bytes are.
func (l *layout) parse(data []byte, origin Origin) error {
	*l = layout{data: data, origin: origin}
	if len(data) < 4 {
		return origin.Errorf("block of %d bytes has no footer", len(data))
	}
	word := binary.LittleEndian.Uint32(data[len(data)-4:])
	n, limit := int64(word), int64(len(data)-4)
	if word&hashIndexBit != 0 && len(data) <= hashMaxBlock {
		n = int64(word &^ hashIndexBit)
		if limit < 2 {
			return origin.Errorf("block of %d bytes has no room for its hash index", len(data))
		}
		l.buckets = int(binary.LittleEndian.Uint16(data[limit-2:]))
		limit -= 2 + int64(l.buckets)
		l.hashAt = int(limit)
		if limit < 0 || l.buckets == 0 {
			return origin.Errorf("hash index of %d buckets in a block of %d bytes", l.buckets, len(data))
		}
	}
	if n*4 > limit {
		return origin.Errorf("%d restarts in a block of %d bytes", n, len(data))
	}
	l.restarts = int(n)
	l.end = int(limit - n*4)
	if n == 0 && l.end > 0 {
		return origin.Errorf("no restart for %d bytes of entries", l.end)
	}
	return nil
}

// restart returns the offset of restart i; it may lie anywhere.
func (l *layout) restart(i int) int {
	return int(binary.LittleEndian.Uint32(l.data[l.end+4*i:]))
}

// entry is one decoded entry header; key suffix and value are data[keyAt:keyAt+unshared] and
// data[valAt:next].
type entry struct {
	shared, keyAt, valAt, next int
}

// entryAt decodes the entry at off. ok is false when it does not lie inside the entries.
func (l *layout) entryAt(off int) (e entry, ok bool) {
	d := l.data[:l.end]
	if off < 0 || off >= len(d) {
		return entry{}, false
	}
	var shared, unshared, vlen uint32
	i := off
	if len(d)-off >= 3 && d[off]|d[off+1]|d[off+2] < 0x80 {
		shared, unshared, vlen = uint32(d[off]), uint32(d[off+1]), uint32(d[off+2])
		i = off + 3
	} else {
		if shared, i = uvarint32(d, i); i == 0 {
			return entry{}, false
		}
		if unshared, i = uvarint32(d, i); i == 0 {
			return entry{}, false
		}
		if vlen, i = uvarint32(d, i); i == 0 {
			return entry{}, false
		}
	}
	if uint64(unshared)+uint64(vlen) > uint64(len(d)-i) {
		return entry{}, false
	}
	valAt := i + int(unshared)
	return entry{shared: int(shared), keyAt: i, valAt: valAt, next: valAt + int(vlen)}, true
}

// restartKey returns the whole key at restart i, aliasing the block.
func (l *layout) restartKey(i int) ([]byte, bool) {
	e, ok := l.entryAt(l.restart(i))
	if !ok || e.shared != 0 {
		return nil, false
	}
	return l.data[e.keyAt:e.valAt], true
}

// restartBefore returns the last restart whose offset is below off, or -1.
func (l *layout) restartBefore(off int) int {
	lo, hi := 0, l.restarts
	for lo < hi {
		mid := int(uint(lo+hi) >> 1)
		if l.restart(mid) < off {
			lo = mid + 1
		} else {
			hi = mid
		}
	}
	return lo - 1
}

// bucket looks user up in the hash index.
func (l *layout) bucket(user []byte) uint8 {
	return l.data[l.hashAt+int(rocksHash(user, hashSeed)%uint32(l.buckets))]
}

// less reports whether the encoded key b sorts before (user, trailer).
func less(b []byte, trailer ikey.Trailer, user []byte, target ikey.Trailer) bool {
	if c := bytes.Compare(b, user); c != 0 {
		return c < 0
	}
	return trailer > target
}
