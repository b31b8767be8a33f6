package chaos

import (
	"cmp"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/cambiumdb/cambium/distrib/check"
)

// Report is what a run has shown.
type Report struct {
	Nodes, Clients  int
	Lasted          time.Duration // of the load
	Healed          time.Duration // from its end until nodes owed each other nothing
	Gets, Writes    int           // Gets that have succeeded, and all writes
	Failed, Unknown int           // operations, gets too
	Windows         []Window
	Changes         []Changed
	Refusals        []string // what was said without metadata, each once
	Violations      []check.Violation
	Different       []string       // keys of which nodes do not hold the same in the end
	Causes          map[string]int // of what failed or is unknown, without keys and times
}

// Window is the time of a fault, until the cluster had recovered, or one without any: since the load began.
type Window struct {
	Kind, Name      string
	From, To        time.Duration
	Suspect, Down   time.Duration // from the fault until a node said so of another; 0: none did
	Recovered       time.Duration // from when it was mended, the node's start included where it had ended
	GapMax, GapHalf time.Duration // a client's longest time without a success: of the worst client, and the median
	Failed, Unknown int
	Late            int // of these, the operations that began after the fault did
}

// judge holds what clients were told against the end, and measures it.
func (r *Report) judge(l *load, final check.Final) {
	var h check.History
	r.Causes = map[string]int{}
	for _, w := range l.workers {
		h.Writes = append(h.Writes, w.history.Writes...)
		h.Reads = append(h.Reads, w.history.Reads...)
		r.Violations = append(r.Violations, w.wrong...)
		for _, f := range w.failures {
			r.Causes[f.outcome.String()+" "+r.cause(&f)]++
			if f.outcome == check.Failed {
				r.Failed++
			} else {
				r.Unknown++
			}
		}
	}
	r.Writes, r.Gets = len(h.Writes), len(h.Reads)
	r.Violations = append(r.Violations, check.Eventual(h, final)...)
	for i := range r.Windows {
		r.Windows[i].measure(l.workers)
	}
}

// cause is why an operation has failed, without what tells it from others of the same cause: keys, nodes and times.
func (r *Report) cause(f *failure) string {
	for _, w := range r.Windows {
		if w.Kind == allKilled && w.From <= f.ended && f.begun <= w.To {
			return "while " + w.Name
		}
	}
	return particular.ReplaceAllString(f.cause, "*")
}

var particular = regexp.MustCompile(`"key\d+"|\bn\d+\b|127\.0\.0\.1:\d+|\b[0-9.]+[µm]?s\b|\b[0-9a-f]{32}\b`)

func (w *Window) measure(workers []*worker) {
	var gaps []time.Duration
	begun := time.Duration(0)
	if w.Kind == calmKind { // what a fault brought about is not its
		begun = w.From
	}
	for _, c := range workers {
		gaps = append(gaps, longestGap(c.success, begun, w.From, w.To))
		for _, f := range c.failures {
			if f.ended < w.From || f.ended >= w.To {
				continue
			}
			if f.outcome == check.Failed {
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

// longestGap is the longest time between two successes, of those that lies at least in part between from and to. None
// counts from before begun; what is behind the last success counts up to to.
func longestGap(success []time.Duration, begun, from, to time.Duration) (longest time.Duration) {
	next, _ := slices.BinarySearch(success, from+1)
	before := begun
	if next > 0 {
		before = max(begun, success[next-1])
	}
	for _, s := range success[next:] {
		if before >= to {
			return longest
		}
		longest, before = max(longest, s-before), s
	}
	return max(longest, to-before)
}

// String is all: each fault, the kinds of faults, and what was wrong.
func (r *Report) String() string {
	var b strings.Builder
	t := tabwriter.NewWriter(&b, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(t, "at s\tfault\tsuspect ms\tdown ms\trecovered ms\tgap max ms\tgap median ms\tfailed\tunknown\tbegun in it\t")
	for _, w := range r.Windows {
		if w.Kind != calmKind {
			fmt.Fprintf(t, "%.1f\t%s\t%s\t%s\t%s\t%d\t%d\t%d\t%d\t%d\t\n", w.From.Seconds(), w.Name, orNone(w.Suspect), orNone(w.Down),
				orNone(w.Recovered), w.GapMax.Milliseconds(), w.GapHalf.Milliseconds(), w.Failed, w.Unknown, w.Late)
		}
	}
	_ = t.Flush() // a strings.Builder takes all
	return b.String() + "\n" + r.Summary()
}

// Summary is a line for each kind of fault, and what was wrong.
func (r *Report) Summary() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%d nodes, %d clients, %.0f s: %d gets, %d writes, %d failed, %d unknown; %d violations, %d keys differ; all agreed %.1f s after the end\n\n",
		r.Nodes, r.Clients, r.Lasted.Seconds(), r.Gets, r.Writes, r.Failed, r.Unknown, len(r.Violations), len(r.Different), r.Healed.Seconds())
	kinds := map[string][]Window{}
	for _, w := range r.Windows {
		kinds[w.Kind] = append(kinds[w.Kind], w)
	}
	t := tabwriter.NewWriter(&b, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(t, "fault\ttimes\tsuspect ms\tdown ms\trecovered ms\tgap ms\tlongest gap ms\tfailed\tunknown\tbegun in it\t")
	for _, kind := range slices.SortedFunc(maps.Keys(kinds), func(a, b string) int {
		return cmp.Or(cmp.Compare(kinds[a][0].From, kinds[b][0].From), cmp.Compare(a, b))
	}) {
		sum := Window{}
		var suspect, down, recovered, gaps []time.Duration
		for _, w := range kinds[kind] {
			suspect, down, recovered, gaps = append(suspect, w.Suspect), append(down, w.Down), append(recovered, w.Recovered), append(gaps, w.GapHalf)
			sum.GapMax = max(sum.GapMax, w.GapMax)
			sum.Failed, sum.Unknown, sum.Late = sum.Failed+w.Failed, sum.Unknown+w.Unknown, sum.Late+w.Late
		}
		fmt.Fprintf(t, "%s\t%d\t%s\t%s\t%s\t%s\t%d\t%d\t%d\t%d\t\n", kind, len(kinds[kind]), orNone(median(suspect)), orNone(median(down)), orNone(median(recovered)),
			orNone(median(gaps)), sum.GapMax.Milliseconds(), sum.Failed, sum.Unknown, sum.Late)
	}
	_ = t.Flush()
	r.rest(&b)
	return b.String()
}

// rest is what a table has no place for.
func (r *Report) rest(b *strings.Builder) {
	for _, c := range r.Changes {
		fmt.Fprintf(b, "%s\n", c)
	}
	for _, said := range r.Refusals {
		fmt.Fprintf(b, "refused: %s\n", said)
	}
	for _, cause := range slices.Sorted(maps.Keys(r.Causes)) {
		fmt.Fprintf(b, "%d times %s\n", r.Causes[cause], cause)
	}
	for _, v := range r.Violations {
		fmt.Fprintf(b, "VIOLATION %s\n", v)
	}
	for _, d := range r.Different {
		fmt.Fprintf(b, "DIFFERENT %s\n", d)
	}
}

// median is that of those that are not 0; 0: all are.
func median(list []time.Duration) time.Duration {
	list = slices.DeleteFunc(slices.Sorted(slices.Values(list)), func(d time.Duration) bool { return d == 0 })
	if len(list) == 0 {
		return 0
	}
	return list[len(list)/2]
}

func orNone(d time.Duration) string {
	if d == 0 {
		return "-"
	}
	return fmt.Sprint(d.Milliseconds())
}
