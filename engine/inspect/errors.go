package inspect

import (
	"errors"

	"github.com/cambiumdb/cambium/engine"
	"github.com/cambiumdb/cambium/internal/batch"
	"github.com/cambiumdb/cambium/internal/corrupt"
	"github.com/cambiumdb/cambium/internal/manifest"
	"github.com/cambiumdb/cambium/internal/record"
	"github.com/cambiumdb/cambium/sstable"
)

// fileError gives an error of a file the engine's sentinel that callers branch on.
type fileError struct {
	err, kind error
}

func (e *fileError) Error() string   { return e.err.Error() }
func (e *fileError) Unwrap() []error { return []error{e.err, e.kind} }

// classify returns err with engine.ErrCorruption or engine.ErrUnsupported in its chain where
// bad bytes or a missing feature caused it.
func classify(err error) error {
	if err == nil || errors.Is(err, engine.ErrCorruption) || errors.Is(err, engine.ErrUnsupported) {
		return err
	}
	if _, ok := corrupt.As(err); ok {
		return &fileError{err, engine.ErrCorruption}
	}
	if isUnsupported(err) {
		return &fileError{err, engine.ErrUnsupported}
	}
	return err
}

func isUnsupported(err error) bool {
	var (
		b *batch.UnsupportedError
		m *manifest.UnsupportedError
		r *record.UnsupportedError
		t *sstable.UnsupportedError
	)
	return errors.As(err, &b) || errors.As(err, &m) || errors.As(err, &r) || errors.As(err, &t)
}
