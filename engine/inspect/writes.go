package inspect

import (
	"fmt"
	"io"
	"time"

	"github.com/cambiumdb/cambium/engine"
)

// Writes is the ledger of bytes handed to the device.
type Writes struct {
	UserBytes          int64      `json:"user_bytes"` // accepted key and value bytes
	Total              int64      `json:"total_bytes"`
	WriteAmplification float64    `json:"write_amplification"` // total / user
	Rows               []WriteRow `json:"rows"`
}

// WriteRow is one cause of writing.
type WriteRow struct {
	Cause  string `json:"cause"`            // wal, flush, ingest, compaction, blob, manifest
	Level  int    `json:"level"`            // the level written to; -1 where there is none
	Reason string `json:"reason,omitempty"` // of a compaction
	Bytes  int64  `json:"bytes"`
}

// Lifetime is the ledger over all opens of the directory.
type Lifetime struct {
	Since time.Time  `json:"since"`
	Saved *time.Time `json:"saved,omitempty"` // a reader knows what was written up to here
	Gaps  int        `json:"gaps"`            // how many times something was written that is not counted
	Writes
}

// WritesOf puts a ledger into a report; nil where nothing was written.
func WritesOf(l engine.Ledger) *Writes {
	if len(l.Rows) == 0 {
		return nil
	}
	out := &Writes{UserBytes: l.UserBytes, Total: l.Total(), WriteAmplification: l.WriteAmplification()}
	for _, r := range l.Rows {
		out.Rows = append(out.Rows, WriteRow(r))
	}
	return out
}

// LifetimeOf does so for all opens of the directory; nil where nobody kept it.
func LifetimeOf(l engine.Lifetime) *Lifetime {
	if l.Since.IsZero() {
		return nil
	}
	out := &Lifetime{Since: l.Since, Gaps: l.Gaps, Writes: Writes{Rows: []WriteRow{}}}
	if !l.Saved.IsZero() {
		out.Saved = &l.Saved
	}
	if writes := WritesOf(l.Ledger); writes != nil {
		out.Writes = *writes
	}
	return out
}

// WriteText writes a line for each cause.
func (x *Writes) WriteText(w io.Writer, s Style) {
	g := s.newGrid(0)
	g.Row("written", "bytes", "of accepted")
	factor := func(n int64) string {
		if x.UserBytes == 0 {
			return "-"
		}
		return fmt.Sprintf("%.2f", float64(n)/float64(x.UserBytes))
	}
	for _, r := range x.Rows {
		name := r.Cause
		if r.Level >= 0 {
			name += fmt.Sprintf(" L%d", r.Level)
		}
		if r.Reason != "" && r.Reason != r.Cause {
			name += " " + r.Reason
		}
		g.Row(name, size(r.Bytes), factor(r.Bytes))
	}
	g.Row("total", size(x.Total), factor(x.Total))
	g.Print(w)
	if x.UserBytes > 0 {
		fmt.Fprintf(w, "accepted %s\n", size(x.UserBytes))
	}
}

// WriteText writes from when to when, a line for each cause, and whether something is missing.
func (x *Lifetime) WriteText(w io.Writer, s Style) {
	line := "since " + x.Since.Format(time.RFC3339)
	if x.Saved != nil {
		line += ", as of " + x.Saved.Format(time.RFC3339)
	}
	fmt.Fprintln(w, line)
	x.Writes.WriteText(w, s)
	if x.Gaps > 0 {
		fmt.Fprintf(w, "%s: what was written then is not counted\n", x.gaps())
	}
}

func (x *Lifetime) gaps() string {
	if x.Gaps == 1 {
		return "1 gap"
	}
	return fmt.Sprintf("%d gaps", x.Gaps)
}
