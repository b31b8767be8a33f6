package sstable

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/cambiumdb/cambium/internal/cache"
	"github.com/cambiumdb/cambium/internal/ikey"
	"github.com/cambiumdb/cambium/internal/invariants"
	"github.com/cambiumdb/cambium/internal/iterator"
	"github.com/cambiumdb/cambium/internal/rangedel"
	"github.com/cambiumdb/cambium/internal/vfs"
	"github.com/cambiumdb/cambium/sstable/block"
)

// content is what a test table holds.
type content struct {
	points []pair
	ranges []rangedel.Tombstone
}

// writeTable writes c into fs and returns the file's bytes.
func writeTable(t require.TestingT, fs vfs.FS, name string, c content, o WriterOptions) Info {
	f, err := fs.Create(name, vfs.Buffered)
	require.NoError(t, err)
	w := NewWriter(vfs.NewSequentialWriter(f, vfs.WriterOptions{}), o)
	for _, r := range c.ranges {
		require.NoError(t, w.AddRangeDelete(r.Start, r.End, r.Seq))
	}
	for _, p := range c.points {
		require.NoError(t, w.Add(p.key, []byte(p.val)))
	}
	estimate := w.EstimatedSize()
	info, err := w.Finish()
	require.NoError(t, err)
	require.Equal(t, uint64(len(c.points)+len(c.ranges)), w.Entries())
	last := 0
	if n := len(c.points); n > 0 {
		last = len(c.points[n-1].val)
	}
	require.GreaterOrEqual(t, estimate, info.Size-min(info.Size, info.Size/4+2000))
	require.LessOrEqual(t, estimate, info.Size+info.Size/4+uint64(o.BlockSize+last)) // the last block counts uncompressed
	return info
}

func openFile(t require.TestingT, fs vfs.FS, name string, o ReaderOptions) *Reader {
	f, err := fs.Open(name, vfs.Buffered)
	require.NoError(t, err)
	r, err := Open(f, o)
	require.NoError(t, err)
	return r
}

// drawContent makes sorted entries with several versions of some keys.
func drawContent(t *rapid.T) content {
	user := rapid.OneOf(
		rapid.SliceOfN(rapid.SampledFrom([]byte("ab\x00\xff")), 0, 6),
		rapid.SliceOfN(rapid.Byte(), 0, 40),
	)
	value := rapid.OneOf(
		rapid.SliceOfN(rapid.Byte(), 0, 40),
		rapid.Map(rapid.IntRange(0, 9000), func(n int) []byte { return bytes.Repeat([]byte("value "), n/6) }),
	)
	var c content
	n := rapid.IntRange(0, 120).Draw(t, "entries")
	for range n {
		k := ikey.Make(user.Draw(t, "user"), rapid.Uint64Range(0, 20).Draw(t, "seq"),
			rapid.SampledFrom([]ikey.Kind{ikey.KindSet, ikey.KindDelete, ikey.KindBlobIndex, ikey.KindEntity}).Draw(t, "kind"))
		c.points = append(c.points, pair{k, string(value.Draw(t, "value"))})
	}
	slices.SortFunc(c.points, func(a, b pair) int { return ikey.Compare(a.key, b.key) })
	c.points = slices.CompactFunc(c.points, func(a, b pair) bool { return ikey.Compare(a.key, b.key) == 0 })
	ends := rapid.SliceOfN(user, 0, 8).Draw(t, "bounds")
	for i := 0; i+1 < len(ends); i += 2 {
		if bytes.Compare(ends[i], ends[i+1]) < 0 {
			c.ranges = append(c.ranges, rangedel.Tombstone{Start: ends[i], End: ends[i+1], Seq: uint64(i + 1)})
		}
	}
	slices.SortFunc(c.ranges, func(a, b rangedel.Tombstone) int {
		return ikey.Compare(ikey.Make(a.Start, a.Seq, ikey.KindRangeDelete), ikey.Make(b.Start, b.Seq, ikey.KindRangeDelete))
	})
	return c
}

// get is the model's answer: the newest entry of user visible at seq.
func (c content) get(user []byte, seq uint64) (pair, bool) {
	for _, p := range c.points {
		if bytes.Equal(p.key.User, user) && p.key.Seq() <= seq {
			return p, true
		}
	}
	return pair{}, false
}

