package perf

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
)

// DoctorSchema names the JSON form of Diagnosis.
const DoctorSchema = "cambium.doctor/1"

// Diagnosis is what Doctor found out about the machine.
type Diagnosis struct {
	Schema string  `json:"schema"`
	Dir    string  `json:"dir"`
	Checks []Check `json:"checks"`
}

// Check is one finding. Status is "ok", "info" (a fact without a verdict), "warn" (measurements
// will be worse or tell less than they could) or "fail" (kvbench cannot work here).
type Check struct {
	Name   string `json:"name"`
	Status string `json:"status"`
	Value  string `json:"value"`
	Advice string `json:"advice,omitempty"`
	// Number is Value's figure in base units, where there is one: bytes, seconds, a count.
	Number float64 `json:"number,omitempty"`
}

// Doctor looks at what benchmarks depend on: processors, memory and its limits, kernel, clock,
// and the file system that holds dir, on which it writes (and removes) a file of 1 MiB. dir
// need not exist.
func Doctor(dir string) Diagnosis {
	d := Diagnosis{Schema: DoctorSchema, Dir: dir}
	d.processors()
	d.memory()
	d.software()
	d.clock()
	d.limits()
	d.fileSystem(existingParent(dir))
	d.tools()
	return d
}

// Err returns a CheckError that lists the failed checks, or nil.
func (d Diagnosis) Err() error {
	var failed []string
	for _, c := range d.Checks {
		if c.Status == "fail" {
			failed = append(failed, c.Name+": "+c.Value)
		}
	}
	if failed == nil {
		return nil
	}
	return &CheckError{Problems: failed}
}

// WriteJSON writes the diagnosis, indented.
func (d Diagnosis) WriteJSON(w io.Writer) error {
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	return e.Encode(d)
}

// Doctor prints a diagnosis, a line for each check and its advice below it.
func (t *Text) Doctor(d Diagnosis) {
	width := 0
	for _, c := range d.Checks {
		width = max(width, len(c.Name))
	}
	colour := map[string]string{"ok": green, "warn": bold, "fail": red}
	for _, c := range d.Checks {
		status := fmt.Sprintf("%-4s", c.Status)
		if code := colour[c.Status]; code != "" {
			status = t.paint(code, status)
		}
		t.printf("%s  %-*s  %s\n", status, width, c.Name, c.Value)
		if c.Advice != "" {
			t.printf("      %-*s  try: %s\n", width, "", c.Advice)
		}
	}
}

func (d *Diagnosis) add(c Check) { d.Checks = append(d.Checks, c) }

func (d *Diagnosis) processors() {
	use, have := runtime.GOMAXPROCS(0), runtime.NumCPU()
	c := Check{Name: "processors", Status: "ok", Number: float64(use), Value: fmt.Sprintf("%d usable of %d", use, have)}
	if model := cpuModel(); model != "" {
		c.Value += ", " + model
	}
	if use < 2 {
		c.Status = "warn"
		c.Advice = "with one processor, compaction takes its time from the foreground: use at least 2"
	}
	d.add(c)
}

func (d *Diagnosis) memory() {
	total, available := machineMemory()
	c := Check{Name: "memory", Status: "ok", Number: float64(total), Value: "unknown"}
	switch {
	case total == 0:
		c.Status = "info"
	case available < 1<<30:
		c.Status = "warn"
		c.Advice = "less than 1 GiB is available: choose --memory and --keys to fit"
		fallthrough
	default:
		c.Value = fmt.Sprintf("%s, %s available", Bytes(total), Bytes(available))
	}
	d.add(c)
	limit, where := cgroupMemory()
	c = Check{Name: "memory cgroup", Status: "info", Value: "no limit", Number: float64(limit)}
	if limit > 0 {
		c.Value = Bytes(limit) + " by " + where
	}
	d.add(c)
}

