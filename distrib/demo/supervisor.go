package demo

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/cambiumdb/cambium/distrib/api"
	ps "github.com/cambiumdb/cambium/internal/process"
)

// MaxNodes is how many nodes a demo may have.
const MaxNodes = 9

// ProcessOptions of the nodes of a demo.
type ProcessOptions struct {
	Executable string // a kvnode
	Dir        string // for data and logs; empty: a temporary one, which Close removes
	Count      int    // 1 to MaxNodes; 0: as many as Dir has, or 3
	// Patience is how long a node may take to start. 0 is 30 s.
	Patience time.Duration
}

// Processes are the nodes of a demo, each a process of its own. They end with this one, however that ends.
type Processes struct {
	opts      ProcessOptions
	temporary bool
	spawner   *ps.Spawner

	mu    sync.Mutex // guards the members
	nodes []*member
}

type member struct {
	Node
	process *process // the last one
	conn    *grpc.ClientConn
}

// StartProcesses starts the nodes of a demo and returns when all serve. A directory that an earlier demo has left
// is taken up again.
func StartProcesses(ctx context.Context, o ProcessOptions) (p *Processes, err error) {
	p = &Processes{opts: o, temporary: o.Dir == "", spawner: ps.NewSpawner()}
	if p.opts.Patience == 0 {
		p.opts.Patience = 30 * time.Second
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, p.Close())
		}
	}()
	if p.temporary {
		if p.opts.Dir, err = os.MkdirTemp("", "cambium-demo-"); err != nil {
			return p, err
		}
	}
	before, err := p.load()
	if err != nil {
		return p, err
	}
	if len(before) > 0 {
		return p, p.startAgain(ctx, before)
	}
	count := p.opts.Count
	if count == 0 {
		count = 3
	}
	if count < 1 || count > MaxNodes {
		return p, fmt.Errorf("%d nodes: 1 to %d are possible", count, MaxNodes)
	}
	for i := range count { // in turn, so that the ring numbers them as we do
		p.add(Node{Name: fmt.Sprintf("n%d", i+1)})
		if err := p.launch(ctx, i+1); err != nil {
			return p, err
		}
	}
	return p, p.save()
}

// startAgain starts all nodes of an earlier demo at once: one alone may wait for the others.
func (p *Processes) startAgain(ctx context.Context, before []address) error {
	if p.opts.Count != 0 && p.opts.Count != len(before) {
		return fmt.Errorf("%s holds a demo of %d nodes, not of %d: leave the number away, or take another directory", p.opts.Dir, len(before), p.opts.Count)
	}
	for _, a := range before {
		p.add(Node{Name: a.Name, GRPC: a.GRPC, HTTP: a.HTTP})
	}
	errs := make([]error, len(before))
	var all sync.WaitGroup
	for i := range before {
		all.Go(func() { errs[i] = p.launch(ctx, i+1) })
	}
	all.Wait()
	return errors.Join(errs...)
}

func (p *Processes) add(n Node) {
	p.mu.Lock()
	defer p.mu.Unlock()
	n.State = Stopped
	p.nodes = append(p.nodes, &member{Node: n})
}

// address is what is kept of a node: it must come back where the others look for it.
type address struct{ Name, GRPC, HTTP string }

func (p *Processes) file() string { return filepath.Join(p.opts.Dir, "demo.json") }

func (p *Processes) load() (list []address, err error) {
	b, err := os.ReadFile(p.file())
	if errors.Is(err, os.ErrNotExist) {
		return nil, os.MkdirAll(p.opts.Dir, 0o777)
	}
	if err == nil {
		err = json.Unmarshal(b, &list)
	}
	if err == nil && len(list) == 0 {
		err = errors.New("it names no node")
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", p.file(), err)
	}
	return list, nil
}

func (p *Processes) save() error {
	var list []address
	for _, n := range p.List() {
		list = append(list, address{n.Name, n.GRPC, n.HTTP})
	}
	b, err := json.Marshal(list)
	if err != nil {
		return err
	}
	return os.WriteFile(p.file(), append(b, '\n'), 0o666)
}

