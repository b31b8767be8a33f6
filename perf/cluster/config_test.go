package cluster

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/cambiumdb/cambium/perf"
)

func TestMixesAndPhases(t *testing.T) {
	m, err := ParseMix("get=80, put=20")
	require.NoError(t, err)
	require.Equal(t, Mix{Name: "mix", Puts: 20}, m)
	for _, bad := range []string{"", "put", "put=50", "put=50,get=51", "put=50,put=50", "put=-1,get=101", "scan=100", "put=x,get=50"} {
		_, err := ParseMix(bad)
		require.ErrorAs(t, err, new(*perf.UsageError), bad)
	}
	all, err := ParsePhases("get,put,cas")
	require.NoError(t, err)
	require.Equal(t, []Mix{{Name: "get"}, {Name: "put", Puts: 100}, {Name: "cas", Swaps: true}}, all)
	_, err = ParsePhases("put,scan")
	require.ErrorContains(t, err, `"scan" is not known`)
}

func TestRates(t *testing.T) {
	for text, want := range map[string]Rate{"max": MaxRate, "half": HalfRate, "50%": HalfRate, "2500": 2500, "0.5": 0.5} {
		var r Rate
		require.NoError(t, r.Set(text))
		require.Equal(t, want, r)
		again := Rate(7)
		require.NoError(t, again.Set(r.String()))
		require.Equal(t, r, again)
	}
	for _, bad := range []string{"", "0", "-1", "fast", "NaN", "Inf"} {
		require.Error(t, new(Rate).Set(bad), bad)
	}
}

func TestConfigIsChecked(t *testing.T) {
	good := DefaultConfig()
	good.Nodes = 3
	require.NoError(t, good.Validate())
	for want, change := range map[string]func(*Config){
		"exclude each other":  func(c *Config) { c.Endpoints = []string{"h:1"} },
		"--start 0":           func(c *Config) { c.Nodes = 0 },
		"use it with --start": func(c *Config) { c.Nodes, c.Endpoints, c.Chaos = 0, []string{"h:1"}, []Event{{Do: "kill", Node: "n1"}} },
		"--clients 0":         func(c *Config) { c.Clients = 0 },
		"a key for each":      func(c *Config) { c.Keys = 63 },
		"--value-size 15":     func(c *Config) { c.ValueSize = 15 },
		"--duration":          func(c *Config) { c.Duration = 0 },
		"--runs":              func(c *Config) { c.Rounds = 0 },
		"--phases is empty":   func(c *Config) { c.Mixes = nil },
		`--peer "mysql"`:      func(c *Config) { c.Peers = []string{"mysql"} },
		"--phases cas":        func(c *Config) { c.Mixes = []Mix{{Name: "cas", Swaps: true}} },
		"no peer but etcd": func(c *Config) {
			c.Consistency, c.Peers, c.Mixes = linearizable, []string{Redis}, []Mix{{Name: "cas", Swaps: true}}
		},
		"--consistency":  func(c *Config) { c.Consistency = "most" },
		"--sync":         func(c *Config) { c.Sync = "none" },
		"there is no n4": func(c *Config) { c.Chaos = []Event{{Do: "kill", Node: "n4", At: time.Second}} },
	} {
		c := good
		change(&c)
		err := c.Validate()
		require.ErrorContains(t, err, want)
		require.ErrorAs(t, err, new(*perf.UsageError))
	}
}

func TestChaos(t *testing.T) {
	events, err := ParseChaos("stop:n2@5s+3s, kill:n3@30s,kill:n1@1s+500ms")
	require.NoError(t, err)
	require.Equal(t, []Event{
		{"kill", "n1", time.Second, 500 * time.Millisecond}, {"stop", "n2", 5 * time.Second, 3 * time.Second}, {Do: "kill", Node: "n3", At: 30 * time.Second},
	}, events)
	require.Equal(t, "stop:n2@5s+3s", events[1].String())
	require.Equal(t, "kill:n3@30s", events[2].String())
	for _, bad := range []string{"kill", "kill:n3", "kill:@3s", "burn:n3@3s", "kill:n3@", "kill:n3@-1s", "kill:n3@3", "stop:n1@1s+", "stop:n1@1s+0s", "kill:n1@1s,", "kill:n1@1s,stop:n1@2s", "stop:n1@1s+2s,kill:n1@2s"} {
		_, err := ParseChaos(bad)
		require.ErrorAs(t, err, new(*perf.UsageError), bad)
	}
	none, err := ParseChaos("")
	require.NoError(t, err)
	require.Empty(t, none)
}

// What would happen after the load is left to the recovery.
func TestMoments(t *testing.T) {
	events, err := ParseChaos("stop:n2@5s+3s,kill:n1@6s+9s,kill:n3@20s,kill:n4@7s")
	require.NoError(t, err)
	require.Equal(t, []moment{
		{5 * time.Second, "stop", "n2"}, {6 * time.Second, "kill", "n1"}, {7 * time.Second, "kill", "n4"}, {8 * time.Second, "continue", "n2"},
	}, moments(events, 10*time.Second))
}
