package main

import (
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/cambiumdb/cambium/perf"
)

// rootCommand builds the command tree. parsed is set when flags and arguments were accepted and
// a command begins.
func rootCommand(parsed *bool) *cobra.Command {
	root := &cobra.Command{
		Use:   "kvbench",
		Short: "measure storage engines: speed, latency, and where each written byte went",
		Long: `kvbench measures storage engines. Every engine meets the same operations, made
from --seed; latency counts from the intended start unless --rate is max (open
loop); the engine's ledger of written bytes stands beside the kernel's count.

Exit codes: 0 ok; 1 the measurement or one of its own checks failed (a wrong
value, a ledger more than 3 % from the kernel's count); 2 usage; 5 corruption;
6 the directory is locked. An interrupt, or a reader of stdout that goes away,
ends a measurement with 1; what was temporary is removed. NO_COLOR is honoured. Results go to stdout, the
progress bar to stderr.`,
		SilenceErrors: true,
		SilenceUsage:  true,
		RunE: func(cmd *cobra.Command, _ []string) error {
			*parsed = true
			return cmd.Help()
		},
		Args: cobra.NoArgs,
	}
	root.AddCommand(runCommand(parsed), ycsbCommand(parsed), loadCommand(parsed), writeampCommand(parsed), scenarioCommand(parsed), clusterCommand(parsed), compareCommand(parsed), doctorCommand(parsed), serveCommand(parsed), clientsCommand(parsed))
	return root
}

func newCommand() *perf.Command {
	return &perf.Command{
		Engines: perf.BuiltIn(),
		Config:  perf.DefaultConfig(),
		Runs:    1,
		Args:    os.Args,
		Stdout:  os.Stdout,
		Stderr:  os.Stderr,
	}
}

// outputFlags binds where to measure and where results go.
func outputFlags(f *pflag.FlagSet, c *perf.Command) {
	f.StringVar(&c.Dir, "dir", c.Dir, "directory to measure in, kept afterwards (default: a temporary one, removed)")
	f.StringVar(&c.JSON, "json", c.JSON, "write the report as JSON to this file; - writes it to stdout and the text to stderr")
	f.StringVar(&c.HTML, "html", c.HTML, "write the report with charts to this file, which needs nothing from elsewhere")
	f.StringVar(&c.Markdown, "markdown", c.Markdown, "put the tables into this Markdown file, as the section called --title")
	f.StringVar(&c.Title, "title", c.Title, "section of --markdown; one that is there is replaced (default: the command)")
	f.StringVar(&c.Benchstat, "benchstat", c.Benchstat, "write lines in the format of Go's benchmarks to this file; - writes them to stdout after the text")
}

// engineFlags binds how the engine is set up.
func engineFlags(f *pflag.FlagSet, c *perf.Command) {
	f.StringVar(&c.Config.Engine, "engine", c.Config.Engine, "engines to measure, separated by commas: cambium, and pebble, badger, rocksdb of kvbench-peers")
	f.StringVar(&c.Config.Sync, "sync", c.Config.Sync, "when a write is acknowledged: per-write (on the device), per-second, none")
	f.StringVar(&c.Config.Compaction, "compaction", c.Config.Compaction, "compaction policy: leveled, tiered, lazy")
	f.Var(&c.Config.Memory, "memory", "limit of each engine's process and memory cgroup; an eighth, at least 64MiB, is kept from the engine's budget (default: the engine's own budget)")
	f.Var(&c.Config.Memtable, "memtable", "size at which a memtable is written out (default: the engine's own)")
	f.Var(&c.Config.ValueThreshold, "value-threshold", "length from which cambium keeps values apart, in blob files (default: the engine's own)")
	f.Var(&c.Config.CompactionRate, "compaction-rate", "bytes a second that cambium's compactions write at most (default: what the load leaves)")
	f.DurationVar(&c.Config.MaxStall, "max-stall", c.Config.MaxStall, "how long a write of cambium waits for background work before it fails (default: the engine's own)")
	f.StringVar(&c.Config.Compression, "compression", c.Config.Compression, "of tables: default (snappy, zstd where most data lies), none, snappy, zstd")
	f.IntVar(&c.Config.Threads, "threads", c.Config.Threads, "goroutines that perform operations")
	f.Uint64Var(&c.Config.Seed, "seed", c.Config.Seed, "names the stream of operations and values")
}

