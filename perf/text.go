package perf

import (
	"fmt"
	"io"
	"os"
	"sort"
	"strings"
	"time"
)

// Text prints results for people. Colour is used on terminals unless NO_COLOR is set.
type Text struct {
	w     io.Writer
	color bool
}

// NewText prints to w.
func NewText(w io.Writer) *Text {
	f, ok := w.(*os.File)
	return &Text{w: w, color: ok && os.Getenv("NO_COLOR") == "" && IsTerminal(f)}
}

const (
	bold  = "1"
	red   = "31"
	green = "32"
	blue  = "36"
)

func (t *Text) paint(code, s string) string {
	if !t.color || s == "" {
		return s
	}
	return "\x1b[" + code + "m" + s + "\x1b[0m"
}

func (t *Text) printf(format string, args ...any) { fmt.Fprintf(t.w, format, args...) }

// Header prints what is about to be measured.
func (t *Text) Header(lines ...string) {
	for i, l := range lines {
		if i == 0 {
			l = t.paint(bold, l)
		}
		t.printf("%s\n", l)
	}
	t.printf("\n")
}

// Run prints every phase and the sum of a run.
func (t *Text) Run(r Run) {
	for _, p := range r.Phases {
		t.Phase(p)
	}
	t.Whole(r)
}

// Phase prints one workload: throughput, latency, stalls, what was written and why, space,
// reads and memory.
func (t *Text) Phase(p Phase) {
	loop := p.Loop + " loop"
	if p.Rate > 0 {
		loop += ", offered " + Count(int64(p.Rate)) + "/s"
	}
	t.printf("%s  %s operations in %s, %s/s, %d thread(s), %s\n",
		t.paint(bold, p.Workload), Count(p.Ops), Seconds(p.Elapsed), Count(int64(p.Throughput)), p.Threads, loop)
	if p.StreamHash != "" {
		t.printf("  operations %s (hash of the first %s)\n", p.StreamHash, Count(hashedOps))
	}
	for _, l := range p.Latency {
		t.printf("  %-9s p50 %s  p90 %s  p99 %s  p99.9 %s  max %s  (%s)\n",
			l.Op, Seconds(l.P50), Seconds(l.P90), Seconds(l.P99), Seconds(l.P999), Seconds(l.Max), Count(l.Count))
	}
	if p.AtEnd != nil || p.Stalls.Total > 0 {
		t.printf("  %-9s %s\n", "stalls", stallText(p.Stalls))
	}
	if p.AtEnd != nil && p.Settled != nil {
		t.printf("  %-9s after %s more; write amplification %.2f before, %.2f after\n",
			"settled", Seconds(p.Settle), p.AtEnd.Factor, p.Settled.Factor)
		t.ledger(*p.Settled)
	}
	if len(p.Levels) > 0 && p.AtEnd != nil {
		t.levels(p.Levels)
	}
	if p.Space.Live > 0 && p.Space.Peak > 0 {
		live := float64(p.Space.Live)
		t.printf("  %-9s %s at the end, %.2f of live data (tables %.2f), average %.2f, peak %.2f; sorted runs %d, average %.1f, peak %d\n",
			"space", Bytes(p.Space.End), float64(p.Space.End)/live, float64(p.Space.Tables)/live, float64(p.Space.Average)/live, float64(p.Space.Peak)/live,
			p.Runs.End, p.Runs.Average, p.Runs.Peak)
	}
	if text := readText(p.Reads); text != "" {
		t.printf("  %-9s %s\n", "reads", text)
	}
	if p.Process.PeakRSS > 0 {
		t.printf("  %-9s %s peak resident, %s of CPU, collector %.1f %% of it\n",
			"process", Bytes(p.Process.PeakRSS), Seconds(p.Process.CPU), 100*p.Process.GCFraction)
	}
	for _, problem := range p.Problems {
		t.printf("  %s %s\n", t.paint(red, "WRONG    "), problem)
	}
	t.printf("\n")
}

func stallText(s StallStats) string {
	if s.Total == 0 {
		return "none"
	}
	causes := make([]string, 0, len(s.ByCause))
	for cause := range s.ByCause {
		causes = append(causes, cause)
	}
	sort.Slice(causes, func(i, j int) bool {
		a, b := s.ByCause[causes[i]], s.ByCause[causes[j]]
		return a > b || a == b && causes[i] < causes[j]
	})
	for i, cause := range causes {
		causes[i] = cause + " " + Seconds(s.ByCause[cause])
	}
	longest := Seconds(s.Longest)
	if s.Worst != "" {
		longest += " for " + s.Worst
	}
	return fmt.Sprintf("%s in %s waits, longest %s: %s", Seconds(s.Total), Count(s.Count), longest, strings.Join(causes, ", "))
}

