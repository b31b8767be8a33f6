package distrib

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/cambiumdb/cambium/distrib/vclock"
)

// ErrRefused is what a node's answer, or the lack of a way to it, is where nothing happened: not reachable,
// overloaded, not responsible. After any other error of a Transport the request may have been carried out, or
// may still be.
var ErrRefused = errors.New("refused")

var (
	// ErrUnreachable is an ErrRefused: there was no way to the node, so it has not heard of the request.
	ErrUnreachable error = refusal("unreachable")
	// ErrTooManySiblings is an ErrRefused: a put would make more than SiblingsMax of them, at this node or another.
	ErrTooManySiblings error = refusal("too many siblings")
	// ErrLinearizable is an ErrRefused: an eventual write of a key that its register holds. It is to be carried out there.
	ErrLinearizable error = refusal("the key is linearizable")
	// ErrOverloaded is an ErrRefused: too much is under way. An Overloaded is one that says more.
	ErrOverloaded error = refusal("overloaded")
)

// refusal is an ErrRefused of a kind, which is all that it says.
type refusal string

// Error implements error.
func (r refusal) Error() string { return string(r) }

// Unwrap returns ErrRefused.
func (refusal) Unwrap() error { return ErrRefused }

// Overloaded is an ErrOverloaded that says what there is too much of, and when to come again.
type Overloaded struct {
	What       string // with the numbers: "4096 operations under way, the limit"
	RetryAfter time.Duration
}

// Error says what there is too much of.
func (e *Overloaded) Error() string {
	return fmt.Sprintf("overloaded: %s: try again in %v", e.What, e.RetryAfter)
}

// Unwrap returns ErrOverloaded.
func (e *Overloaded) Unwrap() error { return ErrOverloaded }

// PutRequest asks a node to store a write that no node has yet, and so to give it its dot.
type PutRequest struct {
	Key   []byte
	Op    OpID
	Past  vclock.Seen // what the writer had seen
	Value Value
	Sync  Sync
	// For is the node that the record is kept for, 0 for the node asked itself.
	For uint64
	// Retried: another node may have been asked to store it first. What is stored says so.
	Retried bool
}

// PutReply is what became of it.
type PutReply struct {
	// Sibling is what other nodes must merge: the write, or where it was overwritten already a version that did.
	Sibling  Sibling
	Siblings int // how many the record has now
}

// MergeRequest asks a node to add versions to a record.
type MergeRequest struct {
	Key    []byte
	Record Record
	Sync   Sync
	For    uint64 // as in PutRequest
}

// ReadRequest asks for a record.
type ReadRequest struct {
	Key []byte
	For uint64 // as in PutRequest
	// Digest asks for the dots only.
	Digest bool
	// Partial: what is there will do. A node that is being refilled refuses all other reads, since it may lack
	// what counted as stored.
	Partial bool
}

// ReadReply is a record or, where a digest was asked for, its dots alone.
type ReadReply struct {
	Record Record
	Dots   []vclock.Dot // ascending
	// Linearizable: the node knows that the key's register holds it, so what the node holds may be stale.
	Linearizable bool
}

// PartsRequest asks how a node's records of a range of tokens look, from afar: the range is divided into Parts
// parts of equal width. First and Last are top halves of tokens, both included.
type PartsRequest struct {
	First, Last uint64
	Parts       int // 1 to MaxParts
}

// MaxParts bounds PartsRequest.Parts.
const MaxParts = 1024

// Part sums up the records of a range. Two nodes whose sums are equal hold the same versions of the same keys.
type Part struct {
	First, Last uint64
	Keys        int
	Bytes       int64  // of keys and values of all versions
	Sum         uint64 // of a hash of each key and its dots
}

// KeysRequest asks what versions a node holds of the keys of a range, by token. The answer ends with the key that
// fills it: Limit keys or, where Records or Registers asks for more than dots, Bytes bytes. It never ends between two keys of one token, so
// the next one begins behind the token of the last key. A node that is being refilled refuses to list records.
type KeysRequest struct {
	First, Last uint64
	Limit       int
	Records     bool
	Bytes       int
	// Registers asks for keys that the node knows to be linearizable, and for what their registers hold there in place of
	// the versions.
	Registers bool
}

// Full reports whether an answer of so many keys, and bytes as of KeyDots.Bytes, ends there.
func (q *KeysRequest) Full(keys, bytes int) bool {
	return keys >= q.Limit || (q.Records || q.Registers) && bytes >= q.Bytes
}

// KeyDots is a key and the versions that a node holds of it.
type KeyDots struct {
	Key    []byte
	Dots   []vclock.Dot
	Record Record // where it was asked for
	// Register is a State as package register encodes it, where that was asked for.
	Register []byte
}

// Bytes is what k counts for in an answer: the key, all values and the register.
func (k KeyDots) Bytes() int {
	n := len(k.Key) + len(k.Register)
	for _, s := range k.Record {
		n += len(s.Value.Data)
	}
	return n
}

// Transport carries requests to nodes, the own one included. Calls end with their context.
type Transport interface {
	Put(ctx context.Context, to uint64, r *PutRequest) (*PutReply, error)
	Merge(ctx context.Context, to uint64, r *MergeRequest) error
	Read(ctx context.Context, to uint64, r *ReadRequest) (*ReadReply, error)
	Parts(ctx context.Context, to uint64, r *PartsRequest) ([]Part, error)
	Keys(ctx context.Context, to uint64, r *KeysRequest) ([]KeyDots, error)
}

// AsyncTransport is a Transport of which an asker need not wait in a goroutine for each request. What was started is
// sent when the method returns or soon after, and goes on until deadline. done is called once with what became of
// it, at the latest a second or two after deadline, and perhaps before the method returns. It must not wait: others'
// answers may be behind it. Requests to the own node are not for these methods.
type AsyncTransport interface {
	Transport
	StartPut(deadline time.Time, to uint64, r *PutRequest, done func(*PutReply, error))
	StartMerge(deadline time.Time, to uint64, r *MergeRequest, done func(error))
	StartRead(deadline time.Time, to uint64, r *ReadRequest, done func(*ReadReply, error))
}

// Registers carries what package register encodes, requests of a proposer and operations, to the registers of keys. As with
// AsyncTransport, done is called once, at the latest a second or two after deadline, perhaps before the method returns,
// and must not wait. The own node may be asked too. The bytes given must not change until done is called.
type Registers interface {
	// StartStep asks a node, as an acceptor, to take a step. request is of register.AppendRequest, reply for
	// register.DecodeReply.
	StartStep(deadline time.Time, to uint64, key, request []byte, done func(reply []byte, err error))
	// StartLearn tells a node, as an acceptor, what is decided. decisions is of register.AppendDecisions, behind for
	// register.DecodeBehind.
	StartLearn(deadline time.Time, to uint64, decisions []byte, done func(behind []byte, err error))
	// StartOperate asks a node to carry out an operation with the proposer that it has for the key, and not to hand it
	// on. It comes there once at most: what has failed there must not happen after all. operation is of register.AppendOperation, result for register.DecodeResult.
	StartOperate(deadline time.Time, to uint64, key, operation []byte, done func(result []byte, err error))
}
