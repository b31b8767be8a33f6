package main

import (
	"context"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

// kvnode runs one command line in this process and returns what it printed.
func kvnode(t *testing.T, args ...string) (stdout, stderr string, code int) {
	t.Helper()
	dir := t.TempDir()
	files := [2]*os.File{}
	for i, name := range []string{"stdout", "stderr"} {
		f, err := os.Create(filepath.Join(dir, name))
		require.NoError(t, err)
		files[i] = f
	}
	wasOut, wasErr := os.Stdout, os.Stderr
	os.Stdout, os.Stderr = files[0], files[1]
	code = run(context.Background(), args)
	os.Stdout, os.Stderr = wasOut, wasErr
	var printed [2]string
	for i, f := range files {
		b, err := os.ReadFile(f.Name())
		require.NoError(t, err)
		require.NoError(t, f.Close())
		printed[i] = string(b)
	}
	return printed[0], printed[1], code
}

func TestConfigCommands(t *testing.T) {
	t.Chdir(t.TempDir())
	example, _, code := kvnode(t, "config", "init")
	require.Zero(t, code)
	_, _, code = kvnode(t, "config", "init", "c.yaml")
	require.Zero(t, code)
	b, err := os.ReadFile("c.yaml")
	require.NoError(t, err)
	require.Equal(t, example, string(b))
	_, stderr, code := kvnode(t, "config", "init", "c.yaml")
	require.Equal(t, exitUsage, code)
	require.Equal(t, "kvnode: open c.yaml: file exists: no file is replaced\n", stderr)

	stdout, _, code := kvnode(t, "config", "validate", "--config", "c.yaml")
	require.Zero(t, code)
	require.Equal(t, "ok\n", stdout)
	stdout, _, code = kvnode(t, "config", "show", "--config", "c.yaml", "--weight", "2", "--origin")
	require.Zero(t, code)
	require.Contains(t, stdout, "name: n1                               # c.yaml:5\n")
	require.Contains(t, stdout, "weight: 2                              # --weight\n")
	stdout, _, code = kvnode(t, "config", "show", "--config", "c.yaml")
	require.Zero(t, code)
	require.NotContains(t, stdout, "#")

	require.NoError(t, os.WriteFile("bad.yaml", []byte("name: n1\ndir: d\nwieght: 2\nsync: never\n"), 0o600))
	for _, command := range [][]string{{"config", "validate"}, {"config", "show"}, {"start"}} {
		_, stderr, code = kvnode(t, append(command, "--config", "bad.yaml")...)
		require.Equal(t, exitUsage, code)
		require.Equal(t, "kvnode: bad.yaml:3: wieght: there is no such setting: is weight meant?\nbad.yaml:4: sync is \"never\", want per-write or per-second\n", stderr)
	}
	for _, command := range [][]string{{"config", "validate"}, {"start"}} {
		_, stderr, code = kvnode(t, append(command, "--name", "n1", "--dir", "d", "--tls-ca=ca.crt", "--tls-cert=n1.crt", "--tls-key=n1.key")...)
		require.Equal(t, exitUsage, code)
		require.Contains(t, stderr, "kvnode: CA ca.crt does not exist")
	}
	_, stderr, code = kvnode(t, "start", "--name", "n1", "--dir", "d", "--listen", "10.0.0.1:7800")
	require.Equal(t, exitUsage, code)
	require.Contains(t, stderr, "kvnode: listen is 10.0.0.1:7800, which other machines reach, and there is no TLS")
	require.NoDirExists(t, "d", "what was refused left nothing")
}
