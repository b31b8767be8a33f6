package perf

import "context"

// sampleGets is how many reads measure the work of a get after each step of writeamp.
const sampleGets = 20_000

// distributions maps what --distribution of writeamp takes to the workload that overwrites.
var distributions = map[string]*Workload{"uniform": overwrite, "zipfian": overwriteZipfian}

// writeAmpSequence is what writeamp runs: load in random order, settle, read a sample, overwrite
// as many keys as there are, settle, read a sample.
func writeAmpSequence(c Config, over string) ([]*Workload, error) {
	steps, err := FindWorkloads("fillrandom", "readrandom", over)
	if err != nil {
		return nil, err
	}
	sample := *steps[1]
	sample.fixed = min(sampleGets, c.Keys)
	return []*Workload{steps[0], &sample, steps[2], &sample}, nil
}

// WriteAmp measures write amplification, space and the work of a get in dir; over names the
// workload that overwrites. A directory that is not new is refused, since what it holds would be
// counted.
func (b *Bench) WriteAmp(ctx context.Context, dir, over string) (Run, error) {
	one := *b
	one.Config.Ops = 0
	one.Config.Duration = 0
	if err := one.Config.Validate(); err != nil {
		return Run{}, err
	}
	if used := diskUsage(dir); used > 0 {
		return Run{}, Usagef("%s holds %s already: writeamp wants a new directory", dir, Bytes(used))
	}
	steps, err := writeAmpSequence(one.Config, over)
	if err != nil {
		return Run{}, err
	}
	run, err := one.Run(ctx, dir, steps)
	run.predict()
	return run, err
}

// AmpRow is one line of the write amplification table: a policy after one of its steps.
type AmpRow struct {
	Engine   string
	Name     string // engine/policy
	Step     string // "load", "overwrite", "overwrite-zipfian"
	Writes   Amplification
	Levels   []int64 // bytes written by compactions, by level
	Space    Space
	Runs     RunCount
	PerGet   float64 // tables that a get consulted
	Reads    float64 // device reads of a get
	Settling float64 // seconds
	Formula  *Prediction
}

// AmpRows extracts the table from writeamp's runs.
func AmpRows(runs []Run) []AmpRow {
	var rows []AmpRow
	for _, run := range runs {
		for i, p := range run.Phases {
			if p.Settled == nil {
				continue
			}
			row := AmpRow{
				Engine: run.Config.Engine, Name: run.Name, Step: p.Workload, Writes: *p.Settled,
				Space: p.Space, Runs: p.Runs, Settling: p.Settle.Seconds(), Formula: p.Predicted,
			}
			if row.Step == "fillrandom" {
				row.Step = "load"
			}
			for _, w := range row.Writes.Rows {
				if w.Cause == "compaction" && w.Level >= 0 {
					for len(row.Levels) <= w.Level {
						row.Levels = append(row.Levels, 0)
					}
					row.Levels[w.Level] += w.Bytes
				}
			}
			if i+1 < len(run.Phases) {
				next := run.Phases[i+1].Reads
				row.PerGet = perGet(next.TablesProbed, next.Gets)
				row.Reads = perGet(next.BlockReads, next.Gets)
			}
			rows = append(rows, row)
		}
	}
	return rows
}

func perGet(n, gets int64) float64 {
	if gets == 0 {
		return 0
	}
	return float64(n) / float64(gets)
}
