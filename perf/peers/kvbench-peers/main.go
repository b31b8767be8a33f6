// Command kvbench-peers is kvbench with other engines beside cambium: Pebble, Badger and RocksDB.
// It is built on demand (make peers) and prints the same reports.
//
//	kvbench-peers run fillrandom,readrandom --engine cambium,pebble,rocksdb --keys 100000
//	kvbench-peers writeamp --engine pebble --keys 1000000
//	kvbench-peers fairness --engine cambium,pebble,badger,rocksdb
//
// Exit codes are kvbench's: 0 ok, 1 a measurement or a check failed, 2 usage.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/cambiumdb/cambium/perf"
	"github.com/cambiumdb/cambium/perf/peers"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}

// run executes one command line and returns the exit code.
func run(ctx context.Context, args []string, stdout, stderr *os.File) int {
	c := &perf.Command{
		Engines: peers.Engines(), Config: perf.DefaultConfig(), Runs: 1,
		Args: append([]string{"kvbench-peers"}, args...), Stdout: stdout, Stderr: stderr,
	}
	c.Config.Engine = strings.Join(names(c.Engines), ",")
	parsed := false
	root := rootCommand(c, &parsed)
	root.SetArgs(args)
	root.SetOut(stdout)
	root.SetErr(stderr)
	err := root.ExecuteContext(ctx)
	if err == nil {
		return 0
	}
	fmt.Fprintln(stderr, "kvbench-peers:", err)
	var usage *perf.UsageError
	if !parsed || errors.As(err, &usage) {
		return 2
	}
	return 1
}

// names are the engines that run at once by default: one of each, in order.
func names(engines perf.Engines) []string {
	var list []string
	for _, name := range []string{"cambium", "pebble", "badger", "rocksdb"} {
		if engines[name] != nil {
			list = append(list, name)
		}
	}
	return list
}

// rootCommand builds the command tree over c. parsed is set when flags and arguments were
// accepted and a command begins.
func rootCommand(c *perf.Command, parsed *bool) *cobra.Command {
	all := make([]string, 0, len(c.Engines))
	for name := range c.Engines {
		all = append(all, name)
	}
	slices.Sort(all)
	root := &cobra.Command{
		Use:           "kvbench-peers",
		Short:         "measure cambium beside other storage engines",
		Long:          "kvbench with other engines beside cambium. Built in: " + strings.Join(all, ", ") + ".",
		SilenceErrors: true,
		SilenceUsage:  true,
	}
	cmd := func(use, short string, args cobra.PositionalArgs, body func(ctx context.Context, args []string) error) *cobra.Command {
		sub := &cobra.Command{Use: use, Short: short, Args: args, RunE: func(cmd *cobra.Command, args []string) error {
			*parsed = true
			return body(cmd.Context(), args)
		}}
		flags(sub, c)
		root.AddCommand(sub)
		return sub
	}
	cmd("run WORKLOAD[,WORKLOAD..]", "run workloads in order and report each", cobra.MinimumNArgs(1),
		func(ctx context.Context, args []string) error {
			return errors.Join(conditions(c), c.RunWorkloads(ctx, args...))
		})
	cmd("writeamp", "report write amplification by cause and level, space, and the work of a get", cobra.NoArgs,
		func(ctx context.Context, _ []string) error {
			return errors.Join(conditions(c), c.WriteAmp(ctx, "uniform"))
		})
	var generate int64
	verify := true
	load := cmd("load [FILE.jsonl|FILE.jsonl.zst]", "load a data set, read it back and verify it", cobra.MaximumNArgs(1),
		func(ctx context.Context, args []string) error {
			return errors.Join(conditions(c), c.LoadData(ctx, strings.Join(args, ""), generate, verify))
		})
	load.Flags().Int64Var(&generate, "generate", 0, "make up this many records instead of reading a file")
	load.Flags().BoolVar(&verify, "verify", verify, "compare every value that is read back, and scan everything")
	cmd("fairness", "print under which conditions each engine is measured", cobra.NoArgs,
		func(context.Context, []string) error { return fairness(c) })
	return root
}

// flags binds what kvbench binds, by the same names.
func flags(cmd *cobra.Command, c *perf.Command) {
	f, cfg := cmd.Flags(), &c.Config
	f.StringVar(&c.Dir, "dir", c.Dir, "directory to measure in, kept afterwards (default: a temporary one, removed)")
	f.StringVar(&c.JSON, "json", c.JSON, "write the report as JSON to this file; - writes it to stdout and the text to stderr")
	f.IntVar(&c.Runs, "runs", c.Runs, "how often to run, each time in a new directory")
	f.StringVar(&cfg.Engine, "engine", cfg.Engine, "engines to measure, separated by commas")
	f.StringVar(&cfg.Sync, "sync", cfg.Sync, "when a write is acknowledged: per-write (on the device), per-second, none")
	f.StringVar(&cfg.Compaction, "compaction", cfg.Compaction, "compaction policy")
	f.StringVar(&cfg.Compression, "compression", cfg.Compression, "of tables: default (snappy, zstd where most data lies), none, snappy, zstd")
	f.Var(&cfg.Memory, "memory", "limit of the process; an eighth, at least 64MiB, is kept from the engine's budget")
	f.Var(&cfg.Memtable, "memtable", "size at which a memtable is written out")
	f.IntVar(&cfg.Threads, "threads", cfg.Threads, "goroutines that perform operations")
	f.Uint64Var(&cfg.Seed, "seed", cfg.Seed, "names the stream of operations and values")
	f.Int64Var(&cfg.Keys, "keys", cfg.Keys, "number of keys")
	f.IntVar(&cfg.KeySize, "key-size", cfg.KeySize, "bytes of a key")
	f.Var(&cfg.ValueSize, "value-size", "bytes of a value, such as 1000 or 64KiB")
	f.Float64Var(&cfg.Compressible, "compressible", cfg.Compressible, "how much smaller a good compressor makes the values; 1: not at all")
	f.Var(&cfg.Rate, "rate", "operations per second, begun on time whatever the engine does (open loop), or max (closed loop)")
	f.DurationVar(&cfg.Duration, "duration", cfg.Duration, "how long each workload runs, instead of a number of operations; fills always write every key")
	f.Int64Var(&cfg.Ops, "ops", cfg.Ops, "operations of each workload that is not a fill (default: as many as keys, a tenth for scans)")
}

// measured are the engines of a command line.
func measured(c *perf.Command) []string {
	return strings.FieldsFunc(c.Config.Engine, func(r rune) bool { return r == ',' || r == ' ' })
}

// conditions prints the fairness table before a measurement, where the text goes.
func conditions(c *perf.Command) error {
	w := c.Stdout
	if c.JSON == "-" {
		w = c.Stderr
	}
	err := peers.PrintFairness(w, peers.Fairness(c.Config, measured(c)), measured(c))
	fmt.Fprintln(w)
	return err
}

// fairness prints the table, as JSON with --json.
func fairness(c *perf.Command) error {
	if c.JSON == "" {
		return conditions(c)
	}
	text, err := json.MarshalIndent(peers.Fairness(c.Config, measured(c)), "", "  ")
	if err != nil {
		return err
	}
	text = append(text, '\n')
	if c.JSON == "-" {
		_, err = c.Stdout.Write(text)
		return err
	}
	return os.WriteFile(c.JSON, text, 0o666)
}
