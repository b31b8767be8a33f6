package main

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
	"github.com/stretchr/testify/require"

	"github.com/cambiumdb/cambium/engine"
)

var update = flag.Bool("update", false, "write what the commands print into the scripts")

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"kvctl": main})
}

// TestScripts runs testdata/script. $WORK/tiny is a database whose bytes never change. Beside
// testscript's own there are the commands
//
//	code N kvctl ARGS..    run and want the exit code N
//	hold DIR               open the database for writing, until the script ends
//	flip FILE OFFSET       flip a bit of a byte; a negative offset counts from the end
//	cut FILE N             take N bytes off the end
//	table FILE K=V..       make a table for any database
//	cluster [CERTS]        start a cluster of three nodes; $E is its endpoints
//	down [n1..]            nodes that the others cannot reach from now on
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:           "testdata/script",
		UpdateScripts: *update,
		Setup: func(env *testscript.Env) error {
			env.Setenv("NO_COLOR", "1")
			env.Setenv("LONG", strings.Repeat("k", 1100))
			return os.CopyFS(filepath.Join(env.WorkDir, "tiny"), os.DirFS("../../engine/inspect/testdata/tiny"))
		},
		Cmds: map[string]func(ts *testscript.TestScript, neg bool, args []string){
			"code": func(ts *testscript.TestScript, neg bool, args []string) {
				want, err := strconv.Atoi(args[0])
				ts.Check(err)
				got := 0
				var exit *exec.ExitError
				if err := ts.Exec(args[1], args[2:]...); errors.As(err, &exit) {
					got = exit.ExitCode()
				} else {
					ts.Check(err)
				}
				if neg || got != want {
					ts.Fatalf("exit code %d, want %d\n%s", got, want, ts.ReadFile("stderr"))
				}
			},
			"cluster": cluster,
			"down":    down,
			"hold": func(ts *testscript.TestScript, _ bool, args []string) {
				db, err := engine.Open(ts.MkAbs(args[0]), nil)
				ts.Check(err)
				ts.Defer(func() { ts.Check(db.Close()) })
			},
			"flip": func(ts *testscript.TestScript, _ bool, args []string) {
				b := []byte(ts.ReadFile(args[0]))
				at, err := strconv.ParseInt(args[1], 0, 64)
				ts.Check(err)
				if at < 0 {
					at += int64(len(b))
				}
				b[at] ^= 0x40
				ts.Check(os.WriteFile(ts.MkAbs(args[0]), b, 0o644))
			},
			"table": func(ts *testscript.TestScript, _ bool, args []string) {
				w, err := engine.NewTableWriter(ts.MkAbs(args[0]), nil)
				ts.Check(err)
				for _, pair := range args[1:] {
					k, v, _ := strings.Cut(pair, "=")
					ts.Check(w.Put([]byte(k), []byte(v)))
				}
				ts.Check(w.Close())
			},
			"cut": func(ts *testscript.TestScript, _ bool, args []string) {
				b := ts.ReadFile(args[0])
				n, err := strconv.Atoi(args[1])
				ts.Check(err)
				ts.Check(os.WriteFile(ts.MkAbs(args[0]), []byte(b[:len(b)-n]), 0o644))
			},
		},
	})
}

// kvctl runs one command line in this process and returns what it printed.
func kvctl(t *testing.T, args ...string) (stdout, stderr string, code int) {
	t.Helper()
	dir := t.TempDir()
	out, err := os.Create(filepath.Join(dir, "stdout"))
	require.NoError(t, err)
	defer out.Close()
	talk, err := os.Create(filepath.Join(dir, "stderr"))
	require.NoError(t, err)
	defer talk.Close()
	code = (&app{stdout: out, stderr: talk}).run(context.Background(), args)
	return readAll(t, out), readAll(t, talk), code
}

func readAll(t *testing.T, f *os.File) string {
	t.Helper()
	b, err := os.ReadFile(f.Name())
	require.NoError(t, err)
	return string(bytes.Clone(b))
}

func TestOutcomeOfAWrite(t *testing.T) {
	failed, closing := errors.New("write failed"), errors.New("close failed")
	a := &app{db: "dir"}
	code := func(err error) int {
		if err == nil {
			return exitOK
		}
		c, _ := a.judge(err)
		return c
	}
	require.Equal(t, exitOK, code(closed(nil, nil)))
	require.Equal(t, exitUnavailable, code(closed(failed, nil)), "close undid it: it is not there")
	require.Equal(t, exitUnavailable, code(closed(nil, closing)))
	require.Equal(t, exitUnknown, code(closed(failed, closing)))
	require.ErrorContains(t, closed(failed, closing), "outcome UNKNOWN")
	require.ErrorIs(t, closed(failed, closing), failed)
	require.Equal(t, exitUsage, code(closed(engine.ErrInvalidArgument, closing)), "nothing was written")
	require.Equal(t, failed, closed(failed, engine.ErrClosed))
}

func TestInterrupted(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	dir := t.TempDir()
	talk, err := os.Create(filepath.Join(dir, "stderr"))
	require.NoError(t, err)
	defer talk.Close()
	file := filepath.Join(dir, "pairs.jsonl")
	require.NoError(t, os.WriteFile(file, []byte(`{"key":"a","value":"b"}`), 0o644))
	a := &app{stdout: talk, stderr: talk}
	require.Equal(t, exitInterrupted, a.run(ctx, []string{"db", "load", "--db", filepath.Join(dir, "db"), file}))
	require.Contains(t, readAll(t, talk), "interrupted")
}
