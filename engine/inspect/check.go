package inspect

import (
	"context"
	"fmt"
	"io"

	"github.com/cambiumdb/cambium/engine"
)

// Check is what reading every byte of a database has shown.
type Check struct {
	OK       bool     `json:"ok"`
	Tables   int      `json:"tables"`
	Blobs    int      `json:"blob_files"`
	Entries  uint64   `json:"entries"` // in tables
	Bytes    int64    `json:"bytes"`   // read
	Replayed int      `json:"replayed_entries"`
	Problems []string `json:"problems"`

	problems []error
}

// CheckDir checks the database in dir and changes nothing. progress, where not nil, hears of
// each file that is done. The error says why the check could not be made; what it found wrong
// is in the report and from Err.
func CheckDir(ctx context.Context, dir string, opts *engine.Options, progress func(file string, done, total int)) (*Check, error) {
	r, err := engine.CheckWith(ctx, dir, opts, progress)
	if err != nil {
		return nil, err
	}
	out := &Check{
		OK: len(r.Problems) == 0, Tables: r.Tables, Blobs: r.Blobs, Entries: r.Entries, Bytes: r.Bytes,
		Replayed: r.ReplayedEntries, Problems: []string{}, problems: r.Problems,
	}
	for _, p := range r.Problems {
		out.Problems = append(out.Problems, p.Error())
	}
	return out, nil
}

// Err returns nil where all is well, else an error that is engine.ErrCorruption, or what kept a
// file from being read.
func (c *Check) Err() error {
	switch len(c.problems) {
	case 0:
		return nil
	case 1:
		return c.problems[0]
	}
	return &problems{c.problems}
}

// problems is more than one problem.
type problems struct{ all []error }

func (p *problems) Error() string {
	return fmt.Sprintf("%d problems, the first: %v", len(p.all), p.all[0])
}

func (p *problems) Unwrap() []error { return p.all }

// WriteText writes the verdict and each problem.
func (c *Check) WriteText(w io.Writer, s Style) {
	verdict := "ok"
	if !c.OK {
		verdict = s.problem("DAMAGED")
	}
	fmt.Fprintf(w, "%s: %d tables, %d blob files, %s read, %d entries, %d entries only in logs\n",
		verdict, c.Tables, c.Blobs, size(c.Bytes), c.Entries, c.Replayed)
	for _, p := range c.Problems {
		fmt.Fprintf(w, "  %s\n", s.problem(p))
	}
}
