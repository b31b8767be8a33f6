package perf

import (
	"fmt"

	"github.com/cambiumdb/cambium/internal/grid"
)

// Summary prints one line for each workload of a report: the run of median throughput, and the
// range over all runs when there are several.
func (t *Text) Summary(r *Report) {
	if len(r.Runs) == 0 {
		return
	}
	g := grid.New(0)
	head := []any{"workload", "ops/s"}
	if len(r.Runs) > 1 {
		head = append(head, "lowest", "highest")
	}
	g.Row(append(head, "p50", "p99", "p99.9", "max", "write amp", "space amp", "device reads/op")...)
	for i := range r.Runs[0].Phases {
		p, low, high := r.Median(i)
		row := []any{p.Workload, Count(int64(p.Throughput))}
		if len(r.Runs) > 1 {
			row = append(row, Count(int64(low)), Count(int64(high)))
		}
		l := p.mainLatency()
		row = append(row, Seconds(l.P50), Seconds(l.P99), Seconds(l.P999), Seconds(l.Max))
		amp, space, reads := "", "", ""
		if p.Settled != nil {
			amp = fmt.Sprintf("%.2f", p.Settled.Factor)
		}
		if p.Space.Live > 0 && p.Space.End > 0 {
			space = fmt.Sprintf("%.2f", float64(p.Space.End)/float64(p.Space.Live))
		}
		if p.Ops > 0 && p.Settled == nil {
			reads = fmt.Sprintf("%.3f", float64(p.Reads.BlockReads)/float64(p.Ops))
		}
		g.Row(append(row, amp, space, reads)...)
	}
	t.printf("\n")
	g.Print(t.w)
	if len(r.Runs) > 1 {
		t.printf("%d runs; each line is the run of median throughput\n", len(r.Runs))
	}
}

// mainLatency is that of the operations the workload is about.
func (p Phase) mainLatency() Latency {
	for _, l := range p.Latency {
		if l.Count == p.Ops {
			return l
		}
	}
	if len(p.Latency) > 0 {
		return p.Latency[0]
	}
	return Latency{}
}

// WriteAmp prints the write amplification table: a line for each policy and step.
func (t *Text) WriteAmp(runs []Run) {
	rows := AmpRows(runs)
	deepest := 0
	for _, r := range rows {
		deepest = max(deepest, len(r.Levels))
	}
	used := make([]bool, deepest)
	for _, r := range rows {
		for level, n := range r.Levels {
			used[level] = used[level] || n > 0
		}
	}

	t.printf("%s  bytes written for each byte accepted, by cause; all figures when settled\n\n", t.paint(bold, "Write amplification"))
	g := grid.New(0)
	head := []any{"", "step", "wal", "flush"}
	for level, u := range used {
		if u {
			head = append(head, fmt.Sprintf("L%d", level))
		}
	}
	g.Row(append(head, "blob", "other", "total", "kernel", "differ", "formula", "of it")...)
	last := ""
	for _, r := range rows {
		name := r.Name
		if name == last {
			name = ""
		}
		last = r.Name
		a := r.Writes
		ratio := func(n int64) string { return fmt.Sprintf("%.2f", a.Of(n)) }
		row := []any{name, r.Step, ratio(a.Cause("wal")), ratio(a.Cause("flush"))}
		for level, u := range used {
			if !u {
				continue
			}
			var n int64
			if level < len(r.Levels) {
				n = r.Levels[level]
			}
			row = append(row, ratio(n))
		}
		kernel, differ := fmt.Sprintf("%.2f", a.Kernel.Factor), a.Kernel.difference()
		if !a.Kernel.Comparable {
			kernel, differ = "-", "-"
		}
		formula, share := "-", "-"
		if f := r.Formula; f != nil {
			formula, share = fmt.Sprintf("%.2f", f.Factor), fmt.Sprintf("%.2f", a.Factor/f.Factor)
		}
		var told int64
		for _, cause := range []string{"wal", "flush", "compaction", "blob"} {
			told += a.Cause(cause)
		}
		g.Row(append(row, ratio(a.Cause("blob")), ratio(a.Total-told), fmt.Sprintf("%.2f", a.Factor), kernel, differ, formula, share)...)
	}
	g.Print(t.w)
	t.printf("\nother: the manifest, and what the kernel counted beyond an engine's ledger; formula: see docs/kvbench.md; -: not measured or no formula\n\n")
	t.spaceTable(rows)
	for _, r := range runs {
		if !r.Whole.Writes.Kernel.Comparable {
			t.printf("\n%s: kernel's count not comparable: %s\n", r.Name, r.Whole.Writes.Kernel.Note)
		}
	}
}

func (t *Text) spaceTable(rows []AmpRow) {
	t.printf("%s  on the device for each live byte, and what a get meets\n\n", t.paint(bold, "Space and reads"))
	g := grid.New(0)
	g.Row("", "step", "space settled", "tables", "formula", "average", "peak", "runs settled", "average", "peak", "tables/get", "device reads/get")
	last := ""
	for _, r := range rows {
		name := r.Name
		if name == last {
			name = ""
		}
		last = r.Name
		live := max(1, float64(r.Space.Live))
		g.Row(name, r.Step,
			fmt.Sprintf("%.2f", float64(r.Space.End)/live),
			fmt.Sprintf("%.2f", float64(r.Space.Tables)/live),
			formulaSpace(r.Formula),
			fmt.Sprintf("%.2f", float64(r.Space.Average)/live),
			fmt.Sprintf("%.2f", float64(r.Space.Peak)/live),
			fmt.Sprint(r.Runs.End), fmt.Sprintf("%.1f", r.Runs.Average), fmt.Sprint(r.Runs.Peak),
			fmt.Sprintf("%.2f", r.PerGet), fmt.Sprintf("%.3f", r.Reads))
	}
	g.Print(t.w)
}

func formulaSpace(f *Prediction) string {
	if f == nil {
		return "-"
	}
	return fmt.Sprintf("%.2f", f.Space)
}

// DataSet prints what was loaded and whether it came back.
func (t *Text) DataSet(d DataSet) {
	t.printf("%s: %s pairs, %s distinct keys, %s\n", d.Name, Count(d.Pairs), Count(d.Keys), Bytes(d.Bytes))
	if d.Verified {
		t.printf("%s: every key was read back, every value is the one that was loaded, a scan met each key once and in order\n", t.paint(green, "verified"))
	}
}
