// Package distrib is the vocabulary of the distributed store, and the seams between its parts: what a
// record is, and what the parts ask of a store beneath them.
//
//	engine.DB <- distrib/local -> Store <- distrib/replica <- ...
//
// It imports no part, so any part may import it.
//
// # Records
//
// A Record is what a replica holds of a key: its siblings, each a write that no other has seen (package
// vclock). A delete is a write too, of a value that says so. An expired value is one that says when; it keeps
// its clock until it is reaped, so the store beneath need not know of time to live.
//
// In a Store a record takes one entry, its head, and one more for each value of more than InlineBytes, so
// that a new sibling does not write the large ones again:
//
//	head     prefix ‖ token:8 ‖ key length:2 ‖ key ‖ 0       -> minted ‖ version:1 ‖ count ‖ siblings
//	value    prefix ‖ token:8 ‖ key length:2 ‖ key ‖ 1 ‖ dot -> the bytes
//	register prefix ‖ token:8 ‖ key length:2 ‖ key ‖ 0       -> a State of package register
//	prefix = space:1, in the space of hints followed by the node that they are for:8
//
//	sibling = dot ‖ past ‖ flags:1 ‖ time:8 ‖ [expires:8] ‖ [op:16] ‖ length ‖ [bytes]
//
// minted is the last dot that the node itself gave the key. The version's highest bit is set where the key's register holds
// it. space says what the entry belongs to, token is the top half of the key's place on the ring: so a
// range of tokens is a range of entries. Counts, lengths and the numbers of dots and clocks are uvarints, all
// other integers big-endian.
package distrib

import (
	"errors"
	"fmt"
)

// Limits of what users give. The store beneath must take MaxStoreKeyBytes and MaxValueBytes.
const (
	MaxKeyBytes   = 1 << 10
	MaxValueBytes = 10 << 20

	// SiblingsWarn is how many siblings are worth a warning: somebody writes without context.
	SiblingsWarn = 25
	// SiblingsMax is how many a record may have. A write that would add one more is refused.
	SiblingsMax = 100
)

// ErrNotFound is returned by a Store that does not hold a key.
var ErrNotFound = errors.New("not found")

// CheckKey says what is wrong with a key of a user.
func CheckKey(key []byte) error {
	switch {
	case len(key) == 0:
		return errors.New("key is empty: a key has at least one byte")
	case len(key) > MaxKeyBytes:
		return fmt.Errorf("key of %d bytes, the limit is %d", len(key), MaxKeyBytes)
	}
	return nil
}

// CheckValue says what is wrong with a value of a user.
func CheckValue(value []byte) error {
	if len(value) > MaxValueBytes {
		return fmt.Errorf("value of %d bytes, the limit is %d", len(value), MaxValueBytes)
	}
	return nil
}
