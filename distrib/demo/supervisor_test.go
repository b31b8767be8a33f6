package demo

import (
	"bufio"
	"context"
	"encoding/json"
	goflag "flag"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
	"google.golang.org/grpc"

	"github.com/cambiumdb/cambium/distrib/api"
)

// asEnv has the test's own binary play another program.
const asEnv = "CAMBIUM_DEMO_TEST_AS"

func TestMain(m *testing.M) {
	switch os.Getenv(asEnv) {
	case "node":
		playNode()
	case "demo":
		playDemo()
	default:
		goleak.VerifyTestMain(m)
	}
}

// playNode does of kvnode start what a supervisor sees. In its directory it leaves its arguments, the faults that it was told, and whether it ended in order; a file
// "broken" there keeps it from starting.
func playNode() {
	args := goflag.NewFlagSet("start", goflag.ExitOnError)
	name, dir, listen, http := args.String("name", "", ""), args.String("dir", "", ""), args.String("listen", "", ""), args.String("http", "", "")
	args.String("join", "", "")
	args.Bool("allow-faults", false, "")
	args.Bool("with-parent", false, "")
	_ = args.Parse(os.Args[2:])
	check := func(err error) {
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(3)
		}
	}
	check(os.MkdirAll(*dir, 0o777))
	check(os.WriteFile(filepath.Join(*dir, "args"), []byte(strings.Join(os.Args[1:], " ")), 0o666))
	if _, err := os.Stat(filepath.Join(*dir, "broken")); err == nil {
		fmt.Println("one line of the log")
		fmt.Fprintln(os.Stderr, "it is broken")
		os.Exit(3)
	}
	listener, err := net.Listen("tcp", *listen)
	check(err)
	web, err := net.Listen("tcp", *http)
	check(err)
	server := grpc.NewServer()
	api.RegisterFaultsServer(server, &faultsFile{dir: *dir})
	go func() { check(server.Serve(listener)) }()
	ended := make(chan os.Signal, 1)
	signal.Notify(ended, syscall.SIGTERM)
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		os.Exit(4)
	}()
	fmt.Printf("starting\nready name=%s grpc=%s http=%s cluster=c\n", *name, listener.Addr(), web.Addr())
	<-ended
	check(os.WriteFile(filepath.Join(*dir, "ended"), nil, 0o666))
}

type faultsFile struct {
	api.UnimplementedFaultsServer
	dir string
}

func (f *faultsFile) Set(_ context.Context, r *api.FaultsRequest) (*api.FaultsResponse, error) {
	text := fmt.Sprintf("to %v from %v slow %d", r.GetCutTo(), r.GetCutFrom(), r.GetSlowMs())
	return &api.FaultsResponse{}, os.WriteFile(filepath.Join(f.dir, "faults"), []byte(text), 0o666)
}

// playDemo starts nodes, pauses one, says their process numbers, and waits to be killed.
func playDemo() {
	_ = os.Setenv(asEnv, "node")
	p, err := StartProcesses(context.Background(), ProcessOptions{Executable: os.Args[0], Dir: os.Args[1], Count: 2})
	if err == nil {
		err = p.Pause(2)
	}
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	fmt.Println(p.nodes[0].process.ID(), p.nodes[1].process.ID())
	select {}
}

func startFakes(t *testing.T, o ProcessOptions) (*Processes, error) {
	t.Helper()
	t.Setenv(asEnv, "node")
	o.Executable = os.Args[0]
	return StartProcesses(context.Background(), o)
}

func content(t *testing.T, path ...string) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(path...))
	require.NoError(t, err)
	return string(b)
}

func states(p *Processes) (s []State) {
	for _, n := range p.List() {
		s = append(s, n.State)
	}
	return s
}

// gone waits until there is no process of that number. A zombie is gone: whom it was left to may be slow.
func gone(t *testing.T, pid int) {
	require.Eventually(t, func() bool {
		b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
		return err != nil || strings.Contains(string(b), ") Z ")
	}, 10*time.Second, 10*time.Millisecond, "process %d still runs", pid)
}

