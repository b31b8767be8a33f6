package fuzz

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"testing"

	"github.com/cambiumdb/cambium/internal/ikey"
	"github.com/cambiumdb/cambium/internal/vfs"
	"github.com/cambiumdb/cambium/sstable"
	"github.com/cambiumdb/cambium/sstable/block"
)

const (
	tableName = "000007.sst"
	footerLen = 53
	maxSteps  = 2000 // an index may name one block many times
)

// newTable writes a table of one entry for each key.
func newTable(t testing.TB, keys [][]byte, o sstable.WriterOptions) []byte {
	m := vfs.NewMem()
	w := sstable.NewWriter(create(t, m, tableName), o)
	for i, k := range keys {
		must(t, w.Add(ikey.Make(k, uint64(i+1), ikey.KindSet), append([]byte("value of "), k...)))
	}
	_, err := w.Finish()
	must(t, err)
	return load(t, m, tableName)
}

func seedKeys(n int) (keys [][]byte) {
	for i := range n {
		keys = append(keys, fmt.Appendf(nil, "key%04d", i*7))
	}
	return keys
}

// unchecked returns the table with its footer saying that there are no checksums, so that
// changed bytes reach the decoders.
func unchecked(table []byte) []byte {
	b := bytes.Clone(table)
	if len(b) >= footerLen {
		b[len(b)-footerLen] = byte(block.ChecksumNone)
	}
	return b
}

func FuzzTable(f *testing.F) {
	for _, o := range []sstable.WriterOptions{
		{},
		{BlockSize: 200, BitsPerKey: 10, HashIndex: true},
		{BlockSize: 300, Compression: block.Snappy, RestartInterval: 3},
		{BlockSize: 300, Compression: block.Zstd, BitsPerKey: 5},
		{BlockSize: 300, Compression: block.LZ4},
		{BlockSize: 300, Compression: block.Zlib},
	} {
		f.Add(newTable(f, seedKeys(60), o))
	}
	f.Add(rangeDelTable(f))
	for _, b := range fixtures(f, ".sst", 32<<10) {
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		useTable(t, b)
		useTable(t, unchecked(b))
	})
}

func rangeDelTable(f *testing.F) []byte {
	m := vfs.NewMem()
	w := sstable.NewWriter(create(f, m, tableName), sstable.WriterOptions{})
	must(f, w.AddRangeDelete([]byte("b"), []byte("d"), 9))
	must(f, w.AddRangeDelete([]byte("c"), []byte("x"), 7))
	must(f, w.Add(ikey.Make([]byte("c"), 8, ikey.KindDelete), nil))
	_, err := w.Finish()
	must(f, err)
	return load(f, m, tableName)
}

// useTable opens b as a table and reads it in every way. Each block read may decompress to
// what its format can reach at most.
func useTable(t *testing.T, b []byte) {
	before := allocated()
	var counters sstable.Counters
	r, err := sstable.Open(newFile("db/"+tableName, b), sstable.ReaderOptions{Counters: &counters})
	if err != nil {
		typed(t, err, tableName, is[*sstable.UnsupportedError])
	} else {
		walkTable(t, r)
		must(t, r.Close())
	}
	reads := counters.BlockReads.Load() + 2
	perRead := min(block.MaxSize, uint64(len(b)+64)*(1<<16)) + 4*mib
	if n := allocated() - before; n > 32*mib+reads*perRead {
		t.Fatalf("allocated %d bytes in %d block reads of a file of %d", n, reads, len(b))
	}
}

