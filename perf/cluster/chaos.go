package cluster

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/cambiumdb/cambium/perf"
)

// Event is something that is done to a server while a step goes on.
type Event struct {
	Do   string        `json:"do"` // kill: SIGKILL, and a new start after For; stop: SIGSTOP, and SIGCONT after For
	Node string        `json:"node"`
	At   time.Duration `json:"at_ns"`            // since the step began
	For  time.Duration `json:"for_ns,omitempty"` // 0: until the step has ended
}

// String is what ParseChaos reads.
func (e Event) String() string {
	s := fmt.Sprintf("%s:%s@%s", e.Do, e.Node, e.At)
	if e.For > 0 {
		s += "+" + e.For.String()
	}
	return s
}

// ParseChaos reads events: kill:n3@30s,stop:n2@5s+3s.
func ParseChaos(s string) (events []Event, err error) {
	if s == "" {
		return nil, nil
	}
	for text := range strings.SplitSeq(s, ",") {
		e, ok := parseEvent(strings.TrimSpace(text))
		if !ok {
			return nil, perf.Usagef("--chaos %q is not an event: write it like kill:n3@30s, kill:n3@30s+5s (started again after 5s) or stop:n2@5s+3s", text)
		}
		events = append(events, e)
	}
	slices.SortStableFunc(events, func(a, b Event) int { return cmp.Compare(a.At, b.At) })
	for i, e := range events {
		for _, later := range events[i+1:] {
			if later.Node == e.Node && (e.For == 0 || later.At < e.At+e.For) {
				return nil, perf.Usagef("--chaos: %s is to happen while %s lasts", later, e)
			}
		}
	}
	return events, nil
}

func parseEvent(s string) (e Event, ok bool) {
	var when string
	e.Do, s, ok = strings.Cut(s, ":")
	if !ok || e.Do != "kill" && e.Do != "stop" {
		return e, false
	}
	e.Node, when, ok = strings.Cut(s, "@")
	if !ok || e.Node == "" {
		return e, false
	}
	at, lasts, limited := strings.Cut(when, "+")
	var err error
	if e.At, err = time.ParseDuration(at); err != nil || e.At < 0 {
		return e, false
	}
	if limited {
		e.For, err = time.ParseDuration(lasts)
		ok = err == nil && e.For > 0
	}
	return e, ok
}

// moment is when something is done to a server.
type moment struct {
	at   time.Duration
	do   string // kill, start, stop, continue
	node string
}

// moments are what events come to, in order, within a step that takes so long.
func moments(events []Event, length time.Duration) (all []moment) {
	undo := map[string]string{"kill": "start", "stop": "continue"}
	for _, e := range events {
		if e.At >= length {
			continue
		}
		all = append(all, moment{e.At, e.Do, e.Node})
		if end := e.At + e.For; e.For > 0 && end < length {
			all = append(all, moment{end, undo[e.Do], e.Node})
		}
	}
	slices.SortStableFunc(all, func(a, b moment) int { return cmp.Compare(a.at, b.at) })
	return all
}
