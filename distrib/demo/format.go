package demo

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"unicode"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/cambiumdb/cambium/distrib/api"
)

// absent reports whether a key has no value: all of it was deleted.
func absent(siblings []*api.Sibling) bool {
	return !slices.ContainsFunc(siblings, func(v *api.Sibling) bool { return !v.GetDeleted() })
}

// format shows a key and its values, a line each, in an order that does not depend on who answered.
func (s *Shell) format(key string, siblings []*api.Sibling) string {
	if len(siblings) == 1 {
		return fmt.Sprintf("%s = %s\n", quote(key), s.formatValue(key, siblings[0], s.formatDot))
	}
	siblings = slices.Clone(siblings)
	slices.SortFunc(siblings, func(a, b *api.Sibling) int {
		return cmp.Or(strings.Compare(string(a.GetValue()), string(b.GetValue())), compareDots(a.GetDot(), b.GetDot()))
	})
	var b strings.Builder
	fmt.Fprintf(&b, "%s has %d values, of which none replaces another:\n", quote(key), len(siblings))
	for _, v := range siblings {
		fmt.Fprintf(&b, "  %s\n", s.formatValue(key, v, s.formatClock))
	}
	return b.String()
}

func compareDots(a, b *api.Dot) int {
	return cmp.Or(cmp.Compare(a.GetNode(), b.GetNode()), cmp.Compare(a.GetBirth(), b.GetBirth()), cmp.Compare(a.GetCounter(), b.GetCounter()))
}

// formatValue shows a value, and what stands for its version. Nodes tell the whole clock only of values of which there
// are several.
func (s *Shell) formatValue(key string, v *api.Sibling, version func(key string, v *api.Sibling) string) string {
	text := quote(string(v.GetValue()))
	if v.GetDeleted() {
		text = "(deleted)"
	}
	text += "  [" + version(key, v) + "]"
	if v.GetExpiresMs() > 0 {
		text += "  expires"
	}
	return text
}

// formatDot shows which write stored v: n1:2 is the second of those that n1 stored first. n1.2:1 is from n1's second
// birth that was shown of the key; register:3 is the third that its register ordered.
func (s *Shell) formatDot(key string, v *api.Sibling) string {
	d := v.GetDot()
	return fmt.Sprintf("%s%s:%d", s.names[d.GetNode()], s.birth(key, d.GetNode(), d.GetBirth()), d.GetCounter())
}

// formatClock shows what the writer of v had seen once it was written: n1:2 n3:1 are writes 1 and 2 that n1 stored
// first and 1 that n3 did. n1:2+4 are 1, 2 and 4, n1:+4 is 4 alone.
func (s *Shell) formatClock(key string, v *api.Sibling) string {
	type count struct {
		node, birth, last uint64
		beyond            []uint64
	}
	var counts []count
	for _, e := range v.GetPast() {
		counts = append(counts, count{e.GetNode(), e.GetBirth(), e.GetLast(), slices.Clone(e.GetBeyond())})
	}
	d := v.GetDot()
	i := slices.IndexFunc(counts, func(c count) bool { return c.node == d.GetNode() && c.birth == d.GetBirth() })
	if i < 0 {
		i = len(counts)
		counts = append(counts, count{node: d.GetNode(), birth: d.GetBirth()})
	}
	counts[i].beyond = append(counts[i].beyond, d.GetCounter())
	slices.SortFunc(counts, func(a, b count) int { return cmp.Or(cmp.Compare(a.node, b.node), cmp.Compare(a.birth, b.birth)) })
	var parts []string
	for _, c := range counts {
		slices.Sort(c.beyond)
		for len(c.beyond) > 0 && c.beyond[0] <= c.last+1 {
			c.last, c.beyond = max(c.last, c.beyond[0]), c.beyond[1:]
		}
		part := s.names[c.node] + s.birth(key, c.node, c.birth) + ":"
		if c.last > 0 {
			part += strconv.FormatUint(c.last, 10)
		}
		for _, b := range c.beyond {
			part += "+" + strconv.FormatUint(b, 10)
		}
		parts = append(parts, part)
	}
	return strings.Join(parts, " ")
}

