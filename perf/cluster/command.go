package cluster

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/cambiumdb/cambium/internal/process"
	"github.com/cambiumdb/cambium/perf"
)

// Command is one invocation of `kvbench cluster`, its flags already parsed.
type Command struct {
	Config   Config
	Dir      string // kept when given
	JSON     string // file for the report; "-" is Stdout, and the text then goes to Stderr
	Markdown string // file of sections that gets one, called Title, or has it replaced
	Title    string
	Profile  string // directory for CPU profiles of clients and nodes
	Strict   bool   // a missed target is an error
	Args     []string
	Stdout   *os.File // the report
	Stderr   *os.File // progress
}

const (
	keySize     = 16
	opTimeout   = 5 * time.Second
	warmup      = time.Second // of each mix before it is measured
	prefixBytes = keySize - keyDigits
)

// Run measures, prints and writes the reports, and leaves no process and nothing temporary.
func (c *Command) Run(ctx context.Context) (err error) {
	if err := c.Config.Validate(); err != nil {
		return err
	}
	text, out := io.Writer(c.Stdout), io.Writer(c.Stdout)
	if c.JSON == "-" {
		text = c.Stderr
	} else if c.JSON != "" {
		f, err := os.Create(c.JSON) // before it costs a measurement
		if err != nil {
			return fmt.Errorf("--json: %w", err)
		}
		defer func() { err = errors.Join(err, f.Close()) }()
		out = f
	}
	dir, done, err := perf.WorkDir(c.Dir)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, done()) }()
	spawner := process.NewSpawner()
	defer spawner.Close()
	b := &bench{cfg: c.Config, dir: dir, spawner: spawner, say: func(format string, args ...any) { fmt.Fprintf(c.Stderr, format, args...) }}
	if c.Profile != "" {
		if b.profile, err = filepath.Abs(c.Profile); err != nil {
			return err
		}
		if err := os.MkdirAll(b.profile, 0o777); err != nil {
			return fmt.Errorf("--profile: %w", err)
		}
	}
	report := newReport(c.Config, c.Args, dir, time.Now())
	if err := b.programs(ctx); err != nil {
		return err
	}
	if report.Fairness, err = fairness(c.Config); err != nil {
		return err
	}
	perf.NewText(text).Fairness(report.Fairness, c.Config.engines())
	if err := b.rounds(ctx, report); err != nil {
		return err
	}
	report.judge()
	report.Print(text)
	return c.write(report, out)
}

func (c *Command) write(report *Report, out io.Writer) error {
	if c.JSON != "" {
		if err := report.WriteJSON(out); err != nil {
			return fmt.Errorf("--json: %w", err)
		}
	}
	if c.Markdown != "" {
		if err := report.writeSection(c.Markdown, cmp.Or(c.Title, perf.CommandLine(c.Args))); err != nil {
			return fmt.Errorf("--markdown: %w", err)
		}
	}
	problems := report.problems()
	if c.Strict {
		problems = append(problems, report.missed()...)
	}
	if problems != nil {
		return &perf.CheckError{Problems: problems}
	}
	return nil
}

func (r *Report) writeSection(path, title string) error {
	var tables strings.Builder
	r.Print(&tables)
	head := *r.head
	head.Fairness = r.Fairness
	return perf.WriteSection(path, title, head.Section(title, tables.String(), r.Config.engines()))
}

// bench measures.
type bench struct {
	cfg     Config
	dir     string
	spawner *process.Spawner
	say     func(format string, args ...any)
	profile string   // an absolute path
	own     []string // the program of our clients, and what it is called by
	peers   []string // that of others
}

// programs finds what puts load on servers.
func (b *bench) programs(ctx context.Context) error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	b.own = []string{self, os.Args[0]}
	if len(b.cfg.Peers) == 0 {
		return nil
	}
	peers, err := perf.FindPeers(ctx, b.say)
	b.peers = []string{peers}
	return err
}

// rounds measures all engines in turn, each time in another order.
func (b *bench) rounds(ctx context.Context, report *Report) error {
	engines := b.cfg.engines()
	for round := range b.cfg.Rounds {
		for i := range engines {
			engine := engines[(round+i)%len(engines)]
			b.say("round %d of %d: %s starts\n", round+1, b.cfg.Rounds, engine)
			run, err := b.measure(ctx, round, engine)
			if err != nil {
				return fmt.Errorf("%s: %w", engine, err)
			}
			report.Runs = append(report.Runs, run)
		}
	}
	return nil
}

// measure has one engine go through all steps.
func (b *bench) measure(ctx context.Context, round int, engine string) (run Run, err error) {
	dir := filepath.Join(b.dir, fmt.Sprintf("%s-%d", engine, round+1))
	if err := os.MkdirAll(dir, 0o777); err != nil {
		return run, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	s, err := startServers(ctx, b.spawner, engine, dir, b.cfg)
	if err != nil {
		return run, err
	}
	defer s.close()
	if engine == Own && len(s.list) > 0 { // nodes that have just joined may not be whole yet
		if err := awaitConvergence(ctx, s.endpoints(), &Recovery{}); err != nil {
			return run, errors.Join(err, s.check())
		}
	}
	job, program := b.job(engine, s), b.own
	if engine != Own {
		program = b.peers
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel() // ends the clients where they do not end by themselves
	c, err := startClients(ctx, b.spawner, program, job)
	if err != nil {
		return run, errors.Join(err, s.check())
	}
	m := &measuring{bench: b, servers: s, clients: c, run: Run{Round: round, Engine: engine}}
	if err := m.steps(ctx); err != nil {
		cancel()
		return run, errors.Join(err, s.check(), c.close())
	}
	return m.run, c.close()
}

func (b *bench) job(engine string, s *servers) Job {
	endpoints := s.endpoints()
	if len(endpoints) == 0 {
		endpoints = b.cfg.Endpoints
	}
	return Job{
		Engine: engine, Endpoints: endpoints, Consistency: b.cfg.Consistency, Clients: b.cfg.Clients, Keys: b.cfg.Keys, Prefix: b.prefix(),
		ValueSize: int(b.cfg.ValueSize), Compressible: b.cfg.Compressible, Timeout: opTimeout, Seed: b.cfg.Seed,
	}
}

// prefix keeps keys apart from those that an earlier run has left in a cluster.
func (b *bench) prefix() string {
	if len(b.cfg.Endpoints) == 0 {
		return "bench:"
	}
	s := fmt.Sprintf("%0*x", prefixBytes, time.Now().UnixMilli())
	return s[len(s)-prefixBytes:]
}
