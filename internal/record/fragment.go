package record

import (
	"encoding/binary"
	"fmt"
)

// fragment is one decoded physical record. payload aliases the block.
type fragment struct {
	typ     byte
	logNum  uint32 // of recyclable ones
	payload []byte
	size    int    // header and payload
	problem string // why it is bad
}

// recyclable reports whether the header has a log number.
func (f fragment) recyclable() bool { return hasLogNum(f.typ) }

// plainType maps the recyclable types to the legacy ones.
func (f fragment) plainType() byte {
	if f.typ > typeLast && f.typ <= recyclable+typeLast {
		return f.typ - recyclable
	}
	return f.typ
}

func hasLogNum(typ byte) bool {
	return typ > recyclable && typ <= recyclable+typeLast || typ == typeTimestampSizeRecy || typ == typePredecessorRecy
}

// parse decodes the fragment at the start of b, which is not empty and reaches to the end of
// its block or of the file.
func parse(b []byte, logNum uint32) (fragment, state) {
	if len(b) < LegacyHeaderLen {
		if allZero(b) {
			return fragment{}, zero
		}
		return fragment{problem: fmt.Sprintf("%d bytes of a header at the end of the file", len(b))}, bad
	}
	f := fragment{typ: b[6]}
	length := int(binary.LittleEndian.Uint16(b[4:]))
	if f.typ == typeZero && length == 0 {
		return f, zero
	}
	header := LegacyHeaderLen
	if f.recyclable() {
		header = RecyclableHeaderLen
		if len(b) < header {
			f.problem = fmt.Sprintf("%d bytes of a header", len(b))
			return f, bad
		}
		f.logNum = binary.LittleEndian.Uint32(b[7:])
	}
	f.size = header + length
	switch {
	case f.typ == typeZero || f.typ > typeTimestampSizeRecy && f.typ < typeIgnorable:
		f.problem = fmt.Sprintf("unknown type %d", f.typ)
		return f, bad
	case f.size > len(b):
		f.problem = fmt.Sprintf("length %d, %d bytes left", length, len(b)-header)
		return f, bad
	}
	if want, got := binary.LittleEndian.Uint32(b), checksum(b[6:f.size]); want != got {
		f.problem = fmt.Sprintf("crc32c want %08x got %08x", want, got)
		return f, bad
	}
	if f.recyclable() && f.logNum != logNum {
		return f, stale
	}
	f.payload = b[header:f.size:f.size]
	return f, good
}

func allZero(b []byte) bool {
	for _, c := range b {
		if c != 0 {
			return false
		}
	}
	return true
}
