package compaction

import (
	"bytes"

	"github.com/cambiumdb/cambium/internal/ikey"
	"github.com/cambiumdb/cambium/sstable"
	"github.com/cambiumdb/cambium/sstable/block"
)

// reuse spares a merge most of its compressing where the output level is much larger than what is
// merged into it: a block that comes out of the merge with the bytes that it went in with is
// written as it was stored. Every entry still passes through the merge, so what may go goes, and
// counts and filters are what they are without. For a block to come out as it went in, the
// output's has to begin where the input's began: there the output ends its block, if that is half full.
//
// It belongs to one merge and knows the blocks of the output level only: what comes from above was
// compressed otherwise, or is less.
type reuse struct {
	compression block.Compression
	last        blockCopy // the block that the iterator is in
	before      blockCopy // the block before: that of the entries which the output ends with
	blocks      int       // that were used again
}

// blockCopy is a block in memory that is used again.
type blockCopy struct {
	first        ikey.Key
	raw, payload []byte
}

// newReuse returns nil where blocks are not compressed: there is nothing to spare.
func newReuse(c block.Compression) *reuse {
	if c == block.None {
		return nil
	}
	return &reuse{compression: c}
}

// note remembers the block that an iterator came to.
func (r *reuse) note(b sstable.Block) {
	r.last, r.before = r.before, r.last
	c := &r.last
	c.first = ikey.Key{User: append(c.first.User[:0], b.First.User...), Trailer: b.First.Trailer}
	c.raw, c.payload = c.raw[:0], c.payload[:0]
	if b.Stored.Compression == r.compression && !b.Stored.Dict {
		c.raw, c.payload = append(c.raw, b.Raw...), append(c.payload, b.Stored.Payload...)
	}
}

// begins reports whether a block began with key.
func (r *reuse) begins(key ikey.Key) bool {
	return r != nil && key.Trailer == r.last.first.Trailer && bytes.Equal(key.User, r.last.first.User)
}

// find returns how a block of the content raw was stored.
func (r *reuse) find(raw []byte) (payload []byte, ok bool) {
	for _, c := range []*blockCopy{&r.before, &r.last} {
		if bytes.Equal(c.raw, raw) && len(raw) > 0 {
			r.blocks++
			return c.payload, true
		}
	}
	return nil, false
}

func (r *reuse) used() int {
	if r == nil {
		return 0
	}
	return r.blocks
}
