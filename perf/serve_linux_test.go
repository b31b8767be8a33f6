package perf

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/cambiumdb/cambium/engine"
)

// converse serves one job with a fake engine and returns its messages.
func converse(t *testing.T, job jobMessage, open Opener) []resultMessage {
	t.Helper()
	in, err := json.Marshal(job)
	require.NoError(t, err)
	var out bytes.Buffer
	require.NoError(t, serve(context.Background(), Engines{"fake": open}, bytes.NewReader(in), &out, nil))
	var all []resultMessage
	for d := json.NewDecoder(&out); d.More(); {
		var m resultMessage
		require.NoError(t, d.Decode(&m))
		all = append(all, m)
	}
	return all
}

func TestServePerformsAJob(t *testing.T) {
	c := smallConfig()
	c.Engine = "fake"
	job := jobMessage{
		Protocol: protocol, Dir: t.TempDir(), Config: c,
		Task: Task{Kind: "run", Names: []string{"fillseq,readrandom"}},
	}
	got := converse(t, job, newMemory().opener())
	require.Len(t, got, 3)
	require.Equal(t, "fillseq", got[0].Phase.Workload)
	require.Equal(t, "readrandom", got[1].Phase.Workload)
	require.Len(t, got[2].Run.Phases, 2)
	require.Equal(t, *got[0].Phase, got[2].Run.Phases[0], "nothing is lost on the way")
	require.Equal(t, got[0].Phase.Latency[0].Count, c.Keys)

	for kind, want := range map[string]error{
		"corruption": engine.ErrCorruption, "locked": engine.ErrLocked, "interrupted": context.Canceled, "": nil,
	} {
		failed := converse(t, job, func(string, Config) (Engine, error) {
			if want == nil {
				return nil, errors.New("open it: no")
			}
			return nil, fmt.Errorf("open it: %w", want)
		})
		require.Len(t, failed, 1)
		require.Equal(t, kind, failed[0].Error.Kind)
		require.ErrorContains(t, failed[0].Error, "open it: ")
		if want != nil {
			require.ErrorIs(t, failed[0].Error, want)
		}
	}
	var usage *UsageError
	job.Task.Kind = "dance"
	require.ErrorAs(t, converse(t, job, newMemory().opener())[0].Error, &usage)
	job.Config.Engine = "other"
	require.ErrorAs(t, converse(t, job, newMemory().opener())[0].Error, &usage)

	err := serve(context.Background(), nil, strings.NewReader(`{"protocol": 99}`), nil, nil)
	require.ErrorContains(t, err, "protocol 99, this program speaks 1")
	require.Error(t, serve(context.Background(), nil, strings.NewReader(`{`), nil, nil))
}

func TestAChildWithoutAResultIsExplained(t *testing.T) {
	run := func(script string) error {
		program := filepath.Join(t.TempDir(), "kvbench-peers")
		require.NoError(t, os.WriteFile(program, []byte("#!/bin/sh\n"+script+"\n"), 0o777))
		null, err := os.OpenFile(os.DevNull, os.O_WRONLY, 0)
		require.NoError(t, err)
		defer null.Close()
		one := child{program: []string{program}, stderr: null, phase: func(Phase) {}}
		one.job.Config.Engine = "pebble"
		_, err = one.run(context.Background())
		return err
	}
	err := run("echo no such thing >&2; exit 3")
	require.ErrorContains(t, err, "pebble: its process (kvbench-peers) ended without a result: exit status 3; it said: no such thing")
	require.ErrorContains(t, err, "try: make peers")
	require.ErrorContains(t, run("cat >/dev/null; exit 0"), "ended without a result")
	require.ErrorContains(t, run(`cat >/dev/null; echo '{"error":{"kind":"usage","text":"bad flag"}}' >&3`), "pebble: bad flag")
}

func TestMemoryGroups(t *testing.T) {
	root := t.TempDir()
	v1 := "8:pids:/\n4:memory:/a/b\n0::/\n"
	require.Equal(t, []groupPlace{{"v1", root + "/memory/a/b"}}, groupPlaces(root, v1))
	require.Empty(t, groupPlaces(root, "0::/a\n"), "version 2 has no memory here")
	require.NoError(t, os.WriteFile(filepath.Join(root, "cgroup.controllers"), []byte("memory"), 0o666))
	require.Equal(t, []groupPlace{{"v2", root + "/a/b"}, {"v2", root + "/a"}}, groupPlaces(root, "0::/a/b\n"))
	require.Equal(t, []groupPlace{{"v2", root}}, groupPlaces(root, "0::/\n"))

	none := limitMemory(os.Getpid(), 0)
	require.Equal(t, &Isolation{Process: true, Note: "no --memory given"}, none.isolation())
	require.Zero(t, none.killed())
	none.remove()
	require.Contains(t, none.isolation().String(), "no memory cgroup: no --memory given")
	require.Contains(t, Isolation{Process: true, Cgroup: "v2", Limit: 1 << 30}.String(), "(v2) of 1.00 GiB, page")
	require.Equal(t, "in kvbench's own process", Isolation{}.String())
}

func TestPeersAreLookedForInTheSourceTree(t *testing.T) {
	root := t.TempDir()
	deep := filepath.Join(root, "a", "b")
	require.NoError(t, os.MkdirAll(deep, 0o777))
	_, ok := peersSource(deep)
	require.False(t, ok)
	source := filepath.Join(root, "perf", "peers")
	require.NoError(t, os.MkdirAll(source, 0o777))
	require.NoError(t, os.WriteFile(filepath.Join(source, "go.mod"), nil, 0o666))
	got, ok := peersSource(deep)
	require.True(t, ok)
	require.Equal(t, source, got)
}
