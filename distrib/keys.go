package distrib

import (
	"bytes"
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
	spaceBytes  = 1
	targetBytes = 8     // of hints: the node that they are for
	keyHeader   = 8 + 2 // token, length of the key
	partHead    = 0
	partValue   = 1
)

// MaxStoreKeyBytes is the longest key that the functions of this package make.
const MaxStoreKeyBytes = spaceBytes + targetBytes + keyHeader + MaxKeyBytes + 1 + 3*binary.MaxVarintLen64

// DataPrefix is what the keys of a node's own records begin with.
func DataPrefix() []byte { return []byte{byte(SpaceData)} }

// RegisterPrefix is what the keys of a node's registers begin with.
func RegisterPrefix() []byte { return []byte{byte(SpaceRegister)} }

// HintPrefix is what the keys of records kept for another node begin with.
func HintPrefix(target uint64) []byte {
	return binary.BigEndian.AppendUint64([]byte{byte(SpaceHint)}, target)
}

// HeadKey returns the key of the head of a record, or of a register. token is the top half of key's place on the ring.
func HeadKey(prefix []byte, token uint64, key []byte) []byte {
	b := make([]byte, 0, len(prefix)+keyHeader+len(key)+1)
	b = append(b, prefix...)
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

// ParseKey takes a key behind prefix apart. head tells a record's head from a value.
func ParseKey(prefix, storeKey []byte) (token uint64, key []byte, head bool, err error) {
	b, ok := bytes.CutPrefix(storeKey, prefix)
	if ok && len(b) >= keyHeader+2 {
		token, b = binary.BigEndian.Uint64(b), b[8:]
		n := int(binary.BigEndian.Uint16(b))
		b = b[2:]
		if n > 0 && n < len(b) {
			key, b = b[:n:n], b[n:]
			if head = b[0] == partHead; head && len(b) == 1 || b[0] == partValue && len(b) >= 4 {
				return token, key, head, nil
			}
		}
	}
	return 0, nil, false, fmt.Errorf("store key %x is none of a record", storeKey)
}

// TokenBounds returns the bounds, for Scan and DeleteRange, of all entries behind prefix whose tokens are first
// to last, both included.
func TokenBounds(prefix []byte, first, last uint64) (lower, upper []byte) {
	lower = binary.BigEndian.AppendUint64(bytes.Clone(prefix), first)
	if last+1 != 0 {
		return lower, binary.BigEndian.AppendUint64(bytes.Clone(prefix), last+1)
	}
	upper = bytes.Clone(prefix)
	for i := len(upper) - 1; i >= 0; i-- {
		if upper[i]++; upper[i] != 0 {
			break
		}
	}
	return lower, upper
}
