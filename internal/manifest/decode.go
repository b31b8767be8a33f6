package manifest

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"

	"github.com/cambiumdb/cambium/internal/ikey"
)

// input is what is left of a record. The first field that does not fit makes it bad, after
// which every read gives zero: a caller checks once at the end of a field.
type input struct {
	b   []byte
	bad string // what did not fit; "" = all well
}

func (in *input) fail(what string) {
	if in.bad == "" {
		in.bad = what
	}
	in.b = nil
}

func (in *input) varint(what string) uint64 {
	v, n := binary.Uvarint(in.b)
	if n <= 0 {
		in.fail(what)
		return 0
	}
	in.b = in.b[n:]
	return v
}

func (in *input) varint32(what string) uint32 {
	v := in.varint(what)
	if v > 1<<32-1 {
		in.fail(what)
		return 0
	}
	return uint32(v)
}

// level reads a level. Levels that we do not have are refused only where a table stays on one.
func (in *input) level(what string) int {
	const most = 1 << 20
	v := in.varint(what)
	if v > most {
		in.fail(what)
		return 0
	}
	return int(v)
}

// bytes reads a length and that many bytes, which alias the record.
func (in *input) bytes(what string) []byte {
	n := in.varint(what)
	if n > uint64(len(in.b)) {
		in.fail(what)
		return nil
	}
	b := in.b[:n:n]
	in.b = in.b[n:]
	return b
}

func (in *input) key(what string) ikey.Key {
	k, ok := ikey.Decode(in.bytes(what))
	if !ok {
		in.fail(what)
		return ikey.Key{}
	}
	return k.Clone()
}

// whole decodes a custom field that is one varint.
func whole(value []byte) (v uint64, ok bool) {
	v, n := binary.Uvarint(value)
	return v, n > 0
}

// Decode replaces the edit by the one that rec holds. It keeps no reference to rec. Edits of
// other column families decode; Recover decides about them. The error is an *UnsupportedError
// for what is known and not supported, and plain for bytes that are no edit; the edit is then
// incomplete.
func (e *Edit) Decode(rec []byte) error {
	*e = Edit{}
	in := &input{b: rec}
	for len(in.b) > 0 {
		at := len(rec) - len(in.b)
		tag := in.varint32("tag")
		var err error
		if in.bad == "" {
			err = e.decodeField(in, tag)
		}
		if in.bad != "" {
			err = errors.New("bad " + in.bad)
		}
		if err != nil {
			return fmt.Errorf("edit of %d bytes, field %d at byte %d: %w", len(rec), tag, at, err)
		}
	}
	return nil
}

func (e *Edit) decodeField(in *input, tag uint32) error {
	switch tag {
	case tagDBID:
		e.DBID = string(in.bytes("db_id"))
	case tagComparator:
		name := string(in.bytes("comparator"))
		e.Comparator = &name
	case tagLogNum:
		e.LogNum = ptr(in.varint("log_number"))
	case tagPrevLogNum:
		e.PrevLogNum = ptr(in.varint("prev_log"))
	case tagNextFile:
		e.NextFileNum = ptr(in.varint("next_file"))
	case tagLastSeq:
		e.LastSeq = ptr(in.varint("last_seq"))
	case tagMinLogToKeep:
		e.MinLogToKeep = ptr(in.varint("min_log_to_keep"))
	case tagCompactCursor:
		c := CompactCursor{Level: in.level("compact_cursor level")}
		c.Key = in.key("compact_cursor key").Encode(nil)
		e.CompactCursors = append(e.CompactCursors, c)
	case tagDeleted:
		d := DeletedTable{Level: in.level("deleted level")}
		d.Num = in.varint("deleted number")
		e.Deleted = append(e.Deleted, d)
	case tagNewFile:
		return unsupported("a table without sequence numbers in the manifest (LevelDB, or RocksDB before 2.7)")
	case tagNewFile2, tagNewFile3, tagNewFile4:
		return e.decodeTable(in, tag)
	case tagBlobAdded, tagOldBlobAdded:
		return e.decodeBlob(in)
	case tagBlobGarbage, tagOldBlobGarbage:
		g := BlobGarbage{Num: in.varint("blob garbage number")}
		g.Count, g.Bytes = in.varint("blob garbage count"), in.varint("blob garbage bytes")
		e.BlobGarbage = append(e.BlobGarbage, g)
		return customFields(in, blobCustomEnd, func(Field) error { return nil })
	case tagWalAdded, tagWalAdded2, tagWalDeleted, tagWalDeleted2:
		return e.decodeWal(in, tag)
	default:
		return e.decodeGroup(in, tag)
	}
	return nil
}

// decodeGroup reads what says whose edit it is, and fields that may be skipped.
func (e *Edit) decodeGroup(in *input, tag uint32) error {
	switch tag {
	case tagColumnFamily:
		e.ColumnFamily = in.varint32("column family id")
	case tagColumnFamilyAdd:
		name := string(in.bytes("column family name"))
		e.ColumnFamilyAdd = &name
	case tagColumnFamilyDrop:
		e.ColumnFamilyDrop = true
	case tagMaxColumnFamily:
		e.MaxColumnFamily = ptr(in.varint32("max column family"))
	case tagInAtomicGroup:
		e.InAtomicGroup, e.Remaining = true, in.varint32("atomic group")
	case tagFullHistoryTSLow:
		e.FullHistoryTSLow = bytes.Clone(in.bytes("full_history_ts_low"))
	case tagLogExists:
		in.bytes("log_exists")
		e.LogExists = true
	default:
		if tag&tagIgnorable == 0 {
			return errors.New("unknown tag")
		}
		e.Ignored = append(e.Ignored, Field{Tag: tag, Value: bytes.Clone(in.bytes("skipped field"))})
	}
	return nil
}

