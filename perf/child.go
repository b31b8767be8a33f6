package perf

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// child is the process that performs one job.
type child struct {
	program []string // the program and, where it differs, the name it is called by
	job     jobMessage
	stderr  *os.File
	phase   func(Phase)
}

// run starts the process, puts it into a memory cgroup where there is a limit, gives it its job,
// and waits for its result.
func (c *child) run(ctx context.Context) (Run, error) {
	results, write, err := os.Pipe()
	if err != nil {
		return Run{}, err
	}
	defer results.Close()
	cmd := exec.CommandContext(ctx, c.program[0], ServeWord, c.job.Config.Engine)
	cmd.Args[0] = c.program[len(c.program)-1]
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	cmd.WaitDelay = time.Minute
	cmd.ExtraFiles = []*os.File{write}
	cmd.SysProcAttr = endsWithParent()
	tail := &tailBuffer{}
	cmd.Stderr = io.MultiWriter(c.stderr, tail)
	if IsTerminal(c.stderr) {
		cmd.Stderr = c.stderr // so that the child's progress bar knows it is one
	}
	start, err := cmd.StdinPipe()
	if err == nil {
		err = cmd.Start()
	}
	write.Close()
	if err != nil {
		return Run{}, fmt.Errorf("start %s: %w", c.program[0], err)
	}
	group := limitMemory(cmd.Process.Pid, int64(c.job.Config.Memory))
	defer group.remove()
	// A child that ends before it has read its job says why by its end, not by this error.
	_ = json.NewEncoder(start).Encode(c.job)
	_ = start.Close()

	run, said := c.listen(results)
	err = cmd.Wait()
	switch {
	case said != nil:
		return Run{}, fmt.Errorf("%s: %w", c.job.Config.Engine, said)
	case ctx.Err() != nil:
		return Run{}, ctx.Err()
	case run == nil:
		return Run{}, c.unexpected(err, group, tail)
	case err != nil:
		return Run{}, fmt.Errorf("%s: its process: %w", c.job.Config.Engine, err)
	}
	run.Isolation = group.isolation()
	return *run, nil
}

// listen reads messages until the run or an error, or the end.
func (c *child) listen(results io.Reader) (run *Run, said error) {
	lines := json.NewDecoder(results)
	for {
		var m resultMessage
		if err := lines.Decode(&m); err != nil {
			return run, said
		}
		switch {
		case m.Phase != nil:
			c.phase(*m.Phase)
		case m.Error != nil:
			said = m.Error
		case m.Run != nil:
			run = m.Run
		}
	}
}

// unexpected explains a process that ended without a result.
func (c *child) unexpected(err error, group *memoryGroup, tail *tailBuffer) error {
	name := filepath.Base(c.program[0])
	text := fmt.Sprintf("%s: its process (%s) ended without a result", c.job.Config.Engine, name)
	if group.killed() > 0 {
		return fmt.Errorf("%s: the kernel killed it for going over --memory %s; give it more", text, c.job.Config.Memory)
	}
	if err != nil {
		text += ": " + err.Error()
	}
	if last := tail.last(); last != "" {
		text += "; it said: " + last
	}
	if name == peersName {
		text += "\n  try: make peers, if it is older than this kvbench"
	}
	return errors.New(text)
}

// tailBuffer keeps the last bytes written to it.
type tailBuffer struct{ b []byte }

func (t *tailBuffer) Write(p []byte) (int, error) {
	const keep = 4096
	t.b = append(t.b, p...)
	if over := len(t.b) - keep; over > 0 {
		t.b = append(t.b[:0], t.b[over:]...)
	}
	return len(p), nil
}

// last is the last line.
func (t *tailBuffer) last() string {
	lines := bytes.Split(bytes.TrimSpace(t.b), []byte("\n"))
	return strings.TrimSpace(string(lines[len(lines)-1]))
}