func walkTable(t *testing.T, r *sstable.Reader) {
	fail := func(err error) {
		if err != nil {
			typed(t, err, tableName, is[*sstable.UnsupportedError])
		}
	}
	var keys [][]byte
	it := r.NewIterator(sstable.IterOptions{NoFill: true})
	steps := 0
	for ok := it.First(); ok && steps < maxSteps; ok = it.Next() {
		if steps%50 == 0 {
			keys = append(keys, bytes.Clone(it.Key().User))
		}
		steps++
	}
	fail(it.Err())
	steps = 0
	for ok := it.Last(); ok && steps < maxSteps/4; ok = it.Prev() {
		steps++
	}
	fail(it.Err())
	for _, k := range append(keys[:min(len(keys), 8)], nil, []byte("key0100x")) {
		if it.SeekGE(ikey.Seek(k, ikey.MaxSeq)) {
			it.Prev()
		}
		fail(it.Err())
		if it.SeekLT(ikey.Seek(k, 3)) {
			it.Next()
		}
		fail(it.Err())
		_, err := r.MayContain(k)
		fail(err)
		v, _, err := r.Get(k, ikey.MaxSeq)
		fail(err)
		v.Release()
	}
	fail(it.Close())
	r.RangeDels().Cover([]byte("c"), ikey.MaxSeq)
	_ = r.Properties()
	_, err := r.Layout(100)
	fail(err)
	if steps < maxSteps/4 { // an index of thousands of entries on one block takes too long
		_, err = r.Verify(context.Background())
		fail(err)
	}
}

// parts of a table that assemble puts together; nil parts are sound ones.
type parts struct{ data, index, filter, properties []byte }

// assemble makes a table without checksums from its uncompressed blocks.
func assemble(p parts) []byte {
	key := ikey.Make([]byte("key"), 5, ikey.KindSet).Encode(nil)
	if p.data == nil {
		b := block.NewDataBuilder(16, false)
		b.Add(key, []byte("value"))
		p.data = b.Finish()
	}
	var out []byte
	add := func(payload []byte) block.Handle {
		h := block.Handle{Offset: uint64(len(out)), Size: uint64(len(payload))}
		out = append(out, block.AppendTrailer(bytes.Clone(payload), block.None, block.ChecksumNone)...)
		return h
	}
	data := add(p.data)
	var ib block.IndexBuilder
	ib.Add(key, nil, data)
	index, userKeys := ib.Finish(nil)
	if p.index == nil {
		p.index = index
	}
	if p.properties == nil {
		p.properties = properties(userKeys)
	}
	indexAt := add(p.index)
	meta := block.NewBuilder(1)
	if p.filter != nil {
		meta.Add([]byte("fullfilter.rocksdb.BuiltinBloomFilter"), add(p.filter).Encode(nil))
	}
	meta.Add([]byte("rocksdb.properties"), add(p.properties).Encode(nil))
	metaAt := add(bytes.Clone(meta.Finish()))

	foot := metaAt.Encode([]byte{byte(block.ChecksumNone)})
	foot = append(indexAt.Encode(foot), make([]byte, footerLen)...)[:1+40]
	foot = binary.LittleEndian.AppendUint32(foot, 5)
	return append(out, binary.LittleEndian.AppendUint64(foot, 0x88e241b785f4cff7)...)
}

// properties is the least that a table must say about itself.
func properties(userKeys bool) []byte {
	b := block.NewBuilder(1 << 30)
	one := []byte{1}
	userKey := []byte{0}
	if userKeys {
		userKey = one
	}
	for _, p := range []struct {
		name  string
		value []byte
	}{
		{"rocksdb.block.based.table.index.type", make([]byte, 4)},
		{"rocksdb.block.based.table.whole.key.filtering", []byte("1")},
		{"rocksdb.comparator", []byte("leveldb.BytewiseComparator")},
		{"rocksdb.index.key.is.user.key", userKey},
		{"rocksdb.index.value.is.delta.encoded", one},
		{"rocksdb.num.data.blocks", one},
		{"rocksdb.num.entries", one},
	} {
		b.Add([]byte(p.name), p.value)
	}
	return bytes.Clone(b.Finish())
}

