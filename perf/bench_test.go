package perf

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func smallConfig() Config {
	c := DefaultConfig()
	c.Keys, c.ValueSize, c.Threads = 500, 100, 3
	return c
}

// runNamed runs workloads over engine without the kernel's count, which a map in memory would
// never agree with.
func runNamed(t *testing.T, engine *memory, c Config, names string) (Run, error) {
	t.Helper()
	workloads, err := FindWorkloads(names)
	require.NoError(t, err)
	b := Bench{Open: engine.opener(), Config: c}
	return b.Run(context.Background(), t.TempDir(), workloads)
}

func TestEveryWorkloadRuns(t *testing.T) {
	var names []string
	for _, w := range Workloads() {
		names = append(names, w.Name)
	}
	engine := newMemory()
	run, err := runNamed(t, engine, smallConfig(), strings.Join(names, ","))
	require.NoError(t, err)
	require.True(t, engine.closed)
	require.Len(t, run.Phases, len(names))
	for i, p := range run.Phases {
		w := Workloads()[i]
		require.Equal(t, w.Name, p.Workload)
		require.Empty(t, p.Problems, w.Name)
		require.Equal(t, w.Ops(smallConfig()), p.Ops, w.Name)
		require.Equal(t, "closed", p.Loop)
		require.NotZero(t, p.Throughput)
		require.NotEmpty(t, p.Latency)
		require.NotEmpty(t, p.Series)
		require.EqualValues(t, 500*116, p.Space.Live)
		require.Equal(t, w.Writes, p.Settled != nil, w.Name)
		if w.Writes {
			require.InDelta(t, 2, p.Settled.Factor, 1e-9, w.Name)
		}
	}
	var user int64
	for _, p := range run.Phases {
		if p.Settled != nil {
			user += p.Settled.UserBytes
		}
	}
	require.Equal(t, user, run.Whole.Writes.UserBytes)
	require.Equal(t, int64(500), run.Phases[4].mainLatency().Count)
	require.Len(t, run.Phases[6].Latency, 2, "reads and the writes beside them")
}

// Without a rate, a workload shows its throughput as fast as it goes and its latency below that.
func TestAutoRate(t *testing.T) {
	c := smallConfig()
	c.Rate = AutoRate
	run, err := runNamed(t, newMemory(), c, "fillrandom,overwrite,readrandom")
	require.NoError(t, err)
	var names []string
	for _, p := range run.Phases {
		names = append(names, p.Workload)
		require.Empty(t, p.Problems)
	}
	require.Equal(t, []string{"fillrandom", "overwrite", "overwrite-open", "readrandom", "readrandom-open"}, names)
	for _, at := range []int{1, 3} {
		closed, open := run.Phases[at], run.Phases[at+1]
		require.Equal(t, []string{"closed", "open"}, []string{closed.Loop, open.Loop})
		require.InEpsilon(t, 0.7*closed.Throughput, open.Rate, 1e-9)
		require.Equal(t, closed.Ops/3, open.Ops)
		require.NotEqual(t, closed.StreamHash, open.StreamHash, "other operations of the same kind")
	}
	require.Equal(t, AutoRate, run.Config.Rate)

	var r Rate
	require.NoError(t, r.Set("auto"))
	require.Equal(t, AutoRate, r)
	require.Equal(t, "auto", r.String())
	require.Error(t, r.Set("-1"))
	c.Rate = -2
	require.Error(t, c.Validate())
}

func TestReadsBeforeAnyFillLoadFirst(t *testing.T) {
	engine := newMemory()
	run, err := runNamed(t, engine, smallConfig(), "readrandom")
	require.NoError(t, err)
	require.Equal(t, "fillrandom", run.Phases[0].Workload)
	engine.closed = false
	run, err = runNamed(t, engine, smallConfig(), "readrandom")
	require.NoError(t, err)
	require.Equal(t, "readrandom", run.Phases[0].Workload, "the keys are there already")
}

