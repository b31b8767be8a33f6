package distrib

import (
	"bytes"
	"encoding/binary"
	"hash/crc32"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/cambiumdb/cambium/distrib/vclock"
)

func TestContextRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		seen := vclock.Context(drawRecord(t))
		b := EncodeContext([]byte("k"), seen)
		got, err := DecodeContext([]byte("k"), b)
		require.NoError(t, err)
		require.Equal(t, seen.Append(nil), got.Append(nil))
		require.Equal(t, seen.Empty(), len(b) == 0)
		if len(b) > 0 {
			b[rapid.IntRange(0, len(b)-1).Draw(t, "at")] ^= 1 << rapid.IntRange(0, 7).Draw(t, "bit")
			_, err = DecodeContext([]byte("k"), b)
			require.ErrorContains(t, err, "context is damaged")
		}
	})
}

func TestContextRefuses(t *testing.T) {
	key := []byte("k")
	seen := vclock.SeenOf(vclock.Clock{}.With(vclock.Dot{Actor: vclock.Actor{Node: 1, Birth: 2}, Counter: 3}))
	good := EncodeContext(key, seen)
	body := good[:len(good)-4]
	sealed := func(b []byte) []byte {
		return binary.BigEndian.AppendUint32(bytes.Clone(b), crc32.Checksum(b, castagnoli))
	}
	for want, b := range map[string][]byte{
		"context of 5 bytes is none":                        []byte("hello"),
		"crc32c want":                                       []byte("hello, this is no context"),
		"context of 65537 bytes, the limit is 65536":        make([]byte, MaxContextBytes+1),
		"context of version 2, this program knows 1":        sealed(append([]byte{2}, body[1:]...)),
		`context of another key than "k"`:                   EncodeContext([]byte("other"), seen),
		"context is damaged: bytes behind its end":          sealed(append(bytes.Clone(body), 0)),
		"context is damaged: clock: bytes end early":        sealed(body[:len(body)-1]),
		"context is damaged: clock: not in canonical form":  sealed(append(bytes.Clone(body[:9]), 1, 1, 1, 0, 0, 0)),
		"context is damaged: bytes behind its end, or noth": sealed(append(bytes.Clone(body[:9]), 0, 0)),
	} {
		_, err := DecodeContext(key, b)
		require.ErrorContains(t, err, want)
	}
	many := make(Record, SiblingsMax)
	for i := range many {
		past := vclock.Clock{}
		for n := range uint64(16) {
			past = past.With(vclock.Dot{Actor: vclock.Actor{Node: 1<<60 + n, Birth: 1 << 60}, Counter: 1 << 40})
		}
		many[i] = Sibling{Dot: vclock.Dot{Actor: vclock.Actor{Node: 1<<60 + uint64(100+i), Birth: 1 << 60}, Counter: 1 << 40}, Op: OpID{1, byte(i)}, Past: vclock.SeenOf(past)}
	}
	_, err := DecodeContext(key, EncodeContext(key, vclock.Context(many)))
	require.NoError(t, err, "the limit leaves room for all siblings")
}

func FuzzDecodeContext(f *testing.F) {
	f.Add(EncodeContext([]byte("k"), vclock.SeenOf(vclock.Clock{}.With(vclock.Dot{Actor: vclock.Actor{Node: 1}, Counter: 1}))))
	f.Add([]byte("hello, this is no context"))
	f.Fuzz(func(t *testing.T, b []byte) {
		// The sum is put right, so that what it protects is reached.
		if len(b) >= 4 {
			binary.BigEndian.PutUint32(b[len(b)-4:], crc32.Checksum(b[:len(b)-4], castagnoli))
		}
		if len(b) >= 9 {
			copy(b[1:9], EncodeContext([]byte("k"), vclock.SeenOf(vclock.Clock{}.With(vclock.Dot{Counter: 1})))[1:9])
			binary.BigEndian.PutUint32(b[len(b)-4:], crc32.Checksum(b[:len(b)-4], castagnoli))
		}
		if seen, err := DecodeContext([]byte("k"), b); err == nil {
			require.True(t, bytes.Equal(b, EncodeContext([]byte("k"), seen)), "one context has one encoding")
		}
	})
}
