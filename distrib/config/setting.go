package config

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/cambiumdb/cambium/distrib"
	"github.com/cambiumdb/cambium/distrib/certs"
)

// setting is one that a node knows. set changes nothing where it returns an error, which says what is wanted.
type setting struct {
	key   string
	kind  string // for people: string, host:port, list, number, bytes, bool
	value string // default
	help  string
	set   func(c *Config, text string) error
	get   func(c *Config) string
}

func (s setting) flag() string { return strings.ReplaceAll(s.key, ".", "-") }

func (s setting) variable() string {
	return "CAMBIUM_" + strings.ToUpper(strings.NewReplacer(".", "_", "-", "_").Replace(s.key))
}

// The limits.
const (
	minWeight, maxWeight = 1.0 / 16, 16
	maxReplicas          = 7
	minMemory            = 64 << 20
	minHintBytes         = 1 << 20
	minHintRate          = 64 << 10
	maxOperations        = 1 << 20
	minOperationBytes    = 16 << 20 // more than the largest value
	maxBytes             = 1 << 50
)

var settings = []setting{
	word("name", "", "name of the node, unique in its cluster, the same at every start", func(c *Config) *string { return &c.Name }, optional(certs.CheckName)),
	word("dir", "", "directory of all that the node keeps", func(c *Config) *string { return &c.Dir }, nil),
	address("listen", "127.0.0.1:7800", "host:port of gRPC; port 0 is any that is free", func(c *Config) *string { return &c.Listen }, checkListen),
	address("advertise", "", "host:port of gRPC that others are told (default: listen)", func(c *Config) *string { return &c.Advertise }, optional(checkReach)),
	address("http", "", "host:port of health, metrics and profiles; port 0 is any that is free (default: none)", func(c *Config) *string { return &c.HTTP }, optional(checkListen)),
	address("gossip", "", "IP:port of gossip, UDP and TCP (default: the host of listen, any free port)", func(c *Config) *string { return &c.Gossip }, optional(checkIP)),
	list("join", "host:port of some nodes of the cluster to be joined; none: the node founds one, or comes back", func(c *Config) *[]string { return &c.Join }, checkReach),
	list("etcd", "endpoints of an etcd of your own for the ring metadata (default: nodes run it)", func(c *Config) *[]string { return &c.Etcd }, checkEndpoint),
	word("zone", "", "where the node fails together with others: copies are kept in different zones", func(c *Config) *string { return &c.Zone }, optional(certs.CheckName)),
	{"weight", "number", "1", fmt.Sprintf("how much the node holds beside others, %g to %d", minWeight, maxWeight), setWeight,
		func(c *Config) string { return strconv.FormatFloat(c.Weight, 'g', -1, 64) }},
	{"replicas", "number", "3", fmt.Sprintf("copies of each key in a cluster that this node founds, 1 to %d", maxReplicas), setReplicas,
		func(c *Config) string { return strconv.Itoa(c.Replicas) }},
	{"sync", "string", "per-second", "when a write is durable at each node: per-write or per-second", setSync, func(c *Config) string { return syncs[c.Sync] }},
	{"promote", "string", "on-demand", "when a key becomes linearizable: on-demand, with the first linearizable operation on it; or never: those are refused", setPromote,
		func(c *Config) string { return map[bool]string{false: "on-demand", true: "never"}[c.NeverPromote] }},
	size("memory", "0", "what the engine may take: its budget in bytes, or as 512MiB; 0: a quarter of the machine's, at most 1GiB", func(c *Config) *int64 { return &c.Memory }, minMemory, true),
	size("hints.bytes", "1GiB", "what is kept at most for each node that does not answer", func(c *Config) *int64 { return &c.HintBytes }, minHintBytes, false),
	size("hints.rate", "64MiB", "how much of it a second is handed over at most to those that are back", func(c *Config) *int64 { return &c.HintRate }, minHintRate, false),
	{"operations.limit", "number", "4096", fmt.Sprintf("how many operations of clients are carried out at a time, 1 to %d; others are refused", maxOperations), setOperations,
		func(c *Config) string { return strconv.Itoa(c.Operations) }},
	size("operations.bytes", "256MiB", "what their keys and values take at most", func(c *Config) *int64 { return &c.OperationBytes }, minOperationBytes, false),
	word("tls.ca", "", "file of the certificates of CAs to trust", func(c *Config) *string { return &c.TLS.CA }, nil),
	word("tls.cert", "", "file of the node's certificate", func(c *Config) *string { return &c.TLS.Cert }, nil),
	word("tls.key", "", "file of its private key", func(c *Config) *string { return &c.TLS.Key }, nil),
	flag("insecure", "be reached from other machines without TLS", func(c *Config) *bool { return &c.Insecure }),
	flag("allow-faults", "let anybody cut the node off, for demonstrations and tests", func(c *Config) *bool { return &c.AllowFaults }),
	{"clock-offset", "duration", "0s", "how far off this node's clock is, for tests; with allow-faults only", setClockOffset,
		func(c *Config) string { return c.ClockOffset.String() }},
	{"log.level", "string", "info", "what is logged: debug, info, warn or error", setLevel, func(c *Config) string { return strings.ToLower(c.LogLevel.String()) }},
}

