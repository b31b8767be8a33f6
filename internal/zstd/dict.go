package zstd

import "encoding/binary"

// Dict is a compression dictionary, trained or raw content. It may be used by several goroutines at
// once. A nil *Dict means none.
type Dict struct {
	raw    []byte
	coders coders
}

// dictMagic begins a trained dictionary; without it the bytes are raw content.
const dictMagic = 0xEC30A437

// NewDict makes a dictionary of raw, which it keeps. Empty raw gives nil.
func NewDict(raw []byte) *Dict {
	if len(raw) == 0 {
		return nil
	}
	return &Dict{raw: raw}
}

// Bytes returns what the dictionary was made of.
func (d *Dict) Bytes() []byte {
	if d == nil {
		return nil
	}
	return d.raw
}

// Len is the size of the dictionary in bytes.
func (d *Dict) Len() int { return len(d.Bytes()) }

// Trained reports whether d has zstd's header rather than being raw content.
func (d *Dict) Trained() bool {
	return d != nil && len(d.raw) >= 8 && binary.LittleEndian.Uint32(d.raw) == dictMagic
}
