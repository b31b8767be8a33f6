package cluster

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"os"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

// memory is a target whose operations take time, and which does not always do what it should.
type memory struct {
	took     time.Duration
	puts     func(n int) error              // of the n-th put or swap; nil: all succeed
	loses    bool                           // a swap that failed was carried out
	answers  func(values [][]byte) [][]byte // nil: what is there
	mu       sync.Mutex                     // guards what follows
	values   map[string][]byte
	put, got int
}

func (m *memory) Put(_ context.Context, _ int64, key, value []byte) (int, error) {
	time.Sleep(m.took)
	m.mu.Lock()
	defer m.mu.Unlock()
	m.put++
	if m.puts != nil {
		if err := m.puts(m.put); err != nil {
			return 0, err
		}
	}
	m.values[string(key)] = bytes.Clone(value)
	return 1, nil
}

func (m *memory) Get(_ context.Context, key []byte, visit func([]byte)) error {
	time.Sleep(m.took)
	m.mu.Lock()
	defer m.mu.Unlock()
	m.got++
	values := [][]byte{m.values[string(key)]}
	if m.answers != nil {
		values = m.answers(values)
	}
	for _, v := range values {
		visit(v)
	}
	return nil
}

// Update implements Swapper, without knowing what was met before. Another comes first each second time.
func (m *memory) Update(_ context.Context, _ int, key []byte, change func([]byte) []byte) (tries int, err error) {
	time.Sleep(m.took)
	m.mu.Lock()
	defer m.mu.Unlock()
	m.put++
	if m.puts != nil {
		err = m.puts(m.put)
	}
	if m.loses || err == nil {
		m.values[string(key)] = bytes.Clone(change(m.values[string(key)]))
	}
	return 1 + m.put%2, err
}

func (m *memory) Close() error { return nil }

func testJob() Job {
	return Job{Protocol: protocol, Engine: "memory", Clients: 4, Keys: 10, Prefix: "k:", ValueSize: 32, Compressible: 1, Seed: 1}
}

// do runs steps against a target and returns the last.
func do(t *testing.T, m *memory, steps ...Step) (last Load) {
	m.values = map[string][]byte{}
	l := newLoader(testJob(), m)
	for i, s := range steps {
		s.Number = uint64(i)
		load, err := l.run(t.Context(), s)
		require.NoError(t, err)
		last = load
	}
	return last
}

var (
	fill   = Step{Do: doFill}
	verify = Step{Do: doVerify}
	mixed  = Step{Do: doLoad, Mix: Mix{Name: "mix", Puts: 50}, Duration: 10 * time.Second}
)

// In a closed loop each client waits for its answer; in an open one its operations begin when they are meant to.
func TestLoops(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		closed := do(t, &memory{took: 10 * time.Millisecond}, fill, mixed)
		require.EqualValues(t, 4000, closed.OK)
		require.InDelta(t, 400, closed.Throughput, 1)
		require.InDelta(t, 10*time.Millisecond, closed.Puts.P99, 1e5)

		open := mixed
		open.Rate = 100
		slow := do(t, &memory{took: 10 * time.Millisecond}, fill, open)
		require.EqualValues(t, 1000, slow.OK)
		require.InDelta(t, 100, slow.Throughput, 1)
		require.InDelta(t, 40*time.Millisecond, slow.Gap, 1e6)
	})
}

// A target that cannot keep up is late, and what is not begun in twice the time is counted.
func TestLateIsSlow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := Step{Do: doLoad, Mix: Mix{Name: "put", Puts: 100}, Rate: 100, Duration: 10 * time.Second}
		load := do(t, &memory{took: 100 * time.Millisecond}, fill, s)
		require.InDelta(t, 800, load.OK, 8)
		require.EqualValues(t, 1000, load.OK+load.Unbegun)
		require.Greater(t, load.Puts.Max, 10*time.Second)
		require.InDelta(t, 130*time.Millisecond, load.Gap, 1e6) // until the first success of the last client
	})
}

func TestWhatComesBackIsJudged(t *testing.T) {
	for name, c := range map[string]struct {
		answers func([][]byte) [][]byte
		want    func(Load) int64
	}{
		"missing":  {func([][]byte) [][]byte { return nil }, func(l Load) int64 { return l.Missing }},
		"siblings": {func(v [][]byte) [][]byte { return append(v, v...) }, func(l Load) int64 { return l.Siblings }},
		"wrong":    {func([][]byte) [][]byte { return [][]byte{make([]byte, 32)} }, func(l Load) int64 { return l.Wrong }},
		"short":    {func(v [][]byte) [][]byte { return [][]byte{v[0][:31]} }, func(l Load) int64 { return l.Wrong }},
		"damaged": {func(v [][]byte) [][]byte {
			d := bytes.Clone(v[0])
			d[20] ^= 1
			return [][]byte{d}
		}, func(l Load) int64 { return l.Wrong }},
	} {
		t.Run(name, func(t *testing.T) {
			m := &memory{answers: c.answers, values: map[string][]byte{}}
			job := testJob()
			job.Clients = 1
			l := newLoader(job, m)
			_, err := l.run(t.Context(), fill)
			require.NoError(t, err)
			load, err := l.run(t.Context(), verify)
			require.NoError(t, err)
			require.EqualValues(t, 10, c.want(load))
			require.EqualValues(t, 10, load.OK)
		})
	}
}