func word(key, value, help string, at func(*Config) *string, check func(string) error) setting {
	return setting{key, "string", value, help, func(c *Config, text string) error {
		if check != nil {
			if err := check(text); err != nil {
				return err
			}
		}
		*at(c) = text
		return nil
	}, func(c *Config) string { return *at(c) }}
}

func address(key, value, help string, at func(*Config) *string, check func(string) error) setting {
	s := word(key, value, help, at, check)
	s.kind = "host:port"
	return s
}

func list(key, help string, at func(*Config) *[]string, check func(string) error) setting {
	return setting{key, "list", "", help, func(c *Config, text string) error {
		var items []string
		for item := range strings.SplitSeq(text, ",") {
			if item = strings.TrimSpace(item); item == "" {
				continue
			}
			if err := check(item); err != nil {
				return err
			}
			items = append(items, item)
		}
		*at(c) = items
		return nil
	}, func(c *Config) string { return strings.Join(*at(c), ",") }}
}

func flag(key, help string, at func(*Config) *bool) setting {
	return setting{key, "bool", "false", help, func(c *Config, text string) error {
		switch text {
		case "true", "false":
			*at(c) = text == "true"
			return nil
		}
		return errors.New("want true or false")
	}, func(c *Config) string { return strconv.FormatBool(*at(c)) }}
}

func size(key, value, help string, at func(*Config) *int64, min int64, zero bool) setting {
	return setting{key, "bytes", value, help, func(c *Config, text string) error {
		n, err := parseBytes(text)
		if err != nil {
			return err
		}
		if n < min && (n != 0 || !zero) || n > maxBytes {
			return fmt.Errorf("want %s to %s", formatBytes(min), formatBytes(maxBytes))
		}
		*at(c) = n
		return nil
	}, func(c *Config) string { return formatBytes(*at(c)) }}
}

var units = []struct {
	suffix string
	bytes  int64
}{{"TiB", 1 << 40}, {"GiB", 1 << 30}, {"MiB", 1 << 20}, {"KiB", 1 << 10}, {"B", 1}}

func parseBytes(text string) (int64, error) {
	digits, unit := text, int64(1)
	for _, u := range units {
		if d, ok := strings.CutSuffix(text, u.suffix); ok {
			digits, unit = d, u.bytes
			break
		}
	}
	n, err := strconv.ParseInt(digits, 10, 64)
	if err != nil || n < 0 || n > maxBytes/unit {
		return 0, errors.New("want a number of bytes, as 1073741824 or 1GiB, of KiB, MiB, GiB or TiB")
	}
	return n * unit, nil
}

