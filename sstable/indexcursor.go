package sstable

import (
	"github.com/cambiumdb/cambium/internal/cache"
	"github.com/cambiumdb/cambium/internal/ikey"
	"github.com/cambiumdb/cambium/sstable/block"
)

// indexCursor walks the handles of a table's data blocks, over one level of index or two. The
// zero value is ready for init.
type indexCursor struct {
	r       *Reader
	top     block.IndexIter
	part    block.IndexIter // of a partitioned index
	partRef *cache.Handle   // pins part's block
	two     bool
	failed  error
}

func (c *indexCursor) init(r *Reader) error {
	c.reset()
	c.r, c.two = r, r.props.IndexType == indexPartitioned
	return c.top.Init(r.index.Bytes(), r.topFormat(), r.indexOff)
}

// reset unpins everything.
func (c *indexCursor) reset() {
	c.unload()
	c.top.Reset()
	c.failed, c.r = nil, nil
}

func (c *indexCursor) unload() {
	c.part.Reset()
	if c.partRef != nil {
		c.partRef.Release()
		c.partRef = nil
	}
}

// load opens the partition that top is on.
func (c *indexCursor) load() bool {
	c.unload()
	if !c.top.Valid() {
		return false
	}
	h := c.top.Handle()
	b, err := c.r.src.Read(h, block.ReadOptions{Priority: cache.High})
	if err != nil {
		c.failed = err
		return false
	}
	c.partRef = b
	if err := c.part.Init(b.Bytes(), c.r.format, c.r.src.Origin(h)); err != nil {
		c.failed = err
		return false
	}
	return true
}

func (c *indexCursor) err() error {
	switch {
	case c.failed != nil:
		return c.failed
	case c.top.Err() != nil:
		return c.top.Err()
	}
	return c.part.Err()
}

// low is the iterator that has the handles of data blocks.
func (c *indexCursor) low() *block.IndexIter {
	if c.two {
		return &c.part
	}
	return &c.top
}

func (c *indexCursor) handle() block.Handle { return c.low().Handle() }
func (c *indexCursor) user() []byte         { return c.low().User() }

// seekGE moves to the first block whose separator is at or after (user, t).
func (c *indexCursor) seekGE(user []byte, t ikey.Trailer) bool {
	c.failed = nil
	ok := c.top.SeekGE(user, t)
	if !c.two {
		return ok
	}
	if !ok {
		c.unload()
		return false
	}
	if !c.load() {
		return false
	}
	if c.part.SeekGE(user, t) {
		return true
	}
	return c.part.Err() == nil && c.nextPart()
}

func (c *indexCursor) first() bool {
	c.failed = nil
	ok := c.top.First()
	if !c.two {
		return ok
	}
	return c.forward(ok)
}

func (c *indexCursor) last() bool {
	c.failed = nil
	ok := c.top.Last()
	if !c.two {
		return ok
	}
	return c.backward(ok)
}

func (c *indexCursor) next() bool {
	if !c.two {
		return c.top.Next()
	}
	if c.part.Next() {
		return true
	}
	return c.err() == nil && c.nextPart()
}

func (c *indexCursor) prev() bool {
	if !c.two {
		return c.top.Prev()
	}
	if c.part.Prev() {
		return true
	}
	return c.err() == nil && c.backward(c.top.Prev())
}

func (c *indexCursor) nextPart() bool { return c.forward(c.top.Next()) }

// forward enters the first partition from top on that is not empty.
func (c *indexCursor) forward(ok bool) bool {
	for ; ok; ok = c.top.Next() {
		if !c.load() {
			return false
		}
		if c.part.First() {
			return true
		}
		if c.part.Err() != nil {
			return false
		}
	}
	c.unload()
	return false
}

// backward enters the last partition from top back that is not empty.
func (c *indexCursor) backward(ok bool) bool {
	for ; ok; ok = c.top.Prev() {
		if !c.load() {
			return false
		}
		if c.part.Last() {
			return true
		}
		if c.part.Err() != nil {
			return false
		}
	}
	c.unload()
	return false
}
