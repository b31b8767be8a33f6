package vfs

import (
	"errors"
	"fmt"
	"io"
)

// bounceBytes bounds the buffer that a misaligned direct read goes through.
const bounceBytes = 1 << 20

// ReadFullAt reads exactly len(p) bytes of f at off. Any offset, length and buffer will do: on a
// direct file a misaligned read goes through a pooled aligned buffer of at most 1 MiB, and an
// aligned one, like every read of a buffered file, goes straight into p.
//
// Where the file ends before off+len(p) the error has io.ErrUnexpectedEOF in its chain. After an
// error p holds nothing that a caller may use.
func ReadFullAt(f File, p []byte, off int64) error {
	if len(p) == 0 {
		return nil
	}
	if off < 0 {
		return fmt.Errorf("read %s: negative offset %d", f.Name(), off)
	}
	if !f.Direct() || isAligned(f.Alignment(), p, off) {
		n, err := f.ReadAt(p, off)
		if n == len(p) {
			return nil
		}
		return shortRead(f, len(p), off, n, err)
	}
	return readBounced(f, p, off)
}

// readBounced reads p through an aligned buffer.
func readBounced(f File, p []byte, off int64) error {
	unit := int64(f.Alignment())
	span := roundUp(off+int64(len(p)), unit) - roundDown(off, unit)
	buf := GetBuffer(int(min(span, max(bounceBytes, unit))))
	defer PutBuffer(buf)
	for len(p) > 0 {
		start := roundDown(off, unit)
		skip := int(off - start)
		want := min(len(p), len(buf)-skip)
		n, err := f.ReadAt(buf[:roundUp(int64(skip+want), unit)], start)
		if n < skip+want {
			return shortRead(f, want, off, max(n-skip, 0), err)
		}
		copy(p[:want], buf[skip:])
		p, off = p[want:], off+int64(want)
	}
	return nil
}

// shortRead is the error for a read at off that gave got of want bytes.
func shortRead(f File, want int, off int64, got int, err error) error {
	if err == nil || errors.Is(err, io.EOF) {
		err = io.ErrUnexpectedEOF
	}
	return fmt.Errorf("read %s at %d: %d of %d bytes: %w", f.Name(), off, got, want, err)
}
