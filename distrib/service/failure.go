package service

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"github.com/cambiumdb/cambium/distrib"
	"github.com/cambiumdb/cambium/distrib/api"
	"github.com/cambiumdb/cambium/distrib/coordinator"
)

// The words of Failure.reason.
const (
	reasonUnavailable   = "UNAVAILABLE"
	reasonTimeout       = "TIMEOUT"
	reasonCanceled      = "CANCELED"
	reasonOverloaded    = "OVERLOADED"
	reasonSiblings      = "TOO_MANY_SIBLINGS"
	reasonTooLarge      = "TOO_LARGE"
	reasonInvalid       = "INVALID_ARGUMENT"
	reasonUnimplemented = "UNIMPLEMENTED"
	reasonMismatch      = "MISMATCH"
	reasonNotHappened   = "NOT_HAPPENED"
	reasonOvertaken     = "OVERTAKEN"
	reasonLinearizable  = "LINEARIZABLE_KEY"
)

// attempt is an operation that failed, as far as its failure says so.
type attempt struct {
	op           string // "get", "put", "delete", "compare and swap", "resolve"
	key          []byte
	id           distrib.OpID // of a write
	strict       bool
	linearizable bool // the register of the key is asked
	began        time.Time
}

func (s *Server) attempt(op string, key []byte, l *api.Level, began time.Time) attempt {
	return attempt{op: op, key: key, strict: l.GetStrict(), linearizable: linearizable(l), began: began}
}

// failure is what a client is told of err.
func (s *Server) failure(ctx context.Context, a attempt, err error) *api.Failure {
	f := &api.Failure{Outcome: api.Failure_FAILED, Message: a.op + ": " + err.Error()}
	if a.id != (distrib.OpID{}) {
		f.OpId = a.id[:]
	}
	var (
		bad     *invalidError
		quorum  *coordinator.QuorumError
		not     *unimplementedError
		failing *coordinator.Error
	)
	switch {
	case errors.As(err, &bad):
		f.Code, f.Reason = uint32(codes.InvalidArgument), reasonInvalid
	case errors.As(err, &quorum):
		f.Code, f.Reason = uint32(codes.InvalidArgument), reasonInvalid
		f.Message = fmt.Sprintf("%s: level.nodes: %s", a.op, quorum)
	case errors.As(err, &not):
		f.Code, f.Reason = uint32(codes.Unimplemented), reasonUnimplemented
	default:
		a.linearizable = a.linearizable || errors.Is(err, distrib.ErrLinearizable)
		s.classify(ctx, f, err)
		if errors.As(err, &failing) {
			s.describe(f, a, failing)
		}
	}
	return f
}

// classify says of an operation that the cluster did not carry out which kind of failure it is.
func (s *Server) classify(ctx context.Context, f *api.Failure, err error) {
	var overloaded *distrib.Overloaded
	code, reason := codes.Unavailable, reasonUnavailable
	switch {
	case errors.Is(err, distrib.ErrTooManySiblings):
		code, reason = codes.FailedPrecondition, reasonSiblings
	case errors.Is(err, coordinator.ErrCancelled):
		code, reason = codes.Aborted, reasonNotHappened
	case errors.Is(err, coordinator.ErrForgotten):
		reason = reasonOvertaken
	case errors.Is(ctx.Err(), context.Canceled):
		code, reason = codes.Canceled, reasonCanceled
	case ctx.Err() != nil:
		code, reason = codes.DeadlineExceeded, reasonTimeout
	case errors.As(err, &overloaded):
		code, reason = codes.ResourceExhausted, reasonOverloaded
		f.RetryAfterMs = uint32(max(overloaded.RetryAfter, retryAfter).Milliseconds())
	case errors.Is(err, distrib.ErrLinearizable):
		reason = reasonLinearizable
	case errors.Is(err, context.DeadlineExceeded):
		reason = reasonTimeout
	}
	f.Code, f.Reason = uint32(code), reason
}

