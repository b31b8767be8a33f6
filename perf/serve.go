package perf

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime/debug"

	"github.com/cambiumdb/cambium/engine"
)

// The words that make a program serve another kvbench, its first argument: that is how every
// engine gets a process of its own, and how kvbench measures engines that only kvbench-peers holds.
const (
	ServeWord = "@serve" // Serve; behind it stands the name of the engine, for people who look at processes
	// ConditionsWord makes kvbench-peers read a Config from standard input, as JSON, and print the
	// Conditions of its engines.
	ConditionsWord = "conditions"
)

// protocol numbers the form of jobs and messages; both sides must have the same.
const protocol = 1

// jobMessage is what a serving process reads.
type jobMessage struct {
	Protocol int    `json:"protocol"`
	Dir      string `json:"dir"`
	Config   Config `json:"config"`
	Task     Task   `json:"task"`
}

// resultMessage is a line that a serving process writes: a phase when it is over, at last the
// run or an error.
type resultMessage struct {
	Phase *Phase       `json:"phase,omitempty"`
	Run   *Run         `json:"run,omitempty"`
	Error *remoteError `json:"error,omitempty"`
}

// remoteError is an error of another process. Kind keeps what callers branch on.
type remoteError struct {
	Kind string `json:"kind"` // "usage", "corruption", "locked", "interrupted", ""
	Text string `json:"text"`
}

func newRemoteError(err error) *remoteError {
	r := &remoteError{Text: err.Error()}
	var usage *UsageError
	switch {
	case errors.As(err, &usage):
		r.Kind = "usage"
	case errors.Is(err, engine.ErrCorruption):
		r.Kind = "corruption"
	case errors.Is(err, engine.ErrLocked):
		r.Kind = "locked"
	case errors.Is(err, context.Canceled):
		r.Kind = "interrupted"
	}
	return r
}

// Error is the text that the error had in its own process.
func (r *remoteError) Error() string { return r.Text }

// Unwrap gives back what Kind stands for.
func (r *remoteError) Unwrap() error {
	switch r.Kind {
	case "usage":
		return &UsageError{msg: r.Text}
	case "corruption":
		return engine.ErrCorruption
	case "locked":
		return engine.ErrLocked
	case "interrupted":
		return context.Canceled
	}
	return nil
}

// serve performs one job. The error is about the conversation only; the job's own goes to out.
func serve(ctx context.Context, engines Engines, in io.Reader, out io.Writer, stderr *os.File) error {
	var job jobMessage
	if err := json.NewDecoder(in).Decode(&job); err != nil {
		return fmt.Errorf("read the job: %w", err)
	}
	if job.Protocol != protocol {
		return fmt.Errorf("the job is of protocol %d, this program speaks %d: build both from one source", job.Protocol, protocol)
	}
	lines := json.NewEncoder(out)
	run, err := func() (Run, error) {
		open, err := engines.Find(job.Config.Engine)
		if err != nil {
			return Run{}, err
		}
		if job.Config.Memory > 0 {
			debug.SetMemoryLimit(int64(job.Config.Memory))
		}
		var lost error
		b := Bench{
			Open: open, Config: job.Config,
			Progress: func(label, unit string, total int64) *Progress {
				return NewProgress(stderr, job.Config.Engine+" "+label, unit, total)
			},
			Done: func(p Phase) { lost = errors.Join(lost, lines.Encode(resultMessage{Phase: &p})) },
		}
		run, err := b.Perform(ctx, job.Dir, job.Task)
		return run, errors.Join(err, lost)
	}()
	if err != nil {
		return lines.Encode(resultMessage{Error: newRemoteError(err)})
	}
	return lines.Encode(resultMessage{Run: &run})
}

// Serve reads a job from standard input, performs it with the engines of this program, and writes
// what comes out to file descriptor 3.
func Serve(ctx context.Context, engines Engines, stderr *os.File) error {
	out := os.NewFile(3, "results")
	if out == nil {
		return Usagef("%s is for kvbench itself: it wants a job on standard input and descriptor 3", ServeWord)
	}
	return errors.Join(serve(ctx, engines, os.Stdin, out, stderr), out.Close())
}