// keyFlags binds the shape of generated keys and values.
func keyFlags(f *pflag.FlagSet, c *perf.Command) {
	f.Int64Var(&c.Config.Keys, "keys", c.Config.Keys, "number of keys")
	f.IntVar(&c.Config.KeySize, "key-size", c.Config.KeySize, "bytes of a key")
	f.Var(&c.Config.ValueSize, "value-size", "bytes of a value, such as 1000 or 64KiB")
	f.Float64Var(&c.Config.Compressible, "compressible", c.Config.Compressible, "how much smaller a good compressor makes the values; 1: not at all")
	f.Var(&c.Config.Rate, "rate", "operations per second, begun on time whatever the engine does (open loop); max: as fast as it goes (closed loop); auto: max, then 70 % of what that was, but fills once")
}

func runCommand(parsed *bool) *cobra.Command {
	c := newCommand()
	cmd := &cobra.Command{
		Use:   "run WORKLOAD[,WORKLOAD..]",
		Short: "run workloads in order and report each",
		Long: "Runs workloads in order over one directory, settling after each that writes:\n" + listWorkloads(perf.Workloads()) + `

A sequence that begins with reads in an empty directory gets a fillrandom in front.`,
		Example: "  kvbench run fillrandom,readrandom,readmissing --keys 1000000 --value-size 1000\n" +
			"  kvbench run fillrandom,overwrite --engine cambium,pebble,rocksdb --runs 3 --memory 1GiB\n" +
			"  kvbench run overwrite --rate 20000 --duration 60s --sync per-write --threads 16",
		Args: cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			*parsed = true
			return c.RunWorkloads(cmd.Context(), args...)
		},
	}
	workloadFlags(cmd.Flags(), c)
	return cmd
}

func ycsbCommand(parsed *bool) *cobra.Command {
	c := newCommand()
	cmd := &cobra.Command{
		Use:   "ycsb A[,B,C,D,E,F]",
		Short: "load records and run core workloads of YCSB",
		Long: "Loads --keys records into a new directory and runs core workloads in order,\nsettling after each that writes:\n" +
			listWorkloads(perf.YCSB()) + `

Zipfian means YCSB's scrambled zipfian with 0.99. Every engine meets the same
operations; their hash is printed.`,
		Example: "  kvbench ycsb A,B,C,D,E,F --engine cambium,pebble --threads 4",
		Args:    cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			*parsed = true
			return c.YCSB(cmd.Context(), args...)
		},
	}
	workloadFlags(cmd.Flags(), c)
	return cmd
}

func listWorkloads(list []*perf.Workload) string {
	var about strings.Builder
	for _, w := range list {
		about.WriteString("\n  " + w.Name + strings.Repeat(" ", 18-len(w.Name)) + w.About)
	}
	return about.String()
}

// workloadFlags binds what run and ycsb have in common.
func workloadFlags(f *pflag.FlagSet, c *perf.Command) {
	c.Config.Rate = perf.AutoRate
	keyFlags(f, c)
	engineFlags(f, c)
	outputFlags(f, c)
	f.DurationVar(&c.Config.Duration, "duration", c.Config.Duration, "how long each workload runs, instead of a number of operations; fills always write every key")
	f.Int64Var(&c.Config.Ops, "ops", c.Config.Ops, "operations of each workload that is not a fill (default: as many as keys, a tenth for scans)")
	f.IntVar(&c.Runs, "runs", c.Runs, "how often to run the whole sequence; the median is reported")
}

func loadCommand(parsed *bool) *cobra.Command {
	c := newCommand()
	var generate int64
	verify := true
	cmd := &cobra.Command{
		Use:   "load [FILE.jsonl|FILE.jsonl.zst]",
		Short: "load a data set, read it back and verify it",
		Long: `Loads a data set, settles, reads every key back in the order of the set and
compares each byte. A line of the file is {"key": "..", "value": ".."}, or key64
and value64 for bytes in base64.`,
		Example: "  kvbench load packages.jsonl.zst\n  kvbench load --generate 60000",
		Args:    cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			*parsed = true
			path := ""
			if len(args) == 1 {
				path = args[0]
			}
			return c.LoadData(cmd.Context(), path, generate, verify)
		},
	}
	engineFlags(cmd.Flags(), c)
	outputFlags(cmd.Flags(), c)
	cmd.Flags().Int64Var(&generate, "generate", 0, "make up this many records instead of reading a file")
	cmd.Flags().BoolVar(&verify, "verify", verify, "compare every value that is read back, and scan everything")
	cmd.Flags().IntVar(&c.Runs, "runs", c.Runs, "how often to load, each time into a new directory")
	return cmd
}

