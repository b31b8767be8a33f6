package chaos

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/cambiumdb/cambium/distrib/meta"
)

// etcdEnv has the test binary be an etcd in that directory, until its standard input ends.
const etcdEnv = "CHAOS_ETCD_DIR"

// etcd is a process of this test binary that serves metadata.
type etcd struct {
	t         *testing.T
	dir       string
	endpoints []string
	cmd       *exec.Cmd
	stdin     io.Closer
}

// newEtcd starts an etcd that ends with the test.
func newEtcd(t *testing.T) *etcd {
	e := &etcd{t: t, dir: t.TempDir()}
	require.NoError(t, e.start())
	t.Cleanup(func() { _ = e.kill() })
	return e
}

// start starts it at the address that it had.
func (e *etcd) start() error {
	e.cmd = exec.Command(os.Args[0])
	e.cmd.Env = append(os.Environ(), etcdEnv+"="+e.dir)
	stdin, err := e.cmd.StdinPipe()
	if err != nil {
		return err
	}
	out, err := e.cmd.StdoutPipe()
	if err != nil {
		return err
	}
	e.stdin = stdin
	if err := e.cmd.Start(); err != nil {
		return err
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	e.endpoints = strings.Fields(line)
	return err
}

func (e *etcd) kill() error {
	_ = e.cmd.Process.Kill() // it fails where the process has ended
	_ = e.cmd.Wait()         // its state is that it was killed
	_ = e.stdin.Close()
	return nil
}

func (e *etcd) pause() error { return e.cmd.Process.Signal(syscall.SIGSTOP) }
func (e *etcd) goOn() error  { return e.cmd.Process.Signal(syscall.SIGCONT) }

// serveEtcd serves an etcd and prints its endpoints.
func serveEtcd(dir string) error {
	e, err := meta.StartEmbedded(context.Background(), meta.EmbeddedOptions{Dir: dir, Name: "etcd"})
	if err != nil {
		return err
	}
	fmt.Println(strings.Join(e.Endpoints(), " "))
	_, err = io.Copy(io.Discard, os.Stdin)
	return errors.Join(err, e.Close())
}
