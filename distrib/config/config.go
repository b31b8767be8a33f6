// Package config is what a node is told: settings from a file, the environment and flags, each checked, with where
// it came from.
//
//	config.Flags(cmd.Flags())
//	c, err := config.Load(cmd.Flags(), os.Environ())
//	security, err := c.Security(logger)
//
// A setting has one name everywhere: tls.ca is the key ca under tls in the file, CAMBIUM_TLS_CA in the environment,
// and the flag --tls-ca. A flag stands above the environment, that above the file, which --config or CAMBIUM_CONFIG
// names, and all above the default. An error names every setting that is wrong, with its origin and its limit.
package config

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/pflag"

	"github.com/cambiumdb/cambium/distrib"
	"github.com/cambiumdb/cambium/distrib/certs"
)

// Config are the settings of a node. What each means is in the table of setting.go.
type Config struct {
	Name, Dir, Zone                 string
	Listen, Advertise, HTTP, Gossip string
	Join, Etcd                      []string
	Weight                          float64
	Replicas                        int
	Sync                            distrib.Sync
	NeverPromote                    bool  // linearizable operations are refused
	Memory                          int64 // bytes; 0: as the engine says
	HintBytes                       int64
	HintRate                        int64
	Operations                      int
	OperationBytes                  int64
	TLS                             certs.Files
	Insecure, AllowFaults           bool
	ClockOffset                     time.Duration
	LogLevel                        slog.Level

	values []Value
}

// Value is a setting as it is, for people.
type Value struct {
	Key    string `json:"key"`
	Value  string `json:"value"`
	Origin string `json:"origin"` // default, FILE:LINE, CAMBIUM_KEY or --key
	Help   string `json:"help"`
}

// Values returns all settings, in the order of the table.
func (c *Config) Values() []Value { return slices.Clone(c.values) }

// Flags adds a flag for each setting, and --config.
func Flags(f *pflag.FlagSet) {
	f.String("config", "", "YAML file of settings; flags and the environment stand above it")
	for _, s := range settings {
		v := &flagValue{s: s}
		flag := f.VarPF(v, s.flag(), "", s.help)
		flag.DefValue = s.value
		if s.kind == "bool" {
			flag.NoOptDefVal = "true"
		}
	}
}

// flagValue keeps the text of a flag, which Load reads. Lists may be given several times.
type flagValue struct {
	s    setting
	text string
}

func (v *flagValue) String() string { return v.text }
func (v *flagValue) Type() string   { return v.s.kind }
func (v *flagValue) Set(text string) error {
	if v.s.kind == "list" && v.text != "" {
		text = v.text + "," + text
	}
	v.text = text
	return v.s.set(new(Config), text)
}

// given is a setting that somebody has set.
type given struct{ text, origin string }

// Load returns the settings, all of them right.
func Load(flags *pflag.FlagSet, environ []string) (*Config, error) {
	env := map[string]string{}
	for _, e := range environ {
		name, text, _ := strings.Cut(e, "=")
		env[name] = text
	}
	file := env["CAMBIUM_CONFIG"]
	if f := flags.Lookup("config"); f != nil && f.Changed {
		file = f.Value.String()
	}
	set := map[string]given{}
	var problems []error
	if file != "" {
		content, err := os.ReadFile(file)
		if err != nil {
			return nil, fmt.Errorf("configuration: %w", err)
		}
		set, problems = parse(file, content)
	}
	for _, s := range settings {
		if text, ok := env[s.variable()]; ok {
			set[s.key] = given{text, s.variable()}
		}
		if f := flags.Lookup(s.flag()); f != nil && f.Changed {
			set[s.key] = given{f.Value.String(), "--" + s.flag()}
		}
	}
	c, more := assemble(set)
	if problems = append(problems, more...); len(problems) > 0 {
		return nil, errors.Join(problems...)
	}
	return c, nil
}

// assemble returns the configuration that has what is set, and what is wrong with it.
func assemble(set map[string]given) (c *Config, problems []error) {
	c = &Config{}
	for _, s := range settings {
		g, ok := set[s.key]
		if !ok {
			g = given{s.value, "default"}
		}
		if err := s.set(c, g.text); err != nil {
			problems = append(problems, fmt.Errorf("%s: %s is %q, %w", g.origin, s.key, g.text, err))
		}
		c.values = append(c.values, Value{Key: s.key, Value: s.get(c), Origin: g.origin, Help: s.help})
	}
	if len(problems) == 0 {
		problems = c.check()
	}
	return c, problems
}

// check returns what is wrong with settings together.
func (c *Config) check() (problems []error) {
	bad := func(format string, args ...any) { problems = append(problems, fmt.Errorf(format, args...)) }
	for _, required := range []struct{ key, value string }{{"name", c.Name}, {"dir", c.Dir}} {
		if required.value == "" {
			bad("%s is not set: give --%s, CAMBIUM_%s or %s: in the file", required.key, required.key, strings.ToUpper(required.key), required.key)
		}
	}
	if host, _, _ := net.SplitHostPort(c.Listen); c.Advertise == "" && (host == "" || net.ParseIP(host).IsUnspecified()) {
		bad("listen is %s, all addresses of this machine: say with advertise by which one others reach it", c.Listen)
	}
	files := []string{c.TLS.CA, c.TLS.Cert, c.TLS.Key}
	if n := len(slices.DeleteFunc(files, func(f string) bool { return f == "" })); n != 0 && n != 3 {
		bad("tls.ca is %q, tls.cert %q and tls.key %q: give all three, or none", c.TLS.CA, c.TLS.Cert, c.TLS.Key)
	}
	if c.ClockOffset != 0 && !c.AllowFaults {
		bad("clock-offset is %v: it is for tests: set allow-faults too, or leave it out", c.ClockOffset)
	}
	if c.TLS.CA != "" && c.Insecure {
		bad("insecure is true and tls.ca %s: take one of them away", c.TLS.CA)
	}
	if err := exposed(c); err != nil {
		problems = append(problems, err)
	}
	return problems
}

// exposed refuses to be reached from other machines in the clear, unless that is wanted.
func exposed(c *Config) error {
	if c.TLS.CA != "" || c.Insecure {
		return nil
	}
	for _, at := range []struct{ key, addr string }{{"listen", c.Listen}, {"http", c.HTTP}, {"gossip", c.Gossip}} {
		if at.addr != "" && !loopback(at.addr) {
			return fmt.Errorf("%s is %s, which other machines reach, and there is no TLS: set tls.ca, tls.cert and tls.key (kvctl cert makes them), or insecure where everybody may read and write", at.key, at.addr)
		}
	}
	return nil
}

// loopback tells whether only this machine reaches an address. Of names only localhost is believed.
func loopback(addr string) bool {
	host, _, err := net.SplitHostPort(addr)
	return err == nil && (host == "localhost" || net.ParseIP(host).IsLoopback())
}

// Security loads the certificates; nil where there are none.
func (c *Config) Security(logger *slog.Logger) (*certs.Security, error) {
	if c.TLS.CA == "" {
		return nil, nil
	}
	files := c.TLS
	files.Logger = logger
	s, err := certs.Load(files)
	if err != nil {
		return nil, err
	}
	return s, s.CheckNode(c.Name)
}
