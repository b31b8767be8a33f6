package main

import (
	"bytes"
	"context"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/cambiumdb/cambium/perf"
	"github.com/cambiumdb/cambium/perf/peers"
)

// TestThroughKvbench builds both programs and runs them as people do.
func TestThroughKvbench(t *testing.T) {
	bin := t.TempDir()
	tags := "-tags="
	if peers.Engines()["rocksdb"] == nil {
		tags += "norocksdb"
	}
	for name, source := range map[string]string{"kvbench": "../../../cmd/kvbench", "kvbench-peers": "."} {
		cmd := exec.Command("go", "build", "-o", filepath.Join(bin, name), ".")
		cmd.Dir = source
		if name == "kvbench-peers" {
			cmd.Args = slices.Insert(cmd.Args, 2, tags)
		}
		out, err := cmd.CombinedOutput()
		require.NoError(t, err, "%s", out)
	}
	work := t.TempDir()
	kvbench := func(args ...string) (stdout, stderr string) {
		cmd := exec.Command(filepath.Join(bin, "kvbench"), args...)
		cmd.Dir = work
		cmd.Env = append(os.Environ(), "TMPDIR="+work)
		var out, errs bytes.Buffer
		cmd.Stdout, cmd.Stderr = &out, &errs
		require.NoError(t, cmd.Run(), "%v: %s", args, &errs)
		return out.String(), errs.String()
	}
	var names []string
	for name := range peers.Engines() {
		names = append(names, name)
	}
	slices.Sort(names)

	report := filepath.Join(work, "report.json")
	out, _ := kvbench("run", "fillrandom,readrandom", "--rate", "max", "--engine", strings.Join(names, ","), "--keys", "2000", "--value-size", "200", "--json", report)
	require.Contains(t, out, "stops writes", "the conditions are printed")
	require.Contains(t, out, "a process of its own")
	r, err := perf.ReadReport(report)
	require.NoError(t, err)
	require.Len(t, r.Runs, len(names))
	for i, run := range r.Runs {
		require.Equal(t, names[i], run.Config.Engine)
		require.Len(t, run.Phases, 2)
	}

	// The engines that writeamp compares are all there, or left out without an error.
	out, errs := kvbench("writeamp", "--keys", "3000", "--value-size", "200", "--memtable", "64KiB", "--memory", "96MiB", "--json", report)
	require.NotContains(t, errs, "without the other engines")
	r, err = perf.ReadReport(report)
	require.NoError(t, err)
	var rows []string
	for _, run := range r.Runs {
		rows = append(rows, run.Name)
	}
	want := []string{
		"cambium/leveled", "cambium/tiered", "cambium/lazy",
		"pebble/leveled", "pebble-unstopped/leveled", "pebble-same-memory/leveled",
	}
	if peers.Engines()["rocksdb"] != nil {
		want = append(want, "rocksdb/leveled", "rocksdb/universal", "rocksdb-same-memory/leveled", "rocksdb-same-memory/universal")
	}
	require.Equal(t, want, rows)
	require.Contains(t, out, "Beside each peer")
	require.Len(t, r.Verdicts, 4*(len(want)-3), "load and overwrite, settled and at the peak")

	left, err := os.ReadDir(work)
	require.NoError(t, err)
	require.Len(t, left, 1, "the report is all that is left")
}

func TestConditions(t *testing.T) {
	cfg := perf.DefaultConfig()
	cfg.Engine, cfg.Sync = "cambium,pebble,oracle", "per-write"
	in, err := json.Marshal(cfg)
	require.NoError(t, err)
	var out bytes.Buffer
	require.Zero(t, run(context.Background(), []string{perf.ConditionsWord}, bytes.NewReader(in), &out, os.Stderr))
	var rows []perf.Condition
	require.NoError(t, json.Unmarshal(out.Bytes(), &rows))
	require.Greater(t, len(rows), 10)
	for _, row := range rows {
		require.Empty(t, row.Values["oracle"])
		if row.Name == "sync" {
			require.Equal(t, "each write is on the device when it returns", row.Values["pebble"])
		}
	}
}

func TestMistakes(t *testing.T) {
	errs, err := os.Create(filepath.Join(t.TempDir(), "stderr"))
	require.NoError(t, err)
	defer errs.Close()
	for _, args := range [][]string{nil, {"run", "fillrandom"}} {
		require.Equal(t, 2, run(context.Background(), args, nil, nil, errs))
	}
	require.Equal(t, 1, run(context.Background(), []string{perf.ConditionsWord}, strings.NewReader("?"), nil, errs))
	said, err := os.ReadFile(errs.Name())
	require.NoError(t, err)
	require.Contains(t, string(said), "kvbench-peers is run by kvbench and holds badger, cambium, pebble")
}
