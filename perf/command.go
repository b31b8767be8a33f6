package perf

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// Command is one invocation of kvbench, its flags already parsed. The zero values of Dir, JSON,
// HTML and Benchstat mean a temporary directory and none of these reports.
type Command struct {
	Engines   Engines
	Config    Config // Config.Engine and Config.Compaction may be lists separated by commas
	Runs      int    // how often the whole sequence is run, each time in a new directory
	Dir       string // kept when given
	JSON      string // file for the report; "-" is Stdout, and the text then goes to Stderr
	HTML      string // file for the report with charts
	Benchstat string // file for lines in Go's benchmark format; "-" is Stdout, after the text
	Markdown  string // file of sections that gets one, called Title, or has it replaced
	Title     string
	Args      []string
	Stdout    *os.File // the report
	Stderr    *os.File // progress

	// Optional leaves engines out that this program and kvbench-peers lack.
	Optional bool
	// Strict makes a missed target of a scenario an error.
	Strict bool
}

// text returns where the report for people goes.
func (c *Command) text() *Text {
	if c.JSON == "-" {
		return NewText(c.Stderr)
	}
	return NewText(c.Stdout)
}

// measuring is a command while its measurements go on.
type measuring struct {
	c       *Command
	engines []string
	dir     string
	report  *Report
	text    *Text
	own     bool
	peers   string   // the path of kvbench-peers, where it is needed
	missed  []string // targets, where that is an error
}

// within runs body in the working directory, writes the reports and removes what is to be
// removed, whatever happened. The error joins body's, the report's problems and those of
// cleaning up.
func (c *Command) within(ctx context.Context, kind string, measurements int, body func(m *measuring) error) error {
	if c.Runs < 1 || c.Runs > 1000 {
		return Usagef("--runs %d: want 1 to 1000", c.Runs)
	}
	engines := splitList(c.Config.Engine)
	if len(engines) == 0 {
		return Usagef("--engine names no engine: try --engine cambium")
	}
	if err := c.Config.Validate(); err != nil {
		return err
	}
	out, err := c.createOutputs()
	if err != nil {
		return err
	}
	dir, done, err := WorkDir(c.Dir)
	if err != nil {
		return errors.Join(err, out.close())
	}
	m := &measuring{
		c: c, engines: engines, dir: dir, text: c.text(),
		report: NewReport(kind, c.Args, dir, c.Config, time.Now()),
	}
	if err = m.prepare(ctx, measurements); err == nil {
		err = body(m)
	}
	if err == nil {
		err = out.write(m.report)
	}
	err = errors.Join(err, out.close())
	if err == nil && c.Markdown != "" {
		title := cmp.Or(c.Title, CommandLine(c.Args))
		err = WriteSection(c.Markdown, title, m.report.Markdown(title))
	}
	if err == nil {
		err = m.report.Err()
	}
	if err == nil && m.missed != nil {
		err = &CheckError{Problems: m.missed}
	}
	return errors.Join(err, done())
}

// prepare finds kvbench-peers if it is needed, gives each engine a process of its own if there is
// more than one measurement (of each engine there are as many as measurements says) or a limit, and
// tells the conditions.
func (m *measuring) prepare(ctx context.Context, measurements int) error {
	c := m.c
	foreign := slices.ContainsFunc(m.engines, func(e string) bool { return c.Engines[e] == nil })
	if foreign {
		if err := m.findPeers(ctx); err != nil {
			return err
		}
	}
	m.own = m.peers != "" || len(m.engines)*measurements > 1 || c.Config.Memory > 0
	m.text.Fairness(m.report.Fairness, m.engines)
	return nil
}

// findPeers finds kvbench-peers and asks it for the conditions. Optional engines that are not to
// be had are taken off the list.
func (m *measuring) findPeers(ctx context.Context) error {
	c := m.c
	say := func(format string, args ...any) { fmt.Fprintf(c.Stderr, format, args...) }
	has := func(e string) bool { return c.Engines[e] != nil }
	path, err := FindPeers(ctx, say)
	if err == nil {
		m.peers = path
		cfg := c.Config
		cfg.Engine = strings.Join(m.engines, ",")
		m.report.Fairness, err = peersConditions(ctx, path, cfg)
		has = func(e string) bool { return c.Engines[e] != nil || knows(m.report.Fairness, e) }
	} else if c.Optional && ctx.Err() == nil {
		say("measuring without the other engines: %v\n", err)
		err = nil
	}
	if c.Optional {
		m.engines = slices.DeleteFunc(m.engines, func(e string) bool { return !has(e) })
	}
	return err
}

