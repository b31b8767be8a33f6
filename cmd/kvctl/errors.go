package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"regexp"
	"strings"
	"syscall"

	"github.com/cambiumdb/cambium/engine"
)

// The exit codes.
const (
	exitOK          = 0
	exitNotFound    = 1
	exitUsage       = 2
	exitUnavailable = 3
	exitUnknown     = 4
	exitCorruption  = 5
	exitLocked      = 6
	exitInterrupted = 130
)

// statusError is an error with an exit code and what to try.
type statusError struct {
	code int
	err  error
	try  string // "" leaves it to the error's kind
}

func (e *statusError) Error() string { return e.err.Error() }
func (e *statusError) Unwrap() error { return e.err }

func usagef(format string, args ...any) error {
	return &statusError{code: exitUsage, err: fmt.Errorf(format, args...)}
}

// flagErrors are what cobra says of flags that do not go together, and how it is said here.
var flagErrors = []struct {
	is   *regexp.Regexp
	want string
}{
	{regexp.MustCompile(`^required flag\(s\) (.+) not set$`), "%s is missing"},
	{regexp.MustCompile(`^at least one of the flags in the group \[(.+)\] is required$`), "one of %s is missing"},
	{regexp.MustCompile(`^if any flags in the group \[(.+)\] are set none of the others can be; .*$`), "only one of %s may be given"},
}

// aboutFlags puts such an error in words that name the flags as they are typed.
func aboutFlags(err error) error {
	for _, f := range flagErrors {
		if m := f.is.FindStringSubmatch(err.Error()); m != nil {
			names := strings.FieldsFunc(m[1], func(r rune) bool { return strings.ContainsRune(`", `, r) })
			return fmt.Errorf(f.want, "--"+strings.Join(names, ", --"))
		}
	}
	return err
}

// report prints err, with a line about what to try, and returns the exit code.
func (a *app) report(ctx context.Context, err error) int {
	if ctx.Err() != nil && (errors.Is(err, context.Canceled) || errors.Is(err, engine.ErrClosed)) {
		fmt.Fprintln(a.stderr, "interrupted")
		return exitInterrupted
	}
	code, try := a.judge(err)
	fmt.Fprintln(a.stderr, err)
	if try != "" {
		fmt.Fprintln(a.stderr, "  try:", try)
	}
	return code
}

// judge returns the exit code of err and what to try, "" where nothing helps in general.
func (a *app) judge(err error) (code int, try string) {
	var status *statusError
	if !errors.As(err, &status) {
		if code, try := judgeOnline(err); code != exitOK {
			return code, try
		}
	}
	switch {
	case errors.As(err, &status):
		return status.code, status.try
	case errors.Is(err, engine.ErrNotFound):
		return exitNotFound, ""
	case errors.Is(err, engine.ErrLocked):
		return exitLocked, "kvctl db get, scan, info, lsm, check and explain read without the lock"
	case errors.Is(err, engine.ErrCorruption):
		if a.db == "" {
			return exitCorruption, "restore the file from a checkpoint or a backup"
		}
		return exitCorruption, fmt.Sprintf("kvctl db check --db %s lists every problem; restore the files it names from a checkpoint or a backup", a.db)
	case errors.Is(err, engine.ErrNotDatabase) && a.lostCurrent() != "":
		return exitUsage, fmt.Sprintf("this was a database: in a copy of %s write %s and a newline into CURRENT, then run kvctl db check on the copy", a.db, a.lostCurrent())
	case errors.Is(err, engine.ErrNotDatabase):
		return exitUsage, fmt.Sprintf("kvctl db put or load makes a database in an empty or new directory; is --db %s right?", a.db)
	case errors.Is(err, engine.ErrInvalidArgument), errors.Is(err, engine.ErrExists):
		return exitUsage, ""
	case errors.Is(err, engine.ErrUnsupported):
		return exitUnavailable, "read it with RocksDB's own tools"
	case errors.Is(err, engine.ErrNoSpace):
		return exitUnavailable, "free space on the device and run the command again; nothing that was stored is lost"
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, syscall.ENOTDIR), errors.Is(err, syscall.EISDIR):
		return exitUsage, ""
	case errors.Is(err, fs.ErrPermission):
		return exitUnavailable, "run as the owner of the files, or change their mode"
	}
	return exitUnavailable, ""
}

// lostCurrent returns the name of the newest manifest of a directory that holds tables or logs
// but no CURRENT, which is what is left of a database; else "".
func (a *app) lostCurrent() string {
	entries, err := os.ReadDir(a.db)
	if err != nil {
		return ""
	}
	newest, files := "", false
	for _, e := range entries { // by name, so the numbers of manifests go up
		switch name := e.Name(); {
		case name == "CURRENT":
			return ""
		case strings.HasPrefix(name, "MANIFEST-"):
			newest = name
		case strings.HasSuffix(name, ".sst"), strings.HasSuffix(name, ".log"):
			files = true
		}
	}
	if !files {
		return "" // a crash while the database was being made leaves a manifest alone
	}
	return newest
}