// TestRoundTrip writes random tables in every combination of options and compares the reader
// with the model.
func TestRoundTrip(t *testing.T) {
	c := cache.New(8 << 20)
	defer c.Close()
	num := uint64(0)
	rapid.Check(t, func(t *rapid.T) {
		model := drawContent(t)
		if len(model.points)+len(model.ranges) == 0 {
			return
		}
		o := WriterOptions{
			BlockSize:       rapid.SampledFrom([]int{1, 100, 1000, 4096, 70000}).Draw(t, "block"),
			RestartInterval: rapid.SampledFrom([]int{1, 2, 3, 16}).Draw(t, "restart"),
			Compression: rapid.SampledFrom([]block.Compression{block.None, block.Snappy, block.Zlib,
				block.LZ4, block.LZ4HC, block.Zstd}).Draw(t, "compression"),
			BitsPerKey:     rapid.SampledFrom([]float64{0, 1, 10, 33.3}).Draw(t, "bits"),
			HashIndex:      rapid.Bool().Draw(t, "hash"),
			UserProperties: map[string]string{"a.user": "property"},
			checksum: rapid.SampledFrom([]block.ChecksumType{block.ChecksumCRC32C, block.ChecksumXXHash32,
				block.ChecksumXXHash64, block.ChecksumXXH3}).Draw(t, "checksum"),
		}
		fs := vfs.NewMem()
		info := writeTable(t, fs, "t.sst", model, o)
		checkInfo(t, model, info)
		num++
		ro := ReaderOptions{FileNum: num}
		if rapid.Bool().Draw(t, "cached") {
			ro.Cache = c
		}
		r := openFile(t, fs, "t.sst", ro)
		defer r.Close()
		checkReader(t, model, r)
	})
	require.Zero(t, c.Metrics().PinnedBytes)
}

func checkInfo(t *rapid.T, c content, info Info) {
	var lo, hi ikey.Key
	note := func(k ikey.Key, smallest, largest bool) {
		if smallest && (lo.User == nil || ikey.Compare(k, lo) < 0) {
			lo = k
		}
		if largest && (hi.User == nil || ikey.Compare(k, hi) > 0) {
			hi = k
		}
	}
	var seqs []uint64
	for _, p := range c.points {
		note(p.key, true, true)
		seqs = append(seqs, p.key.Seq())
	}
	for _, r := range c.ranges {
		note(ikey.Make(r.Start, r.Seq, ikey.KindRangeDelete), true, false)
		note(ikey.Key{User: r.End, Trailer: ikey.RangeDelSentinel}, false, true)
		seqs = append(seqs, r.Seq)
	}
	require.Equal(t, lo.String(), info.Smallest.String())
	require.Equal(t, hi.String(), info.Largest.String())
	require.Equal(t, slices.Min(seqs), info.SmallestSeq)
	require.Equal(t, slices.Max(seqs), info.LargestSeq)
}

func checkReader(t *rapid.T, c content, r *Reader) {
	_, err := r.Verify(context.Background())
	require.NoError(t, err)
	require.Equal(t, rangedel.Fragment(c.ranges).String(), r.RangeDels().String())
	require.Equal(t, "property", r.Properties().User["a.user"])
	for _, p := range c.points {
		for _, seq := range []uint64{p.key.Seq(), p.key.Seq() + 1, ikey.MaxSeq} {
			want, _ := c.get(p.key.User, seq)
			v, ok, err := r.Get(p.key.User, seq)
			require.NoError(t, err)
			require.True(t, ok)
			require.Equal(t, want.key.Trailer, v.Trailer)
			require.Equal(t, want.val, string(v.Bytes))
			v.Release()
		}
		if seq := p.key.Seq(); seq > 0 {
			want, found := c.get(p.key.User, seq-1)
			v, ok, err := r.Get(p.key.User, seq-1)
			require.NoError(t, err)
			require.Equal(t, found, ok)
			require.Equal(t, want.val, string(v.Bytes))
			v.Release()
		}
	}
	walk(t, c, r)
}

