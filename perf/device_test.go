package perf

import (
	"context"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestProbesLeaveNothing(t *testing.T) {
	for _, path := range []string{os.Getenv("PATH"), ""} { // with fio where it is installed, and without
		t.Setenv("PATH", path)
		dir := t.TempDir()
		p, err := probeLongest(context.Background(), dir, 20*time.Millisecond)
		require.NoError(t, err)
		require.NotZero(t, p.longest)
		require.NotZero(t, p.writes)
		require.Contains(t, []string{"fio", "kvbench"}, p.by)
		left, err := os.ReadDir(dir)
		require.NoError(t, err)
		require.Empty(t, left)
		_, err = probeLongest(context.Background(), filepath.Join(dir, "absent"), time.Millisecond)
		require.Error(t, err)
	}
}

func TestReadFio(t *testing.T) {
	p, err := readFio([]byte(`{"jobs": [{"write": {"total_ios": 7, "lat_ns": {"max": 1000}}, "sync": {"total_ios": 7, "lat_ns": {"max": 30000}}}]}`))
	require.NoError(t, err)
	require.Equal(t, deviceProbe{by: "fio", longest: 31 * time.Microsecond, writes: 7}, p)
	for _, bad := range []string{`fio: warning`, `{"jobs": []}`, `{"jobs": [{"write": {"total_ios": 0}}]}`} {
		_, err = readFio([]byte(bad))
		require.Error(t, err, bad)
	}
}
