package manifest

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"strings"
	"sync/atomic"

	"github.com/cambiumdb/cambium/internal/ikey"
)

// Table is what the tree knows about one sorted table. Versions share it by pointer, so
// nothing in it changes once it is in a version.
type Table struct {
	Num  uint64 // file number
	Size uint64 // of the file, in bytes

	// Smallest and Largest bound every entry, range tombstones included. A Largest with
	// ikey.RangeDelSentinel is exclusive.
	Smallest, Largest ikey.Key
	// SmallestSeq and LargestSeq bound the sequence numbers of the entries.
	SmallestSeq, LargestSeq uint64

	// OldestBlob is the lowest number of a blob file that an entry refers to; 0 = none.
	OldestBlob uint64
	// OldestAncestorTime and CreationTime are Unix seconds; 0 = unknown.
	OldestAncestorTime, CreationTime uint64
	// MarkedForCompaction asks for a rewrite at the next opportunity.
	MarkedForCompaction bool

	// Extra holds the fields of a foreign writer verbatim, in their order.
	Extra []Field

	// Stats comes from the table's properties and is not in the manifest. The engine sets it
	// before other goroutines can see the table: before Set.Apply, or right after Recover.
	Stats TableStats

	refs *atomic.Int32 // live versions that hold the file; shared by all Tables of one file
}

// TableStats summarises what a table holds.
type TableStats struct {
	Entries      uint64 // all entries, tombstones included
	Deletes      uint64 // point tombstones
	RangeDeletes uint64
	Hidden       uint64 // entries behind a newer one of the same key, which snapshots may need
	// Expiring entries have an expiry, between MinExpiry and MaxExpiry, in Unix milliseconds.
	Expiring, MinExpiry, MaxExpiry uint64
	// BlobRefs says how much of which blob files the entries refer to, in ascending order of
	// file. It is of use only where BlobRefsKnown: tables of RocksDB do not tell.
	BlobRefs      []BlobRef
	BlobRefsKnown bool
	// Known tells whether the other fields have been filled.
	Known bool
}

// BlobRef is the part of a blob file that one table refers to. Bytes are counted as Blob counts
// them: header, key and value of each record.
type BlobRef struct {
	Num, Count, Bytes uint64
}

const (
	fieldChecksum     = 7
	fieldChecksumFunc = 8
	fieldTemperature  = 9
	fieldEpoch        = 13
)

// epoch returns the age rank that RocksDB from 7.10 on gives to a table: in level 0 a higher
// one is newer. 0 = not given.
func (t *Table) epoch() uint64 {
	for _, f := range t.Extra {
		if f.Tag == fieldEpoch {
			n, _ := binary.Uvarint(f.Value)
			return n
		}
	}
	return 0
}

// Contains reports whether user lies within the table's bounds.
func (t *Table) Contains(user []byte) bool {
	return bytes.Compare(t.Smallest.User, user) <= 0 && !t.endsBefore(user)
}

// endsBefore reports whether every key of the table is below user.
func (t *Table) endsBefore(user []byte) bool {
	c := bytes.Compare(t.Largest.User, user)
	return c < 0 || c == 0 && t.Largest.IsExclusiveBound()
}

// Overlaps reports whether the table's bounds meet [lo, hi], both inclusive; nil is open.
func (t *Table) Overlaps(lo, hi []byte) bool {
	if lo != nil && t.endsBefore(lo) {
		return false
	}
	return hi == nil || bytes.Compare(t.Smallest.User, hi) <= 0
}

// String formats the table for people: 000007[a#9,SET .. c#7,SET] 1234 bytes seq 7..9.
func (t *Table) String() string {
	if t == nil {
		return "no table"
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%06d[%s .. %s] %d bytes seq %d..%d", t.Num, t.Smallest, t.Largest, t.Size, t.SmallestSeq, t.LargestSeq)
	if t.OldestBlob != 0 {
		fmt.Fprintf(&b, " blob>=%06d", t.OldestBlob)
	}
	if t.MarkedForCompaction {
		b.WriteString(" marked")
	}
	return b.String()
}

// Blob is what the tree knows about one blob file. A garbage edit makes a new Blob for the new
// version; the old version keeps the old one.
type Blob struct {
	Num uint64 // file number
	// Count and Bytes are the values ever written and the size of their records (header, key
	// and value).
	Count, Bytes uint64
	// GarbageCount and GarbageBytes are the part of them to which no table refers.
	GarbageCount, GarbageBytes uint64
	// ChecksumMethod and ChecksumValue are a foreign writer's file checksum; empty = none.
	ChecksumMethod, ChecksumValue string
	// Extra holds the fields of a foreign writer verbatim, in their order.
	Extra []Field

	refs *atomic.Int32 // shared by all states of one file
}

// String formats the blob file for people.
func (b *Blob) String() string {
	return fmt.Sprintf("%06d.blob %d values %d bytes, garbage %d values %d bytes", b.Num, b.Count, b.Bytes, b.GarbageCount, b.GarbageBytes)
}