// describe says what the key's nodes did, and what to try.
func (s *Server) describe(f *api.Failure, a attempt, e *coordinator.Error) {
	if e.Outcome == coordinator.Unknown {
		f.Outcome = api.Failure_UNKNOWN
	}
	var owners, others []string
	for _, node := range e.Owners {
		owners = append(owners, s.opts.Name(node))
	}
	acknowledged := 0
	for _, r := range e.Replicas {
		name := s.opts.Name(r.Node)
		state := &api.ReplicaState{Node: name, State: r.State.String()}
		f.Replicas = append(f.Replicas, state)
		if r.For != 0 {
			name += " for " + s.opts.Name(r.For)
		}
		if r.State == coordinator.Acknowledged {
			acknowledged++
			continue
		}
		if name += " " + state.State; r.Err != nil && r.State != coordinator.Down {
			state.Cause = strings.TrimPrefix(r.Err.Error(), "node "+state.Node+": ")
			name += ": " + state.Cause
		}
		others = append(others, name)
	}
	f.Message = fmt.Sprintf("%s %q: needs %d of replicas %s; %d acked in %s", a.op, a.key, e.Need, strings.Join(owners, " "), acknowledged,
		s.opts.Now().Sub(a.began).Round(time.Millisecond))
	if len(others) > 0 {
		f.Message += " (" + strings.Join(others, ", ") + ")"
	}
	if a.linearizable && e.Err != nil {
		f.Message += ": " + e.Err.Error()
	}
	f.Message += "; outcome " + f.Outcome.String()
	f.Try = try(f, a, e.Need)
}

// try is what may help, in the words of kvctl.
func try(f *api.Failure, a attempt, need int) string {
	key := keyWord(a.key)
	var ways []string
	switch {
	case f.Reason == reasonSiblings:
		return fmt.Sprintf("kvctl get %s, then kvctl put %s VALUE with the context that it gave", key, key)
	case f.Reason == reasonOverloaded:
		return fmt.Sprintf("again in %d ms", f.RetryAfterMs)
	case f.Reason == reasonOvertaken, f.Reason == reasonNotHappened:
		return "kvctl get " + key
	case f.Outcome == api.Failure_UNKNOWN && a.linearizable:
		ways = append(ways, fmt.Sprintf("kvctl resolve %s --op %x --consistency linearizable", key, a.id))
	case f.Outcome == api.Failure_UNKNOWN:
		ways = append(ways, fmt.Sprintf("kvctl resolve %s --op %x", key, a.id))
	}
	switch {
	case a.linearizable && a.op == "get":
		ways = append(ways, "--consistency one, which may give an older value")
	case !a.linearizable && need > 1:
		ways = append(ways, "--consistency one")
	}
	if a.strict {
		ways = append(ways, "without --strict")
	}
	if len(ways) == 0 {
		return "kvctl cluster status"
	}
	return strings.Join(ways, ", or ")
}

// keyWord is a key as it is typed: quoted where it has to be.
func keyWord(key []byte) string {
	for _, c := range key {
		if !('a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || strings.IndexByte("_-.:/@+=", c) >= 0) {
			return strconv.Quote(string(key))
		}
	}
	return string(key)
}

// refusal is what a client is told of an operation that was not begun: err is of a budget.
func (s *Server) refusal(err error) *api.Failure {
	self := s.opts.Self
	if self == "" {
		self = "this node"
	}
	f := &api.Failure{Outcome: api.Failure_FAILED, Message: self + ": " + err.Error(), Code: uint32(codes.ResourceExhausted), Reason: reasonOverloaded}
	var overloaded *distrib.Overloaded
	if errors.As(err, &overloaded) {
		f.Message = self + ": " + overloaded.What
		f.RetryAfterMs = uint32(overloaded.RetryAfter.Milliseconds())
		f.Try = fmt.Sprintf("again in %d ms, or another node", f.RetryAfterMs)
		return f
	}
	f.Message = self + " " + err.Error()
	f.Code, f.Reason, f.Try = uint32(codes.Unavailable), reasonUnavailable, "another node"
	return f
}

// statusBytes is how much what is there may take in the details of a status, which travel as headers do.
const statusBytes = 4 << 10

// statusOf is a failure as the error of a unary call: its details hold it.
func statusOf(f *api.Failure) error {
	if proto.Size(f.GetCurrent()) > statusBytes {
		f.Current = nil
	}
	st := status.New(codes.Code(f.Code), f.Message)
	if with, err := st.WithDetails(f); err == nil {
		st = with
	}
	return st.Err()
}
