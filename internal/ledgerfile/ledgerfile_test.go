package ledgerfile

import (
	"bytes"
	"fmt"
	"hash/crc32"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/cambiumdb/cambium/internal/corrupt"
)

var example = Content{
	DBID: "8f3a11c2-0000-4000-8000-000000000001", Manifest: 7, Closed: true,
	Since: time.UnixMilli(1_700_000_000_123).UTC(), Saved: time.UnixMilli(1_700_000_001_000).UTC(), Gaps: 2, UserBytes: 1000,
	Rows: []Row{{"wal", -1, "", 1200}, {"compaction", 6, "l0files", 4096}},
}

func TestRoundTrip(t *testing.T) {
	b, err := example.Encode()
	require.NoError(t, err)
	require.Len(t, b, 4096)
	c, err := Decode("f", b)
	require.NoError(t, err)
	require.Equal(t, example, c)

	many := example
	for level := range 200 {
		many.Rows = append(many.Rows, Row{"compaction", level, "size", math.MaxInt64})
	}
	b, err = many.Encode()
	require.NoError(t, err)
	require.Zero(t, len(b)%4096)
	require.Greater(t, len(b), 8192)
	c, err = Decode("f", b)
	require.NoError(t, err)
	require.Equal(t, many, c)
}

// Whatever byte is another one, and wherever the file is cut, it is found out.
func TestDamage(t *testing.T) {
	b, err := example.Encode()
	require.NoError(t, err)
	for i := range b {
		bad := bytes.Clone(b)
		bad[i] ^= 1
		_, err := Decode("f", bad)
		require.Error(t, err, "byte %d", i)
		_, err = Decode("f", b[:i])
		require.Error(t, err, "cut at %d", i)
	}
}

// sealed returns a file of that version with body and a checksum that is right.
func sealed(v int, body string) []byte {
	return fmt.Appendf(nil, "cambium-ledger %d %08x\n%s", v, crc32.Checksum([]byte(body), castagnoli), body)
}

func TestRefused(t *testing.T) {
	for _, b := range [][]byte{
		nil, []byte("\n"), []byte("000007.sst\n"), sealed(1, ""), sealed(1, "{"), sealed(1, `{"gaps":-1}`), sealed(1, `{"user_bytes":-1}`),
		sealed(1, `{"rows":[{"bytes":-1}]}`), sealed(1, `{"rows":[{"level":-2}]}`), sealed(1, `{"since":"yesterday"}`),
	} {
		_, err := Decode("db/CAMBIUM-LEDGER", b)
		ce, ok := corrupt.As(err)
		require.True(t, ok, "%q: %v", b, err)
		require.Equal(t, "db/CAMBIUM-LEDGER", ce.File)
	}
	_, err := Decode("f", sealed(2, "what is to come"))
	require.ErrorContains(t, err, "f is of version 2, want 1")
	_, err = Content{Since: time.Date(10000, 1, 1, 0, 0, 0, 0, time.UTC)}.Encode()
	require.Error(t, err)
	c, err := Decode("f", sealed(1, `{"a field of a later build":1}`+strings.Repeat(" ", 3)))
	require.NoError(t, err)
	require.Equal(t, Content{}, c)
}
