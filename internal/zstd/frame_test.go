package zstd

import (
	"bytes"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"
)

func noise(n int) []byte {
	b := make([]byte, n)
	rng := rand.NewChaCha8([32]byte{1})
	_, _ = rng.Read(b)
	return b
}

func TestStored(t *testing.T) {
	for _, n := range []int{0, 1, 255, 256, 4096, maxBlock - 1, maxBlock, maxBlock + 1, 3 * maxBlock, 1 << 20} {
		src := noise(n)
		frame := AppendStored([]byte("x"), src)[1:]
		require.Len(t, frame, StoredLen(n))
		require.True(t, Starts(frame))
		size, ok := ContentSize(frame)
		require.True(t, ok)
		require.EqualValues(t, n, size)
		out := make([]byte, n)
		got, err := Decompress(out, frame, nil)
		require.NoError(t, err, "%d bytes", n)
		require.Equal(t, n, got)
		require.True(t, bytes.Equal(src, out))
	}
}

// TestFrames: one frame or several, stored and compressed, up to the limit and no further.
func TestFrames(t *testing.T) {
	text := bytes.Repeat([]byte("a log of batches "), 5000)
	for _, parts := range [][][]byte{{text}, {noise(3)}, {nil}, {text, noise(70_000), text[:5]}, {noise(900_000), text}, {nil, text}} {
		var src, want []byte
		for i, p := range parts {
			if i%2 == 0 {
				var err error
				src, err = Compress(src, p, 1, nil)
				require.NoError(t, err)
			} else {
				src = AppendStored(src, p)
			}
			want = append(want, p...)
		}
		out, err := Frames([]byte("before "), src, len(want))
		require.NoError(t, err)
		require.Equal(t, "before "+string(want), string(out))
		if len(want) > 0 {
			_, err = Frames(nil, src, len(want)-1)
			require.Error(t, err)
		}
		_, err = Frames(nil, src[:len(src)-1], len(want))
		require.Error(t, err, "%d parts, %d bytes, cut", len(parts), len(want))
		_, err = Frames(nil, append(bytes.Clone(src), "no frame"...), len(want)+100)
		require.Error(t, err, "followed by something else")
	}
}

// TestFramesBomb: a few bytes that stand for many do not make many.
func TestFramesBomb(t *testing.T) {
	bomb, err := Compress(nil, make([]byte, 64<<20), 1, nil)
	require.NoError(t, err)
	require.Less(t, len(bomb), 16<<10)
	allocated := testing.AllocsPerRun(1, func() {
		_, err = Frames(nil, bomb, 1<<20)
	})
	require.ErrorContains(t, err, "more than 1048576 bytes")
	require.Less(t, allocated, 1000.0)
}
