package batch

import (
	"encoding/hex"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/cambiumdb/cambium/internal/ikey"
)

// ops reads all ops of a batch.
func ops(rep []byte) (list []Op, err error) {
	r, err := NewReader(rep)
	if err != nil {
		return nil, err
	}
	for {
		op, ok, err := r.Next()
		if !ok {
			return list, err
		}
		list = append(list, op)
	}
}

func header(seq uint64, count uint32) []byte {
	rep := make([]byte, HeaderLen)
	SetHeader(rep, seq, count)
	return rep
}

// TestBytes pins the encoding: these are the bytes that RocksDB writes and reads.
func TestBytes(t *testing.T) {
	rep := header(5, 4)
	rep = AppendOp(rep, ikey.KindSet, []byte("k"), []byte("value"))
	rep = AppendOp(rep, ikey.KindDelete, []byte("gone"), nil)
	rep = AppendOp(rep, ikey.KindRangeDelete, []byte("a"), []byte("b"))
	rep = AppendOp(rep, ikey.KindEntity, []byte("e"), []byte{1, 0})
	rep = AppendOp(rep, ikey.KindLogData, nil, []byte("note"))
	require.Equal(t, ""+
		"0500000000000000"+"04000000"+
		"01"+"016b"+"0576616c7565"+
		"00"+"04676f6e65"+
		"0f"+"0161"+"0162"+
		"16"+"0165"+"020100"+
		"03"+"046e6f7465", hex.EncodeToString(rep))
	list, err := ops(rep)
	require.NoError(t, err)
	require.Equal(t, []Op{
		{ikey.KindSet, []byte("k"), []byte("value")},
		{ikey.KindDelete, []byte("gone"), nil},
		{ikey.KindRangeDelete, []byte("a"), []byte("b")},
		{ikey.KindEntity, []byte("e"), []byte{1, 0}},
		{ikey.KindLogData, nil, []byte("note")},
	}, list)
	seq, count, ok := Header(rep)
	require.True(t, ok)
	require.EqualValues(t, 5, seq)
	require.EqualValues(t, 4, count)
}

func TestRoundTrip(t *testing.T) {
	kinds := []ikey.Kind{ikey.KindSet, ikey.KindDelete, ikey.KindSingleDelete, ikey.KindRangeDelete, ikey.KindBlobIndex, ikey.KindEntity, ikey.KindLogData}
	rapid.Check(t, func(t *rapid.T) {
		rep := header(9, 0)
		var want []Op
		count := uint32(0)
		for range rapid.IntRange(0, 20).Draw(t, "ops") {
			op := Op{Kind: rapid.SampledFrom(kinds).Draw(t, "kind")}
			op.Key = rapid.SliceOfN(rapid.Byte(), 0, 300).Draw(t, "key")
			op.Value = rapid.SliceOfN(rapid.Byte(), 0, 300).Draw(t, "value")
			before := len(rep)
			rep = AppendOp(rep, op.Kind, op.Key, op.Value)
			require.Equal(t, OpLen(op.Kind, len(op.Key), len(op.Value)), len(rep)-before)
			switch op.Kind {
			case ikey.KindSingleDelete:
				op.Kind, op.Value = ikey.KindDelete, nil
			case ikey.KindDelete:
				op.Value = nil
			case ikey.KindLogData:
				op.Key = nil
			}
			if op.Kind != ikey.KindLogData {
				count++
			}
			want = append(want, op)
		}
		SetHeader(rep, 9, count)
		got, err := ops(rep)
		require.NoError(t, err)
		require.Equal(t, len(want), len(got))
		for i := range want {
			require.Equal(t, want[i].Kind, got[i].Kind)
			require.Equal(t, string(want[i].Key), string(got[i].Key))
			require.Equal(t, string(want[i].Value), string(got[i].Value))
		}
		// A wrong count, and every cut, is noticed.
		SetHeader(rep, 9, count+1)
		_, err = ops(rep)
		require.ErrorContains(t, err, "header counts")
	})
}

