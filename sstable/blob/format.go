// Package blob reads and writes RocksDB's integrated blob files: large values apart from the
// tables, which keep a 20-odd byte index instead (kind 0x11).
//
//	w, err := blob.NewWriter(sw, blob.WriterOptions{FileNum: 16, Compression: block.Zstd})
//	idx, err := w.Add(key, value)      // idx.Encode(nil) goes into the table
//	info, err := w.Finish()
//	...
//	r, err := blob.Open(f, blob.ReaderOptions{FileNum: 16, Cache: c})
//	value, err := r.Get(key, idx)
//
// A Reader may be used by several goroutines; a Writer belongs to one.
//
// # Format
//
// From db/blob/blob_log_format.h and blob_index.h of RocksDB 7.8; fixed-width integers are
// little-endian, CRCs are CRC-32C rotated and offset as in tables ("masked").
//
//	file   = header record* footer
//	header = magic fixed32 0x00248f37, version fixed32 1, column family fixed32,
//	         flags byte (bit 0: TTL), compression byte, expiration range 2 x fixed64  (30 bytes)
//	record = key length fixed64, value length fixed64, expiration fixed64,
//	         CRC of these fixed32, CRC of key and value fixed32                       (32 bytes)
//	         key, value in the file's compression
//	footer = magic fixed32, record count fixed64, expiration range 2 x fixed64,
//	         CRC of these fixed32                                                     (32 bytes)
//	index  = type byte 1, file varint64, offset of the value varint64, size of the value
//	         varint64, compression byte
//
// Every value of a file is in the compression that the header names, even one that grew. A
// file whose writer was killed has no footer and may end inside a record. Files and indexes
// with a TTL are those of another, older BlobDB and are refused.
package blob

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"math/bits"

	"github.com/cambiumdb/cambium/sstable/block"
)

// Sizes in bytes of the fixed parts of a file.
const (
	HeaderLen       = 30
	RecordHeaderLen = 32
	FooterLen       = 32
)

// MaxIndexLen is the largest size in bytes of an encoded Index.
const MaxIndexLen = 2 + 3*binary.MaxVarintLen64

const (
	magic   = 0x00248f37
	version = 1
	flagTTL = 1

	indexInlinedTTL = 0
	indexBlob       = 1
	indexBlobTTL    = 2
)

// UnsupportedError is returned for well-formed bytes that use a feature we do not read.
type UnsupportedError struct {
	File string // base name; "" for an index
	What string
}

// Error names the feature.
func (e *UnsupportedError) Error() string {
	if e.File == "" {
		return "blob index: " + e.What + " is not supported"
	}
	return fmt.Sprintf("blob file %s: %s is not supported", e.File, e.What)
}

// Index says where a value is. Offset is that of the value's first byte, Size its stored
// length, both in bytes.
type Index struct {
	File, Offset, Size uint64
	Compression        block.Compression
}

// String is for dumps.
func (x Index) String() string {
	return fmt.Sprintf("blob %06d [%#x,+%d] %v", x.File, x.Offset, x.Size, x.Compression)
}

// Encode appends the index as a table stores it.
func (x Index) Encode(dst []byte) []byte {
	dst = append(dst, indexBlob)
	dst = binary.AppendUvarint(dst, x.File)
	dst = binary.AppendUvarint(dst, x.Offset)
	dst = binary.AppendUvarint(dst, x.Size)
	return append(dst, byte(x.Compression))
}

