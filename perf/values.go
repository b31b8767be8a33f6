package perf

import (
	"bytes"
	"encoding/binary"
	"fmt"
)

// Values makes the values of a benchmark and tells a wrong one from a right one. A value is a
// function of (seed, key index, version, size). Safe for concurrent use.
type Values struct {
	salt  uint64
	ratio float64
}

const (
	valueHeader = 16   // tag and version
	valuePiece  = 1024 // repetition stays within a compressor's block and window
)

// NewValues makes values that a good compressor shrinks to 1/compressible.
func NewValues(seed uint64, compressible float64) Values {
	return Values{salt: saltOf(seed, "values"), ratio: max(1, compressible)}
}

func (v Values) tag(index int64) uint64 { return draw(v.salt, index) }

// Fill overwrites dst with the value of that version of the key.
func (v Values) Fill(dst []byte, index int64, version uint64) {
	state := mix(v.tag(index) ^ mix(version+golden))
	header := 0
	if len(dst) >= valueHeader {
		header = valueHeader
		binary.LittleEndian.PutUint64(dst, v.tag(index))
		binary.LittleEndian.PutUint64(dst[8:], version)
	}
	for rest := dst; len(rest) > 0; header = 0 {
		piece := rest[:min(valuePiece, len(rest))]
		rest = rest[len(piece):]
		fresh := max(1, header, int(float64(len(piece))/v.ratio))
		for p := piece[header:fresh]; len(p) > 0; {
			state += golden
			x := mix(state)
			if len(p) >= 8 {
				binary.LittleEndian.PutUint64(p, x)
				p = p[8:]
				continue
			}
			for i := range p {
				p[i] = byte(x >> (8 * i))
			}
			break
		}
		for have := fresh; have < len(piece); have *= 2 {
			copy(piece[have:], piece[:have])
		}
	}
}

// Belongs reports cheaply whether value is some version of that key's value. Values too short
// for a tag always belong.
func (v Values) Belongs(value []byte, index int64) bool {
	return len(value) < valueHeader || binary.LittleEndian.Uint64(value) == v.tag(index)
}

// Version returns which version of its key's value a value is, of one that Belongs and has at least 16 bytes.
func (v Values) Version(value []byte) uint64 { return binary.LittleEndian.Uint64(value[8:]) }

// Check compares every byte of value with what some version of the key must be. Values without
// a header are only compared with version 0.
func (v Values) Check(value []byte, index int64) error {
	var version uint64
	if len(value) >= valueHeader {
		if !v.Belongs(value, index) {
			return fmt.Errorf("value of %d bytes begins with %x: it belongs to another key", len(value), value[:8])
		}
		version = v.Version(value)
	}
	want := make([]byte, len(value))
	v.Fill(want, index, version)
	if !bytes.Equal(want, value) {
		at := 0
		for want[at] == value[at] {
			at++
		}
		return fmt.Errorf("value of %d bytes differs from what was written at byte %d: got %02x want %02x",
			len(value), at, value[at], want[at])
	}
	return nil
}
