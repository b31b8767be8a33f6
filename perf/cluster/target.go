package cluster

import (
	"context"
	"errors"
)

// Target is a store that load is put on.
type Target interface {
	// Put stores a value. One caller at a time puts a key; index is the key's number, below the number
	// of keys. It returns how many values the key has now. An error says by an *OpError what is known.
	Put(ctx context.Context, index int64, key, value []byte) (siblings int, err error)
	// Get calls visit for each value that the key has.
	Get(ctx context.Context, key []byte, visit func(value []byte)) error
	Close() error
}

// Swapper is a Target with compare-and-swap.
type Swapper interface {
	Target
	// Update stores what change makes of a key's value, which is nil where there is none, if that is there still, and begins
	// anew with what is there else. A client, by its number, knows what it has met last. tries is how often it had to be
	// tried; an error is as that of Put.
	Update(ctx context.Context, client int, key []byte, change func(old []byte) []byte) (tries int, err error)
}

// Open connects to servers and returns when they can be used.
type Open func(ctx context.Context, job Job) (Target, error)

// Targets are the engines that a program can put load on.
type Targets map[string]Open

// OpError is an operation that is not known to have succeeded.
type OpError struct {
	Unknown bool   // it may have happened, or may still; false: it has not
	Reason  string // a few words, the same for all errors of the kind
	Err     error
}

// Error says why.
func (e *OpError) Error() string { return e.Reason + ": " + e.Err.Error() }

// Unwrap returns the cause.
func (e *OpError) Unwrap() error { return e.Err }

// classify returns what is known of an operation that failed. What no OpError tells of a put is unknown.
func classify(put bool, err error) (unknown bool, reason string) {
	var known *OpError
	switch {
	case errors.As(err, &known):
		return known.Unknown, known.Reason
	case errors.Is(err, context.DeadlineExceeded):
		return put, "timeout"
	}
	return put, "error"
}