// DecodeIndex reads what Encode wrote. The kinds with a TTL give an *UnsupportedError; the
// caller adds to any other error where the bytes were found.
func DecodeIndex(b []byte) (x Index, err error) {
	if len(b) == 0 {
		return x, errors.New("blob index: no bytes")
	}
	switch b[0] {
	case indexBlob:
	case indexInlinedTTL:
		return x, &UnsupportedError{What: "kind 0, an inlined value with a TTL,"}
	case indexBlobTTL:
		return x, &UnsupportedError{What: "kind 2, a value with a TTL,"}
	default:
		return x, fmt.Errorf("blob index: unknown kind %d", b[0])
	}
	rest := b[1:]
	for _, f := range []*uint64{&x.File, &x.Offset, &x.Size} {
		v, n := binary.Uvarint(rest)
		if n <= 0 {
			return Index{}, fmt.Errorf("blob index: bad number at byte %d of %d", len(b)-len(rest), len(b))
		}
		*f, rest = v, rest[n:]
	}
	if len(rest) != 1 {
		return Index{}, fmt.Errorf("blob index: %d bytes after the size, want 1", len(rest))
	}
	x.Compression = block.Compression(rest[0])
	return x, nil
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// checksum is the masked CRC of the concatenated parts.
func checksum(parts ...[]byte) uint32 {
	c := uint32(0)
	for _, p := range parts {
		c = crc32.Update(c, castagnoli, p)
	}
	return mask(c)
}

// mask is how a CRC is stored.
func mask(crc uint32) uint32 { return bits.RotateLeft32(crc, 17) + 0xa282ead8 }

func encodeHeader(c block.Compression) []byte {
	b := binary.LittleEndian.AppendUint32(nil, magic)
	b = binary.LittleEndian.AppendUint32(b, version)
	b = binary.LittleEndian.AppendUint32(b, 0) // default column family
	b = append(b, 0, byte(c))
	return append(b, make([]byte, 16)...)
}

// decodeHeader returns the compression of the file's values. An UnsupportedError lacks the
// file's name.
func decodeHeader(b []byte) (block.Compression, error) {
	if m := binary.LittleEndian.Uint32(b); m != magic {
		return 0, fmt.Errorf("blob header: magic want %08x got %08x", magic, m)
	}
	if v := binary.LittleEndian.Uint32(b[4:]); v != version {
		return 0, &UnsupportedError{What: fmt.Sprintf("version %d", v)}
	}
	if cf := binary.LittleEndian.Uint32(b[8:]); cf != 0 {
		return 0, &UnsupportedError{What: fmt.Sprintf("column family %d", cf)}
	}
	if b[12]&flagTTL != 0 {
		return 0, &UnsupportedError{What: "a file with TTL"}
	}
	if b[12] != 0 {
		return 0, &UnsupportedError{What: fmt.Sprintf("flags %#x", b[12])}
	}
	if lo, hi := binary.LittleEndian.Uint64(b[14:]), binary.LittleEndian.Uint64(b[22:]); lo != 0 || hi != 0 {
		return 0, &UnsupportedError{What: fmt.Sprintf("an expiration range of %d to %d", lo, hi)}
	}
	return block.Compression(b[13]), nil
}

func encodeFooter(count uint64) []byte {
	b := binary.LittleEndian.AppendUint32(nil, magic)
	b = binary.LittleEndian.AppendUint64(b, count)
	b = append(b, make([]byte, 16)...)
	return binary.LittleEndian.AppendUint32(b, checksum(b))
}

// decodeFooter returns the record count; ok is false where b is no footer at all.
func decodeFooter(b []byte) (count uint64, ok bool, err error) {
	if binary.LittleEndian.Uint32(b) != magic {
		return 0, false, nil
	}
	want, got := binary.LittleEndian.Uint32(b[28:]), checksum(b[:28])
	if want != got {
		return 0, true, fmt.Errorf("blob footer: crc32c want %08x got %08x", want, got)
	}
	return binary.LittleEndian.Uint64(b[4:]), true, nil
}

// recordHeader is the fixed part of a record.
type recordHeader struct {
	keyLen, valueLen uint64
	blobCRC          uint32
}

func appendRecordHeader(dst, key, stored []byte) []byte {
	n := len(dst)
	dst = binary.LittleEndian.AppendUint64(dst, uint64(len(key)))
	dst = binary.LittleEndian.AppendUint64(dst, uint64(len(stored)))
	dst = binary.LittleEndian.AppendUint64(dst, 0)
	dst = binary.LittleEndian.AppendUint32(dst, checksum(dst[n:]))
	return binary.LittleEndian.AppendUint32(dst, checksum(key, stored))
}

func decodeRecordHeader(b []byte) (h recordHeader, err error) {
	want, got := binary.LittleEndian.Uint32(b[24:]), checksum(b[:24])
	if want != got {
		return h, fmt.Errorf("blob record header: crc32c want %08x got %08x", want, got)
	}
	h.keyLen = binary.LittleEndian.Uint64(b)
	h.valueLen = binary.LittleEndian.Uint64(b[8:])
	h.blobCRC = binary.LittleEndian.Uint32(b[28:])
	if e := binary.LittleEndian.Uint64(b[16:]); e != 0 {
		return h, &UnsupportedError{What: fmt.Sprintf("a record that expires at %d", e)}
	}
	return h, nil
}

// check compares the CRC of key and value with the header's.
func (h recordHeader) check(key, stored []byte) error { return h.compare(checksum(key, stored)) }

func (h recordHeader) compare(got uint32) error {
	if got != h.blobCRC {
		return fmt.Errorf("blob record of %d+%d bytes: crc32c want %08x got %08x", h.keyLen, h.valueLen, h.blobCRC, got)
	}
	return nil
}