func (d *Diagnosis) software() {
	c := Check{Name: "kernel", Status: "info", Value: kernelRelease() + " " + runtime.GOOS + "/" + runtime.GOARCH}
	if runtime.GOOS != "linux" {
		c.Status = "warn"
		c.Advice = "direct I/O and the kernel's counts need Linux"
	}
	d.add(c)
	zstd := "zstd in C (cgo)"
	if !cgoEnabled {
		zstd = "zstd in Go (CGO_ENABLED=0)"
	}
	d.add(Check{Name: "program", Status: "info", Value: runtime.Version() + ", " + zstd})
	if _, ok := readIO(); ok {
		d.add(Check{Name: "kernel's count", Status: "ok", Value: "/proc/self/io is readable"})
	} else {
		d.add(Check{
			Name: "kernel's count", Status: "warn", Value: "/proc/self/io is not readable",
			Advice: "the ledger cannot be compared with the kernel here: use a kernel with CONFIG_TASK_IO_ACCOUNTING",
		})
	}
}

func (d *Diagnosis) clock() {
	source := clockSource()
	c := Check{Name: "clock source", Status: "ok", Value: source}
	switch source {
	case "tsc", "kvm-clock", "arch_sys_counter", "hyperv_clocksource_tsc_page", "riscv_clocksource":
	case "":
		c.Status, c.Value = "info", "unknown"
	default:
		c.Status = "warn"
		c.Advice = "reading this clock enters the kernel and weighs on short operations: use tsc where the machine has a stable one"
	}
	cost := clockCost()
	c.Value += fmt.Sprintf(", %s to read", Seconds(cost))
	c.Number = cost.Seconds()
	d.add(c)
}

func (d *Diagnosis) limits() {
	files, ok := openFileLimit()
	if !ok {
		return
	}
	c := Check{Name: "open files", Status: "ok", Number: float64(files), Value: Count(files) + " allowed"}
	if files < 4096 {
		c.Status = "warn"
		c.Advice = "large databases keep a few thousand tables open: raise it with ulimit -n 65536"
	}
	d.add(c)
}

func (d *Diagnosis) fileSystem(dir string) {
	name, free, err := fileSystem(dir)
	if err != nil {
		d.add(Check{Name: "file system", Status: "fail", Value: err.Error(), Advice: "choose another --dir"})
		return
	}
	c := Check{Name: "file system", Status: "ok", Number: float64(free), Value: fmt.Sprintf("%s at %s, %s free", name, dir, Bytes(free))}
	switch {
	case name == "tmpfs" || name == "ramfs":
		c.Status = "warn"
		c.Advice = "this is memory: no direct I/O, no kernel count, no device to measure; choose a --dir on a disk"
	case free < 4<<30:
		c.Status = "warn"
		c.Advice = "a million keys of 1000 bytes need about 4 GiB while they are loaded"
	}
	d.add(c)
	probe, err := os.MkdirTemp(dir, ".kvbench-doctor-*")
	if err != nil {
		d.add(Check{Name: "writable", Status: "fail", Value: err.Error(), Advice: "choose a --dir that this user may write"})
		return
	}
	defer os.RemoveAll(probe)
	d.Checks = append(d.Checks, probeDevice(filepath.Join(probe, "probe"))...)
}

func (d *Diagnosis) tools() {
	var have, lack []string
	for _, tool := range []string{"ldb", "sst_dump"} {
		if path, err := exec.LookPath(tool); err == nil {
			have = append(have, path)
		} else {
			lack = append(lack, tool)
		}
	}
	c := Check{Name: "RocksDB's tools", Status: "ok", Value: strings.Join(have, ", ")}
	if lack != nil {
		c.Status = "info"
		c.Value = strings.TrimPrefix(c.Value+", no "+strings.Join(lack, ", no "), ", ")
		c.Advice = "apt-get install rocksdb-tools, to look into databases with RocksDB's own tools"
	}
	d.add(c)
}
