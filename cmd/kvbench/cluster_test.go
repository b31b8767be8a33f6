package main

import (
	"bytes"
	"context"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/cambiumdb/cambium/perf/cluster"
)

// A short run of what a user calls: three nodes, one of which is killed and comes back. Nothing that was
// acknowledged is lost, and no process and no file is left.
func TestCluster(t *testing.T) {
	bin, tmp, profiles := t.TempDir(), t.TempDir(), t.TempDir()
	build := exec.Command("go", "build", "-o", bin+string(filepath.Separator), ".", "../kvnode")
	out, err := build.CombinedOutput()
	require.NoError(t, err, "%s", out)

	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, filepath.Join(bin, "kvbench"), "cluster", "--start", "3", "--clients", "8", "--keys", "100", "--value-size", "100",
		"--mix", "put=50,get=50", "--rate", "400", "--duration", "2s", "--chaos", "kill:n3@300ms+500ms,stop:n3@1500ms", "--json", "-", "--profile", profiles)
	cmd.Env = append(os.Environ(), "TMPDIR="+tmp)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	require.NoError(t, cmd.Run(), "%s", &stderr)

	var r cluster.Report
	require.NoError(t, json.Unmarshal(stdout.Bytes(), &r))
	require.Len(t, r.Runs, 1)
	require.Len(t, r.Runs[0].Steps, 1)
	s := r.Runs[0].Steps[0]
	require.EqualValues(t, 800, s.OK+s.Failed+s.Unknown+s.Unbegun)
	require.Greater(t, s.OK, int64(100))
	require.NotNil(t, s.ServerCPU)
	require.Positive(t, *s.ServerCPU)
	require.NotNil(t, s.Puts, "%s", &stderr)
	require.NotNil(t, s.Gets, "%s", &stderr)
	require.Zero(t, s.Wrong)
	require.Zero(t, s.Recovery.Lost)
	require.Positive(t, s.Recovery.Converged)
	for _, table := range []string{"Throughput", "Latency", "Outcomes", "Recovery  after kill:n3@300ms+500ms,stop:n3@1.5s"} {
		require.Contains(t, stderr.String(), "\n"+table)
	}

	for _, name := range []string{"clients", "n1"} {
		info, err := os.Stat(filepath.Join(profiles, "cambium-mix-"+name+".pprof"))
		require.NoError(t, err)
		require.Positive(t, info.Size())
	}

	left, err := os.ReadDir(tmp)
	require.NoError(t, err)
	require.Empty(t, left)
	running, err := filepath.Glob("/proc/[0-9]*/cmdline")
	require.NoError(t, err)
	for _, p := range running {
		if line, err := os.ReadFile(p); err == nil { // else it has just ended
			require.False(t, strings.Contains(string(line), bin) || strings.Contains(string(line), tmp), "%s still runs: %q", p, line)
		}
	}
}

// What cannot be measured says what to try.
func TestClusterRefuses(t *testing.T) {
	for want, args := range map[string][]string{
		"want 1 to 9 nodes":   {},
		"is not an event":     {"--start", "3", "--chaos", "kill"},
		`"scan" is not known`: {"--start", "3", "--phases", "scan"},
		"want 100":            {"--start", "3", "--mix", "put=1"},
	} {
		parsed := false
		root := rootCommand(&parsed)
		root.SetArgs(append([]string{"cluster"}, args...))
		err := root.ExecuteContext(t.Context())
		require.ErrorContains(t, err, want)
		require.Equal(t, 2, exitCode(err))
	}
}
