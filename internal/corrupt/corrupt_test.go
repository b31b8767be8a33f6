package corrupt

import (
	"fmt"
	"io"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestErrorSaysWhere(t *testing.T) {
	err := fmt.Errorf("get: %w", Errorf("000012.sst", 0x44000, "crc32c want %08x got %08x: %w", 1, 2, io.ErrUnexpectedEOF))
	require.EqualError(t, err, "get: corruption: 000012.sst at 0x44000: crc32c want 00000001 got 00000002: unexpected EOF")
	e, ok := As(err)
	require.True(t, ok)
	require.Equal(t, "000012.sst", e.File)
	require.ErrorIs(t, err, io.ErrUnexpectedEOF)
	require.EqualError(t, Errorf("CURRENT", -1, "empty"), "corruption: CURRENT: empty")
	_, ok = As(io.EOF)
	require.False(t, ok)
}
