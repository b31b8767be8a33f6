package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestBuildsReadEachOther: a database with zstd tables that one build wrote, with libzstd through cgo or
// with zstd in Go, is read whole by the other, which writes on; and back.
func TestBuildsReadEachOther(t *testing.T) {
	if _, err := exec.LookPath("cc"); err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatal("no C compiler: apt-get install gcc")
		}
		t.Skip("skipped: no C compiler is here, so there is one build only")
	}
	bin := t.TempDir()
	for _, cgo := range []string{"0", "1"} {
		cmd := exec.Command("go", "build", "-o", filepath.Join(bin, "kvctl"+cgo), ".")
		cmd.Env = append(os.Environ(), "CGO_ENABLED="+cgo)
		out, err := cmd.CombinedOutput()
		require.NoError(t, err, "%s", out)
		out, err = exec.Command("go", "version", "-m", filepath.Join(bin, "kvctl"+cgo)).Output()
		require.NoError(t, err)
		require.Contains(t, string(out), "CGO_ENABLED="+cgo)
	}
	run := func(cgo string, args ...string) string {
		var stderr strings.Builder
		cmd := exec.Command(filepath.Join(bin, "kvctl"+cgo), args...)
		cmd.Stderr = &stderr
		out, err := cmd.Output()
		require.NoError(t, err, "kvctl%s %v: %s", cgo, args, stderr.String())
		return string(out)
	}
	for _, first := range []string{"0", "1"} {
		second := map[string]string{"0": "1", "1": "0"}[first]
		dir := t.TempDir()
		db := filepath.Join(dir, "db")
		load := func(cgo string, round int) {
			var lines, want strings.Builder
			for i := range 3000 {
				value := strings.Repeat(fmt.Sprintf("round %d line %d of a compressible text; ", round, i), 8)
				fmt.Fprintf(&lines, "{\"key\":\"key-%05d\",\"value\":%q}\n", i*(round+1), value)
				fmt.Fprintf(&want, "%x %x\n", fmt.Sprintf("key-%05d", i*(round+1)), value)
			}
			file := filepath.Join(dir, fmt.Sprintf("pairs-%d.jsonl", round))
			require.NoError(t, os.WriteFile(file, []byte(lines.String()), 0o644))
			run(cgo, "db", "load", "--db", db, file)
			run(cgo, "db", "compact", "--db", db)
			if round == 0 {
				require.Equal(t, want.String(), run(cgo, "db", "scan", "--db", db, "--hex"))
			}
		}
		zstdTables := func(cgo string) {
			tables, err := filepath.Glob(db + "/*.sst")
			require.NoError(t, err)
			require.NotEmpty(t, tables)
			for _, table := range tables {
				require.Contains(t, run(cgo, "sst", "dump", table), "ZSTD")
				run(cgo, "sst", "verify", table)
			}
		}
		load(first, 0)
		zstdTables(second)
		run(second, "db", "check", "--db", db)
		require.Equal(t, run(first, "db", "scan", "--db", db, "--hex"), run(second, "db", "scan", "--db", db, "--hex"))

		load(second, 1) // the other build merges what the first wrote
		zstdTables(first)
		run(first, "db", "check", "--db", db)
		scan := run(second, "db", "scan", "--db", db, "--hex")
		require.Equal(t, scan, run(first, "db", "scan", "--db", db, "--hex"))
		require.Equal(t, 3000+1500, strings.Count(scan, "\n"))
	}
}
