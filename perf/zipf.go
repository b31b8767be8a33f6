package perf

import "math"

// The constants of YCSB's ZipfianGenerator and ScrambledZipfianGenerator (Cooper et al.,
// "Benchmarking cloud serving systems with YCSB", 2010; the generator is that of Gray et al.,
// "Quickly generating billion-record synthetic databases", 1994).
const (
	zipfTheta     = 0.99
	scrambleItems = 10_000_000_000
	scrambleZeta  = 26.46902820178302
)

// zipfian draws ranks: 0 is the most likely one.
type zipfian struct {
	items            float64
	zeta, alpha, eta float64
}

// newZipfian draws from items ranks; zeta is zeta(items).
func newZipfian(items int64, zeta float64) zipfian {
	n := float64(items)
	return zipfian{
		items: n, zeta: zeta, alpha: 1 / (1 - zipfTheta),
		eta: (1 - math.Pow(2/n, 1-zipfTheta)) / (1 - zetaSum(2)/zeta),
	}
}

// rank maps a uniform u of [0, 1) to a rank.
func (z zipfian) rank(u float64) int64 {
	switch uz := u * z.zeta; {
	case uz < 1:
		return 0
	case uz < 1+math.Pow(0.5, zipfTheta):
		return 1
	}
	return min(int64(z.items)-1, int64(z.items*math.Pow(z.eta*u-z.eta+1, z.alpha)))
}

// zetaSum is the sum of 1/i^0.99 for i = 1..n: term by term at first, the rest by the formula of
// Euler and Maclaurin, whose error there is below 1e-12.
func zetaSum(n int64) float64 {
	if n < int64(len(zetaHead)) {
		return zetaHead[n]
	}
	a, b := float64(len(zetaHead)-1), float64(n)
	sum := zetaHead[len(zetaHead)-1]
	sum += (math.Pow(b, 1-zipfTheta) - math.Pow(a, 1-zipfTheta)) / (1 - zipfTheta)
	sum += (math.Pow(b, -zipfTheta) - math.Pow(a, -zipfTheta)) / 2
	return sum - zipfTheta/12*(math.Pow(b, -zipfTheta-1)-math.Pow(a, -zipfTheta-1))
}

// zetaHead[n] is zetaSum(n).
var zetaHead = func() (head [257]float64) {
	for i := 1; i < len(head); i++ {
		head[i] = head[i-1] + math.Pow(float64(i), -zipfTheta)
	}
	return head
}()

// uniform maps random bits to [0, 1).
func uniform(x uint64) float64 { return float64(x>>11) / (1 << 53) }

// fnvHash is YCSB's Utils.fnvhash64: FNV-1a over the eight bytes, least first, made positive.
func fnvHash(v uint64) uint64 {
	h := uint64(0xcbf29ce484222325)
	for range 8 {
		h = (h ^ v&0xff) * 1099511628211
		v >>= 8
	}
	if int64(h) < 0 {
		h = -h
	}
	return h
}

// scrambled spreads the hot ranks of a zipfian over items, as YCSB's ScrambledZipfianGenerator
// does.
type scrambled struct{ zipf zipfian }

func newScrambled() scrambled { return scrambled{newZipfian(scrambleItems+1, scrambleZeta)} }

func (s scrambled) item(x uint64, items int64) int64 {
	return int64(fnvHash(uint64(s.zipf.rank(uniform(x)))) % uint64(items))
}
