package ikey

import (
	"bytes"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

func drawKey(t *rapid.T, name string) Key {
	user := rapid.SliceOfN(rapid.SampledFrom([]byte{0, 1, 'a', 'b', 0xfe, 0xff}), 0, 5).Draw(t, name)
	seq := rapid.SampledFrom([]uint64{0, 1, 2, 255, 256, MaxSeq - 1, MaxSeq}).Draw(t, name+" seq")
	kind := rapid.SampledFrom([]Kind{KindDelete, KindSet, KindRangeDelete, KindBlobIndex, KindEntity, KindSeek}).Draw(t, name+" kind")
	return Make(user, seq, kind)
}

func TestEncodingKeepsKeyAndOrder(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a, b := drawKey(t, "a"), drawKey(t, "b")
		ea, eb := a.Encode([]byte("x"))[1:], b.Encode(nil)
		require.Len(t, ea, a.Len())
		back, ok := Decode(ea)
		require.True(t, ok)
		require.True(t, bytes.Equal(a.User, back.User))
		require.Equal(t, a.Trailer, back.Trailer)
		require.Equal(t, Compare(a, b), CompareEncoded(ea, eb))
		require.Equal(t, Compare(a, b), -Compare(b, a))
	})
	_, ok := Decode(make([]byte, TrailerLen-1))
	require.False(t, ok)
}

func TestOrder(t *testing.T) {
	want := []Key{
		Seek([]byte("a"), MaxSeq),
		Make([]byte("a"), 9, KindSet),
		Seek([]byte("a"), 7),
		Make([]byte("a"), 7, KindEntity),
		Make([]byte("a"), 7, KindSet),
		Make([]byte("a"), 7, KindDelete),
		Make([]byte("a"), 0, 0),
		Seek([]byte("a\x00"), MaxSeq),
		Make([]byte("b"), 1, KindSet),
	}
	got := slices.Clone(want)
	slices.Reverse(got)
	slices.SortFunc(got, Compare)
	require.Equal(t, want, got)
	require.Equal(t, `"a"#9,SET`, want[1].String())
	require.True(t, Key{User: []byte("z"), Trailer: RangeDelSentinel}.IsExclusiveBound())
}

// A separator lies between its bounds and is never longer than the first.
func TestSeparatorAndSuccessor(t *testing.T) {
	for _, c := range []struct{ a, b, want string }{
		{"abc", "abq", "abc"}, {"abcdef", "abq", "abd"}, {"a", "b", "a"}, {"abc", "b", "ac"},
		{"a\xffz", "b", "a\xffz"}, {"abc", "abcd", "abc"}, {"", "a", ""},
	} {
		got, short := Separator(nil, []byte(c.a), []byte(c.b))
		require.Equal(t, c.want, string(got), "%q < %q", c.a, c.b)
		require.Equal(t, len(got) < len(c.a), short)
	}
	rapid.Check(t, func(t *rapid.T) {
		a, b := drawKey(t, "a").User, drawKey(t, "b").User
		if bytes.Compare(a, b) > 0 {
			a, b = b, a
		}
		if !bytes.Equal(a, b) {
			s, short := Separator([]byte("dst"), a, b)
			s = s[3:]
			require.LessOrEqual(t, bytes.Compare(a, s), 0)
			require.Negative(t, bytes.Compare(s, b))
			require.Equal(t, len(s) < len(a), short)
		}
		s, short := Successor(nil, a)
		require.LessOrEqual(t, bytes.Compare(a, s), 0)
		require.Equal(t, len(s) < len(a), short)
	})
}