func readText(r ReadStats) string {
	var parts []string
	if r.Gets > 0 {
		parts = append(parts, fmt.Sprintf("%.2f tables and %.3f device reads a get", perGet(r.TablesProbed, r.Gets), perGet(r.BlockReads, r.Gets)))
	} else if r.BlockReads > 0 {
		parts = append(parts, fmt.Sprintf("%s device reads", Count(r.BlockReads)))
	}
	if absent := r.FilterNegatives + r.FilterFalsePositives; absent > 0 {
		parts = append(parts, fmt.Sprintf("filter false positives %.2f %%", 100*float64(r.FilterFalsePositives)/float64(absent)))
	}
	if looked := r.CacheHits + r.CacheMisses; looked > 0 && r.Gets > 0 {
		parts = append(parts, fmt.Sprintf("cache hits %.1f %%", 100*float64(r.CacheHits)/float64(looked)))
	}
	return strings.Join(parts, ", ")
}

// ledger prints the bytes written by cause, with a bar for each, beside the kernel's count.
func (t *Text) ledger(a Amplification) {
	var most int64
	for _, r := range a.Rows {
		most = max(most, r.Bytes)
	}
	t.printf("  %-9s %s accepted\n", "written", Bytes(a.UserBytes))
	for _, r := range a.Rows {
		t.printf("    %-22s %10s  %5.2f  %s\n", rowName(r), Bytes(r.Bytes), a.Of(r.Bytes), t.paint(blue, Bar(r.Bytes, most)))
	}
	t.printf("    %-22s %10s  %5.2f  %s\n", "total", Bytes(a.Total), a.Factor, t.kernel(a))
}

func rowName(r WriteRow) string {
	name := r.Cause
	if r.Level >= 0 {
		name += fmt.Sprintf(" L%d", r.Level)
	}
	if r.Reason != "" && r.Reason != r.Cause {
		name += " " + r.Reason
	}
	return name
}

func (t *Text) kernel(a Amplification) string {
	if !a.Kernel.Comparable {
		return "kernel's count not comparable: " + a.Kernel.Note
	}
	s := fmt.Sprintf("kernel %s, %.2f (%s)", Bytes(a.Kernel.Bytes), a.Kernel.Factor, a.Kernel.difference())
	if a.Kernel.Cancelled > 0 {
		s += fmt.Sprintf(", %s cancelled", Bytes(a.Kernel.Cancelled))
	}
	return s
}

// levels prints the tree with a bar for the size of each level.
func (t *Text) levels(levels []LevelStats) {
	var most int64
	for _, l := range levels {
		most = max(most, l.Bytes)
	}
	name := "tree"
	for _, l := range levels {
		if l.Tables == 0 {
			continue
		}
		t.printf("  %-9s L%d %5d tables %10s  %s\n", name, l.Level, l.Tables, Bytes(l.Bytes), t.paint(blue, Bar(l.Bytes, most)))
		name = ""
	}
}

// Whole prints the sum of a run, the verdict on its ledger, and its problems.
func (t *Text) Whole(r Run) {
	w := r.Whole.Writes
	verdict := ""
	switch {
	case w.Problem() != "":
		verdict = t.paint(red, "ledger and kernel DISAGREE: ")
	case w.Kernel.Comparable && w.rest() > 0:
		verdict = fmt.Sprintf("the engine told %s of it, the rest is the kernel's: ", Bytes(w.Total-w.rest()))
	case w.Kernel.Comparable:
		verdict = t.paint(green, "ledger and kernel agree: ")
	}
	t.printf("%s  %s accepted, %s written, %.2f for one; %s%s; peak resident %s\n",
		t.paint(bold, r.Name), Bytes(w.UserBytes), Bytes(w.Total), w.Factor, verdict, t.kernel(w), Bytes(r.Whole.PeakRSS))
	if r.Isolation != nil && r.Isolation.Process {
		t.printf("  %s\n", *r.Isolation)
	}
	for _, p := range r.Problems {
		t.printf("%s %s\n", t.paint(red, "WRONG"), p)
	}
}

const barWidth = 24

// Bar draws n as a share of most, in eighths of a cell.
func Bar(n, most int64) string {
	if n <= 0 || most <= 0 {
		return ""
	}
	eighths := max(1, int(float64(n)/float64(most)*barWidth*8+0.5))
	bar := strings.Repeat("█", eighths/8)
	if rest := eighths % 8; rest > 0 {
		bar += string([]rune("▏▎▍▌▋▊▉")[rest-1])
	}
	return bar
}

// Seconds prints a duration with three digits and the unit that fits: "84.3 µs".
func Seconds(d time.Duration) string {
	f := float64(d)
	switch {
	case d < 0:
		return "-" + Seconds(-d)
	case d < time.Microsecond:
		return fmt.Sprintf("%d ns", int64(d))
	case d < time.Millisecond:
		return threeDigits(f/1e3) + " µs"
	case d < time.Second:
		return threeDigits(f/1e6) + " ms"
	case d < 100*time.Second:
		return threeDigits(f/1e9) + " s"
	}
	return d.Round(time.Second).String()
}
