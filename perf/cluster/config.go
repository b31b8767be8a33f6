package cluster

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/cambiumdb/cambium/perf"
)

// Config is what is measured. It is part of every report.
type Config struct {
	Endpoints    []string      `json:"endpoints,omitempty"` // nodes of a cluster that runs; none: Nodes are started
	Nodes        int           `json:"nodes"`
	Peers        []string      `json:"peers,omitempty"` // of etcd, redis
	Consistency  string        `json:"consistency"`     // one, quorum, all, linearizable
	Sync         string        `json:"sync"`            // of the nodes that are started: per-write, per-second
	Clients      int           `json:"clients"`
	Keys         int64         `json:"keys"`
	ValueSize    perf.Size     `json:"value_size"`
	Compressible float64       `json:"compressible"`
	Mixes        []Mix         `json:"mixes"`
	Rate         Rate          `json:"rate"`
	Duration     time.Duration `json:"duration_ns"` // of each step
	Rounds       int           `json:"rounds"`
	Chaos        []Event       `json:"chaos,omitempty"`
	Seed         uint64        `json:"seed"`
}

// DefaultConfig is what is measured without flags, but for where.
func DefaultConfig() Config {
	return Config{
		Consistency: "quorum", Sync: "per-second", Clients: 64, Keys: 20_000, ValueSize: 1024, Compressible: 2,
		Mixes: []Mix{{Name: "put", Puts: 100}, {Name: "get", Puts: 0}}, Rate: HalfRate, Duration: 10 * time.Second, Rounds: 1, Seed: 1,
	}
}

// Own is the name of this project's engine; those of the others are what --peer takes.
const Own = "cambium"

// linearizable is the consistency of operations that have one order.
const linearizable = "linearizable"

// The peers.
const (
	Etcd  = "etcd"
	Redis = "redis"
)

// engines are all that are measured.
func (c Config) engines() []string { return append([]string{Own}, c.Peers...) }

// Validate returns a perf.UsageError that names the first field out of its bounds.
func (c Config) Validate() error {
	switch {
	case len(c.Endpoints) > 0 && c.Nodes > 0:
		return perf.Usagef("--endpoint and --start exclude each other: measure a cluster that runs, or one that is started here")
	case len(c.Endpoints) == 0 && (c.Nodes < 1 || c.Nodes > 9):
		return perf.Usagef("--start %d: want 1 to 9 nodes, or --endpoint HOST:PORT of a cluster that runs", c.Nodes)
	case len(c.Endpoints) > 0 && len(c.Chaos) > 0:
		return perf.Usagef("--chaos signals processes that were started here: use it with --start")
	case c.Clients < 1 || c.Clients > 4096:
		return perf.Usagef("--clients %d: want 1 to 4096", c.Clients)
	case c.Keys < int64(c.Clients) || c.Keys > 100_000_000:
		return perf.Usagef("--keys %d: want %d, a key for each client, to 100,000,000", c.Keys, c.Clients)
	case c.ValueSize < minValue || c.ValueSize > 1<<20:
		return perf.Usagef("--value-size %s: want %d (key and version) to 1MiB", c.ValueSize, minValue)
	case c.Duration <= 0:
		return perf.Usagef("--duration %s: want a positive time such as 10s", c.Duration)
	case c.Rounds < 1 || c.Rounds > 100:
		return perf.Usagef("--runs %d: want 1 to 100", c.Rounds)
	case len(c.Mixes) == 0:
		return perf.Usagef("--phases is empty: want some of put, get, cas")
	case slices.ContainsFunc(c.Mixes, func(m Mix) bool { return m.Swaps }) && (c.Consistency != linearizable || slices.Contains(c.Peers, Redis)):
		return perf.Usagef("--phases cas: want --consistency %s, and no peer but %s", linearizable, Etcd)
	}
	for _, p := range c.Peers {
		if p != Etcd && p != Redis {
			return perf.Usagef("--peer %q is not known: it takes %s, %s", p, Etcd, Redis)
		}
	}
	for _, f := range []struct {
		flag, got string
		want      []string
	}{
		{"--consistency", c.Consistency, []string{"one", "quorum", "all", linearizable}},
		{"--sync", c.Sync, []string{"per-write", "per-second"}},
	} {
		if !slices.Contains(f.want, f.got) {
			return perf.Usagef("%s %q is not available: it takes %s", f.flag, f.got, strings.Join(f.want, ", "))
		}
	}
	for _, e := range c.Chaos {
		if n := len(c.servers()); !slices.Contains(c.servers(), e.Node) {
			return perf.Usagef("--chaos %s: there is no %s: the servers are n1 to n%d", e, e.Node, n)
		}
	}
	return nil
}

// servers are the names of the servers of an engine.
func (c Config) servers() (names []string) {
	for i := range c.Nodes {
		names = append(names, fmt.Sprintf("n%d", i+1))
	}
	return names
}

// Mix is what the clients of a step do.
type Mix struct {
	Name string `json:"name"`
	Puts int    `json:"puts"` // of 100 operations; the rest are gets
	// Swaps: all clients increment one key by compare-and-swap, and an operation is an increment.
	Swaps bool `json:"swaps,omitempty"`
}

// ParsePhases reads steps that do one thing: put,get,cas.
func ParsePhases(s string) (all []Mix, err error) {
	for word := range strings.SplitSeq(s, ",") {
		switch strings.TrimSpace(word) {
		case "put":
			all = append(all, Mix{Name: "put", Puts: 100})
		case "get":
			all = append(all, Mix{Name: "get", Puts: 0})
		case "cas":
			all = append(all, Mix{Name: "cas", Swaps: true})
		default:
			return nil, perf.Usagef("--phases %q: %q is not known: it takes put, get, cas", s, word)
		}
	}
	return all, nil
}

// ParseMix reads the shares of one step that does both: put=50,get=50.
func ParseMix(s string) (Mix, error) {
	shares := map[string]int{}
	for part := range strings.SplitSeq(s, ",") {
		name, value, _ := strings.Cut(strings.TrimSpace(part), "=")
		n, err := strconv.Atoi(value)
		_, twice := shares[name]
		if err != nil || n < 0 || twice || name != "put" && name != "get" {
			return Mix{}, perf.Usagef("--mix %q: %q is not a share: write it like put=50,get=50", s, part)
		}
		shares[name] = n
	}
	if shares["put"]+shares["get"] != 100 {
		return Mix{}, perf.Usagef("--mix %q: the shares make %d: want 100", s, shares["put"]+shares["get"])
	}
	return Mix{Name: "mix", Puts: shares["put"]}, nil
}

// Rate is how many operations a second all clients together begin. It is a flag value.
type Rate float64

// The rates that are not numbers.
const (
	MaxRate  Rate = 0  // as many as go: closed loop
	HalfRate Rate = -1 // that, and then half as many as went
)

// Set reads a number, max or half.
func (r *Rate) Set(s string) error {
	switch s {
	case "max":
		*r = MaxRate
		return nil
	case "half", "50%":
		*r = HalfRate
		return nil
	}
	n, err := strconv.ParseFloat(s, 64)
	if err != nil || !(n > 0 && n <= 1e9) {
		return perf.Usagef("rate %q: want operations a second, max or half", s)
	}
	*r = Rate(n)
	return nil
}

// Type names the kind of value in help texts.
func (r *Rate) Type() string { return "rate" }

// String is what Set reads.
func (r *Rate) String() string {
	switch *r {
	case MaxRate:
		return "max"
	case HalfRate:
		return "half"
	}
	return strconv.FormatFloat(float64(*r), 'f', -1, 64)
}
