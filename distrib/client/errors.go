package client

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"github.com/cambiumdb/cambium/distrib"
	"github.com/cambiumdb/cambium/distrib/api"
)

// What errors.Is says of an Error, by its reason.
var (
	ErrUnavailable     = errors.New("unavailable")
	ErrOverloaded      = errors.New("overloaded")
	ErrTimeout         = errors.New("timeout")
	ErrTooManySiblings = errors.New("too many siblings")
	ErrTooLarge        = errors.New("too large")
	ErrInvalid         = errors.New("invalid argument")
	ErrUnimplemented   = errors.New("unimplemented")
	// ErrMismatch: what is there is not what was expected, or was written since it was read. Nothing was changed.
	ErrMismatch = errors.New("what is there is not as expected")
	// ErrNotHappened: the write did not happen and never will, since Resolve or another try of it has seen to that.
	ErrNotHappened = errors.New("it will not happen any more")
	// ErrOvertaken: too much has been written since an earlier try to tell whether that happened.
	ErrOvertaken = errors.New("too much has been written since")
	// ErrLinearizableKey: an eventual write of a linearizable key, of whose own nodes too few can be reached.
	ErrLinearizableKey = errors.New("the key is linearizable")
)

const (
	reasonUnavailable     = "UNAVAILABLE"
	reasonOverloaded      = "OVERLOADED"
	reasonTimeout         = "TIMEOUT"
	reasonTooManySiblings = "TOO_MANY_SIBLINGS"
	reasonTooLarge        = "TOO_LARGE"
	reasonInvalid         = "INVALID_ARGUMENT"
	reasonUnimplemented   = "UNIMPLEMENTED"
	reasonMismatch        = "MISMATCH"
	reasonNotHappened     = "NOT_HAPPENED"
	reasonOvertaken       = "OVERTAKEN"
	reasonLinearizableKey = "LINEARIZABLE_KEY"
)

var reasons = map[string]error{
	reasonUnavailable: ErrUnavailable, reasonOverloaded: ErrOverloaded, reasonTimeout: ErrTimeout,
	reasonTooManySiblings: ErrTooManySiblings, reasonTooLarge: ErrTooLarge, reasonInvalid: ErrInvalid, reasonUnimplemented: ErrUnimplemented,
	reasonMismatch: ErrMismatch, reasonNotHappened: ErrNotHappened, reasonOvertaken: ErrOvertaken, reasonLinearizableKey: ErrLinearizableKey,
}

// Outcome is what is known of an operation that has not succeeded.
type Outcome uint8

// The outcomes.
const (
	Failed  Outcome = iota + 1 // nothing happened
	Unknown                    // it may have happened, or may still
)

// String is FAILED or UNKNOWN.
func (o Outcome) String() string {
	if o == Failed {
		return "FAILED"
	}
	return "UNKNOWN"
}

// ReplicaState is what became of an operation at a node.
type ReplicaState struct {
	Node  string
	State string // acknowledged, refused, no answer, down; reachable: not asked, since too few others are
	Cause string
}

// Error is an operation that is not known to have succeeded.
type Error struct {
	Op         string // such as "put"
	Key        []byte
	Outcome    Outcome
	Reason     string // a word for programs, such as "UNAVAILABLE"
	Message    string // all of it for people: what the coordinator says, or the client where it knows more
	Replicas   []ReplicaState
	Try        string // what to try; may be empty
	OpID       distrib.OpID
	RetryAfter time.Duration // where overloaded
	Current    *Item         // of an ErrMismatch: what is there
	Cause      error         // of the client, such as that a context ended; nil: none
	// Linearizable: the operation was. Where it is UNKNOWN Resolve is to be told.
	Linearizable bool
}

// Error says what is known and why.
func (e *Error) Error() string { return e.Message }

// Is reports whether target is the variable for the error's reason.
func (e *Error) Is(target error) bool { return target != nil && reasons[e.Reason] == target }

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Cause }

// failure reads what a node says of an operation on key. nil: it makes no sense.
func (d decoder) failure(key, body []byte) *Error {
	var m api.Failure
	if proto.Unmarshal(body, &m) != nil {
		return nil
	}
	e := failureOf(&m)
	for f := (fields{rest: body}); m.Current != nil && f.next(); {
		if f.num != 9 {
			continue
		}
		item, err := d.item(bytes.Clone(key), f.body)
		if err != nil {
			return nil
		}
		e.Current, item.decided = item, true
	}
	return e
}

func failureOf(m *api.Failure) *Error {
	e := &Error{Outcome: Unknown, Reason: m.GetReason(), Message: m.GetMessage(), Try: m.GetTry(), RetryAfter: time.Duration(m.GetRetryAfterMs()) * time.Millisecond}
	if m.GetOutcome() == api.Failure_FAILED {
		e.Outcome = Failed
	}
	copy(e.OpID[:], m.GetOpId())
	for _, r := range m.GetReplicas() {
		e.Replicas = append(e.Replicas, ReplicaState{Node: r.GetNode(), State: r.GetState(), Cause: r.GetCause()})
	}
	return e
}

// callFailed makes an error of what a call outside of a session returned: the node's Failure where it has sent one.
func callFailed(op string, key []byte, err error) *Error {
	s := status.Convert(err)
	for _, d := range s.Details() {
		if m, ok := d.(*api.Failure); ok {
			e := failureOf(m)
			e.Op, e.Key = op, key
			return e
		}
	}
	e := &Error{Op: op, Key: key, Outcome: Unknown, Reason: reasonUnavailable, Message: op + ": " + s.Message(), Cause: err}
	switch s.Code() {
	case codes.InvalidArgument:
		e.Reason = reasonInvalid
	case codes.Unimplemented:
		e.Reason = reasonUnimplemented
	case codes.DeadlineExceeded:
		e.Reason = reasonTimeout
	case codes.ResourceExhausted:
		e.Reason = reasonOverloaded
	}
	return e
}

// invalid is the error of a request that the client does not send.
func invalid(op string, key []byte, err error) *Error {
	const shown = 64
	name := fmt.Sprintf("%q", key[:min(len(key), shown)])
	if len(key) > shown {
		name += ".."
	}
	return &Error{Op: op, Key: key, Outcome: Failed, Reason: reasonInvalid, Message: fmt.Sprintf("%s %s: %s", op, name, err), Cause: err}
}

// reasonOf is the reason of an operation that was ended by its context, or its time.
func reasonOf(err error) string {
	if errors.Is(err, context.Canceled) || errors.Is(err, errClosed) {
		return reasonUnavailable
	}
	return reasonTimeout
}
