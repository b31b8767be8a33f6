package sstable

import (
	"encoding/binary"
	"fmt"

	"github.com/cambiumdb/cambium/internal/corrupt"
	"github.com/cambiumdb/cambium/sstable/block"
)

const (
	footerLen      = 53
	footerHandles  = 40 // bytes for the two handles
	magic          = 0x88e241b785f4cff7
	legacyMagic    = 0xdb4775248b80fb57
	plainMagic     = 0x8242229663bf9564
	cuckooMagic    = 0x926789d0c5f17873
	minVersion     = 2
	maxVersion     = 6
	writeVersion   = 5
	contextVersion = 6 // from here on checksums depend on the block's place
)

// extendedMagic starts the second part of a footer of format version 6.
var extendedMagic = [4]byte{0x3e, 0x00, 0x7a, 0x00}

// UnsupportedError says that a table is of a kind that this package does not read. The bytes
// may well be sound.
type UnsupportedError struct{ File, What string }

// Error names the file and what is not supported.
func (e *UnsupportedError) Error() string { return fmt.Sprintf("%s: unsupported: %s", e.File, e.What) }

// footer is the last 53 bytes of a table:
//
//	versions 2 to 5: checksum type(1) metaindex handle, index handle, zeros (40)
//	version 6:       checksum type(1) 3e 00 7a 00, checksum(fixed32), context(fixed32),
//	                 metaindex size(fixed32), zeros (24)
//	both:            version(fixed32) magic(fixed64)
type footer struct {
	version   uint32
	checksum  block.ChecksumType
	context   uint32
	metaindex block.Handle
	index     block.Handle // versions below 6; else the metaindex has it
}

func (f footer) encode() []byte {
	b := make([]byte, 1, footerLen)
	b[0] = byte(f.checksum)
	b = f.metaindex.Encode(b)
	b = f.index.Encode(b)
	b = b[:1+footerHandles]
	b = binary.LittleEndian.AppendUint32(b, f.version)
	return binary.LittleEndian.AppendUint64(b, magic)
}

// decodeFooter reads the footer b, which starts at off of the file.
func decodeFooter(file string, b []byte, off int64) (footer, error) {
	switch m := binary.LittleEndian.Uint64(b[footerLen-8:]); m {
	case magic:
	case legacyMagic:
		return footer{}, &UnsupportedError{file, "LevelDB table (format_version 0)"}
	case plainMagic:
		return footer{}, &UnsupportedError{file, "plain table"}
	case cuckooMagic:
		return footer{}, &UnsupportedError{file, "cuckoo table"}
	default:
		return footer{}, corrupt.Errorf(file, off+footerLen-8, "table magic want %016x got %016x", uint64(magic), m)
	}
	f := footer{version: binary.LittleEndian.Uint32(b[footerLen-12:]), checksum: block.ChecksumType(b[0])}
	if f.version < minVersion || f.version > maxVersion {
		return footer{}, &UnsupportedError{file, fmt.Sprintf("format_version %d (2 to 6 are read)", f.version)}
	}
	if !f.checksum.Known() {
		return footer{}, corrupt.Errorf(file, off, "unknown checksum type %d", b[0])
	}
	if f.version >= contextVersion {
		return f, f.decodeContext(file, b, off)
	}
	h := b[1 : 1+footerHandles]
	var n, m int
	if f.metaindex, n = block.DecodeHandle(h); n == 0 {
		return footer{}, corrupt.Errorf(file, off+1, "bad metaindex handle")
	}
	if f.index, m = block.DecodeHandle(h[n:]); m == 0 {
		return footer{}, corrupt.Errorf(file, off+1+int64(n), "bad index handle")
	}
	return f, nil
}

// decodeContext reads the second part of a footer of version 6.
func (f *footer) decodeContext(file string, b []byte, off int64) error {
	if [4]byte(b[1:5]) != extendedMagic {
		return corrupt.Errorf(file, off+1, "extended magic want %x got %x", extendedMagic, b[1:5])
	}
	stored := binary.LittleEndian.Uint32(b[5:])
	f.context = binary.LittleEndian.Uint32(b[9:])
	size := uint64(binary.LittleEndian.Uint32(b[13:]))
	if f.context == 0 {
		return corrupt.Errorf(file, off+9, "zero context checksum")
	}
	if f.checksum != block.ChecksumNone {
		var c [footerLen]byte
		copy(c[:], b)
		clear(c[5:9])
		got := block.Checksum(f.checksum, c[:]) + block.ContextModifier(f.context, uint64(off))
		if got != stored {
			return corrupt.Errorf(file, off, "footer: %v want %08x got %08x", f.checksum, stored, got)
		}
	}
	if binary.LittleEndian.Uint64(b[33:]) != 0 {
		return &UnsupportedError{file, "footer with a feature of a later version"}
	}
	if uint64(off) < size+block.TrailerLen {
		return corrupt.Errorf(file, off+13, "metaindex of %d bytes before byte %d", size, off)
	}
	f.metaindex = block.Handle{Offset: uint64(off) - block.TrailerLen - size, Size: size}
	return nil
}
