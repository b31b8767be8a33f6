package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"unicode"
	"unicode/utf8"

	"github.com/spf13/cobra"

	"github.com/cambiumdb/cambium/engine"
	"github.com/cambiumdb/cambium/engine/inspect"
	"github.com/cambiumdb/cambium/perf"
)

func (a *app) getCommand() *cobra.Command {
	raw := false
	cmd := a.command("get KEY", "print the value of a key",
		`Prints the value as it is and a newline. A terminal gets binary values escaped.
Exits with 1 where the key is not there.`, 1,
		func(_ context.Context, args []string) error {
			key, err := a.key(args[0])
			if err != nil {
				return err
			}
			return a.reading(func(db *engine.DB) error {
				v, err := db.Get(key)
				if errors.Is(err, engine.ErrNotFound) {
					return &statusError{code: exitNotFound, err: fmt.Errorf("get %q: not found in %s", key, a.db),
						try: fmt.Sprintf("kvctl db explain --db %s %s", a.db, args[0])}
				}
				if err != nil {
					return err
				}
				return a.printValue(key, v, raw)
			})
		})
	a.dbFlag(cmd)
	a.hexFlag(cmd.Flags())
	cmd.Flags().BoolVar(&raw, "raw", false, "print exactly the bytes of the value, without a newline")
	return cmd
}

func (a *app) printValue(key, value []byte, raw bool) error {
	switch {
	case raw:
		_, err := a.stdout.Write(value)
		return err
	case a.format != inspect.Text:
		return a.printer(true).Report(inspect.NewPair(key, value))
	case a.hex:
		_, err := fmt.Fprintf(a.stdout, "%x\n", value)
		return err
	case perf.IsTerminal(a.stdout) && !printable(value):
		_, err := io.WriteString(a.stdout, inspect.Escape(value)+"\n")
		return err
	}
	_, err := a.stdout.Write(append(value, '\n'))
	return err
}

// printable reports whether b does a terminal no harm.
func printable(b []byte) bool {
	return utf8.Valid(b) && !bytes.ContainsFunc(b, func(r rune) bool {
		return unicode.IsControl(r) && r != '\n' && r != '\t' && r != '\r'
	})
}

// scanFlags are what bounds a scan.
type scanFlags struct {
	from, to, prefix         string
	limit                    int64
	reverse, count, keysOnly bool
}

func (a *app) scanCommand() *cobra.Command {
	var s scanFlags
	cmd := a.command("scan", "print keys and values in order",
		`Prints a line for each key: escaped key, tab, escaped value. With --hex a line is
hexkey hexvalue. -o jsonl prints what kvctl db load reads. A backslash is printed
doubled, newline, tab and carriage return as \n, \t, \r, other bytes that are not
printable UTF-8 as \xNN.`, 0,
		func(ctx context.Context, _ []string) error {
			opts, err := a.iterOptions(s)
			if err != nil {
				return err
			}
			return a.reading(func(db *engine.DB) error { return a.scan(ctx, db, s, opts) })
		})
	a.dbFlag(cmd)
	a.hexFlag(cmd.Flags())
	f := cmd.Flags()
	f.StringVar(&s.from, "from", "", "first key (default: the first there is)")
	f.StringVar(&s.to, "to", "", "key to stop before (default: none)")
	f.StringVar(&s.prefix, "prefix", "", "only keys that begin with this")
	f.Int64Var(&s.limit, "limit", 0, "print at most this many (0: all)")
	f.BoolVar(&s.reverse, "reverse", false, "from the last key to the first")
	f.BoolVar(&s.keysOnly, "keys-only", false, "print no values, and do not read large ones")
	f.BoolVar(&s.count, "count", false, "print only the number of keys")
	cmd.MarkFlagsMutuallyExclusive("prefix", "from")
	cmd.MarkFlagsMutuallyExclusive("prefix", "to")
	return cmd
}

func (a *app) iterOptions(s scanFlags) (*engine.IterOptions, error) {
	if s.limit < 0 {
		return nil, usagef("--limit %d: want 0 (all) or more", s.limit)
	}
	opts := &engine.IterOptions{}
	if s.prefix != "" {
		p, err := a.bytes("--prefix", s.prefix)
		if err != nil {
			return nil, err
		}
		opts = engine.Prefix(p)
	}
	for _, bound := range []struct {
		name, text string
		to         *[]byte
	}{{"--from", s.from, &opts.Lower}, {"--to", s.to, &opts.Upper}} {
		if bound.text == "" {
			continue
		}
		b, err := a.bytes(bound.name, bound.text)
		if err != nil {
			return nil, err
		}
		*bound.to = b
	}
	opts.KeysOnly = s.keysOnly || s.count
	return opts, nil
}

