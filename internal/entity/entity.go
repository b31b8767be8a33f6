// Package entity encodes values that expire. A value with a time to live is stored as one of
// RocksDB's wide-column entities (kind 0x16): the default column is the user's value, so that
// plain RocksDB from 7.8 on answers Get with exactly that, and a second column holds the
// absolute expiry.
//
//	b := entity.Encode(nil, value, deadline.UnixMilli())
//	e, err := entity.Decode(b)
//	if e.Expired(now.UnixMilli()) { ... } else { use(e.Value) }
//
// Bytes (RocksDB db/wide/wide_column_serialization.h):
//
//	varint32 version = 1
//	varint32 number of columns
//	per column, in ascending order of name: varint32 length ‖ name, varint32 value length
//	the values, concatenated in the same order
//
// The default column's name is empty. The expiry column is named "cambium.expiry"; its value
// is fixed64 little-endian Unix milliseconds. Columns of other writers are kept: compaction
// copies the whole encoding and never rebuilds it. All functions are pure.
package entity

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
)

// ExpiryColumn names the column that holds the absolute expiry.
const ExpiryColumn = "cambium.expiry"

const version = 1

// ErrMalformed is in the chain of every error that Decode returns.
var ErrMalformed = errors.New("malformed wide-column entity")

// Entity is a decoded value. Value aliases the decoded bytes and is nil only when the entity
// has no default column.
type Entity struct {
	Value        []byte
	ExpiryMillis int64 // Unix milliseconds; meaningful when HasExpiry
	HasExpiry    bool
}

// Expired reports whether the entity's life has ended at nowMillis. The first expired instant
// is ExpiryMillis itself.
func (e Entity) Expired(nowMillis int64) bool { return e.HasExpiry && nowMillis >= e.ExpiryMillis }

// EncodedLen is the number of bytes that Encode appends for a value of n bytes.
func EncodedLen(n int) int {
	return 1 + 1 + 1 + uvarintLen(uint64(n)) + 1 + len(ExpiryColumn) + 1 + n + 8
}

func uvarintLen(x uint64) int {
	n := 1
	for ; x >= 0x80; x >>= 7 {
		n++
	}
	return n
}

// Encode appends value with its absolute expiry in Unix milliseconds to dst.
func Encode(dst, value []byte, expiryMillis int64) []byte {
	dst = append(dst, version, 2)
	dst = append(dst, 0) // the default column's empty name
	dst = binary.AppendUvarint(dst, uint64(len(value)))
	dst = append(dst, byte(len(ExpiryColumn)))
	dst = append(dst, ExpiryColumn...)
	dst = append(dst, 8)
	dst = append(dst, value...)
	return binary.LittleEndian.AppendUint64(dst, uint64(expiryMillis))
}

// Decode reads an encoding made by Encode or by RocksDB. It never allocates.
func Decode(b []byte) (Entity, error) {
	var e Entity
	ver, rest, err := uvarint32(b, "version")
	if err != nil {
		return e, err
	}
	if ver != version {
		return e, fmt.Errorf("%w: version %d, want %d", ErrMalformed, ver, version)
	}
	n, rest, err := uvarint32(rest, "column count")
	if err != nil {
		return e, err
	}
	// The index is walked twice: once to find where the values begin, once to cut them.
	index := rest
	for i := uint64(0); i < n; i++ {
		if _, _, rest, err = column(rest); err != nil {
			return e, err
		}
	}
	values := rest
	var prev []byte
	for i := uint64(0); i < n; i++ {
		var name []byte
		var size uint64
		if name, size, index, err = column(index); err != nil {
			return e, err
		}
		if i > 0 && bytes.Compare(prev, name) >= 0 {
			return e, fmt.Errorf("%w: columns %q and %q out of order", ErrMalformed, prev, name)
		}
		prev = name
		if size > uint64(len(values)) {
			return e, fmt.Errorf("%w: column %q wants %d bytes, %d left", ErrMalformed, name, size, len(values))
		}
		v := values[:size:size]
		values = values[size:]
		switch {
		case len(name) == 0:
			e.Value = v
		case string(name) == ExpiryColumn:
			if size != 8 {
				return e, fmt.Errorf("%w: %s holds %d bytes, want 8", ErrMalformed, ExpiryColumn, size)
			}
			e.ExpiryMillis, e.HasExpiry = int64(binary.LittleEndian.Uint64(v)), true
		}
	}
	return e, nil
}

func column(b []byte) (name []byte, size uint64, rest []byte, err error) {
	n, rest, err := uvarint32(b, "column name length")
	if err != nil {
		return nil, 0, nil, err
	}
	if n > uint64(len(rest)) {
		return nil, 0, nil, fmt.Errorf("%w: column name of %d bytes, %d left", ErrMalformed, n, len(rest))
	}
	name, rest = rest[:n], rest[n:]
	size, rest, err = uvarint32(rest, "column size")
	return name, size, rest, err
}

func uvarint32(b []byte, what string) (uint64, []byte, error) {
	v, n := binary.Uvarint(b)
	if n <= 0 || v > 1<<32-1 {
		return 0, nil, fmt.Errorf("%w: bad %s", ErrMalformed, what)
	}
	return v, b[n:], nil
}
