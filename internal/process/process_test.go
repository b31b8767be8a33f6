package process

import (
	"context"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// shell runs a script that is told to say "up" when it can be asked to end.
func shell(t *testing.T, script string) (p *Process, log string) {
	sh, err := exec.LookPath("sh")
	require.NoError(t, err)
	s := NewSpawner()
	t.Cleanup(s.Close)
	log = filepath.Join(t.TempDir(), "log")
	up := make(chan string, 10)
	p, err = s.Start(Command{Path: sh, Args: []string{"-c", script}, Log: log, Line: func(line string) { up <- line }})
	require.NoError(t, err)
	t.Cleanup(p.Kill)
	require.Equal(t, "up\n", <-up)
	return p, log
}

func TestEnds(t *testing.T) {
	p, log := shell(t, `trap 'echo bye >&2; exit 0' TERM; echo up; while :; do sleep 0.01; done`)
	require.True(t, p.Running())
	require.NoError(t, p.End(t.Context()))
	require.False(t, p.Running())
	require.Equal(t, "  up\n  bye", Tail(log))
	require.ErrorIs(t, syscall.Kill(p.ID(), 0), syscall.ESRCH)
	require.NoError(t, p.End(t.Context()), "it has ended")
}

func TestEndsByForce(t *testing.T) {
	p, _ := shell(t, `trap '' TERM; echo up; while :; do sleep 0.01; done`)
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	require.ErrorContains(t, p.End(ctx), "was killed")
	require.False(t, p.Running())
}

// Standard input is open as long as this process runs.
func TestStandardInput(t *testing.T) {
	p, _ := shell(t, `echo up; read line; exit 3`)
	require.NoError(t, p.stdin.Close())
	<-p.Exited()
	require.Equal(t, 3, p.State().ExitCode())
	require.ErrorContains(t, p.End(t.Context()), "exit status 3")
}
