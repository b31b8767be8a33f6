package distrib

import (
	"encoding/binary"
	"fmt"

	"github.com/cambiumdb/cambium/distrib/vclock"
)

// Space is the first byte of a Store's keys: what an entry belongs to.
type Space byte

const (
	SpaceMeta     Space = 0x01 // what a node keeps of itself
	SpaceData     Space = 0x10 // records of the ranges that the node holds
	SpaceRegister Space = 0x20 // promised and accepted ballots
	SpaceHint     Space = 0x30 // records kept for others
)

const (
	keyHeader = 1 + 8 + 2 // space, token, length of the key
	partHead  = 0
	partValue = 1
)

// MaxStoreKeyBytes is the longest key that the functions of this package make.
const MaxStoreKeyBytes = keyHeader + MaxKeyBytes + 1 + 3*binary.MaxVarintLen64

// HeadKey returns the key of the head of a record. token is the top half of key's place on the ring.
func HeadKey(space Space, token uint64, key []byte) []byte {
	b := make([]byte, 0, keyHeader+len(key)+1)
	b = append(b, byte(space))
	b = binary.BigEndian.AppendUint64(b, token)
	b = binary.BigEndian.AppendUint16(b, uint16(len(key)))
	b = append(b, key...)
	return append(b, partHead)
}

// ValueKey returns the key of a value that stands apart, from the key of its record's head.
func ValueKey(head []byte, d vclock.Dot) []byte {
	b := make([]byte, 0, len(head)+3*binary.MaxVarintLen64)
	b = append(b, head[:len(head)-1]...)
	return appendDot(append(b, partValue), d)
}

// ParseKey takes a key of this package's apart. head tells a record's head from a value.
func ParseKey(storeKey []byte) (space Space, token uint64, key []byte, head bool, err error) {
	bad := fmt.Errorf("store key %x is none of a record", storeKey)
	if len(storeKey) < keyHeader+2 {
		return 0, 0, nil, false, bad
	}
	n := int(binary.BigEndian.Uint16(storeKey[9:]))
	rest := storeKey[keyHeader:]
	if n == 0 || n >= len(rest) {
		return 0, 0, nil, false, bad
	}
	head = rest[n] == partHead
	if head && len(rest) > n+1 || !head && (rest[n] != partValue || len(rest) < n+4) {
		return 0, 0, nil, false, bad
	}
	return Space(storeKey[0]), binary.BigEndian.Uint64(storeKey[1:]), rest[:n:n], head, nil
}

// TokenBounds returns the bounds, for Scan and DeleteRange, of all entries of space whose tokens are first to
// last, both included.
func TokenBounds(space Space, first, last uint64) (lower, upper []byte) {
	lower = binary.BigEndian.AppendUint64([]byte{byte(space)}, first)
	if last+1 == 0 {
		return lower, []byte{byte(space) + 1}
	}
	return lower, binary.BigEndian.AppendUint64([]byte{byte(space)}, last+1)
}
