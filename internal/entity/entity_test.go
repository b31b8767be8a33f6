package entity

import (
	"bytes"
	"encoding/binary"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

func TestBytes(t *testing.T) {
	got := Encode([]byte("dst"), []byte("hi"), 0x0102)
	require.Equal(t, "dst\x01\x02\x00\x02\x0ecambium.expiry\x08hi\x02\x01\x00\x00\x00\x00\x00\x00", string(got))
}

func TestRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		value := rapid.SliceOfN(rapid.Byte(), 0, 300).Draw(t, "value")
		at := rapid.Int64().Draw(t, "expiry")
		b := Encode(nil, value, at)
		require.Len(t, b, EncodedLen(len(value)))
		e, err := Decode(b)
		require.NoError(t, err)
		require.True(t, bytes.Equal(value, e.Value))
		require.True(t, e.HasExpiry)
		require.Equal(t, at, e.ExpiryMillis)
		require.Equal(t, true, e.Expired(at))
		if at > -1<<63 {
			require.False(t, e.Expired(at-1))
		}
	})
}

// columns encodes any columns, as RocksDB would write them.
func columns(cols ...string) []byte {
	b := []byte{1, byte(len(cols) / 2)}
	values := ""
	for i := 0; i < len(cols); i += 2 {
		b = append(binary.AppendUvarint(b, uint64(len(cols[i]))), cols[i]...)
		b = binary.AppendUvarint(b, uint64(len(cols[i+1])))
		values += cols[i+1]
	}
	return append(b, values...)
}

func TestForeignColumns(t *testing.T) {
	e, err := Decode(columns("", "value", "age", "7", "zone", "x"))
	require.NoError(t, err)
	require.Equal(t, "value", string(e.Value))
	require.False(t, e.HasExpiry)
	e, err = Decode(columns("age", "7"))
	require.NoError(t, err)
	require.Nil(t, e.Value)
}

func TestMalformed(t *testing.T) {
	good := Encode(nil, []byte("value"), 1)
	for n := range good {
		_, err := Decode(good[:n])
		require.ErrorIs(t, err, ErrMalformed, "cut to %d bytes", n)
	}
	for name, b := range map[string][]byte{
		"version":      {2, 0},
		"order":        columns("b", "1", "a", "2"),
		"twice":        columns("a", "1", "a", "2"),
		"short expiry": columns("", "v", ExpiryColumn, "1234"),
		"many columns": {1, 0xff, 0xff, 0xff, 0xff, 0x0f},
	} {
		_, err := Decode(b)
		require.ErrorIs(t, err, ErrMalformed, name)
	}
}
