package main

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/cambiumdb/cambium/engine"
	"github.com/cambiumdb/cambium/engine/inspect"
	"github.com/cambiumdb/cambium/perf"
)

// ingested is the result of an ingest.
type ingested struct {
	Op      string          `json:"op"`
	Tables  int             `json:"tables"`
	Linked  int             `json:"linked"` // of these, those that share their bytes with the given files
	Bytes   int64           `json:"bytes"`  // sizes of the tables
	Elapsed float64         `json:"seconds"`
	Writes  *inspect.Writes `json:"writes,omitempty"`
}

// WriteText writes the result and the bytes written by cause.
func (r *ingested) WriteText(w io.Writer, s inspect.Style) {
	fmt.Fprintf(w, "ingested %d tables of %s\n", r.Tables, perf.Bytes(r.Bytes))
	if r.Linked > 0 {
		fmt.Fprintf(w, "%d of them share their bytes with the given files: remove or rename these, but do not write into them\n", r.Linked)
	}
	if r.Writes != nil {
		r.Writes.WriteText(w, s)
	}
}

func (a *app) ingestCommand() *cobra.Command {
	cmd := a.command("ingest FILE...", "take in table files as they are",
		"Takes sorted tables (.sst) in as one write, all or none, newer than what is there; where they\noverlap, the later one is the newer. Tables for other databases are linked, any other table is\nrewritten. The database is made where it is not there.", -1,
		func(ctx context.Context, args []string) error {
			result := &ingested{Op: "ingest"}
			opts := a.options()
			opts.Events = &engine.Events{Ingested: func(i engine.IngestInfo) {
				result.Tables, result.Linked, result.Bytes, result.Elapsed = i.Tables, i.Linked, i.Bytes, i.Duration.Seconds()
			}}
			err := a.writingWith(opts, true, func(db *engine.DB) error {
				stop := context.AfterFunc(ctx, func() { _ = db.Close() }) // which ends the ingest
				defer stop()
				err := db.Ingest(args...)
				result.Writes = inspect.WritesOf(db.Metrics().Ledger)
				if errors.Is(err, engine.ErrCorruption) {
					return &statusError{code: exitCorruption, err: err, try: "kvctl sst verify FILE says what is wrong with a table; nothing was taken in"}
				}
				return err
			})
			if err != nil {
				return err
			}
			return a.printer(false).Report(result)
		})
	a.dbFlag(cmd)
	cmd.ValidArgsFunction = nil
	return cmd
}
