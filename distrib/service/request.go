package service

import (
	"fmt"
	"math"
	"sync/atomic"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/cambiumdb/cambium/distrib"
	"github.com/cambiumdb/cambium/distrib/api"
	"github.com/cambiumdb/cambium/distrib/coordinator"
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

// unimplementedError is a request that no server can carry out yet.
type unimplementedError struct{ text string }

func (e *unimplementedError) Error() string { return e.text }

var errLinearizable = &unimplementedError{"level.consistency is LINEARIZABLE: there is no linearizable path yet; the others are ONE, QUORUM and ALL"}

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
		return 0, errLinearizable
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

func opID(b []byte) (id distrib.OpID, err error) {
	if len(b) != len(id) {
		return id, invalid("op_id of %d bytes, want %d", len(b), len(id))
	}
	if id = distrib.OpID(b); id == (distrib.OpID{}) {
		return id, invalid("op_id of %d zeros names no operation", len(b))
	}
	return id, nil
}

// valueOf is what a put writes at that time.
func valueOf(q *api.PutRequest, now time.Time, at distrib.Timestamp) (v distrib.Value, err error) {
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
	o = coordinator.ScanOptions{First: q.GetFirst(), Last: q.GetLast(), After: q.GetAfter(), Now: now.UnixMilli()}
	o.R, err = quorumOf(q.GetLevel())
	return o, err
}

// clock gives the times of values. They grow, whatever the clock of the machine does.
type clock struct {
	now  func() time.Time
	last atomic.Uint64
}

// tick returns the time and, for a value written now, a timestamp above all that were given before.
func (c *clock) tick() (time.Time, distrib.Timestamp) {
	now := c.now()
	for {
		last := c.last.Load()
		next := max(uint64(now.UnixMilli())<<16, last+1)
		if c.last.CompareAndSwap(last, next) {
			return now, distrib.Timestamp(next)
		}
	}
}
