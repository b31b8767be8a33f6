package chaos

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"text/tabwriter"
	"time"
)

// Report is what a run has shown.
type Report struct {
	Nodes, Clients int
	Lasted         time.Duration // of the load
	Healed         time.Duration // from its end until nodes owed each other nothing
	Gets, Writes   int           // Gets that have succeeded, and all writes
	Windows        []Window
	Violations     []Violation
	Different      []string // keys of which nodes do not hold the same in the end
	Causes         map[string]int
}

// Window is the time of a fault, until the cluster had recovered, or one without any: since the load began.
type Window struct {
	Name            string
	From, To        time.Duration
	Suspect, Down   time.Duration // from the fault until a node said so of another; 0: none did
	Recovered       time.Duration // from when it was mended, the node's start included where it had ended
	GapMax, GapHalf time.Duration // a client's longest time without a success: of the worst client, and the median
	Failed, Unknown int
	Late            int // of these, the operations that began after the fault did
}

// judge holds what clients were told against the end, and measures it.
func (r *Report) judge(l *load, final Final) {
	var h History
	r.Causes = map[string]int{}
	for _, w := range l.workers {
		h.Writes = append(h.Writes, w.history.Writes...)
		h.Reads = append(h.Reads, w.history.Reads...)
		r.Violations = append(r.Violations, w.wrong...)
		for _, f := range w.failures {
			r.Causes[f.outcome.String()+" "+f.cause]++
		}
	}
	r.Writes, r.Gets = len(h.Writes), len(h.Reads)
	r.Violations = append(r.Violations, Check(h, final)...)
	for i := range r.Windows {
		r.Windows[i].measure(l.workers)
	}
}

func (w *Window) measure(workers []*worker) {
	var gaps []time.Duration
	for _, c := range workers {
		gaps = append(gaps, longestGap(c.success, w.From, w.To))
		for _, f := range c.failures {
			if f.ended < w.From || f.ended >= w.To {
				continue
			}
			if f.outcome == Failed {
				w.Failed++
			} else {
				w.Unknown++
			}
			if f.begun > w.From {
				w.Late++
			}
		}
	}
	slices.Sort(gaps)
	w.GapMax, w.GapHalf = gaps[len(gaps)-1], gaps[len(gaps)/2]
}

// longestGap is the longest time between two successes, of those that lies at least in part between from and to. The
// first began at 0; what is behind the last one counts up to to.
func longestGap(success []time.Duration, from, to time.Duration) (longest time.Duration) {
	before := time.Duration(0)
	for _, s := range success {
		if before >= to {
			return longest
		}
		if s > from {
			longest = max(longest, s-before)
		}
		before = s
	}
	return max(longest, to-max(before, 0))
}

// String is a table of all faults, and what was wrong.
func (r *Report) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%d nodes, %d clients, %.1f s: %d gets, %d writes; agreed %.1f s after the end\n", r.Nodes, r.Clients, r.Lasted.Seconds(), r.Gets, r.Writes, r.Healed.Seconds())
	t := tabwriter.NewWriter(&b, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(t, "at s\tfault\tsuspect ms\tdown ms\trecovered ms\tgap max ms\tgap median ms\tfailed\tunknown\tbegun in it\t")
	var calm Window
	for _, w := range r.Windows {
		if w.Name == "calm" {
			calm.GapMax, calm.GapHalf = max(calm.GapMax, w.GapMax), max(calm.GapHalf, w.GapHalf)
			calm.Failed, calm.Unknown, calm.Late = calm.Failed+w.Failed, calm.Unknown+w.Unknown, calm.Late+w.Late
			continue
		}
		fmt.Fprintf(t, "%.1f\t%s\t%s\t%s\t%d\t%d\t%d\t%d\t%d\t%d\t\n", w.From.Seconds(), w.Name, orNone(w.Suspect), orNone(w.Down),
			w.Recovered.Milliseconds(), w.GapMax.Milliseconds(), w.GapHalf.Milliseconds(), w.Failed, w.Unknown, w.Late)
	}
	fmt.Fprintf(t, "\tno fault\t\t\t\t%d\t%d\t%d\t%d\t%d\t\n", calm.GapMax.Milliseconds(), calm.GapHalf.Milliseconds(), calm.Failed, calm.Unknown, calm.Late)
	_ = t.Flush() // a strings.Builder takes all
	for _, cause := range slices.Sorted(maps.Keys(r.Causes)) {
		fmt.Fprintf(&b, "%d times %s\n", r.Causes[cause], cause)
	}
	for _, v := range r.Violations {
		fmt.Fprintf(&b, "VIOLATION %s\n", v)
	}
	for _, d := range r.Different {
		fmt.Fprintf(&b, "DIFFERENT %s\n", d)
	}
	return b.String()
}

func orNone(d time.Duration) string {
	if d == 0 {
		return "-"
	}
	return fmt.Sprint(d.Milliseconds())
}
