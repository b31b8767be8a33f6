package deadfile

import (
	"bytes"
	"encoding/binary"
	"hash/crc32"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/cambiumdb/cambium/internal/corrupt"
	"github.com/cambiumdb/cambium/sstable/blob"
)

func sample() (State, []File) {
	var few, none blob.Dead
	for _, at := range []uint64{1000, 30_000, 9_000_000} {
		few.Add(10, blob.Index{Offset: at, Size: 8000})
	}
	return State{DBID: "an id", Manifest: 300, ManifestBytes: 12345, ManifestCRC: 0xdeadbeef},
		[]File{{Num: 7, Given: true, Dead: &few}, {Num: 900, Dead: &none}}
}

func TestRoundTrip(t *testing.T) {
	s, files := sample()
	b := Encode(s, files)
	got, err := Decode("f", b, s)
	require.NoError(t, err)
	require.Len(t, got, 2)
	for i, f := range files {
		require.Equal(t, f.Num, got[i].Num)
		require.Equal(t, f.Given, got[i].Given)
		require.Equal(t, f.Dead.Encode(nil), got[i].Dead.Encode(nil))
	}
	got, err = Decode("f", Encode(s, nil), s)
	require.NoError(t, err)
	require.Empty(t, got)
}

// TestOtherStates: what is about another database, or about one that was written to since, is not
// believed.
func TestOtherStates(t *testing.T) {
	s, files := sample()
	b := Encode(s, files)
	for _, change := range []func(*State){
		func(s *State) { s.DBID = "another" },
		func(s *State) { s.DBID = "an i" },
		func(s *State) { s.Manifest++ },
		func(s *State) { s.ManifestBytes-- },
		func(s *State) { s.ManifestCRC ^= 1 },
	} {
		other := s
		change(&other)
		got, err := Decode("f", b, other)
		require.NoError(t, err)
		require.Nil(t, got)
	}
}

// TestDamage flips every byte and cuts at every length, with the checksum wrong and put right.
func TestDamage(t *testing.T) {
	s, files := sample()
	good := Encode(s, files)
	for n := range good {
		_, err := Decode("f", good[:n], s)
		ce, ok := corrupt.As(err)
		require.True(t, ok, "cut at %d: %v", n, err)
		require.Equal(t, "f", ce.File)

		b := bytes.Clone(good)
		b[n] ^= 0x11
		_, err = Decode("f", b, s)
		require.Error(t, err, "byte %d", n)
	}
	seal := func(body []byte) []byte {
		return binary.LittleEndian.AppendUint32(body, crc32.Checksum(body, castagnoli))
	}
	body := good[:len(good)-4]
	for n := len(head) + len(s.encode()); n < len(body); n++ {
		_, err := Decode("f", seal(bytes.Clone(body[:n])), s)
		require.Error(t, err, "cut at %d", n)
	}
	_, err := Decode("f", seal(append(bytes.Clone(body), 0)), s)
	require.ErrorContains(t, err, "left over")
	_, err = Decode("f", Encode(s, []File{files[0], files[0]}), s)
	require.ErrorContains(t, err, "ascend")
}
