//go:build unix

package vfs

import (
	"io/fs"
	"syscall"
)

func osUsage(info fs.FileInfo) (allocated int64, links int, ok bool) {
	st, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return 0, 0, false
	}
	return st.Blocks * 512, int(st.Nlink), true
}