// launch starts a node that does not run, and returns when it serves and knows its faults.
func (p *Processes) launch(ctx context.Context, node int) error {
	n := p.List()[node-1]
	log := filepath.Join(p.opts.Dir, n.Name+".log")
	process, err := spawn(p.spawner, log, p.opts.Executable, p.arguments(node)...)
	if err != nil {
		return fmt.Errorf("start %s: %w", n.Name, err)
	}
	p.mu.Lock()
	p.nodes[node-1].process = process
	p.mu.Unlock()
	ctx, cancel := context.WithTimeout(ctx, p.opts.Patience)
	defer cancel()
	r, err := process.awaitReady(ctx)
	if err != nil {
		process.Kill()
		return fmt.Errorf("start %s: %w; the end of %s:\n%s", n.Name, err, log, ps.Tail(log))
	}
	conn, err := grpc.NewClient("passthrough:///"+r.grpc, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		process.Kill()
		return fmt.Errorf("start %s: %w", n.Name, err)
	}
	p.mu.Lock()
	m := p.nodes[node-1]
	before := m.conn // waits ever longer before it tries to connect again
	m.conn, m.State, m.GRPC, m.HTTP = conn, Running, r.grpc, r.http
	p.mu.Unlock()
	if before != nil {
		_ = before.Close() // nothing is under way on it
	}
	return p.setFaults(ctx, node)
}

// arguments start a node, at the ports that it had.
func (p *Processes) arguments(node int) []string {
	list := p.List()
	n := list[node-1]
	listen, http := n.GRPC, n.HTTP
	if listen == "" {
		listen, http = "127.0.0.1:0", "127.0.0.1:0"
	}
	args := []string{"start", "--name", n.Name, "--dir", filepath.Join(p.opts.Dir, n.Name), "--listen", listen, "--http", http, "--allow-faults", "--with-parent"}
	var join []string
	for _, other := range list {
		if other.Name != n.Name && other.GRPC != "" {
			join = append(join, other.GRPC)
		}
	}
	if len(join) > 0 {
		args = append(args, "--join", strings.Join(join, ","))
	}
	return args
}

// List implements Nodes.
func (p *Processes) List() (list []Node) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, m := range p.nodes {
		n := m.Node
		if (n.State == Running || n.State == Paused) && !m.process.Running() {
			n.State = Exited
		}
		list = append(list, n)
	}
	return list
}

// Conn implements Nodes.
func (p *Processes) Conn(node int) (grpc.ClientConnInterface, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	m := p.nodes[node-1]
	if m.conn == nil {
		return nil, fmt.Errorf("%s has not started", m.Name)
	}
	return m.conn, nil
}

// leave moves a node on to a state, which it must not do from any but those.
func (p *Processes) leave(node int, to State, from ...State) (*process, error) {
	now := p.List()[node-1]
	if !slices.Contains(from, now.State) {
		return nil, fmt.Errorf("%s is %s", now.Name, now.State)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.nodes[node-1].State = to
	return p.nodes[node-1].process, nil
}

// Kill implements Nodes.
func (p *Processes) Kill(node int) error {
	process, err := p.leave(node, Killed, Running, Paused)
	if err == nil {
		process.Kill()
	}
	return err
}

// Pause implements Nodes.
func (p *Processes) Pause(node int) error {
	process, err := p.leave(node, Paused, Running)
	if err != nil {
		return err
	}
	return process.Signal(syscall.SIGSTOP)
}

// Resume implements Nodes.
func (p *Processes) Resume(ctx context.Context, node int) error {
	process, err := p.leave(node, Running, Paused)
	if err != nil {
		return err
	}
	return errors.Join(process.Signal(syscall.SIGCONT), p.setFaults(ctx, node))
}

// Stop implements Nodes.
func (p *Processes) Stop(ctx context.Context, node int) error {
	process, err := p.leave(node, Stopped, Running)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, endPatience)
	defer cancel()
	return process.End(ctx)
}

// Start implements Nodes.
func (p *Processes) Start(ctx context.Context, node int) error {
	if _, err := p.leave(node, Stopped, Stopped, Killed, Exited); err != nil {
		return err
	}
	return p.launch(ctx, node)
}

