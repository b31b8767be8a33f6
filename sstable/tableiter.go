package sstable

import (
	"sync"

	"github.com/cambiumdb/cambium/internal/cache"
	"github.com/cambiumdb/cambium/internal/ikey"
	"github.com/cambiumdb/cambium/internal/iterator"
	"github.com/cambiumdb/cambium/sstable/block"
)

// IterOptions adjusts an iterator over a table.
type IterOptions struct {
	// Compaction reads 1 MiB at a time into a buffer of the iterator, past the cache.
	Compaction bool
	// NoFill leaves the cache as it is; blocks that are in it are used.
	NoFill bool
	// Lower and Upper are where the caller will stop; nil is open. They only bound reading
	// ahead: the iterator itself is not bounded. It keeps no reference to them.
	Lower, Upper []byte
	// OnBlock, when not nil, hears of each block that Compaction reads, when the iterator comes to
	// its first entry. What it gets is valid during the call.
	OnBlock func(b Block)
}

// Block is a data block of a table.
type Block struct {
	First  ikey.Key     // of its entries
	Raw    []byte       // what it holds
	Stored block.Stored // and how it is stored
}

// tableIter implements iterator.Iterator over one table. Its working state is pooled.
type tableIter struct {
	*iterState
	err  error
	edge edge
}

// edge says where an iterator without an entry stands.
type edge uint8

const (
	edgeNone  edge = iota // on an entry, or not positioned
	edgeEnd               // behind the last entry
	edgeStart             // before the first
)

// iterState is the pooled part of an iterator: its buffers survive it.
type iterState struct {
	r       *Reader
	opts    IterOptions
	index   indexCursor
	data    block.Iter
	blk     *cache.Handle // pins data's block, unless that is private
	ahead   block.Readahead
	scratch []byte
	raw     []byte // the current block, where that is private, for OnBlock
	stored  block.Stored
}

// maxKeptScratch bounds the buffer that a pooled iterator keeps, in bytes.
const maxKeptScratch = 1 << 20

var iterStates = sync.Pool{New: func() any { return new(iterState) }}

// NewIterator returns an iterator over the table's point entries. The reader must stay open
// until the iterator is closed.
func (r *Reader) NewIterator(o IterOptions) iterator.Iterator {
	s := iterStates.Get().(*iterState)
	s.r, s.opts = r, o
	it := &tableIter{iterState: s}
	it.err = s.index.init(r)
	s.ahead.Limit = r.dataEnd
	if o.Compaction {
		s.ahead.SetSize(block.CompactionReadahead)
	} else {
		s.ahead.SetAdaptive()
	}
	if o.Upper != nil && !s.index.two && s.index.seekGE(o.Upper, ikey.MakeTrailer(ikey.MaxSeq, ikey.KindSeek)) {
		s.ahead.Limit = min(s.ahead.Limit, int64(s.index.handle().End()))
	}
	s.opts.Lower, s.opts.Upper = nil, nil
	return it
}

// open makes the block that the index is on current.
func (it *tableIter) open() bool {
	it.closeBlock()
	h := it.index.handle()
	var data []byte
	var err error
	if it.opts.Compaction {
		data, it.stored, err = it.r.quiet.ReadStored(h, &it.ahead, &it.scratch)
		it.raw = data
	} else {
		it.ahead.Note(h)
		var b *cache.Handle
		b, err = it.r.src.Read(h, block.ReadOptions{Priority: cache.Low, NoFill: it.opts.NoFill, Data: true, Ahead: &it.ahead})
		if err == nil {
			it.blk, data = b, b.Bytes()
		}
	}
	if err == nil {
		err = it.r.initData(&it.data, data, h)
	}
	if err != nil {
		it.err = err
		return false
	}
	return true
}

func (s *iterState) closeBlock() {
	s.data.Reset()
	if s.blk != nil {
		s.blk.Release()
		s.blk = nil
	}
}

// start begins an absolute positioning call.
func (it *tableIter) start() bool {
	if it.iterState == nil {
		return false
	}
	it.err, it.edge = nil, edgeNone
	it.closeBlock()
	return true
}

