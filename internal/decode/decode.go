// Package decode reads the parts of an encoding that may be damaged or forged.
//
//	d := decode.Reader{Rest: b}
//	n, at := d.Uvarint(), d.Uint64()
//	if d.Err != nil { ... }
//
// No input makes it panic, or allocate more than in proportion to the input.
package decode

import (
	"encoding/binary"
	"errors"
)

// Reader reads one part after another. Its first error sticks: what is read behind it is zero. What it returns aliases the bytes.
type Reader struct {
	Rest []byte
	Err  error
}

// Fail notes what is wrong.
func (r *Reader) Fail(what string) {
	if r.Err == nil {
		r.Err = errors.New(what)
	}
	r.Rest = nil
}

// Take reads n bytes. Where there are fewer it returns n zero ones: n must be bounded by who calls, as by Count.
func (r *Reader) Take(n int) []byte {
	if n > len(r.Rest) {
		r.Fail("bytes end early")
		return make([]byte, n)
	}
	b := r.Rest[:n:n]
	r.Rest = r.Rest[n:]
	return b
}

// Byte reads one byte.
func (r *Reader) Byte() byte { return r.Take(1)[0] }

// Uint64 reads a big-endian integer of 8 bytes.
func (r *Reader) Uint64() uint64 { return binary.BigEndian.Uint64(r.Take(8)) }

// Uvarint reads an integer as encoding/binary has it. Only the shortest form of it is taken, so that equal values have equal
// encodings.
func (r *Reader) Uvarint() uint64 {
	v, n := binary.Uvarint(r.Rest)
	if n <= 0 || n > 1 && r.Rest[n-1] == 0 {
		r.Fail("bad number")
		return 0
	}
	r.Rest = r.Rest[n:]
	return v
}

// Count reads the number of things, of at least so many bytes each, that follow.
func (r *Reader) Count(least int) int {
	n := r.Uvarint()
	if n > uint64(len(r.Rest)/least) {
		r.Fail("bytes end early")
		return 0
	}
	return int(n)
}
