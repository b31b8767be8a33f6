package demo

import (
	"bytes"
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/cockroachdb/datadriven"
	"github.com/stretchr/testify/require"
)

// TestShell runs the scripts of testdata/shell. A cluster of three nodes begins with "new"; "run" carries out
// statements as --exec does, with keep-going where it says so.
func TestShell(t *testing.T) {
	datadriven.Walk(t, "testdata/shell", func(t *testing.T, path string) {
		var (
			out   bytes.Buffer
			nodes *fakeNodes
			shell *Shell
		)
		datadriven.RunTest(t, path, func(t *testing.T, d *datadriven.TestData) string {
			out.Reset()
			switch d.Cmd {
			case "new":
				count := 3
				d.MaybeScanArgs(t, "nodes", &count)
				nodes = newFake(t, count)
				shell = NewShell(nodes, &out)
				shell.settling = 100 * time.Millisecond
				return ""
			case "dirty":
				nodes.nodes[0].dirty = 2
				return ""
			case "run":
				code, err := shell.Exec(context.Background(), d.Input, d.HasArg("keep-going"))
				if err != nil {
					fmt.Fprintln(&out, err)
				}
				if code != exitOK {
					fmt.Fprintf(&out, "exit code %d\n", code)
				}
				return out.String()
			}
			t.Fatalf("%s: unknown command %q", d.Pos, d.Cmd)
			return ""
		})
	})
}

// A script that is interrupted ends with the cause, and nothing more of it is done.
func TestInterrupted(t *testing.T) {
	var out bytes.Buffer
	ctx, cancel := context.WithCancel(context.Background())
	nodes := newFake(t, 3)
	nodes.nodes[0].dirty = 1
	shell := NewShell(nodes, &out)
	time.AfterFunc(100*time.Millisecond, cancel)
	code, err := shell.Exec(ctx, `\wait; put a 1`, true)
	require.ErrorIs(t, err, context.Canceled)
	require.NotZero(t, code)
	require.NotContains(t, out.String(), "put")
}

// The tour of the nodes in this process goes as the real one, and one that shows something else ends it.
func TestTour(t *testing.T) {
	var out bytes.Buffer
	shell := NewShell(newFake(t, tourNodes), &out)
	shell.settling = 100 * time.Millisecond
	code, err := shell.tour(context.Background())
	require.NoError(t, err, out.String())
	require.Equal(t, exitOK, code)
	require.Contains(t, out.String(), "> put color red\nok: at least 2 nodes have it\n")

	// A second one meets what the first has written.
	code, err = shell.tour(context.Background())
	require.EqualError(t, err, "step 1 of the tour failed")
	require.Equal(t, exitUnavailable, code)
}

func TestComplete(t *testing.T) {
	for line, want := range map[string]string{
		"pu": "put ", `\st`: `\st`, `\sto`: `\stop `, `get a; \ki`: `get a; \kill `, "x": "x", "": "", "put a": "put a",
	} {
		got, pos, ok := complete(line, len(line), '\t')
		require.Equal(t, want, got)
		require.Equal(t, len(want), pos)
		require.Equal(t, want != line, ok)
	}
	_, _, ok := complete("pu", 2, 'x')
	require.False(t, ok)
}
