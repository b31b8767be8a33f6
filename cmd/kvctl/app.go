package main

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strconv"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/cambiumdb/cambium/engine"
	"github.com/cambiumdb/cambium/engine/inspect"
	"github.com/cambiumdb/cambium/perf"
)

// app is one invocation.
type app struct {
	stdout, stderr *os.File

	output  string // -o
	verbose bool
	db      string // --db, where the command has it
	hex     bool   // --hex, where the command has it
	conn    connection

	format inspect.Format
	begun  bool // flags and arguments were accepted
}

// run executes one command line and returns the exit code.
func (a *app) run(ctx context.Context, args []string) int {
	root := a.rootCommand()
	root.SetArgs(args)
	root.SetOut(a.stdout)
	root.SetErr(a.stderr)
	cmd, err := root.ExecuteContextC(ctx)
	if err == nil {
		return exitOK
	}
	if !a.begun {
		err = &statusError{code: exitUsage, err: aboutFlags(err), try: cmd.CommandPath() + " --help"}
	}
	return a.report(ctx, err)
}

const longHelp = `kvctl looks into databases and their files and changes them, and reads and writes
clusters: get, put, del, cas, batch, scan, where, resolve, hints, repair and
cluster ask the nodes that --endpoint names.

Data goes to stdout, talk to stderr. -o chooses the form of the data: table for
people, json for one document, jsonl for one object a line. With --hex keys and
values are in hex, in arguments and in text. NO_COLOR is honoured.

Exit codes
  0    ok
  1    the key is not there, or the compare-and-swap lost, or others have written
       since what a linearizable write has seen
  2    usage: a flag, an argument, or a directory or file that is not what it should be
  3    unavailable: I/O error, full device, missing permission, unsupported feature;
       too few nodes of the cluster answer: nothing happened
  4    the outcome of a write is unknown: read the key to learn it, or kvctl resolve
  5    corruption
  6    another process has the database open for writing
  130  interrupted`

func (a *app) rootCommand() *cobra.Command {
	root := a.group("kvctl", "look into databases and clusters and change them", longHelp)
	root.SilenceErrors, root.SilenceUsage = true, true
	f := root.PersistentFlags()
	f.StringVarP(&a.output, "output", "o", string(inspect.Text), "form of the data on stdout: table, json or jsonl")
	f.BoolVar(&a.verbose, "verbose", false, "say on stderr what the engine logs")
	a.conn.bind(f)
	_ = root.RegisterFlagCompletionFunc("output", cobra.FixedCompletions([]string{string(inspect.Text), string(inspect.JSON), string(inspect.Lines)}, cobra.ShellCompDirectiveNoFileComp))

	db := a.group("db", "read and write the database in a directory", "")
	db.AddCommand(a.loadCommand(), a.ingestCommand(), a.putCommand(), a.getCommand(), a.delCommand(), a.casCommand(), a.scanCommand(),
		a.infoCommand(), a.lsmCommand(), a.checkCommand(), a.explainCommand(), a.compactCommand(), a.checkpointCommand())
	sst := a.group("sst", "look into a table file", "")
	sst.AddCommand(a.sstDumpCommand(), a.sstVerifyCommand())
	wal := a.group("wal", "look into a write-ahead log", "")
	wal.AddCommand(a.walDumpCommand())
	manifest := a.group("manifest", "look into a manifest", "")
	manifest.AddCommand(a.manifestDumpCommand())
	root.AddCommand(db, sst, wal, manifest, a.certCommand())
	root.AddCommand(a.onlineGetCommand(), a.onlinePutCommand(), a.onlineDelCommand(), a.onlineCasCommand(), a.batchCommand(), a.onlineScanCommand(),
		a.whereCommand(), a.resolveCommand(), a.hintsCommand(), a.repairCommand(), a.clusterCommand())
	return root
}

