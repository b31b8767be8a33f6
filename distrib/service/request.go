package service

import (
	"fmt"
	"math"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/cambiumdb/cambium/distrib"
	"github.com/cambiumdb/cambium/distrib/api"
	"github.com/cambiumdb/cambium/distrib/coordinator"
	"github.com/cambiumdb/cambium/distrib/register"
)

const (
	// batchMax is how many keys a batch may have.
	batchMax = 4096
	// operationBytes is what an operation counts for besides its message.
	operationBytes = 256
)

// invalidError is what is wrong with a request: the field, what it says and the limit.
type invalidError struct{ text string }

func (e *invalidError) Error() string { return e.text }

func invalid(format string, args ...any) error { return &invalidError{fmt.Sprintf(format, args...)} }

// unimplementedError is a request that this server does not carry out.
type unimplementedError struct{ text string }

func (e *unimplementedError) Error() string { return e.text }

// linearizable reports whether a level asks for the key's register.
func linearizable(l *api.Level) bool { return l.GetConsistency() == api.Consistency_LINEARIZABLE }

// messageBytes is what a request or an answer counts for in a budget.
func messageBytes(m proto.Message) int { return operationBytes + proto.Size(m) }

// quorumOf is the R or W that a level asks for. The coordinator knows whether it can be had.
func quorumOf(l *api.Level) (int, error) {
	need := 0
	switch c := l.GetConsistency(); c {
	case api.Consistency_CONSISTENCY_UNSPECIFIED, api.Consistency_QUORUM:
	case api.Consistency_ONE:
		need = 1
	case api.Consistency_ALL:
		need = coordinator.All
	case api.Consistency_LINEARIZABLE:
		if n := l.GetNodes(); n != 0 {
			return 0, invalid("level.nodes is %d beside LINEARIZABLE, which a majority of the key's own nodes decides: want 0", n)
		}
	default:
		return 0, invalid("level.consistency is %d, want 0 to %d", c, api.Consistency_LINEARIZABLE)
	}
	if n := l.GetNodes(); n != 0 {
		need = int(n)
	}
	return need, nil
}

func readOptions(q *api.GetRequest) (o coordinator.ReadOptions, err error) {
	if err := distrib.CheckKey(q.GetKey()); err != nil {
		return o, invalid("%s", err)
	}
	o.R, err = quorumOf(q.GetLevel())
	o.Strict, o.Repair = q.GetLevel().GetStrict(), q.GetRepair()
	return o, err
}

// writeRequest is what a put and a delete have in common.
type writeRequest interface {
	GetKey() []byte
	GetLevel() *api.Level
	GetContext() []byte
	GetOpId() []byte
	GetRetried() bool
}

func writeOptions(q writeRequest, sync distrib.Sync) (o coordinator.WriteOptions, err error) {
	if err := distrib.CheckKey(q.GetKey()); err != nil {
		return o, invalid("%s", err)
	}
	if o.W, err = quorumOf(q.GetLevel()); err != nil {
		return o, err
	}
	if o.Context, err = distrib.DecodeContext(q.GetKey(), q.GetContext()); err != nil {
		return o, invalid("%s", err)
	}
	if len(q.GetOpId()) > 0 {
		if o.Op, err = opID(q.GetOpId()); err != nil {
			return o, err
		}
	}
	o.Strict, o.Sync, o.Retried = q.GetLevel().GetStrict(), sync, q.GetRetried()
	return o, nil
}

// swapOperation is what a compare-and-swap asks for at that time.
func swapOperation(q *api.CompareAndSwapRequest, now time.Time, at distrib.Timestamp) (op register.Operation, err error) {
	op = register.Operation{Kind: register.Put, Retried: q.GetRetried()}
	if err := distrib.CheckKey(q.GetKey()); err != nil {
		return op, invalid("%s", err)
	}
	if len(q.GetOpId()) > 0 {
		if op.ID, err = opID(q.GetOpId()); err != nil {
			return op, err
		}
	}
	if op.Value, err = valueOf(q, now, at); err != nil {
		return op, err
	}
	if q.GetDelete() {
		if len(q.GetValue()) > 0 || q.GetTtlMs() > 0 {
			return op, invalid("delete beside a value of %d bytes and ttl_ms %d: want one of them", len(q.GetValue()), q.GetTtlMs())
		}
		op.Value = distrib.Value{Deleted: true, Time: at}
	}
	switch e := q.GetExpect().(type) {
	case *api.CompareAndSwapRequest_ExpectValue:
		op.If, op.Expect = register.IfValue, e.ExpectValue
	case *api.CompareAndSwapRequest_ExpectContext:
		op.If = register.IfSeen
		if op.Context, err = distrib.DecodeContext(q.GetKey(), e.ExpectContext); err != nil {
			return op, invalid("%s", err)
		}
	case *api.CompareAndSwapRequest_ExpectAbsent:
		op.If = register.IfAbsent
	}
	if op.If == register.Always || op.If == register.IfAbsent && !q.GetExpectAbsent() {
		return op, invalid("nothing is expected: want expect_value, expect_context or expect_absent")
	}
	return op, nil
}

func opID(b []byte) (id distrib.OpID, err error) {
	if len(b) != len(id) {
		return id, invalid("op_id of %d bytes, want %d", len(b), len(id))
	}
	if id = distrib.OpID(b); id == (distrib.OpID{}) {
		return id, invalid("op_id of %d zeros names no operation", len(b))
	}
	return id, nil
}

// valueRequest is what a put and a compare-and-swap have in common.
type valueRequest interface {
	GetValue() []byte
	GetTtlMs() uint64
}

// valueOf is what they write at that time.
func valueOf(q valueRequest, now time.Time, at distrib.Timestamp) (v distrib.Value, err error) {
	v = distrib.Value{Data: q.GetValue(), Time: at}
	if err := distrib.CheckValue(v.Data); err != nil {
		return v, invalid("%s", err)
	}
	if ttl := q.GetTtlMs(); ttl > 0 {
		if most := uint64(math.MaxInt64 - now.UnixMilli()); ttl > most {
			return v, invalid("ttl_ms is %d, the limit is %d", ttl, most)
		}
		v.Expires = now.UnixMilli() + int64(ttl)
	}
	return v, nil
}

func scanOptions(q *api.ScanRequest, now time.Time) (o coordinator.ScanOptions, err error) {
	if q.GetLast() != 0 && q.GetFirst() > q.GetLast() {
		return o, invalid("first is token %016x, behind last, %016x", q.GetFirst(), q.GetLast())
	}
	if len(q.GetAfter()) > 0 {
		if err := distrib.CheckKey(q.GetAfter()); err != nil {
			return o, invalid("after: %s", err)
		}
	}
	if linearizable(q.GetLevel()) {
		return o, invalid("level.consistency is LINEARIZABLE, which a scan cannot be: want ONE, QUORUM or ALL, and a get with LINEARIZABLE of each key for which it matters")
	}
	o = coordinator.ScanOptions{First: q.GetFirst(), Last: q.GetLast(), After: q.GetAfter(), Now: now.UnixMilli()}
	o.R, err = quorumOf(q.GetLevel())
	return o, err
}
