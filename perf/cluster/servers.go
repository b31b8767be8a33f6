package cluster

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/cambiumdb/cambium/internal/process"
)

// startPatience is how long a server may take until it serves.
const startPatience = 30 * time.Second

// server is a process of an engine, which may be killed and started again.
type server struct {
	name    string
	addr    string // host:port of clients
	command process.Command
	serves  string // a line that holds it is said when it serves
	http    string // host:port of its profiles, empty: none; is known once it serves

	mu      sync.Mutex       // guards what follows, and http
	process *process.Process // the last one; nil: it has not started
	down    bool             // it was killed here
	stopped bool
	used    time.Duration // CPU time of processes before
}

// servers are those of one engine.
type servers struct {
	spawner *process.Spawner
	list    []*server
}

// startServers starts an engine in dir. On an error nothing runs.
func startServers(ctx context.Context, spawner *process.Spawner, engine, dir string, cfg Config) (s *servers, err error) {
	s = &servers{spawner: spawner}
	if engine == Own && len(cfg.Endpoints) > 0 {
		return s, nil
	}
	defer func() {
		if err != nil {
			s.close()
		}
	}()
	layout := map[string]func(string, Config) (list []*server, inTurn bool, err error){Own: nodes, Etcd: members, Redis: replicas}[engine]
	list, inTurn, err := layout(dir, cfg)
	if err != nil {
		return s, err
	}
	s.list = list
	errs := make([]error, len(list))
	var all sync.WaitGroup
	for i, sv := range list {
		all.Go(func() { errs[i] = sv.start(ctx, spawner) })
		if inTurn {
			all.Wait()
		}
	}
	all.Wait()
	return s, errors.Join(errs...)
}

// nodes are kvnodes: the first founds a cluster, which the others join.
func nodes(dir string, cfg Config) (list []*server, inTurn bool, err error) {
	kvnode, err := beside("kvnode", "make build")
	if err != nil {
		return nil, false, err
	}
	addrs, err := freeAddresses(cfg.Nodes)
	if err != nil {
		return nil, false, err
	}
	for i, name := range cfg.servers() {
		args := []string{"start", "--name", name, "--dir", filepath.Join(dir, name), "--listen", addrs[i], "--http", "127.0.0.1:0", "--sync", cfg.Sync}
		if i > 0 {
			args = append(args, "--join", addrs[0])
		}
		list = append(list, &server{name: name, addr: addrs[i], serves: "ready ", command: process.Command{Path: kvnode, Args: args, Log: filepath.Join(dir, name+".log")}})
	}
	return list, true, nil
}

// members are those of etcd, which syncs each write.
func members(dir string, cfg Config) (list []*server, inTurn bool, err error) {
	etcd, err := beside("etcd-peer", "make peers")
	if err != nil {
		return nil, false, err
	}
	addrs, err := freeAddresses(2 * cfg.Nodes)
	if err != nil {
		return nil, false, err
	}
	var initial []string
	for i, name := range cfg.servers() {
		initial = append(initial, name+"=http://"+addrs[cfg.Nodes+i])
	}
	for i, name := range cfg.servers() {
		args := []string{"--name", name, "--dir", filepath.Join(dir, name), "--client", addrs[i], "--peer", addrs[cfg.Nodes+i], "--cluster", strings.Join(initial, ",")}
		list = append(list, &server{name: name, addr: addrs[i], serves: "ready ", command: process.Command{Path: etcd, Args: args, Log: filepath.Join(dir, name+".log")}})
	}
	return list, false, nil
}

// replicas are those of Redis: n1 is the primary.
func replicas(dir string, cfg Config) (list []*server, inTurn bool, err error) {
	redis, err := exec.LookPath("redis-server")
	if err != nil {
		return nil, false, fmt.Errorf("redis-server: %w\n  try: make peers, or apt-get install redis-server", err)
	}
	addrs, err := freeAddresses(cfg.Nodes)
	if err != nil {
		return nil, false, err
	}
	fsync := map[string]string{"per-write": "always", "per-second": "everysec"}[cfg.Sync]
	for i, name := range cfg.servers() {
		home := filepath.Join(dir, name)
		if err := os.Mkdir(home, 0o777); err != nil {
			return nil, false, err
		}
		host, port, _ := net.SplitHostPort(addrs[i])
		args := []string{"--bind", host, "--port", port, "--dir", home, "--appendonly", "yes", "--appendfsync", fsync, "--save", "", "--daemonize", "no", "--repl-diskless-sync-delay", "0"}
		if i > 0 {
			primary, at, _ := net.SplitHostPort(addrs[0])
			args = append(args, "--replicaof", primary+" "+at)
		}
		list = append(list, &server{name: name, addr: addrs[i], serves: "Ready to accept connections", command: process.Command{Path: redis, Args: args, Log: filepath.Join(dir, name+".log")}})
	}
	return list, true, nil
}

