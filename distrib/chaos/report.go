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
	Nodes           int
	Clients, Linear int           // with eventual operations, and with linearizable ones
	Lasted          time.Duration // of the load
	Healed          time.Duration // from its end until nodes owed each other nothing
	Gets, Writes    int           // Gets that have succeeded, and all writes
	Failed, Unknown int           // operations, gets too
	Windows         []Window
	Changes         []Changed
	Refusals        []string // what was said without metadata, each once
	Steps, Keys     int      // linearizable operations that were judged, and eventual ones on their keys
	Twice           int      // keys of these on which a write that nodes have stored as two came to light twice
	Undecided       []string // of these
	Counter         *Counted // nil: there was none
	Violations      []check.Violation
	Different       []string       // keys of which nodes do not hold the same in the end
	Causes          map[string]int // of what failed or is unknown, without keys and times
}

// Window is the time of a fault, until the cluster had recovered, or one without any: since the load began.
type Window struct {
	Kind, Name    string
	From, To      time.Duration
	Suspect, Down time.Duration // from the fault until a node said so of another; 0: none did
	Recovered     time.Duration // from when it was mended, the node's start included where it had ended
	Eventual      Felt
	Linear        Felt
}

// Felt is what clients have felt of a fault.
type Felt struct {
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
	}
	var eventual, linear []*user
	for _, u := range l.users {
		if u.number < r.Clients {
			eventual = append(eventual, u)
		} else {
			linear = append(linear, u)
		}
		r.Violations = append(r.Violations, u.wrong...)
		for _, f := range u.failures {
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
		w := &r.Windows[i]
		w.Eventual, w.Linear = w.measure(eventual), w.measure(linear)
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

var particular = regexp.MustCompile(`"((key|linear)[\d.]+|counter)"|\bn\d+\b|127\.0\.0\.1:\d+|\b[0-9.]+[µm]?s\b|\b[0-9a-f]{32}\b`)

// measure is what users have felt.
func (w *Window) measure(users []*user) (felt Felt) {
	var gaps []time.Duration
	begun := time.Duration(0)
	if w.Kind == calmKind { // what a fault brought about is not its
		begun = w.From
	}
	for _, u := range users {
		gaps = append(gaps, longestGap(u.success, begun, w.From, w.To))
		for _, f := range u.failures {
			if f.ended < w.From || f.ended >= w.To {
				continue
			}
			if f.outcome == check.Failed {
				felt.Failed++
			} else {
				felt.Unknown++
			}
			if f.begun > w.From {
				felt.Late++
			}
		}
	}
	if slices.Sort(gaps); len(gaps) > 0 {
		felt.GapMax, felt.GapHalf = gaps[len(gaps)-1], gaps[len(gaps)/2]
	}
	return felt
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
	fmt.Fprintln(t, "at s\tfault\tsuspect ms\tdown ms\trecovered ms\t"+r.feltHead("gap max ms", "gap median ms"))
	for _, w := range r.Windows {
		if w.Kind != calmKind {
			fmt.Fprintf(t, "%.1f\t%s\t%s\t%s\t%s\t%s\n", w.From.Seconds(), w.Name, orNone(w.Suspect), orNone(w.Down), orNone(w.Recovered),
				r.felt(&w, func(f Felt) string { return fmt.Sprintf("%d\t%d", f.GapMax.Milliseconds(), f.GapHalf.Milliseconds()) }))
		}
	}
	_ = t.Flush() // a strings.Builder takes all
	return b.String() + "\n" + r.Summary()
}

// feltHead are the heads of columns for what clients felt.
func (r *Report) feltHead(gaps ...string) (head string) {
	of := func(whose string) {
		for _, name := range append(gaps, "failed", "unknown", "begun in it") {
			head += whose + name + "\t"
		}
	}
	if r.Clients > 0 {
		of("")
	}
	if r.Linear > 0 {
		of("linear ")
	}
	return head
}

// felt are the columns themselves. gaps makes those of gaps.
func (r *Report) felt(w *Window, gaps func(Felt) string) (columns string) {
	of := func(f Felt) { columns += fmt.Sprintf("%s\t%d\t%d\t%d\t", gaps(f), f.Failed, f.Unknown, f.Late) }
	if r.Clients > 0 {
		of(w.Eventual)
	}
	if r.Linear > 0 {
		of(w.Linear)
	}
	return columns
}

// Summary is a line for each kind of fault, and what was wrong.
func (r *Report) Summary() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%d nodes, %d clients, %.0f s: %d gets, %d writes, %d failed, %d unknown; %d violations, %d keys differ; all agreed %.1f s after the end\n",
		r.Nodes, r.Clients+r.Linear, r.Lasted.Seconds(), r.Gets, r.Writes, r.Failed, r.Unknown, len(r.Violations), len(r.Different), r.Healed.Seconds())
	if r.Steps > 0 {
		fmt.Fprintf(&b, "%d clients of them linearizable: %d operations on %d keys were judged, %d keys undecided, %d right but for a write that came twice; clocks up to %s off\n",
			r.Linear, r.Steps, r.Keys, len(r.Undecided), r.Twice, maxOff)
	}
	if c := r.Counter; c != nil {
		fmt.Fprintf(&b, "%d clients have incremented one key %d times each in %.0f s: it is %d; %d were acknowledged, %d of them by Resolve, %d are unknown; %d tries found another number\n",
			c.Clients, c.Each, c.Took.Seconds(), c.End, c.Acknowledged, c.Resolved, c.Unknown, c.Lost)
	}
	fmt.Fprintln(&b)
	kinds := map[string][]Window{}
	for _, w := range r.Windows {
		kinds[w.Kind] = append(kinds[w.Kind], w)
	}
	t := tabwriter.NewWriter(&b, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(t, "fault\ttimes\tsuspect ms\tdown ms\trecovered ms\t"+r.feltHead("gap ms", "longest gap ms"))
	for _, kind := range slices.SortedFunc(maps.Keys(kinds), func(a, b string) int {
		return cmp.Or(cmp.Compare(kinds[a][0].From, kinds[b][0].From), cmp.Compare(a, b))
	}) {
		var suspect, down, recovered []time.Duration
		for _, w := range kinds[kind] {
			suspect, down, recovered = append(suspect, w.Suspect), append(down, w.Down), append(recovered, w.Recovered)
		}
		sum := Window{
			Eventual: sumOf(kinds[kind], func(w Window) Felt { return w.Eventual }),
			Linear:   sumOf(kinds[kind], func(w Window) Felt { return w.Linear }),
		}
		fmt.Fprintf(t, "%s\t%d\t%s\t%s\t%s\t%s\n", kind, len(kinds[kind]), orNone(median(suspect)), orNone(median(down)), orNone(median(recovered)),
			r.felt(&sum, func(f Felt) string { return fmt.Sprintf("%s\t%d", orNone(f.GapHalf), f.GapMax.Milliseconds()) }))
	}
	_ = t.Flush()
	r.rest(&b)
	return b.String()
}

// sumOf is what clients have felt of faults of one kind: the longest gap, and the median of the median clients'.
func sumOf(windows []Window, of func(Window) Felt) (sum Felt) {
	var gaps []time.Duration
	for _, w := range windows {
		f := of(w)
		gaps = append(gaps, f.GapHalf)
		sum.GapMax = max(sum.GapMax, f.GapMax)
		sum.Failed, sum.Unknown, sum.Late = sum.Failed+f.Failed, sum.Unknown+f.Unknown, sum.Late+f.Late
	}
	sum.GapHalf = median(gaps)
	return sum
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
	for _, key := range r.Undecided {
		fmt.Fprintf(b, "undecided: %s\n", key)
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