// walk moves an iterator at random beside an index into the model.
func walk(t *rapid.T, c content, r *Reader) {
	it := r.NewIterator(IterOptions{
		Compaction: rapid.Bool().Draw(t, "compaction"),
		NoFill:     rapid.Bool().Draw(t, "nofill"),
		Upper:      rapid.SampledFrom([][]byte{nil, {}, []byte("b")}).Draw(t, "upper"),
	})
	defer it.Close()
	at, ok := -2, false // -2 = not positioned yet
	n := len(c.points)
	steps := rapid.IntRange(1, 40).Draw(t, "steps")
	for range steps {
		op := rapid.SampledFrom([]string{"first", "last", "ge", "lt", "next", "prev", "next", "prev"}).Draw(t, "op")
		if at == -2 && (op == "next" || op == "prev") {
			continue
		}
		switch op {
		case "first":
			at, ok = 0, it.First()
		case "last":
			at, ok = n-1, it.Last()
		case "next":
			if at < n {
				at++
			}
			ok = it.Next()
		case "prev":
			if at >= 0 {
				at--
			}
			ok = it.Prev()
		default:
			k := drawTarget(t, c)
			i, _ := slices.BinarySearchFunc(c.points, k, func(p pair, k ikey.Key) int { return ikey.Compare(p.key, k) })
			if op == "ge" {
				at, ok = i, it.SeekGE(k)
			} else {
				at, ok = i-1, it.SeekLT(k)
			}
		}
		require.NoError(t, it.Err())
		require.Equal(t, at >= 0 && at < n, ok, "%s to %d of %d", op, at, n)
		require.Equal(t, ok, it.Valid())
		if ok {
			require.Equal(t, c.points[at].key.String(), it.Key().String())
			require.Equal(t, c.points[at].val, string(it.Value()))
		}
	}
}

func drawTarget(t *rapid.T, c content) ikey.Key {
	seq := rapid.Uint64Range(0, 21).Draw(t, "seekseq")
	if len(c.points) > 0 && rapid.Bool().Draw(t, "present") {
		p := c.points[rapid.IntRange(0, len(c.points)-1).Draw(t, "which")]
		if rapid.Bool().Draw(t, "exact") {
			return p.key
		}
		return ikey.Seek(p.key.User, seq)
	}
	return ikey.Seek(rapid.SliceOfN(rapid.SampledFrom([]byte("ab\x00\xff")), 0, 4).Draw(t, "seek"), seq)
}

// numbered makes n entries k000000.. with values of size bytes that compress to a half.
func numbered(n, size int) content {
	rnd := rand.New(rand.NewPCG(1, 2))
	var c content
	for i := range n {
		v := make([]byte, size)
		for j := range size / 2 {
			v[j] = byte(rnd.Uint32())
		}
		c.points = append(c.points, pair{ikey.Make(fmt.Appendf(nil, "key%06d", i), uint64(i+1), ikey.KindSet), string(v)})
	}
	return c
}

// TestSstDump lets RocksDB's own tool read what the writer makes.
func TestSstDump(t *testing.T) {
	tool, err := exec.LookPath("sst_dump")
	if err != nil {
		missing(t, "sst_dump")
	}
	c := numbered(1000, 200)
	c.points[10].key = ikey.Make(c.points[10].key.User, 11, ikey.KindDelete)
	c.points[10].val = ""
	many := content{ranges: []rangedel.Tombstone{{Start: []byte("key000100"), End: []byte("key000200"), Seq: 9000},
		{Start: []byte("zebra"), End: []byte("zoo"), Seq: 9001}}}
	for i := range 60 {
		for v := range 30 {
			many.points = append(many.points, pair{ikey.Make(fmt.Appendf(nil, "u%04d", i), uint64(1000-v), ikey.KindSet), strings.Repeat("x", 50)})
		}
	}
	onlyRanges := content{ranges: many.ranges}
	big := content{points: []pair{{ikey.Make([]byte("big"), 1, ikey.KindSet), strings.Repeat("0123456789", 1<<20)},
		{ikey.Make([]byte("small"), 2, ikey.KindSet), "v"}}}
	var long content
	for n := 1; n < 600; n++ {
		long.points = append(long.points, pair{ikey.Make([]byte(strings.Repeat("k", n)), 5, ikey.KindSet), "v"})
	}
	i := 0
	for _, comp := range []block.Compression{block.None, block.Snappy, block.Zlib, block.LZ4, block.LZ4HC, block.Zstd} {
		for name, content := range map[string]content{"plain": c, "versions": many, "ranges": onlyRanges, "big": big, "long": long} {
			i++
			o := WriterOptions{
				Compression: comp, BitsPerKey: 10, HashIndex: i%2 == 0, BlockSize: []int{4096, 65536}[i/2%2],
				DBID: "db", SessionID: "ABCDEFGHIJKLMNOPQRST", FileNumber: 7, CreationTime: 1700000000,
				checksum: block.ChecksumType(1 + i%4),
			}
			t.Run(fmt.Sprintf("%v/%s", comp, name), func(t *testing.T) { sstDump(t, tool, content, o) })
		}
	}
}

