package perf

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime/debug"
	"strings"
	"time"
)

// Command is one invocation of kvbench, its flags already parsed. The zero values of Dir and
// JSON mean a temporary directory and no JSON.
type Command struct {
	Engines Engines
	Config  Config // Config.Engine and Config.Compaction may be lists separated by commas
	Runs    int    // how often the whole sequence is run, each time in a new directory
	Dir     string // kept when given
	JSON    string // file for the report; "-" is Stdout, and the text then goes to Stderr
	Args    []string
	Stdout  *os.File // the report
	Stderr  *os.File // progress
}

// text returns where the report for people goes.
func (c *Command) text() *Text {
	if c.JSON == "-" {
		return NewText(c.Stderr)
	}
	return NewText(c.Stdout)
}

// bench prepares one measurement with an engine of the given name.
func (c *Command) bench(engine string, text *Text) (*Bench, error) {
	open, err := c.Engines.Find(engine)
	if err != nil {
		return nil, err
	}
	cfg := c.Config
	cfg.Engine = engine
	return &Bench{
		Open:   open,
		Config: cfg,
		Progress: func(label, unit string, total int64) *Progress {
			return NewProgress(c.Stderr, label, unit, total)
		},
		Done: text.Phase,
	}, cfg.Validate()
}

// within runs body in the working directory, writes the JSON of its report and removes what is
// to be removed, whatever happened. The error joins body's, the report's problems and those of
// cleaning up.
func (c *Command) within(kind string, body func(dir string, report *Report) error) error {
	if c.Runs < 1 || c.Runs > 1000 {
		return usagef("--runs %d: want 1 to 1000", c.Runs)
	}
	if c.Config.Memory > 0 {
		debug.SetMemoryLimit(int64(c.Config.Memory))
	}
	var out io.WriteCloser
	switch c.JSON {
	case "":
	case "-":
		out = struct {
			io.Writer
			io.Closer
		}{c.Stdout, io.NopCloser(nil)}
	default:
		f, err := os.Create(c.JSON)
		if err != nil {
			return fmt.Errorf("--json: %w", err)
		}
		out = f
	}
	dir, done, err := WorkDir(c.Dir)
	if err != nil {
		return err
	}
	report := NewReport(kind, c.Args, dir, c.Config, time.Now())
	err = body(dir, report)
	if out != nil {
		if err == nil {
			err = report.WriteJSON(out)
		}
		err = errors.Join(err, out.Close())
	}
	if err == nil {
		err = report.Err()
	}
	return errors.Join(err, done())
}

func splitList(s string) []string {
	var out []string
	for _, name := range strings.Split(s, ",") {
		if name = strings.TrimSpace(name); name != "" {
			out = append(out, name)
		}
	}
	return out
}

// engines are the names in Config.Engine; a usage error if there are none.
func (c *Command) engines() ([]string, error) {
	names := splitList(c.Config.Engine)
	if len(names) == 0 {
		return nil, usagef("--engine names no engine: try --engine cambium")
	}
	return names, nil
}

// RunWorkloads is `kvbench run`: the named workloads in order, for each engine and round, each
// in a directory of its own; rounds of several engines take turns.
func (c *Command) RunWorkloads(ctx context.Context, names ...string) error {
	workloads, err := FindWorkloads(names...)
	if err != nil {
		return err
	}
	return c.within("run", func(dir string, report *Report) error {
		engines, err := c.engines()
		if err != nil {
			return err
		}
		text := c.text()
		for round := range c.Runs {
			for _, engine := range engines {
				b, err := c.bench(engine, text)
				if err != nil {
					return err
				}
				if err := CheckSpace(dir, b.Config.LiveBytes()); err != nil {
					return err
				}
				sub := c.subdirectory(dir, engine, round, len(engines))
				text.Header(append(b.Config.Lines(), c.where(sub, report))...)
				run, err := b.Run(ctx, sub, workloads)
				if err != nil {
					return err
				}
				text.Whole(run)
				report.Runs = append(report.Runs, run)
				if err := c.tidy(dir, sub); err != nil {
					return err
				}
			}
		}
		for _, engine := range engines {
			text.Summary(report.Only(engine))
		}
		return nil
	})
}

