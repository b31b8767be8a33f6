package perf

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
)

// Scenarios is `kvbench scenario`: each named scenario with each engine. task holds the times.
func (c *Command) Scenarios(ctx context.Context, task Task, names ...string) error {
	scenarios, err := FindScenarios(names...)
	if err != nil {
		return err
	}
	var acts []act
	for _, s := range scenarios {
		acts = append(acts, c.acts(s.Name)...)
	}
	return c.within(ctx, "scenario", len(acts), func(m *measuring) error {
		var missed []string
		for _, engine := range m.engines {
			for i, a := range acts {
				cfg := a.config
				cfg.Engine = engine
				if err := CheckSpace(m.dir, cfg.LiveBytes()); err != nil {
					return err
				}
				sub := filepath.Join(m.dir, engine+"-"+a.dir)
				if used := diskUsage(sub); used > 0 && !a.onward {
					return Usagef("%s holds %s already: scenarios want a new directory", sub, Bytes(used))
				}
				m.text.Header(append(append([]string{a.label + " with " + engine}, cfg.Lines()...), c.where(sub, m.report))...)
				task.Kind, task.Names, task.Stage = "scenario", []string{a.scenario}, a.stage
				run, err := m.measure(ctx, sub, cfg, task)
				if err != nil {
					return fmt.Errorf("%s: %w", a.label, err)
				}
				run.Name += " " + a.label
				m.text.Whole(run)
				m.text.printf("\n")
				m.text.Findings(run)
				m.report.Runs = append(m.report.Runs, run)
				for _, f := range run.Findings {
					if !f.Met {
						missed = append(missed, fmt.Sprintf("%s: %s is %s, want %s", run.Name, f.Name, f.Value, f.Target))
					}
				}
				if c.Dir == "" && !(i+1 < len(acts) && acts[i+1].onward) {
					if err := os.RemoveAll(sub); err != nil {
						return err
					}
				}
			}
		}
		if c.Strict {
			m.missed = missed
		}
		return nil
	})
}

// act is one measurement of a scenario.
type act struct {
	scenario, label, dir string
	config               Config
	stage                int
	onward               bool // in the directory that the act before left
}

func (c *Command) acts(scenario string) []act {
	one := act{scenario: scenario, label: scenario, dir: scenario, config: c.Config}
	var all []act
	switch scenario {
	case "large-values":
		for _, size := range largeSizes {
			a := one
			a.label += " " + size.String()
			a.dir += "-" + size.String()
			a.config.ValueSize = size
			a.config.Keys = max(10, c.Config.LiveBytes()/int64(size))
			a.config.Ops, a.config.Duration = 0, 0
			all = append(all, a)
		}
	case "policy-switch":
		for i, policy := range policyStages {
			a := one
			a.label += fmt.Sprintf(" %d", i+1)
			a.config.Compaction = policy
			a.stage, a.onward = i, i > 0
			a.config.Duration = 0
			all = append(all, a)
		}
	default:
		all = append(all, one)
	}
	return all
}
