package vfs

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestAlignedBuffer(t *testing.T) {
	require.Empty(t, AlignedBuffer(0))
	for _, n := range []int{1, 511, 512, 4095, 4096, 4097, 5000, 12288, 20000, 32769, 1 << 20} {
		b := AlignedBuffer(n)
		require.Len(t, b, n)
		require.Zero(t, addressOf(b)%BufferAlign, "%d bytes", n)
		require.Equal(t, make([]byte, n), b)
	}
}

func TestGetBuffer(t *testing.T) {
	for _, n := range []int{0, 1, 4096, 4097, 65536, 65537, 131072, 1 << 20, 4 << 20, 4<<20 + 1} {
		for range 3 { // the second one may come from the pool
			b := GetBuffer(n)
			require.Len(t, b, n)
			if n > 0 {
				require.Zero(t, addressOf(b)%BufferAlign, "%d bytes", n)
			}
			require.Less(t, cap(b), max(2*n, 4097), "no more than the next class")
			for i := range b {
				b[i] = 1
			}
			PutBuffer(b)
		}
	}
}

func TestPutBufferKeepsWhatItMade(t *testing.T) {
	list := largeLists[0]
	for len(list) > 0 {
		<-list
	}
	PutBuffer(nil)
	PutBuffer(make([]byte, 100))
	PutBuffer(AlignedBuffer(1<<firstLarge + 4096)) // no class
	foreign := AlignedBuffer(1<<firstLarge + 4096)[512:]
	PutBuffer(foreign[: 1<<firstLarge : 1<<firstLarge]) // a class, but not aligned
	require.Empty(t, list)

	b := GetBuffer(1 << firstLarge)
	PutBuffer(b[:10])
	require.Len(t, list, 1)
	again := GetBuffer(1<<firstLarge - 5)
	require.Equal(t, addressOf(b), addressOf(again))

	for range 100 { // the idle bytes stay bounded
		PutBuffer(AlignedBuffer(1 << firstLarge))
	}
	require.Len(t, list, largeIdleBytes>>firstLarge)
}

func TestIsAligned(t *testing.T) {
	b := AlignedBuffer(8192)
	require.True(t, isAligned(4096, b, 4096))
	require.True(t, isAligned(512, b[512:1024], 512))
	require.False(t, isAligned(4096, b[512:4608], 0), "address")
	require.False(t, isAligned(4096, b[:4095], 0), "length")
	require.False(t, isAligned(4096, b, 512), "offset")
}

func TestReadBufferNeedsNoGarbage(t *testing.T) {
	m := NewMem()
	f, err := m.Create("f", Direct)
	require.NoError(t, err)
	_, err = f.WriteAt(AlignedBuffer(16384), 0)
	require.NoError(t, err)
	p := make([]byte, 4101)
	require.Less(t, testing.AllocsPerRun(200, func() {
		if err := ReadFullAt(f, p, 3); err != nil {
			t.Fatal(err)
		}
	}), 1.0)
}