func sstDump(t *testing.T, tool string, c content, o WriterOptions) {
	dir := t.TempDir()
	file := filepath.Join(dir, "000007.sst")
	info := writeTable(t, vfs.OS(nil), file, c, o)
	run := func(args ...string) string {
		cmd := exec.Command(tool, append([]string{"--file=" + file}, args...)...)
		cmd.Dir = dir
		out, err := cmd.CombinedOutput()
		require.NoError(t, err, "%s", out)
		require.NotContains(t, string(out), "orrupt")
		return string(out)
	}
	require.Contains(t, run("--command=verify"), "The file is ok")
	scan := run("--command=scan", "--output_hex", "--show_properties")
	for _, want := range []string{
		fmt.Sprintf("# data blocks: %d\n", info.Properties.NumDataBlocks),
		fmt.Sprintf("# entries: %d\n", len(c.points)+len(c.ranges)),
		fmt.Sprintf("# range deletions: %d\n", len(c.ranges)),
		"SST file compression algo: " + o.Compression.String() + "\n",
		"comparator name: leveldb.BytewiseComparator\n",
		"original file number: 7\n",
	} {
		require.Contains(t, scan, want)
	}
	for i, line := range entryLines(scan) {
		if i < len(c.points) {
			p := c.points[i]
			if want := fmt.Sprintf("'%X' seq:%d, type:%d", p.key.User, p.key.Seq(), p.key.Kind()); !strings.HasPrefix(line, want) {
				t.Fatalf("entry %d: %.80s, want %s", i, line, want)
			}
		}
	}
	require.Equal(t, len(c.points), len(entryLines(scan)))
	if o.Compression > block.Snappy {
		return // the rest does not depend on compression
	}
	run("--command=raw")
	dump, err := os.ReadFile(strings.TrimSuffix(file, ".sst") + "_dump.txt")
	require.NoError(t, err)
	require.Contains(t, string(dump), "Footer Details")
	require.Contains(t, string(dump), "format version: 5")
	for _, r := range c.ranges {
		require.Contains(t, string(dump), fmt.Sprintf("HEX    %X: %X\n", r.Start, r.End))
	}
}

// entryLines are the lines of sst_dump that show an entry.
func entryLines(out string) []string {
	var lines []string
	for l := range strings.Lines(out) {
		if strings.HasPrefix(l, "'") {
			lines = append(lines, l)
		}
	}
	return lines
}

// TestOrder refuses entries that do not ascend, and keeps the error.
func TestOrder(t *testing.T) {
	fs := vfs.NewMem()
	f, err := fs.Create("t.sst", vfs.Buffered)
	require.NoError(t, err)
	w := NewWriter(vfs.NewSequentialWriter(f, vfs.WriterOptions{}), WriterOptions{BlockSize: 1})
	require.NoError(t, w.Add(ikey.Make([]byte("b"), 2, ikey.KindSet), nil))
	require.ErrorContains(t, w.Add(ikey.Make([]byte("b"), 3, ikey.KindSet), nil), `"b"#3,SET does not sort after "b"#2,SET`)
	require.Error(t, w.Add(ikey.Make([]byte("c"), 3, ikey.KindSet), nil))
	_, err = w.Finish()
	require.ErrorContains(t, err, "does not sort")
	require.NoError(t, w.Abort())
	require.NoError(t, w.Abort())
}