func TestMerge(t *testing.T) {
	first := AppendOp(AppendOp(header(5, 2), ikey.KindSet, []byte("a"), []byte("1")), ikey.KindRangeDelete, []byte("b"), []byte("c"))
	second := AppendOp(AppendOp(header(7, 1), ikey.KindLogData, nil, []byte("note")), ikey.KindDelete, []byte("d"), nil)
	merged, ok := Merge(append([]byte(nil), first...), second)
	require.True(t, ok)
	seq, count, _ := Header(merged)
	require.EqualValues(t, 5, seq)
	require.EqualValues(t, 3, count)
	list, err := ops(merged)
	require.NoError(t, err)
	a, _ := ops(first)
	b, _ := ops(second)
	require.Equal(t, append(a, b...), list)
	require.Len(t, merged, len(first)+len(second)-HeaderLen)

	for name, rep := range map[string][]byte{
		"a gap":         AppendOp(header(8, 1), ikey.KindDelete, []byte("d"), nil),
		"a filler":      AppendFiller(nil, 100, 7, nil),
		"a log header":  AppendLogHeader(nil, 7, 1, 6),
		"too many":      header(7, 1<<32-1),
		"half a header": header(7, 1)[:11],
	} {
		same, ok := Merge(append([]byte(nil), first...), rep)
		require.False(t, ok, name)
		require.Equal(t, first, same, name)
	}
	_, ok = Merge(AppendLogHeader(nil, 7, 1, 6), second)
	require.False(t, ok, "behind a log header")
}

func TestColumnFamilies(t *testing.T) {
	for tag, want := range map[byte]ikey.Kind{
		tagCFDelete: ikey.KindDelete, tagCFSingleDelete: ikey.KindDelete, tagCFSet: ikey.KindSet,
		tagCFRangeDelete: ikey.KindRangeDelete, tagCFBlobIndex: ikey.KindBlobIndex, tagCFEntity: ikey.KindEntity,
	} {
		operands := []byte("\x01k\x01v")
		if want == ikey.KindDelete {
			operands = operands[:2]
		}
		list, err := ops(append(append(header(1, 1), tag, 0), operands...))
		require.NoError(t, err, "tag %#x", tag)
		require.Equal(t, want, list[0].Kind)
		require.Equal(t, "k", string(list[0].Key))

		_, err = ops(append(append(header(1, 1), tag, 3), operands...))
		var u *UnsupportedError
		require.ErrorAs(t, err, &u, "tag %#x", tag)
		require.Contains(t, err.Error(), "column family 3")
	}
}

func TestRefusedByName(t *testing.T) {
	for what, body := range map[string]string{
		`merge of key "k"`:        "\x02\x01k\x01v",
		`merge of key "c"`:        "\x06\x00\x01c\x01v",
		"two-phase commit marker": "\x09",
		"user-defined timestamp":  "\x14\x01k",
		"TimedPut":                "\x18\x01k\x01v",
	} {
		_, err := ops(append(header(1, 1), body...))
		var u *UnsupportedError
		require.ErrorAs(t, err, &u)
		require.Contains(t, err.Error(), what)
	}
}

func TestNoopIsSkipped(t *testing.T) {
	list, err := ops(append(header(1, 1), "\x0d\x00\x01k"...))
	require.NoError(t, err)
	require.Len(t, list, 1)
}

func TestMalformed(t *testing.T) {
	for name, c := range map[string]struct{ rep, want string }{
		"short header":  {"123", "of 3 bytes"},
		"seq too big":   {"\x00\x00\x00\x00\x00\x00\x00\x01\x01\x00\x00\x00", "beyond 56 bits"},
		"seq overflows": {"\xff\xff\xff\xff\xff\xff\xff\x00\x01\x00\x00\x00", "beyond 56 bits"},
		"unknown tag":   {string(header(1, 1)) + "\x7f", "unknown tag 0x7f"},
		"huge length":   {string(header(1, 1)) + "\x01\xff\xff\xff\xff\x0fk", "operand of 4294967295 bytes at byte 18, 1 left"},
		"bad varint":    {string(header(1, 1)) + "\x01\xff\xff\xff\xff\xff\xff", "bad varint32"},
		"cut":           {string(header(1, 1)) + "\x01\x01", "operand of 1 bytes"},
		"no value":      {string(header(1, 1)) + "\x01\x01k", "bad varint32"},
		"count":         {string(header(1, 2)) + "\x00\x01k", "header counts 2 ops, found 1"},
	} {
		_, err := ops([]byte(c.rep))
		require.ErrorContains(t, err, c.want, name)
		var u *UnsupportedError
		require.NotErrorAs(t, err, &u)
	}
}

func TestErrorEndsReader(t *testing.T) {
	r, err := NewReader(append(header(1, 1), "\x7f\x00\x01k"...))
	require.NoError(t, err)
	for range 3 {
		_, ok, err := r.Next()
		require.False(t, ok)
		require.ErrorContains(t, err, "unknown tag")
	}
}

