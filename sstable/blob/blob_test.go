package blob

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/cambiumdb/cambium/internal/cache"
	"github.com/cambiumdb/cambium/internal/corrupt"
	"github.com/cambiumdb/cambium/internal/vfs"
	"github.com/cambiumdb/cambium/sstable/block"
)

var compressions = []block.Compression{block.None, block.Snappy, block.Zlib, block.LZ4, block.LZ4HC, block.Zstd}

// pair is a record that a test writes.
type pair struct{ key, value []byte }

func randomPairs(rng *rand.Rand, n, maxValue int) []pair {
	ps := make([]pair, n)
	for i := range ps {
		v := make([]byte, rng.IntN(maxValue+1))
		for j := range v {
			v[j] = "abcd"[rng.IntN(4)]
		}
		ps[i] = pair{fmt.Appendf(nil, "key%06d", i), v}
	}
	return ps
}

// writeBlob makes a file of ps and returns its indexes.
func writeBlob(t require.TestingT, m vfs.FS, name string, o WriterOptions, ps []pair) ([]Index, Info) {
	f, err := m.Create(name, vfs.Direct)
	require.NoError(t, err)
	w := NewWriter(vfs.NewSequentialWriter(f, vfs.WriterOptions{}), o)
	var xs []Index
	for _, p := range ps {
		x, err := w.Add(p.key, p.value)
		require.NoError(t, err)
		xs = append(xs, x)
	}
	info, err := w.Finish()
	require.NoError(t, err)
	return xs, info
}

func openBlob(t require.TestingT, m vfs.FS, name string, o ReaderOptions) *Reader {
	f, err := m.Open(name, vfs.Direct)
	require.NoError(t, err)
	r, err := Open(f, o)
	require.NoError(t, err)
	return r
}

// putFile stores data as it is.
func putFile(t require.TestingT, m vfs.FS, name string, data []byte) {
	f, err := m.Create(name, vfs.Buffered)
	require.NoError(t, err)
	w := vfs.NewSequentialWriter(f, vfs.WriterOptions{})
	_, err = w.Write(data)
	require.NoError(t, err)
	require.NoError(t, w.Finish())
}

func fileBytes(t require.TestingT, m vfs.FS, name string) []byte {
	f, err := m.Open(name, vfs.Buffered)
	require.NoError(t, err)
	defer f.Close()
	size, err := f.Size()
	require.NoError(t, err)
	b := make([]byte, size)
	require.NoError(t, vfs.ReadFullAt(f, b, 0))
	return b
}

func TestReadsRocksDB(t *testing.T) {
	fx := readFixture(t)
	if fx == nil {
		return
	}
	m := vfs.NewMem()
	live, records := 0, 0
	for name, data := range fx.blobs {
		putFile(t, m, name, data)
		r := openBlob(t, m, name, ReaderOptions{FileNum: 7})
		require.True(t, r.Closed())
		require.Equal(t, block.Zstd, r.Compression())
		var got []pair
		end, err := r.Iterate(func(rec Record) error {
			v, err := r.Value(nil, rec)
			require.NoError(t, err)
			direct, err := r.Get(rec.Key, rec.Index)
			require.NoError(t, err)
			require.Equal(t, v, direct)
			got = append(got, pair{bytes.Clone(rec.Key), v})
			if fx.live[string(rec.Key)] == string(v) {
				live++
			}
			return nil
		})
		require.NoError(t, err)
		require.EqualValues(t, len(data)-FooterLen, end)
		require.EqualValues(t, r.Count(), len(got))
		st, err := r.Verify(context.Background(), nil)
		require.NoError(t, err)
		require.EqualValues(t, len(data)-HeaderLen-FooterLen, st.Bytes)
		records += len(got)
		require.NoError(t, r.Close())
		requireSameFraming(t, name, data, m)
	}
	require.Len(t, fx.blobs, 3)
	require.Greater(t, live, 400, "live values found in blob files")
	t.Logf("%d records, %d of them live values of %d keys", records, live, len(fx.live))
}