func TestProcesses(t *testing.T) {
	dir, ctx := t.TempDir(), context.Background()
	p, err := startFakes(t, ProcessOptions{Dir: dir, Count: 3})
	require.NoError(t, err)
	first := p.List()
	require.Equal(t, "start --name n1 --dir "+dir+"/n1 --listen 127.0.0.1:0 --http 127.0.0.1:0 --allow-faults --with-parent", content(t, dir, "n1", "args"))
	require.Contains(t, content(t, dir, "n3", "args"), "--join "+first[0].GRPC+","+first[1].GRPC)
	require.Contains(t, content(t, dir, "n2.log"), "starting\nready name=n2")

	// The other side hears of the cut at once, who does not run when it runs again.
	require.NoError(t, p.Kill(3))
	require.ErrorContains(t, p.Kill(3), "n3 is killed")
	require.ErrorContains(t, p.Start(ctx, 1), "n1 is running")
	require.NoError(t, p.Pause(2))
	require.Equal(t, []State{Running, Paused, Killed}, states(p))
	require.NoError(t, p.Partition(ctx, [][]int{{1}, {2, 3}}))
	require.NoError(t, p.Slow(ctx, 3, 200*time.Millisecond))
	require.Equal(t, "to [n2 n3] from [n2 n3] slow 0", content(t, dir, "n1", "faults"))
	require.Equal(t, "to [] from [] slow 0", content(t, dir, "n2", "faults"))
	require.NoError(t, p.Resume(ctx, 2))
	require.Equal(t, "to [n1] from [n1] slow 0", content(t, dir, "n2", "faults"))
	require.NoError(t, p.Start(ctx, 3))
	require.Equal(t, "to [n1] from [n1] slow 200", content(t, dir, "n3", "faults"))
	require.NoError(t, p.Partition(ctx, nil))
	require.Equal(t, "to [] from [] slow 200", content(t, dir, "n3", "faults"))

	// A node comes back where the others look for it.
	require.Equal(t, first[2].GRPC, p.List()[2].GRPC)
	require.Contains(t, content(t, dir, "n3", "args"), "--listen "+first[2].GRPC+" --http "+first[2].HTTP)
	require.NoError(t, p.Stop(ctx, 1))
	require.FileExists(t, filepath.Join(dir, "n1", "ended"))
	require.NoError(t, p.Start(ctx, 1))
	require.Contains(t, content(t, dir, "n1", "args"), "--join "+first[1].GRPC+","+first[2].GRPC)

	// What ends by itself is seen.
	require.NoError(t, p.nodes[1].process.Signal(syscall.SIGKILL))
	<-p.nodes[1].process.Exited()
	require.Equal(t, []State{Running, Exited, Running}, states(p))
	require.NoError(t, p.Start(ctx, 2))
	require.NoError(t, p.Pause(1))
	require.NoError(t, p.Close())
	for i, m := range p.nodes {
		gone(t, m.process.ID())
		require.FileExists(t, filepath.Join(dir, fmt.Sprintf("n%d", i+1), "ended"))
	}

	// Another demo takes the directory up.
	_, err = startFakes(t, ProcessOptions{Dir: dir, Count: 2})
	require.ErrorContains(t, err, "holds a demo of 3 nodes, not of 2")
	p, err = startFakes(t, ProcessOptions{Dir: dir})
	require.NoError(t, err)
	require.Len(t, p.List(), 3)
	require.Equal(t, first[1].GRPC, p.List()[1].GRPC)
	require.NoError(t, p.Close())
	require.NoError(t, os.WriteFile(filepath.Join(dir, "demo.json"), []byte("[]"), 0o666))
	_, err = startFakes(t, ProcessOptions{Dir: dir})
	require.ErrorContains(t, err, "demo.json: it names no node")
}

