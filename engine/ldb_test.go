package engine_test

import (
	"bytes"
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/cambiumdb/cambium/engine"
)

// compareWithRocksDB checks that ldb and sst_dump accept the directory and that ldb scan agrees with
// us on every key and value.
func compareWithRocksDB(t *testing.T, dir string) (keys int) {
	t.Helper()
	run(t, "ldb", "--db="+dir, "checkconsistency")
	manifests, err := filepath.Glob(dir + "/MANIFEST-*")
	require.NoError(t, err)
	require.Contains(t, run(t, "ldb", "--db="+dir, "manifest_dump", "--path="+manifests[len(manifests)-1]), "next_file_number")
	if tables, err := filepath.Glob(dir + "/*.sst"); err == nil && len(tables) > 0 {
		out := run(t, "sst_dump", "--file="+dir, "--command=verify")
		require.NotContains(t, out, "corrupted")
	}
	db, err := engine.OpenReadOnly(dir, nil)
	require.NoError(t, err)
	var ours bytes.Buffer
	for k, v := range db.All(nil) {
		fmt.Fprintf(&ours, "0x%X : 0x%X\n", k, v)
		keys++
	}
	require.NoError(t, db.Close())
	theirs := run(t, "ldb", "--db="+dir, "scan", "--hex")
	if ours.String() != theirs {
		a, b := strings.Split(ours.String(), "\n"), strings.Split(theirs, "\n")
		for i := range min(len(a), len(b)) {
			require.Equal(t, a[i], b[i], "line %d of scan", i+1)
		}
		require.Len(t, b, len(a), "lines of scan")
	}
	require.NoError(t, engine.Check(dir))
	return keys
}

func run(t *testing.T, name string, args ...string) string {
	t.Helper()
	var stdout, stderr bytes.Buffer
	cmd := exec.Command(name, args...)
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err := cmd.Run()
	require.NoError(t, err, "%s %s\n%s", name, strings.Join(args, " "), stderr.String())
	require.NotContains(t, stderr.String(), "Corruption")
	return stdout.String()
}