// fail takes over an error of the index or the block, and says where the iterator ends up
// otherwise.
func (it *tableIter) exhausted(e edge) bool {
	if it.err == nil {
		if it.err = it.index.err(); it.err == nil {
			it.err = it.data.Err()
		}
	}
	if it.err == nil {
		it.edge = e
	}
	return false
}

// forward enters the first entry of the blocks from the index's place on.
func (it *tableIter) forward(ok bool) bool {
	for ; ok; ok = it.index.next() {
		if !it.open() {
			return false
		}
		if it.data.First() {
			it.edge = edgeNone
			if it.opts.OnBlock != nil && it.opts.Compaction {
				it.opts.OnBlock(Block{First: it.data.Key(), Raw: it.raw, Stored: it.stored})
			}
			return true
		}
		if it.data.Err() != nil {
			break
		}
	}
	return it.exhausted(edgeEnd)
}

// backward enters the last entry of the blocks from the index's place back.
func (it *tableIter) backward(ok bool) bool {
	for ; ok; ok = it.index.prev() {
		if !it.open() {
			return false
		}
		if it.data.Last() {
			it.edge = edgeNone
			return true
		}
		if it.data.Err() != nil {
			break
		}
	}
	return it.exhausted(edgeStart)
}

// First moves to the first entry.
func (it *tableIter) First() bool {
	return it.start() && it.forward(it.index.first())
}

// Last moves to the last entry.
func (it *tableIter) Last() bool {
	return it.start() && it.backward(it.index.last())
}

// SeekGE moves to the first entry at or after target.
func (it *tableIter) SeekGE(target ikey.Key) bool {
	if !it.start() {
		return false
	}
	if !it.index.seekGE(target.User, target.Trailer) {
		return it.exhausted(edgeEnd)
	}
	if !it.open() {
		return false
	}
	if it.data.SeekGE(target.User, target.Trailer) {
		return true
	}
	if it.data.Err() != nil {
		return it.exhausted(edgeEnd)
	}
	return it.forward(it.index.next())
}

// SeekLT moves to the last entry before target.
func (it *tableIter) SeekLT(target ikey.Key) bool {
	if !it.start() {
		return false
	}
	if !it.index.seekGE(target.User, target.Trailer) {
		if it.index.err() != nil {
			return it.exhausted(edgeStart)
		}
		return it.backward(it.index.last())
	}
	if !it.open() {
		return false
	}
	if it.data.SeekLT(target.User, target.Trailer) {
		return true
	}
	if it.data.Err() != nil {
		return it.exhausted(edgeStart)
	}
	return it.backward(it.index.prev())
}

// Next moves to the next entry.
func (it *tableIter) Next() bool {
	if it.iterState == nil {
		return false
	}
	if it.data.Valid() {
		if it.data.Next() {
			return true
		}
		if it.data.Err() != nil {
			return it.exhausted(edgeEnd)
		}
		return it.forward(it.index.next())
	}
	return it.err == nil && it.edge == edgeStart && it.First()
}

// Prev moves to the entry before.
func (it *tableIter) Prev() bool {
	if it.iterState == nil {
		return false
	}
	if it.data.Valid() {
		if it.data.Prev() {
			return true
		}
		if it.data.Err() != nil {
			return it.exhausted(edgeStart)
		}
		return it.backward(it.index.prev())
	}
	return it.err == nil && it.edge == edgeEnd && it.Last()
}

// Valid reports whether the iterator is on an entry.
func (it *tableIter) Valid() bool { return it.iterState != nil && it.data.Valid() }

// Key is the current key.
func (it *tableIter) Key() ikey.Key { return it.data.Key() }

// Value is the current value.
func (it *tableIter) Value() []byte { return it.data.Value() }

// Err is what stopped the iterator, nil at the end of the table.
func (it *tableIter) Err() error { return it.err }

// Close unpins the block and gives the buffers back. A second Close does nothing.
func (it *tableIter) Close() error {
	s := it.iterState
	if s == nil {
		return nil
	}
	it.iterState = nil
	s.closeBlock()
	s.index.reset()
	s.ahead.Close()
	s.r, s.opts, s.raw, s.stored = nil, IterOptions{}, nil, block.Stored{}
	if cap(s.scratch) > maxKeptScratch {
		s.scratch = nil
	}
	iterStates.Put(s)
	return nil
}
