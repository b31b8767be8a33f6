package vfs

import (
	"errors"
	"fmt"
	"io"
	"os"

	"golang.org/x/sys/unix"
)

// directAlignment returns the unit of direct I/O on f, or an error where it has none. Kernels
// from 6.1 tell (statx); on others, and on file systems that do not tell, a read is tried.
func directAlignment(f *os.File) (int, error) {
	var stx unix.Statx_t
	err := unix.Statx(int(f.Fd()), "", unix.AT_EMPTY_PATH, unix.STATX_DIOALIGN, &stx)
	if err == nil && stx.Mask&unix.STATX_DIOALIGN != 0 {
		if stx.Dio_offset_align == 0 {
			return 0, errors.New("the file system has no direct I/O for this file")
		}
		unit := max(stx.Dio_offset_align, stx.Dio_mem_align, 512)
		if unit&(unit-1) != 0 || unit > 1<<20 || stx.Dio_mem_align > BufferAlign {
			return 0, fmt.Errorf("unusable direct I/O alignment: offsets %d, memory %d",
				stx.Dio_offset_align, stx.Dio_mem_align)
		}
		return int(unit), nil
	}
	if inMemory(int(f.Fd())) {
		return 0, errors.New("the file system is in memory")
	}
	return tryAlignment(f)
}

// inMemory reports whether the descriptor is on tmpfs or ramfs. These accept O_DIRECT since
// Linux 6.6 and copy from the page cache all the same.
func inMemory(fd int) bool {
	var st unix.Statfs_t
	if err := unix.Fstatfs(fd, &st); err != nil {
		return false
	}
	return st.Type == unix.TMPFS_MAGIC || st.Type == unix.RAMFS_MAGIC
}

// tryAlignment reads with 512 and then 4096 bytes. An empty file accepts every alignment, so it
// gets the larger one.
func tryAlignment(f *os.File) (int, error) {
	info, err := f.Stat()
	if err != nil {
		return 0, err
	}
	buf := GetBuffer(2 * defaultAlignment)
	defer PutBuffer(buf)
	if info.Size() > 512 {
		// The address and the offset are multiples of 512 and of nothing more.
		if _, err := f.ReadAt(buf[512:1024], 512); err == nil || err == io.EOF {
			return 512, nil
		}
	}
	if _, err := f.ReadAt(buf[:defaultAlignment], 0); err != nil && err != io.EOF {
		return 0, err
	}
	return defaultAlignment, nil
}

func allocate(fd int, size int64) error {
	if size <= 0 {
		return nil
	}
	return unix.Fallocate(fd, 0, 0, size)
}

// punchHole keeps the length. The kernel's EOPNOTSUPP is an errors.ErrUnsupported.
func punchHole(fd int, off, n int64) error {
	err := unix.Fallocate(fd, unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_KEEP_SIZE, off, n)
	if err == unix.ENODEV { // a device or a pipe
		return errors.ErrUnsupported
	}
	return err
}

func dataSync(f *osFile) error { return f.named("fdatasync", f.control(unix.Fdatasync)) }

// lockFile takes a lock that belongs to this open file, so a second one in this process is
// refused, and that excludes RocksDB, whose tools lock the same byte range with F_SETLK.
func lockFile(f *os.File) error {
	whole := unix.Flock_t{Type: unix.F_WRLCK, Whence: io.SeekStart}
	err := unix.FcntlFlock(f.Fd(), unix.F_OFD_SETLK, &whole)
	if err == unix.EINVAL || err == unix.ENOSYS {
		return unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
	}
	return err
}

func freeBytes(dir string) (int64, error) {
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil {
		return 0, err
	}
	return int64(st.Bavail) * st.Frsize, nil
}
