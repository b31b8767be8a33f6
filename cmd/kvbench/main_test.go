package main

import (
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/cambiumdb/cambium/engine"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"kvbench": main})
}

// TestScripts runs the command lines under testdata/script.
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir: "testdata/script",
		Setup: func(e *testscript.Env) error {
			e.Setenv("TMPDIR", e.WorkDir)
			return nil
		},
		Cmds: map[string]func(ts *testscript.TestScript, neg bool, args []string){
			"exitcode": exitcode,
			"hold":     hold,
		},
	})
}

// hold DIR opens a database in this process until the script ends.
func hold(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: hold DIR")
	}
	db, err := engine.Open(ts.MkAbs(args[0]), nil)
	ts.Check(err)
	ts.Defer(func() { ts.Check(db.Close()) })
}

// exitcode CODE COMMAND.. runs a command and wants that exit code.
func exitcode(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: exitcode CODE COMMAND ARG..")
	}
	want := args[0]
	err := ts.Exec(args[1], args[2:]...)
	got := "0"
	if err != nil {
		got = err.Error()
	}
	if got != want && got != "exit status "+want {
		ts.Fatalf("%v: got %s, want exit status %s", args[1:], got, want)
	}
}
