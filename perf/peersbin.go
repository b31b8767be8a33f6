package perf

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// peersName is the program that holds the other engines.
const peersName = "kvbench-peers"

// Condition is a line of the fairness table: under which condition each engine was measured, in
// the engine's own words.
type Condition struct {
	Name   string            `json:"name"`
	Values map[string]string `json:"values"` // by engine
}

// FindPeers returns the path of kvbench-peers beside this program. Where the source is around the
// program or the current directory it is built first, so that it is of the same age; Go does
// nothing when it is.
func FindPeers(ctx context.Context, say func(format string, args ...any)) (string, error) {
	self, err := os.Executable()
	if err != nil {
		return "", err
	}
	beside := filepath.Join(filepath.Dir(self), peersName)
	info, err := os.Stat(beside)
	there := err == nil && info.Mode().IsRegular()
	here, _ := os.Getwd()
	for _, dir := range []string{filepath.Dir(self), here} {
		source, ok := peersSource(dir)
		if !ok {
			continue
		}
		if !there {
			say("building %s from %s: the first time takes a few minutes\n", peersName, source)
		}
		args := append([]string{"build"}, peersTags(ctx, source)...)
		cmd := exec.CommandContext(ctx, "go", append(args, "-o", beside, "./"+peersName)...)
		cmd.Dir = source
		out, err := cmd.CombinedOutput()
		if err == nil {
			return beside, nil
		}
		if there {
			say("%s cannot be built from %s (%v): using the one that is there, from %s\n", peersName, source, err, info.ModTime().Format("2006-01-02 15:04"))
			return beside, nil
		}
		return "", fmt.Errorf("build %s in %s: %w\n%s\n  try: make peers, which says what is missing; RocksDB needs librocksdb-dev and a C++ compiler, or the build tag norocksdb",
			peersName, source, err, bytes.TrimSpace(out))
	}
	if there {
		return beside, nil
	}
	return "", Usagef("engines of others are in %s, which is not at %s, and its source is not around here: run make peers in cambium's source tree", peersName, beside)
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

// peersTags are the flags with which make peers would build: without RocksDB where the machine
// lacks its library.
func peersTags(ctx context.Context, source string) []string {
	out, err := exec.CommandContext(ctx, filepath.Join(source, "..", "..", ".ci", "tools"), "peers-tags").Output()
	if err != nil {
		return nil
	}
	return strings.Fields(string(out))
}

// knows says whether kvbench-peers has an engine, by the conditions that it told.
func knows(conditions []Condition, engine string) bool {
	for _, row := range conditions {
		if row.Values[engine] != "" {
			return true
		}
	}
	return false
}

// peersConditions asks kvbench-peers for the fairness table.
func peersConditions(ctx context.Context, program string, cfg Config) ([]Condition, error) {
	text, err := json.Marshal(cfg)
	if err != nil {
		return nil, err
	}
	cmd := exec.CommandContext(ctx, program, ConditionsWord)
	cmd.Stdin = bytes.NewReader(text)
	cmd.SysProcAttr = endsWithParent()
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("%s conditions: %w\n  try: make peers, if it is older than this kvbench", program, err)
	}
	var rows []Condition
	if err := json.Unmarshal(out, &rows); err != nil {
		return nil, fmt.Errorf("%s conditions: %w", program, err)
	}
	return rows, nil
}
