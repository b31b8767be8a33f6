// Command kvbench measures storage engines: throughput, latency, where each written byte went,
// and what the machine offers. The measuring is package perf's.
//
//	kvbench run fillrandom,readrandom --keys 1000000 --value-size 1000
//	kvbench load packages.jsonl.zst
//	kvbench writeamp --keys 2000000 --value-size 500 --memtable 4MiB --compression none
//	kvbench doctor
//
// Exit codes: 0 ok; 1 the measurement failed, or one of its own checks did (a wrong value, a
// ledger more than 3 % from the kernel's count, a failed doctor check), or it was interrupted;
// 2 usage; 5 corruption; 6 the directory is locked by another process.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/cambiumdb/cambium/engine"
	"github.com/cambiumdb/cambium/perf"
)

func main() {
	// A reader that closes standard output (head) or a terminal that goes away ends the measurement as
	// an interrupt does, so that nothing temporary stays behind.
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	ctx, cancel := context.WithCancel(ctx)
	broken := make(chan os.Signal, 1)
	signal.Notify(broken, syscall.SIGPIPE)
	go func() {
		for range broken {
			if perf.Abandoned(os.Stdout) { // else it is a connection to a server that was killed
				cancel()
			}
		}
	}()
	code := run(ctx, os.Args[1:])
	cancel()
	stop()
	os.Exit(code)
}

// run executes one command line and returns the exit code.
func run(ctx context.Context, args []string) int {
	parsed := false
	root := rootCommand(&parsed)
	root.SetArgs(args)
	err := root.ExecuteContext(ctx)
	if ctx.Err() != nil && (err == nil || errors.Is(err, context.Canceled)) {
		err = errors.New("interrupted")
	}
	if err == nil {
		return 0
	}
	fmt.Fprintln(os.Stderr, "kvbench:", err)
	if !parsed {
		fmt.Fprintln(os.Stderr, "try: kvbench --help")
		return 2
	}
	return exitCode(err)
}

func exitCode(err error) int {
	var usage *perf.UsageError
	switch {
	case errors.As(err, &usage):
		return 2
	case errors.Is(err, engine.ErrCorruption):
		return 5
	case errors.Is(err, engine.ErrLocked):
		return 6
	}
	return 1
}
