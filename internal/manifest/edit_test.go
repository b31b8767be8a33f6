package manifest

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/cambiumdb/cambium/internal/ikey"
)

// anyEdit draws an edit with any mix of fields.
func anyEdit(t *rapid.T) *Edit {
	num := rapid.Uint64()
	small := rapid.Uint64Range(0, 300)
	maybe := func(name string) *uint64 { return rapid.Ptr(num, true).Draw(t, name) }
	level := rapid.IntRange(0, 9)
	e := &Edit{
		DBID:   rapid.StringN(0, 8, -1).Draw(t, "id"),
		LogNum: maybe("log"), PrevLogNum: maybe("prev"), NextFileNum: maybe("next"), LastSeq: maybe("seq"), MinLogToKeep: maybe("min"),
		Comparator:       rapid.Ptr(rapid.String(), true).Draw(t, "comparator"),
		ColumnFamily:     rapid.Uint32().Draw(t, "cf"),
		ColumnFamilyAdd:  rapid.Ptr(rapid.String(), true).Draw(t, "add"),
		ColumnFamilyDrop: rapid.Bool().Draw(t, "drop"),
		MaxColumnFamily:  rapid.Ptr(rapid.Uint32(), true).Draw(t, "max"),
		WalDeletion:      num.Draw(t, "deletion"),
	}
	for range rapid.IntRange(0, 3).Draw(t, "deletes") {
		e.Deleted = append(e.Deleted, DeletedTable{level.Draw(t, "level"), num.Draw(t, "num")})
	}
	for range rapid.IntRange(0, 3).Draw(t, "adds") {
		e.Added = append(e.Added, AddedTable{level.Draw(t, "level"), anyTable(t)})
	}
	for range rapid.IntRange(0, 2).Draw(t, "blobs") {
		e.BlobsAdded = append(e.BlobsAdded, Blob{Num: num.Draw(t, "num"), Count: num.Draw(t, "count"), Bytes: num.Draw(t, "bytes"),
			ChecksumMethod: rapid.String().Draw(t, "method"), ChecksumValue: rapid.String().Draw(t, "value"), Extra: anyFields(t, 1, 63)})
		e.BlobGarbage = append(e.BlobGarbage, BlobGarbage{num.Draw(t, "num"), num.Draw(t, "count"), num.Draw(t, "bytes")})
	}
	for range rapid.IntRange(0, 2).Draw(t, "logs") {
		w := WalAddition{Num: small.Draw(t, "log"), Synced: rapid.Bool().Draw(t, "synced")}
		if w.Synced {
			w.SyncedBytes = num.Draw(t, "bytes")
		}
		e.WalAdditions = append(e.WalAdditions, w)
	}
	if rapid.Bool().Draw(t, "cursor") {
		e.CompactCursors = []CompactCursor{{level.Draw(t, "level"), anyKey(t).Encode(nil)}}
	}
	if e.InAtomicGroup = rapid.Bool().Draw(t, "group"); e.InAtomicGroup {
		e.Remaining = rapid.Uint32().Draw(t, "remaining")
	}
	if rapid.Bool().Draw(t, "ts") {
		e.FullHistoryTSLow = []byte("12345678")
	}
	e.Ignored = anyFields(t, tagWalDeleted2+1, tagWalDeleted2+500)
	return e
}

func anyKey(t *rapid.T) ikey.Key {
	user := rapid.SliceOfN(rapid.Byte(), 0, 20).Draw(t, "user")
	return ikey.Make(user, rapid.Uint64Range(0, ikey.MaxSeq).Draw(t, "seq"), ikey.Kind(rapid.Byte().Draw(t, "kind")))
}

func anyFields(t *rapid.T, lo, hi uint32) (fields []Field) {
	for range rapid.IntRange(0, 3).Draw(t, "fields") {
		fields = append(fields, Field{rapid.Uint32Range(lo, hi).Draw(t, "tag"), rapid.SliceOfN(rapid.Byte(), 0, 20).Draw(t, "field")})
	}
	return fields
}

func anyTable(t *rapid.T) *Table {
	num := rapid.Uint64()
	return &Table{
		Num: num.Draw(t, "num"), Size: num.Draw(t, "size"), Smallest: anyKey(t), Largest: anyKey(t),
		SmallestSeq: num.Draw(t, "smallest"), LargestSeq: num.Draw(t, "largest"), OldestBlob: num.Draw(t, "blob"),
		OldestAncestorTime: num.Draw(t, "ancestor"), CreationTime: num.Draw(t, "created"),
		MarkedForCompaction: rapid.Bool().Draw(t, "marked"), Extra: anyFields(t, fieldTemperature+1, 63),
	}
}

func TestEditRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		e := anyEdit(t)
		rec := e.Encode([]byte("before"))
		require.Equal(t, "before", string(rec[:6]))
		rec = rec[6:]
		var got Edit
		require.NoError(t, got.Decode(rec))
		require.Equal(t, e.String(), got.String())
		require.Equal(t, rec, got.Encode(nil))
		require.Equal(t, e, &got)
		clear(rec)
		require.Equal(t, e, &got, "a decoded edit must not alias its record")
	})
}

// Bytes that are no edit give an error; nothing panics or takes memory beyond the input's size.
func TestDecodeDamaged(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	rapid.Check(t, func(t *rapid.T) {
		rec := anyEdit(t).Encode(nil)
		var e Edit
		for n := range rec {
			if e.Decode(rec[:n]) == nil {
				require.True(t, bytes.Equal(rec[:n], e.Encode(nil)), "a prefix that decodes ends between two fields")
			}
		}
		for range 20 {
			if len(rec) == 0 {
				break
			}
			damaged := append([]byte(nil), rec...)
			damaged[rng.IntN(len(damaged))] ^= byte(1 << rng.IntN(8))
			if e.Decode(damaged) == nil {
				_ = e.String()
			}
		}
	})
}

// fields builds a record by hand: numbers become varints, strings length and bytes, raw stays.
type raw []byte

func fields(parts ...any) (rec []byte) {
	for _, p := range parts {
		switch p := p.(type) {
		case int:
			rec = binary.AppendUvarint(rec, uint64(p))
		case string:
			rec = append(binary.AppendUvarint(rec, uint64(len(p))), p...)
		case raw:
			rec = append(rec, p...)
		default:
			panic(fmt.Sprintf("%T", p))
		}
	}
	return rec
}

func key(s string, seq uint64) string {
	return string(ikey.Make([]byte(s), seq, ikey.KindSet).Encode(nil))
}

func TestDecodeForeignForms(t *testing.T) {
	a, b := key("a", 7), key("b", 3)
	for _, c := range []struct {
		name string
		rec  []byte
		want string
	}{
		{"empty", nil, ""},
		{"NewFile2", fields(100, 2, 9, 1234, a, b, 3, 7), `add L2 000009["a"#7,SET .. "b"#3,SET] 1234 bytes seq 3..7`},
		{"NewFile3", fields(102, 2, 9, 0, 1234, a, b, 3, 7), `add L2 000009["a"#7,SET .. "b"#3,SET] 1234 bytes seq 3..7`},
		{"NewFile4 of a later RocksDB", fields(103, 0, 9, 1234, a, b, 3, 7, 12, "0123456789abcdef", 13, "\x05", 15, "\x10", 2, "\x01", 65, "\x00", 4, "\x0c", 1),
			`add L0 000009["a"#7,SET .. "b"#3,SET] 1234 bytes seq 3..7 blob>=000012 marked field12=30313233343536373839616263646566 field13=05 field15=10`},
		{"min_log_to_keep inside NewFile4", fields(103, 0, 9, 1234, a, b, 3, 7, 3, "\x08\x00\x00\x00\x00\x00\x00\x00", 1),
			"min_log_to_keep 8\n" + `add L0 000009["a"#7,SET .. "b"#3,SET] 1234 bytes seq 3..7`},
		{"file checksum", fields(103, 0, 9, 1234, a, b, 3, 7, 7, "\xab\xcd", 8, "FileChecksumCrc32c", 1),
			`add L0 000009["a"#7,SET .. "b"#3,SET] 1234 bytes seq 3..7 field7=abcd field8=46696c65436865636b73756d437263333263`},
		{"no file checksum", fields(103, 0, 9, 1234, a, b, 3, 7, 7, "", 8, "Unknown", 1), `add L0 000009["a"#7,SET .. "b"#3,SET] 1234 bytes seq 3..7`},
		{"blob files, old tags", fields(8194, 5, 10, 1000, "", "", 0, 8195, 5, 1, 100, 0), "add_blob 000005 10 values 1000 bytes\nblob_garbage 000005 1 values 100 bytes"},
		{"blob garbage with a field", fields(401, 5, 1, 100, 7, "zzz", 0), "blob_garbage 000005 1 values 100 bytes"},
		{"logs, old tags", fields(8196, 4, 2, 4096, 1, 8197, 4), "log_synced 000004 4096 bytes\nlogs_deleted_below 000004"},
		{"logs", fields(8199, string(fields(4, 1)), 8199, string(fields(4, 2, 4096, 1)), 8200, string(fields(4))),
			"log_added 000004\nlog_synced 000004 4096 bytes\nlogs_deleted_below 000004"},
		{"to be skipped", fields(8201, "\x01", 12345|8192, ""), "ignored field8201=01\nignored field12345="},
		{"column family", fields(200, 3, 201, "meta", 203, 3), "column_family 3\ncolumn_family_add \"meta\"\nmax_column_family 3"},
		{"drop in a group", fields(200, 3, 202, 300, 2), "column_family 3\ncolumn_family_drop\natomic_group 2 more"},
		{"cursor", fields(5, 2, a), "compact_cursor L2 610107000000000000"},
	} {
		t.Run(c.name, func(t *testing.T) {
			var e Edit
			require.NoError(t, e.Decode(c.rec))
			require.Equal(t, c.want, strings.TrimSuffix(e.String(), "\n"))
			var again Edit
			require.NoError(t, again.Decode(e.Encode(nil)))
			require.Equal(t, e, again)
		})
	}
}

