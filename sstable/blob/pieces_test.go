package blob

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"runtime"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/cambiumdb/cambium/internal/cache"
	"github.com/cambiumdb/cambium/internal/vfs"
	"github.com/cambiumdb/cambium/sstable/block"
)

// largePairs are records around one piece and of several, at offsets of every kind.
func largePairs() (ps []pair) {
	rng := rand.NewChaCha8([32]byte{1})
	for i, n := range []int{7, pieceBytes - 50, 3*pieceBytes + 13, pieceBytes, 100, pieceBytes - RecordHeaderLen - 5, 2 * pieceBytes, 10 << 20} {
		v := make([]byte, n)
		_, _ = rng.Read(v)
		copy(v[n/2:], make([]byte, n/2)) // half of it compresses
		ps = append(ps, pair{fmt.Appendf(nil, "key%02d", i), v})
	}
	return append(ps, pair{bytes.Repeat([]byte("k"), 2*pieceBytes), []byte("behind a key of two pieces")})
}

// TestPieces: what is larger than a piece is read and copied like anything else, and the copy of a
// file has its bytes.
func TestPieces(t *testing.T) {
	for _, c := range []block.Compression{block.None, block.Snappy, block.Zstd} {
		m := vfs.NewMem()
		ps := largePairs()
		xs, info := writeBlob(t, m, "1.blob", WriterOptions{FileNum: 1, Compression: c}, ps)
		r := openBlob(t, m, "1.blob", ReaderOptions{FileNum: 1})
		f, err := m.Create("2.blob", vfs.Direct)
		require.NoError(t, err)
		w := NewWriter(vfs.NewSequentialWriter(f, vfs.WriterOptions{}), WriterOptions{FileNum: 2, Compression: c})
		for i, x := range xs {
			y, err := w.Copy(r, ps[i].key, x)
			require.NoError(t, err)
			want := x
			want.File = 2
			require.Equal(t, want, y)
			v, err := r.Get(ps[i].key, x)
			require.NoError(t, err)
			require.True(t, bytes.Equal(ps[i].value, v), "%v, value %d", c, i)
		}
		again, err := w.Finish()
		require.NoError(t, err)
		require.Equal(t, info, again)
		require.True(t, bytes.Equal(fileBytes(t, m, "1.blob"), fileBytes(t, m, "2.blob")))
		require.NoError(t, r.Close())
	}
}

// TestDamagedPieces: a byte that is wrong anywhere in a record of several pieces is found by Get and by
// Copy, whose file is of no use then.
func TestDamagedPieces(t *testing.T) {
	m := vfs.NewMem()
	ps := largePairs()
	xs, _ := writeBlob(t, m, "1.blob", WriterOptions{FileNum: 1}, ps)
	good := fileBytes(t, m, "1.blob")
	x, p := xs[2], ps[2]
	start := int(x.Offset) - len(p.key) - RecordHeaderLen
	for _, at := range []int{start, start + 30, start + RecordHeaderLen, int(x.Offset), int(x.Offset) + pieceBytes, int(x.Offset+x.Size) - 1} {
		b := bytes.Clone(good)
		b[at] ^= 1
		putFile(t, m, "3.blob", b)
		r := openBlob(t, m, "3.blob", ReaderOptions{FileNum: 1})
		_, err := r.Get(p.key, x)
		requireBadBytes(t, err, "3.blob")
		f, err := m.Create("4.blob", vfs.Direct)
		require.NoError(t, err)
		w := NewWriter(vfs.NewSequentialWriter(f, vfs.WriterOptions{}), WriterOptions{FileNum: 2})
		_, err = w.Copy(r, p.key, x)
		requireBadBytes(t, err, "3.blob")
		_, err = w.Finish()
		requireBadBytes(t, err, "3.blob")
		require.NoError(t, r.Close())
	}
}

// TestLargeValuesAreHeldOnce: reading a value of 10 MiB into the cache, or copying it, takes little
// of Go's memory.
func TestLargeValuesAreHeldOnce(t *testing.T) {
	m := vfs.NewMem()
	ps := largePairs()
	xs, _ := writeBlob(t, m, "1.blob", WriterOptions{FileNum: 1}, ps)
	shared := cache.New(64 << 20)
	defer shared.Close()
	r := openBlob(t, m, "1.blob", ReaderOptions{FileNum: 1, Cache: shared})
	defer r.Close()
	key, x := ps[7].key, xs[7]
	measure := func(fn func()) uint64 {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		fn()
		runtime.ReadMemStats(&after)
		return after.TotalAlloc - before.TotalAlloc
	}
	require.Less(t, measure(func() {
		h, err := r.Read(key, x, block.ReadOptions{NoFill: true})
		require.NoError(t, err)
		h.Release()
	}), uint64(3<<20))
	f, err := m.Create("2.blob", vfs.Direct)
	require.NoError(t, err)
	w := NewWriter(vfs.NewSequentialWriter(f, vfs.WriterOptions{}), WriterOptions{FileNum: 2})
	taken := measure(func() {
		_, err := w.Copy(r, key, x)
		require.NoError(t, err)
	})
	require.NoError(t, w.Abort())
	require.Less(t, taken, uint64(10<<20+6<<20), "the file system's own copy, and some buffers")
}
