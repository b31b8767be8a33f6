package blob

import (
	"encoding/binary"
	"errors"
	"iter"

	"github.com/RoaringBitmap/roaring/v2"
)

// unitBytes is the grain of Dead and Live. A record has at least a header and a byte of key, 33
// bytes, so a live one touches three units or more: a single unit between two dead ones is the
// seam of two dead records.
const unitBytes = 16

// maxUnits bounds what is remembered of a file: records behind 64 GiB count as live.
const maxUnits = 1 << 32

// Dead is the part of one blob file whose records no table refers to any more. It only grows, so
// every union of what is known of a file is right, if maybe less than all. The zero value is
// empty. It belongs to one goroutine at a time.
type Dead struct {
	units roaring.Bitmap // those that lie wholly inside dead records
}

// Add notes that no table refers any more to the record of a key of keyLen bytes that x points to.
func (d *Dead) Add(keyLen int, x Index) {
	if start, end, ok := recordBounds(keyLen, x); ok {
		d.units.AddRange((start+unitBytes-1)/unitBytes, min(end/unitBytes, maxUnits))
	}
}

// recordBounds are the ends of a record in its file; ok is false where x points outside of it.
func recordBounds(keyLen int, x Index) (start, end uint64, ok bool) {
	before := uint64(RecordHeaderLen + keyLen)
	if x.Offset < HeaderLen+before || x.Offset+x.Size < x.Offset {
		return 0, 0, false
	}
	return x.Offset - before, x.Offset + x.Size, true
}

// Union adds what o knows. A nil o knows nothing.
func (d *Dead) Union(o *Dead) {
	if o != nil {
		d.units.Or(&o.units)
	}
}

// Clone returns a copy of its own.
func (d *Dead) Clone() *Dead { return &Dead{units: *d.units.Clone()} }

// Empty reports whether nothing is dead.
func (d *Dead) Empty() bool { return d == nil || d.units.IsEmpty() }

// runs yields the dead stretches in ascending order, in units, the seams between them included.
func (d *Dead) runs() iter.Seq2[uint64, uint64] {
	return func(yield func(from, end uint64) bool) {
		var from, end uint64
		for next, nextEnd := range d.units.Ranges() {
			switch {
			case end == 0:
				from = uint64(next)
			case uint64(next) > end+1:
				if !yield(from, end) {
					return
				}
				from = uint64(next)
			}
			end = nextEnd
		}
		if end > 0 {
			yield(from, end)
		}
	}
}

// Holes yields, in ascending order, the offset and the length of every stretch of whole pages, of
// page bytes, in which everything is dead. With since it yields only those that are larger than
// they would be without what since adds, or may be.
func (d *Dead) Holes(page int64, since *Dead) iter.Seq2[int64, int64] {
	return func(yield func(off, n int64) bool) {
		for from, end := range d.runs() {
			off := (int64(from)*unitBytes + page - 1) / page * page
			n := int64(end)*unitBytes/page*page - off
			if n <= 0 || since != nil && !since.units.IntersectsWithInterval(from, end) {
				continue
			}
			if !yield(off, n) {
				return
			}
		}
	}
}

// HoleBytes is the sum of all Holes.
func (d *Dead) HoleBytes(page int64) (sum int64) {
	for _, n := range d.Holes(page, nil) {
		sum += n
	}
	return sum
}

// skip returns where the unit lies at which a dead record that begins at offset at is known to have
// ended, with every dead one behind it; ok is false where the record at that offset is not dead.
func (d *Dead) skip(at int64) (end int64, ok bool) {
	unit := (at + unitBytes - 1) / unitBytes
	if unit >= maxUnits || !d.units.Contains(uint32(unit)) {
		return 0, false
	}
	for {
		unit = d.units.NextAbsentValue(uint32(unit))
		if unit < 0 || unit+1 >= maxUnits || !d.units.Contains(uint32(unit+1)) {
			return unit * unitBytes, true
		}
		unit++
	}
}

// Encode appends d for DecodeDead: the number of its stretches, and for each how many units lie
// between it and the one before and how many it has, all varints.
func (d *Dead) Encode(dst []byte) []byte {
	n := 0
	for range d.runs() {
		n++
	}
	dst = binary.AppendUvarint(dst, uint64(n))
	last := uint64(0)
	for from, end := range d.runs() {
		dst = binary.AppendUvarint(dst, from-last)
		dst = binary.AppendUvarint(dst, end-from)
		last = end
	}
	return dst
}

// DecodeDead reads what Encode wrote and returns the bytes behind it.
func DecodeDead(b []byte) (*Dead, []byte, error) {
	d := &Dead{}
	n, rest, ok := uvarint(b)
	last := uint64(0)
	for ; ok && n > 0; n-- {
		var gap, length uint64
		if gap, rest, ok = uvarint(rest); !ok {
			break
		}
		if length, rest, ok = uvarint(rest); !ok {
			break
		}
		if length == 0 || gap > maxUnits-last || length > maxUnits-last-gap {
			return nil, nil, errors.New("dead records: a stretch behind the end of every file")
		}
		d.units.AddRange(last+gap, last+gap+length)
		last += gap + length
	}
	if !ok {
		return nil, nil, errors.New("dead records: the bytes end too early")
	}
	return d, rest, nil
}

func uvarint(b []byte) (v uint64, rest []byte, ok bool) {
	v, n := binary.Uvarint(b)
	if n <= 0 {
		return 0, nil, false
	}
	return v, b[n:], true
}

// Live is the part of one blob file to which tables refer. The zero value is empty.
type Live struct {
	Count, Bytes uint64         // of the records added, counted as Info counts them
	units        roaring.Bitmap // those that a live record touches
}

// Add notes a reference to the record of a key of keyLen bytes that x points to.
func (l *Live) Add(keyLen int, x Index) {
	l.Count++
	l.Bytes += uint64(RecordHeaderLen+keyLen) + x.Size
	if start, end, ok := recordBounds(keyLen, x); ok && start/unitBytes < maxUnits {
		l.units.AddRange(start/unitBytes, min((end+unitBytes-1)/unitBytes, maxUnits))
	}
}

// Rest is what is dead once every reference to a file has been added. end is where its records end.
func (l *Live) Rest(end int64) *Dead {
	d := &Dead{}
	if from, to := uint64((HeaderLen+unitBytes-1)/unitBytes), min(uint64(end)/unitBytes, maxUnits); from < to {
		d.units.AddRange(from, to)
		d.units.AndNot(&l.units)
	}
	return d
}