func TestTemporaryDirectory(t *testing.T) {
	t.Setenv("TMPDIR", t.TempDir())
	p, err := startFakes(t, ProcessOptions{Count: 2})
	require.NoError(t, err)
	left, err := os.ReadDir(os.Getenv("TMPDIR"))
	require.NoError(t, err)
	require.Len(t, left, 1)
	require.NoError(t, p.Close())
	for _, m := range p.nodes {
		gone(t, m.process.ID())
	}
	left, err = os.ReadDir(os.Getenv("TMPDIR"))
	require.NoError(t, err)
	require.Empty(t, left)
}

// A start that fails says what the node said, and leaves no process.
func TestFailedStart(t *testing.T) {
	dir := t.TempDir()
	require.NoError(t, os.Mkdir(filepath.Join(dir, "n2"), 0o777))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "n2", "broken"), nil, 0o666))
	p, err := startFakes(t, ProcessOptions{Dir: dir, Count: 3})
	require.ErrorContains(t, err, "start n2: it ended: exit status 3; the end of "+filepath.Join(dir, "n2.log"))
	require.ErrorContains(t, err, "  it is broken")
	gone(t, p.nodes[0].process.ID())

	_, err = startFakes(t, ProcessOptions{Dir: t.TempDir(), Count: 10})
	require.ErrorContains(t, err, "10 nodes: 1 to 9 are possible")
	t.Setenv(asEnv, "node")
	_, err = StartProcesses(context.Background(), ProcessOptions{Executable: filepath.Join(dir, "missing"), Count: 1})
	require.ErrorContains(t, err, "start n1: ")
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	_, err = StartProcesses(ctx, ProcessOptions{Executable: os.Args[0], Count: 1})
	require.ErrorIs(t, err, context.Canceled)
}

// Nodes end with the demo, also when it is killed and when they are paused.
func TestNodesEndWithTheirDemo(t *testing.T) {
	if _, err := os.Stat("/proc/self/stat"); err != nil {
		t.Skip("skipped: there is no /proc to find processes in")
	}
	cmd := exec.Command(os.Args[0], t.TempDir())
	cmd.Env = append(os.Environ(), asEnv+"=demo")
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	line, err := bufio.NewReader(out).ReadString('\n')
	require.NoError(t, err)
	require.NoError(t, cmd.Process.Kill())
	require.Error(t, cmd.Wait())
	for _, word := range strings.Fields(line) {
		pid, err := strconv.Atoi(word)
		require.NoError(t, err, line)
		gone(t, pid)
	}
}

func TestParseReady(t *testing.T) {
	for line, want := range map[string]bool{
		"ready name=n1 grpc=127.0.0.1:1 http=127.0.0.1:2 cluster=x\n": true,
		"ready name=n1 http=127.0.0.1:2 grpc=127.0.0.1:1":             true,
		"ready name=n1 http=127.0.0.1:2":                              false,
		"is ready name=n1 grpc=127.0.0.1:1 http=127.0.0.1:2":          false,
		"": false,
	} {
		r, ok := parseReady(line)
		require.Equal(t, want, ok, line)
		if ok {
			require.Equal(t, ready{"n1", "127.0.0.1:1", "127.0.0.1:2"}, r)
		}
	}
}

func TestFaultsOf(t *testing.T) {
	list := []Node{{Name: "n1", Side: 1}, {Name: "n2"}, {Name: "n3", Side: 1, Slow: time.Second}, {Name: "n4", Side: 2}}
	b, err := json.Marshal(faultsOf(list, 3))
	require.NoError(t, err)
	require.JSONEq(t, `{"cut_to":["n2","n4"],"cut_from":["n2","n4"],"slow_ms":1000}`, string(b))

	list = []Node{{Name: "n1", CutTo: []string{"n2"}}, {Name: "n2"}, {Name: "n3"}}
	for i, want := range []string{`{"cut_to":["n2"]}`, `{"cut_from":["n1"]}`, `{}`} {
		b, err := json.Marshal(faultsOf(list, i+1))
		require.NoError(t, err)
		require.JSONEq(t, want, string(b))
	}
}
