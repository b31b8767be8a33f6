package manifest

import (
	"encoding/binary"
)

// Tags of an edit's fields.
const (
	tagComparator       = 1
	tagLogNum           = 2
	tagNextFile         = 3
	tagLastSeq          = 4
	tagCompactCursor    = 5
	tagDeleted          = 6
	tagNewFile          = 7
	tagPrevLogNum       = 9
	tagMinLogToKeep     = 10
	tagNewFile2         = 100
	tagNewFile3         = 102
	tagNewFile4         = 103
	tagColumnFamily     = 200
	tagColumnFamilyAdd  = 201
	tagColumnFamilyDrop = 202
	tagMaxColumnFamily  = 203
	tagInAtomicGroup    = 300
	tagBlobAdded        = 400
	tagBlobGarbage      = 401
	tagIgnorable        = 1 << 13 // bit of the tags that a reader may skip
	tagDBID             = 8193
	tagOldBlobAdded     = 8194
	tagOldBlobGarbage   = 8195
	tagWalAdded         = 8196
	tagWalDeleted       = 8197
	tagFullHistoryTSLow = 8198
	tagWalAdded2        = 8199
	tagWalDeleted2      = 8200
	tagLogExists        = tagIgnorable | 1<<11 // ours; RocksDB skips it
)

// Tags of NewFile4's custom fields. Those that only Extra carries are beside Table.
const (
	customEnd             = 1
	customMarked          = 2
	customMinLogToKeep    = 3
	customOldestBlob      = 4
	customAncestorTime    = 5
	customCreationTime    = 6
	customPath            = 65
	customMustUnderstand  = 1 << 6
	blobCustomEnd         = 0
	walCustomEnd          = 1
	walCustomSyncedBytes  = 2
	unknownChecksumMethod = "Unknown" // what RocksDB writes for a table without a file checksum
)

func appendVarint(dst []byte, v uint64) []byte { return binary.AppendUvarint(dst, v) }

func appendPair(dst []byte, tag, v uint64) []byte { return appendVarint(appendVarint(dst, tag), v) }

func appendBytes[T []byte | string](dst []byte, b T) []byte {
	return append(appendVarint(dst, uint64(len(b))), b...)
}

func appendField[T []byte | string](dst []byte, tag uint64, b T) []byte {
	return appendBytes(appendVarint(dst, tag), b)
}

// appendVarintField writes a custom field whose bytes are one varint.
func appendVarintField(dst []byte, tag, v uint64) []byte {
	var buf [binary.MaxVarintLen64]byte
	return appendField(dst, tag, buf[:binary.PutUvarint(buf[:], v)])
}

// Encode appends the edit's record to dst and returns it. Fields come in the order in which
// RocksDB 7.8 writes them.
func (e *Edit) Encode(dst []byte) []byte {
	if e.DBID != "" {
		dst = appendField(dst, tagDBID, e.DBID)
	}
	if e.Comparator != nil {
		dst = appendField(dst, tagComparator, *e.Comparator)
	}
	for _, f := range [...]struct {
		tag uint64
		v   *uint64
	}{{tagLogNum, e.LogNum}, {tagPrevLogNum, e.PrevLogNum}, {tagNextFile, e.NextFileNum}} {
		if f.v != nil {
			dst = appendPair(dst, f.tag, *f.v)
		}
	}
	if e.MaxColumnFamily != nil {
		dst = appendPair(dst, tagMaxColumnFamily, uint64(*e.MaxColumnFamily))
	}
	if e.MinLogToKeep != nil {
		dst = appendPair(dst, tagMinLogToKeep, *e.MinLogToKeep)
	}
	if e.LastSeq != nil {
		dst = appendPair(dst, tagLastSeq, *e.LastSeq)
	}
	for _, c := range e.CompactCursors {
		dst = appendPair(dst, tagCompactCursor, uint64(c.Level))
		dst = appendBytes(dst, c.Key)
	}
	for _, d := range e.Deleted {
		dst = appendPair(dst, tagDeleted, uint64(d.Level))
		dst = appendVarint(dst, d.Num)
	}
	for _, a := range e.Added {
		dst = appendTable(dst, a)
	}
	dst = e.appendBlobs(dst)
	dst = e.appendWals(dst)
	return e.appendGroup(dst)
}

