package compaction

import (
	"bytes"
	"math"

	"github.com/cambiumdb/cambium/internal/manifest"
)

// cutter decides at which user keys the outputs of a merge begin anew. It is fed the user keys
// of the merge in order and never cuts inside one. An output ends
//
//   - at the target size, or at twice that where boundaries are to be shared;
//   - at the start of a grandparent, from three quarters of the target size on: outputs that
//     share boundaries with the next level make cheaper plans later;
//   - at the start of a grandparent, when it already overlaps more of them than maxOverlap
//     bytes. Those cuts fall between keys too, so that a wide range tombstone does not become
//     one table over the whole next level.
type cutter struct {
	grandparents []*manifest.Table
	targetBytes  int64
	maxBytes     int64 // at which an output ends without a boundary in sight
	maxOverlap   int64

	at      int   // first grandparent that starts above the last key
	overlap int64 // bytes of grandparents that the output overlaps so far
}

// newCutter returns the cutter that plan asks for.
func newCutter(plan *Plan, targetBytes int64) *cutter {
	c := &cutter{grandparents: plan.Grandparents, targetBytes: targetBytes, maxBytes: targetBytes, maxOverlap: maxGrandparentOverlap * targetBytes}
	if plan.Align {
		c.maxBytes, c.maxOverlap = 2*targetBytes, math.MaxInt64
	}
	return c
}

// within makes c the cutter of the outputs in keys.
func (c *cutter) within(keys keyRange) *cutter {
	var in []*manifest.Table
	for _, g := range c.grandparents {
		if rangeOf(g).overlaps(keys) {
			in = append(in, g)
		}
	}
	c.grandparents = in
	return c
}

// next is asked with the next user key and the size of the output so far, 0 when it holds no
// entry. It returns the next user key, at or before user, at which to cut, and is to be asked
// again after a cut, with the size of the new output. At the end of the merge there is no next
// user key: end is true.
func (c *cutter) next(user []byte, end bool, outputBytes int64) (cut []byte, ok bool) {
	aligned := false
	for c.at < len(c.grandparents) {
		g := c.grandparents[c.at]
		start := g.Smallest.User
		if !end && bytes.Compare(start, user) > 0 {
			break
		}
		aligned = true
		if c.overlap > 0 && c.overlap+int64(g.Size) > c.maxOverlap {
			c.overlap = 0
			return start, true
		}
		c.at++
		c.overlap += int64(g.Size)
	}
	if end || outputBytes == 0 {
		return nil, false
	}
	if outputBytes >= c.maxBytes || aligned && outputBytes >= c.targetBytes*3/4 {
		c.overlap = 0
		if c.at > 0 && !rangeOf(c.grandparents[c.at-1]).endsBefore(user) {
			c.overlap = int64(c.grandparents[c.at-1].Size)
		}
		return user, true
	}
	return nil, false
}