// measure performs task with one engine and configuration, in this process or in one of its own.
func (m *measuring) measure(ctx context.Context, dir string, cfg Config, task Task) (Run, error) {
	open, missing := m.c.Engines.Find(cfg.Engine)
	if !m.own {
		if missing != nil {
			return Run{}, missing
		}
		b := Bench{
			Open: open, Config: cfg, Done: m.text.Phase,
			Progress: func(label, unit string, total int64) *Progress {
				return NewProgress(m.c.Stderr, label, unit, total)
			},
		}
		run, err := b.Perform(ctx, dir, task)
		run.Isolation = &Isolation{}
		return run, err
	}
	program := []string{m.peers}
	if missing == nil {
		self, err := os.Executable()
		if err != nil {
			return Run{}, err
		}
		program = []string{self, os.Args[0]}
	}
	one := child{
		program: program, stderr: m.c.Stderr, phase: m.text.Phase,
		job: jobMessage{Protocol: protocol, Dir: dir, Config: cfg, Task: task},
	}
	return one.run(ctx)
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

// RunWorkloads is `kvbench run`: the named workloads in order, for each engine and round, each
// in a directory of its own; rounds of several engines take turns.
func (c *Command) RunWorkloads(ctx context.Context, names ...string) error {
	if _, err := FindWorkloads(names...); err != nil {
		return err
	}
	return c.rounds(ctx, Task{Kind: "run", Names: names})
}

// YCSB is `kvbench ycsb`: the records are loaded, then the named core workloads run in order.
func (c *Command) YCSB(ctx context.Context, names ...string) error {
	if _, err := FindYCSB(names...); err != nil {
		return err
	}
	return c.rounds(ctx, Task{Kind: "ycsb", Names: names})
}

// rounds performs task with each engine in turn, as often as Runs says, and sums up.
func (c *Command) rounds(ctx context.Context, task Task) error {
	return c.within(ctx, task.Kind, c.Runs, func(m *measuring) error {
		for round := range c.Runs {
			for _, engine := range m.engines {
				sub := c.subdirectory(m.dir, engine, round, len(m.engines))
				cfg := c.Config
				cfg.Engine = engine
				if err := CheckSpace(m.dir, cfg.LiveBytes()); err != nil {
					return err
				}
				m.text.Header(append(cfg.Lines(), c.where(sub, m.report))...)
				run, err := m.measure(ctx, sub, cfg, task)
				if err != nil {
					return err
				}
				run.Round = round
				m.text.Whole(run)
				m.report.Runs = append(m.report.Runs, run)
				if err := c.tidy(m.dir, sub); err != nil {
					return err
				}
			}
		}
		for _, engine := range m.engines {
			m.text.Summary(m.report.Only(engine))
		}
		m.report.Ratios = Ratios(m.report.Runs)
		m.text.Ratios(m.report.Ratios)
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

// LoadData is `kvbench load`: a data set in, read back and, with verify, compared. path is a
// file of JSON lines; without one, generate records are made up.
func (c *Command) LoadData(ctx context.Context, path string, generate int64, verify bool) error {
	switch {
	case path != "" && generate != 0:
		return Usagef("load %s and --generate %d: give one of them", path, generate)
	case path == "" && generate < 1:
		return Usagef("load wants a FILE.jsonl or FILE.jsonl.zst, or --generate N")
	}
	task := Task{Kind: "load", Load: LoadTask{Path: path, Generate: generate, Verify: verify}}
	name, open := task.Load.source(c.Config.Seed)
	probe, err := open()
	if err != nil {
		return err
	}
	if err := probe.Close(); err != nil {
		return err
	}
	return c.within(ctx, "load", c.Runs, func(m *measuring) error {
		for round := range c.Runs {
			for _, engine := range m.engines {
				cfg := c.Config
				cfg.Engine = engine
				sub := c.subdirectory(m.dir, engine, round, len(m.engines))
				m.text.Header("loading "+name, strings.Join(cfg.Lines()[1:], "\n"), c.where(sub, m.report))
				run, err := m.measure(ctx, sub, cfg, task)
				if err != nil {
					return err
				}
				run.Round = round
				m.text.Whole(run)
				m.text.DataSet(*run.DataSet)
				m.report.Runs = append(m.report.Runs, run)
				if err := c.tidy(m.dir, sub); err != nil {
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
