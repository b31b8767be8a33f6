package perf

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// endsWithParent makes a child process die with this one.
func endsWithParent() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
}

// memoryGroup is a cgroup that limits the memory of one process, or the reason why there is none.
type memoryGroup struct {
	version string
	dir     string
	limit   int64
	why     string
}

// limitMemory makes a cgroup below (or, where version 2 allows only that, beside) the one of this
// process, limits it and moves pid there. 0 limits nothing.
func limitMemory(pid int, limit int64) *memoryGroup {
	if limit == 0 {
		return &memoryGroup{why: "no --memory given"}
	}
	own, err := os.ReadFile("/proc/self/cgroup")
	if err != nil {
		return &memoryGroup{why: err.Error()}
	}
	var failed error
	for _, p := range groupPlaces("/sys/fs/cgroup", string(own)) {
		g := &memoryGroup{version: p.version, dir: filepath.Join(p.parent, fmt.Sprintf("kvbench-%d", pid)), limit: limit}
		if err := g.set(pid); err != nil {
			g.remove()
			failed = errors.Join(failed, err)
			continue
		}
		return g
	}
	if failed == nil {
		return &memoryGroup{why: "this machine has no memory cgroups"}
	}
	return &memoryGroup{why: strings.ReplaceAll(failed.Error(), "\n", "; ")}
}

// groupPlace is a directory in which a cgroup may be made.
type groupPlace struct{ version, parent string }

// groupPlaces lists where to try, given /proc/self/cgroup: of version 1 below our own group, of
// version 2 below and beside it.
func groupPlaces(root, own string) []groupPlace {
	var places []groupPlace
	for line := range strings.Lines(own) {
		parts := strings.SplitN(strings.TrimSpace(line), ":", 3)
		if len(parts) != 3 {
			continue
		}
		switch path := parts[2]; {
		case strings.Contains(","+parts[1]+",", ",memory,"):
			places = append(places, groupPlace{"v1", filepath.Join(root, "memory", path)})
		case parts[0] == "0":
			if _, err := os.Stat(filepath.Join(root, "cgroup.controllers")); err != nil {
				continue // mixed with version 1, which has the memory
			}
			places = append(places, groupPlace{"v2", filepath.Join(root, path)})
			if path != "/" {
				places = append(places, groupPlace{"v2", filepath.Join(root, filepath.Dir(path))})
			}
		}
	}
	return places
}

func (g *memoryGroup) set(pid int) error {
	if err := os.Mkdir(g.dir, 0o755); err != nil {
		return err
	}
	limit := strconv.FormatInt(g.limit, 10)
	if g.version == "v1" {
		if err := g.write("memory.limit_in_bytes", limit); err != nil {
			return err
		}
	} else {
		if err := g.write("memory.max", limit); err != nil {
			return err
		}
		// Without swap control there is no swap to control.
		_ = g.write("memory.swap.max", "0")
	}
	return g.write("cgroup.procs", strconv.Itoa(pid))
}

func (g *memoryGroup) write(file, text string) error {
	return os.WriteFile(filepath.Join(g.dir, file), []byte(text), 0)
}

// number reads a file of the group; 0 if it does not exist.
func (g *memoryGroup) number(file string) int64 {
	b, _ := os.ReadFile(filepath.Join(g.dir, file))
	n, _ := strconv.ParseInt(strings.TrimSpace(string(b)), 10, 64)
	return n
}

// killed is how many processes of the group the kernel killed for its limit.
func (g *memoryGroup) killed() int64 {
	file := map[string]string{"v1": "memory.oom_control", "v2": "memory.events"}[g.version]
	if file == "" {
		return 0
	}
	b, _ := os.ReadFile(filepath.Join(g.dir, file))
	n, _ := procField(b, "oom_kill ")
	return n
}

// isolation describes the group; it must be called before remove.
func (g *memoryGroup) isolation() *Isolation {
	i := &Isolation{Process: true, Cgroup: g.version, Note: g.why}
	switch g.version {
	case "v1":
		i.Limit, i.Peak = g.limit, g.number("memory.max_usage_in_bytes")
	case "v2":
		i.Limit, i.Peak = g.limit, g.number("memory.peak")
	}
	return i
}

// remove gives the group back. The kernel may need a moment after its process ended.
func (g *memoryGroup) remove() {
	if g.version == "" {
		return
	}
	for range 50 {
		if err := os.Remove(g.dir); err == nil || errors.Is(err, os.ErrNotExist) {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
}
