package cache

import (
	"math/rand/v2"
	"sync/atomic"
	"testing"
)

// BenchmarkHit gets and releases blocks that are all cached, from every core.
func BenchmarkHit(b *testing.B) {
	c := New(64 << 20)
	defer c.Close()
	const blocks = 10000
	for i := range uint64(blocks) {
		read(b, c, Key{1, i}, blockSize, Normal)
	}
	b.ReportAllocs()
	b.ResetTimer()
	var seed atomic.Uint64
	b.RunParallel(func(pb *testing.PB) {
		rng := rand.New(rand.NewPCG(1, seed.Add(1)))
		for pb.Next() {
			c.Get(Key{1, rng.Uint64N(blocks)}).Release()
		}
	})
}

// BenchmarkHitOne gets one block from every core: the worst contention.
func BenchmarkHitOne(b *testing.B) {
	c := New(64 << 20)
	defer c.Close()
	read(b, c, Key{1, 1}, blockSize, Normal)
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			c.Get(Key{1, 1}).Release()
		}
	})
}

// BenchmarkMiss inserts blocks into a full cache: an eviction each.
func BenchmarkMiss(b *testing.B) {
	for name, sizes := range map[string][]int{"one": {blockSize}, "mixed": {4000, 4100, 4700, 5200, 900, 16000}} {
		b.Run(name, func(b *testing.B) {
			c := New(64 << 20)
			defer c.Close()
			var next atomic.Uint64
			b.ReportAllocs()
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					i := next.Add(1)
					h := c.Alloc(sizes[i%uint64(len(sizes))])
					c.Insert(Key{1, i}, h, Normal)
					h.Release()
				}
			})
			b.ReportMetric(float64(c.Metrics().Bytes)/float64(64<<20), "filled")
		})
	}
}