func appendTable(dst []byte, a AddedTable) []byte {
	t := a.Table
	dst = appendPair(dst, tagNewFile4, uint64(a.Level))
	dst = appendVarint(dst, t.Num)
	dst = appendVarint(dst, t.Size)
	dst = t.Smallest.Encode(appendVarint(dst, uint64(t.Smallest.Len())))
	dst = t.Largest.Encode(appendVarint(dst, uint64(t.Largest.Len())))
	dst = appendPair(dst, t.SmallestSeq, t.LargestSeq)
	dst = appendVarintField(dst, customAncestorTime, t.OldestAncestorTime)
	dst = appendVarintField(dst, customCreationTime, t.CreationTime)
	summed := false
	for _, f := range t.Extra {
		if f.Tag <= fieldTemperature {
			dst = appendField(dst, uint64(f.Tag), f.Value)
			summed = summed || f.Tag == fieldChecksum || f.Tag == fieldChecksumFunc
		}
	}
	if !summed {
		dst = appendField(dst, fieldChecksum, "")
		dst = appendField(dst, fieldChecksumFunc, unknownChecksumMethod)
	}
	if t.MarkedForCompaction {
		dst = appendField(dst, customMarked, "\x01")
	}
	if t.OldestBlob != 0 {
		dst = appendVarintField(dst, customOldestBlob, t.OldestBlob)
	}
	for _, f := range t.Extra {
		if f.Tag > fieldTemperature {
			dst = appendField(dst, uint64(f.Tag), f.Value)
		}
	}
	return appendVarint(dst, customEnd)
}

func (e *Edit) appendBlobs(dst []byte) []byte {
	for i := range e.BlobsAdded {
		b := &e.BlobsAdded[i]
		dst = appendPair(dst, tagBlobAdded, b.Num)
		dst = appendPair(dst, b.Count, b.Bytes)
		dst = appendBytes(appendBytes(dst, b.ChecksumMethod), b.ChecksumValue)
		for _, f := range b.Extra {
			dst = appendField(dst, uint64(f.Tag), f.Value)
		}
		dst = appendVarint(dst, blobCustomEnd)
	}
	for _, g := range e.BlobGarbage {
		dst = appendPair(dst, tagBlobGarbage, g.Num)
		dst = appendPair(dst, g.Count, g.Bytes)
		dst = appendVarint(dst, blobCustomEnd)
	}
	return dst
}

func (e *Edit) appendWals(dst []byte) []byte {
	for _, w := range e.WalAdditions {
		body := appendVarint(nil, w.Num)
		if w.Synced {
			body = appendPair(body, walCustomSyncedBytes, w.SyncedBytes)
		}
		dst = appendField(dst, tagWalAdded2, appendVarint(body, walCustomEnd))
	}
	if e.WalDeletion != 0 {
		dst = appendVarintField(dst, tagWalDeleted2, e.WalDeletion)
	}
	return dst
}

func (e *Edit) appendGroup(dst []byte) []byte {
	if e.ColumnFamily != 0 {
		dst = appendPair(dst, tagColumnFamily, uint64(e.ColumnFamily))
	}
	if e.ColumnFamilyAdd != nil {
		dst = appendField(dst, tagColumnFamilyAdd, *e.ColumnFamilyAdd)
	}
	if e.ColumnFamilyDrop {
		dst = appendVarint(dst, tagColumnFamilyDrop)
	}
	if e.InAtomicGroup {
		dst = appendPair(dst, tagInAtomicGroup, uint64(e.Remaining))
	}
	if len(e.FullHistoryTSLow) > 0 {
		dst = appendField(dst, tagFullHistoryTSLow, e.FullHistoryTSLow)
	}
	if e.LogExists {
		dst = appendField(dst, tagLogExists, "")
	}
	for _, f := range e.Ignored {
		dst = appendField(dst, uint64(f.Tag), f.Value)
	}
	return dst
}