func TestWrongAnswersAreProblems(t *testing.T) {
	engine := newMemory()
	engine.lie = func(key string) bool { return strings.HasSuffix(key, "4") }
	run, err := runNamed(t, engine, smallConfig(), "fillseq,readrandom")
	require.NoError(t, err)
	require.Len(t, run.Phases[1].Problems, 4)
	require.Contains(t, run.Phases[1].Problems[0], "not found, but it was written")
	require.Contains(t, run.Phases[1].Problems[3], "more wrong answers")

	// Every key holds the value of the first, and the absent keys are there.
	swap := newMemory()
	_, err = runNamed(t, swap, smallConfig(), "fillseq")
	require.NoError(t, err)
	first := swap.values[string(AppendKey(nil, 16, 0, false))]
	for k := range swap.values {
		swap.values[k] = first
	}
	for i := range int64(500) {
		swap.values[string(AppendKey(nil, 16, i, true))] = first
	}
	swap.closed, swap.sorted = false, nil
	w, err := FindWorkloads("seekrandom,readmissing,readrandom")
	require.NoError(t, err)
	c := smallConfig()
	s := &session{bench: &Bench{Config: c}, engine: swap, dir: t.TempDir()}
	for i, want := range []string{"that begin with that key", "found, but it was never written", "not the one of this key"} {
		p, err := s.phase(context.Background(), w[i], 0)
		require.NoError(t, err)
		require.NotEmpty(t, p.Problems)
		require.Contains(t, p.Problems[0], want)
	}
}

func TestAFailedWriteEndsTheRun(t *testing.T) {
	engine := newMemory()
	engine.failPut = errors.New("device on fire")
	_, err := runNamed(t, engine, smallConfig(), "fillrandom")
	require.ErrorIs(t, err, engine.failPut)
	require.Regexp(t, `fillrandom: put "0+\d*" \(operation \d+\): device on fire`, err.Error())
	require.True(t, engine.closed)
}

func TestOpenLoopMeasuresFromTheIntendedStart(t *testing.T) {
	c := smallConfig()
	c.Rate, c.Threads = 2000, 1
	c.Duration = 200 * time.Millisecond
	slow := &slowEngine{memory: newMemory(), at: 100, pause: 50 * time.Millisecond}
	b := Bench{Open: func(string, Config) (Engine, error) { return slow, nil }, Config: c}
	w, err := FindWorkloads("overwrite")
	require.NoError(t, err)
	s, err := b.begin(t.TempDir())
	require.NoError(t, err)
	p, err := s.phase(context.Background(), w[0], 0)
	require.NoError(t, err)
	require.Equal(t, "open", p.Loop)
	require.EqualValues(t, 400, p.Ops, "rate times duration, whatever the engine does")
	require.GreaterOrEqual(t, p.Latency[0].Max, 50*time.Millisecond)
	require.Greater(t, p.Latency[0].P90, 5*time.Millisecond, "operations queued behind the pause waited too")
}

type slowEngine struct {
	*memory
	n, at int
	pause time.Duration
}

func (s *slowEngine) Put(key, value []byte) error {
	if s.n++; s.n == s.at {
		time.Sleep(s.pause)
	}
	return s.memory.Put(key, value)
}

func TestCancelEndsARun(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	engine := newMemory()
	w, err := FindWorkloads("fillrandom")
	require.NoError(t, err)
	b := Bench{Open: engine.opener(), Config: smallConfig()}
	_, err = b.Run(ctx, t.TempDir(), w)
	require.ErrorIs(t, err, context.Canceled)
	require.True(t, engine.closed)
}

