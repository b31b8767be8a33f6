package perf

import (
	"bytes"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// readIO returns the kernel's counts for this process; ok is false where it does not count.
func readIO() (c ioCounts, ok bool) {
	b, err := os.ReadFile("/proc/self/io")
	if err != nil {
		return c, false
	}
	read, ok1 := procField(b, "read_bytes:")
	write, ok2 := procField(b, "write_bytes:")
	cancelled, ok3 := procField(b, "cancelled_write_bytes:")
	return ioCounts{read: read, write: write, cancelled: cancelled}, ok1 && ok2 && ok3
}

// procField returns the number behind name at the start of a line.
func procField(b []byte, name string) (int64, bool) {
	for line := range bytes.Lines(b) {
		if rest, ok := bytes.CutPrefix(line, []byte(name)); ok {
			fields := bytes.Fields(rest)
			if len(fields) == 0 {
				return 0, false
			}
			n, err := strconv.ParseInt(string(fields[0]), 10, 64)
			return n, err == nil
		}
	}
	return 0, false
}

// resetPeakRSS makes peakRSS start anew; where that is not allowed it keeps the process's peak.
func resetPeakRSS() {
	_ = os.WriteFile("/proc/self/clear_refs", []byte("5"), 0)
}

// peakRSS is the most memory that was resident since resetPeakRSS; 0 if unknown.
func peakRSS() int64 {
	b, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return 0
	}
	kib, _ := procField(b, "VmHWM:")
	return kib << 10
}

// cpuTime is the CPU time that the process has used in user and system mode.
func cpuTime() time.Duration {
	var ru unix.Rusage
	if unix.Getrusage(unix.RUSAGE_SELF, &ru) != nil {
		return 0
	}
	return time.Duration(ru.Utime.Nano() + ru.Stime.Nano())
}

// diskUsage is the space that the device gives to the files under dir. Files that vanish
// meanwhile count nothing.
func diskUsage(dir string) int64 {
	var total int64
	_ = filepath.WalkDir(dir, func(_ string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return nil
		}
		if info, err := d.Info(); err == nil {
			if st, ok := info.Sys().(*syscall.Stat_t); ok {
				total += st.Blocks * 512
			}
		}
		return nil
	})
	return total
}

// fileSystemNames maps the magic numbers of statfs(2) to names.
var fileSystemNames = map[int64]string{
	unix.EXT4_SUPER_MAGIC:      "ext4",
	unix.XFS_SUPER_MAGIC:       "xfs",
	unix.BTRFS_SUPER_MAGIC:     "btrfs",
	unix.F2FS_SUPER_MAGIC:      "f2fs",
	unix.TMPFS_MAGIC:           "tmpfs",
	unix.RAMFS_MAGIC:           "ramfs",
	unix.OVERLAYFS_SUPER_MAGIC: "overlay",
	unix.NFS_SUPER_MAGIC:       "nfs",
	unix.FUSE_SUPER_MAGIC:      "fuse",
	unix.V9FS_MAGIC:            "9p",
	0x2fc12fc1:                 "zfs",
	0xca451a4e:                 "bcachefs",
}

// fileSystem names the file system that holds dir and says how many bytes are free there.
func fileSystem(dir string) (name string, free int64, err error) {
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil {
		return "", 0, &os.PathError{Op: "statfs", Path: dir, Err: err}
	}
	name, ok := fileSystemNames[int64(st.Type)]
	if !ok {
		name = "0x" + strconv.FormatInt(int64(st.Type), 16)
	}
	return name, int64(st.Bavail) * int64(st.Bsize), nil
}

// Abandoned reports whether f is a pipe that nobody reads any more.
func Abandoned(f *os.File) bool {
	fds := []unix.PollFd{{Fd: int32(f.Fd())}}
	n, err := unix.Poll(fds, 0)
	return err == nil && n > 0 && fds[0].Revents&unix.POLLERR != 0
}

// IsTerminal reports whether f is a terminal.
func IsTerminal(f *os.File) bool {
	_, err := unix.IoctlGetTermios(int(f.Fd()), unix.TCGETS)
	return err == nil
}
