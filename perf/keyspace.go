package perf

import (
	"math/bits"
)

// mix is the finaliser of splitmix64 (Steele, Lea, Flood, "Fast splittable pseudorandom number
// generators", 2014): a bijection whose every output bit depends on every input bit.
func mix(x uint64) uint64 {
	x ^= x >> 30
	x *= 0xbf58476d1ce4e5b9
	x ^= x >> 27
	x *= 0x94d049bb133111eb
	return x ^ x>>31
}

const golden = 0x9e3779b97f4a7c15

// draw is element i of the random sequence named by salt.
func draw(salt uint64, i int64) uint64 {
	return mix(salt + (uint64(i)+1)*golden)
}

// below maps a random x to [0, n) without a division (Lemire, 2019). The bias is below n/2^64.
func below(x uint64, n int64) int64 {
	hi, _ := bits.Mul64(x, uint64(n))
	return int64(hi)
}

// saltOf turns a seed and a name into the salt of an independent sequence.
func saltOf(seed uint64, name string) uint64 {
	h := mix(seed + golden)
	for _, c := range []byte(name) {
		h = mix(h ^ uint64(c)*golden)
	}
	return h
}

// permutation is a random order of 0..n-1 that needs no memory: a Feistel network over the
// least even number of bits that holds n, walked until it lands below n.
type permutation struct {
	n    uint64
	half uint
	keys [4]uint64
}

func newPermutation(n int64, salt uint64) permutation {
	p := permutation{n: uint64(n), half: max(1, uint(bits.Len64(uint64(n-1))+1)/2)}
	for i := range p.keys {
		p.keys[i] = draw(salt, int64(i))
	}
	return p
}

// at returns the i-th element of the order, which begins anew after n.
func (p permutation) at(i int64) int64 {
	x := uint64(i) % p.n
	mask := uint64(1)<<p.half - 1
	for {
		l, r := x>>p.half, x&mask
		for _, k := range p.keys {
			l, r = r, l^mix(r+k)&mask
		}
		if x = l<<p.half | r; x < p.n {
			return int64(x)
		}
	}
}

// minKeySize is the number of digits of the largest key or absent key among n keys.
func minKeySize(n int64) int {
	digits := 1
	for v := 2*n - 1; v >= 10; v /= 10 {
		digits++
	}
	return digits
}

// AppendKey appends the key with that index, or with absent the key right behind it that no
// fill writes, as size bytes.
func AppendKey(dst []byte, size int, index int64, absent bool) []byte {
	v := 2 * uint64(index)
	if absent {
		v++
	}
	at := len(dst)
	for range size {
		dst = append(dst, '0')
	}
	for i := at + size - 1; i >= at && v > 0; i-- {
		dst[i] = byte('0' + v%10)
		v /= 10
	}
	return dst
}
