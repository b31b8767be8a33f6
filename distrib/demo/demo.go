// Package demo is a cluster to play with: real kvnode processes on free ports of the loopback interface, a shell
// that writes and reads, kills and partitions, and a guided tour made of the shell's own statements.
//
//	nodes, err := demo.StartProcesses(ctx, demo.ProcessOptions{Executable: kvnode, Count: 3})
//	defer nodes.Close()
//	shell := demo.NewShell(nodes, os.Stdout)
//	code := shell.Exec(ctx, `put a 1; \kill 3; put a 2; \start 3; \wait; get a`, false)
//
// # The shell
//
// Statements are separated by semicolons or newlines; what stands behind a # that begins a word is a comment. Words
// are quoted as in a POSIX shell. The verbs of data are plain words (put, get), those of nodes begin with a backslash
// (\kill); \help lists them all.
//
// What a statement prints does not depend on timing: where several nodes race to answer, only what is certain is
// printed. Tests compare transcripts whole.
//
// A statement without --at goes to the first node that runs, on the side of a partition that has the most running
// nodes. --at N goes to node N and is another client, with a memory of its own of what it has read: so one script is
// two clients on both sides of a partition.
//
// # Exit codes
//
// They are kvctl's: 0 ok; 1 the key is not there or the compare-and-swap lost; 2 usage; 3 unavailable; 4 the outcome
// is unknown.
package demo

import (
	"context"
	"time"

	"google.golang.org/grpc"
)

// The exit codes.
const (
	exitOK          = 0
	exitNotFound    = 1
	exitUsage       = 2
	exitUnavailable = 3
	exitUnknown     = 4
)

// State is what is known of a node's process.
type State string

// The states.
const (
	Running State = "running"
	Killed  State = "killed"  // by SIGKILL
	Stopped State = "stopped" // by SIGTERM, in order
	Paused  State = "paused"  // by SIGSTOP
	Exited  State = "exited"  // by itself
)

// Node is a node as its supervisor sees it.
type Node struct {
	Name string
	State
	GRPC, HTTP string        // host:port
	Side       int           // of a partition; all are 0 where there is none
	CutTo      []string      // nodes to which nothing goes from it, though they are on its side
	Slow       time.Duration // added to each request of other nodes
}

// Nodes is what the shell asks of the processes beneath. Nodes are numbered from 1.
type Nodes interface {
	// List returns all nodes: node N at N-1.
	List() []Node
	// Conn is a connection to a node, which the caller does not close.
	Conn(node int) (grpc.ClientConnInterface, error)

	Kill(node int) error
	Pause(node int) error
	// Stop returns when the node has finished what it had begun.
	Stop(ctx context.Context, node int) error
	// Start returns when the node serves, at the ports that it had.
	Start(ctx context.Context, node int) error
	Resume(ctx context.Context, node int) error
	// Partition cuts all traffic between sides, which hold every node once, and ends all that was cut before. No sides: all
	// is connected.
	Partition(ctx context.Context, sides [][]int) error
	// Cut cuts what goes from some nodes to others, beside what was cut before.
	Cut(ctx context.Context, from, to []int) error
	Slow(ctx context.Context, node int, by time.Duration) error
}
