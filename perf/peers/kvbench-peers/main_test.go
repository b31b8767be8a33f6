package main

import (
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/cambiumdb/cambium/perf"
	"github.com/cambiumdb/cambium/perf/peers"
)

// command runs one command line and returns its exit code and what it printed.
func command(t *testing.T, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	out, err := os.Create(filepath.Join(t.TempDir(), "stdout"))
	require.NoError(t, err)
	defer out.Close()
	errs, err := os.Create(filepath.Join(t.TempDir(), "stderr"))
	require.NoError(t, err)
	defer errs.Close()
	t.Setenv("TMPDIR", t.TempDir())
	code = run(context.Background(), args, out, errs)
	text, err := os.ReadFile(out.Name())
	require.NoError(t, err)
	problems, err := os.ReadFile(errs.Name())
	require.NoError(t, err)
	return code, string(text), string(problems)
}

func TestRunEachEngine(t *testing.T) {
	for name := range peers.Engines() {
		report := filepath.Join(t.TempDir(), "report.json")
		code, out, errs := command(t, "run", "fillrandom,readrandom", "--engine", name, "--keys", "2000", "--value-size", "200", "--json", report)
		require.Zero(t, code, "%s: %s", name, errs)
		require.Contains(t, out, "readrandom  2,000 operations")
		require.Contains(t, out, "stops writes", "the conditions are printed")
		text, err := os.ReadFile(report)
		require.NoError(t, err)
		var r perf.Report
		require.NoError(t, json.Unmarshal(text, &r))
		require.Equal(t, perf.Schema, r.Schema)
		require.Equal(t, name, r.Runs[0].Config.Engine)
		require.Len(t, r.Runs[0].Phases, 2)
	}
}

func TestSideBySide(t *testing.T) {
	code, out, errs := command(t, "run", "fillrandom", "--engine", "cambium,pebble,badger", "--keys", "1000", "--value-size", "200")
	require.Zero(t, code, errs)
	for _, name := range []string{"cambium/leveled", "pebble/leveled", "badger/leveled"} {
		require.Contains(t, out, name)
	}
	code, out, errs = command(t, "writeamp", "--engine", "pebble", "--keys", "3000", "--value-size", "200", "--memtable", "64KiB", "--memory", "96MiB")
	require.Zero(t, code, errs)
	require.Contains(t, out, "pebble/leveled")
	code, out, errs = command(t, "load", "--generate", "300", "--engine", "badger")
	require.Zero(t, code, errs)
	require.Contains(t, out, "300")
}

func TestFairnessAsJSON(t *testing.T) {
	code, out, errs := command(t, "fairness", "--json", "-", "--engine", "cambium,pebble", "--sync", "per-write")
	require.Zero(t, code, errs)
	var rows []peers.FairnessRow
	require.NoError(t, json.Unmarshal([]byte(out), &rows))
	require.Greater(t, len(rows), 10)
	require.Contains(t, out, "each write is on the device when it returns")
}

func TestMistakesAreUsage(t *testing.T) {
	for _, args := range [][]string{
		{"run", "fillrandom", "--engine", "oracle"},
		{"run", "fillrandom", "--keys", "many"},
		{"run", "sleep"},
		{"dance"},
		{"writeamp", "extra"},
	} {
		code, _, errs := command(t, args...)
		require.Equal(t, 2, code, "%s: %s", strings.Join(args, " "), errs)
		require.NotEmpty(t, errs)
	}
}
