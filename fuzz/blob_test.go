package fuzz

import (
	"bytes"
	"context"
	"encoding/binary"
	"testing"

	"github.com/cambiumdb/cambium/internal/deadfile"
	"github.com/cambiumdb/cambium/internal/vfs"
	"github.com/cambiumdb/cambium/sstable/blob"
	"github.com/cambiumdb/cambium/sstable/block"
)

const blobName = "000012.blob"

// newBlob writes a file with a record for each value, under keys of two bytes.
func newBlob(t testing.TB, values [][]byte, c block.Compression) ([]byte, []blob.Index) {
	m := vfs.NewMem()
	w := blob.NewWriter(create(t, m, blobName), blob.WriterOptions{FileNum: 12, Compression: c})
	var xs []blob.Index
	for i, v := range values {
		x, err := w.Add([]byte{byte(i), byte(i >> 8)}, v)
		must(t, err)
		xs = append(xs, x)
	}
	_, err := w.Finish()
	must(t, err)
	return load(t, m, blobName), xs
}

func FuzzBlob(f *testing.F) {
	values := [][]byte{[]byte("a value"), {}, bytes.Repeat([]byte("long "), 100)}
	for _, c := range []block.Compression{block.None, block.Snappy, block.Zlib, block.LZ4, block.Zstd} {
		b, _ := newBlob(f, values, c)
		f.Add(b)
		f.Add(b[:len(b)-blob.FooterLen-3])
	}
	for _, b := range fixtures(f, ".blob", 1<<20) {
		f.Add(b[:4000]) // as if its writer had been killed
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		useBlob(t, b)
		useBlob(t, withChecksums(b))
		blobRoundTrip(t, b)
	})
}

// withChecksums puts the checksums of a blob file right, as far as its records can be followed.
func withChecksums(file []byte) []byte {
	b := bytes.Clone(file)
	sum := func(p []byte) uint32 { return block.Checksum(block.ChecksumCRC32C, p) }
	for at := blob.HeaderLen; len(b)-at >= blob.RecordHeaderLen; {
		rec := b[at:]
		n := binary.LittleEndian.Uint64(rec) + binary.LittleEndian.Uint64(rec[8:])
		binary.LittleEndian.PutUint32(rec[24:], sum(rec[:24]))
		if n > uint64(len(rec)-blob.RecordHeaderLen) {
			break
		}
		end := blob.RecordHeaderLen + int(n)
		binary.LittleEndian.PutUint32(rec[28:], sum(rec[blob.RecordHeaderLen:end]))
		at += end
	}
	if foot := len(b) - blob.FooterLen; foot >= blob.HeaderLen && bytes.Equal(b[foot:foot+4], []byte{0x37, 0x8f, 0x24, 0}) {
		binary.LittleEndian.PutUint32(b[foot+28:], sum(b[foot:foot+28]))
	}
	return b
}

func useBlob(t *testing.T, b []byte) {
	unsupported := is[*blob.UnsupportedError]
	records := uint64(0)
	before := allocated()
	r, err := blob.Open(newFile("db/"+blobName, b), blob.ReaderOptions{FileNum: 12})
	if err != nil {
		typed(t, err, blobName, unsupported)
		return
	}
	size := 0
	end, err := r.Iterate(func(rec blob.Record) error {
		if size += blob.RecordHeaderLen + len(rec.Key) + len(rec.Stored); size > len(b) {
			t.Fatalf("%d bytes of records in %d bytes", size, len(b))
		}
		if records++; records > 20 {
			return nil // enough of them
		}
		v, err := r.Get(rec.Key, rec.Index)
		if err != nil {
			typed(t, err, blobName, unsupported)
		}
		w, err2 := r.Value(nil, rec)
		if (err == nil) != (err2 == nil) {
			t.Fatalf("get: %v, value: %v", err, err2)
		}
		equal(t, v, w, "value")
		return nil
	})
	if err != nil {
		typed(t, err, blobName, unsupported)
	}
	if end > int64(len(b)) {
		t.Fatalf("records end at %d of %d", end, len(b))
	}
	if _, err := r.Verify(context.Background(), nil); err != nil {
		typed(t, err, blobName, unsupported)
	}
	perValue := min(block.MaxSize, uint64(len(b)+64)*(1<<16))
	if n := allocated() - before; n > 16*mib+(4*records+2)*(perValue+mib) {
		t.Fatalf("allocated %d bytes for %d records of %d bytes", n, records, len(b))
	}
	must(t, r.Close())
}

