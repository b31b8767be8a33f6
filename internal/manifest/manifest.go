// Package manifest keeps the shape of the tree over time: which tables are on which level,
// which blob files hold values, and from which log a recovery starts. It stores what is known
// about tables and opens none.
//
//	set, err := manifest.Recover(fs, dir, manifest.Options{})
//	v := set.Current()                       // pinned: its files stay until Unref
//	for _, t := range v.Find(1, key) { ... } // tables of level 1 that may hold key
//	v.Unref()
//	num := set.NewFileNum()
//	err = set.Apply(&manifest.Edit{Added: []manifest.AddedTable{{Level: 0, Table: t}}})
//
// A Version is one immutable state, an Edit is the difference between two, and a Set owns the
// file that holds the edits. Set.Current takes no lock; Set.Apply calls are serialised inside
// and do their I/O under a lock that no reader takes. All methods of a Version may be called
// by any number of goroutines.
//
// # Bytes
//
// MANIFEST-NNNNNN is a sequence of records in RocksDB's log framing (package record, legacy
// headers, log number 0). The first records of a file hold a whole state, each later one an
// edit. A record is a sequence of fields, each a varint32 tag and its value (RocksDB
// db/version_edit.cc; v = varint, s = varint32 length ‖ bytes):
//
//	   1  comparator s          2  log_number v       3  next_file v      4  last_seq v
//	   5  compact_cursor v s    6  deleted v v        9  prev_log v      10  min_log_to_keep v
//	 100  NewFile2  level v, num v, size v, smallest s, largest s, smallest_seq v, largest_seq v
//	 102  NewFile3  level v, num v, path v, then as NewFile2
//	 103  NewFile4  as NewFile2, then custom fields {tag v, s}, ended by tag 1
//	 200  cf_id v   201  cf_add s   202  cf_drop   203  max_cf v   300  atomic_group remaining v
//	 400  blob file num v, count v, bytes v, checksum method s, checksum s, {tag v, s}, ended by tag 0
//	 401  blob garbage num v, count v, bytes v, {tag v, s}, ended by tag 0
//	8193  db_id s   8196 8199  log added   8197 8200  logs deleted   8198  full_history_ts_low s
//
// 8194 and 8195 are old forms of 400 and 401; 8199 and 8200 are 8196 and 8197 as one string.
// 10240 (log_exists, empty s) is ours: see Edit.LogExists. An unknown tag with bit 13 (8192) set holds one s and is kept but not understood; any other
// unknown tag is corruption. NewFile4's custom tags: 2 marked for compaction, 3 min_log_to_keep
// (fixed64), 4 oldest blob file, 5 oldest ancestor time, 6 creation time, 7 and 8 file checksum
// and its function's name, 65 path; those with bit 6 must be understood, others are kept
// verbatim and written again when the manifest rolls.
//
// # Crashes
//
// An edit is in effect once its record is synced. A new manifest starts with the whole state,
// is synced, and only then named by CURRENT (package filename), so a crash leaves the state
// before or after an edit and nothing else. The last record may be torn by a crash and is then
// ignored; for that reason, and because a foreign writer may have made it, a recovered manifest
// is never appended to: the first Apply begins a new one, and so does the Apply after one that
// failed.
package manifest

import (
	"fmt"
	"strings"
)

// NumLevels is the number of levels of a tree: RocksDB's default, which its tools assume.
const NumLevels = 7

// Comparator is the name of the only key order that we read and write: bytewise.
const Comparator = "leveldb.BytewiseComparator"

// maxFileNum is the highest file number that RocksDB can have (kFileNumberMask).
const maxFileNum = 1<<62 - 1

// UnsupportedError is a manifest that is well formed and uses something that we do not have.
// Nothing was changed.
type UnsupportedError struct {
	// What names the thing for a person.
	What string
}

// Error says what is not supported.
func (e *UnsupportedError) Error() string { return "not supported: " + e.What }

func unsupported(format string, args ...any) error {
	return &UnsupportedError{What: fmt.Sprintf(format, args...)}
}

// Field is a tagged value that this package carries without understanding it.
type Field struct {
	Tag   uint32
	Value []byte
}

func formatFields(b *strings.Builder, fields []Field) {
	for _, f := range fields {
		fmt.Fprintf(b, " field%d=%x", f.Tag, f.Value)
	}
}