// birth numbers the births of a node's copies of a key as they are shown: the numbers that nodes give them are
// long. The first has none.
func (s *Shell) birth(key string, node, birth uint64) string {
	k := birthKey{key, node}
	i := slices.Index(s.births[k], birth)
	if i < 0 {
		i = len(s.births[k])
		s.births[k] = append(s.births[k], birth)
	}
	if i == 0 {
		return ""
	}
	return fmt.Sprintf(".%d", i+1)
}

// quote shows a text as it is where that is a word, else quoted.
func quote(text string) string {
	plain := func(r rune) bool {
		return unicode.IsGraphic(r) && !unicode.IsSpace(r) && r != '"' && r != unicode.ReplacementChar
	}
	if text != "" && strings.IndexFunc(text, func(r rune) bool { return !plain(r) }) < 0 {
		return text
	}
	return strconv.Quote(text)
}

func plural(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}

// listed is n1, n2, n3.
func listed(names []string) string { return strings.Join(names, ", ") }

// failed says why a request failed: what became of it, and what each node said. Which node was how slow stands in
// the message of the node that was asked, and is left out: it is never the same twice.
func (s *Shell) failed(st *statement, err error) error {
	answer, _ := status.FromError(err)
	var f *api.Failure
	for _, d := range answer.Details() {
		if f == nil {
			f, _ = d.(*api.Failure)
		}
	}
	if f == nil {
		f = unexplained(st, answer)
	}
	var p problem
	switch {
	case f.GetReason() == "MISMATCH":
		return s.mismatch(st, f)
	case answer.Code() == codes.InvalidArgument:
		p = problem{exitUsage, []string{"refused: " + answer.Message()}}
	case f.GetOutcome() == api.Failure_UNKNOWN:
		p = problem{exitUnknown, []string{"unknown: not enough nodes have confirmed it" + formatReason(f) + "; it may have happened, or may still"}}
	case len(f.GetReplicas()) == 0:
		p = problem{exitUnavailable, []string{"failed: " + answer.Message()}}
	default:
		p = problem{exitUnavailable, []string{"failed: not enough nodes answered" + formatReason(f)}}
	}
	if states := formatReplicas(f.GetReplicas()); states != "" {
		p.lines = append(p.lines, states)
	}
	if p.code == exitUnknown {
		p.lines = append(p.lines, "try: resolve "+quote(st.args[0]))
	}
	return &p
}

// mismatch says that others have written since the client of a statement has read the key.
func (s *Shell) mismatch(st *statement, f *api.Failure) *problem {
	if f.GetCurrent() == nil { // it is too long for a status
		return &problem{exitNotFound, []string{"lost: others have written " + quote(st.args[0]) + " since it was read"}}
	}
	return s.lost(st, f.GetCurrent())
}

// unexplained is what is known of a request that no node has judged: the way to it broke, or it took too long.
func unexplained(st *statement, answer *status.Status) *api.Failure {
	f := &api.Failure{Outcome: api.Failure_FAILED, Reason: strings.ToUpper(answer.Code().String())}
	writes := slices.Contains([]string{"put", "del", "cas"}, st.verb.name)
	if writes && slices.Contains([]codes.Code{codes.Unavailable, codes.DeadlineExceeded, codes.Canceled, codes.Unknown, codes.Internal}, answer.Code()) {
		f.Outcome = api.Failure_UNKNOWN
	}
	return f
}

// formatReason is why, unless it is that nodes did not answer.
func formatReason(f *api.Failure) string {
	switch r := f.GetReason(); r {
	case "", "UNAVAILABLE", "TIMEOUT":
		return ""
	default:
		return " (" + r + ")"
	}
}

// formatReplicas is n1 acknowledged; n2, n3 did not answer. Whether a node was asked in vain, or not at all since it was
// known to be down, is a race.
func formatReplicas(list []*api.ReplicaState) string {
	by := map[string][]string{}
	var states []string
	for _, r := range list {
		state := r.GetState()
		if state == "down" || state == "no answer" {
			state = "did not answer"
		}
		if len(by[state]) == 0 {
			states = append(states, state)
		}
		by[state] = append(by[state], r.GetNode())
	}
	slices.Sort(states)
	for i, state := range states {
		slices.Sort(by[state])
		states[i] = listed(by[state]) + " " + state
	}
	return strings.Join(states, "; ")
}
