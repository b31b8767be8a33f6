package distrib

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"

	"github.com/zeebo/xxh3"

	"github.com/cambiumdb/cambium/distrib/vclock"
)

// MaxContextBytes is the longest context that DecodeContext takes: more than a key with SiblingsMax siblings
// and the operations that a Seen remembers needs.
const MaxContextBytes = 64 << 10

const contextVersion = 1

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// EncodeContext makes what a client carries from a read of a key to its next write, without looking into it:
//
//	version:1 ‖ xxh3 of the key:8 ‖ seen ‖ crc32c of all before:4
//
// all integers big-endian. Who has seen nothing gets no bytes.
func EncodeContext(key []byte, seen vclock.Seen) []byte {
	if seen.Empty() {
		return nil
	}
	b := append(make([]byte, 0, 64), contextVersion)
	b = binary.BigEndian.AppendUint64(b, xxh3.Hash(key))
	b = seen.Append(b)
	return binary.BigEndian.AppendUint32(b, crc32.Checksum(b, castagnoli))
}

// DecodeContext reads what EncodeContext made for key. An error says what is wrong with it; no bytes are the
// context of who has seen nothing.
func DecodeContext(key, b []byte) (vclock.Seen, error) {
	const header, trailer = 1 + 8, 4
	switch {
	case len(b) == 0:
		return vclock.Seen{}, nil
	case len(b) > MaxContextBytes:
		return vclock.Seen{}, fmt.Errorf("context of %d bytes, the limit is %d", len(b), MaxContextBytes)
	case len(b) < header+trailer:
		return vclock.Seen{}, fmt.Errorf("context of %d bytes is none: it must be what a read gave, as it was given", len(b))
	}
	body, sum := b[:len(b)-trailer], binary.BigEndian.Uint32(b[len(b)-trailer:])
	if got := crc32.Checksum(body, castagnoli); got != sum {
		return vclock.Seen{}, fmt.Errorf("context is damaged: crc32c want %08x got %08x; it must be what a read gave, as it was given", sum, got)
	}
	if body[0] != contextVersion {
		return vclock.Seen{}, fmt.Errorf("context of version %d, this program knows %d: it was given by a newer one", body[0], contextVersion)
	}
	if binary.BigEndian.Uint64(body[1:header]) != xxh3.Hash(key) {
		return vclock.Seen{}, fmt.Errorf("context of another key than %q: it must be what a read of this key gave", key)
	}
	seen, rest, err := vclock.DecodeSeen(body[header:])
	if err == nil && (len(rest) > 0 || seen.Empty()) {
		err = errors.New("bytes behind its end, or nothing in it")
	}
	if err != nil {
		return vclock.Seen{}, fmt.Errorf("context is damaged: %w", err)
	}
	return seen, nil
}