// subdirectory is dir itself for a single measurement, so that --dir can be used again.
func (c *Command) subdirectory(dir, engine string, round, engines int) string {
	if c.Runs == 1 && engines == 1 {
		return dir
	}
	return filepath.Join(dir, fmt.Sprintf("%s-%d", engine, round+1))
}

// tidy removes the directory of one round unless it is to be kept.
func (c *Command) tidy(dir, sub string) error {
	if c.Dir != "" || sub == dir {
		return nil
	}
	return os.RemoveAll(sub)
}

func (c *Command) where(dir string, report *Report) string {
	kept := "removed afterwards"
	if c.Dir != "" {
		kept = "kept"
	}
	return fmt.Sprintf("in %s (%s, %s)", dir, report.Machine.FileSystem, kept)
}

// WriteAmp is `kvbench writeamp`: the write amplification report for each policy.
func (c *Command) WriteAmp(ctx context.Context) error {
	policies := splitList(c.Config.Compaction)
	if len(policies) == 0 {
		return usagef("--compaction names no policy: try --compaction leveled")
	}
	for _, p := range policies {
		if err := oneOf("--compaction", p, compactionNames); err != nil {
			return err
		}
	}
	c.Config.Compaction = policies[0]
	return c.within("writeamp", func(dir string, report *Report) error {
		engines, err := c.engines()
		if err != nil {
			return err
		}
		text := c.text()
		for _, engine := range engines {
			b, err := c.bench(engine, text)
			if err != nil {
				return err
			}
			if err := CheckSpace(dir, b.Config.LiveBytes()); err != nil {
				return err
			}
			text.Header(append(b.Config.Lines(), c.where(dir, report))...)
			runs, err := b.WriteAmp(ctx, dir, policies)
			report.Runs = append(report.Runs, runs...)
			if err != nil {
				return err
			}
		}
		text.WriteAmp(report.Runs)
		text.printf("\n")
		for _, run := range report.Runs {
			text.Whole(run)
		}
		return nil
	})
}

// LoadData is `kvbench load`: a data set in, read back and, with verify, compared. path is a
// file of JSON lines; without one, generate records are made up.
func (c *Command) LoadData(ctx context.Context, path string, generate int64, verify bool) error {
	open := func() (PairSource, error) { return OpenPairs(path) }
	name := path
	switch {
	case path != "" && generate != 0:
		return usagef("load %s and --generate %d: give one of them", path, generate)
	case path == "" && generate < 1:
		return usagef("load wants a FILE.jsonl or FILE.jsonl.zst, or --generate N")
	case path == "":
		seed := c.Config.Seed
		name = fmt.Sprintf("%s generated records that look like a package index (seed %d)", Count(generate), seed)
		open = func() (PairSource, error) { return GeneratePairs(generate, seed), nil }
	}
	probe, err := open()
	if err != nil {
		return err
	}
	if err := probe.Close(); err != nil {
		return err
	}
	return c.within("load", func(dir string, report *Report) error {
		engines, err := c.engines()
		if err != nil {
			return err
		}
		text := c.text()
		for round := range c.Runs {
			for _, engine := range engines {
				b, err := c.bench(engine, text)
				if err != nil {
					return err
				}
				sub := c.subdirectory(dir, engine, round, len(engines))
				text.Header("loading "+name, strings.Join(b.Config.Lines()[1:], "\n"), c.where(sub, report))
				run, err := b.Load(ctx, sub, open, verify)
				if err != nil {
					return err
				}
				run.DataSet.Name = name
				text.Whole(run)
				text.DataSet(*run.DataSet)
				report.Runs = append(report.Runs, run)
				if err := c.tidy(dir, sub); err != nil {
					return err
				}
			}
		}
		return nil
	})
}

// Doctor is `kvbench doctor`: what this machine offers to a benchmark, as text or JSON.
func (c *Command) Doctor() error {
	dir := c.Dir
	if dir == "" {
		dir = tempParent()
	}
	d := Doctor(dir)
	if c.JSON == "-" {
		return errors.Join(d.WriteJSON(c.Stdout), d.Err())
	}
	if c.JSON != "" {
		f, err := os.Create(c.JSON)
		if err != nil {
			return fmt.Errorf("--json: %w", err)
		}
		if err := errors.Join(d.WriteJSON(f), f.Close()); err != nil {
			return err
		}
	}
	c.text().Doctor(d)
	return d.Err()
}
