package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/cambiumdb/cambium/engine"
	"github.com/cambiumdb/cambium/engine/inspect"
	"github.com/cambiumdb/cambium/perf"
)

// written is the result of a write, for programs: people get silence.
type written struct {
	Op string `json:"op"`
	inspect.Key
	OK bool `json:"ok"` // false: the compare-and-swap lost
}

// WriteText writes nothing.
func (*written) WriteText(io.Writer, inspect.Style) {}

// writing opens the database for writing, hands it to do and closes it. With create it is made
// where it is not there.
func (a *app) writing(create bool, do func(db *engine.DB) error) error {
	return a.writingWith(a.options(), create, do)
}

func (a *app) writingWith(opts *engine.Options, create bool, do func(db *engine.DB) error) error {
	if !create && !inspect.Exists(a.db) {
		return &statusError{code: exitUsage, err: fmt.Errorf("open %s: %w: there is no CURRENT in it", a.db, engine.ErrNotDatabase),
			try: "kvctl db put or load makes a database; is --db right?"}
	}
	db, err := engine.Open(a.db, opts)
	if err != nil {
		return err
	}
	err = do(db)
	return closed(err, db.Close())
}

// closed joins the errors of work and of the Close after it. A write that failed, and that
// Close could not undo either, may or may not be there: its outcome is unknown.
func closed(work, closing error) error {
	var status *statusError
	switch {
	case closing == nil || errors.Is(closing, engine.ErrClosed):
		return work
	case work == nil:
		return closing
	case errors.As(work, &status), errors.Is(work, engine.ErrInvalidArgument), errors.Is(work, engine.ErrCorruption):
		return work
	}
	return &statusError{code: exitUnknown, err: fmt.Errorf("%w; then closing failed too (%w); outcome UNKNOWN", work, closing),
		try: "read the key when the device is well again, then decide whether to write it again"}
}

func syncFlag(f *pflag.FlagSet, to *string, def engine.Sync) {
	f.StringVar(to, "sync", def.String(), "when a write counts as done: per-write (on the device), per-second, none")
}

func parseSync(s string) (engine.Sync, error) {
	for _, p := range []engine.Sync{engine.SyncPerWrite, engine.SyncPerSecond, engine.SyncNone} {
		if s == p.String() {
			return p, nil
		}
	}
	return 0, usagef("--sync %q: want per-write, per-second or none", s)
}

// writeFlags are common to the commands that write one key.
type writeFlags struct {
	sync  string
	ttl   time.Duration
	flags *pflag.FlagSet // tells a --ttl 0 from none
}

func (w *writeFlags) bind(cmd *cobra.Command, ttl bool) {
	w.flags = cmd.Flags()
	syncFlag(w.flags, &w.sync, engine.SyncPerWrite)
	_ = cmd.RegisterFlagCompletionFunc("sync", cobra.FixedCompletions([]string{"per-write", "per-second", "none"}, cobra.ShellCompDirectiveNoFileComp))
	if ttl {
		cmd.Flags().DurationVar(&w.ttl, "ttl", 0, "how long the value lives, such as 30s or 24h (default: for ever)")
	}
}

func (w *writeFlags) options() (*engine.WriteOptions, error) {
	policy, err := parseSync(w.sync)
	if err != nil {
		return nil, err
	}
	if w.flags.Changed("ttl") && w.ttl <= 0 {
		return nil, usagef("--ttl %v: want a positive duration; without --ttl the value stays", w.ttl)
	}
	return &engine.WriteOptions{Sync: policy, TTL: w.ttl}, nil
}

func (a *app) putCommand() *cobra.Command {
	var w writeFlags
	cmd := a.command("put KEY VALUE", "store a value", "Stores a value. The database is made where it is not there.", 2,
		func(_ context.Context, args []string) error {
			key, value, err := a.pair(args[0], args[1])
			if err != nil {
				return err
			}
			opts, err := w.options()
			if err != nil {
				return err
			}
			err = a.writing(true, func(db *engine.DB) error { return db.Put(key, value, opts) })
			if err != nil {
				return err
			}
			return a.printer(false).Report(&written{"put", inspect.NewKey(key), true})
		})
	a.dbFlag(cmd)
	a.hexFlag(cmd.Flags())
	w.bind(cmd, true)
	return cmd
}

func (a *app) pair(k, v string) (key, value []byte, err error) {
	if key, err = a.key(k); err != nil {
		return nil, nil, err
	}
	value, err = a.bytes("VALUE", v)
	return key, value, err
}

func (a *app) delCommand() *cobra.Command {
	var w writeFlags
	cmd := a.command("del KEY", "remove a key", "Removes a key. Removing what is not there is no error.", 1,
		func(_ context.Context, args []string) error {
			key, err := a.key(args[0])
			if err != nil {
				return err
			}
			opts, err := w.options()
			if err != nil {
				return err
			}
			if err := a.writing(false, func(db *engine.DB) error { return db.Delete(key, opts) }); err != nil {
				return err
			}
			return a.printer(false).Report(&written{"del", inspect.NewKey(key), true})
		})
	a.dbFlag(cmd)
	a.hexFlag(cmd.Flags())
	w.bind(cmd, false)
	return cmd
}

