package demo

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"golang.org/x/sys/unix"
	"golang.org/x/term"
)

// interact reads statements from a terminal until it ends, by Ctrl-D or Ctrl-C, or ctx does.
func (s *Shell) interact(ctx context.Context, in *os.File) error {
	wake, waker, err := os.Pipe()
	if err != nil {
		return err
	}
	defer wake.Close()
	defer context.AfterFunc(ctx, func() { _ = waker.Close() })()
	lines := term.NewTerminal(struct {
		io.Reader
		io.Writer
	}{&interruptible{in, wake}, s.out}, "> ")
	lines.AutoCompleteCallback = complete
	for ctx.Err() == nil {
		line, err := readLine(lines, in)
		if errors.Is(err, io.EOF) {
			s.printf("\n")
			return context.Cause(ctx)
		}
		if err != nil {
			return err
		}
		list, err := parse(line)
		if err != nil {
			s.printf("%s\n", err)
		}
		for i := range list {
			if _, quit := s.do(ctx, &list[i]); quit {
				return nil
			}
		}
	}
	return context.Cause(ctx)
}

// readLine has the terminal hand over each key only while a line is edited: what a statement prints, and Ctrl-C
// meanwhile, are as ever.
func readLine(lines *term.Terminal, in *os.File) (string, error) {
	fd := int(in.Fd())
	before, err := term.MakeRaw(fd)
	if err != nil {
		return "", fmt.Errorf("prepare the terminal: %w", err)
	}
	defer term.Restore(fd, before)
	if width, height, err := term.GetSize(fd); err == nil && width > 0 {
		_ = lines.SetSize(width, height) // it draws the line anew, or not
	}
	return lines.ReadLine()
}

// complete finishes the verb at the start of a statement when Tab is pressed.
func complete(line string, pos int, key rune) (string, int, bool) {
	if key != '\t' {
		return line, pos, false
	}
	start := strings.LastIndexByte(line[:pos], ';') + 1
	start += len(line[start:pos]) - len(strings.TrimLeft(line[start:pos], " "))
	var found string
	n := 0
	for _, v := range verbs {
		if !strings.HasPrefix(v.name, line[start:pos]) {
			continue
		}
		if n++; n == 1 {
			found = v.name + " "
		}
		for !strings.HasPrefix(v.name+" ", found) {
			found = found[:len(found)-1]
		}
	}
	if len(found) <= pos-start {
		return line, pos, false
	}
	return line[:start] + found + line[pos:], start + len(found), true
}

// interruptible reads a file until another one can be read, or has ended: a read of a terminal alone would outlive
// the demo.
type interruptible struct{ file, wake *os.File }

func (r *interruptible) Read(b []byte) (int, error) {
	fds := []unix.PollFd{{Fd: int32(r.file.Fd()), Events: unix.POLLIN}, {Fd: int32(r.wake.Fd()), Events: unix.POLLIN}}
	for {
		_, err := unix.Poll(fds, -1)
		switch {
		case errors.Is(err, unix.EINTR):
		case err != nil:
			return 0, err
		case fds[1].Revents != 0:
			return 0, io.EOF
		case fds[0].Revents != 0:
			return r.file.Read(b)
		}
	}
}
