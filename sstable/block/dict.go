package block

import "encoding/binary"

// Dict is a compression dictionary as a table stores it (rocksdb.compression_dict). It may be
// used by several goroutines at once. A nil *Dict means no dictionary.
type Dict struct {
	raw  []byte
	zstd zstdDict
}

// zstdDictMagic begins a trained zstd dictionary; without it the bytes are raw content.
const zstdDictMagic = 0xEC30A437

// NewDict makes a dictionary of raw, which it keeps. Empty raw gives nil.
func NewDict(raw []byte) *Dict {
	if len(raw) == 0 {
		return nil
	}
	return &Dict{raw: raw}
}

// Len is the size of the dictionary in bytes.
func (d *Dict) Len() int { return len(d.bytes()) }

func (d *Dict) bytes() []byte {
	if d == nil {
		return nil
	}
	return d.raw
}

// Trained reports whether d has zstd's header rather than being raw content.
func (d *Dict) Trained() bool {
	return d != nil && len(d.raw) >= 8 && binary.LittleEndian.Uint32(d.raw) == zstdDictMagic
}
