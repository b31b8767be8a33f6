package block

import (
	"bytes"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"sort"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/cambiumdb/cambium/internal/ikey"
	"github.com/cambiumdb/cambium/internal/zstd"
)

// TestChecksumVectors pins each type on published values.
func TestChecksumVectors(t *testing.T) {
	// RFC 3720: CRC32C of 32 zero bytes is 8a9136aa; stored it is masked.
	crc := uint32(0x8a9136aa)
	require.Equal(t, crc>>15|crc<<17, Checksum(ChecksumCRC32C, make([]byte, 32))-0xa282ead8)
	require.Equal(t, uint32(0x02cc5d05), xxh32(nil))
	require.Equal(t, uint32(0x32d153ff), xxh32([]byte("abc")))
	require.Equal(t, uint32(0xe2293b2f), xxh32([]byte("Nobody inspects the spammish repetition")))
	require.Equal(t, uint32(0x51d8e999), Checksum(ChecksumXXHash64, nil)) // XXH64("") = ef46db3751d8e999
	require.Zero(t, Checksum(ChecksumNone, []byte("x")))
	require.Zero(t, Checksum(ChecksumXXH3, nil))
	require.False(t, ChecksumType(5).Known())
}

func TestContextModifier(t *testing.T) {
	require.Zero(t, ContextModifier(0, 99))
	require.Equal(t, uint32(5^(7+2)), ContextModifier(5, 2<<32|7))
}

var writable = []Compression{None, Snappy, Zlib, LZ4, LZ4HC, Zstd}

// sample is text that compresses, with some noise.
func sample(n int) []byte {
	rnd := rand.New(rand.NewPCG(3, uint64(n)))
	var b bytes.Buffer
	for b.Len() < n {
		fmt.Fprintf(&b, "user:%05d field=%d;", rnd.IntN(100), rnd.Uint32())
	}
	return b.Bytes()[:n]
}

func TestCompressRoundTrip(t *testing.T) {
	for _, c := range writable {
		for _, n := range []int{0, 1, 100, 4096, 300000} {
			for _, level := range []int{0, 1, 9} {
				if n > 100000 && level == 9 {
					continue // slow, and no other path
				}
				src := sample(n)
				out, err := Compress([]byte("before"), src, c, level, nil)
				require.NoError(t, err)
				require.Equal(t, "before", string(out[:6]))
				size, body, err := DecompressedSize(out[6:], c)
				require.NoError(t, err)
				require.Equal(t, n, size)
				dst := bytes.Repeat([]byte{0xaa}, size+8)
				require.NoError(t, Decompress(dst[:size], body, c, nil), "%v %d", c, n)
				require.True(t, bytes.Equal(src, dst[:size]))
				require.Equal(t, strings.Repeat("\xaa", 8), string(dst[size:]), "wrote behind the buffer")
				if n > 0 {
					require.Error(t, Decompress(dst[:size-1], body, c, nil))
				}
				require.Error(t, Decompress(make([]byte, size+1), body, c, nil))
			}
		}
	}
	_, err := Compress(nil, nil, BZip2, 0, nil)
	require.EqualError(t, err, "compress: BZip2 cannot be written")
	_, _, err = DecompressedSize([]byte{1, 2}, 6)
	require.EqualError(t, err, "unknown compression type 6")
}

// TestMaxCompressedLen: what does not get shorter fits the room that Compress is said to take.
func TestMaxCompressedLen(t *testing.T) {
	for _, c := range writable {
		for _, n := range []int{1, 100, 4096, 300_000, 2 << 20} {
			noise := make([]byte, n)
			_, err := rand.NewChaCha8([32]byte{byte(n)}).Read(noise)
			require.NoError(t, err)
			room := make([]byte, 0, MaxCompressedLen(n, c))
			out, err := Compress(room, noise, c, 0, nil)
			require.NoError(t, err)
			require.Same(t, &room[:1][0], &out[0], "%v %d: moved to a larger buffer", c, n)
		}
	}
}

func TestDictionary(t *testing.T) {
	dict := NewDict(sample(2000))
	require.Nil(t, NewDict(nil))
	require.Equal(t, 2000, dict.Len())
	for _, c := range []Compression{Zstd, Zlib} {
		src := sample(500)
		plain, err := Compress(nil, src, c, 0, nil)
		require.NoError(t, err)
		out, err := Compress(nil, src, c, 0, dict)
		require.NoError(t, err)
		require.Less(t, len(out), len(plain))
		size, body, err := DecompressedSize(out, c)
		require.NoError(t, err)
		dst := make([]byte, size)
		require.NoError(t, Decompress(dst, body, c, dict))
		require.Equal(t, src, dst)
		if err := Decompress(dst, body, c, nil); err == nil {
			require.NotEqual(t, src, dst)
		}
	}
}