func (a *app) casCommand() *cobra.Command {
	var w writeFlags
	var old string
	absent := false
	cmd := a.command("cas KEY NEW (--old OLD | --absent)", "store a value if the present one is as expected",
		"Sets KEY to NEW if its value is OLD, or if it has none with --absent. Exits with 1\nwhere it is something else. The database is made where it is not there.", 2,
		func(_ context.Context, args []string) error {
			key, value, err := a.pair(args[0], args[1])
			if err != nil {
				return err
			}
			var expected []byte
			if !absent {
				if expected, err = a.bytes("--old", old); err != nil {
					return err
				}
			}
			opts, err := w.options()
			if err != nil {
				return err
			}
			return a.swap(key, expected, value, opts)
		})
	a.dbFlag(cmd)
	a.hexFlag(cmd.Flags())
	w.bind(cmd, true)
	cmd.Flags().StringVar(&old, "old", "", "the value that must be there; an empty one is a value")
	cmd.Flags().BoolVar(&absent, "absent", false, "the key must not be there")
	cmd.MarkFlagsOneRequired("old", "absent")
	cmd.MarkFlagsMutuallyExclusive("old", "absent")
	return cmd
}

// swap does a compare-and-swap; old nil means that the key must be absent.
func (a *app) swap(key, old, value []byte, opts *engine.WriteOptions) error {
	swapped := false
	err := a.writing(true, func(db *engine.DB) (err error) {
		swapped, err = db.CompareAndSwap(key, old, value, opts)
		return err
	})
	if err != nil {
		return err
	}
	if err := a.printer(false).Report(&written{"cas", inspect.NewKey(key), swapped}); err != nil || swapped {
		return err
	}
	expected := "it to be absent"
	if old != nil {
		expected = fmt.Sprintf("%q", old)
	}
	return &statusError{code: exitNotFound, err: fmt.Errorf("cas %q: lost: the present value is not as expected (%s)", key, expected),
		try: fmt.Sprintf("kvctl db get --db %s KEY, then swap against what it prints", a.db)}
}

// maintained is the result of a compaction or checkpoint.
type maintained struct {
	Op      string          `json:"op"`
	Dir     string          `json:"dir,omitempty"` // of the checkpoint
	Before  int64           `json:"bytes_before,omitempty"`
	After   int64           `json:"bytes_after,omitempty"`
	Elapsed float64         `json:"seconds"`
	Writes  *inspect.Writes `json:"writes,omitempty"`
}

// WriteText writes the result and the bytes written by cause.
func (m *maintained) WriteText(w io.Writer, s inspect.Style) {
	if m.Op == "checkpoint" {
		fmt.Fprintf(w, "checkpoint in %s\n", m.Dir)
		return
	}
	fmt.Fprintf(w, "compacted: tables and blob files took %s, now %s\n", perf.Bytes(m.Before), perf.Bytes(m.After))
	if m.Writes != nil {
		m.Writes.WriteText(w, s)
	}
}

func (a *app) compactCommand() *cobra.Command {
	var from, to string
	cmd := a.command("compact", "rewrite tables so that dead entries give their space back",
		"Rewrites every table that holds keys of the range down to the last level.", 0,
		func(ctx context.Context, _ []string) error {
			bounds, err := a.iterOptions(scanFlags{from: from, to: to})
			if err != nil {
				return err
			}
			result := &maintained{Op: "compact"}
			err = a.writing(false, func(db *engine.DB) error {
				// An interrupt closes the database, which ends the compaction.
				stop := context.AfterFunc(ctx, func() { _ = db.Close() })
				defer stop()
				start := time.Now()
				result.Before = stored(db)
				err := db.Compact(bounds.Lower, bounds.Upper)
				result.After, result.Elapsed = stored(db), time.Since(start).Seconds()
				result.Writes = inspect.WritesOf(db.Metrics().Ledger)
				return err
			})
			if err != nil {
				return err
			}
			return a.printer(false).Report(result)
		})
	a.dbFlag(cmd)
	a.hexFlag(cmd.Flags())
	cmd.Flags().StringVar(&from, "from", "", "first key (default: the first there is)")
	cmd.Flags().StringVar(&to, "to", "", "key to stop before (default: none)")
	return cmd
}

func stored(db *engine.DB) int64 {
	s := db.Metrics().Space
	return s.Tables + s.Blobs
}

func (a *app) checkpointCommand() *cobra.Command {
	cmd := a.command("checkpoint TARGET", "make a second database that holds the same",
		"Makes the directory TARGET, which must not exist or be empty, a complete database.\nTables are linked where the file system can, so it costs little space.", 1,
		func(_ context.Context, args []string) error {
			start := time.Now()
			err := a.writing(false, func(db *engine.DB) error { return db.Checkpoint(args[0]) })
			if err != nil {
				return err
			}
			return a.printer(false).Report(&maintained{Op: "checkpoint", Dir: args[0], Elapsed: time.Since(start).Seconds()})
		})
	a.dbFlag(cmd)
	cmd.ValidArgsFunction = nil
	return cmd
}
