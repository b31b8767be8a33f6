// Package ikey defines the internal key: a user key, the sequence number of the write that
// made the entry, and the kind of entry. Its order is the one order of the whole engine:
//
//	user key ascending (bytewise), then sequence number descending, then kind descending
//
// so that a forward scan meets the newest version of a key first.
//
//	k := ikey.Make([]byte("user:1"), 42, ikey.KindSet)
//	b := k.Encode(nil)            // "user:1" + fixed64 little-endian of seq<<8|kind
//	k2, ok := ikey.Decode(b)      // k2.User aliases b
//	ikey.Compare(k, k2)           // 0
//
// Encoded form (RocksDB db/dbformat.h): user key ‖ fixed64(seq<<8 | kind). All functions are
// pure; a Key aliases the bytes it was made from.
package ikey

import (
	"bytes"
	"encoding/binary"
	"fmt"
)

// Kind says what an entry means. The values are RocksDB's ValueType (db/dbformat.h).
type Kind uint8

// The kinds that tables, logs and memtables hold. Kinds that carry a column family id
// exist only in write batches: see package batch.
const (
	KindDelete       Kind = 0x00 // point tombstone; the value is empty
	KindSet          Kind = 0x01 // plain value
	KindMerge        Kind = 0x02 // merge operand: refused by name
	KindLogData      Kind = 0x03 // only in batches; not counted
	KindSingleDelete Kind = 0x07 // read as KindDelete
	KindRangeDelete  Kind = 0x0F // key = start, value = exclusive end
	KindBlobIndex    Kind = 0x11 // value = reference into a blob file
	KindEntity       Kind = 0x16 // value = wide-column entity (our values with TTL)

	// KindSeek is the largest kind: a key made with it sorts before every entry of the same
	// user key and sequence number. It is never stored.
	KindSeek Kind = 0xFF
	// KindSeparator is the kind RocksDB puts in shortened index separators (kValueTypeForSeek
	// of 7.8). It is stored in index blocks only.
	KindSeparator Kind = 0x16
)

// String returns the name that dumps print.
func (k Kind) String() string {
	switch k {
	case KindDelete:
		return "DEL"
	case KindSet:
		return "SET"
	case KindMerge:
		return "MERGE"
	case KindLogData:
		return "LOGDATA"
	case KindSingleDelete:
		return "SINGLEDEL"
	case KindRangeDelete:
		return "RANGEDEL"
	case KindBlobIndex:
		return "BLOBINDEX"
	case KindEntity:
		return "ENTITY"
	}
	return fmt.Sprintf("KIND(0x%02x)", uint8(k))
}

// MaxSeq is the largest sequence number: 56 bits. As a read position it means "the newest".
const MaxSeq uint64 = 1<<56 - 1

// TrailerLen is the number of bytes that Encode adds to a user key.
const TrailerLen = 8

// Trailer is seq<<8 | kind.
type Trailer uint64

// MakeTrailer packs seq and kind.
func MakeTrailer(seq uint64, kind Kind) Trailer { return Trailer(seq<<8 | uint64(kind)) }

// Seq returns the sequence number.
func (t Trailer) Seq() uint64 { return uint64(t) >> 8 }

// Kind returns the kind.
func (t Trailer) Kind() Kind { return Kind(t) }

// RangeDelSentinel is the trailer of a table's largest bound when that bound is the exclusive
// end of a range tombstone: no point entry at that user key belongs to the table.
const RangeDelSentinel = Trailer(MaxSeq<<8 | uint64(KindRangeDelete))

// Key is a decoded internal key. User aliases whatever it was made from.
type Key struct {
	User    []byte
	Trailer Trailer
}

// Make builds a key from its parts. It keeps user.
func Make(user []byte, seq uint64, kind Kind) Key {
	return Key{User: user, Trailer: MakeTrailer(seq, kind)}
}

// Seek returns the key that sorts at or before every entry of user visible at seq.
func Seek(user []byte, seq uint64) Key { return Make(user, seq, KindSeek) }

// Seq returns the sequence number.
func (k Key) Seq() uint64 { return k.Trailer.Seq() }

// Kind returns the kind.
func (k Key) Kind() Kind { return k.Trailer.Kind() }

// Len is the length of the encoded form in bytes.
func (k Key) Len() int { return len(k.User) + TrailerLen }

// Encode appends the encoded form to dst and returns it.
func (k Key) Encode(dst []byte) []byte {
	dst = append(dst, k.User...)
	return binary.LittleEndian.AppendUint64(dst, uint64(k.Trailer))
}

// Clone returns a key whose User is a fresh copy.
func (k Key) Clone() Key { return Key{User: bytes.Clone(k.User), Trailer: k.Trailer} }

// IsExclusiveBound reports whether k, as a table's largest bound, is the exclusive end of a
// range tombstone.
func (k Key) IsExclusiveBound() bool { return k.Trailer == RangeDelSentinel }

// String formats the key for people: "user"#seq,KIND.
func (k Key) String() string { return fmt.Sprintf("%q#%d,%s", k.User, k.Seq(), k.Kind()) }

// Decode splits an encoded key. ok is false when b is shorter than a trailer. The result
// aliases b.
func Decode(b []byte) (k Key, ok bool) {
	n := len(b) - TrailerLen
	if n < 0 {
		return Key{}, false
	}
	return Key{User: b[:n:n], Trailer: Trailer(binary.LittleEndian.Uint64(b[n:]))}, true
}

// Compare orders a and b: user key ascending, then trailer descending.
func Compare(a, b Key) int {
	if c := bytes.Compare(a.User, b.User); c != 0 {
		return c
	}
	switch {
	case a.Trailer > b.Trailer:
		return -1
	case a.Trailer < b.Trailer:
		return 1
	}
	return 0
}

// CompareEncoded orders two encoded keys. Both must be at least TrailerLen long.
func CompareEncoded(a, b []byte) int {
	n, m := len(a)-TrailerLen, len(b)-TrailerLen
	if c := bytes.Compare(a[:n], b[:m]); c != 0 {
		return c
	}
	x, y := binary.LittleEndian.Uint64(a[n:]), binary.LittleEndian.Uint64(b[m:])
	switch {
	case x > y:
		return -1
	case x < y:
		return 1
	}
	return 0
}

// Separator appends to dst the shortest user key s with a <= s < b, for a < b; where none is
// shorter than a it appends a itself. shortened tells which.
func Separator(dst, a, b []byte) (sep []byte, shortened bool) {
	n := min(len(a), len(b))
	i := 0
	for i < n && a[i] == b[i] {
		i++
	}
	if i < n && a[i] < b[i] && len(a) > i+1 {
		if a[i]+1 < b[i] {
			dst = append(dst, a[:i+1]...)
			dst[len(dst)-1]++
			return dst, true
		}
		// a[i]+1 == b[i]: keep a[i] and raise the first later byte that is not 0xff.
		for j := i + 1; j < len(a)-1; j++ {
			if a[j] != 0xff {
				dst = append(dst, a[:j+1]...)
				dst[len(dst)-1]++
				return dst, true
			}
		}
	}
	return append(dst, a...), false
}

// Successor appends to dst the shortest user key s with s >= a; shortened tells whether it is
// shorter than a.
func Successor(dst, a []byte) (succ []byte, shortened bool) {
	for i, c := range a {
		if c != 0xff {
			dst = append(dst, a[:i+1]...)
			dst[len(dst)-1]++
			return dst, len(a) > i+1
		}
	}
	return append(dst, a...), false
}
