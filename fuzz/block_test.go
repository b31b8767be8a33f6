package fuzz

import (
	"bytes"
	"testing"

	"github.com/cambiumdb/cambium/internal/ikey"
	"github.com/cambiumdb/cambium/sstable/block"
)

func FuzzBlock(f *testing.F) {
	for _, hashed := range []bool{false, true} {
		b := block.NewDataBuilder(4, hashed)
		for _, k := range seedKeys(20) {
			b.Add(ikey.Make(k, 9, ikey.KindSet).Encode(nil), k)
		}
		f.Add(bytes.Clone(b.Finish()), []byte("key0042"))
	}
	f.Fuzz(func(t *testing.T, b, key []byte) {
		bounded(t, 4*mib+uint64(len(b))*16, func() {
			useBlock(t, b, key)
			useRawBlock(t, b)
		})
		useTable(t, assemble(parts{data: append([]byte{}, b...)}))
		blockRoundTrip(t, b, len(key)%2 == 0)
	})
}

func useBlock(t *testing.T, b, key []byte) {
	var it block.Iter
	if err := it.Init(b, block.Origin{File: tableName}); err != nil {
		typed(t, err, tableName)
		return
	}
	check := func() {
		if err := it.Err(); err != nil {
			typed(t, err, tableName)
		}
	}
	steps, size := 0, 0
	for ok := it.First(); ok; ok = it.Next() {
		size += len(it.Value())
		if steps++; steps > len(b) || size > len(b) {
			t.Fatalf("%d entries with %d bytes of values in %d bytes", steps, size, len(b))
		}
	}
	check()
	steps = 0
	for ok := it.Last(); ok && steps < maxSteps; ok = it.Prev() {
		steps++
	}
	check()
	trailer := ikey.MakeTrailer(5, ikey.KindSet)
	it.SeekGE(key, trailer)
	check()
	it.SeekLT(key, trailer)
	check()
	it.SeekUser(key, trailer)
	check()
}

func useRawBlock(t *testing.T, b []byte) {
	var it block.RawIter
	if err := it.Init(b, block.Origin{File: tableName}); err != nil {
		typed(t, err, tableName)
		return
	}
	for steps := 0; it.Next(); steps++ {
		if steps > len(b) || len(it.Value()) > len(b) {
			t.Fatalf("%d entries in %d bytes", steps, len(b))
		}
	}
	if err := it.Err(); err != nil {
		typed(t, err, tableName)
	}
}

// blockRoundTrip builds a block of keys cut from b and reads it back.
func blockRoundTrip(t *testing.T, b []byte, hashed bool) {
	keys := sortedKeys(b)
	w := block.NewDataBuilder(1+len(b)%20, hashed)
	for _, k := range keys {
		w.Add(ikey.Make(k, 7, ikey.KindSet).Encode(nil), k)
	}
	var it block.Iter
	must(t, it.Init(w.Finish(), block.Origin{}))
	i := 0
	for ok := it.First(); ok; ok = it.Next() {
		equal(t, keys[i], it.Key().User, "key")
		equal(t, keys[i], it.Value(), "value")
		i++
	}
	must(t, it.Err())
	if i != len(keys) {
		t.Fatalf("%d of %d entries", i, len(keys))
	}
	for _, k := range keys {
		if !it.SeekUser(k, ikey.MakeTrailer(ikey.MaxSeq, ikey.KindSet)) {
			t.Fatalf("key %x is not found", k)
		}
		equal(t, k, it.Key().User, "sought key")
	}
}

func FuzzDecompress(f *testing.F) {
	text := bytes.Repeat([]byte("some text that compresses, "), 20)
	for typ := range 8 {
		c := block.Compression(typ)
		f.Add(uint8(typ), text)
		if c.Writable() {
			b, err := block.Compress(nil, text, c, 0, nil)
			must(f, err)
			f.Add(uint8(typ), b)
		}
	}
	f.Fuzz(func(t *testing.T, typ uint8, b []byte) {
		c := block.Compression(typ % 9)
		size, body, err := block.DecompressedSize(b, c)
		if err == nil && size <= 4*mib {
			bounded(t, 32*mib+4*uint64(size), func() { _ = block.Decompress(make([]byte, size), body, c, nil) })
		}
		if !c.Writable() {
			return
		}
		packed, err := block.Compress(nil, b, c, 0, nil)
		must(t, err)
		size, body, err = block.DecompressedSize(packed, c)
		must(t, err)
		out := make([]byte, size)
		must(t, block.Decompress(out, body, c, nil))
		equal(t, b, out, c.String())
	})
}
