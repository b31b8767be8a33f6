package block

import (
	"encoding/binary"

	"github.com/cambiumdb/cambium/internal/ikey"
)

// IndexBuilder collects a handle for each data block under a separator: a key at or after the
// block's last and before the next block's first. It stores user keys, and falls back to
// internal keys for the whole index when two neighbouring blocks share a user key.
type IndexBuilder struct {
	entries  []indexEntry
	keys     []byte // separators, encoded as internal keys
	internal bool
	userLen  int // bytes of user keys
}

type indexEntry struct {
	end    int // of the separator in keys
	handle Handle
}

// Add appends the block at h, whose last key is last; next is the first key of the block
// behind it, nil at the end of the table. It copies the keys.
func (b *IndexBuilder) Add(last []byte, next []byte, h Handle) {
	n := len(last) - ikey.TrailerLen
	start := len(b.keys)
	shortened := false
	if next != nil {
		m := len(next) - ikey.TrailerLen
		if string(last[:n]) == string(next[:m]) {
			b.internal = true
		}
		b.keys, shortened = ikey.Separator(b.keys, last[:n], next[:m])
	} else {
		b.keys = append(b.keys, last[:n]...)
	}
	b.userLen += len(b.keys) - start
	if shortened {
		t := ikey.MakeTrailer(ikey.MaxSeq, ikey.KindSeparator)
		b.keys = binary.LittleEndian.AppendUint64(b.keys, uint64(t))
	} else {
		b.keys = append(b.keys, last[n:]...)
	}
	b.entries = append(b.entries, indexEntry{end: len(b.keys), handle: h})
}

// Len is the number of handles.
func (b *IndexBuilder) Len() int { return len(b.entries) }

// EstimatedSize is about the length in bytes of the finished block.
func (b *IndexBuilder) EstimatedSize() int {
	n := b.userLen + 13*len(b.entries) + 8
	if b.internal {
		n += ikey.TrailerLen * len(b.entries)
	}
	return n
}

// Finish appends the index block to dst: value-delta-encoded, each entry a restart (and so with
// its full handle). userKeys tells whether the keys are user keys.
func (b *IndexBuilder) Finish(dst []byte) (out []byte, userKeys bool) {
	cut := ikey.TrailerLen
	if b.internal {
		cut = 0
	}
	base := len(dst)
	dst = grow(dst, b.EstimatedSize())
	restarts := make([]uint32, 0, max(len(b.entries), 1))
	start := 0
	for _, e := range b.entries {
		restarts = append(restarts, uint32(len(dst)-base))
		key := b.keys[start : e.end-cut]
		dst = append(dst, 0)
		dst = binary.AppendUvarint(dst, uint64(len(key)))
		dst = append(dst, key...)
		dst = e.handle.Encode(dst)
		start = e.end
	}
	if len(restarts) == 0 {
		restarts = append(restarts, 0)
	}
	for _, r := range restarts {
		dst = binary.LittleEndian.AppendUint32(dst, r)
	}
	return binary.LittleEndian.AppendUint32(dst, uint32(len(restarts))), !b.internal
}