func blobRoundTrip(t *testing.T, b []byte) {
	types := []block.Compression{block.None, block.Snappy, block.Zlib, block.LZ4, block.Zstd}
	values := chunks(b)
	values = values[:min(len(values), 1000)]
	file, xs := newBlob(t, values, types[len(b)%len(types)])
	r, err := blob.Open(newFile(blobName, file), blob.ReaderOptions{FileNum: 12})
	must(t, err)
	for i, x := range xs {
		v, err := r.Get([]byte{byte(i), byte(i >> 8)}, x)
		must(t, err)
		equal(t, values[i], v, "value")
	}
	_, err = r.Verify(context.Background(), nil)
	must(t, err)
	must(t, r.Close())
}

func FuzzBlobIndex(f *testing.F) {
	f.Add(blob.Index{File: 12, Offset: 70, Size: 500, Compression: block.Zstd}.Encode(nil))
	f.Add([]byte{0, 1, 2})
	f.Add([]byte{2, 1, 2, 3, 4, 0})
	file, _ := newBlob(f, [][]byte{[]byte("a value"), []byte("another")}, block.None)
	f.Fuzz(func(t *testing.T, b []byte) {
		bounded(t, mib, func() {
			x, err := blob.DecodeIndex(b)
			if err != nil {
				return
			}
			y, err := blob.DecodeIndex(x.Encode(nil))
			must(t, err)
			if x != y {
				t.Fatalf("%v, then %v", x, y)
			}
			r, err := blob.Open(newFile(blobName, file), blob.ReaderOptions{FileNum: 12})
			must(t, err)
			x.File = 12
			if _, err := r.Get([]byte{0, 0}, x); err != nil {
				typed(t, err, blobName)
			}
			must(t, r.Close())
		})
	})
}

func FuzzDead(f *testing.F) {
	_, xs := newBlob(f, [][]byte{make([]byte, 100), make([]byte, 9000), make([]byte, 50), make([]byte, 5000)}, block.None)
	var d blob.Dead
	f.Add(d.Encode(nil))
	d.Add(2, xs[1])
	d.Add(2, xs[3])
	f.Add(d.Encode(nil))
	f.Fuzz(func(t *testing.T, b []byte) {
		before := allocated()
		d, rest, err := blob.DecodeDead(b)
		// A stretch may cover every group of units, which is two bytes and a few pointers each.
		if n := allocated() - before; n > 64<<20 {
			t.Fatalf("%d bytes made %d", len(b), n)
		}
		if err != nil {
			return
		}
		again, none, err := blob.DecodeDead(d.Encode(nil))
		must(t, err)
		state := deadfile.State{DBID: "id", Manifest: 5, ManifestBytes: 100}
		files, err := deadfile.Decode("f", deadfile.Encode(state, []deadfile.File{{Num: 7, Dead: d}}), state)
		must(t, err)
		if len(files) != 1 || !bytes.Equal(files[0].Dead.Encode(nil), d.Encode(nil)) {
			t.Fatalf("%x is lost in a file", d.Encode(nil))
		}
		if len(none) > 0 || len(rest) > len(b) || !bytes.Equal(again.Encode(nil), d.Encode(nil)) {
			t.Fatalf("%x is read as %x", d.Encode(nil), again.Encode(nil))
		}
		end := int64(0)
		for off, n := range d.Holes(vfs.HoleUnit, nil) {
			if off < end || n <= 0 || off%vfs.HoleUnit != 0 || n%vfs.HoleUnit != 0 {
				t.Fatalf("a hole of %d bytes at %d behind %d", n, off, end)
			}
			end = off + n
		}
	})
}
