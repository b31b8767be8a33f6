package perf

import (
	"math"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

func TestParseSize(t *testing.T) {
	for text, want := range map[string]Size{
		"0": 0, "4096": 4096, "1B": 1, "1KiB": 1024, "64MiB": 64 << 20, "1GiB": 1 << 30, "1.5GiB": 3 << 29,
		"1TiB": 1 << 40, "2k": 2048, "3M": 3 << 20, "1KB": 1000, "2.5MB": 2_500_000, " 7 MiB ": 7 << 20, "1gib": 1 << 30,
		"9223372036854775807": math.MaxInt64,
	} {
		got, err := ParseSize(text)
		require.NoError(t, err, text)
		require.Equal(t, want, got, text)
	}
	for _, text := range []string{
		"", "MiB", "B", "x", "-1", "+1", "1e3", "0x10", "1_000", "1.5", "0.3KiB", "9223372036854775808", "9000000TiB", "1 2", "1PiB", "nan", "inf", "1MiBMiB",
	} {
		_, err := ParseSize(text)
		var usage *UsageError
		require.ErrorAs(t, err, &usage, text)
		require.ErrorContains(t, err, "write it like 4096, 64MiB or 1.5GiB")
	}
	rapid.Check(t, func(t *rapid.T) {
		n := Size(rapid.Int64Range(0, math.MaxInt64).Draw(t, "n"))
		if rapid.Bool().Draw(t, "round") {
			n &^= 1<<20 - 1
		}
		got, err := ParseSize(n.String())
		require.NoError(t, err)
		require.Equal(t, n, got)
	})
}

func TestRate(t *testing.T) {
	var r Rate
	require.NoError(t, r.Set("2500.5"))
	require.Equal(t, "2500.5", r.String())
	require.NoError(t, r.Set("max"))
	require.Zero(t, r)
	require.Equal(t, "max", r.String())
	for _, bad := range []string{"0", "-1", "fast", "", "inf", "NaN"} {
		require.Error(t, r.Set(bad), bad)
	}
}

func TestValidateNamesTheFlag(t *testing.T) {
	require.NoError(t, DefaultConfig().Validate())
	for want, change := range map[string]func(*Config){
		"--keys 0: want 1":                   func(c *Config) { c.Keys = 0 },
		"--key-size 4: 1000000":              func(c *Config) { c.KeySize = 4 },
		"--key-size 2000":                    func(c *Config) { c.KeySize = 2000 },
		"--value-size 11MiB":                 func(c *Config) { c.ValueSize = 11 << 20 },
		"--compressible 0.5":                 func(c *Config) { c.Compressible = 0.5 },
		"--compressible NaN":                 func(c *Config) { c.Compressible = math.NaN() },
		"--threads 0":                        func(c *Config) { c.Threads = 0 },
		"--rate -2":                          func(c *Config) { c.Rate = -2 },
		"--duration -1ns":                    func(c *Config) { c.Duration = -1 },
		"--ops -1":                           func(c *Config) { c.Ops = -1 },
		"--memtable 1KiB":                    func(c *Config) { c.Memtable = 1024 },
		"--memory 1MiB: want at least 96MiB": func(c *Config) { c.Memory = 1 << 20 },
		`--sync "always" is not available: it takes per-write, per-second, none`:     func(c *Config) { c.Sync = "always" },
		`--compaction "fifo" is not available: it takes leveled, tiered, lazy`:       func(c *Config) { c.Compaction = "fifo" },
		`--compression "lz4" is not available: it takes default, none, snappy, zstd`: func(c *Config) { c.Compression = "lz4" },
	} {
		c := DefaultConfig()
		change(&c)
		err := c.Validate()
		var usage *UsageError
		require.ErrorAs(t, err, &usage, want)
		require.ErrorContains(t, err, want)
	}
	_, err := Engines{"cambium": nil, "fake": nil}.Find("pebble")
	require.EqualError(t, err, `--engine "pebble" is not built into this kvbench: it has cambium, fake`)
}

func TestEngineBudgetLeavesRoom(t *testing.T) {
	require.Zero(t, EngineBudget(0))
	require.EqualValues(t, 32<<20, EngineBudget(96<<20))
	require.EqualValues(t, 960<<20, EngineBudget(1<<30)+64<<20)
	require.EqualValues(t, 7<<30, EngineBudget(8<<30))
}