func FuzzFilter(f *testing.F) {
	f.Add([]byte{}, []byte("k"), uint8(10))
	f.Add(append(bytes.Repeat([]byte{0x5a}, 128), 0xff, 0, 6, 0, 0), []byte("\x03abc\x02de"), uint8(10))
	f.Add(append(bytes.Repeat([]byte{0xff}, 64), 6, 1, 0, 0, 0), []byte("\x01a\x01b\x01c"), uint8(1))
	f.Add([]byte{0xfe, 0, 0, 0, 0, 1}, bytes.Repeat([]byte("\x05hello"), 300), uint8(50))
	f.Fuzz(func(t *testing.T, filter, keys []byte, bits uint8) {
		useTable(t, assemble(parts{filter: append([]byte{}, filter...)}))
		sorted := sortedKeys(keys)
		if len(sorted) == 0 {
			return
		}
		table := newTable(t, sorted, sstable.WriterOptions{BitsPerKey: float64(bits)})
		r, err := sstable.Open(newFile(tableName, table), sstable.ReaderOptions{})
		must(t, err)
		for _, k := range sorted {
			may, err := r.MayContain(k)
			must(t, err)
			v, ok, err := r.Get(k, ikey.MaxSeq)
			must(t, err)
			if !may || !ok {
				t.Fatalf("key %x is lost: filter %v, get %v", k, may, ok)
			}
			v.Release()
		}
		must(t, r.Close())
	})
}

func FuzzProperties(f *testing.F) {
	f.Add(properties(true), "user.name", []byte("value"))
	f.Add(properties(false), "", []byte{})
	f.Fuzz(func(t *testing.T, props []byte, name string, value []byte) {
		useTable(t, assemble(parts{properties: append([]byte{}, props...)}))
		name = "user." + name
		o := sstable.WriterOptions{UserProperties: map[string]string{name: string(value)}}
		r, err := sstable.Open(newFile(tableName, newTable(t, seedKeys(2), o)), sstable.ReaderOptions{})
		must(t, err)
		if got := r.Properties().User[name]; got != string(value) {
			t.Fatalf("property %q: want %x got %x", name, value, got)
		}
		must(t, r.Close())
	})
}

func FuzzIndex(f *testing.F) {
	var ib block.IndexBuilder
	for i := range 20 {
		last := ikey.Make(fmt.Appendf(nil, "key%02d", i), 5, ikey.KindSet).Encode(nil)
		next := ikey.Make(fmt.Appendf(nil, "key%02d", i+1), 5, ikey.KindSet).Encode(nil)
		ib.Add(last, next, block.Handle{Offset: uint64(i) * 1000, Size: 990})
	}
	index, _ := ib.Finish(nil)
	f.Add(index, uint8(3))
	f.Add(index, uint8(0))
	f.Add(index, uint8(7))
	f.Fuzz(func(t *testing.T, b []byte, format uint8) {
		bounded(t, 4*mib+uint64(len(b))*8, func() { useIndex(t, b, format) })
		useTable(t, assemble(parts{index: append([]byte{}, b...)}))
	})
}

func useIndex(t *testing.T, b []byte, format uint8) {
	var it block.IndexIter
	f := block.IndexFormat{UserKeys: format&1 != 0, DeltaValue: format&2 != 0, FirstKey: format&4 != 0}
	if err := it.Init(b, f, block.Origin{File: tableName}); err != nil {
		typed(t, err, tableName)
		return
	}
	check := func() {
		if err := it.Err(); err != nil {
			typed(t, err, tableName)
		}
	}
	steps := 0
	for ok := it.First(); ok; ok = it.Next() {
		_, _ = it.User(), it.FirstKey()
		if steps++; steps > len(b) {
			t.Fatalf("more than %d entries in %d bytes", steps, len(b))
		}
	}
	check()
	steps = 0
	for ok := it.Last(); ok && steps < maxSteps; ok = it.Prev() {
		steps++
	}
	check()
	for _, k := range []string{"", "key10", "zz"} {
		it.SeekGE([]byte(k), ikey.MakeTrailer(3, ikey.KindSet))
		check()
	}
}

// TestAssemble: what the targets put together is a table, and a checksum that is switched off
// is not looked at.
func TestAssemble(t *testing.T) {
	for _, b := range [][]byte{assemble(parts{}), unchecked(newTable(t, [][]byte{[]byte("key")}, sstable.WriterOptions{}))} {
		r, err := sstable.Open(newFile(tableName, b), sstable.ReaderOptions{})
		must(t, err)
		v, ok, err := r.Get([]byte("key"), ikey.MaxSeq)
		must(t, err)
		if !ok || !bytes.Contains(v.Bytes, []byte("value")) {
			t.Fatalf("key: %v %q", ok, v.Bytes)
		}
		v.Release()
		must(t, r.Close())
	}
}
