//go:build cgo

package sstable

import (
	"bytes"
	"io"
	"testing"

	"github.com/DataDog/zstd"
	"github.com/stretchr/testify/require"
)

// unzstd unpacks a whole .zst stream.
func unzstd(t testing.TB, b []byte) []byte {
	t.Helper()
	r := zstd.NewReader(bytes.NewReader(b))
	defer r.Close()
	out, err := io.ReadAll(r)
	require.NoError(t, err)
	return out
}
