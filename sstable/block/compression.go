package block

import (
	"bytes"
	"compress/bzip2"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"sync"

	"github.com/klauspost/compress/flate"
	"github.com/klauspost/compress/snappy"
	"github.com/pierrec/lz4/v4"

	"github.com/cambiumdb/cambium/internal/zstd"
)

// Compression is the type byte of a block's trailer.
type Compression uint8

// RocksDB's compression types (include/rocksdb/compression_type.h). BZip2 is read only.
const (
	None   Compression = 0
	Snappy Compression = 1
	Zlib   Compression = 2
	BZip2  Compression = 3
	LZ4    Compression = 4
	LZ4HC  Compression = 5
	Zstd   Compression = 7
)

// String returns the name that RocksDB stores in the property rocksdb.compression.
func (c Compression) String() string {
	switch c {
	case None:
		return "NoCompression"
	case Snappy:
		return "Snappy"
	case Zlib:
		return "Zlib"
	case BZip2:
		return "BZip2"
	case LZ4:
		return "LZ4"
	case LZ4HC:
		return "LZ4HC"
	case Zstd:
		return "ZSTD"
	}
	return fmt.Sprintf("Compression(%d)", uint8(c))
}

// Writable reports whether Compress makes this type.
func (c Compression) Writable() bool {
	switch c {
	case None, Snappy, Zlib, LZ4, LZ4HC, Zstd:
		return true
	}
	return false
}

// maxRatio bounds uncompressed/compressed size for each type, so that a short block cannot
// ask for a large buffer. Each is above what the format can reach.
func (c Compression) maxRatio() uint64 {
	switch c {
	case Snappy:
		return 32
	case Zlib:
		return 1040
	case LZ4, LZ4HC:
		return 256
	case BZip2, Zstd:
		return 1 << 16
	}
	return 1
}

var errTooShort = errors.New("compressed bytes end early")

// Compress appends to dst the compressed form of src, as it stands in a block or a blob
// record: the varint32 length of src first, except for snappy. level 0 is the type's default;
// dict may be nil and is honoured for Zstd and Zlib only. The result can be longer than src.
func Compress(dst, src []byte, c Compression, level int, dict *Dict) ([]byte, error) {
	if uint64(len(src)) > MaxSize {
		return dst, fmt.Errorf("compress: %d bytes exceed %d", len(src), MaxSize)
	}
	if c != None && c != Snappy {
		dst = binary.AppendUvarint(dst, uint64(len(src)))
	}
	switch c {
	case None:
		return append(dst, src...), nil
	case Snappy:
		n := len(dst)
		dst = grow(dst, snappy.MaxEncodedLen(len(src)))
		return dst[:n+len(snappy.Encode(dst[n:cap(dst)], src))], nil
	case Zlib:
		return deflate(dst, src, level, dict)
	case LZ4:
		return lz4Compress(dst, src, 0)
	case LZ4HC:
		return lz4Compress(dst, src, max(level, 1))
	case Zstd:
		return zstd.Compress(dst, src, level, dict)
	}
	return dst, fmt.Errorf("compress: %v cannot be written", c)
}

// MaxCompressedLen is how much room Compress takes at most behind dst for n bytes.
func MaxCompressedLen(n int, c Compression) int {
	if c == Snappy {
		return snappy.MaxEncodedLen(n)
	}
	return n + n/128 + 128 // more than the bounds of the others, with the length in front
}

// grow makes room for n more bytes behind dst.
func grow(dst []byte, n int) []byte {
	if cap(dst)-len(dst) >= n {
		return dst
	}
	out := make([]byte, len(dst), len(dst)+n)
	copy(out, dst)
	return out
}

// DecompressedSize returns the number of bytes that Decompress needs, and the bytes of src
// behind the length. It refuses lengths above MaxSize or beyond what the format can expand to.
func DecompressedSize(src []byte, c Compression) (size int, body []byte, err error) {
	var n uint64
	switch c {
	case None:
		return len(src), src, nil
	case Snappy:
		d, err := snappy.DecodedLen(src)
		if err != nil {
			return 0, nil, err
		}
		n, body = uint64(d), src
	case Zlib, BZip2, LZ4, LZ4HC, Zstd:
		v, next := uvarint32(src, 0)
		if next == 0 {
			return 0, nil, errTooShort
		}
		n, body = uint64(v), src[next:]
	default:
		return 0, nil, fmt.Errorf("unknown compression type %d", uint8(c))
	}
	if stated, ok := zstd.ContentSize(body); c == Zstd && ok && stated != n {
		return 0, nil, fmt.Errorf("ZSTD length %d, its frame says %d", n, stated)
	}
	if n > MaxSize || n > (uint64(len(src))+64)*c.maxRatio() {
		return 0, nil, fmt.Errorf("%v length %d is impossible for %d bytes", c, n, len(src))
	}
	return int(n), body, nil
}