func formatBytes(n int64) string {
	for _, u := range units {
		if n != 0 && n%u.bytes == 0 && u.bytes > 1 {
			return strconv.FormatInt(n/u.bytes, 10) + u.suffix
		}
	}
	return strconv.FormatInt(n, 10)
}

func setWeight(c *Config, text string) error {
	w, err := strconv.ParseFloat(text, 64)
	if err != nil || !(w >= minWeight && w <= maxWeight) {
		return fmt.Errorf("want a number from %g to %d", minWeight, maxWeight)
	}
	c.Weight = w
	return nil
}

func setReplicas(c *Config, text string) error {
	n, err := strconv.Atoi(text)
	if err != nil || n < 1 || n > maxReplicas {
		return fmt.Errorf("want a number from 1 to %d", maxReplicas)
	}
	c.Replicas = n
	return nil
}

func setClockOffset(c *Config, text string) error {
	d, err := time.ParseDuration(text)
	if err != nil {
		return errors.New("want a duration such as -1500ms")
	}
	c.ClockOffset = d
	return nil
}

func setOperations(c *Config, text string) error {
	n, err := strconv.Atoi(text)
	if err != nil || n < 1 || n > maxOperations {
		return fmt.Errorf("want a number from 1 to %d", maxOperations)
	}
	c.Operations = n
	return nil
}

var syncs = map[distrib.Sync]string{distrib.SyncNow: "per-write", distrib.SyncSoon: "per-second"}

func setSync(c *Config, text string) error {
	for sync, word := range syncs {
		if text == word {
			c.Sync = sync
			return nil
		}
	}
	return errors.New("want per-write or per-second")
}

func setPromote(c *Config, text string) error {
	switch text {
	case "on-demand", "never":
		c.NeverPromote = text == "never"
		return nil
	case "always":
		return errors.New("want on-demand or never: this node cannot have other nodes carry out every write linearizable; ask for it with each operation")
	}
	return errors.New("want on-demand or never")
}

func setLevel(c *Config, text string) error {
	for _, l := range []slog.Level{slog.LevelDebug, slog.LevelInfo, slog.LevelWarn, slog.LevelError} {
		if text == strings.ToLower(l.String()) {
			c.LogLevel = l
			return nil
		}
	}
	return errors.New("want debug, info, warn or error")
}

func optional(check func(string) error) func(string) error {
	return func(text string) error {
		if text == "" {
			return nil
		}
		return check(text)
	}
}

// split takes an address apart.
func split(text string) (host string, port int, err error) {
	host, p, err := net.SplitHostPort(text)
	if err != nil {
		return "", 0, errors.New("want host:port, with an IPv6 address in brackets")
	}
	if port, err = strconv.Atoi(p); err != nil || port < 0 || port > 65535 {
		return "", 0, fmt.Errorf("the port is %q, want 0 to 65535", p)
	}
	return host, port, nil
}

// checkListen wants an address to listen at.
func checkListen(text string) error {
	_, _, err := split(text)
	return err
}

// checkReach wants an address at which others are reached.
func checkReach(text string) error {
	host, port, err := split(text)
	switch {
	case err != nil:
		return err
	case host == "" || net.ParseIP(host).IsUnspecified():
		return errors.New("want the host by which others reach it")
	case port == 0:
		return errors.New("the port is 0, want 1 to 65535")
	}
	return nil
}

// checkIP wants an address of which the host is an IP.
func checkIP(text string) error {
	host, _, err := split(text)
	if err == nil && net.ParseIP(host) == nil {
		err = fmt.Errorf("the host is %q, want an IP address", host)
	}
	return err
}

// checkEndpoint wants host:port, or a URL of it.
func checkEndpoint(text string) error {
	if u, err := url.Parse(text); err == nil && (u.Scheme == "http" || u.Scheme == "https") {
		if u.Path != "" {
			return errors.New("want host:port, http://host:port or https://host:port")
		}
		text = u.Host
	}
	return checkReach(text)
}