// requireSameFraming writes the records of RocksDB's file with our Writer and wants its bytes.
func requireSameFraming(t *testing.T, name string, data []byte, m vfs.FS) {
	r := openBlob(t, m, name, ReaderOptions{})
	defer r.Close()
	f, err := m.Create("copy.blob", vfs.Direct)
	require.NoError(t, err)
	w := NewWriter(vfs.NewSequentialWriter(f, vfs.WriterOptions{}), WriterOptions{Compression: r.Compression()})
	_, err = r.Iterate(func(rec Record) error {
		x, err := w.AddStored(rec.Key, rec.Stored)
		require.Equal(t, rec.Index, x)
		return err
	})
	require.NoError(t, err)
	info, err := w.Finish()
	require.NoError(t, err)
	require.EqualValues(t, len(data), info.Size)
	require.True(t, bytes.Equal(data, fileBytes(t, m, "copy.blob")), "%s differs when written by us", name)
}

func TestRoundTrip(t *testing.T) {
	for _, c := range compressions {
		t.Run(c.String(), func(t *testing.T) {
			m := vfs.NewMem()
			rng := rand.New(rand.NewPCG(1, uint64(c)))
			ps := append(randomPairs(rng, 300, 5000), pair{[]byte("empty"), nil}, pair{nil, []byte("no key")})
			xs, info := writeBlob(t, m, "9.blob", WriterOptions{FileNum: 9, Compression: c}, ps)
			require.EqualValues(t, len(ps), info.Count)
			require.EqualValues(t, info.Size, info.Bytes+HeaderLen+FooterLen)

			shared := cache.New(4 << 20)
			for _, ca := range []*cache.Cache{nil, shared} {
				r := openBlob(t, m, "9.blob", ReaderOptions{FileNum: 9, Cache: ca})
				for range 2 {
					for i, p := range ps {
						v, err := r.Get(p.key, xs[i])
						require.NoError(t, err)
						require.True(t, bytes.Equal(p.value, v))
					}
				}
				i := 0
				_, err := r.Iterate(func(rec Record) error {
					require.Equal(t, xs[i], rec.Index)
					require.Equal(t, string(ps[i].key), string(rec.Key))
					i++
					return nil
				})
				require.NoError(t, err)
				require.NoError(t, r.Close())
			}
			require.Positive(t, shared.Metrics().Hits)
			require.Zero(t, shared.Metrics().PinnedBytes)
			shared.Close()
		})
	}
}

func TestLargeValue(t *testing.T) {
	m := vfs.NewMem()
	value := make([]byte, 64<<20)
	for i := 0; i < len(value); i += 4096 {
		value[i] = byte(i >> 12)
	}
	ps := []pair{{[]byte("k"), value}, {[]byte("l"), []byte("after")}}
	xs, _ := writeBlob(t, m, "1.blob", WriterOptions{FileNum: 1, Compression: block.Snappy}, ps)
	r := openBlob(t, m, "1.blob", ReaderOptions{FileNum: 1, Cache: cache.New(8 << 20)})
	v, err := r.Get(ps[0].key, xs[0])
	require.NoError(t, err)
	require.True(t, bytes.Equal(value, v))
	st, err := r.Verify(context.Background(), nil)
	require.NoError(t, err)
	require.EqualValues(t, 2, st.Records)
	require.EqualValues(t, len(value)+5, st.ValueBytes)
}

func TestIndexEncoding(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		x := Index{
			File:        rapid.Uint64().Draw(t, "file"),
			Offset:      rapid.Uint64().Draw(t, "offset"),
			Size:        rapid.Uint64().Draw(t, "size"),
			Compression: block.Compression(rapid.Byte().Draw(t, "compression")),
		}
		b := x.Encode([]byte("prefix"))[6:]
		require.LessOrEqual(t, len(b), MaxIndexLen)
		y, err := DecodeIndex(b)
		require.NoError(t, err)
		require.Equal(t, x, y)
		for n := range b {
			_, err := DecodeIndex(b[:n])
			require.Error(t, err)
		}
		_, err = DecodeIndex(append(b, 0))
		require.Error(t, err)
	})
}

