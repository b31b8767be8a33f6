package perf

import (
	"context"
	"encoding/binary"
	"hash/fnv"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestZipfianIsYCSBs(t *testing.T) {
	require.InDelta(t, scrambleZeta, zetaSum(scrambleItems), 1e-9, "YCSB's own constant")
	sum := 0.0
	for i := int64(1); i <= 3000; i++ {
		sum += zetaSum(i) - zetaSum(i-1)
	}
	require.InDelta(t, sum, zetaSum(3000), 1e-9)
	for _, v := range []uint64{0, 1, 77, 1 << 40} {
		var b [8]byte
		binary.LittleEndian.PutUint64(b[:], v)
		h := fnv.New64a()
		h.Write(b[:])
		want := int64(h.Sum64())
		if want < 0 {
			want = -want
		}
		require.EqualValues(t, want, fnvHash(v))
	}

	z := newZipfian(1000, zetaSum(1000))
	counts := make([]int, 1000)
	const draws = 200_000
	for i := range int64(draws) {
		counts[z.rank(uniform(draw(1, i)))]++
	}
	require.InDelta(t, 1/zetaSum(1000), float64(counts[0])/draws, 0.005, "the hottest of 1000 gets 13 %")
	require.Greater(t, counts[0], counts[1])
	require.Greater(t, counts[1], counts[10])
	require.NotZero(t, counts[900])
	require.EqualValues(t, 0, z.rank(0))
	require.EqualValues(t, 999, z.rank(0.9999999999999999))
}

func TestYCSBProportions(t *testing.T) {
	c := DefaultConfig()
	c.Keys = 2000
	want := map[string]map[ActionKind]float64{
		"A": {ActionGet: 0.5, ActionPut: 0.5},
		"B": {ActionGet: 0.95, ActionPut: 0.05},
		"C": {ActionGet: 1},
		"D": {ActionGet: 0.95, ActionInsert: 0.05},
		"E": {ActionScan: 0.95, ActionInsert: 0.05},
		"F": {ActionGet: 0.5, ActionModify: 0.5},
	}
	for letter, shares := range want {
		w, err := FindYCSB(letter)
		require.NoError(t, err)
		s := w[0].Stream(c, 0)
		const n = 20_000
		got := map[ActionKind]float64{}
		next := c.Keys
		var longest, shortest, newest int
		shortest = maxScan
		for i := range int64(n) {
			a := s.At(i)
			got[a.Kind] += 1.0 / n
			if a.Kind == ActionInsert {
				require.Equal(t, next, a.Key, "inserts number the records on")
				next++
				continue
			}
			require.Less(t, a.Key, next, "only records that were inserted before are met")
			if a.Key >= c.Keys {
				newest++
			}
			if a.Kind == ActionScan {
				longest, shortest = max(longest, a.Limit), min(shortest, a.Limit)
			}
		}
		require.Len(t, got, len(shares), letter)
		for kind, share := range shares {
			require.InDelta(t, share, got[kind], 0.02, "%s %s", letter, kind)
		}
		switch letter {
		case "D":
			require.Greater(t, newest, n/2, "most reads are of what was inserted last")
		case "E":
			require.Equal(t, []int{1, 100}, []int{shortest, longest})
			require.NotZero(t, newest)
		}
	}
}

func TestHashedKeysAreDistinct(t *testing.T) {
	seen := map[string]bool{}
	for i := range int64(10_000) {
		k := string(AppendHashedKey(nil, 16, i))
		require.Len(t, k, 16)
		require.False(t, seen[k])
		seen[k] = true
	}
	require.Regexp(t, "^0000[0-9a-f]{16}$", string(AppendHashedKey(nil, 20, 1)))
}

func TestInsertedKnowsItsFrontier(t *testing.T) {
	n := newInserted(10)
	n.add(12)
	n.add(11)
	require.EqualValues(t, 10, n.frontier.Load(), "10 is not there yet")
	require.EqualValues(t, 12, n.count())
	n.add(10)
	require.EqualValues(t, 13, n.frontier.Load())
}

func TestYCSBRuns(t *testing.T) {
	w, err := FindYCSB("A,B,C,D", "e,f")
	require.NoError(t, err)
	engine := newMemory()
	c := smallConfig()
	c.Ops = 600
	b := Bench{Open: engine.opener(), Config: c}
	run, err := b.YCSB(context.Background(), t.TempDir(), w)
	require.NoError(t, err)
	require.Len(t, run.Phases, 7)
	require.Equal(t, "ycsb-load", run.Phases[0].Workload)
	hashes := map[string]bool{}
	for _, p := range run.Phases {
		require.Empty(t, p.Problems, p.Workload)
		require.False(t, hashes[p.StreamHash])
		hashes[p.StreamHash] = true
	}
	require.EqualValues(t, (500+30)*116, run.Phases[4].Space.Live, "D inserts a twentieth of 600")
	require.Len(t, engine.values, 560, "and E as many")

	engine.lie = func(key string) bool { return key[15] == '4' }
	engine.closed = false
	run, err = b.YCSB(context.Background(), t.TempDir(), w)
	require.NoError(t, err)
	require.NotEmpty(t, run.Phases[1].Problems)

	c.KeySize = 8
	b.Config = c
	_, err = b.YCSB(context.Background(), t.TempDir(), w)
	var usage *UsageError
	require.ErrorAs(t, err, &usage)
}
