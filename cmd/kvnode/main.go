// Command kvnode is a node of a Cambium cluster, and a whole one to play with. The work is package distrib/node's, the
// play distrib/demo's.
//
//	kvnode demo
//	kvnode start --name n1 --dir /var/lib/cambium --listen 10.0.0.1:7800
//	kvnode start --name n2 --dir /var/lib/cambium --listen 10.0.0.2:7800 --join 10.0.0.1:7800
//
// Exit codes: 0 ok, of start after SIGTERM or an interrupt too; 2 usage; 3 the node could not start or stopped working;
// 6 its directory is locked by another process. Those of demo are distrib/demo's.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/cambiumdb/cambium/engine"
)

const (
	exitUsage       = 2
	exitUnavailable = 3
	exitLocked      = 6
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	code := run(ctx, os.Args[1:])
	stop()
	os.Exit(code)
}

// usageError is what another command line or file mends.
type usageError struct{ error }

func (e usageError) Unwrap() error { return e.error }

// run executes one command line and returns the exit code.
func run(ctx context.Context, args []string) int {
	begun := false
	root := &cobra.Command{
		Use: "kvnode", Short: "a node of a Cambium cluster", SilenceErrors: true, SilenceUsage: true,
		PersistentPreRun: func(*cobra.Command, []string) { begun = true },
	}
	root.AddCommand(startCommand(), configCommand(), demoCommand())
	root.SetArgs(args)
	err := root.ExecuteContext(ctx)
	if err == nil {
		return 0
	}
	var demo demoError
	if errors.As(err, &demo) {
		return int(demo)
	}
	fmt.Fprintln(os.Stderr, "kvnode:", err)
	switch {
	case !begun:
		fmt.Fprintln(os.Stderr, "  try: kvnode --help")
		return exitUsage
	case errors.As(err, new(usageError)):
		return exitUsage
	case errors.Is(err, engine.ErrLocked):
		return exitLocked
	}
	return exitUnavailable
}
