package demo

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"time"
)

// process is a kvnode that runs.
type process struct {
	cmd     *exec.Cmd
	stdin   *os.File      // the other end of its standard input: it ends when that is closed, as it is with this process
	ready   chan ready    // what it says when it serves
	exited  chan struct{} // closed when it has ended
	reading sync.WaitGroup
}

// ready is what a node prints when it serves.
type ready struct{ name, grpc, http string }

// parseReady reads "ready name=n1 grpc=127.0.0.1:7001 http=127.0.0.1:8001 cluster=ID".
func parseReady(line string) (r ready, ok bool) {
	words := strings.Fields(line)
	if len(words) == 0 || words[0] != "ready" {
		return r, false
	}
	for _, w := range words[1:] {
		switch name, value, _ := strings.Cut(w, "="); name {
		case "name":
			r.name = value
		case "grpc":
			r.grpc = value
		case "http":
			r.http = value
		}
	}
	return r, r.name != "" && r.grpc != ""
}

// spawner starts processes from one thread: the kernel ends them with the thread that started them, and Go ends
// threads when it likes.
type spawner struct {
	calls chan func()
	done  chan struct{}
}

func newSpawner() *spawner {
	s := &spawner{calls: make(chan func()), done: make(chan struct{})}
	go func() {
		defer close(s.done)
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		for call := range s.calls {
			call()
		}
	}()
	return s
}

// close ends the thread. No process may run.
func (s *spawner) close() {
	close(s.calls)
	<-s.done
}

func (s *spawner) start(cmd *exec.Cmd) error {
	result := make(chan error)
	s.calls <- func() { result <- cmd.Start() }
	return <-result
}

// spawn starts a process. What it prints is added to the file log.
func (s *spawner) spawn(log, executable string, args ...string) (p *process, err error) {
	file, err := os.OpenFile(log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o666)
	if err != nil {
		return nil, err
	}
	stdin, keep, err := os.Pipe()
	if err != nil {
		return nil, errors.Join(err, file.Close())
	}
	stdout, write, err := os.Pipe()
	if err != nil {
		return nil, errors.Join(err, file.Close(), stdin.Close(), keep.Close())
	}
	cmd := exec.Command(executable, args...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = stdin, write, file
	cmd.SysProcAttr = attributes()
	err = s.start(cmd)
	err = errors.Join(err, stdin.Close(), write.Close())
	if err != nil {
		return nil, errors.Join(err, file.Close(), keep.Close(), stdout.Close())
	}
	p = &process{cmd: cmd, stdin: keep, ready: make(chan ready, 1), exited: make(chan struct{})}
	p.reading.Go(func() { p.read(stdout, file) })
	go func() {
		_ = cmd.Wait() // its status stands in cmd.ProcessState
		p.reading.Wait()
		_ = p.stdin.Close()
		close(p.exited)
	}()
	return p, nil
}

// read finds the line that says that the node serves, and adds all lines to the log.
func (p *process) read(stdout, log *os.File) {
	defer stdout.Close()
	defer log.Close()
	lines := bufio.NewReader(stdout)
	for {
		line, err := lines.ReadString('\n')
		if r, ok := parseReady(line); ok {
			select {
			case p.ready <- r:
			default: // it has said so before
			}
		}
		_, _ = io.WriteString(log, line) // a full disk must not stop the node
		if err != nil {
			return
		}
	}
}

// awaitReady returns when the node serves.
func (p *process) awaitReady(ctx context.Context) (ready, error) {
	select {
	case r := <-p.ready:
		return r, nil
	case <-p.exited:
		return ready{}, fmt.Errorf("it ended: %s", p.cmd.ProcessState)
	case <-ctx.Done():
		return ready{}, fmt.Errorf("it is not ready yet: %w", context.Cause(ctx))
	}
}

func (p *process) signal(s syscall.Signal) error { return p.cmd.Process.Signal(s) }

func (p *process) running() bool {
	select {
	case <-p.exited:
		return false
	default:
		return true
	}
}

// kill returns when the process is gone.
func (p *process) kill() {
	_ = p.cmd.Process.Kill() // it fails where the process has ended
	<-p.exited
}

// end asks the process to end in order, and ends it by force when ctx does.
func (p *process) end(ctx context.Context) error {
	if err := p.signal(syscall.SIGTERM); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	select {
	case <-p.exited:
	case <-ctx.Done():
		p.kill()
		return fmt.Errorf("it did not end in order, and was killed: %w", context.Cause(ctx))
	}
	if !p.cmd.ProcessState.Success() {
		return fmt.Errorf("it did not end in order: %s", p.cmd.ProcessState)
	}
	return nil
}

// tail is the end of a log, for people.
func tail(log string) string {
	const lines, bytes = 8, 4 << 10
	f, err := os.Open(log)
	if err != nil {
		return err.Error()
	}
	defer f.Close()
	if size, err := f.Seek(0, io.SeekEnd); err == nil {
		_, _ = f.Seek(max(0, size-bytes), io.SeekStart) // else it is read from its start
	}
	b, err := io.ReadAll(f)
	if err != nil {
		return err.Error()
	}
	all := strings.Split(strings.TrimSpace(string(b)), "\n")
	return "  " + strings.Join(all[max(0, len(all)-lines):], "\n  ")
}

// endPatience is how long a node may take to end in order.
const endPatience = 15 * time.Second
