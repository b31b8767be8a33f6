// Package process runs programs that end with this one, however that ends.
//
//	s := process.NewSpawner()
//	defer s.Close() // after the last process
//	p, err := s.Start(process.Command{Path: kvnode, Args: args, Log: log, Line: func(line string) { ... }})
//	<-p.Exited()
//	err = p.End(ctx)
//
// A Spawner and a Process may be used by any number of goroutines at once.
package process

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
)

// Spawner starts processes from one thread: the kernel ends them with the thread that started them, and Go ends
// threads when it likes.
type Spawner struct {
	calls chan func()
	done  chan struct{}
}

// NewSpawner starts the thread.
func NewSpawner() *Spawner {
	s := &Spawner{calls: make(chan func()), done: make(chan struct{})}
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

// Close ends the thread. No process may run.
func (s *Spawner) Close() {
	close(s.calls)
	<-s.done
}

// Spawn starts cmd so that it ends with this process and stays clear of its terminal's Ctrl-C.
func (s *Spawner) Spawn(cmd *exec.Cmd) error {
	cmd.SysProcAttr = attributes()
	result := make(chan error)
	s.calls <- func() { result <- cmd.Start() }
	return <-result
}

// Command is what a process runs.
type Command struct {
	Path string
	Args []string
	Log  string            // a file, to which is added what it prints
	Line func(line string) // is called for each line of its standard output, by one goroutine; nil: is not
}

// Process is a program that runs, or has.
type Process struct {
	cmd     *exec.Cmd
	stdin   *os.File      // the other end of its standard input: it ends when that is closed, as it is with this process
	exited  chan struct{} // closed when it has ended
	reading sync.WaitGroup
}

// Start starts a process. Its standard input gives nothing and ends with this process.
func (s *Spawner) Start(c Command) (p *Process, err error) {
	file, err := os.OpenFile(c.Log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o666)
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
	cmd := exec.Command(c.Path, c.Args...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = stdin, write, file
	err = s.Spawn(cmd)
	err = errors.Join(err, stdin.Close(), write.Close())
	if err != nil {
		return nil, errors.Join(err, file.Close(), keep.Close(), stdout.Close())
	}
	p = &Process{cmd: cmd, stdin: keep, exited: make(chan struct{})}
	p.reading.Go(func() { read(stdout, file, c.Line) })
	go func() {
		_ = cmd.Wait() // its status stands in cmd.ProcessState
		p.reading.Wait()
		_ = p.stdin.Close()
		close(p.exited)
	}()
	return p, nil
}

// read tells all lines and adds them to the log.
func read(stdout, log *os.File, tell func(string)) {
	defer stdout.Close()
	defer log.Close()
	lines := bufio.NewReader(stdout)
	for {
		line, err := lines.ReadString('\n')
		if tell != nil && line != "" {
			tell(line)
		}
		_, _ = io.WriteString(log, line) // a full disk must not stop the process
		if err != nil {
			return
		}
	}
}

// ID is the number of the process.
func (p *Process) ID() int { return p.cmd.Process.Pid }

// Exited is closed when the process has ended.
func (p *Process) Exited() <-chan struct{} { return p.exited }

// State says how the process ended, once it has.
func (p *Process) State() *os.ProcessState { return p.cmd.ProcessState }

// Signal sends a signal to the process.
func (p *Process) Signal(s syscall.Signal) error { return p.cmd.Process.Signal(s) }

// Running reports whether the process has not ended.
func (p *Process) Running() bool {
	select {
	case <-p.exited:
		return false
	default:
		return true
	}
}

// Kill returns when the process is gone.
func (p *Process) Kill() {
	_ = p.cmd.Process.Kill() // it fails where the process has ended
	<-p.exited
}

// End asks the process to end in order, and ends it by force when ctx does.
func (p *Process) End(ctx context.Context) error {
	if err := p.Signal(syscall.SIGTERM); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	select {
	case <-p.exited:
	case <-ctx.Done():
		p.Kill()
		return fmt.Errorf("it did not end in order, and was killed: %w", context.Cause(ctx))
	}
	if !p.cmd.ProcessState.Success() {
		return fmt.Errorf("it did not end in order: %s", p.cmd.ProcessState)
	}
	return nil
}

// Tail is the end of a log, for people.
func Tail(log string) string {
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
