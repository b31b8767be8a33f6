package perf

import (
	"context"
	"path/filepath"
	"slices"
	"strings"
)

// WriteAmpEngines are the engines that writeamp measures where nothing else is asked for.
const WriteAmpEngines = ownEngine + ",pebble,pebble-unstopped,pebble-same-memory,rocksdb,rocksdb-same-memory"

// WriteAmp is `kvbench writeamp`: the write amplification report for each engine and each policy
// that the engine has. The policies must be this module's; of the others', RocksDB's universal
// compaction answers to tiered, and everything else is leveled. distribution is how the keys of
// the overwrites are drawn.
func (c *Command) WriteAmp(ctx context.Context, distribution string) error {
	over := distributions[distribution]
	if over == nil {
		return Usagef("--distribution %q is not available: it takes uniform, zipfian", distribution)
	}
	policies := splitList(c.Config.Compaction)
	if len(policies) == 0 {
		return Usagef("--compaction names no policy: try --compaction leveled")
	}
	for _, p := range policies {
		if err := oneOf("--compaction", p, compactionNames); err != nil {
			return err
		}
	}
	c.Config.Compaction = policies[0]
	return c.within(ctx, "writeamp", len(policies), func(m *measuring) error {
		for _, engine := range m.engines {
			for _, policy := range policiesOf(engine, policies) {
				cfg := c.Config
				cfg.Engine, cfg.Compaction = engine, policy
				if err := CheckSpace(m.dir, cfg.LiveBytes()); err != nil {
					return err
				}
				sub := filepath.Join(m.dir, policy)
				if len(m.engines) > 1 {
					sub = filepath.Join(m.dir, engine+"-"+policy)
				}
				m.text.Header(append(cfg.Lines(), c.where(sub, m.report))...)
				run, err := m.measure(ctx, sub, cfg, Task{Kind: "writeamp", Names: []string{over.Name}})
				if err != nil {
					return err
				}
				m.report.Runs = append(m.report.Runs, run)
				if err := c.tidy(m.dir, sub); err != nil {
					return err
				}
			}
		}
		m.report.Verdicts = Verdicts(m.report.Runs)
		m.text.WriteAmp(m.report.Runs)
		m.text.Verdicts(m.report.Verdicts)
		m.text.printf("\n")
		for _, run := range m.report.Runs {
			m.text.Whole(run)
		}
		return nil
	})
}

// policiesOf are those of the asked for policies that an engine has.
func policiesOf(engine string, asked []string) []string {
	if engine == ownEngine {
		return asked
	}
	has := []string{"leveled"}
	if strings.HasPrefix(engine, "rocksdb") {
		has = []string{"leveled", "tiered"}
	}
	var both []string
	for _, p := range asked {
		if slices.Contains(has, p) {
			both = append(both, p)
		}
	}
	if both == nil {
		return has[:1]
	}
	return both
}
