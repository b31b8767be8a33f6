package tidy

import (
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

// cluster are the folders that are about the distributed store, and the commands, which know both.
var cluster = []string{"distrib", "cmd", "perf/cluster", "perf/peers", "internal/process"}

// TestEngineAlone deletes the distributed store from a copy of the repository: what is left builds.
func TestEngineAlone(t *testing.T) {
	dir := t.TempDir()
	require.NoError(t, filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(root, path)
		if err != nil {
			return err
		}
		for _, gone := range cluster {
			if rel == gone {
				return filepath.SkipDir
			}
		}
		switch {
		case d.IsDir() && (d.Name() == ".git" || d.Name() == "bin"):
			return filepath.SkipDir
		case d.IsDir():
			return os.MkdirAll(filepath.Join(dir, rel), 0o755)
		}
		b, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		return os.WriteFile(filepath.Join(dir, rel), b, 0o644)
	}))
	c := exec.Command("go", "build", "./...")
	c.Dir = dir
	out, err := c.CombinedOutput()
	require.NoError(t, err, "%s", out)
}