// Decompress fills dst, whose length is the one that DecompressedSize gave, from body.
// Anything but exactly that many bytes is an error. It keeps neither slice.
func Decompress(dst, body []byte, c Compression, dict *Dict) error {
	dst = dst[:len(dst):len(dst)]
	n := 0
	var err error
	switch c {
	case None:
		n = copy(dst, body)
		if n < len(body) {
			err = errors.New("longer than its size")
		}
	case Snappy:
		var out []byte
		out, err = snappy.Decode(dst, body)
		n = len(out)
		if err == nil && n > 0 && (n != len(dst) || &out[0] != &dst[0]) {
			err = fmt.Errorf("length %d, want %d", n, len(dst))
		}
	case Zlib:
		n, err = inflate(dst, body, dict)
	case BZip2:
		n, err = readExactly(dst, bzip2.NewReader(bytes.NewReader(body)))
	case LZ4, LZ4HC:
		if len(body) == 0 {
			err = errTooShort
			break
		}
		room := dst
		if len(room) == 0 {
			room = make([]byte, 1) // the decoder takes no nil buffer
		}
		n, err = lz4.UncompressBlockWithDict(body, room, dict.Bytes())
	case Zstd:
		n, err = zstd.Decompress(dst, body, dict)
	default:
		return fmt.Errorf("unknown compression type %d", uint8(c))
	}
	if err != nil {
		return fmt.Errorf("%v: %w", c, err)
	}
	if n != len(dst) {
		return fmt.Errorf("%v: length %d, want %d", c, n, len(dst))
	}
	return nil
}

// readExactly fills dst from r and insists that r ends there.
func readExactly(dst []byte, r io.Reader) (int, error) {
	n, err := io.ReadFull(r, dst)
	if err != nil {
		return n, fmt.Errorf("after %d of %d bytes: %w", n, len(dst), err)
	}
	var one [1]byte
	if m, err := r.Read(one[:]); m > 0 || (err != nil && err != io.EOF) {
		return n, fmt.Errorf("more than %d bytes (%v)", len(dst), err)
	}
	return n, nil
}

// inflater is a pooled raw-deflate reader.
type inflater struct {
	src bytes.Reader
	r   io.ReadCloser
}

var inflaters = sync.Pool{New: func() any {
	f := new(inflater)
	f.r = flate.NewReader(&f.src)
	return f
}}

func inflate(dst, body []byte, dict *Dict) (int, error) {
	f := inflaters.Get().(*inflater)
	defer inflaters.Put(f)
	f.src.Reset(body)
	if err := f.r.(flate.Resetter).Reset(&f.src, dict.Bytes()); err != nil {
		return 0, err
	}
	n, err := readExactly(dst, f.r)
	f.src.Reset(nil)
	return n, err
}

// sliceWriter collects what a streaming compressor writes.
type sliceWriter struct{ b []byte }

func (w *sliceWriter) Write(p []byte) (int, error) {
	w.b = append(w.b, p...)
	return len(p), nil
}

type deflater struct {
	out sliceWriter
	w   *flate.Writer
}

// deflaters has a pool for each level from -2 (Huffman only) to 9.
var deflaters [12]sync.Pool

func deflate(dst, src []byte, level int, dict *Dict) ([]byte, error) {
	if level == 0 {
		level = flate.DefaultCompression
	}
	if level < flate.HuffmanOnly || level > flate.BestCompression {
		return dst, fmt.Errorf("zlib level %d is outside [-2,9]", level)
	}
	if dict != nil {
		out := sliceWriter{b: dst}
		w, err := flate.NewWriterDict(&out, level, dict.Bytes())
		if err != nil {
			return dst, err
		}
		return deflateInto(w, &out, src)
	}
	pool := &deflaters[level+2]
	d, _ := pool.Get().(*deflater)
	if d == nil {
		d = new(deflater)
		w, err := flate.NewWriter(&d.out, level)
		if err != nil {
			return dst, err
		}
		d.w = w
	}
	d.out.b = dst
	d.w.Reset(&d.out)
	out, err := deflateInto(d.w, &d.out, src)
	d.out.b = nil
	pool.Put(d)
	return out, err
}

func deflateInto(w *flate.Writer, out *sliceWriter, src []byte) ([]byte, error) {
	if _, err := w.Write(src); err != nil {
		return out.b, err
	}
	err := w.Close()
	return out.b, err
}

var (
	lz4Fast = sync.Pool{New: func() any { return new(lz4.Compressor) }}
	lz4High = sync.Pool{New: func() any { return new(lz4.CompressorHC) }}
)

// lz4Compress appends a block of src; level 0 is the fast form, 1 to 9 the HC levels.
func lz4Compress(dst, src []byte, level int) ([]byte, error) {
	start := len(dst)
	dst = grow(dst, lz4.CompressBlockBound(len(src)))
	room := dst[start:cap(dst)]
	var n int
	var err error
	if level == 0 {
		c := lz4Fast.Get().(*lz4.Compressor)
		n, err = c.CompressBlock(src, room)
		lz4Fast.Put(c)
	} else {
		c := lz4High.Get().(*lz4.CompressorHC)
		c.Level = lz4.CompressionLevel(1 << (8 + min(level, 9)))
		n, err = c.CompressBlock(src, room)
		lz4High.Put(c)
	}
	if err == nil && n == 0 && len(src) > 0 {
		err = errors.New("lz4: no block")
	}
	return dst[:start+n], err
}
