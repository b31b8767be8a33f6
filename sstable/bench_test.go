package sstable

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/cambiumdb/cambium/internal/cache"
	"github.com/cambiumdb/cambium/internal/ikey"
	"github.com/cambiumdb/cambium/internal/vfs"
	"github.com/cambiumdb/cambium/sstable/block"
)

// nullFile takes writes and forgets them.
type nullFile struct{ bytesFile }

func (f *nullFile) WriteAt(p []byte, _ int64) (int, error) { return len(p), nil }
func (f *nullFile) Truncate(int64) error                   { return nil }
func (f *nullFile) Preallocate(int64) error                { return nil }
func (f *nullFile) Sync() error                            { return nil }

// keepFile takes writes and keeps them.
type keepFile struct{ nullFile }

func (f *keepFile) WriteAt(p []byte, off int64) (int, error) {
	if end := int(off) + len(p); end > len(f.data) {
		f.data = append(f.data, make([]byte, end-len(f.data))...)
	}
	return copy(f.data[off:], p), nil
}

func (f *keepFile) Truncate(n int64) error { f.data = f.data[:n]; return nil }

// benchValues are values of 1000 bytes that compress to about a half.
func benchValues() [][]byte {
	rnd := rand.New(rand.NewPCG(5, 5))
	out := make([][]byte, 64)
	for i := range out {
		out[i] = make([]byte, 1000)
		for j := range 500 {
			out[i][j] = byte(rnd.Uint32())
		}
	}
	return out
}

func benchKey(dst []byte, i int) []byte {
	dst = append(dst[:0], "user0000"...)
	return binary.BigEndian.AppendUint64(dst, uint64(i))
}

func benchTable(b testing.TB, n int, o WriterOptions) *bytesFile {
	f := &keepFile{}
	w := NewWriter(vfs.NewSequentialWriter(f, vfs.WriterOptions{}), o)
	values := benchValues()
	var key []byte
	for i := range n {
		key = benchKey(key, 2*i)
		require.NoError(b, w.Add(ikey.Make(key, uint64(i), ikey.KindSet), values[i%len(values)]))
	}
	_, err := w.Finish()
	require.NoError(b, err)
	return &bytesFile{data: f.data}
}

func BenchmarkWrite(b *testing.B) {
	for _, comp := range []block.Compression{block.None, block.Snappy, block.LZ4, block.Zstd} {
		b.Run(comp.String(), func(b *testing.B) {
			values := benchValues()
			var key []byte
			b.SetBytes(1024)
			b.ReportAllocs()
			w := NewWriter(vfs.NewSequentialWriter(&nullFile{}, vfs.WriterOptions{}), WriterOptions{Compression: comp, BitsPerKey: 10})
			for i := 0; b.Loop(); i++ {
				key = benchKey(key, i)
				if err := w.Add(ikey.Make(key, uint64(i), ikey.KindSet), values[i%len(values)]); err != nil {
					b.Fatal(err)
				}
				if i%64000 == 63999 {
					if _, err := w.Finish(); err != nil {
						b.Fatal(err)
					}
					w = NewWriter(vfs.NewSequentialWriter(&nullFile{}, vfs.WriterOptions{}), WriterOptions{Compression: comp, BitsPerKey: 10})
				}
			}
		})
	}
}

func BenchmarkGet(b *testing.B) {
	const n = 100_000
	for _, hash := range []bool{false, true} {
		f := benchTable(b, n, WriterOptions{BitsPerKey: 10, HashIndex: hash})
		c := cache.New(256 << 20)
		r, err := Open(f, ReaderOptions{Cache: c, FileNum: 1})
		require.NoError(b, err)
		var key []byte
		for i := range n {
			v, _, err := r.Get(benchKey(key, 2*i), ikey.MaxSeq)
			require.NoError(b, err)
			v.Release()
		}
		for _, absent := range []int{0, 1} {
			b.Run(fmt.Sprintf("hash=%v/absent=%d", hash, absent), func(b *testing.B) {
				b.ReportAllocs()
				rnd := rand.New(rand.NewPCG(1, 1))
				for b.Loop() {
					key = benchKey(key, 2*rnd.IntN(n)+absent)
					v, _, err := r.Get(key, ikey.MaxSeq)
					if err != nil {
						b.Fatal(err)
					}
					v.Release()
				}
			})
		}
		require.NoError(b, r.Close())
		c.Close()
	}
}

func BenchmarkIterate(b *testing.B) {
	f := benchTable(b, 50_000, WriterOptions{})
	small := &keepFile{}
	w := NewWriter(vfs.NewSequentialWriter(small, vfs.WriterOptions{}), WriterOptions{})
	var key []byte
	for i := range 500_000 {
		key = benchKey(key, i)
		require.NoError(b, w.Add(ikey.Make(key, 1, ikey.KindSet), key))
	}
	_, err := w.Finish()
	require.NoError(b, err)
	c := cache.New(256 << 20)
	defer c.Close()
	for num, f := range []*bytesFile{f, {data: small.data}} {
		r, err := Open(f, ReaderOptions{Cache: c, FileNum: uint64(num)})
		require.NoError(b, err)
		for _, o := range []IterOptions{{}, {Compaction: true}} {
			b.Run(fmt.Sprintf("value=%d/compaction=%v", []int{1000, 16}[num], o.Compaction), func(b *testing.B) {
				it := r.NewIterator(o)
				defer it.Close()
				ok := false
				b.ReportAllocs()
				for b.Loop() {
					if ok {
						ok = it.Next()
					} else {
						ok = it.First()
					}
				}
			})
			b.Run(fmt.Sprintf("seek/value=%d/compaction=%v", []int{1000, 16}[num], o.Compaction), func(b *testing.B) {
				rnd := rand.New(rand.NewPCG(1, 1))
				b.ReportAllocs()
				for b.Loop() {
					it := r.NewIterator(o)
					key = benchKey(key, rnd.IntN(50_000))
					if !it.SeekGE(ikey.Seek(key, ikey.MaxSeq)) {
						b.Fatal("no entry")
					}
					it.Close()
				}
			})
		}
		require.NoError(b, r.Close())
	}
}
