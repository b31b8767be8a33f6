package perf

import (
	"errors"
	"fmt"
	"io"
	"os"
)

// outputs are the files that a command writes its report to. They are created before it
// measures, so that a wrong path does not cost a measurement.
type outputs struct {
	writers []func(r *Report) error
	files   []*os.File
}

func (c *Command) createOutputs() (*outputs, error) {
	o := &outputs{}
	for _, f := range []struct {
		flag, path string
		write      func(r *Report, w io.Writer) error
	}{
		{"--json", c.JSON, (*Report).WriteJSON},
		{"--benchstat", c.Benchstat, (*Report).WriteBenchstat},
		{"--html", c.HTML, (*Report).WriteHTML},
	} {
		if f.path == "" {
			continue
		}
		out := c.Stdout
		if f.path != "-" {
			created, err := os.Create(f.path)
			if err != nil {
				return nil, errors.Join(fmt.Errorf("%s: %w", f.flag, err), o.close())
			}
			o.files = append(o.files, created)
			out = created
		}
		o.writers = append(o.writers, func(r *Report) error {
			if err := f.write(r, out); err != nil {
				return fmt.Errorf("%s: %w", f.flag, err)
			}
			return nil
		})
	}
	return o, nil
}

func (o *outputs) write(r *Report) error {
	var all error
	for _, w := range o.writers {
		all = errors.Join(all, w(r))
	}
	return all
}

func (o *outputs) close() error {
	var all error
	for _, f := range o.files {
		all = errors.Join(all, f.Close())
	}
	return all
}
