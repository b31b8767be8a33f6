// Package transport carries the requests of distrib.Transport between nodes, over gRPC.
//
//	server := transport.NewServer(transport.ServerOptions{Self: self, Handler: handler})
//	server.Register(grpcServer)
//	client := transport.NewClient(transport.ClientOptions{Self: self, Local: handler, Addr: addr})
//	reply, err := client.Put(ctx, 2, &distrib.PutRequest{Key: key, Value: value})
//
// A node that calls another keeps one stream to it, whose one writer takes what has gathered meanwhile as one
// message, so a busy stream carries many requests at the cost of one. Answers come in any order. A message of more
// than pieceBytes is cut, and its pieces take turns with the small ones. All methods may be called by many
// goroutines at once.
//
// # What is known after an error
//
// distrib.ErrRefused is said only where the request was not carried out and will not be: the node could not be
// reached, the stream broke before the request was given to it, or the node itself says so. After any other error it
// may have been carried out, or may still be. Errors of a Handler keep what errors.Is says of the variables in the
// table of errors.go.
//
// # Frames
//
// A Batch of peer.proto holds frames. Lengths are big-endian, other numbers uvarints:
//
//	frame   = length:4 ‖ kind:1 ‖ id ‖ arg ‖ body      length is that of what follows it
//	request   kind put to operate; arg: microseconds until its deadline, 0: none; body: what is asked
//	answer    to the request of that id; body: what is answered
//	failure   likewise; arg: milliseconds after which to try again; body: bits of the table of errors.go, message
//	ping, pong
//	piece     arg: the length of a frame; body: its next bytes
//
// Bodies are in message.go.
package transport

import (
	"context"
	"time"

	"github.com/cambiumdb/cambium/distrib"
)

// Handler carries out the requests that reach a node. The bytes of a request are its to keep. Deadlines are in the
// context, which also ends when the asker has gone.
type Handler interface {
	Put(ctx context.Context, r *distrib.PutRequest) (*distrib.PutReply, error)
	Merge(ctx context.Context, r *distrib.MergeRequest) error
	Read(ctx context.Context, r *distrib.ReadRequest) (*distrib.ReadReply, error)
	Parts(ctx context.Context, r *distrib.PartsRequest) ([]distrib.Part, error)
	Keys(ctx context.Context, r *distrib.KeysRequest) ([]distrib.KeyDots, error)
	// Step is as StartStep of distrib.Registers.
	Step(ctx context.Context, key, request []byte) (reply []byte, err error)
	// Learn is as StartLearn of distrib.Registers.
	Learn(ctx context.Context, decisions []byte) (behind []byte, err error)
	// StartOperate is as that of distrib.Registers. It must not wait: an operation goes on by steps of other nodes, which need their
	// workers for those of this one.
	StartOperate(deadline time.Time, key, operation []byte, done func(result []byte, err error))
}

// Identity is who a node is.
type Identity struct {
	ClusterID string
	Node      uint64
	Name      string
}

// Protocol is the version of what two nodes say to each other. Nodes of different ones refuse each other.
const Protocol = 5

// WindowBytes is how much of a stream may be under way, and the flow control window that a server's options must name. It is fixed since
// gRPC probes for one that fits with a ping and its answer for each round trip, which costs more than small requests.
const WindowBytes = 4 << 20

const (
	// pieceBytes is the longest frame that is sent whole.
	pieceBytes = 64 << 10
	// maxFrameBytes bounds a frame: a record of as many siblings as may be, all as large as may be, and their clocks.
	maxFrameBytes = distrib.SiblingsMax*distrib.MaxValueBytes + 64<<20

	pingEvery = time.Second
	// silenceMax is how long a node may send nothing, not even answers to pings, until the stream is given up. After
	// a cut TCP waits as long as the cut lasted before it tries again; a new connection does not.
	silenceMax = 4 * time.Second

	// openMax bounds an attempt to connect, and againAfter is how long others fail with the error of one that failed.
	openMax, againAfter = 2 * time.Second, 30 * time.Millisecond

	// queuedMax bounds the bytes of requests that wait to be sent to a node.
	queuedMax = 128 << 20
	// maxDeadline bounds what a request says of its deadline, in microseconds.
	maxDeadline = 24 * 60 * 60 * 1_000_000
)
