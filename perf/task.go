package perf

import (
	"context"
	"fmt"
	"strings"
	"time"
)

// Task says what one measurement of one engine does. It travels to the process that performs it.
type Task struct {
	Kind  string   `json:"kind"`            // "run", "ycsb", "load", "writeamp", "scenario"
	Names []string `json:"names,omitempty"` // workloads of run, letters of ycsb, what overwrites in writeamp, the scenario
	Load  LoadTask `json:"load"`

	Stage int `json:"stage,omitempty"` // of policy-switch, from 0: what it writes differs

	TTL  time.Duration `json:"ttl_ns,omitempty"`  // of ttl-churn
	Idle time.Duration `json:"idle_ns,omitempty"` // how long a scenario waits for space to come back
}

// LoadTask is the part of a Task that only load has.
type LoadTask struct {
	Path     string `json:"path,omitempty"`     // a file of pairs
	Generate int64  `json:"generate,omitempty"` // without Path: that many generated records
	Verify   bool   `json:"verify,omitempty"`
}

// source returns the name of the data set and what opens it.
func (l LoadTask) source(seed uint64) (name string, open func() (PairSource, error)) {
	if l.Path != "" {
		return l.Path, func() (PairSource, error) { return OpenPairs(l.Path) }
	}
	name = fmt.Sprintf("%s generated records that look like a package index (seed %d)", Count(l.Generate), seed)
	return name, func() (PairSource, error) { return GeneratePairs(l.Generate, seed), nil }
}

// Perform does what task says in dir.
func (b *Bench) Perform(ctx context.Context, dir string, task Task) (Run, error) {
	switch task.Kind {
	case "run":
		workloads, err := FindWorkloads(task.Names...)
		if err != nil {
			return Run{}, err
		}
		return b.Run(ctx, dir, workloads)
	case "ycsb":
		workloads, err := FindYCSB(task.Names...)
		if err != nil {
			return Run{}, err
		}
		return b.YCSB(ctx, dir, workloads)
	case "load":
		name, open := task.Load.source(b.Config.Seed)
		run, err := b.Load(ctx, dir, open, task.Load.Verify)
		if run.DataSet != nil {
			run.DataSet.Name = name
		}
		return run, err
	case "writeamp":
		return b.WriteAmp(ctx, dir, strings.Join(task.Names, ","))
	case "scenario":
		return b.Scenario(ctx, dir, task)
	}
	return Run{}, Usagef("there is no task %q", task.Kind)
}
