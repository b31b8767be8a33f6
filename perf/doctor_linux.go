package perf

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"sort"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

func cpuModel() string {
	b, _ := os.ReadFile("/proc/cpuinfo")
	for line := range bytes.Lines(b) {
		name, value, _ := bytes.Cut(line, []byte(":"))
		if string(bytes.TrimSpace(name)) == "model name" {
			return string(bytes.TrimSpace(value))
		}
	}
	return ""
}

func machineMemory() (total, available int64) {
	b, _ := os.ReadFile("/proc/meminfo")
	total, _ = procField(b, "MemTotal:")
	available, _ = procField(b, "MemAvailable:")
	return total << 10, available << 10
}

// cgroupMemory returns the tightest memory limit of the process's cgroups (version 2 and 1) and
// the file that holds it; 0 without one.
func cgroupMemory() (limit int64, where string) {
	b, _ := os.ReadFile("/proc/self/cgroup")
	var files []string
	for line := range strings.Lines(string(b)) {
		parts := strings.SplitN(strings.TrimSpace(line), ":", 3)
		if len(parts) != 3 {
			continue
		}
		root, name := "", ""
		switch {
		case parts[0] == "0":
			root, name = "/sys/fs/cgroup", "memory.max"
		case strings.Contains(","+parts[1]+",", ",memory,"):
			root, name = "/sys/fs/cgroup/memory", "memory.limit_in_bytes"
		default:
			continue
		}
		for path := strings.TrimRight(parts[2], "/"); ; path = path[:strings.LastIndexByte(path, '/')] {
			files = append(files, root+path+"/"+name)
			if path == "" {
				break
			}
		}
	}
	for _, f := range files {
		b, err := os.ReadFile(f)
		if err != nil {
			continue
		}
		n, err := strconv.ParseInt(strings.TrimSpace(string(b)), 10, 64)
		if err == nil && n > 0 && n < 1<<60 && (limit == 0 || n < limit) {
			limit, where = n, f
		}
	}
	return limit, where
}

func kernelRelease() string {
	var u unix.Utsname
	if unix.Uname(&u) != nil {
		return "unknown"
	}
	return unix.ByteSliceToString(u.Release[:])
}

func clockSource() string {
	b, _ := os.ReadFile("/sys/devices/system/clocksource/clocksource0/current_clocksource")
	return strings.TrimSpace(string(b))
}

func openFileLimit() (int64, bool) {
	var r unix.Rlimit
	if unix.Getrlimit(unix.RLIMIT_NOFILE, &r) != nil {
		return 0, false
	}
	return int64(min(r.Cur, 1<<62)), true
}

const (
	probeBytes = 1 << 20
	probeSyncs = 50
)

// probeDevice writes a file of 1 MiB at path and says what the device can do: direct I/O,
// preallocation and how long a write of 4 KiB with fdatasync takes.
func probeDevice(path string) []Check {
	direct := Check{Name: "direct I/O", Status: "ok", Value: "works"}
	page, err := unix.Mmap(-1, 0, 4096, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_ANON|unix.MAP_PRIVATE) // aligned
	if err != nil {
		return []Check{{Name: "direct I/O", Status: "fail", Value: "no page to write from: " + err.Error()}}
	}
	defer unix.Munmap(page)
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_EXCL|unix.O_DIRECT, 0o600)
	if err == nil {
		if _, err = f.WriteAt(page, 0); err != nil {
			f.Close()
			os.Remove(path)
		}
	}
	if err != nil {
		direct = Check{
			Name: "direct I/O", Status: "warn", Value: "refused: " + err.Error(),
			Advice: "engines fall back to the page cache here, and memory limits mean less: choose a --dir on ext4, xfs or btrfs",
		}
		if f, err = os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600); err != nil {
			return []Check{direct, {Name: "writable", Status: "fail", Value: err.Error()}}
		}
	}
	defer f.Close()

	alloc := Check{Name: "preallocation", Status: "ok", Value: "fallocate works"}
	if err := unix.Fallocate(int(f.Fd()), 0, 0, probeBytes); err != nil {
		alloc.Status, alloc.Value = "warn", "fallocate: "+err.Error()
		alloc.Advice = "every sync of a growing log also writes its size"
		if errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EDQUOT) {
			alloc.Status, alloc.Advice = "fail", "free some space"
		}
	}
	checks := []Check{direct, alloc}
	took := make([]time.Duration, 0, probeSyncs)
	for i := range probeSyncs {
		begun := time.Now()
		_, err := f.WriteAt(page, int64(i)*4096%probeBytes)
		if err == nil {
			err = unix.Fdatasync(int(f.Fd()))
		}
		if err != nil {
			return append(checks, Check{Name: "sync", Status: "fail", Value: "write of 4 KiB with fdatasync: " + err.Error()})
		}
		took = append(took, time.Since(begun))
	}
	sort.Slice(took, func(i, j int) bool { return took[i] < took[j] })
	median := took[probeSyncs/2]
	sync := Check{
		Name: "sync", Status: "ok", Number: median.Seconds(),
		Value: fmt.Sprintf("write of 4 KiB with fdatasync: median %s, longest of %d %s: about %s durable writes/s from one thread",
			Seconds(median), probeSyncs, Seconds(took[probeSyncs-1]), Count(int64(1/median.Seconds()))),
	}
	if median > 20*time.Millisecond {
		sync.Status = "warn"
		sync.Advice = "measure --sync per-write on a faster device, or with many threads that share each sync"
	}
	return append(checks, sync)
}
