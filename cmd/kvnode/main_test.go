package main

import (
	"bytes"
	"errors"
	"flag"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
)

var update = flag.Bool("update", false, "write what the commands print into the scripts")

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"kvnode": main})
}

// TestScripts runs testdata/script. Beside testscript's own there are the commands
//
//	code N kvnode ARGS..       run and want the exit code N
//	interrupt SIGNAL kvnode ARGS..  run, send the signal once it has printed something, and want the exit code 130
//	none                       no process is left that has to do with the script, and nothing in $TMPDIR
func TestScripts(t *testing.T) {
	if testing.Short() {
		t.Skip("skipped: clusters of processes, in short mode")
	}
	testscript.Run(t, testscript.Params{
		Dir:           "testdata/script",
		UpdateScripts: *update,
		Setup: func(env *testscript.Env) error {
			tmp := filepath.Join(env.WorkDir, "tmp")
			env.Setenv("TMPDIR", tmp)
			return os.MkdirAll(tmp, 0o777)
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
					ts.Fatalf("exit code %d, want %d\n%s%s", got, want, ts.ReadFile("stdout"), ts.ReadFile("stderr"))
				}
			},
			"interrupt": interrupt,
			"none":      none,
		},
	})
}

func interrupt(ts *testscript.TestScript, neg bool, args []string) {
	signal := map[string]syscall.Signal{"INT": syscall.SIGINT, "TERM": syscall.SIGTERM}[args[0]]
	name, err := exec.LookPath(args[1])
	ts.Check(err)
	cmd := exec.Command(name, args[2:]...)
	cmd.Env = append(os.Environ(), "TMPDIR="+ts.Getenv("TMPDIR"))
	var talk bytes.Buffer
	cmd.Stderr = &talk
	out, err := cmd.StdoutPipe()
	ts.Check(err)
	ts.Check(cmd.Start())
	_, err = out.Read(make([]byte, 1))
	ts.Check(err)
	ts.Check(cmd.Process.Signal(signal))
	var exit *exec.ExitError
	if err := cmd.Wait(); neg || !errors.As(err, &exit) || exit.ExitCode() != 130 || talk.String() != "kvnode demo: interrupted\n" {
		ts.Fatalf("%v\n%s", err, talk.String())
	}
}

func none(ts *testscript.TestScript, neg bool, _ []string) {
	if left, err := os.ReadDir(ts.Getenv("TMPDIR")); err != nil || len(left) > 0 {
		ts.Fatalf("%v is left, %v", left, err)
	}
	var left []string
	for range 100 {
		left = nil
		lines, err := filepath.Glob("/proc/[0-9]*/cmdline")
		ts.Check(err)
		for _, name := range lines {
			if b, err := os.ReadFile(name); err == nil && bytes.Contains(b, []byte(ts.Getenv("WORK"))) {
				left = append(left, strings.ReplaceAll(string(b), "\x00", " "))
			}
		}
		if len(left) == 0 {
			return
		}
		time.Sleep(10 * time.Millisecond) // the kernel is not done with those that were killed
	}
	if !neg {
		ts.Fatalf("these are left: %q", left)
	}
}
