package vfs_test

import (
	"bytes"
	"fmt"
	"io"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/cambiumdb/cambium/internal/vfs"
)

// everyKind runs a test on files of the system, of memory with the units 512 and 4096, and
// without direct I/O.
func everyKind(t *testing.T, run func(t *testing.T, p place)) {
	t.Run("os", func(t *testing.T) { run(t, place{vfs.OS(nil), t.TempDir()}) })
	for _, unit := range []int{0, 512, 4096, 16384} {
		t.Run(fmt.Sprintf("mem %d", unit), func(t *testing.T) {
			m := vfs.NewMem()
			m.SetDirect(unit)
			run(t, place{m, "/"})
		})
	}
}

// TestReadFullAtAnywhere reads around every boundary, into every kind of buffer.
func TestReadFullAtAnywhere(t *testing.T) {
	const size = 20000
	whole := pattern(size)
	edges := []int{0, 1, 7, 511, 512, 513, 4095, 4096, 4097, 8191, 8192, 12289, 16384, 19999, 20000}
	everyKind(t, func(t *testing.T, p place) {
		p.write(t, "f", vfs.Direct, whole)
		f, err := p.Open(p.at("f"), vfs.Direct)
		require.NoError(t, err)
		defer func() { require.NoError(t, f.Close()) }()
		for _, off := range edges {
			for _, end := range edges {
				if end < off {
					continue
				}
				for _, shift := range []int{0, 1, 512} {
					got := vfs.AlignedBuffer(size + shift + 1)[shift:][:end-off]
					require.NoError(t, vfs.ReadFullAt(f, got, int64(off)))
					require.Equal(t, whole[off:end], got, "[%d, %d) to an address of %d", off, end, shift)
				}
			}
		}
	})
}

func TestReadFullAtPastTheEnd(t *testing.T) {
	everyKind(t, func(t *testing.T, p place) {
		for _, size := range []int{0, 1, 4096, 5000, 8192} {
			p.write(t, "f", vfs.Direct, pattern(size))
			f, err := p.Open(p.at("f"), vfs.Direct)
			require.NoError(t, err)
			for _, off := range []int{0, 1, size - 1, size, size + 1, size + 100000} {
				if off < 0 {
					continue
				}
				for _, n := range []int{size - off + 1, size - off + 4096, 32768} {
					if n <= 0 {
						continue
					}
					err := vfs.ReadFullAt(f, vfs.AlignedBuffer(n), int64(off))
					require.ErrorIs(t, err, io.ErrUnexpectedEOF, "%d bytes at %d of %d", n, off, size)
					require.NotErrorIs(t, err, io.EOF)
					require.ErrorContains(t, err, p.at("f"))
				}
			}
			require.NoError(t, vfs.ReadFullAt(f, nil, int64(size)))
			require.Error(t, vfs.ReadFullAt(f, make([]byte, 1), -1))
			require.NoError(t, f.Close())
		}
	})
}

// TestReadFullAtLarge crosses the bounce buffer several times.
func TestReadFullAtLarge(t *testing.T) {
	whole := pattern(5<<20 + 123)
	everyKind(t, func(t *testing.T, p place) {
		p.write(t, "f", vfs.Direct, whole)
		f, err := p.Open(p.at("f"), vfs.Direct)
		require.NoError(t, err)
		got := make([]byte, len(whole)-77)
		require.NoError(t, vfs.ReadFullAt(f, got, 77))
		require.True(t, string(whole[77:]) == string(got))
		require.ErrorIs(t, vfs.ReadFullAt(f, got, 78), io.ErrUnexpectedEOF)
		require.NoError(t, f.Close())
	})
}

// TestReadFullAtShort gives half of what was asked for, of a pool full of old bytes.
func TestReadFullAtShort(t *testing.T) {
	for _, failure := range []error{io.EOF, vfs.ErrInjected} {
		fault := vfs.NewFault(vfs.NewMem())
		p := place{fault, "/"}
		p.write(t, "f", vfs.Direct, pattern(30000))
		f, err := p.Open("/f", vfs.Direct)
		require.NoError(t, err)
		for _, off := range []int64{0, 5} {
			rule := fault.Add(vfs.Rule{Ops: vfs.OpRead, Err: failure, Short: true})
			dirty := vfs.GetBuffer(20480)
			for i := range dirty {
				dirty[i] = 0xee
			}
			vfs.PutBuffer(dirty)
			got := make([]byte, 16384)
			err := vfs.ReadFullAt(f, got, off)
			want := failure
			if failure == io.EOF {
				want = io.ErrUnexpectedEOF
			}
			require.ErrorIs(t, err, want)
			require.False(t, bytes.Contains(got, []byte{0xee, 0xee}), "old bytes of the pool")
			require.Equal(t, 1, rule.Hits())
			fault.Clear()
		}
	}
}

func BenchmarkReadFullAt(b *testing.B) {
	m := vfs.NewMem()
	f, err := m.Create("f", vfs.Direct)
	require.NoError(b, err)
	_, err = f.WriteAt(vfs.AlignedBuffer(1<<20), 0)
	require.NoError(b, err)
	p := make([]byte, 4101)
	b.ReportAllocs()
	for b.Loop() {
		if err := vfs.ReadFullAt(f, p, 4000); err != nil {
			b.Fatal(err)
		}
	}
}
