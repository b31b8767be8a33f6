package client

import (
	"fmt"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"
)

// BenchmarkPut is puts of 1 KB by 64 callers through three fake nodes, whose cost is in it.
func BenchmarkPut(b *testing.B) {
	f := newFakeCluster(b, 3)
	for _, n := range f.nodes {
		n.quick = true
	}
	c := f.open(b, Options{})
	value := make([]byte, 1000)
	keys := make([][]byte, 1024)
	for i := range keys {
		keys[i] = fmt.Appendf(nil, "user:%d", i)
	}
	var next atomic.Int64
	b.SetParallelism(32)
	b.ReportAllocs()
	b.ResetTimer()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			_, err := c.Put(ctx, keys[next.Add(1)%1024], value, PutOptions{})
			require.NoError(b, err)
		}
	})
}
