package iterator

import (
	"sort"

	"github.com/cambiumdb/cambium/internal/ikey"
)

// Opener opens part i of a concatenation. The result is owned by the caller.
type Opener func(i int) (Iterator, error)

// Concat walks parts that lie one after the other (the tables of a level), with at most one of
// them open at a time.
type Concat struct {
	n      int
	bounds func(i int) (smallest, largest ikey.Key)
	open   Opener

	cur    Iterator // the open part, nil when none is
	opened int      // the number of the open part
	index  int      // the part stood in; -1: before the first; n: past the last
	valid  bool
	placed bool // false: not positioned, or stopped by err
	err    error
}

// NewConcat returns an iterator over n parts whose bounds, both inclusive, ascend and do not
// overlap. A part may hold less than its bounds say, even nothing. A part is opened when it is
// stepped or sought into and closed when another one is opened.
func NewConcat(n int, bounds func(i int) (smallest, largest ikey.Key), open Opener) Iterator {
	return &Concat{n: n, bounds: bounds, open: open}
}

// First goes to the first entry.
func (c *Concat) First() bool {
	c.err = nil
	return c.enter(0) && c.settleForward(c.cur.First())
}

// Last goes to the last entry.
func (c *Concat) Last() bool {
	c.err = nil
	return c.enter(c.n-1) && c.settleBackward(c.cur.Last())
}

// SeekGE goes to the first entry at or after target.
func (c *Concat) SeekGE(target ikey.Key) bool {
	c.err = nil
	i := sort.Search(c.n, func(i int) bool {
		_, largest := c.bounds(i)
		return ikey.Compare(largest, target) >= 0
	})
	return c.enter(i) && c.settleForward(c.cur.SeekGE(target))
}

// SeekLT goes to the last entry before target.
func (c *Concat) SeekLT(target ikey.Key) bool {
	c.err = nil
	i := sort.Search(c.n, func(i int) bool {
		smallest, _ := c.bounds(i)
		return ikey.Compare(smallest, target) >= 0
	})
	return c.enter(i-1) && c.settleBackward(c.cur.SeekLT(target))
}

// Next goes to the entry after the current one.
func (c *Concat) Next() bool {
	switch {
	case !c.placed || c.index >= c.n:
		return false
	case c.index < 0:
		return c.enter(0) && c.settleForward(c.cur.First())
	}
	return c.settleForward(c.cur.Next())
}

// Prev goes to the entry before the current one.
func (c *Concat) Prev() bool {
	switch {
	case !c.placed || c.index < 0:
		return false
	case c.index >= c.n:
		return c.enter(c.n-1) && c.settleBackward(c.cur.Last())
	}
	return c.settleBackward(c.cur.Prev())
}

// settleForward goes on to the following parts while the current one is exhausted.
func (c *Concat) settleForward(ok bool) bool {
	for !ok {
		c.valid = false
		if err := c.cur.Err(); err != nil {
			return c.fail(err)
		}
		if !c.enter(c.index + 1) {
			return false
		}
		ok = c.cur.First()
	}
	c.valid = true
	return true
}

// settleBackward goes back to the preceding parts while the current one is exhausted.
func (c *Concat) settleBackward(ok bool) bool {
	for !ok {
		c.valid = false
		if err := c.cur.Err(); err != nil {
			return c.fail(err)
		}
		if !c.enter(c.index - 1) {
			return false
		}
		ok = c.cur.Last()
	}
	c.valid = true
	return true
}

// enter goes to part i and opens it; false at either end or on an error. A part stays open
// until another one is opened, since a seek may well come back to it.
func (c *Concat) enter(i int) bool {
	c.valid, c.placed, c.index = false, true, max(-1, min(i, c.n))
	if i < 0 || i >= c.n {
		return false
	}
	if c.cur != nil && c.opened == i {
		return true
	}
	if err := c.closePart(); err != nil {
		return c.fail(err)
	}
	it, err := c.open(i)
	if err != nil {
		return c.fail(err)
	}
	c.cur, c.opened = it, i
	return true
}

func (c *Concat) closePart() error {
	if c.cur == nil {
		return nil
	}
	it := c.cur
	c.cur = nil
	return it.Close()
}

func (c *Concat) fail(err error) bool {
	c.err, c.valid, c.placed = err, false, false
	return false
}

// Valid reports whether the iterator is on an entry.
func (c *Concat) Valid() bool { return c.valid }

// Key returns the current key.
func (c *Concat) Key() ikey.Key { return c.cur.Key() }

// Value returns the current value.
func (c *Concat) Value() []byte { return c.cur.Value() }

// Err returns the error that stopped the iterator, nil if none did.
func (c *Concat) Err() error { return c.err }

// Close closes the open part.
func (c *Concat) Close() error {
	c.valid, c.placed = false, false
	return c.closePart()
}