// TestGlobalSeq reads an ingested table: its entries get the manifest's sequence number.
func TestGlobalSeq(t *testing.T) {
	fs := vfs.NewMem()
	c := content{}
	for i := range 100 {
		c.points = append(c.points, pair{ikey.Make([]byte{byte(i)}, 0, ikey.KindSet), "v"})
	}
	writeTable(t, fs, "t.sst", c, WriterOptions{BlockSize: 50, External: true, BitsPerKey: 10})
	r := openFile(t, fs, "t.sst", ReaderOptions{LargestSeq: 77})
	defer r.Close()
	v, ok, err := r.Get([]byte{42}, 77)
	require.NoError(t, err)
	require.True(t, ok)
	require.Equal(t, ikey.MakeTrailer(77, ikey.KindSet), v.Trailer)
	_, ok, err = r.Get([]byte{42}, 76)
	require.NoError(t, err)
	require.False(t, ok)
	for _, p := range collect(t, r.NewIterator(IterOptions{})) {
		require.Equal(t, uint64(77), p.key.Seq())
	}
	it := r.NewIterator(IterOptions{})
	defer it.Close()
	require.True(t, it.SeekLT(ikey.Make([]byte{42}, 77, ikey.KindSet)))
	require.Equal(t, byte(41), it.Key().User[0])
	require.True(t, it.SeekGE(ikey.Make([]byte{42}, 76, ikey.KindSet)))
	require.Equal(t, byte(43), it.Key().User[0])
}

// TestStampedGlobalSeq reads a table into whose properties RocksDB has written the sequence number
// without a new checksum, and finds damage beside it all the same.
func TestStampedGlobalSeq(t *testing.T) {
	fs := vfs.NewMem()
	writeTable(t, fs, "t.sst", content{points: []pair{{ikey.Make([]byte("k"), 0, ikey.KindSet), "v"}}}, WriterOptions{External: true})
	f, err := fs.Open("t.sst", vfs.Buffered)
	require.NoError(t, err)
	size, err := f.Size()
	require.NoError(t, err)
	data := make([]byte, size)
	_, err = f.ReadAt(data, 0)
	require.NoError(t, err)
	require.NoError(t, f.Close())
	name := []byte("global_seqno") // the end of a key that shares its start with the one before
	at := bytes.Index(data, name) + len(name)
	require.Zero(t, binary.LittleEndian.Uint64(data[at:]))
	binary.LittleEndian.PutUint64(data[at:], 77)

	for _, o := range []ReaderOptions{{}, {LargestSeq: 77}} {
		r, err := openBytes(t, "t.sst", data, o)
		require.NoError(t, err)
		v, ok, err := r.Get([]byte("k"), ikey.MaxSeq)
		require.NoError(t, err)
		require.True(t, ok)
		require.EqualValues(t, 77, v.Trailer.Seq())
		v.Release()
		_, err = r.Verify(t.Context())
		require.NoError(t, err)
		require.NoError(t, r.Close())
	}
	_, err = openBytes(t, "t.sst", data, ReaderOptions{LargestSeq: 78})
	require.ErrorContains(t, err, "global sequence number 77, manifest says 78")
	data[at-len(name)] ^= 1
	_, err = openBytes(t, "t.sst", data, ReaderOptions{})
	require.ErrorContains(t, err, "crc32c want")
}

// TestExternal shows what a table for other databases says of itself, and what it refuses.
func TestExternal(t *testing.T) {
	begin := func() (*vfs.Mem, *Writer) {
		fs := vfs.NewMem()
		f, err := fs.Create("t.sst", vfs.Buffered)
		require.NoError(t, err)
		return fs, NewWriter(vfs.NewSequentialWriter(f, vfs.WriterOptions{}), WriterOptions{External: true})
	}
	fs, w := begin()
	require.NoError(t, w.Add(ikey.Make([]byte("a"), 0, ikey.KindSet), []byte("v")))
	require.NoError(t, w.Add(ikey.Make([]byte("b"), 0, ikey.KindDelete), nil))
	require.NoError(t, w.AddRangeDelete([]byte("c"), []byte("d"), 0))
	_, err := w.Finish()
	require.NoError(t, err)
	r := openFile(t, fs, "t.sst", ReaderOptions{})
	p := r.Properties()
	require.EqualValues(t, 2, p.ExternalVersion)
	require.True(t, p.Has("rocksdb.external_sst_file.global_seqno"))
	require.Zero(t, p.GlobalSeq)
	require.Empty(t, p.ColumnFamilyName)
	require.NoError(t, r.Close())

	for name, do := range map[string]func(w *Writer) error{
		"a key twice": func(w *Writer) error {
			require.NoError(t, w.Add(ikey.Make([]byte("a"), 0, ikey.KindSet), nil))
			return w.Add(ikey.Make([]byte("a"), 0, ikey.KindDelete), nil)
		},
		"a sequence number": func(w *Writer) error { return w.Add(ikey.Make([]byte("a"), 1, ikey.KindSet), nil) },
		"a sequence number of a range": func(w *Writer) error {
			return w.AddRangeDelete([]byte("a"), []byte("b"), 1)
		},
	} {
		_, w := begin()
		require.ErrorContains(t, do(w), "write table: ", name)
		require.NoError(t, w.Abort())
	}
}

