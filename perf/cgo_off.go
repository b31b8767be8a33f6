//go:build !cgo

package perf

import (
	"io"

	"github.com/klauspost/compress/zstd"
)

const cgoEnabled = false

// newZstdReader decompresses r in Go.
func newZstdReader(r io.Reader) (io.ReadCloser, error) {
	d, err := zstd.NewReader(r, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxMemory(1<<30))
	if err != nil {
		return nil, err
	}
	return d.IOReadCloser(), nil
}
