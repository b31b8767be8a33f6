package cache

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func put(c *Cache, k Key, n int, p Priority) {
	h := c.Alloc(n)
	fill(h.Bytes(), k)
	c.Insert(k, h, p)
	h.Release()
}

// fill writes bytes that follow from k.
func fill(b []byte, k Key) {
	for i := range b {
		b[i] = byte(k.File*31 + k.Offset*7 + uint64(i))
	}
}

func TestGetReturnsWhatWasInserted(t *testing.T) {
	c := New(8 << 20)
	for i := range uint64(100) {
		put(c, Key{1, i}, 4000, Normal)
	}
	for i := range uint64(100) {
		h := c.Get(Key{1, i})
		require.NotNil(t, h)
		want := make([]byte, 4000)
		fill(want, Key{1, i})
		require.Equal(t, want, h.Bytes())
		h.Release()
	}
	require.Nil(t, c.Get(Key{2, 1}))
	require.Zero(t, c.Metrics().PinnedBytes)
	c.Close()
	require.Zero(t, c.Metrics().Bytes)
}
