package perf

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"time"
)

// deviceProbe is the longest of many writes of 4 KiB, each made durable, by a program that does
// nothing else: what an engine on this device cannot be blamed for.
type deviceProbe struct {
	by      string // "fio", or "kvbench" where fio is not installed
	longest time.Duration
	writes  int64
}

// probeLongest measures in a file of its own in dir, which it removes.
func probeLongest(ctx context.Context, dir string, lasts time.Duration) (deviceProbe, error) {
	f, err := os.CreateTemp(dir, ".kvbench-probe-*")
	if err != nil {
		return deviceProbe{}, err
	}
	defer os.Remove(f.Name())
	defer f.Close()
	if fio, err := exec.LookPath("fio"); err == nil {
		return probeWithFio(ctx, fio, f.Name(), lasts)
	}
	return probeAlone(ctx, f, lasts)
}

func probeAlone(ctx context.Context, f *os.File, lasts time.Duration) (deviceProbe, error) {
	p := deviceProbe{by: "kvbench"}
	page := make([]byte, 4096)
	for begun := time.Now(); time.Since(begun) < lasts && ctx.Err() == nil; p.writes++ {
		at := time.Now()
		if _, err := f.WriteAt(page, p.writes%256*4096); err != nil {
			return p, err
		}
		if err := f.Sync(); err != nil {
			return p, err
		}
		p.longest = max(p.longest, time.Since(at))
	}
	return p, ctx.Err()
}

// probeWithFio has fio write with O_DIRECT and fdatasync.
func probeWithFio(ctx context.Context, fio, path string, lasts time.Duration) (deviceProbe, error) {
	cmd := exec.CommandContext(ctx, fio, "--name=probe", "--filename="+path, "--rw=randwrite", "--bs=4k", "--size=16m",
		"--direct=1", "--fdatasync=1", "--time_based", "--runtime="+strconv.FormatInt(lasts.Milliseconds(), 10)+"ms", "--output-format=json")
	cmd.SysProcAttr = endsWithParent()
	out, err := cmd.Output()
	if err != nil {
		var exit *exec.ExitError
		if errors.As(err, &exit) {
			return deviceProbe{}, fmt.Errorf("fio: %w: %s", err, exit.Stderr)
		}
		return deviceProbe{}, fmt.Errorf("fio: %w", err)
	}
	return readFio(out)
}

// readFio takes the longest write and the longest sync from fio's report: they may have been one
// operation's.
func readFio(report []byte) (deviceProbe, error) {
	type latency struct {
		TotalIOs int64 `json:"total_ios"`
		Lat      struct {
			Max int64 `json:"max"`
		} `json:"lat_ns"`
	}
	var r struct {
		Jobs []struct {
			Write latency `json:"write"`
			Sync  latency `json:"sync"`
		} `json:"jobs"`
	}
	if err := json.Unmarshal(report, &r); err != nil {
		return deviceProbe{}, fmt.Errorf("read fio's report: %w", err)
	}
	if len(r.Jobs) != 1 || r.Jobs[0].Write.TotalIOs == 0 {
		return deviceProbe{}, fmt.Errorf("fio's report has %d jobs, want one that wrote", len(r.Jobs))
	}
	job := r.Jobs[0]
	return deviceProbe{by: "fio", longest: time.Duration(job.Write.Lat.Max + job.Sync.Lat.Max), writes: job.Write.TotalIOs}, nil
}
