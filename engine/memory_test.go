//go:build !race

package engine_test

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"

	"github.com/cambiumdb/cambium/engine"
)

const (
	memoryDir    = "CAMBIUM_TEST_MEMORY_DIR"    // set in the child process
	memoryCgroup = "CAMBIUM_TEST_MEMORY_CGROUP" // the cgroup that it enters, "" for none
	memoryLimit  = 512 << 20
	memoryBudget = 256 << 20
)

// TestMemoryBudget loads 1M keys of 1000 bytes, gets a fifth of them at random and scans them all, in a process with a memory cgroup of
// 512 MiB where this one may make one, under a MemoryBudget of 256 MiB.
func TestMemoryBudget(t *testing.T) {
	if dir := os.Getenv(memoryDir); dir != "" {
		memoryChild(t, dir)
		return
	}
	keys := 1_000_000
	if testing.Short() {
		keys = 100_000
	}
	peak := peakOfChild(t, memoryLimit, fmt.Sprintf("CAMBIUM_TEST_MEMORY_KEYS=%d", keys))
	t.Logf("%d keys x 1000 B loaded and read, budget %d MiB: peak resident %d MiB", keys, memoryBudget>>20, peak>>20)
}

// TestLargeValuesUnderTheBudget has eight goroutines put values of 10 MiB, each from a buffer of its own,
// and reads them back, in a process with 64 MiB more than a MemoryBudget of 256 MiB: the callers'
// buffers alone are 80 MiB.
func TestLargeValuesUnderTheBudget(t *testing.T) {
	if dir := os.Getenv(memoryDir); dir != "" {
		largeValuesChild(t, dir)
		return
	}
	peak := peakOfChild(t, memoryBudget+64<<20)
	t.Logf("values of 10 MiB, 8 goroutines, budget %d MiB: peak resident %d MiB", memoryBudget>>20, peak>>20)
}

func largeValuesChild(t *testing.T, dir string) {
	enterCgroup(t)
	const threads, each = 8, 8
	db := open(t, dir, &engine.Options{MemoryBudget: memoryBudget, Sync: engine.SyncNone, Compression: engine.Snappy})
	fill := func(value []byte, n int) { // half random: 2:1 compressible
		rng := rand.New(rand.NewPCG(1, uint64(n)))
		for at := 0; at < len(value); at += 1024 {
			for j := at; j < at+512; j += 8 {
				binary.LittleEndian.PutUint64(value[j:], rng.Uint64())
			}
		}
	}
	var g errgroup.Group
	for thread := range threads {
		g.Go(func() error {
			value := make([]byte, 10<<20)
			for i := range each {
				fill(value, i*threads+thread)
				if err := db.Put(fmt.Appendf(nil, "key-%03d", i*threads+thread), value, nil); err != nil {
					return err
				}
			}
			return nil
		})
	}
	require.NoError(t, g.Wait())
	want := make([]byte, 10<<20)
	for n := range threads * each {
		fill(want, n)
		require.NoError(t, db.View(fmt.Appendf(nil, "key-%03d", n), func(v []byte) error {
			if !bytes.Equal(want, v) {
				return fmt.Errorf("key %d has another value", n)
			}
			return nil
		}))
	}
	require.NoError(t, db.Close())
	fmt.Println("peak resident bytes:", peakResident(t))
}

// peakOfChild runs the test in a child process, in a memory cgroup of that limit in bytes where one can be made,
// and returns the most that the child had resident, which is below the limit.
func peakOfChild(t *testing.T, limit int64, env ...string) (peak int64) {
	cgroup, err := makeCgroup(t, limit)
	if err != nil {
		t.Logf("no memory cgroup can be made here (%v): the peak is compared with the limit instead", err)
	}
	cmd := exec.Command(os.Args[0], "-test.run=^"+t.Name()+"$", "-test.v")
	cmd.Env = append(append(os.Environ(), memoryDir+"="+t.TempDir(), memoryCgroup+"="+cgroup), env...)
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, "%s", out)
	for _, line := range strings.Split(string(out), "\n") {
		if _, after, ok := strings.Cut(line, "peak resident bytes: "); ok {
			peak, err = strconv.ParseInt(strings.TrimSpace(after), 10, 64)
			require.NoError(t, err)
		}
	}
	require.Positive(t, peak, "%s", out)
	require.Less(t, peak, limit)
	return peak
}

func enterCgroup(t *testing.T) {
	if cgroup := os.Getenv(memoryCgroup); cgroup != "" {
		require.NoError(t, os.WriteFile(cgroup+"/cgroup.procs", []byte(strconv.Itoa(os.Getpid())), 0o644))
	}
}

func memoryChild(t *testing.T, dir string) {
	enterCgroup(t)
	keys, err := strconv.Atoi(os.Getenv("CAMBIUM_TEST_MEMORY_KEYS"))
	require.NoError(t, err)
	db := open(t, dir, &engine.Options{MemoryBudget: memoryBudget, Sync: engine.SyncNone})
	rng := rand.New(rand.NewPCG(1, 1))
	value := make([]byte, 1000)
	order := rng.Perm(keys)
	for _, i := range order {
		for j := 0; j < len(value)/2; j += 8 { // half random: 2:1 compressible
			copy(value[j:], fmt.Sprintf("%08x", rng.Uint32()))
		}
		require.NoError(t, db.Put(fmt.Appendf(nil, "key-%012d", i), value, nil))
	}
	for range keys / 5 {
		err := db.View(fmt.Appendf(nil, "key-%012d", rng.IntN(keys)), func([]byte) error { return nil })
		require.NoError(t, err)
	}
	n := 0
	for range db.All(nil) {
		n++
	}
	require.Equal(t, keys, n)
	require.NoError(t, db.Close())
	fmt.Println("peak resident bytes:", peakResident(t))
}

func peakResident(t *testing.T) int64 {
	f, err := os.Open("/proc/self/status")
	require.NoError(t, err)
	defer f.Close()
	for sc := bufio.NewScanner(f); sc.Scan(); {
		if fields := strings.Fields(sc.Text()); len(fields) >= 2 && fields[0] == "VmHWM:" {
			kib, err := strconv.ParseInt(fields[1], 10, 64)
			require.NoError(t, err)
			return kib << 10
		}
	}
	return 0
}

// makeCgroup makes a memory cgroup with a limit in bytes below this process's own and removes it when
// the test ends.
func makeCgroup(t *testing.T, limit int64) (dir string, err error) {
	b, err := os.ReadFile("/proc/self/cgroup")
	if err != nil {
		return "", err
	}
	root, file := "", ""
	for _, line := range strings.Split(string(b), "\n") {
		if _, path, ok := strings.Cut(line, ":memory:"); ok {
			root, file = "/sys/fs/cgroup/memory"+path, "memory.limit_in_bytes"
		} else if path, ok := strings.CutPrefix(line, "0::"); ok && root == "" {
			root, file = "/sys/fs/cgroup"+path, "memory.max"
		}
	}
	dir = filepath.Join(root, fmt.Sprintf("cambium-test-%d", os.Getpid()))
	if err := os.Mkdir(dir, 0o755); err != nil {
		return "", err
	}
	t.Cleanup(func() { _ = os.Remove(dir) }) // empty by then: the child has ended
	if err := os.WriteFile(filepath.Join(dir, file), []byte(strconv.FormatInt(limit, 10)), 0o644); err != nil {
		return "", err
	}
	return dir, nil
}