// A later version may come, an earlier one must not.
func TestStale(t *testing.T) {
	for acknowledged, want := range map[uint64]int64{1: 0, 2: 10} {
		m := &memory{values: map[string][]byte{}}
		l := newLoader(testJob(), m)
		_, err := l.run(t.Context(), fill)
		require.NoError(t, err)
		for i := range l.acked {
			l.acked[i].Store(acknowledged)
		}
		load, err := l.run(t.Context(), verify)
		require.NoError(t, err)
		require.Equal(t, want, load.Stale)
	}
}

// What was not acknowledged may be missing, and may be there.
func TestOutcomes(t *testing.T) {
	m := &memory{puts: func(n int) error {
		switch {
		case n <= 10 || n%4 == 0:
			return nil
		case n%4 == 1:
			return &OpError{Reason: "refused", Err: errors.New("no")}
		case n%4 == 2:
			return &OpError{Unknown: true, Reason: "lost", Err: errors.New("maybe")}
		}
		return context.DeadlineExceeded
	}}
	synctest.Test(t, func(t *testing.T) {
		m.took = time.Millisecond
		load := do(t, m, fill, Step{Do: doLoad, Mix: Mix{Name: "put", Puts: 100}, Duration: time.Second}, verify)
		require.EqualValues(t, 10, load.OK)
		require.Zero(t, load.Missing+load.Stale+load.Wrong)
		load = do(t, m, Step{Do: doLoad, Mix: Mix{Name: "put", Puts: 100}, Duration: time.Second})
		require.InDelta(t, 1000, load.OK, 1)
		require.InDelta(t, 1000, load.Failed, 1)
		require.InDelta(t, 2000, load.Unknown, 1)
		require.Len(t, load.Errors, 3)
		require.Equal(t, load.Failed, load.Errors["refused"])
		require.Equal(t, load.Unknown, load.Errors["lost"]+load.Errors["timeout"])
	})
	_, err := newLoader(testJob(), &memory{puts: func(int) error { return io.ErrUnexpectedEOF }}).run(t.Context(), fill)
	require.ErrorContains(t, err, "a put failed 5 times: unexpected EOF")
}

// TestSwaps: what the key counts is compared with what was acknowledged.
func TestSwaps(t *testing.T) {
	swaps := Step{Do: doLoad, Mix: Mix{Name: "cas", Swaps: true}, Duration: time.Second}
	fails := func(n int) error {
		if n%4 == 0 {
			return &OpError{Reason: "refused", Err: errors.New("no")}
		}
		return nil
	}
	lost := func(n int) error {
		if n%4 == 0 {
			return &OpError{Unknown: true, Reason: "lost", Err: errors.New("maybe")}
		}
		return nil
	}
	for _, c := range []struct {
		m     *memory
		wrong int64
	}{{&memory{}, 0}, {&memory{puts: fails}, 0}, {&memory{puts: fails, loses: true}, 1}, {&memory{puts: lost}, 0}, {&memory{puts: lost, loses: true}, 0}} {
		synctest.Test(t, func(t *testing.T) {
			c.m.took = time.Millisecond
			load := do(t, c.m, fill, swaps, swaps)
			require.Equal(t, c.wrong, load.Wrong)
			require.EqualValues(t, 4000, load.OK+load.Failed+load.Unknown)
			require.EqualValues(t, 2000, load.Retries)
		})
	}
}

func TestServe(t *testing.T) {
	targets := Targets{"memory": func(context.Context, Job) (Target, error) { return &memory{values: map[string][]byte{}}, nil }}
	serve := func(orders ...any) (answers []answer, err error) {
		var in, out bytes.Buffer
		for _, o := range orders {
			require.NoError(t, json.NewEncoder(&in).Encode(o))
		}
		err = Serve(t.Context(), targets, &in, &out)
		for lines := json.NewDecoder(&out); ; {
			var a answer
			if lines.Decode(&a) == io.EOF {
				return answers, err
			}
			answers = append(answers, a)
		}
	}
	answers, err := serve(testJob(), fill, verify)
	require.NoError(t, err)
	require.Len(t, answers, 3)
	require.EqualValues(t, 10, answers[2].Load.Gets.Count)

	for want, change := range map[string]func(*Job){
		"protocol 0": func(j *Job) { j.Protocol = 0 }, `engine "x" is not`: func(j *Job) { j.Engine = "x" },
	} {
		job := testJob()
		change(&job)
		answers, err := serve(job)
		require.ErrorContains(t, err, want)
		require.Len(t, answers, 1)
		require.Contains(t, answers[0].Error, want)
	}
	answers, err = serve(testJob(), Step{Do: "dance"})
	require.ErrorContains(t, err, `"dance" is not known`)
	require.Equal(t, err.Error(), answers[1].Error)
}

func TestCPUTime(t *testing.T) {
	got, err := parseStat([]byte("42 (a) b (c) S 1 42 42 0 -1 4194560 1 2 3 4 250 50 7 8 20 0 1 0 100 1 1"))
	require.NoError(t, err)
	require.Equal(t, 3*time.Second, got)
	_, err = parseStat([]byte("42 (a) S 1"))
	require.ErrorContains(t, err, "2 fields")
	_, err = cpuTime(os.Getpid())
	require.NoError(t, err)
}
