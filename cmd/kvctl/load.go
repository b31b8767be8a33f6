package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"time"

	"github.com/spf13/cobra"

	"github.com/cambiumdb/cambium/engine"
	"github.com/cambiumdb/cambium/engine/inspect"
	"github.com/cambiumdb/cambium/perf"
)

// loaded is the result of a load.
type loaded struct {
	Op      string          `json:"op"`
	File    string          `json:"file"`
	Pairs   int64           `json:"pairs"`
	Bytes   int64           `json:"bytes"` // of keys and values
	Elapsed float64         `json:"seconds"`
	Writes  *inspect.Writes `json:"writes,omitempty"`
}

// WriteText writes the result and the bytes written by cause.
func (l *loaded) WriteText(w io.Writer, s inspect.Style) {
	fmt.Fprintf(w, "loaded %s pairs, %s, in %s\n", perf.Count(l.Pairs), perf.Bytes(l.Bytes), perf.Seconds(time.Duration(l.Elapsed*float64(time.Second))))
	if l.Writes != nil {
		l.Writes.WriteText(w, s)
	}
}

func (a *app) loadCommand() *cobra.Command {
	var w writeFlags
	cmd := a.command("load FILE.jsonl[.zst]", "store every pair of a file",
		`A line of the file is {"key": "..", "value": ".."}, or key64 and value64 for bytes
in base64; other fields are ignored. A name that ends in .zst is decompressed. The
database is made where it is not there. Everything is on the device when the
command is done, whatever --sync says; a load that is stopped has stored a
beginning of the file.`, 1,
		func(ctx context.Context, args []string) error {
			opts, err := w.options()
			if err != nil {
				return err
			}
			src, err := perf.OpenPairs(args[0])
			if err != nil && isDir(args[0]) {
				return usagef("%w", err)
			}
			if err != nil {
				return err
			}
			defer src.Close()
			result := &loaded{Op: "load", File: args[0]}
			bar := perf.NewProgress(a.stderr, "load", "pairs", 0)
			defer bar.Finish()
			err = a.writing(true, func(db *engine.DB) error { return a.load(ctx, db, src, opts, bar, result) })
			bar.Finish()
			if err != nil {
				fmt.Fprintf(a.stderr, "%s pairs were stored before this:\n", perf.Count(result.Pairs))
				return err
			}
			return a.printer(false).Report(result)
		})
	a.dbFlag(cmd)
	w.bind(cmd, false)
	cmd.Flags().Lookup("sync").DefValue, w.sync = engine.SyncNone.String(), engine.SyncNone.String()
	cmd.ValidArgsFunction = nil
	return cmd
}

// A batch of a load ends at the first of these.
const (
	loadBatchPairs = 1000
	loadBatchBytes = 1 << 20
)

func (a *app) load(ctx context.Context, db *engine.DB, src perf.PairSource, opts *engine.WriteOptions, bar *perf.Progress, result *loaded) error {
	start := time.Now()
	b := db.NewBatch()
	pairs, bytes := int64(0), int64(0) // in b
	apply := func() error {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := db.Apply(b, opts); err != nil {
			return err
		}
		b.Reset()
		result.Pairs, result.Bytes = result.Pairs+pairs, result.Bytes+bytes
		bar.Add(pairs)
		bar.At(src.Position())
		pairs, bytes = 0, 0
		return nil
	}
	for {
		p, err := src.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			if e := apply(); e != nil {
				return e
			}
			return inputError(err)
		}
		b.Put(p.Key, p.Value)
		pairs, bytes = pairs+1, bytes+int64(len(p.Key)+len(p.Value))
		if pairs == loadBatchPairs || bytes >= loadBatchBytes {
			if err := apply(); err != nil {
				return err
			}
		}
	}
	if err := apply(); err != nil {
		return err
	}
	if err := db.Flush(); err != nil {
		return err
	}
	result.Elapsed = time.Since(start).Seconds()
	result.Writes = inspect.WritesOf(db.Metrics().Ledger)
	return nil
}

// inputError is for a data set that is not one: the file could be read.
func inputError(err error) error {
	var path *fs.PathError
	if errors.As(err, &path) {
		return err
	}
	return &statusError{code: exitUsage, err: err, try: "mend the line and load the file again: loading a pair twice does no harm"}
}