// counted is the result of scan --count.
type counted struct {
	Count int64 `json:"count"`
}

// WriteText writes the number.
func (c counted) WriteText(w io.Writer, _ inspect.Style) { fmt.Fprintln(w, c.Count) }

func (a *app) scan(ctx context.Context, db *engine.DB, s scanFlags, opts *engine.IterOptions) error {
	it := db.NewIterator(opts)
	defer it.Close()
	first, next := it.First, it.Next
	if s.reverse {
		first, next = it.Last, it.Prev
	}
	p := a.printer(true)
	if !s.count {
		p.Begin("pairs")
	}
	n := int64(0)
	var err error
	for ok := first(); ok && err == nil && (s.limit == 0 || n < s.limit); ok = next() {
		if n++; !s.count {
			err = p.Item(inspect.NewPair(it.Key(), it.Value()))
		}
		if n%1024 == 0 && err == nil {
			err = ctx.Err()
		}
	}
	if err == nil {
		err = it.Err()
	}
	if s.count && err == nil {
		return p.Report(counted{n})
	}
	return p.Close(err)
}

func (a *app) infoCommand() *cobra.Command {
	cmd := a.command("info", "print what the database is and holds",
		"Prints the database's id, sequence numbers, space, memory and files, and what\nRocksDB's OPTIONS file says where there is one.", 0,
		func(context.Context, []string) error {
			return a.reading(func(db *engine.DB) error {
				info, err := inspect.InfoOf(db, a.db)
				if err != nil {
					return err
				}
				return a.printer(false).Report(info)
			})
		})
	a.dbFlag(cmd)
	return cmd
}

func (a *app) lsmCommand() *cobra.Command {
	tables := false
	cmd := a.command("lsm", "print the levels of the tree",
		"Prints tables, size, sorted runs and score of each level; above 1 a level wants\ncompaction. Then what was written over the life of the directory, and why.", 0,
		func(context.Context, []string) error {
			return a.reading(func(db *engine.DB) error {
				tree, err := inspect.TreeOf(db, a.db, tables)
				if err != nil {
					return err
				}
				return a.printer(false).Report(tree)
			})
		})
	a.dbFlag(cmd)
	a.hexFlag(cmd.Flags())
	cmd.Flags().BoolVar(&tables, "tables", false, "list every table")
	return cmd
}

func (a *app) checkCommand() *cobra.Command {
	cmd := a.command("check", "read every byte and verify it",
		"Verifies checksums, order, counts and filters of every table and blob file, the\nmanifest's rules, and that the logs can be replayed. Changes nothing.", 0,
		func(ctx context.Context, _ []string) error {
			bar := perf.NewProgress(a.stderr, "check", "files", 0)
			report, err := inspect.CheckDir(ctx, a.db, a.options(), func(_ string, done, total int) {
				bar.Add(1)
				bar.At(int64(done), int64(total))
			})
			bar.Finish()
			if err != nil {
				return err
			}
			if err := a.printer(true).Report(report); err != nil {
				return err
			}
			if err := report.Err(); err != nil {
				code, _ := a.judge(err)
				return &statusError{code: code, err: err, try: "restore the files named from a checkpoint or a backup"}
			}
			return nil
		})
	a.dbFlag(cmd)
	return cmd
}

func (a *app) explainCommand() *cobra.Command {
	cmd := a.command("explain KEY", "say where a key lies and which place answers for it",
		"Prints every place that may hold the key, newest first; > marks the one that\ndecides. Exits with 0 where the key is not there, too.", 1,
		func(_ context.Context, args []string) error {
			key, err := a.key(args[0])
			if err != nil {
				return err
			}
			return a.reading(func(db *engine.DB) error {
				x, err := inspect.ExplainKey(db, key)
				if err != nil {
					return err
				}
				return a.printer(false).Report(x)
			})
		})
	a.dbFlag(cmd)
	a.hexFlag(cmd.Flags())
	return cmd
}