func TestTTLIsRefusedByName(t *testing.T) {
	var u *UnsupportedError
	_, err := DecodeIndex([]byte{0, 1, 'x'})
	require.ErrorAs(t, err, &u)
	require.ErrorContains(t, err, "inlined value with a TTL")
	_, err = DecodeIndex([]byte{2, 1, 1, 1, 1, 0})
	require.ErrorAs(t, err, &u)
	require.ErrorContains(t, err, "TTL")
	_, err = DecodeIndex([]byte{9, 1, 1, 1, 0})
	require.False(t, errors.As(err, &u))

	m := vfs.NewMem()
	_, _ = writeBlob(t, m, "2.blob", WriterOptions{}, nil)
	for _, c := range []struct {
		at   int
		want string
	}{{12, "TTL"}, {8, "column family"}, {4, "version"}, {14, "expiration"}} {
		b := fileBytes(t, m, "2.blob")
		b[c.at] |= 3
		putFile(t, m, "3.blob", b)
		f, err := m.Open("3.blob", vfs.Buffered)
		require.NoError(t, err)
		_, err = Open(f, ReaderOptions{})
		require.ErrorAs(t, err, &u, "byte %d", c.at)
		require.ErrorContains(t, err, c.want)
		require.ErrorContains(t, err, "3.blob")
	}
}

// TestEveryFlippedByteIsSeen flips each byte of a small file: what is read afterwards is an
// error or what was written.
func TestEveryFlippedByteIsSeen(t *testing.T) {
	m := vfs.NewMem()
	ps := randomPairs(rand.New(rand.NewPCG(3, 3)), 4, 60)
	xs, _ := writeBlob(t, m, "1.blob", WriterOptions{FileNum: 1, Compression: block.Zstd}, ps)
	good := fileBytes(t, m, "1.blob")
	for at := range good {
		b := bytes.Clone(good)
		b[at] ^= 0x41
		putFile(t, m, "bad.blob", b)
		f, err := m.Open("bad.blob", vfs.Buffered)
		require.NoError(t, err)
		r, err := Open(f, ReaderOptions{FileNum: 1})
		if err != nil {
			requireBadBytes(t, err, "bad.blob")
			continue
		}
		_, err = r.Verify(context.Background(), nil)
		requireBadBytes(t, err, "bad.blob")
		for i, p := range ps {
			if v, err := r.Get(p.key, xs[i]); err == nil {
				require.True(t, bytes.Equal(p.value, v), "byte %d: a wrong value", at)
			} else {
				requireBadBytes(t, err, "bad.blob")
			}
		}
		require.NoError(t, r.Close())
	}
}

// requireBadBytes wants an error that names the file.
func requireBadBytes(t require.TestingT, err error, file string) {
	var u *UnsupportedError
	if errors.As(err, &u) {
		require.Equal(t, file, u.File)
		return
	}
	ce, ok := corrupt.As(err)
	require.True(t, ok, "%v", err)
	require.Equal(t, file, ce.File)
}

// TestKilledWriter cuts a file at every length: the walk yields exactly the whole records.
func TestKilledWriter(t *testing.T) {
	m := vfs.NewMem()
	ps := randomPairs(rand.New(rand.NewPCG(4, 4)), 5, 40)
	xs, _ := writeBlob(t, m, "1.blob", WriterOptions{FileNum: 1}, ps)
	good := fileBytes(t, m, "1.blob")
	for n := HeaderLen; n < len(good); n++ {
		for _, zeros := range []int{0, 100} {
			putFile(t, m, "cut.blob", append(bytes.Clone(good[:n]), make([]byte, zeros)...))
			r := openBlob(t, m, "cut.blob", ReaderOptions{FileNum: 1})
			require.False(t, r.Closed())
			whole := 0
			for whole < len(xs) && int(xs[whole].Offset+xs[whole].Size) <= n {
				whole++
			}
			seen := 0
			end, err := r.Iterate(func(rec Record) error {
				require.Equal(t, xs[seen], rec.Index)
				seen++
				return nil
			})
			require.NoError(t, err)
			// A value of zeros may be completed by the zeros behind the cut.
			require.GreaterOrEqual(t, seen, whole, "cut at %d", n)
			if zeros == 0 {
				require.Equal(t, whole, seen, "cut at %d", n)
			}
			require.LessOrEqual(t, end, int64(n+zeros))
			_, err = r.Verify(context.Background(), nil)
			require.ErrorContains(t, err, "no footer")
			require.NoError(t, r.Close())
		}
	}
	putFile(t, m, "cut.blob", good[:HeaderLen-1])
	f, err := m.Open("cut.blob", vfs.Buffered)
	require.NoError(t, err)
	_, err = Open(f, ReaderOptions{})
	requireBadBytes(t, err, "cut.blob")
}

