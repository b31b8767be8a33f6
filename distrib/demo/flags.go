package demo

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/cambiumdb/cambium/distrib/api"
)

// flag is one that statements may have.
type flag struct {
	name  string
	value string // what stands behind it; empty: nothing does
	help  string
	set   func(o *options, value string) error
}

var flags = []flag{
	{"--consistency", "LEVEL", "how many nodes must answer: one, quorum (the default), all; or linearizable", func(o *options, s string) error {
		c, known := api.Consistency_value[strings.ToUpper(s)]
		if !known || c == 0 {
			return fmt.Errorf("%q is not a consistency: one, quorum, all or linearizable was expected", s)
		}
		o.need().Consistency = api.Consistency(c)
		return nil
	}},
	{"-r", "R", "that many nodes must answer a read", setNodes},
	{"-w", "W", "that many nodes must have stored a write", setNodes},
	{"--strict", "", "no other node may stand in for one that the key lives on", func(o *options, _ string) error {
		o.need().Strict = true
		return nil
	}},
	{"--at", "N", "ask node N, as another client that remembers what it has read", func(o *options, s string) (err error) {
		o.at, err = parseNode(s)
		return err
	}},
	{"--no-context", "", "do not say what was read before: the value stands beside what is there", func(o *options, _ string) error {
		o.noContext = true
		return nil
	}},
	{"--ttl", "TIME", "the value expires after this time, as in 30s", func(o *options, s string) (err error) {
		if o.ttl, err = time.ParseDuration(s); err != nil || o.ttl < time.Millisecond {
			return fmt.Errorf("%q is not a time to live: 1ms or more was expected, as in 30s", s)
		}
		return nil
	}},
	{"--old", "OLD", "swap if this is the value", func(o *options, s string) error {
		o.old = &s
		return nil
	}},
	{"--absent", "", "swap if there is no value", func(o *options, _ string) error {
		o.absent = true
		return nil
	}},
}

func (o *options) need() *api.Level {
	if o.level == nil {
		o.level = &api.Level{}
	}
	return o.level
}

func setNodes(o *options, s string) error {
	n, err := strconv.ParseUint(s, 10, 16)
	if err != nil || n == 0 {
		return fmt.Errorf("%q is not a number of nodes: 1 or more was expected", s)
	}
	o.need().Nodes = uint32(n)
	return nil
}

// flag takes the flag at the start of words and returns what stands behind it.
func (st *statement) flag(words []word, end int) (rest []word, err error) {
	name, value, joined := strings.Cut(words[0].text, "=")
	at := words[0].at
	i := slices.IndexFunc(flags, func(f flag) bool { return f.name == name })
	if i < 0 || !slices.Contains(st.verb.flags, name) {
		return nil, faultf(at, "%s has no flag %s: %s was expected", st.verb.name, name, st.verb.usage())
	}
	f, rest := flags[i], words[1:]
	switch {
	case f.value == "" && joined:
		return nil, faultf(at, "%s takes no value", name)
	case f.value != "" && !joined && len(rest) == 0:
		return nil, faultf(end, "%s needs a value: %s %s was expected", name, name, f.value)
	case f.value != "" && !joined:
		value, at, rest = rest[0].text, rest[0].at, rest[1:]
	}
	if err := f.set(&st.opts, value); err != nil {
		return nil, faultf(at, "%s: %s", name, err)
	}
	if l := st.opts.level; l != nil && l.Nodes > 0 && l.Consistency > 0 {
		return nil, faultf(at, "both --consistency and a number of nodes: one of them was expected")
	}
	return rest, nil
}