// TestDirect writes and reads through direct I/O where the machine's temporary directory has it.
func TestDirect(t *testing.T) {
	dir := t.TempDir()
	fs := vfs.OS(nil)
	c := numbered(500, 3000)
	c.ranges = []rangedel.Tombstone{{Start: []byte("a"), End: []byte("b"), Seq: 1}}
	f, err := fs.Create(filepath.Join(dir, "000008.sst"), vfs.Direct)
	require.NoError(t, err)
	w := NewWriter(vfs.NewSequentialWriter(f, vfs.WriterOptions{}), WriterOptions{Compression: block.Snappy, BitsPerKey: 10})
	for _, p := range c.points {
		require.NoError(t, w.Add(p.key, []byte(p.val)))
	}
	require.NoError(t, w.AddRangeDelete([]byte("a"), []byte("b"), 1))
	_, err = w.Finish()
	require.NoError(t, err)
	f, err = fs.Open(filepath.Join(dir, "000008.sst"), vfs.Direct)
	require.NoError(t, err)
	r, err := Open(f, ReaderOptions{})
	require.NoError(t, err)
	require.NoError(t, use(t, r, &c))
	require.NoError(t, r.Close())
}

// TestReadahead counts device reads: a scan needs few, a lookup one.
func TestReadahead(t *testing.T) {
	fs, name := tableOf(t, numbered(4000, 1000), WriterOptions{BitsPerKey: 10})
	var n Counters
	r := openFile(t, fs, name, ReaderOptions{Counters: &n})
	defer r.Close()
	require.Equal(t, uint64(1), n.DeviceReads.Load(), "one read opens a table")
	reads := func(f func()) uint64 {
		before := n.DeviceReads.Load()
		f()
		return n.DeviceReads.Load() - before
	}
	require.Equal(t, uint64(1), reads(func() {
		v, _, err := r.Get([]byte("key000777"), ikey.MaxSeq)
		require.NoError(t, err)
		v.Release()
	}))
	require.Less(t, reads(func() { collect(t, r.NewIterator(IterOptions{})) }), uint64(30))
	require.LessOrEqual(t, reads(func() { collect(t, r.NewIterator(IterOptions{Compaction: true})) }), uint64(5))
	require.Equal(t, uint64(1), reads(func() {
		it := r.NewIterator(IterOptions{})
		it.SeekGE(ikey.Seek([]byte("key000100"), ikey.MaxSeq))
		it.Close()
	}))
}

// TestNoAllocations holds lookups and steps in cached blocks to no allocation at all.
func TestNoAllocations(t *testing.T) {
	most := 0.1
	if invariants.Enabled {
		most = 20 // the race detector empties pools at random
	}
	fs, name := tableOf(t, numbered(2000, 100), WriterOptions{BitsPerKey: 10, HashIndex: true})
	c := cache.New(8 << 20)
	defer c.Close()
	r := openFile(t, fs, name, ReaderOptions{Cache: c, FileNum: 1})
	defer r.Close()
	key := []byte("key001234")
	require.LessOrEqual(t, testing.AllocsPerRun(1000, func() {
		v, _, _ := r.Get(key, ikey.MaxSeq)
		v.Release()
	}), most)
	it := r.NewIterator(IterOptions{})
	defer it.Close()
	collectCheap(it)
	it.First()
	require.LessOrEqual(t, testing.AllocsPerRun(1000, func() { it.Next() }), most)
	it.Last()
	require.LessOrEqual(t, testing.AllocsPerRun(1000, func() { it.Prev() }), most)
}

// collectCheap brings every block into the cache.
func collectCheap(it iterator.Iterator) {
	for ok := it.First(); ok; ok = it.Next() {
		_ = it.Key()
	}
}