func TestWrongIndexes(t *testing.T) {
	m := vfs.NewMem()
	ps := randomPairs(rand.New(rand.NewPCG(5, 5)), 3, 100)
	xs, info := writeBlob(t, m, "1.blob", WriterOptions{FileNum: 1, Compression: block.Snappy}, ps)
	r := openBlob(t, m, "1.blob", ReaderOptions{FileNum: 1})
	for name, change := range map[string]func(*Index){
		"offset 0":        func(x *Index) { x.Offset = 0 },
		"offset far":      func(x *Index) { x.Offset = 1 << 63 },
		"offset end":      func(x *Index) { x.Offset = info.Size },
		"size huge":       func(x *Index) { x.Size = ^uint64(0) },
		"size one more":   func(x *Index) { x.Size++ },
		"size one less":   func(x *Index) { x.Size-- },
		"compression":     func(x *Index) { x.Compression = block.Zstd },
		"another's value": func(x *Index) { *x = xs[0] },
	} {
		x := xs[1]
		change(&x)
		_, err := r.Get(ps[1].key, x)
		requireBadBytes(t, err, "1.blob")
		require.Error(t, err, name)
	}
	x := xs[1]
	x.File = 2
	_, err := r.Get(ps[1].key, x)
	require.ErrorContains(t, err, "number 1, the index names 2")
}

// TestReadErrors injects an error into each read: it comes back as itself, never as corruption
// and never as the end of the file.
func TestReadErrors(t *testing.T) {
	m := vfs.NewMem()
	ps := randomPairs(rand.New(rand.NewPCG(6, 6)), 3000, 1000)
	xs, _ := writeBlob(t, m, "1.blob", WriterOptions{FileNum: 1}, ps)
	boom := errors.New("boom")
	for n := 0; ; n++ {
		f, err := m.Open("1.blob", vfs.Buffered)
		require.NoError(t, err)
		ff := &failingFile{File: f, left: n, err: boom}
		r, err := Open(ff, ReaderOptions{FileNum: 1})
		if err == nil {
			_, err = r.Iterate(func(Record) error { return nil })
		}
		if err == nil {
			_, err = r.Get(ps[9].key, xs[9])
		}
		if err == nil {
			require.Greater(t, n, 3)
			return
		}
		require.ErrorIs(t, err, boom)
		_, isCorrupt := corrupt.As(err)
		require.False(t, isCorrupt)
	}
}

// failingFile fails every read after the first few.
type failingFile struct {
	vfs.File
	left int
	err  error
}

func (f *failingFile) ReadAt(p []byte, off int64) (int, error) {
	if f.left--; f.left < 0 {
		return 0, f.err
	}
	return f.File.ReadAt(p, off)
}

func TestWriterErrorsStay(t *testing.T) {
	m := vfs.NewMem()
	f, err := m.Create("1.blob", vfs.Direct)
	require.NoError(t, err)
	w := NewWriter(vfs.NewSequentialWriter(f, vfs.WriterOptions{}), WriterOptions{Compression: block.BZip2})
	_, err = w.Add([]byte("k"), []byte("v"))
	require.ErrorContains(t, err, "BZip2 cannot be written")
	_, err = w.Finish()
	require.ErrorContains(t, err, "BZip2 cannot be written")

	f, err = m.Create("2.blob", vfs.Direct)
	require.NoError(t, err)
	w = NewWriter(vfs.NewSequentialWriter(f, vfs.WriterOptions{}), WriterOptions{})
	_, err = w.Finish()
	require.NoError(t, err)
	_, err = w.Add([]byte("k"), []byte("v"))
	require.ErrorIs(t, err, errFinished)
	require.NoError(t, w.Abort())
}
