package transport

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"github.com/cambiumdb/cambium/distrib"
)

// known are the variables of which an error keeps, on its way between nodes, what errors.Is says. The place of one
// is its bit in a failure: new ones go to the end.
var known = []error{
	distrib.ErrRefused, distrib.ErrOverloaded, distrib.ErrNotFound, distrib.ErrTooManySiblings,
	context.DeadlineExceeded, context.Canceled, distrib.ErrLinearizable,
}

// RemoteError is an error that another node answered with.
type RemoteError struct {
	Node    string
	Message string
	// RetryAfter is when to try again, where the node is overloaded.
	RetryAfter time.Duration

	known uint64
}

// Error implements error.
func (e *RemoteError) Error() string { return fmt.Sprintf("node %s: %s", e.Node, e.Message) }

// Is reports whether the error was one of the table when the node answered.
func (e *RemoteError) Is(target error) bool {
	for i, err := range known {
		if err == target {
			return e.known>>i&1 != 0
		}
	}
	return false
}

// As makes an overload of another node look like one of this.
func (e *RemoteError) As(target any) bool {
	o, ok := target.(**distrib.Overloaded)
	if !ok || !e.Is(distrib.ErrOverloaded) {
		return false
	}
	*o = &distrib.Overloaded{What: e.Error(), RetryAfter: e.RetryAfter}
	return true
}

// failure is an error as the body of a frame.
type failure struct{ error }

const maxMessageBytes = 4 << 10

func (f failure) message() string {
	s := f.Error()
	return s[:min(len(s), maxMessageBytes)]
}

func (f failure) size() int { return bodyRoom + len(f.message()) }

func (f failure) append(dst []byte) []byte {
	bits := uint64(0)
	for i, err := range known {
		if errors.Is(f.error, err) {
			bits |= 1 << i
		}
	}
	return append(binary.AppendUvarint(dst, bits), f.message()...)
}

// retry is the arg of the failure's frame.
func (f failure) retry() uint64 {
	if o := (*distrib.Overloaded)(nil); errors.As(f.error, &o) {
		return uint64(max(o.RetryAfter, 0).Milliseconds())
	}
	return 0
}

// decodeFailure reads the failure that the node of that name answered with.
func decodeFailure(f frame, node string) error {
	d := newDecoder(f.body)
	e := &RemoteError{Node: node, known: d.Uvarint(), RetryAfter: time.Duration(min(f.arg, 1<<31)) * time.Millisecond}
	e.Message = string(d.Take(len(d.Rest)))
	if err := d.end("failure"); err != nil {
		return err
	}
	return e
}
