package cluster

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/cambiumdb/cambium/internal/process"
)

// ServeWord is the argument with which a program is told to put load on servers: it calls Serve.
const ServeWord = "@load"

const protocol = 1

// answer is a line that Serve writes: of the job, and of each step.
type answer struct {
	Load  *Load  `json:"load,omitempty"`
	Error string `json:"error,omitempty"`
}

// Serve reads a job and then steps from in, JSON values all, and writes an answer for each to out. It
// returns when in ends, or at the first error, which it has written.
func Serve(ctx context.Context, targets Targets, in io.Reader, out io.Writer) (err error) {
	answers := json.NewEncoder(out)
	defer func() {
		if err != nil {
			err = errors.Join(err, answers.Encode(answer{Error: err.Error()}))
		}
	}()
	orders := json.NewDecoder(in)
	var job Job
	if err := orders.Decode(&job); err != nil {
		return fmt.Errorf("read the job: %w", err)
	}
	if job.Protocol != protocol {
		return fmt.Errorf("the job has protocol %d, this program %d: make build and make peers make them of one age", job.Protocol, protocol)
	}
	open := targets[job.Engine]
	if open == nil {
		return fmt.Errorf("engine %q is not in this program", job.Engine)
	}
	target, err := open(ctx, job)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, target.Close()) }()
	if err := answers.Encode(answer{}); err != nil {
		return err
	}
	l := newLoader(job, target)
	for {
		var s Step
		if err := orders.Decode(&s); err == io.EOF {
			return nil
		} else if err != nil {
			return fmt.Errorf("read a step: %w", err)
		}
		load, err := l.run(ctx, s)
		if err != nil {
			return err
		}
		if err := answers.Encode(answer{Load: &load}); err != nil {
			return err
		}
	}
}

// clients are the process that puts load on the servers of an engine.
type clients struct {
	engine  string
	cmd     *exec.Cmd
	orders  *json.Encoder
	stdin   io.Closer
	answers *json.Decoder
	stderr  *bytes.Buffer // not to be read before the process has ended
	ended   bool
}

// startClients starts the process and returns when it is connected. It ends with ctx.
func startClients(ctx context.Context, s *process.Spawner, program []string, job Job) (*clients, error) {
	job.Protocol = protocol
	c := &clients{engine: job.Engine, stderr: &bytes.Buffer{}}
	c.cmd = exec.CommandContext(ctx, program[0], ServeWord)
	c.cmd.Args[0] = program[len(program)-1]
	c.cmd.Stderr = c.stderr
	c.cmd.WaitDelay = time.Second
	stdin, err := c.cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	stdout, err := c.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := s.Spawn(c.cmd); err != nil {
		return nil, fmt.Errorf("start %s: %w", program[0], err)
	}
	c.stdin, c.orders, c.answers = stdin, json.NewEncoder(stdin), json.NewDecoder(stdout)
	if _, err := c.ask(ctx, job); err != nil {
		return nil, errors.Join(err, c.close())
	}
	return c, nil
}

// do has the clients perform a step.
func (c *clients) do(ctx context.Context, s Step) (Load, error) {
	load, err := c.ask(ctx, s)
	if err == nil && load == nil {
		err = fmt.Errorf("%s: no figures came of a step", c.engine)
	}
	if err != nil {
		return Load{}, err
	}
	return *load, nil
}

func (c *clients) ask(ctx context.Context, order any) (*Load, error) {
	_ = c.orders.Encode(order) // a process that has ended says why by its answer, or by its end
	var a answer
	err := c.answers.Decode(&a)
	switch {
	case ctx.Err() != nil:
		return nil, context.Cause(ctx)
	case err != nil:
		why := c.close()
		return nil, fmt.Errorf("%s: the process of its clients (%s) ended without an answer: %w", c.engine, filepath.Base(c.cmd.Path), errors.Join(err, why))
	case a.Error != "":
		return nil, fmt.Errorf("%s: %s", c.engine, a.Error)
	}
	return a.Load, nil
}

// close lets the process end.
func (c *clients) close() error {
	if c.ended {
		return nil
	}
	c.ended = true
	_ = c.stdin.Close()
	if err := c.cmd.Wait(); err != nil && c.cmd.ProcessState != nil && c.cmd.ProcessState.Exited() {
		return fmt.Errorf("%s: the process of its clients: %w: %s", c.engine, err, lastLine(c.stderr.String()))
	}
	return nil
}

func lastLine(s string) string {
	lines := strings.Split(strings.TrimSpace(s), "\n")
	return lines[len(lines)-1]
}
