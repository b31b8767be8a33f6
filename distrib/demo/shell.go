package demo

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"google.golang.org/grpc"

	"github.com/cambiumdb/cambium/distrib/api"
)

// Shell carries out statements. It is not for use by several goroutines.
type Shell struct {
	nodes Nodes
	out   io.Writer
	// patience bounds each request, and settling each \wait.
	patience, settling time.Duration

	memory map[memoryKey]memory
	births map[birthKey][]uint64 // of a node's copies of a key, in the order in which they were shown
	names  map[uint64]string     // of nodes, by the numbers that the ring gives them
	all    int                   // how many nodes a key lives on
	keys   []string              // that were written: \wait compares them
}

// memoryKey is a key of a client; client is the node that --at named, 0 without.
type memoryKey struct {
	client int
	key    string
}

// memory is what a client remembers of a key.
type memory struct {
	context []byte // of what it last read
	unknown []byte // the name of its last write whose outcome is unknown
	linear  bool   // that write was linearizable
}

type birthKey struct {
	key  string
	node uint64
}

// NewShell returns a shell over nodes that prints to out.
func NewShell(nodes Nodes, out io.Writer) *Shell {
	return &Shell{
		nodes: nodes, out: out, patience: 10 * time.Second, settling: 30 * time.Second,
		memory: map[memoryKey]memory{}, births: map[birthKey][]uint64{}, names: map[uint64]string{0: "register"},
	}
}

// errQuit ends a shell in order.
var errQuit = errors.New("quit")

// problem is a statement that did not do what it was to do.
type problem struct {
	code  int
	lines []string // the first says what, the others why and what to try
}

func (p *problem) Error() string { return strings.Join(p.lines, "\n") }

func problemf(code int, format string, args ...any) error {
	return &problem{code, []string{fmt.Sprintf(format, args...)}}
}

// Exec carries out a script and prints each statement before what it says. It returns the exit code of the first
// that fails; the others are left out, unless keepGoing. A script with a syntax error does nothing.
func (s *Shell) Exec(ctx context.Context, script string, keepGoing bool) (code int, err error) {
	list, err := parse(script)
	if err != nil {
		return exitUsage, err
	}
	for i := range list {
		s.printf("> %s\n", list[i].text)
		did, quit := s.do(ctx, &list[i])
		if code == exitOK {
			code = did
		}
		if quit || did != exitOK && !keepGoing || ctx.Err() != nil {
			break
		}
	}
	return code, context.Cause(ctx)
}

// do carries out a statement and prints what it says.
func (s *Shell) do(ctx context.Context, st *statement) (code int, quit bool) {
	err := s.checkNodes(st)
	if err == nil {
		err = st.verb.run(s, ctx, st)
	}
	var p *problem
	switch {
	case err == nil:
		return exitOK, false
	case errors.Is(err, errQuit):
		return exitOK, true
	case !errors.As(err, &p):
		p = &problem{exitUnavailable, []string{"failed: " + err.Error()}}
	}
	for i, line := range p.lines {
		s.printf("%s%s\n", strings.Repeat("  ", min(i, 1)), line)
	}
	return p.code, false
}

// checkNodes says which node of a statement there is not.
func (s *Shell) checkNodes(st *statement) error {
	named := []int{st.opts.at}
	for i, a := range st.args {
		switch {
		case st.verb.args[i] == "N", st.verb.args[i] == "[NODE]":
			n, _ := parseNode(a)
			named = append(named, n)
		case st.verb.args[i] == "SIDES":
			sides, _, _ := parseSides(a)
			named = append(named, slices.Concat(sides...)...)
		}
	}
	count := len(s.nodes.List())
	for _, n := range named {
		if n > count {
			return problemf(exitUsage, "there is no node %d: %d nodes run in this demo", n, count)
		}
	}
	return nil
}

func (s *Shell) printf(format string, args ...any) { fmt.Fprintf(s.out, format, args...) }

func (s *Shell) name(node int) string { return s.nodes.List()[node-1].Name }

// serving is the node that a statement is for.
func (s *Shell) serving(st *statement) (int, error) {
	list := s.nodes.List()
	if n := st.opts.at; n > 0 {
		if list[n-1].State != Running {
			return 0, &problem{exitUnavailable, []string{fmt.Sprintf("%s does not run: it is %s", list[n-1].Name, list[n-1].State), `try: \start ` + fmt.Sprint(n)}}
		}
		return n, nil
	}
	if n := nearest(list); n > 0 {
		return n, nil
	}
	return 0, &problem{exitUnavailable, []string{"no node runs", `try: \start 1`}}
}

// nearest is the node that a client without a wish asks: the first that runs on the side with the most running nodes. 0:
// none runs.
func nearest(list []Node) (node int) {
	running := map[int]int{} // by side
	for _, n := range list {
		if n.State == Running {
			running[n.Side]++
		}
	}
	for i, n := range list {
		if n.State == Running && (node == 0 || running[n.Side] > running[list[node-1].Side]) {
			node = i + 1
		}
	}
	return node
}

// connection is the one to the node that a statement is for.
func (s *Shell) connection(st *statement) (grpc.ClientConnInterface, error) {
	n, err := s.serving(st)
	if err != nil {
		return nil, err
	}
	return s.nodes.Conn(n)
}

// ask carries out a request to the node that a statement is for.
func ask[Q, A any](s *Shell, ctx context.Context, st *statement, call func(api.KVClient, context.Context, Q, ...grpc.CallOption) (A, error), request Q) (answer A, err error) {
	conn, err := s.connection(st)
	if err != nil {
		return answer, err
	}
	ctx, cancel := context.WithTimeout(ctx, s.patience)
	defer cancel()
	if err := s.learn(ctx, conn); err != nil {
		return answer, s.failed(st, err)
	}
	answer, err = call(api.NewKVClient(conn), ctx, request)
	if err != nil {
		return answer, s.failed(st, err)
	}
	return answer, nil
}

// learn asks a node once who is in the ring.
func (s *Shell) learn(ctx context.Context, conn grpc.ClientConnInterface) error {
	if s.all > 0 {
		return nil
	}
	ring, err := api.NewClusterClient(conn).Ring(ctx, &api.RingRequest{})
	for _, m := range ring.GetMembers() {
		s.names[m.GetId()] = m.GetName()
	}
	s.all = min(int(ring.GetReplicas()), len(ring.GetMembers()))
	return err
}
