package perf

import (
	"bytes"
	"context"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func playOne(t *testing.T, open Opener, c Config, task Task) Run {
	t.Helper()
	b := Bench{Open: open, Config: c}
	task.Kind = "scenario"
	run, err := b.Perform(context.Background(), t.TempDir(), task)
	require.NoError(t, err)
	require.Empty(t, run.problems())
	require.NotEmpty(t, run.Findings)
	return run
}

func finding(t *testing.T, run Run, name string) Finding {
	t.Helper()
	for _, f := range run.Findings {
		if strings.HasSuffix(f.Name, name) {
			return f
		}
	}
	require.Fail(t, "no finding", "%s in %+v", name, run.Findings)
	return Finding{}
}

func TestEveryScenarioPlays(t *testing.T) {
	c := smallConfig()
	c.Keys, c.ValueSize, c.Compressible = 10_000, 1000, 1
	c.Memtable, c.Duration = 256<<10, 60*time.Millisecond
	for _, s := range Scenarios() {
		t.Run(s.Name, func(t *testing.T) {
			c := c
			switch s.Name {
			case "ttl-churn", "delete-all", "snapshot-pinned": // empty logs and L0 are a small share of these
				c.Keys = 40_000
			case "queue": // each file costs the kernel some pages more: few of them, where little is written
				c.Memtable = 1 << 20
			case "large-values":
				c.Keys, c.ValueSize, c.Memtable = 800, 64<<10, 1<<20
			}
			// The wait for space ends as soon as it is back.
			run := playOne(t, OpenCambium, c, Task{Names: []string{s.Name}, TTL: time.Second, Idle: time.Minute})
			require.Equal(t, s.Name, run.Scenario)
			for _, f := range run.Findings {
				require.NotEmpty(t, f.Value, f.Name)
				require.True(t, f.Met || f.Timed, "%s: %s, want %s", f.Name, f.Value, f.Target)
			}
			switch s.Name {
			case "queue":
				require.EqualValues(t, 1000, run.Phases[1].latencyOf(ActionFirst).Count)
				require.EqualValues(t, 1000*(16+1000), run.Phases[3].Space.Live, "as many are in the queue as at first")
			case "snapshot-pinned":
				require.EqualValues(t, 20_000, run.Phases[2].Ops)
			case "policy-switch":
				require.EqualValues(t, 10_000, finding(t, run, "every byte was compared").Number)
			case "burst":
				require.Equal(t, "open", run.Phases[2].Loop)
				require.NotZero(t, run.Phases[2].Slowest)
			}
		})
	}
}

func TestScenariosOfEnginesThatCannot(t *testing.T) {
	for scenario, why := range map[string]string{
		"ttl-churn": "no time to live", "snapshot-pinned": "no snapshots", "policy-switch": "does not switch",
	} {
		c := smallConfig()
		c.Engine = "pebble"
		run := playOne(t, newMemory().opener(), c, Task{Names: []string{scenario}})
		require.Equal(t, "not possible", run.Findings[0].Name)
		require.Contains(t, run.Findings[0].Value, why)
	}
}

// Engines that lie are found out.
func TestScenariosCheckAnswers(t *testing.T) {
	c := smallConfig()
	c.Threads = 1
	for scenario, want := range map[string]string{
		"delete-all": "a scan of everything meets 7 keys, all of which are gone",
		"ttl-churn":  "after it expired",
	} {
		engine := &everlasting{newMemory()}
		if scenario == "delete-all" {
			engine.ghosts = 7
		}
		b := Bench{Open: func(string, Config) (Engine, error) { return engine, nil }, Config: c}
		run, err := b.Perform(context.Background(), t.TempDir(), Task{Kind: "scenario", Names: []string{scenario}, TTL: time.Millisecond})
		require.NoError(t, err)
		require.Contains(t, strings.Join(run.problems(), "\n"), want)
	}
}

// everlasting keeps what has a time to live for ever.
type everlasting struct{ *memory }

func (e *everlasting) PutTTL(key, value []byte, _ time.Duration) error { return e.Put(key, value) }

func TestActsOfScenarios(t *testing.T) {
	c := &Command{Config: DefaultConfig()}
	sizes := c.acts("large-values")
	require.Len(t, sizes, 3)
	require.Equal(t, "large-values 64KiB", sizes[0].label)
	require.EqualValues(t, 10<<20, sizes[2].config.ValueSize)
	require.EqualValues(t, c.Config.LiveBytes()/(10<<20), sizes[2].config.Keys)
	stages := c.acts("policy-switch")
	require.Len(t, stages, 4)
	require.Equal(t, "tiered", stages[1].config.Compaction)
	require.True(t, stages[1].onward && !stages[0].onward)
	require.Equal(t, stages[0].dir, stages[3].dir)
	require.Len(t, c.acts("queue"), 1)

	_, err := FindScenarios("queue,flood")
	require.ErrorContains(t, err, `no scenario is called "flood": there are ttl-churn queue`)
	_, err = FindScenarios("")
	require.Error(t, err)
}

func TestFindingsText(t *testing.T) {
	var b bytes.Buffer
	NewText(&b).Findings(Run{Name: "cambium/leveled queue", Findings: []Finding{
		{Name: "a", Value: "1.00", Target: "at most 3", Met: true}, {Name: "long name", Value: "5", Target: "at most 4"}, {Name: "fact", Value: "7", Met: true},
	}})
	require.Equal(t, `Findings: cambium/leveled queue
  a          1.00  (at most 3: met)
  long name  5  (at most 4: MISSED)
  fact       7

`, b.String())
}