// TestZstdFrames reads frames that libzstd and the Go implementation made, in either build.
func TestZstdFrames(t *testing.T) {
	src := bytes.Repeat([]byte("cambium grows in rings; "), 12)
	dict := NewDict([]byte("grows in rings; cambium "))
	for _, d := range []*Dict{nil, dict} {
		out, err := Compress(nil, src, Zstd, 0, d)
		require.NoError(t, err)
		t.Logf("%s makes: %s", zstd.Implementation, base64.StdEncoding.EncodeToString(out[2:]))
	}
	for name, f := range map[string]struct {
		frame string
		dict  *Dict
	}{
		"libzstd":        {"KLUv/WAgAP0AAMBjYW1iaXVtIGdyb3dzIGluIHJpbmdzOyABABSsOsc=", nil},
		"libzstd dict":   {"KLUv/WAgAJUAAEBjYW1iaXVtIAIA/Z0UGKDiAg==", dict},
		"klauspost":      {"KLUv/UAAIAANAQCEAWNhbWJpdW0gZ3Jvd3MgaW4gcmluZ3M7IAFUFAQsFGw=", nil},
		"klauspost dict": {"KLUv/UAAIACVAABAY2FtYml1bSACAP2dFBig4gI=", dict},
	} {
		b, err := base64.StdEncoding.DecodeString(f.frame)
		require.NoError(t, err)
		dst := make([]byte, len(src))
		require.NoError(t, Decompress(dst, b, Zstd, f.dict), name)
		require.Equal(t, src, dst)
	}
}

// TestDecompressGarbage feeds each decoder bytes that are no block of its kind.
func TestDecompressGarbage(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 9))
	dict := NewDict(sample(1000))
	for _, c := range []Compression{Snappy, Zlib, BZip2, LZ4, LZ4HC, Zstd} {
		good := []byte("BZh91AY&SY")
		if c.Writable() {
			var err error
			good, err = Compress(nil, sample(400), c, 0, nil)
			require.NoError(t, err)
		}
		for range 3000 {
			b := append([]byte(nil), good...)
			for range 1 + rnd.IntN(6) {
				b[rnd.IntN(len(b))] = byte(rnd.Uint32())
			}
			b = b[:1+rnd.IntN(len(b))]
			size, body, err := DecompressedSize(b, c)
			if err != nil || size > 1<<20 {
				continue
			}
			dst := make([]byte, size+16)
			for _, d := range []*Dict{nil, dict} {
				_ = Decompress(dst[:size:size], body, c, d)
				require.Equal(t, make([]byte, 16), dst[size:])
			}
		}
	}
	for _, c := range []Compression{Zlib, BZip2, LZ4, Zstd} {
		_, _, err := DecompressedSize([]byte{0xff, 0xff, 0xff, 0xff, 0x0f, 0}, c)
		require.ErrorContains(t, err, "impossible")
		_, _, err = DecompressedSize(nil, c)
		require.Error(t, err)
	}
}

// TestHandle pins the encoding.
func TestHandle(t *testing.T) {
	h := Handle{Offset: 300, Size: 7}
	b := h.Encode(nil)
	require.Equal(t, []byte{0xac, 0x02, 0x07}, b)
	got, n := DecodeHandle(append(b, 1))
	require.Equal(t, h, got)
	require.Equal(t, 3, n)
	for i := range b {
		_, n := DecodeHandle(b[:i])
		require.Zero(t, n)
	}
	require.Equal(t, uint64(312), h.End())
}

// TestCheck refuses handles that no file can have.
func TestCheck(t *testing.T) {
	s := &Source{Label: "f", Size: 1 << 40}
	require.NoError(t, s.Check(Handle{Offset: 1<<40 - TrailerLen - 10, Size: 10}))
	for h, want := range map[Handle]string{
		{Offset: 1<<40 - TrailerLen - 10, Size: 11}: "outside the file",
		{Offset: 1 << 63, Size: 1}:                  "outside the file",
		{Offset: 1<<64 - 1, Size: 10}:               "outside the file",
		{Size: MaxSize + 1}:                         "exceeds 268435456",
		{Size: 1<<64 - 1}:                           "exceeds 268435456",
	} {
		require.ErrorContains(t, s.Check(h), want)
	}
	require.Error(t, (&Source{Size: 4}).Check(Handle{}))
}

