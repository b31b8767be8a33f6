package sstable

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/cambiumdb/cambium/internal/corrupt"
	"github.com/cambiumdb/cambium/internal/ikey"
	"github.com/cambiumdb/cambium/internal/iterator"
	"github.com/cambiumdb/cambium/internal/rangedel"
	"github.com/cambiumdb/cambium/internal/vfs"
	"github.com/cambiumdb/cambium/sstable/block"
)

// bytesFile is a read-only file over a slice. Read number failAt, counted from 1, fails with
// errDevice.
type bytesFile struct {
	vfs.File
	data   []byte
	reads  int
	failAt int
	closed int
}

var errDevice = errors.New("device says no")

func (f *bytesFile) ReadAt(p []byte, off int64) (int, error) {
	f.reads++
	if f.reads == f.failAt {
		return 0, errDevice
	}
	if off >= int64(len(f.data)) {
		return 0, io.EOF
	}
	n := copy(p, f.data[off:])
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

func (f *bytesFile) Size() (int64, error) { return int64(len(f.data)), nil }
func (f *bytesFile) Name() string         { return "db/000123.sst" }
func (f *bytesFile) Direct() bool         { return false }
func (f *bytesFile) Alignment() int       { return 4096 }
func (f *bytesFile) Close() error         { f.closed++; return nil }

// fileBytes reads a whole file.
func fileBytes(t testing.TB, fs vfs.FS, name string) []byte {
	t.Helper()
	f, err := fs.Open(name, vfs.Buffered)
	require.NoError(t, err)
	defer f.Close()
	n, err := f.Size()
	require.NoError(t, err)
	b := make([]byte, n)
	require.NoError(t, vfs.ReadFullAt(f, b, 0))
	return b
}

// small is a table with every kind of block.
func small(t testing.TB, comp block.Compression) ([]byte, content) {
	t.Helper()
	c := numbered(40, 30)
	c.points[3] = pair{ikey.Make(c.points[3].key.User, 4, ikey.KindDelete), ""}
	c.ranges = []rangedel.Tombstone{{Start: []byte("key000010"), End: []byte("key000012"), Seq: 99}}
	fs, name := tableOf(t, c, WriterOptions{BlockSize: 200, BitsPerKey: 10, HashIndex: true, Compression: comp})
	return fileBytes(t, fs, name), c
}

// use asks a reader everything and returns the first error; answers that differ from c fail
// the test unless c is nil.
func use(t testing.TB, r *Reader, c *content) error {
	if _, err := r.Verify(context.Background()); err != nil {
		return err
	}
	if _, err := r.Layout(0); err != nil {
		return err
	}
	n := 0
	for _, compaction := range []bool{false, true} {
		it := r.NewIterator(IterOptions{Compaction: compaction})
		n = 0
		for ok := it.First(); ok; ok = it.Next() {
			if c != nil && (ikey.Compare(c.points[n].key, it.Key()) != 0 || c.points[n].val != string(it.Value())) {
				t.Fatalf("entry %d is %v, want %v", n, it.Key(), c.points[n].key)
			}
			n++
		}
		err := errors.Join(it.Err(), it.Close())
		if err != nil {
			return err
		}
		if c != nil {
			require.Equal(t, len(c.points), n)
		}
	}
	if c == nil {
		return nil
	}
	require.Equal(t, rangedel.Fragment(c.ranges).String(), r.RangeDels().String())
	for _, p := range c.points {
		v, ok, err := r.Get(p.key.User, ikey.MaxSeq)
		if err != nil {
			return err
		}
		if !ok || p.val != string(v.Bytes) {
			t.Fatalf("get %v: %v %q", p.key, ok, v.Bytes)
		}
		v.Release()
	}
	return nil
}

// TestEveryByteFlipped damages each byte of a table in turn: an error that names the file, or
// the same answers.
func TestEveryByteFlipped(t *testing.T) {
	for _, comp := range []block.Compression{block.None, block.Snappy, block.Zstd} {
		data, c := small(t, comp)
		silent := 0
		for at := range data {
			for _, mask := range []byte{0x01, 0xff} {
				f := &bytesFile{data: data}
				data[at] ^= mask
				r, err := Open(f, ReaderOptions{})
				if err == nil {
					err = use(t, r, &c)
					require.NoError(t, r.Close())
				}
				data[at] ^= mask
				require.Equal(t, 1, f.closed)
				if err == nil {
					silent++
					continue
				}
				var unsupported *UnsupportedError
				if ce, ok := corrupt.As(err); ok {
					require.Equal(t, "000123.sst", ce.File)
				} else {
					require.ErrorAs(t, err, &unsupported, "byte %#x: %v", at, err)
				}
			}
		}
		// Only the footer is not under a checksum: padding, and numbers with a second reading.
		require.Less(t, silent, 2*footerLen)
	}
}

// TestCorruptionText pins how damage is reported.
func TestCorruptionText(t *testing.T) {
	data, _ := small(t, block.None)
	data[10] ^= 0xff
	r, err := Open(&bytesFile{data: data}, ReaderOptions{})
	require.NoError(t, err)
	defer r.Close()
	_, _, err = r.Get([]byte("key000000"), ikey.MaxSeq)
	require.Regexp(t, `^corruption: 000123.sst at 0x0: block of \d+ bytes: crc32c want [0-9a-f]{8} got [0-9a-f]{8}$`, err.Error())
	_, err = r.Verify(context.Background())
	require.ErrorContains(t, err, "crc32c")
}

// TestGarbageWithoutChecksums feeds the parsers damage that no checksum catches: whatever they
// answer, they end and touch nothing outside their blocks.
func TestGarbageWithoutChecksums(t *testing.T) {
	rnd := rand.New(rand.NewPCG(7, 8))
	for _, comp := range []block.Compression{block.None, block.Snappy, block.Zlib, block.LZ4, block.Zstd} {
		data, _ := small(t, comp)
		data[len(data)-footerLen] = byte(block.ChecksumNone)
		for range 700 {
			bad := append([]byte(nil), data...)
			for range 1 + rnd.IntN(4) {
				bad[rnd.IntN(len(bad)-footerLen)] = byte(rnd.Uint32())
			}
			abuse(t, bad)
		}
	}
}

// abuse drives every read path over bytes that may be anything.
func abuse(t testing.TB, data []byte) {
	r, err := Open(&bytesFile{data: data}, ReaderOptions{})
	if err != nil {
		return
	}
	defer r.Close()
	_ = use(t, r, nil)
	it := r.NewIterator(IterOptions{})
	defer it.Close()
	steps := 0
	for ok := it.Last(); ok && steps < 1000; ok = it.Prev() {
		steps++
	}
	for _, user := range []string{"", "key000000", "key000020", "key000039", "zzz"} {
		k := ikey.Seek([]byte(user), ikey.MaxSeq)
		for _, seek := range []func(ikey.Key) bool{it.SeekGE, it.SeekLT} {
			if seek(k) {
				_ = it.Key().String()
			}
		}
		v, _, _ := r.Get([]byte(user), ikey.MaxSeq)
		v.Release()
	}
}

// FuzzTable is abuse under the fuzzer's hand.
func FuzzTable(f *testing.F) {
	for _, comp := range []block.Compression{block.None, block.Snappy, block.LZ4, block.Zstd} {
		data, _ := small(f, comp)
		f.Add(data)
		data = append([]byte(nil), data...)
		data[len(data)-footerLen] = byte(block.ChecksumNone)
		f.Add(data)
	}
	f.Fuzz(func(t *testing.T, data []byte) { abuse(t, data) })
}

// TestEveryReadFails makes each read fail once: the error comes through as it is, and nothing
// is taken for the end of the table.
func TestEveryReadFails(t *testing.T) {
	data, c := big(t)
	probe := func(failAt int) (reads int, err error) {
		f := &bytesFile{data: data, failAt: failAt}
		r, err := Open(f, ReaderOptions{})
		if err != nil {
			return f.reads, err
		}
		err = use(t, r, &c)
		require.NoError(t, r.Close())
		return f.reads, err
	}
	total, err := probe(0)
	require.NoError(t, err)
	require.Greater(t, total, 100)
	for n := 1; n <= total; n += 1 + n/30 {
		_, err := probe(n)
		require.ErrorIs(t, err, errDevice, "read %d of %d", n, total)
		_, isCorrupt := corrupt.As(err)
		require.False(t, isCorrupt)
		require.NotErrorIs(t, err, io.EOF)
	}
}

// big is a table of several stretches of reading ahead.
func big(t testing.TB) ([]byte, content) {
	t.Helper()
	c := numbered(150, 8000)
	fs, name := tableOf(t, c, WriterOptions{BitsPerKey: 10})
	return fileBytes(t, fs, name), c
}

// TestIteratorErrorSticks shows what an iterator says after a failed read.
func TestIteratorErrorSticks(t *testing.T) {
	data, _ := big(t)
	f := &bytesFile{data: data}
	r, err := Open(f, ReaderOptions{})
	require.NoError(t, err)
	defer r.Close()
	it := r.NewIterator(IterOptions{})
	defer it.Close()
	f.failAt = f.reads + 3
	steps := 0
	for ok := it.First(); ok; ok = it.Next() {
		steps++
	}
	require.Less(t, steps, 150)
	for _, move := range []func() bool{it.Next, it.Prev} {
		require.False(t, move())
		require.ErrorIs(t, it.Err(), errDevice)
		require.False(t, it.Valid())
	}
	require.True(t, it.First())
	require.NoError(t, it.Err())
}

// TestTruncated opens every prefix of a table: none is taken for a table.
func TestTruncated(t *testing.T) {
	data, _ := small(t, block.None)
	for n := range data {
		_, err := Open(&bytesFile{data: data[:n]}, ReaderOptions{})
		require.Error(t, err)
	}
}

// TestFooters shows what is refused by name.
func TestFooters(t *testing.T) {
	data, _ := small(t, block.None)
	open := func(edit func(foot []byte)) error {
		bad := append([]byte(nil), data...)
		edit(bad[len(bad)-footerLen:])
		r, err := Open(&bytesFile{data: bad}, ReaderOptions{})
		if err == nil {
			require.NoError(t, r.Close())
		}
		return err
	}
	for _, version := range []uint32{2, 3, 4, 5} {
		require.NoError(t, open(func(b []byte) { binary.LittleEndian.PutUint32(b[41:], version) }))
	}
	for _, version := range []uint32{0, 1, 7, 8, 1 << 31} {
		err := open(func(b []byte) { binary.LittleEndian.PutUint32(b[41:], version) })
		require.EqualError(t, err, fmt.Sprintf("000123.sst: unsupported: format_version %d (2 to 6 are read)", version))
	}
	require.ErrorContains(t, open(func(b []byte) { binary.LittleEndian.PutUint64(b[45:], legacyMagic) }), "LevelDB table")
	require.ErrorContains(t, open(func(b []byte) { b[50]++ }), "table magic want 88e241b785f4cff7")
	require.ErrorContains(t, open(func(b []byte) { b[0] = 5 }), "unknown checksum type 5")
	require.ErrorContains(t, open(func(b []byte) { binary.LittleEndian.PutUint32(b[41:], 6) }), "extended magic")
}

// toVersion6 rewrites a table of ours as format version 6 with context checksums.
func toVersion6(t testing.TB, data []byte, context uint32) []byte {
	t.Helper()
	r, err := Open(&bytesFile{data: data}, ReaderOptions{})
	require.NoError(t, err)
	defer r.Close()
	out := append([]byte(nil), data[:r.foot.metaindex.Offset]...)
	seal := func(h block.Handle) {
		trailer := out[h.Offset+h.Size:]
		sum := binary.LittleEndian.Uint32(trailer[1:]) + block.ContextModifier(context, h.Offset)
		binary.LittleEndian.PutUint32(trailer[1:], sum)
	}
	l, err := r.Layout(0)
	require.NoError(t, err)
	for _, b := range l.Blocks {
		seal(b.Handle)
	}
	seal(r.foot.index)
	meta := block.NewBuilder(1)
	metas := map[string]block.Handle{metaIndex: r.foot.index}
	for _, m := range r.meta {
		seal(m.Handle)
		metas[m.Name] = m.Handle
	}
	for _, name := range []string{metaFullFilter, metaIndex, metaProperties, metaRangeDel} {
		if h, ok := metas[name]; ok {
			addMeta(meta, name, h)
		}
	}
	h := block.Handle{Offset: uint64(len(out))}
	b := meta.Finish()
	h.Size = uint64(len(b))
	out = append(out, block.AppendTrailer(b, block.None, r.foot.checksum)...)
	seal(h)
	off := uint64(len(out))
	foot := make([]byte, footerLen)
	foot[0] = byte(r.foot.checksum)
	copy(foot[1:], extendedMagic[:])
	binary.LittleEndian.PutUint32(foot[9:], context)
	binary.LittleEndian.PutUint32(foot[13:], uint32(h.Size))
	binary.LittleEndian.PutUint32(foot[41:], 6)
	binary.LittleEndian.PutUint64(foot[45:], magic)
	sum := block.Checksum(r.foot.checksum, foot) + block.ContextModifier(context, off)
	binary.LittleEndian.PutUint32(foot[5:], sum)
	return append(out, foot...)
}

// TestVersion6 reads context checksums, and finds a block that stands in another's place.
func TestVersion6(t *testing.T) {
	data, c := small(t, block.Snappy)
	data = toVersion6(t, data, 0xfeedbeef)
	r, err := Open(&bytesFile{data: data}, ReaderOptions{})
	require.NoError(t, err)
	require.NoError(t, use(t, r, &c))
	require.NoError(t, r.Close())
	for at := len(data) - footerLen; at < len(data); at++ {
		bad := append([]byte(nil), data...)
		bad[at] ^= 0x10
		_, err := Open(&bytesFile{data: bad}, ReaderOptions{})
		require.Error(t, err, "footer byte %d", at-len(data)+footerLen)
	}
}

var _ iterator.Iterator = (*tableIter)(nil)