// Partition implements Nodes. Nodes that do not run are cut off when they do.
func (p *Processes) Partition(ctx context.Context, sides [][]int) error {
	p.mu.Lock()
	for i, m := range p.nodes {
		m.Side = max(0, slices.IndexFunc(sides, func(side []int) bool { return slices.Contains(side, i+1) }))
		m.CutTo = nil
	}
	p.mu.Unlock()
	return p.setAllFaults(ctx)
}

// Cut implements Nodes. Nodes that do not run are cut off when they do.
func (p *Processes) Cut(ctx context.Context, from, to []int) error {
	p.mu.Lock()
	for _, n := range from {
		m := p.nodes[n-1]
		m.CutTo = slices.Clone(m.CutTo) // List has given the old one away
		for _, other := range to {
			m.CutTo = append(m.CutTo, p.nodes[other-1].Name)
		}
		slices.Sort(m.CutTo)
		m.CutTo = slices.Compact(m.CutTo)
	}
	p.mu.Unlock()
	return p.setAllFaults(ctx)
}

func (p *Processes) setAllFaults(ctx context.Context) error {
	var errs []error
	for i := range p.List() {
		errs = append(errs, p.setFaults(ctx, i+1))
	}
	return errors.Join(errs...)
}

// Slow implements Nodes.
func (p *Processes) Slow(ctx context.Context, node int, by time.Duration) error {
	p.mu.Lock()
	p.nodes[node-1].Slow = by
	p.mu.Unlock()
	return p.setFaults(ctx, node)
}

// setFaults tells a node that runs what its network is to be like.
func (p *Processes) setFaults(ctx context.Context, node int) error {
	list := p.List()
	if list[node-1].State != Running {
		return nil
	}
	p.mu.Lock()
	conn := p.nodes[node-1].conn
	p.mu.Unlock()
	ctx, cancel := context.WithTimeout(ctx, p.opts.Patience)
	defer cancel()
	if _, err := api.NewFaultsClient(conn).Set(ctx, faultsOf(list, node), grpc.WaitForReady(true)); err != nil {
		return fmt.Errorf("set the faults of %s: %w", list[node-1].Name, err)
	}
	return nil
}

// faultsOf is what the network of a node is to be like.
func faultsOf(list []Node, node int) *api.FaultsRequest {
	self := list[node-1]
	r := &api.FaultsRequest{SlowMs: uint32(self.Slow.Milliseconds())}
	for _, n := range list {
		if n.Side != self.Side || slices.Contains(self.CutTo, n.Name) {
			r.CutTo = append(r.CutTo, n.Name)
		}
		if n.Side != self.Side || slices.Contains(n.CutTo, self.Name) {
			r.CutFrom = append(r.CutFrom, n.Name)
		}
	}
	return r
}

// Close ends all nodes, in order where their data is kept. It removes the directory if that is temporary.
func (p *Processes) Close() error {
	p.mu.Lock()
	nodes := p.nodes
	p.mu.Unlock()
	ctx, cancel := context.WithTimeout(context.Background(), endPatience)
	defer cancel()
	errs := make([]error, len(nodes)+1)
	var all sync.WaitGroup
	for i, m := range nodes {
		all.Go(func() { errs[i] = m.close(ctx, !p.temporary) })
	}
	all.Wait()
	p.spawner.Close()
	if p.temporary && p.opts.Dir != "" {
		errs[len(nodes)] = os.RemoveAll(p.opts.Dir)
	}
	return errors.Join(errs...)
}

func (m *member) close(ctx context.Context, inOrder bool) (err error) {
	switch {
	case m.process == nil || !m.process.Running():
	case inOrder:
		err = errors.Join(m.process.Signal(syscall.SIGCONT), m.process.End(ctx))
	default:
		m.process.Kill()
	}
	if m.conn != nil {
		err = errors.Join(err, m.conn.Close())
	}
	if err != nil {
		return fmt.Errorf("end %s: %w", m.Name, err)
	}
	return nil
}
