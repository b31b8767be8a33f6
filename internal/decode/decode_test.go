package decode

import (
	"encoding/binary"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestReader(t *testing.T) {
	b := binary.AppendUvarint([]byte{7}, 300)
	b = binary.BigEndian.AppendUint64(b, 1<<40)
	b = append(append(b, 2), "abcd"...)
	r := Reader{Rest: b}
	require.EqualValues(t, 7, r.Byte())
	require.EqualValues(t, 300, r.Uvarint())
	require.EqualValues(t, 1<<40, r.Uint64())
	require.Equal(t, 2, r.Count(2))
	require.Equal(t, "abcd", string(r.Take(4)))
	require.NoError(t, r.Err)
	require.Empty(t, r.Rest)
}

func TestDamaged(t *testing.T) {
	for want, rest := range map[string][]byte{
		"bytes end early": {5, 1, 2}, // five things of a byte
		"bad number":      {0x80, 0}, // 0 in two bytes
	} {
		r := Reader{Rest: rest}
		require.Zero(t, r.Count(1))
		require.EqualError(t, r.Err, want)
		require.Equal(t, make([]byte, 8), r.Take(8))
		require.Zero(t, r.Uint64()+r.Uvarint()+uint64(r.Byte()))
		require.EqualError(t, r.Err, want, "the first error sticks")
	}
	for _, rest := range [][]byte{nil, {0x80}, {0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1}} {
		r := Reader{Rest: rest}
		r.Uvarint()
		require.EqualError(t, r.Err, "bad number")
	}
}
