// Command kvbench-peers holds the engines of others, Pebble, Badger and RocksDB, for kvbench, which
// runs it in a process for each measurement (make peers builds it beside kvbench):
//
//	kvbench run fillrandom,readrandom --engine cambium,pebble,rocksdb
//
// It takes no flags. With @serve it performs the job on standard input (see package perf), with @load it puts
// load on etcd or Redis (see package perf/cluster), with
// conditions it prints as JSON under which conditions the engines of the configuration on standard
// input are measured. Exit codes: 0 ok, 1 that failed, 2 it was called by hand.
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"

	"github.com/cambiumdb/cambium/perf"
	"github.com/cambiumdb/cambium/perf/cluster"
	"github.com/cambiumdb/cambium/perf/peers"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := run(ctx, os.Args[1:], os.Stdin, os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}

// run does what the first argument says and returns the exit code.
func run(ctx context.Context, args []string, in io.Reader, out io.Writer, stderr *os.File) int {
	var err error
	switch {
	case len(args) > 0 && args[0] == perf.ServeWord:
		err = perf.Serve(ctx, peers.Engines(), stderr)
	case len(args) > 0 && args[0] == cluster.ServeWord:
		err = cluster.Serve(ctx, peers.Targets(), in, out)
	case len(args) > 0 && args[0] == perf.ConditionsWord:
		err = conditions(in, out)
	default:
		fmt.Fprintf(stderr, "kvbench-peers is run by kvbench and holds %s\n  try: kvbench run fillrandom,readrandom --engine cambium,pebble\n",
			strings.Join(slices.Sorted(maps.Keys(peers.Engines())), ", "))
		return 2
	}
	if err != nil {
		fmt.Fprintln(stderr, "kvbench-peers:", err)
		return 1
	}
	return 0
}

// conditions answers a configuration with the fairness table of its engines.
func conditions(in io.Reader, out io.Writer) error {
	var cfg perf.Config
	if err := json.NewDecoder(in).Decode(&cfg); err != nil {
		return fmt.Errorf("read the configuration: %w", err)
	}
	return json.NewEncoder(out).Encode(peers.Fairness(cfg, strings.Split(cfg.Engine, ",")))
}
