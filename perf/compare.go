package perf

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/cambiumdb/cambium/internal/grid"
)

// ReadReport reads a report that WriteJSON wrote.
func ReadReport(path string) (*Report, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	var r Report
	if err := json.NewDecoder(f).Decode(&r); err != nil {
		return nil, fmt.Errorf("%s is no report of kvbench: %w", path, err)
	}
	if r.Schema != Schema {
		return nil, fmt.Errorf("%s has the schema %q, want %q", path, r.Schema, Schema)
	}
	return &r, nil
}

// Limit is one of --fail-if's conditions: the comparison fails where Metric changes by more than
// Percent (relative), or lies beyond Bound (not relative). Above tells in which direction.
type Limit struct {
	Text     string
	Metric   string
	Above    bool
	Relative bool
	Percent  float64
	Bound    float64
}

// ParseLimits reads conditions such as "p99>+10%,wa>+5%,throughput<-5%,max>100ms".
func ParseLimits(text string) ([]Limit, error) {
	var all []Limit
	for _, one := range splitList(text) {
		l, err := parseLimit(strings.ReplaceAll(one, " ", ""))
		if err != nil {
			return nil, err
		}
		all = append(all, l)
	}
	return all, nil
}

func parseLimit(text string) (Limit, error) {
	bad := func(why string) (Limit, error) {
		return Limit{}, Usagef("--fail-if %q: %s; write it like p99>+10%%, throughput<-5%%, wa>4.5 or max>100ms", text, why)
	}
	at := strings.IndexAny(text, "<>")
	if at < 0 {
		return bad("there is no < or >")
	}
	l := Limit{Text: text, Metric: text[:at], Above: text[at] == '>'}
	if metricNamed(l.Metric) == nil {
		names := make([]string, len(figures))
		for i, m := range figures {
			names[i] = m.name
		}
		return bad(fmt.Sprintf("there is no figure %q but %s", l.Metric, strings.Join(names, ", ")))
	}
	var err error
	value := text[at+1:]
	if percent, ok := strings.CutSuffix(value, "%"); ok {
		l.Relative = true
		l.Percent, err = strconv.ParseFloat(percent, 64)
		if err == nil && percent[0] != '+' && percent[0] != '-' {
			return bad("a percentage needs its sign")
		}
	} else if l.Bound, err = strconv.ParseFloat(value, 64); err != nil {
		if d, e := time.ParseDuration(value); e == nil {
			l.Bound, err = float64(d), nil
		} else if size, e := ParseSize(value); e == nil {
			l.Bound, err = float64(size), nil
		}
	}
	if err != nil || value == "" {
		return bad(fmt.Sprintf("%q is neither a percentage nor a number, time or size", value))
	}
	return l, nil
}

// Breaks reports whether a change from base to now breaks the limit.
func (l Limit) Breaks(base, now float64) bool {
	bound := l.Bound
	if l.Relative {
		bound = base * (1 + l.Percent/100)
	}
	if l.Above {
		return now > bound
	}
	return now < bound
}

// Change is one figure in two reports, each the median over the rounds.
type Change struct {
	Run, Workload string
	Metric        string // with the kind of operation: "get p99"
	Better        string
	Base, New     float64
	Broken        []string // the limits that it breaks
	format        func(float64) string
}

// Percent is by how much New exceeds Base.
func (c Change) Percent() float64 {
	if c.Base == 0 {
		return 0
	}
	return 100 * (c.New - c.Base) / c.Base
}

// Comparison is what Compare found.
type Comparison struct {
	Changes []Change
	Notes   []string // why the two may not be comparable
	Missing []string // what only one of them has
}

// Compare sets two reports side by side. A limit whose figure neither report has is a usage
// error: it could never fail.
func Compare(base, now *Report, limits []Limit) (*Comparison, error) {
	c := &Comparison{Notes: differences(base, now)}
	was, order := medians(base)
	is, more := medians(now)
	used := map[string]bool{}
	for _, id := range order {
		b := was[id]
		n, ok := is[id]
		if !ok {
			c.Missing = append(c.Missing, fmt.Sprintf("%s %s %s: only in the base", id.run, id.workload(), b.title))
			continue
		}
		change := Change{Run: id.run, Workload: id.workload(), Metric: b.title, Better: b.m.better, Base: median(b.values), New: median(n.values), format: b.m.format}
		for _, l := range limits {
			if l.Metric == b.m.name {
				used[l.Text] = true
				if l.Breaks(change.Base, change.New) {
					change.Broken = append(change.Broken, l.Text)
				}
			}
		}
		c.Changes = append(c.Changes, change)
	}
	for _, id := range more {
		if _, ok := was[id]; !ok {
			c.Missing = append(c.Missing, fmt.Sprintf("%s %s %s: only in the new one", id.run, id.workload(), is[id].title))
		}
	}
	for _, l := range limits {
		if !used[l.Text] {
			return c, Usagef("--fail-if %q: the two reports have no such figure in common", l.Text)
		}
	}
	return c, nil
}