func TestWriteAmpRows(t *testing.T) {
	engine := newMemory()
	b := Bench{Open: func(string, Config) (Engine, error) { return engine, nil }, Config: smallConfig()}
	dir := t.TempDir()
	run, err := b.WriteAmp(context.Background(), dir, "overwrite")
	require.NoError(t, err)
	rows := AmpRows([]Run{run})
	require.Len(t, rows, 2)
	require.Equal(t, "load", rows[0].Step)
	require.Equal(t, "overwrite", rows[1].Step)
	for _, r := range rows {
		require.InDelta(t, 2, r.Writes.Factor, 1e-9)
		require.InDelta(t, 1, r.PerGet, 1e-9)
	}
	require.NoError(t, os.WriteFile(filepath.Join(dir, "x"), make([]byte, 9000), 0o666))
	_, err = b.WriteAmp(context.Background(), dir, "overwrite")
	var usage *UsageError
	require.ErrorAs(t, err, &usage)
	require.Contains(t, err.Error(), "wants a new directory")
}

func TestLoadReadsBackAndVerifies(t *testing.T) {
	source := func() (PairSource, error) {
		return &repeated{GeneratePairs(300, 7), GeneratePairs(100, 8), GeneratePairs(300, 7)}, nil
	}
	for _, verify := range []bool{true, false} {
		engine := newMemory()
		b := Bench{Open: engine.opener(), Config: smallConfig()}
		run, err := b.Load(context.Background(), t.TempDir(), source, verify)
		require.NoError(t, err)
		require.Empty(t, run.Phases[1].Problems)
		require.Equal(t, &DataSet{Pairs: 700, Keys: 400, Bytes: run.DataSet.Bytes, Verified: verify}, run.DataSet)
		require.EqualValues(t, 700, run.Phases[0].Ops)
		require.EqualValues(t, 400, run.Phases[1].Ops)
		var live int64
		for k, v := range engine.values {
			live += int64(len(k) + len(v))
		}
		require.Equal(t, live, run.DataSet.Bytes)
	}

	for want, spoil := range map[string]func(*memory){
		"not found, but it was loaded":               func(m *memory) { m.lie = startsWithA },
		"the value is not the one that was loaded":   func(m *memory) { m.twist = startsWithA },
		"scan of everything: met 402 keys, 400 were": func(m *memory) { m.ghosts = 2 },
	} {
		engine := newMemory()
		spoil(engine)
		b := Bench{Open: engine.opener(), Config: smallConfig()}
		run, err := b.Load(context.Background(), t.TempDir(), source, true)
		require.NoError(t, err)
		require.False(t, run.DataSet.Verified)
		require.Contains(t, strings.Join(run.problems(), "\n"), want)
	}
}

func startsWithA(key string) bool { return strings.HasPrefix(key, "a") }

func TestFillsIgnoreTheDuration(t *testing.T) {
	c := smallConfig()
	c.Duration, c.Ops = time.Nanosecond, 3
	run, err := runNamed(t, newMemory(), c, "fillrandom,overwrite")
	require.NoError(t, err)
	require.EqualValues(t, c.Keys, run.Phases[0].Ops)
	require.Less(t, run.Phases[1].Ops, c.Keys)
	c.Duration = 0
	run, err = runNamed(t, newMemory(), c, "fillrandom,overwrite")
	require.NoError(t, err)
	require.EqualValues(t, 3, run.Phases[1].Ops)
}

// repeated is several sources, one after the other.
type repeated []PairSource

func (r *repeated) Next() (Pair, error) {
	for {
		p, err := (*r)[0].Next()
		if err == nil || len(*r) == 1 {
			return p, err
		}
		*r = (*r)[1:]
	}
}

func (r *repeated) Position() (int64, int64) { return (*r)[0].Position() }

func (r *repeated) Close() error { return nil }

func TestLoadReportsABadLine(t *testing.T) {
	engine := newMemory()
	b := Bench{Open: engine.opener(), Config: smallConfig()}
	_, err := b.Load(context.Background(), t.TempDir(), func() (PairSource, error) {
		return OpenPairs(writeFile(t, "x.jsonl", fmt.Sprintf("%s\n{", `{"key":"a","value":"b"}`)))
	}, true)
	require.ErrorContains(t, err, "x.jsonl: line 2: ")
	require.True(t, engine.closed)
}
