package distrib

import (
	"bytes"
	"math"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/cambiumdb/cambium/distrib/vclock"
)

func drawRecord(t *rapid.T) (r Record) {
	for range rapid.IntRange(0, 6).Draw(t, "writes") {
		v := Value{Time: Timestamp(rapid.Uint64().Draw(t, "time")), Deleted: rapid.Bool().Draw(t, "deleted")}
		if rapid.Bool().Draw(t, "expires") {
			v.Expires = rapid.Int64Range(1, math.MaxInt64).Draw(t, "when")
		}
		var op OpID
		retried := false
		if rapid.Bool().Draw(t, "op") {
			op = OpID{0: 1, 14: byte(len(r)), 15: rapid.Byte().Draw(t, "id")}
			retried = rapid.Bool().Draw(t, "retried")
		}
		if !v.Deleted {
			size := rapid.SampledFrom([]int{0, 1, 100, InlineBytes, InlineBytes + 1, 20_000}).Draw(t, "size")
			v.Data = bytes.Repeat([]byte{rapid.Byte().Draw(t, "byte")}, size)
		}
		var past vclock.Seen
		if rapid.Bool().Draw(t, "seen") {
			past = vclock.Context(r)
		}
		dot, err := vclock.Next(r, vclock.Actor{Node: rapid.Uint64Range(1, 3).Draw(t, "node"), Birth: rapid.Uint64().Draw(t, "birth")}, 0, past)
		if err != nil {
			t.Fatal(err)
		}
		if !past.HasOp(op) {
			r = vclock.Merge(r, Record{{Dot: dot, Op: op, Past: past, Retried: retried, Value: v}})
		}
	}
	return r
}

func TestRecordRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		r := drawRecord(t)
		whole := AppendRecord([]byte("x"), r)[1:]
		got, err := DecodeRecord(whole)
		require.NoError(t, err)
		require.Equal(t, whole, AppendRecord(nil, got), "one record has one encoding")
		require.True(t, vclock.Same(r, got))

		lengths := make([]int, len(r))
		for i := range r {
			lengths[i] = len(r[i].Value.Data)
		}
		minted := vclock.Dot{Actor: vclock.Actor{Node: 1, Birth: 5}, Counter: rapid.Uint64().Draw(t, "minted")}
		linearizable := rapid.Bool().Draw(t, "linearizable")
		head := AppendHead(nil, &Head{Minted: minted, Linearizable: linearizable, Record: r}, lengths)
		h, err := DecodeHead(head)
		require.NoError(t, err)
		require.Equal(t, minted, h.Minted)
		require.Equal(t, linearizable, h.Linearizable)
		got = h.Record
		for _, m := range h.Missing {
			require.Len(t, r[m.Sibling].Value.Data, m.Bytes)
			require.Greater(t, m.Bytes, InlineBytes)
			require.Empty(t, got[m.Sibling].Value.Data)
			got[m.Sibling].Value.Data = r[m.Sibling].Value.Data
		}
		require.Equal(t, whole, AppendRecord(nil, got))
		if len(h.Missing) > 0 && !linearizable {
			_, err = DecodeRecord(bytes.TrimPrefix(head, appendDot(nil, minted)))
			require.ErrorContains(t, err, "bytes of a value are not there")
		}

		for _, cut := range []int{0, 1, len(whole) / 2, len(whole) - 1} {
			if cut < len(whole) {
				_, err = DecodeRecord(whole[:cut])
				require.Error(t, err, "cut at %d of %d", cut, len(whole))
			}
		}
		_, err = DecodeRecord(append(whole, 0))
		require.Error(t, err)
	})
}

func TestDecodeRefuses(t *testing.T) {
	one := AppendRecord(nil, Record{{Dot: vclock.Dot{Actor: vclock.Actor{Node: 1}, Counter: 1}, Value: Value{Data: []byte("v")}}})
	change := func(at int, b byte) []byte {
		c := bytes.Clone(one)
		c[at] = b
		return c
	}
	for want, b := range map[string][]byte{
		"version 2, this program knows 1": change(0, 2),
		"bytes end early":                 change(1, 200),
		"seen itself":                     change(4, 0),
		"unknown flags":                   change(7, 0x80),
		"a deleted value has bytes":       change(7, flagDeleted),
		"of a length that is none":        change(7, flagApart),
		"retried, without an op id":       change(7, flagRetried),
		"siblings out of order":           append(append([]byte{1, 2}, one[2:]...), one[2:]...),
	} {
		_, err := DecodeRecord(b)
		require.ErrorContains(t, err, want)
	}
}

