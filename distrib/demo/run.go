package demo

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"golang.org/x/term"
)

// Options of a demo.
type Options struct {
	ProcessOptions
	Exec      *string // statements to carry out; nil: none are given
	KeepGoing bool    // also after one that fails
	Tour      bool    // the guided tour, which is also what happens without Exec where Stdin is no terminal

	Stdin          *os.File
	Stdout, Stderr io.Writer
}

// Run starts nodes, carries out statements, those of a tour or those that somebody types, and ends the nodes. It
// returns the exit code.
func Run(ctx context.Context, o Options) (code int) {
	fail := func(code int, err error) int {
		fmt.Fprintln(o.Stderr, "kvnode demo:", err)
		return code
	}
	terminal := term.IsTerminal(int(o.Stdin.Fd()))
	tour := o.Tour || o.Exec == nil && !terminal
	if o.Exec != nil {
		if o.Tour {
			return fail(exitUsage, errors.New("both --tour and --exec: one of them was expected"))
		}
		if _, err := parse(*o.Exec); err != nil {
			return fail(exitUsage, err)
		}
	}
	if tour && o.Count != 0 && o.Count != tourNodes {
		return fail(exitUsage, fmt.Errorf("the tour is one of %d nodes, not of %d: leave --nodes away, or give statements with --exec", tourNodes, o.Count))
	}
	if o.Count < 0 || o.Count > MaxNodes {
		return fail(exitUsage, fmt.Errorf("%d nodes: 1 to %d are possible", o.Count, MaxNodes))
	}
	began := time.Now()
	nodes, err := StartProcesses(ctx, o.ProcessOptions)
	if err != nil {
		return failed(ctx, fail, exitUnavailable, err)
	}
	defer func() {
		if err := nodes.Close(); err != nil && code == exitOK {
			code = fail(exitUnavailable, err)
		}
	}()
	shell := NewShell(nodes, o.Stdout)
	if err := shell.Settle(ctx); err != nil {
		return failed(ctx, fail, exitUnavailable, err)
	}
	if o.Exec != nil {
		code, err = shell.Exec(ctx, *o.Exec, o.KeepGoing)
		if err != nil {
			return failed(ctx, fail, code, err)
		}
		return code
	}
	shell.printf("%s, each a kvnode process of its own, started in %s.\n", plural(len(nodes.List()), "node"), time.Since(began).Round(100*time.Millisecond))
	if tour {
		if code, err = shell.tour(ctx); err != nil {
			return failed(ctx, fail, code, err)
		}
	}
	shell.printf("%s\n", connecting(nodes.List()))
	if code != exitOK || !terminal {
		shell.printf("The demo ends here, and its nodes with it. Run in a terminal, it goes on with a shell.\n")
		return code
	}
	shell.printf("Logs are in %s. \\help lists what you can type; Ctrl-D or \\quit ends the demo and its nodes.\n\n", nodes.opts.Dir)
	if err := shell.interact(ctx, o.Stdin); err != nil {
		return failed(ctx, fail, exitUnavailable, err)
	}
	return exitOK
}

const exitInterrupted = 130

// failed tells what went wrong, unless it was somebody's wish to end.
func failed(ctx context.Context, fail func(int, error) int, code int, err error) int {
	if ctx.Err() != nil {
		return fail(exitInterrupted, errors.New("interrupted"))
	}
	return fail(code, err)
}