// TestVarint32 compares the reader with encoding/binary, and refuses what does not fit.
func TestVarint32(t *testing.T) {
	for _, v := range []uint32{0, 1, 127, 128, 1 << 14, 1<<28 - 1, 1 << 28, 1<<32 - 1} {
		b := binary.AppendUvarint([]byte{9}, uint64(v))
		got, next := uvarint32(b, 1)
		require.Equal(t, v, got)
		require.Equal(t, len(b), next)
		_, next = uvarint32(b[:len(b)-1], 1)
		require.Zero(t, next)
	}
	_, next := uvarint32([]byte{0xff, 0xff, 0xff, 0xff, 0x10}, 0)
	require.Zero(t, next)
	_, next = uvarint32(bytes.Repeat([]byte{0x80}, 9), 0)
	require.Zero(t, next)
}

// TestRocksHash pins values of RocksDB's util/hash_test.cc.
func TestRocksHash(t *testing.T) {
	require.Equal(t, uint32(3164544308), rocksHash(nil, 0xbc9f1d34))
	require.Equal(t, uint32(422599524), rocksHash([]byte("\x08"), 0xbc9f1d34))
	require.Equal(t, uint32(3168152998), rocksHash([]byte("\x17"), 0xbc9f1d34))
}

// TestDataBlock compares the iterator with a sorted list, with and without hash index.
func TestDataBlock(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var keys []ikey.Key
		seen := map[string]bool{}
		for range rapid.IntRange(1, 60).Draw(t, "n") {
			k := ikey.Make(rapid.SliceOfN(rapid.SampledFrom([]byte("ab\x00\xff")), 0, 5).Draw(t, "user"),
				rapid.Uint64Range(1, 9).Draw(t, "seq"), ikey.KindSet)
			if !seen[k.String()] {
				seen[k.String()] = true
				keys = append(keys, k)
			}
		}
		sort.Slice(keys, func(i, j int) bool { return ikey.Compare(keys[i], keys[j]) < 0 })
		hashed := rapid.Bool().Draw(t, "hashed")
		b := NewDataBuilder(rapid.IntRange(1, 6).Draw(t, "interval"), hashed)
		for _, k := range keys {
			b.Add(k.Encode(nil), []byte(k.String()))
		}
		require.Equal(t, len(keys), b.Entries())
		data := b.Finish()
		var it Iter
		require.NoError(t, it.Init(data, Origin{}))
		require.Equal(t, hashed, it.buckets > 0)
		at := func(i int, ok bool) {
			require.NoError(t, it.Err())
			require.Equal(t, i >= 0 && i < len(keys), ok)
			if ok {
				require.Equal(t, keys[i].String(), it.Key().String())
				require.Equal(t, keys[i].String(), string(it.Value()))
			}
		}
		i := 0
		for ok := it.First(); ok; ok = it.Next() {
			at(i, ok)
			i++
		}
		require.Equal(t, len(keys), i)
		for ok := it.Last(); ok; ok = it.Prev() {
			i--
			at(i, ok)
		}
		require.Zero(t, i)
		for range 30 {
			target := ikey.Make(rapid.SliceOfN(rapid.SampledFrom([]byte("ab\x00\xff")), 0, 5).Draw(t, "target"),
				rapid.Uint64Range(0, 10).Draw(t, "at"), ikey.KindSeek)
			want := sort.Search(len(keys), func(i int) bool { return ikey.Compare(keys[i], target) >= 0 })
			at(want, it.SeekGE(target.User, target.Trailer))
			at(want-1, it.SeekLT(target.User, target.Trailer))
			found := it.SeekUser(target.User, target.Trailer)
			require.NoError(t, it.Err())
			have := want < len(keys) && bytes.Equal(keys[want].User, target.User)
			if have {
				at(want, found)
			} else if found {
				require.NotEqual(t, string(target.User), string(it.Key().User))
			}
		}
	})
}

// TestIndexBlock walks both sorts of index.
func TestIndexBlock(t *testing.T) {
	key := func(user string, seq uint64) []byte {
		return ikey.Make([]byte(user), seq, ikey.KindSet).Encode(nil)
	}
	build := func(next string) (string, bool) {
		var b IndexBuilder
		b.Add(key("apple", 5), key("cherry", 9), Handle{0, 100})
		b.Add(key("cherry", 3), key(next, 2), Handle{105, 50})
		b.Add(key("plum", 1), nil, Handle{160, 70})
		data, users := b.Finish(nil)
		var it IndexIter
		require.NoError(t, it.Init(data, IndexFormat{UserKeys: users, DeltaValue: true}, Origin{}))
		var out strings.Builder
		for ok := it.First(); ok; ok = it.Next() {
			fmt.Fprintf(&out, "%s%v ", it.User(), it.Handle())
		}
		require.NoError(t, it.Err())
		n := 0
		for ok := it.Last(); ok; ok = it.Prev() {
			n++
		}
		require.Equal(t, 3, n)
		require.True(t, it.SeekGE([]byte("cherry"), ikey.MakeTrailer(2, ikey.KindSeek)))
		fmt.Fprintf(&out, "cherry#2 -> %v", it.Handle())
		require.False(t, it.SeekGE([]byte("q"), 0))
		return out.String(), users
	}
	out, users := build("plum")
	require.True(t, users)
	require.Equal(t, "b[0x0,+100] d[0x69,+50] plum[0xa0,+70] cherry#2 -> [0x69,+50]", out)
	out, users = build("cherry") // two blocks share a user key
	require.False(t, users)
	require.Equal(t, "b[0x0,+100] cherry[0x69,+50] plum[0xa0,+70] cherry#2 -> [0xa0,+70]", out)
}