// group makes a command that only holds others.
func (a *app) group(use, short, long string) *cobra.Command {
	cmd := &cobra.Command{
		Use: use, Short: short, Long: long,
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				return nil
			}
			return noCommand(cmd, args[0])
		},
		RunE: func(cmd *cobra.Command, _ []string) error {
			a.begun = true
			return cmd.Help()
		},
		SuggestionsMinimumDistance: 2,
	}
	cmd.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		if cmd.HasSubCommands() && cmd.Flags().NArg() > 0 { // the flag is of what was meant
			return noCommand(cmd, cmd.Flags().Arg(0))
		}
		return err
	})
	return cmd
}

// noCommand says that a group does not hold a command of that name.
func noCommand(group *cobra.Command, name string) error {
	err := fmt.Errorf("%s: there is no command %q", group.CommandPath(), name)
	if near := group.SuggestionsFor(name); len(near) > 0 {
		err = fmt.Errorf("%w: did you mean %s?", err, strings.Join(near, ", "))
	}
	return err
}

// command makes a command that does something. The number of arguments is exact; -n is n or more.
func (a *app) command(use, short, long string, args int, do func(ctx context.Context, args []string) error) *cobra.Command {
	return &cobra.Command{
		Use: use, Short: short, Long: long,
		Args: func(cmd *cobra.Command, got []string) error {
			want := strconv.Itoa(args)
			if args < 0 {
				want = fmt.Sprintf("%d or more", -args)
			}
			if len(got) != args && (args >= 0 || len(got) < -args) {
				return fmt.Errorf("%s: got %d arguments, want %s: %s", cmd.CommandPath(), len(got), want, cmd.UseLine())
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			var err error
			if a.format, err = inspect.ParseFormat(a.output); err != nil {
				return err
			}
			if cmd.Flags().Lookup("db") != nil {
				if a.db == "" {
					return errors.New("--db is empty: want the directory of a database")
				}
				if info, err := os.Stat(a.db); err == nil && !info.IsDir() {
					return fmt.Errorf("--db %s is a file, want the directory of a database", a.db)
				}
			}
			a.begun = true
			return do(cmd.Context(), args)
		},
		ValidArgsFunction: cobra.NoFileCompletions,
	}
}

// dbFlag binds the directory, which must be given.
func (a *app) dbFlag(cmd *cobra.Command) {
	cmd.Flags().StringVar(&a.db, "db", "", "directory of the database")
	_ = cmd.MarkFlagRequired("db")
	_ = cmd.MarkFlagDirname("db")
}

func (a *app) hexFlag(f *pflag.FlagSet) {
	f.BoolVar(&a.hex, "hex", false, "keys and values are in hex, in arguments and in text output")
}

// printer returns the printer for stdout.
func (a *app) printer(full bool) *inspect.Printer {
	return inspect.NewPrinter(a.stdout, a.format, inspect.Style{
		Hex: a.hex, Full: full,
		Color: os.Getenv("NO_COLOR") == "" && perf.IsTerminal(a.stdout),
	})
}

// key reads a key from an argument. No key is empty.
func (a *app) key(arg string) ([]byte, error) {
	key, err := a.bytes("KEY", arg)
	if err == nil && len(key) == 0 {
		err = usagef("KEY is empty: a key has at least one byte")
	}
	return key, err
}

// bytes reads a key or value from an argument; name is for the error.
func (a *app) bytes(name, arg string) ([]byte, error) {
	if !a.hex {
		return []byte(arg), nil
	}
	digits := strings.TrimPrefix(arg, "0x")
	b, err := hex.DecodeString(digits)
	if err != nil {
		return nil, usagef("%s %q is not hex: want an even number of digits 0-9a-f", name, arg)
	}
	return b, nil
}

// options are the engine's options for every command.
func (a *app) options() *engine.Options {
	if !a.verbose {
		return &engine.Options{}
	}
	h := slog.NewTextHandler(a.stderr, &slog.HandlerOptions{Level: slog.LevelDebug})
	return &engine.Options{Logger: slog.New(h)}
}

// reading opens the database without changing anything and hands it to do.
func (a *app) reading(do func(db *engine.DB) error) error {
	db, err := engine.OpenReadOnly(a.db, a.options())
	if err != nil {
		return err
	}
	err = do(db)
	if e := db.Close(); err == nil {
		err = e
	}
	return err
}
