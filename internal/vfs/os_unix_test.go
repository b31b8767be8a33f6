//go:build unix

package vfs_test

import (
	"os"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/cambiumdb/cambium/internal/vfs"
)

// blocks returns the bytes that a file takes on the device.
func blocks(t *testing.T, name string) int64 {
	info, err := os.Stat(name)
	require.NoError(t, err)
	return info.Sys().(*syscall.Stat_t).Blocks * 512
}

// TestLinkThroughSymlink links the file that a symbolic link leads to, not the link.
func TestLinkThroughSymlink(t *testing.T) {
	dir := t.TempDir()
	require.NoError(t, os.WriteFile(dir+"/file", []byte("bytes"), 0o644))
	require.NoError(t, os.Symlink("file", dir+"/symbolic"))
	require.NoError(t, vfs.OS(nil).Link(dir+"/symbolic", dir+"/hard"))
	info, err := os.Lstat(dir + "/hard")
	require.NoError(t, err)
	require.True(t, info.Mode().IsRegular(), info.Mode())
	file, err := os.Stat(dir + "/file")
	require.NoError(t, err)
	require.True(t, os.SameFile(file, info))
}