// TestIndexDelta reads handles that are stored as differences, as RocksDB does between
// restarts.
func TestIndexDelta(t *testing.T) {
	var data []byte
	data = append(data, 0, 2, 'a', 'a')
	data = Handle{1000, 50}.Encode(data)
	data = append(data, 1, 1, 'b')
	data = binary.AppendVarint(data, -20) // size 30 at 1055
	data = append(data, 1, 1, 'c')
	data = binary.AppendVarint(data, 7) // size 37 at 1090
	data = binary.LittleEndian.AppendUint32(data, 0)
	data = binary.LittleEndian.AppendUint32(data, 1)
	var it IndexIter
	require.NoError(t, it.Init(data, IndexFormat{UserKeys: true, DeltaValue: true}, Origin{}))
	for _, want := range []Handle{{1000, 50}, {1055, 30}, {1090, 37}} {
		require.True(t, it.Next() || it.First())
		require.Equal(t, want, it.Handle())
	}
	require.False(t, it.Next())
	require.True(t, it.SeekGE([]byte("ac"), 0))
	require.Equal(t, Handle{1090, 37}, it.Handle())
	require.True(t, it.Prev())
	require.Equal(t, Handle{1055, 30}, it.Handle())
}

// FuzzBlock drives the three iterators over bytes that may be anything.
func FuzzBlock(f *testing.F) {
	b := NewDataBuilder(2, true)
	for i := range 9 {
		b.Add(ikey.Make([]byte{byte(i)}, 1, ikey.KindSet).Encode(nil), []byte("value"))
	}
	f.Add(append([]byte(nil), b.Finish()...))
	f.Add([]byte{0, 8, 0, 1, 1, 1, 1, 1, 1, 1, 1, 0, 0, 0, 0, 1, 0, 0, 0})
	f.Fuzz(func(t *testing.T, data []byte) { abuseBlock(data) })
}

func abuseBlock(data []byte) {
	var it Iter
	if it.Init(data, Origin{}) == nil {
		for ok := it.First(); ok; ok = it.Next() {
			_ = it.Key().String()
		}
		n := 0
		for ok := it.Last(); ok && n < 2*len(data); ok = it.Prev() {
			n++
		}
		for _, u := range []string{"", "a", "\x03"} {
			it.SeekGE([]byte(u), ikey.MakeTrailer(5, ikey.KindSeek))
			it.SeekLT([]byte(u), ikey.MakeTrailer(5, ikey.KindSeek))
			it.SeekUser([]byte(u), ikey.MakeTrailer(5, ikey.KindSeek))
		}
	}
	for i := range 8 {
		var ix IndexIter
		f := IndexFormat{UserKeys: i&1 != 0, DeltaValue: i&2 != 0, FirstKey: i&4 != 0}
		if ix.Init(data, f, Origin{}) != nil {
			continue
		}
		for ok := ix.First(); ok; ok = ix.Next() {
			_ = append(ix.User(), ix.FirstKey()...)
		}
		n := 0
		for ok := ix.Last(); ok && n < 2*len(data); ok = ix.Prev() {
			n++
		}
		ix.SeekGE([]byte("\x03"), 7)
	}
	var raw RawIter
	if raw.Init(data, Origin{}) == nil {
		raw.Find("x")
	}
}

// TestGarbageBlocks is abuseBlock over many damaged blocks.
func TestGarbageBlocks(t *testing.T) {
	rnd := rand.New(rand.NewPCG(4, 4))
	b := NewDataBuilder(3, true)
	for i := range 20 {
		b.Add(ikey.Make([]byte{byte(i)}, 1, ikey.KindSet).Encode(nil), []byte("value"))
	}
	good := b.Finish()
	for range 20000 {
		bad := append([]byte(nil), good...)
		for range 1 + rnd.IntN(5) {
			bad[rnd.IntN(len(bad))] = byte(rnd.Uint32())
		}
		abuseBlock(bad[rnd.IntN(len(bad)):])
	}
}
