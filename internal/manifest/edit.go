package manifest

import (
	"fmt"
	"strings"
)

// Edit is the difference between two versions, one record of a manifest. The zero Edit changes
// nothing; nil pointers and empty slices mean "not mentioned".
type Edit struct {
	DBID       string
	Comparator *string

	LogNum       *uint64 // logs below are not needed by the default column family
	PrevLogNum   *uint64 // obsolete in RocksDB, always 0
	NextFileNum  *uint64 // every number at or above is free; Set.Apply fills it
	LastSeq      *uint64 // newest sequence number; never goes back; Set.Apply fills it
	MinLogToKeep *uint64 // logs below may be removed

	// LogExists, beside LogNum, promises that the log of that number was durable before the
	// edit was written, and that it stays until a later edit moves LogNum on. A reader that does
	// not find it knows that the manifest has lost later edits.
	LogExists bool

	Deleted []DeletedTable
	Added   []AddedTable

	BlobsAdded  []Blob // garbage counts are not encoded here: see BlobGarbage
	BlobGarbage []BlobGarbage

	CompactCursors []CompactCursor

	// WalAdditions and WalDeletion track logs for RocksDB's track_and_verify_wals_in_manifest.
	// RocksDB looks at nothing else in an edit that has one of them. WalDeletion n means that
	// logs below n are gone; 0 = not mentioned.
	WalAdditions []WalAddition
	WalDeletion  uint64

	ColumnFamily     uint32  // the one that the edit is about; 0 = default
	ColumnFamilyAdd  *string // its name, where the edit creates it
	ColumnFamilyDrop bool
	MaxColumnFamily  *uint32

	// InAtomicGroup marks one of several edits that take effect together; Remaining of them
	// follow.
	InAtomicGroup bool
	Remaining     uint32

	FullHistoryTSLow []byte

	// Ignored holds fields that a reader may ignore and this one does not know.
	Ignored []Field
}

// DeletedTable takes a table off a level.
type DeletedTable struct {
	Level int
	Num   uint64
}

// AddedTable puts a table on a level.
type AddedTable struct {
	Level int
	Table *Table
}

// BlobGarbage says that Count values of Bytes bytes in a blob file lost their last reference.
type BlobGarbage struct {
	Num, Count, Bytes uint64
}

// CompactCursor is where RocksDB's round-robin compaction goes on in a level. It is a hint that
// we do not keep.
type CompactCursor struct {
	Level int
	Key   []byte // encoded internal key
}

// WalAddition says that a log exists, or that its first SyncedBytes are durable.
type WalAddition struct {
	Num         uint64
	Synced      bool // SyncedBytes is given
	SyncedBytes uint64
}

// String formats the edit for people, one fact on a line.
func (e *Edit) String() string {
	var b strings.Builder
	line := func(format string, args ...any) { fmt.Fprintf(&b, format+"\n", args...) }
	num := func(name string, v *uint64) {
		if v != nil {
			line("%s %d", name, *v)
		}
	}
	if e.DBID != "" {
		line("db_id %s", e.DBID)
	}
	if e.Comparator != nil {
		line("comparator %s", *e.Comparator)
	}
	num("log_number", e.LogNum)
	if e.LogExists {
		line("log_exists")
	}
	num("prev_log", e.PrevLogNum)
	num("next_file", e.NextFileNum)
	num("min_log_to_keep", e.MinLogToKeep)
	num("last_seq", e.LastSeq)
	for _, c := range e.CompactCursors {
		line("compact_cursor L%d %x", c.Level, c.Key)
	}
	for _, d := range e.Deleted {
		line("delete L%d %06d", d.Level, d.Num)
	}
	for _, a := range e.Added {
		var extra strings.Builder
		formatFields(&extra, a.Table.Extra)
		line("add L%d %s%s", a.Level, a.Table, extra.String())
	}
	for i := range e.BlobsAdded {
		line("add_blob %06d %d values %d bytes", e.BlobsAdded[i].Num, e.BlobsAdded[i].Count, e.BlobsAdded[i].Bytes)
	}
	for _, g := range e.BlobGarbage {
		line("blob_garbage %06d %d values %d bytes", g.Num, g.Count, g.Bytes)
	}
	e.formatRest(line)
	return b.String()
}

func (e *Edit) formatRest(line func(format string, args ...any)) {
	for _, w := range e.WalAdditions {
		if w.Synced {
			line("log_synced %06d %d bytes", w.Num, w.SyncedBytes)
		} else {
			line("log_added %06d", w.Num)
		}
	}
	if e.WalDeletion != 0 {
		line("logs_deleted_below %06d", e.WalDeletion)
	}
	if e.ColumnFamily != 0 {
		line("column_family %d", e.ColumnFamily)
	}
	if e.ColumnFamilyAdd != nil {
		line("column_family_add %q", *e.ColumnFamilyAdd)
	}
	if e.ColumnFamilyDrop {
		line("column_family_drop")
	}
	if e.MaxColumnFamily != nil {
		line("max_column_family %d", *e.MaxColumnFamily)
	}
	if e.InAtomicGroup {
		line("atomic_group %d more", e.Remaining)
	}
	if len(e.FullHistoryTSLow) > 0 {
		line("full_history_ts_low %x", e.FullHistoryTSLow)
	}
	for _, f := range e.Ignored {
		line("ignored field%d=%x", f.Tag, f.Value)
	}
}