func writeampCommand(parsed *bool) *cobra.Command {
	c := newCommand()
	c.Config.Engine, c.Config.Compaction = perf.WriteAmpEngines, "leveled,tiered,lazy"
	distribution := "uniform"
	cmd := &cobra.Command{
		Use:   "writeamp",
		Short: "report write amplification by cause and level, space, and the work of a get",
		Long: `Loads all keys in random order, settles, overwrites as many uniformly drawn keys,
settles, and reports for both steps: bytes written for each byte accepted, by
cause and level, beside the kernel's count and what the policy's formula says;
space on the device for each live byte, settled, average and peak; sorted runs;
what a get meets; and for each point of another engine which policy of cambium
writes how much less in no more space. Unless --engine says otherwise, engines
that cannot be had here are left out.`,
		Example: "  kvbench writeamp --keys 2000000 --value-size 500 --memtable 4MiB --compression none",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			*parsed = true
			c.Optional = !cmd.Flags().Changed("engine")
			return c.WriteAmp(cmd.Context(), distribution)
		},
	}
	keyFlags(cmd.Flags(), c)
	engineFlags(cmd.Flags(), c)
	outputFlags(cmd.Flags(), c)
	cmd.Flags().StringVar(&distribution, "distribution", distribution, "how the keys of the overwrites are drawn: uniform, zipfian (YCSB's, 0.99)")
	cmd.Flags().Lookup("compaction").Usage = "compaction policies to report, separated by commas: leveled, tiered (of RocksDB universal), lazy"
	return cmd
}

func scenarioCommand(parsed *bool) *cobra.Command {
	c := newCommand()
	task := perf.Task{TTL: time.Minute, Idle: 2 * time.Minute}
	var about strings.Builder
	for _, s := range perf.Scenarios() {
		about.WriteString("\n  " + s.Name + strings.Repeat(" ", 18-len(s.Name)) + s.About)
	}
	cmd := &cobra.Command{
		Use:   "scenario NAME[,NAME..]",
		Short: "play situations that engines get into, and say what then holds",
		Long: "Plays scenarios, each in a new directory, and reports findings beside their targets:\n" + about.String() + `

A wrong answer is an error; a missed target is one with --strict. An engine that
lacks what a scenario is about says so.`,
		Example: "  kvbench scenario ttl-churn --keys 1000000 --ttl 60s\n  kvbench scenario queue,delete-all --keys 200000 --value-size 100",
		Args:    cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			*parsed = true
			return c.Scenarios(cmd.Context(), task, args...)
		},
	}
	f := cmd.Flags()
	keyFlags(f, c)
	engineFlags(f, c)
	outputFlags(f, c)
	f.DurationVar(&c.Config.Duration, "duration", c.Config.Duration, "how long the burst lasts (default 60s)")
	f.DurationVar(&task.TTL, "ttl", task.TTL, "time to live of ttl-churn's values")
	f.DurationVar(&task.Idle, "idle", task.Idle, "how long to wait, without a call, for space to come back")
	f.BoolVar(&c.Strict, "strict", c.Strict, "exit with 1 if a target is missed")
	return cmd
}

func compareCommand(parsed *bool) *cobra.Command {
	failIf := ""
	cmd := &cobra.Command{
		Use:   "compare BASE.json NEW.json",
		Short: "set two reports side by side; fail where a figure got worse",
		Long: `Prints every figure of both reports, each the median over its rounds, and exits
with 1 if the new one breaks a condition of --fail-if: a figure, < or >, and a
change in percent with its sign, or a number, time or size.`,
		Example: "  kvbench compare base.json new.json --fail-if 'p99>+10%,wa>+5%,throughput<-5%'",
		Args:    cobra.ExactArgs(2),
		RunE: func(_ *cobra.Command, args []string) error {
			*parsed = true
			return perf.CompareFiles(os.Stdout, args[0], args[1], failIf)
		},
	}
	cmd.Flags().StringVar(&failIf, "fail-if", failIf, "conditions separated by commas: p99>+10%, wa>4.5, max>100ms")
	return cmd
}

// serveCommand performs what another kvbench asks for.
func serveCommand(parsed *bool) *cobra.Command {
	return &cobra.Command{
		Use:    perf.ServeWord + " ENGINE",
		Hidden: true,
		Args:   cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, _ []string) error {
			*parsed = true
			return perf.Serve(cmd.Context(), perf.BuiltIn(), os.Stderr)
		},
	}
}

func doctorCommand(parsed *bool) *cobra.Command {
	c := newCommand()
	cmd := &cobra.Command{
		Use:   "doctor",
		Short: "check what this machine offers to a benchmark",
		Args:  cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			*parsed = true
			return c.Doctor()
		},
	}
	cmd.Flags().StringVar(&c.Dir, "dir", c.Dir, "directory whose file system to look at (default: the temporary directory)")
	cmd.Flags().StringVar(&c.JSON, "json", c.JSON, "write the checks as JSON to this file; - writes them to stdout and no text")
	return cmd
}
