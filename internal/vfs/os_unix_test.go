//go:build unix

package vfs_test

import (
	"os"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
)

// blocks returns the bytes that a file takes on the device.
func blocks(t *testing.T, name string) int64 {
	info, err := os.Stat(name)
	require.NoError(t, err)
	return info.Sys().(*syscall.Stat_t).Blocks * 512
}
