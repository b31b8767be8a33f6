package main

import (
	"context"
	"fmt"
	"os"

	"github.com/spf13/cobra"

	"github.com/cambiumdb/cambium/engine/inspect"
)

// fileCommand makes a command that reads one file, whose name the shell completes.
func (a *app) fileCommand(use, short, long string, do func(ctx context.Context, args []string) error) *cobra.Command {
	cmd := a.command(use, short, long, 1, func(ctx context.Context, args []string) error {
		if isDir(args[0]) {
			return usagef("%s is a directory, want a file in it", args[0])
		}
		return do(ctx, args)
	})
	cmd.ValidArgsFunction = nil
	return cmd
}

func isDir(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.IsDir()
}

func (a *app) sstDumpCommand() *cobra.Command {
	var from, to string
	var limit int
	var entries, blocks, full bool
	cmd := a.fileCommand("dump FILE", "print what a table is and holds",
		"Prints footer, index, filter, properties and range tombstones, and on demand every\ndata block or every entry.",
		func(_ context.Context, args []string) error {
			if limit < 0 {
				return usagef("--limit %d: want 0 (all) or more", limit)
			}
			bounds, err := a.iterOptions(scanFlags{from: from, to: to})
			if err != nil {
				return err
			}
			t, err := inspect.OpenTable(args[0])
			if err != nil {
				return err
			}
			defer t.Close()
			report, damage := t.Describe(blocks)
			p := a.printer(full)
			if !entries {
				if err := p.Report(report); err != nil {
					return err
				}
				return damage
			}
			p.Part("table", report)
			p.Begin("entries")
			err = t.Entries(inspect.Range{From: bounds.Lower, To: bounds.Upper, Limit: limit}, func(e *inspect.Entry) error { return p.Item(e) })
			if err == nil {
				err = damage
			}
			return p.Close(err)
		})
	a.hexFlag(cmd.Flags())
	f := cmd.Flags()
	f.BoolVar(&entries, "entries", false, "print every entry: key#sequence number,kind => value")
	f.BoolVar(&blocks, "blocks", false, "list the data blocks")
	f.BoolVar(&full, "full", false, "print values whole, however long")
	f.StringVar(&from, "from", "", "first key of --entries")
	f.StringVar(&to, "to", "", "key of --entries to stop before")
	f.IntVar(&limit, "limit", 0, "print at most this many entries (0: all)")
	return cmd
}

func (a *app) sstVerifyCommand() *cobra.Command {
	return a.fileCommand("verify FILE", "read every byte of a table and verify it",
		"Verifies checksums, order, counts, and that the filter finds every key.",
		func(ctx context.Context, args []string) error {
			check, err := inspect.VerifyTable(ctx, args[0])
			if check.Size > 0 || err == nil {
				if e := a.printer(false).Report(check); err == nil {
					err = e
				}
			}
			return err
		})
}

func (a *app) walDumpCommand() *cobra.Command {
	full := false
	cmd := a.fileCommand("dump FILE", "print the records of a log",
		"Prints each record with its writes, and how the log ends. A torn tail is what a\ncrash leaves; damage below what had been synced is corruption.",
		func(_ context.Context, args []string) error {
			p := a.printer(full)
			p.Begin("records")
			sum, err := inspect.DumpLog(args[0], func(r *inspect.LogRecord) error { return p.Item(r) })
			if sum == nil {
				return err
			}
			p.End()
			p.Part("log", sum)
			if err = p.Close(err); err == nil && sum.Records == 0 && sum.State == inspect.EndTorn {
				fmt.Fprintf(a.stderr, "no record could be read: is %s a write-ahead log?\n", args[0])
			}
			return err
		})
	a.hexFlag(cmd.Flags())
	cmd.Flags().BoolVar(&full, "full", false, "print values whole, however long")
	return cmd
}

func (a *app) manifestDumpCommand() *cobra.Command {
	cmd := a.fileCommand("dump FILE", "print the edits of a manifest and the tree they lead to", "",
		func(_ context.Context, args []string) error {
			p := a.printer(false)
			p.Begin("edits")
			sum, err := inspect.DumpManifest(args[0], func(e *inspect.Edit) error { return p.Item(e) })
			if sum == nil {
				return err
			}
			p.End()
			p.Part("manifest", sum)
			if err = p.Close(err); err == nil && sum.Edits == 0 && sum.State == inspect.EndTorn {
				fmt.Fprintf(a.stderr, "no edit could be read: is %s a manifest?\n", args[0])
			}
			return err
		})
	a.hexFlag(cmd.Flags())
	return cmd
}