// beside is a program that lies where this one does.
func beside(name, try string) (string, error) {
	self, err := os.Executable()
	if err != nil {
		return "", err
	}
	path := filepath.Join(filepath.Dir(self), name)
	if info, err := os.Stat(path); err != nil || !info.Mode().IsRegular() {
		return "", fmt.Errorf("%s is not at %s\n  try: %s", name, path, try)
	}
	return path, nil
}

// freeAddresses are on ports of the loopback interface that are free now.
func freeAddresses(n int) (addrs []string, err error) {
	for range n {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return nil, err
		}
		defer l.Close() // when all are chosen: no port twice
		addrs = append(addrs, l.Addr().String())
	}
	return addrs, nil
}

// start starts the process and returns when it serves.
func (s *server) start(ctx context.Context, spawner *process.Spawner) error {
	ready := make(chan struct{})
	said := sync.OnceFunc(func() { close(ready) })
	command := s.command
	command.Line = func(line string) {
		if strings.Contains(line, s.serves) {
			s.mu.Lock()
			s.http = word(line, "http=")
			s.mu.Unlock()
			said()
		}
	}
	p, err := spawner.Start(command)
	if err != nil {
		return fmt.Errorf("start %s: %w", s.name, err)
	}
	s.mu.Lock()
	s.process, s.down = p, false
	s.mu.Unlock()
	ctx, cancel := context.WithTimeoutCause(ctx, startPatience, fmt.Errorf("it does not serve after %s", startPatience))
	defer cancel()
	select {
	case <-ready:
		return nil
	case <-p.Exited():
		err = fmt.Errorf("it ended: %s", p.State())
	case <-ctx.Done():
		err = context.Cause(ctx)
	}
	p.Kill()
	return fmt.Errorf("start %s: %w; the end of its log:\n%s", s.name, err, process.Tail(command.Log))
}

// apply does what a moment of chaos is about.
func (s *servers) apply(ctx context.Context, m moment) error {
	for _, sv := range s.list {
		if sv.name == m.node {
			return sv.apply(ctx, s.spawner, m.do)
		}
	}
	return fmt.Errorf("there is no server %s", m.node)
}

func (s *server) apply(ctx context.Context, spawner *process.Spawner, do string) error {
	switch do {
	case "kill":
		s.kill()
		return nil
	case "start":
		return s.start(ctx, spawner)
	case "stop", "continue":
		s.mu.Lock()
		defer s.mu.Unlock()
		s.stopped = do == "stop"
		return s.process.Signal(map[bool]syscall.Signal{true: syscall.SIGSTOP, false: syscall.SIGCONT}[s.stopped])
	}
	return fmt.Errorf("nothing is called %q", do)
}

func (s *server) kill() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.process == nil || s.down {
		return
	}
	if used, err := cpuTime(s.process.ID()); err == nil {
		s.used += used
	}
	s.down, s.stopped = true, false
	s.process.Kill()
}

// recover has all that were killed or stopped serve again.
func (s *servers) recover(ctx context.Context) error {
	var errs []error
	for _, sv := range s.list {
		sv.mu.Lock()
		down, stopped := sv.down, sv.stopped
		sv.mu.Unlock()
		switch {
		case down:
			errs = append(errs, sv.apply(ctx, s.spawner, "start"))
		case stopped:
			errs = append(errs, sv.apply(ctx, s.spawner, "continue"))
		}
	}
	return errors.Join(errs...)
}

// check returns an error if a server has ended by itself.
func (s *servers) check() error {
	var errs []error
	for _, sv := range s.list {
		sv.mu.Lock()
		if !sv.down && !sv.process.Running() {
			errs = append(errs, fmt.Errorf("%s ended: %s; the end of its log:\n%s", sv.name, sv.process.State(), process.Tail(sv.command.Log)))
		}
		sv.mu.Unlock()
	}
	return errors.Join(errs...)
}

// cpu is what all servers have used since they were started; false: it is not known.
func (s *servers) cpu() (total time.Duration, known bool) {
	for _, sv := range s.list {
		sv.mu.Lock()
		total += sv.used
		if !sv.down {
			used, err := cpuTime(sv.process.ID())
			if err != nil {
				sv.mu.Unlock()
				return 0, false
			}
			total += used
		}
		sv.mu.Unlock()
	}
	return total, len(s.list) > 0
}

// endpoints are where clients connect.
func (s *servers) endpoints() (addrs []string) {
	for _, sv := range s.list {
		addrs = append(addrs, sv.addr)
	}
	return addrs
}

// close ends all. Their directories are of no use afterwards.
func (s *servers) close() {
	for _, sv := range s.list {
		sv.kill()
	}
}
