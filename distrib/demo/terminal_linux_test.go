package demo

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// openTerminal returns a terminal, and the end of it where somebody types.
func openTerminal(t *testing.T) (terminal, keyboard *os.File) {
	keyboard, err := os.OpenFile("/dev/ptmx", os.O_RDWR, 0)
	require.NoError(t, err)
	t.Cleanup(func() { _ = keyboard.Close() })
	require.NoError(t, unix.IoctlSetPointerInt(int(keyboard.Fd()), unix.TIOCSPTLCK, 0))
	number, err := unix.IoctlGetInt(int(keyboard.Fd()), unix.TIOCGPTN)
	require.NoError(t, err)
	terminal, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", number), os.O_RDWR, 0)
	require.NoError(t, err)
	t.Cleanup(func() { _ = terminal.Close() })
	return terminal, keyboard
}

// screen is what was to be seen on a terminal.
type screen struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (s *screen) Write(b []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.text.Write(b)
}

func (s *screen) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return strings.ReplaceAll(s.text.String(), "\r", "")
}

// typed runs the shell on a terminal while somebody types keys, the next ones when there is a prompt, and returns what was to be
// seen.
func typed(t *testing.T, keys ...string) (seen string, err error) {
	terminal, keyboard := openTerminal(t)
	var out screen
	var people sync.WaitGroup
	people.Go(func() { _, _ = io.Copy(&out, keyboard) }) // it ends with an error when the terminal is closed
	people.Go(func() {
		for i, k := range keys {
			for range 1000 {
				if strings.Count(out.String(), "> ") > i && strings.HasSuffix(out.String(), "> ") {
					break
				}
				time.Sleep(5 * time.Millisecond)
			}
			_, _ = keyboard.WriteString(k) // what is seen shows whether it did
		}
	})
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	err = NewShell(newFake(t, 3), terminal).interact(ctx, terminal)
	require.NoError(t, terminal.Close())
	people.Wait()
	return out.String(), err
}

func TestTypedStatements(t *testing.T) {
	seen, err := typed(t, "put a 1; get a\r", "put b\r", "\\ki\t2\r", "\x1b[A\r", "\x04")
	require.NoError(t, err)
	require.Contains(t, seen, "ok: at least 2 nodes have it\na = 1  [n1:1]\n> ")
	require.Contains(t, seen, "V is missing")
	require.Contains(t, seen, "n2 is killed\n> ")
	require.True(t, strings.HasSuffix(seen, "failed: n2 is killed\n> \n"), "the key up brings the statement back: %q", seen)

	seen, err = typed(t, "\\quit\r")
	require.NoError(t, err)
	require.True(t, strings.HasSuffix(seen, `\quit`+"\n"), "%q", seen)

	_, err = typed(t, "get a\x03")
	require.NoError(t, err, "Ctrl-C ends it")
}

// Somebody who types nothing does not keep an interrupted demo.
func TestInterruptedTerminal(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	terminal, _ := openTerminal(t)
	shell := NewShell(newFake(t, 3), terminal)
	require.ErrorIs(t, shell.interact(ctx, terminal), context.Canceled)

	ctx, cancel = context.WithCancel(context.Background())
	done := make(chan error)
	go func() { done <- shell.interact(ctx, terminal) }()
	cancel()
	require.ErrorIs(t, <-done, context.Canceled)
}