func FuzzDecodeRecord(f *testing.F) {
	f.Add(AppendRecord(nil, Record{{Dot: vclock.Dot{Actor: vclock.Actor{Node: 1}, Counter: 1}, Op: OpID{1}, Value: Value{Data: []byte("v"), Expires: 5}}}))
	f.Add(AppendRecord(nil, Record{{Dot: vclock.Dot{Actor: vclock.Actor{Node: 1}, Counter: 1}, Op: OpID{1}, Retried: true, Value: Value{Deleted: true}}}))
	f.Add([]byte{1, 0})
	f.Fuzz(func(t *testing.T, b []byte) {
		if r, err := DecodeRecord(b); err == nil {
			require.Equal(t, b, AppendRecord(nil, r))
		}
		_, _ = DecodeHead(b) // of a node's own records, and those that it keeps for others
		for _, prefix := range [][]byte{nil, DataPrefix(), HintPrefix(7)} {
			if token, key, head, err := ParseKey(prefix, append(prefix, b...)); err == nil && head {
				require.Equal(t, append(prefix, b...), HeadKey(prefix, token, key))
			}
		}
	})
}

func TestStoreKeys(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		prefix := rapid.SampledFrom([][]byte{DataPrefix(), HintPrefix(7), HintPrefix(math.MaxUint64)}).Draw(t, "prefix")
		key := rapid.SliceOfN(rapid.Byte(), 1, 50).Draw(t, "key")
		token := rapid.Uint64().Draw(t, "token")
		head := HeadKey(prefix, token, key)
		tok, k, isHead, err := ParseKey(prefix, head)
		require.NoError(t, err)
		require.True(t, isHead)
		require.Equal(t, []any{token, key}, []any{tok, k})
		value := ValueKey(head, vclock.Dot{Actor: vclock.Actor{Node: rapid.Uint64().Draw(t, "node"), Birth: rapid.Uint64().Draw(t, "birth")}, Counter: rapid.Uint64().Draw(t, "counter")})
		_, k, isHead, err = ParseKey(prefix, value)
		require.NoError(t, err)
		require.False(t, isHead)
		require.Equal(t, key, k)
		require.Negative(t, bytes.Compare(head, value), "a record's values follow its head")

		other := HeadKey(prefix, token, rapid.SliceOfN(rapid.Byte(), 1, 50).Draw(t, "other"))
		if !bytes.Equal(head, other) {
			require.Equal(t, bytes.Compare(head, other), bytes.Compare(value, other), "and no other record comes between")
		}
		first, last := rapid.Uint64().Draw(t, "first"), rapid.SampledFrom([]uint64{rapid.Uint64().Draw(t, "last"), math.MaxUint64}).Draw(t, "end")
		if first <= last {
			lower, upper := TokenBounds(prefix, first, last)
			for _, k := range [][]byte{head, value} {
				in := bytes.Compare(k, lower) >= 0 && bytes.Compare(k, upper) < 0
				require.Equal(t, token >= first && token <= last, in)
			}
		}
	})
	require.Len(t, ValueKey(HeadKey(HintPrefix(9), math.MaxUint64, make([]byte, MaxKeyBytes)), vclock.Dot{Actor: vclock.Actor{Node: math.MaxUint64, Birth: math.MaxUint64}, Counter: math.MaxUint64}), MaxStoreKeyBytes)
	for _, bad := range [][]byte{nil, DataPrefix(), make([]byte, 13), HeadKey(DataPrefix(), 1, nil), append(HeadKey(DataPrefix(), 1, []byte("k")), 0), HeadKey(HintPrefix(1), 1, []byte("k"))} {
		_, _, _, err := ParseKey(DataPrefix(), bad)
		require.ErrorContains(t, err, "is none of a record")
	}
}

func TestLimitsOfUsers(t *testing.T) {
	require.ErrorContains(t, CheckKey(nil), "key is empty")
	require.NoError(t, CheckKey(make([]byte, MaxKeyBytes)))
	require.ErrorContains(t, CheckKey(make([]byte, MaxKeyBytes+1)), "key of 1025 bytes, the limit is 1024")
	require.NoError(t, CheckValue(make([]byte, MaxValueBytes)))
	require.ErrorContains(t, CheckValue(make([]byte, MaxValueBytes+1)), "the limit is 10485760")
	v := Value{Expires: 100}
	require.False(t, v.Expired(99))
	require.True(t, v.Expired(100))
	require.False(t, (&Value{}).Expired(math.MaxInt64))
}
