//go:build unix

package cache

import "golang.org/x/sys/unix"

func mapMemory(n int) ([]byte, error) {
	return unix.Mmap(-1, 0, n, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_ANON|unix.MAP_PRIVATE)
}

func unmapMemory(b []byte) {
	if err := unix.Munmap(b); err != nil {
		panic("cache: munmap: " + err.Error())
	}
}
