package main

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestContexts(t *testing.T) {
	t.Setenv("XDG_CACHE_HOME", t.TempDir())
	c, err := contextsOf([]string{"b:1", "a:1"})
	require.NoError(t, err)
	same, err := contextsOf([]string{"a:1", "b:1"})
	require.NoError(t, err)
	other, err := contextsOf([]string{"a:1"})
	require.NoError(t, err)
	key := []byte("../k")
	got, err := c.get(key)
	require.NoError(t, err)
	require.Nil(t, got)
	require.NoError(t, c.set(key, nil))

	require.NoError(t, c.set(key, []byte("one")))
	require.NoError(t, c.set(key, []byte("two")))
	got, err = same.get(key)
	require.NoError(t, err)
	require.Equal(t, "two", string(got))
	got, err = other.get(key)
	require.NoError(t, err)
	require.Nil(t, got)
	require.NoError(t, c.set(key, nil))
	got, err = c.get(key)
	require.NoError(t, err)
	require.Nil(t, got)

	// Those that were not used for the longest time go when there are too many.
	long := time.Now().Add(-time.Hour)
	for i := range keptContexts {
		require.NoError(t, c.set(fmt.Appendf(nil, "k%d", i), []byte("x")))
		require.NoError(t, os.Chtimes(filepath.Join(c.dir, digest(fmt.Appendf(nil, "k%d", i))), long, long.Add(time.Duration(i)*time.Second)))
	}
	require.NoError(t, c.set(key, []byte("x")))
	for name, want := range map[string]string{"k0": "", "k99": "", "k200": "x", "../k": "x"} {
		got, err = c.get([]byte(name))
		require.NoError(t, err)
		require.Equal(t, want, string(got), name)
	}
}