// TestFillerSizes makes a filler of every size up to where the varint takes three bytes.
func TestFillerSizes(t *testing.T) {
	prev := header(41, 3)
	for size := MinFiller; size < 17_000; size++ {
		rep := Filler(size, prev, 1<<40)
		require.Len(t, rep, size)
		list, err := ops(rep)
		require.NoError(t, err, "size %d", size)
		require.NotEmpty(t, list)
		seq, count, _ := Header(rep)
		require.EqualValues(t, 44, seq)
		require.Zero(t, count)
		require.True(t, IsFiller(rep))
		to, ok := Mark(rep)
		require.Equal(t, size >= HeaderLen+2+markLen, ok, "size %d", size)
		if ok {
			require.EqualValues(t, 1<<40, to)
		}
	}
	require.Panics(t, func() { AppendFiller(nil, MinFiller-1, 0, nil) })
}

func TestFillerAppends(t *testing.T) {
	rep := AppendFiller([]byte("before"), 100, 7, nil)
	require.Len(t, rep, 106)
	require.True(t, strings.HasPrefix(string(rep), "before"))
	require.True(t, IsFiller(rep[6:]))
}

func TestIngestMark(t *testing.T) {
	rep := AppendIngestMark(nil, 41)
	seq, count, ok := Header(rep)
	require.True(t, ok)
	require.EqualValues(t, 42, seq)
	require.Zero(t, count)
	require.False(t, IsFiller(rep))
	list, err := ops(rep)
	require.NoError(t, err)
	require.Len(t, list, 1)
	last, ok := ParseIngestMark(list[0].Value)
	require.True(t, ok)
	require.EqualValues(t, 41, last)
	_, ok = ParseLogHeader(list[0].Value)
	require.False(t, ok)
	for _, blob := range []string{"", "cambium", "cambiumI", "cambiumI1234567", "cambiumH12345678", "cambiun I12345678"} {
		_, ok := ParseIngestMark([]byte(blob))
		require.False(t, ok, "%q", blob)
	}
}

func TestLogHeader(t *testing.T) {
	rep := AppendLogHeader(nil, 100, 7, 99)
	list, err := ops(rep)
	require.NoError(t, err)
	require.Len(t, list, 1)
	h, ok := ParseLogHeader(list[0].Value)
	require.True(t, ok)
	require.Equal(t, LogHeader{PrevLog: 7, PrevLastSeq: 99}, h)
	require.False(t, IsFiller(rep), "a header must not be skipped as a filler")
	_, ok = Mark(rep)
	require.False(t, ok)
	for _, blob := range []string{"", "cambium", "cambiumH", "cambiumF12345678", "cambiuxH1234567812345678", "cambiumH123456781234567"} {
		_, ok := ParseLogHeader([]byte(blob))
		require.False(t, ok, blob)
	}
}

func TestNotFillers(t *testing.T) {
	for _, rep := range [][]byte{
		nil,
		header(1, 0),
		AppendOp(header(1, 1), ikey.KindDelete, []byte("k"), nil),
		AppendOp(header(1, 0), ikey.KindDelete, []byte("k"), nil), // count is a lie
		AppendOp(header(1, 1), ikey.KindLogData, nil, FillerMark(5)),
	} {
		require.False(t, IsFiller(rep))
		_, ok := Mark(rep)
		require.False(t, ok)
	}
	_, ok := ParseFiller([]byte("cambiumF\xff\xff\xff\xff\xff\xff\xff\xff"))
	require.False(t, ok, "a negative offset is no mark")
}

func FuzzReader(f *testing.F) {
	f.Add(Filler(300, header(1, 2), 9))
	f.Add(AppendLogHeader(nil, 1, 2, 3))
	f.Add(AppendOp(AppendOp(header(7, 2), ikey.KindSet, []byte("k"), []byte("v")), ikey.KindRangeDelete, []byte("a"), []byte("b")))
	f.Fuzz(func(t *testing.T, rep []byte) {
		list, err := ops(rep)
		Mark(rep)
		IsFiller(rep)
		if err != nil {
			return
		}
		// What was read can be written again and reads the same.
		seq, count, _ := Header(rep)
		again := header(seq, count)
		for _, op := range list {
			again = AppendOp(again, op.Kind, op.Key, op.Value)
		}
		relist, err := ops(again)
		require.NoError(t, err)
		require.Equal(t, len(list), len(relist))
	})
}