// changeID names a figure within a report.
type changeID struct {
	run, phase string
	again      int
	figure     string
}

func (id changeID) workload() string {
	if id.again == 0 {
		return id.phase
	}
	return fmt.Sprintf("%s (%d)", id.phase, id.again+1)
}

type medianOf struct {
	m      *metric
	title  string
	values []float64
}

func medians(r *Report) (map[changeID]*medianOf, []changeID) {
	all := map[changeID]*medianOf{}
	var order []changeID
	for _, run := range r.Runs {
		again := map[string]int{}
		for _, p := range run.Phases {
			for i := range figures {
				m := &figures[i]
				for _, f := range m.of(p) {
					id := changeID{run.Name, p.Workload, again[p.Workload], m.title(f.op)}
					if all[id] == nil {
						all[id] = &medianOf{m: m, title: m.title(f.op)}
						order = append(order, id)
					}
					all[id].values = append(all[id].values, f.value)
				}
			}
			again[p.Workload]++
		}
	}
	return all, order
}

// differences lists why two reports may not be comparable.
func differences(base, now *Report) []string {
	var notes []string
	note := func(what string, a, b any) {
		if a != b {
			notes = append(notes, fmt.Sprintf("%s differ: %v and %v", what, a, b))
		}
	}
	note("kinds of measurement", base.Kind, now.Kind)
	note("machines", fmt.Sprintf("%+v", base.Machine), fmt.Sprintf("%+v", now.Machine))
	a, b := base.Config, now.Config
	note("keys", a.Keys, b.Keys)
	note("key sizes", a.KeySize, b.KeySize)
	note("value sizes", a.ValueSize, b.ValueSize)
	note("compressibilities", a.Compressible, b.Compressible)
	note("sync policies", a.Sync, b.Sync)
	note("compressions", a.Compression, b.Compression)
	note("memory limits", a.Memory, b.Memory)
	note("memtable sizes", a.Memtable, b.Memtable)
	note("value thresholds", a.ValueThreshold, b.ValueThreshold)
	note("compaction rates", a.CompactionRate, b.CompactionRate)
	note("longest stalls", a.MaxStall, b.MaxStall)
	note("threads", a.Threads, b.Threads)
	note("rates", a.Rate, b.Rate)
	note("seeds", a.Seed, b.Seed)
	if len(base.Runs) > 0 && len(now.Runs) > 0 {
		for i, p := range base.Runs[0].Phases {
			if i < len(now.Runs[0].Phases) && p.Workload == now.Runs[0].Phases[i].Workload {
				note("the operations of "+p.Workload, p.StreamHash, now.Runs[0].Phases[i].StreamHash)
			}
		}
	}
	return notes
}

// Err returns a CheckError with the broken limits, or nil.
func (c *Comparison) Err() error {
	var broken []string
	for _, change := range c.Changes {
		for _, l := range change.Broken {
			broken = append(broken, fmt.Sprintf("%s %s: %s went from %s to %s (%+.1f %%), which breaks %s",
				change.Run, change.Workload, change.Metric, change.format(change.Base), change.format(change.New), change.Percent(), l))
		}
	}
	if broken == nil {
		return nil
	}
	return &CheckError{Problems: broken}
}

// Compare prints a comparison: a line for each figure.
func (t *Text) Compare(c *Comparison) {
	for _, n := range c.Notes {
		t.printf("%s %s\n", t.paint(bold, "note:"), n)
	}
	g := grid.New(0)
	g.Row("", "figure", "base", "new", "change", "")
	last := ""
	for _, change := range c.Changes {
		name := change.Run + " " + change.Workload
		if name == last {
			name = ""
		} else {
			last = name
		}
		verdict := ""
		percent := change.Percent()
		switch {
		case change.Broken != nil:
			verdict = "FAILS " + strings.Join(change.Broken, ", ")
		case percent > -1 && percent < 1:
		case (percent > 0) == (change.Better == "higher"):
			verdict = "better"
		default:
			verdict = "worse"
		}
		percentText := fmt.Sprintf("%+.1f %%", percent)
		if change.Base == 0 && change.New != 0 {
			percentText = "from 0"
		}
		g.Row(name, change.Metric, change.format(change.Base), change.format(change.New), percentText, verdict)
	}
	g.Print(t.w)
	for _, m := range c.Missing {
		t.printf("%s %s\n", t.paint(bold, "missing:"), m)
	}
}

// CompareFiles is `kvbench compare`: two reports side by side, and a CheckError if the new one
// breaks a limit.
func CompareFiles(w io.Writer, base, now, failIf string) error {
	limits, err := ParseLimits(failIf)
	if err != nil {
		return err
	}
	a, err := ReadReport(base)
	if err != nil {
		return err
	}
	b, err := ReadReport(now)
	if err != nil {
		return err
	}
	c, err := Compare(a, b, limits)
	if c != nil {
		NewText(w).Compare(c)
	}
	if err != nil {
		return err
	}
	return c.Err()
}