func (e *Edit) decodeTable(in *input, tag uint32) error {
	a := AddedTable{Level: in.level("table level"), Table: &Table{}}
	t := a.Table
	t.Num = in.varint("table number")
	if tag == tagNewFile3 {
		if path := in.varint32("table path"); path != 0 {
			return unsupportedPath(t.Num, path)
		}
	}
	t.Size = in.varint("table size")
	t.Smallest, t.Largest = in.key("smallest key"), in.key("largest key")
	t.SmallestSeq, t.LargestSeq = in.varint("smallest_seq"), in.varint("largest_seq")
	if tag == tagNewFile4 {
		if err := customFields(in, customEnd, func(f Field) error { return e.decodeCustom(t, f) }); err != nil {
			return err
		}
		t.Extra = withoutNoChecksum(t.Extra)
	}
	e.Added = append(e.Added, a)
	return nil
}

// withoutNoChecksum drops the two fields by which RocksDB says that a table has no file
// checksum; encoding makes them anew.
func withoutNoChecksum(extra []Field) []Field {
	none := func(f Field) bool {
		return f.Tag == fieldChecksum && len(f.Value) == 0 || f.Tag == fieldChecksumFunc && string(f.Value) == unknownChecksumMethod
	}
	sums := func(f Field) bool { return f.Tag == fieldChecksum || f.Tag == fieldChecksumFunc }
	for _, f := range extra {
		if sums(f) && !none(f) {
			return extra
		}
	}
	if extra = slices.DeleteFunc(extra, none); len(extra) == 0 {
		return nil
	}
	return extra
}

func unsupportedPath(table uint64, path uint32) error {
	return unsupported("table %06d in path %d of db_paths or cf_paths", table, path)
}

// decodeCustom takes one custom field of NewFile4 into t, or into the edit where it belongs
// there.
func (e *Edit) decodeCustom(t *Table, f Field) error {
	ok := true
	switch f.Tag {
	case customMarked:
		ok = len(f.Value) == 1
		t.MarkedForCompaction = ok && f.Value[0] == 1
	case customMinLogToKeep:
		if ok = len(f.Value) == 8; ok {
			e.MinLogToKeep = ptr(binary.LittleEndian.Uint64(f.Value))
		}
	case customOldestBlob:
		t.OldestBlob, ok = whole(f.Value)
	case customAncestorTime:
		t.OldestAncestorTime, ok = whole(f.Value)
	case customCreationTime:
		t.CreationTime, ok = whole(f.Value)
	case customPath:
		if ok = len(f.Value) == 1; ok && f.Value[0] != 0 {
			return unsupportedPath(t.Num, uint32(f.Value[0]))
		}
	default:
		if f.Tag&customMustUnderstand != 0 {
			return unsupported("custom field %d of table %06d, which a reader must understand", f.Tag, t.Num)
		}
		t.Extra = append(t.Extra, Field{Tag: f.Tag, Value: bytes.Clone(f.Value)})
	}
	if !ok {
		return fmt.Errorf("custom field %d of table %06d has bad value %x", f.Tag, t.Num, f.Value)
	}
	return nil
}

func (e *Edit) decodeBlob(in *input) error {
	b := Blob{Num: in.varint("blob number")}
	b.Count, b.Bytes = in.varint("blob count"), in.varint("blob bytes")
	b.ChecksumMethod = string(in.bytes("blob checksum method"))
	b.ChecksumValue = string(in.bytes("blob checksum"))
	err := customFields(in, blobCustomEnd, func(f Field) error {
		if f.Tag&customMustUnderstand != 0 {
			return unsupported("custom field %d of blob file %06d, which a reader must understand", f.Tag, b.Num)
		}
		b.Extra = append(b.Extra, Field{Tag: f.Tag, Value: bytes.Clone(f.Value)})
		return nil
	})
	if err != nil {
		return err
	}
	e.BlobsAdded = append(e.BlobsAdded, b)
	return nil
}

func (e *Edit) decodeWal(in *input, tag uint32) error {
	inner := in
	if tag == tagWalAdded2 || tag == tagWalDeleted2 {
		inner = &input{b: in.bytes("log field")}
	}
	if tag == tagWalDeleted || tag == tagWalDeleted2 {
		e.WalDeletion = inner.varint("log deletion")
	} else {
		e.WalAdditions = append(e.WalAdditions, inner.walAddition())
	}
	if inner.bad != "" {
		in.fail(inner.bad)
	}
	return nil
}

func (in *input) walAddition() WalAddition {
	w := WalAddition{Num: in.varint("log number")}
	for in.bad == "" {
		switch in.varint32("log field tag") {
		case walCustomEnd:
			return w
		case walCustomSyncedBytes:
			w.Synced, w.SyncedBytes = true, in.varint("log size")
		default:
			in.fail("log field tag")
		}
	}
	return w
}

// customFields reads {tag, string} pairs up to the tag end and hands each to take, whose field
// aliases the record.
func customFields(in *input, end uint32, take func(Field) error) error {
	for in.bad == "" {
		tag := in.varint32("custom field tag")
		if in.bad != "" || tag == end {
			return nil
		}
		value := in.bytes("custom field value")
		if in.bad != "" {
			return nil
		}
		if err := take(Field{Tag: tag, Value: value}); err != nil {
			return err
		}
	}
	return nil
}

func ptr[T any](v T) *T { return &v }
