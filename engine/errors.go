package engine

import (
	"bytes"
	"errors"
	"fmt"

	"github.com/cambiumdb/cambium/internal/corrupt"
	"github.com/cambiumdb/cambium/internal/vfs"
)

// The conditions a caller branches on, tested with errors.Is. docs/errors.md lists what each
// message says and what to try.
var (
	// ErrNotFound: the key has no value: never written, deleted or expired.
	ErrNotFound = errors.New("not found")
	// ErrClosed: the database, iterator or snapshot was closed.
	ErrClosed = errors.New("database is closed")
	// ErrReadOnly: a write to a database opened with OpenReadOnly.
	ErrReadOnly = errors.New("database is read-only")
	// ErrInvalidArgument: an empty or over-long key, an over-long value, an option or range
	// out of its bounds. Nothing was written.
	ErrInvalidArgument = errors.New("invalid argument")
	// ErrExists: Options.ErrorIfExists and the directory holds a database.
	ErrExists = errors.New("database already exists")
	// ErrNotDatabase: the directory holds other files, or nothing to open read-only.
	ErrNotDatabase = errors.New("not a database directory")
	// ErrUnsupported: the database uses a RocksDB feature that this engine does not have. The
	// message names it.
	ErrUnsupported = errors.New("unsupported by this engine")
	// ErrNoSpace: the device or quota is full. Reads go on; writes resume by themselves when
	// there is space again.
	ErrNoSpace = vfs.ErrNoSpace
	// ErrStalled: a write waited for as long as Options.MaxStall lets it, since flushes or
	// compaction do not keep up. Nothing was written.
	ErrStalled = errors.New("writes are stalled")
	// ErrLocked: another process, or another DB of this one, has the directory open.
	ErrLocked = vfs.ErrLocked
	// ErrCorruption: bytes on the device are not what was written. The message says which
	// file and offset. Never retried.
	ErrCorruption = errors.New("corruption")
)

// opError carries the sentinel that a caller branches on behind a message made for people.
type opError struct {
	msg  string
	kind error
	err  error
}

func (e *opError) Error() string { return e.msg }

func (e *opError) Unwrap() []error {
	if e.err == nil {
		return []error{e.kind}
	}
	return []error{e.kind, e.err}
}

func errorf(kind error, format string, args ...any) error {
	return &opError{msg: fmt.Sprintf(format, args...), kind: kind}
}

// classify adds ErrCorruption to the chain of an error that a bad byte caused, and ErrUnsupported
// to one that names a feature, so that callers need no internal type.
func classify(err error) error {
	if err == nil || errors.Is(err, ErrCorruption) || errors.Is(err, ErrUnsupported) {
		return err
	}
	if _, ok := corrupt.As(err); ok {
		return &opError{msg: err.Error(), kind: ErrCorruption, err: err}
	}
	if isUnsupported(err) {
		return &opError{msg: err.Error(), kind: ErrUnsupported, err: err}
	}
	return err
}

// checkKey returns an error that names the limit when a key may not be written.
func (o *Options) checkKey(op string, key []byte) error {
	if len(key) == 0 {
		return errorf(ErrInvalidArgument, "%s: key is empty: keys are 1 to %d bytes", op, o.MaxKeyBytes)
	}
	if len(key) > o.MaxKeyBytes {
		return errorf(ErrInvalidArgument, "%s %s: key is %d bytes, the limit is %d: raise Options.MaxKeyBytes (to at most %d) or shorten it",
			op, quoteKey(key), len(key), o.MaxKeyBytes, LimitKeyBytes)
	}
	return nil
}

func (o *Options) checkValue(op string, key, value []byte) error {
	if len(value) > o.MaxValueBytes {
		return errorf(ErrInvalidArgument, "%s %s: value is %d bytes, the limit is %d: raise Options.MaxValueBytes (to at most %d) or split it",
			op, quoteKey(key), len(value), o.MaxValueBytes, LimitValueBytes)
	}
	return nil
}

func checkRange(op string, lo, hi []byte) error {
	if bytes.Compare(lo, hi) >= 0 {
		return errorf(ErrInvalidArgument, "%s [%s, %s): the start is not below the end", op, quoteKey(lo), quoteKey(hi))
	}
	return nil
}

// quoteKey shortens a key for messages.
func quoteKey(key []byte) string {
	const most = 48
	if len(key) <= most {
		return fmt.Sprintf("%q", key)
	}
	return fmt.Sprintf("%q… (%d bytes)", key[:most], len(key))
}
