package ring

import (
	"cmp"
	"crypto/md5"
	"encoding/binary"
	"fmt"
	"math/bits"
)

// Token is a place on the ring, a number of 128 bits.
type Token struct{ Hi, Lo uint64 }

// TokenOf is where key lies: the MD5 of it, its first byte the most significant.
func TokenOf(key []byte) Token {
	sum := md5.Sum(key)
	return Token{binary.BigEndian.Uint64(sum[:8]), binary.BigEndian.Uint64(sum[8:])}
}

// Compare orders tokens as numbers.
func (t Token) Compare(u Token) int {
	return cmp.Or(cmp.Compare(t.Hi, u.Hi), cmp.Compare(t.Lo, u.Lo))
}

// Next is the token behind t, the first one behind the last.
func (t Token) Next() Token {
	if t.Lo++; t.Lo == 0 {
		t.Hi++
	}
	return t
}

// String is 32 hexadecimal digits.
func (t Token) String() string { return fmt.Sprintf("%016x%016x", t.Hi, t.Lo) }

// Range is the tokens clockwise behind After up to and with Last. Where both are equal it is the whole
// ring.
type Range struct{ After, Last Token }

// Contains reports whether t is in r.
func (r Range) Contains(t Token) bool {
	switch r.After.Compare(r.Last) {
	case -1:
		return t.Compare(r.After) > 0 && t.Compare(r.Last) <= 0
	case 0:
		return true
	}
	return t.Compare(r.After) > 0 || t.Compare(r.Last) <= 0
}

// Share is how much of the ring r is, above 0 up to 1.
func (r Range) Share() float64 {
	lo, borrow := bits.Sub64(r.Last.Lo, r.After.Lo, 0)
	hi, _ := bits.Sub64(r.Last.Hi, r.After.Hi, borrow)
	if hi == 0 && lo == 0 {
		return 1
	}
	return (float64(hi) + float64(lo)/(1<<64)) / (1 << 64)
}

// String is both ends.
func (r Range) String() string { return fmt.Sprintf("(%s, %s]", r.After, r.Last) }
