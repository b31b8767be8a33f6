package block

import (
	"github.com/cambiumdb/cambium/internal/vfs"
)

// Sizes of what a Readahead reads at once, in bytes.
const (
	// CompactionReadahead suits a walk that will read the whole file.
	CompactionReadahead = 1 << 20
	// MinReadahead is the first size of a scan whose blocks follow one another.
	MinReadahead = 16 << 10
	// MaxReadahead ends the doubling for such a scan.
	MaxReadahead = 256 << 10
)

// Readahead is a stretch of a file in a buffer of its own, from which blocks in sequence are
// cut. The zero value reads each block alone until Sequential asks for more. It belongs to one
// goroutine and one Source; Close gives its buffer back to the pool.
type Readahead struct {
	buf  []byte // holds file bytes [off, off+len(buf))
	off  int64
	size int // bytes to read at once; 0 = the block alone
	// Limit, when above 0, ends the stretches: reading ahead stops there.
	Limit int64

	adaptive bool
	expect   uint64 // offset that follows the block read last
	streak   int    // blocks read in sequence
}

// SetSize makes every read fetch size bytes at least.
func (r *Readahead) SetSize(size int) { r.size, r.adaptive = size, false }

// SetAdaptive makes the reads grow from MinReadahead to MaxReadahead while blocks follow one
// another, and starts again after a jump.
func (r *Readahead) SetAdaptive() { r.size, r.adaptive = 0, true }

// Close gives the buffer back. The Readahead may be used again.
func (r *Readahead) Close() {
	r.release()
	r.streak, r.expect = 0, 0
	if r.adaptive {
		r.size = 0
	}
}

func (r *Readahead) release() {
	if r.buf != nil {
		vfs.PutBuffer(r.buf)
		r.buf = nil
	}
}

// note follows the sequence of blocks of an adaptive scan, cached ones too.
func (r *Readahead) note(h Handle) {
	switch {
	case !r.adaptive:
	case h.Offset == r.expect && h.Offset != 0:
		r.streak++
	default:
		r.streak, r.size = 0, 0
	}
	r.expect = h.End()
}

// Note tells an adaptive Readahead that the block at h was wanted.
func (r *Readahead) Note(h Handle) { r.note(h) }

// grow chooses the size of the next read of an adaptive scan.
func (r *Readahead) grow() {
	if !r.adaptive || r.streak < 2 {
		return
	}
	r.size = min(max(2*r.size, MinReadahead), MaxReadahead)
}

// Load reads the stretch [off, off+n) so that the blocks in it need no further read.
func (r *Readahead) Load(s *Source, off int64, n int) error { return r.fill(s, off, n) }

// Holds reports whether the block at h lies in the stretch read last.
func (r *Readahead) Holds(h Handle) bool {
	end := h.End()
	return h.Offset >= uint64(r.off) && end > h.Offset && end <= uint64(r.off)+uint64(len(r.buf))
}

// Bytes returns n bytes at off of the stretch read last, nil when they are not all in it.
func (r *Readahead) Bytes(off int64, n int) []byte {
	if off < r.off || off+int64(n) > r.off+int64(len(r.buf)) {
		return nil
	}
	at := int(off - r.off)
	return r.buf[at : at+n]
}

// physical returns payload and trailer of the block at h; they are valid until the next call.
func (r *Readahead) physical(s *Source, h Handle) ([]byte, error) {
	if err := s.Check(h); err != nil {
		return nil, err
	}
	if s.Counters != nil {
		s.Counters.BlockReads.Add(1)
		s.Counters.BlockBytes.Add(h.Size + TrailerLen)
	}
	off, need := int64(h.Offset), int(h.Size)+TrailerLen
	if off < r.off || off+int64(need) > r.off+int64(len(r.buf)) {
		r.grow()
		if err := r.fill(s, off, need); err != nil {
			return nil, err
		}
	}
	at := int(off - r.off)
	return r.buf[at : at+need], nil
}

// fill reads the stretch that starts at off.
func (r *Readahead) fill(s *Source, off int64, need int) error {
	r.release()
	end := off + int64(need)
	if ahead := off + int64(r.size); ahead > end {
		limit := s.Size
		if r.Limit > 0 && r.Limit < limit {
			limit = r.Limit
		}
		end = max(end, min(ahead, limit))
	}
	start := off
	if s.File.Direct() {
		unit := int64(s.File.Alignment())
		start = off &^ (unit - 1)
		end = (end + unit - 1) &^ (unit - 1)
	}
	buf := vfs.GetBuffer(int(end - start))
	n, err := s.readAt(buf, start, int(off-start)+need)
	if err != nil {
		vfs.PutBuffer(buf)
		return err
	}
	r.buf, r.off = buf[:n], start
	return nil
}