func TestDecodeRefuses(t *testing.T) {
	a, b := key("a", 7), key("b", 3)
	table := func(custom ...any) []byte {
		return fields(append([]any{103, 0, 9, 1234, a, b, 3, 7}, custom...)...)
	}
	for _, c := range []struct {
		name    string
		rec     []byte
		foreign bool
		want    string
	}{
		{"unknown tag", fields(11, 4), false, "field 11 at byte 0: unknown tag"},
		{"unknown tag of two bytes", fields(4, 9, 4096, "x"), false, "field 4096 at byte 2: unknown tag"},
		{"tag zero", fields(0), false, "unknown tag"},
		{"number cut off", fields(4, raw{0x80}), false, "bad last_seq"},
		{"number too long", fields(4, raw("\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01")), false, "bad last_seq"},
		{"tag above 32 bits", fields(1<<40 | 8192), false, "bad tag"},
		{"length beyond the record", fields(1, 1<<40), false, "bad comparator"},
		{"key shorter than a trailer", fields(103, 0, 9, 1234, "short", b, 3, 7, 1), false, "bad smallest key"},
		{"cursor key", fields(5, 1, "short"), false, "bad compact_cursor key"},
		{"level", fields(6, 1<<30, 4), false, "bad deleted level"},
		{"custom fields without end", table(5, "\x01"), false, "bad custom field tag"},
		{"custom field cut off", table(5, raw{9, 1}), false, "bad custom field value"},
		{"creation time", table(6, "", 1), false, "custom field 6 of table 000009 has bad value"},
		{"marked", table(2, "xx", 1), false, "custom field 2 of table 000009"},
		{"min_log_to_keep", table(3, "short", 1), false, "custom field 3 of table 000009"},
		{"path length", table(65, "", 1), false, "custom field 65 of table 000009"},
		{"log field", fields(8196, 4, 3, 1, 1), false, "bad log field tag"},
		{"log field inside", fields(8199, string(fields(4))), false, "bad log field tag"},
		{"NewFile", fields(7, 0, 9, 1234, a, b), true, "LevelDB"},
		{"path", table(65, "\x02", 1), true, "path 2 of db_paths"},
		{"path of NewFile3", fields(102, 0, 9, 1, 1234, a, b, 3, 7), true, "path 1 of db_paths"},
		{"must understand", table(66, "", 1), true, "custom field 66 of table 000009"},
		{"must understand, blob", fields(400, 5, 1, 1, "", "", 64, "", 0), true, "custom field 64 of blob file 000005"},
	} {
		t.Run(c.name, func(t *testing.T) {
			var e Edit
			err := e.Decode(c.rec)
			require.ErrorContains(t, err, c.want)
			var foreign *UnsupportedError
			if c.foreign {
				require.ErrorAs(t, err, &foreign)
				require.NotEmpty(t, foreign.What)
			} else {
				require.NotErrorAs(t, err, &foreign)
			}
		})
	}
}
