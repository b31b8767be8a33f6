// Package corrupt holds the one error type for bytes that are not what their format says.
//
//	return corrupt.Errorf(name, off, "crc32c want %08x got %08x", want, got)
//	...
//	if ce, ok := corrupt.As(err); ok { fmt.Println(ce.File, ce.Offset) }
//
// A corrupt.Error is never retried: the bytes will not get better.
package corrupt

import (
	"errors"
	"fmt"
)

// Error says where bad bytes were found. Offset is in bytes from the start of File, or -1
// where no single offset is to blame.
type Error struct {
	File   string
	Offset int64
	Err    error
}

// Error formats as "corruption: FILE at 0xOFFSET: cause".
func (e *Error) Error() string {
	if e.Offset < 0 {
		return fmt.Sprintf("corruption: %s: %v", e.File, e.Err)
	}
	return fmt.Sprintf("corruption: %s at %#x: %v", e.File, e.Offset, e.Err)
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// Errorf makes an *Error with a formatted cause.
func Errorf(file string, offset int64, format string, args ...any) error {
	return &Error{File: file, Offset: offset, Err: fmt.Errorf(format, args...)}
}

// As returns the first *Error in err's chain.
func As(err error) (*Error, bool) {
	var e *Error
	ok := errors.As(err, &e)
	return e, ok
}
