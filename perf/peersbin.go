package perf

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
)

// peersName is the program that holds the other engines.
const peersName = "kvbench-peers"

// Condition is a line of the fairness table: under which condition each engine was measured, in
// the engine's own words.
type Condition struct {
	Name   string            `json:"name"`
	Values map[string]string `json:"values"` // by engine
}

// findPeers returns the path of kvbench-peers: beside this program, or built from the source
// around it or around the current directory.
func findPeers(ctx context.Context, say func(format string, args ...any)) (string, error) {
	self, err := os.Executable()
	if err != nil {
		return "", err
	}
	beside := filepath.Join(filepath.Dir(self), peersName)
	if info, err := os.Stat(beside); err == nil && info.Mode().IsRegular() {
		return beside, nil
	}
	here, _ := os.Getwd()
	for _, dir := range []string{filepath.Dir(self), here} {
		source, ok := peersSource(dir)
		if !ok {
			continue
		}
		say("building %s from %s (the first time takes a few minutes)\n", peersName, source)
		cmd := exec.CommandContext(ctx, "go", "build", "-o", beside, "./"+peersName)
		cmd.Dir = source
		if out, err := cmd.CombinedOutput(); err != nil {
			return "", fmt.Errorf("build %s in %s: %w\n%s\n  try: make peers, which says what is missing; RocksDB needs librocksdb-dev and a C++ compiler, or the build tag norocksdb",
				peersName, source, err, bytes.TrimSpace(out))
		}
		return beside, nil
	}
	return "", usagef("--engine names engines that are in %s, which is not at %s, and its source is not around here: run make peers in cambium's source tree", peersName, beside)
}

// peersSource finds perf/peers in dir or a directory above it.
func peersSource(dir string) (string, bool) {
	for {
		source := filepath.Join(dir, "perf", "peers")
		if _, err := os.Stat(filepath.Join(source, "go.mod")); err == nil {
			return source, true
		}
		up := filepath.Dir(dir)
		if up == dir {
			return "", false
		}
		dir = up
	}
}

// peersConditions asks kvbench-peers for the fairness table.
func peersConditions(ctx context.Context, program string, cfg Config) ([]Condition, error) {
	cmd := exec.CommandContext(ctx, program, "fairness", "--json", "-", "--engine", cfg.Engine,
		"--sync", cfg.Sync, "--compaction", cfg.Compaction, "--compression", cfg.Compression)
	if cfg.Memory > 0 {
		cmd.Args = append(cmd.Args, "--memory", cfg.Memory.String())
	}
	if cfg.Memtable > 0 {
		cmd.Args = append(cmd.Args, "--memtable", cfg.Memtable.String())
	}
	cmd.SysProcAttr = endsWithParent()
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("%s fairness: %w\n  try: make peers, if it is older than this kvbench", program, err)
	}
	var rows []Condition
	if err := json.Unmarshal(out, &rows); err != nil {
		return nil, fmt.Errorf("%s fairness: %w", program, err)
	}
	return rows, nil
}
