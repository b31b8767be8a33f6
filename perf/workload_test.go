package perf

import (
	"bytes"
	"compress/flate"
	"fmt"
	"sort"
	"strings"
	"testing"

	"github.com/cockroachdb/datadriven"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

// TestStreams shows the first operations of each workload; the expected output is the promise
// that a seed names the same stream tomorrow.
func TestStreams(t *testing.T) {
	datadriven.RunTest(t, "testdata/streams", func(t *testing.T, d *datadriven.TestData) string {
		c := DefaultConfig()
		name, show, round := "", int64(6), 0
		for _, arg := range d.CmdArgs {
			switch arg.Key {
			case "keys":
				arg.Scan(t, 0, &c.Keys)
			case "seed":
				arg.Scan(t, 0, &c.Seed)
			case "key-size":
				arg.Scan(t, 0, &c.KeySize)
			case "show":
				arg.Scan(t, 0, &show)
			case "round":
				arg.Scan(t, 0, &round)
			default:
				name = arg.Key
			}
		}
		find := FindWorkloads
		if letter, ok := strings.CutPrefix(name, "ycsb-"); ok {
			name, find = letter, FindYCSB
		}
		workloads, err := find(name)
		if err != nil {
			return err.Error() + "\n"
		}
		var b strings.Builder
		w := workloads[0]
		fmt.Fprintf(&b, "%d operations, hash %016x\n", w.Ops(c), w.Stream(c, round).Hash(1000))
		for i := range show {
			a := w.Stream(c, round).At(i)
			key := AppendKey(nil, c.KeySize, a.Key, a.Absent)
			if w.Hashed {
				key = AppendHashedKey(nil, c.KeySize, a.Key)
			}
			fmt.Fprintf(&b, "%s %s", a.Kind, key)
			if a.Limit > 0 {
				fmt.Fprintf(&b, " limit=%d", a.Limit)
			}
			if a.Kind == ActionPut || a.Kind == ActionModify {
				fmt.Fprintf(&b, " version=%x", a.Version)
			}
			b.WriteByte('\n')
		}
		return b.String()
	})
}

func TestFillsWriteEveryKeyOnce(t *testing.T) {
	for _, name := range []string{"fillseq", "fillrandom"} {
		for _, n := range []int64{1, 2, 3, 5, 100, 1000, 4096, 4097} {
			w, err := FindWorkloads(name)
			require.NoError(t, err)
			c := DefaultConfig()
			c.Keys = n
			s := w[0].Stream(c, 0)
			seen := make([]bool, n)
			inOrder := true
			for i := range n {
				a := s.At(i)
				require.Equal(t, ActionPut, a.Kind)
				require.False(t, seen[a.Key], "%s n=%d i=%d", name, n, i)
				seen[a.Key] = true
				inOrder = inOrder && a.Key == i
			}
			if n >= 100 {
				require.Equal(t, name == "fillseq", inOrder)
			}
		}
	}
}

func TestDrawsAreUniform(t *testing.T) {
	for _, name := range []string{"overwrite", "readrandom", "readmissing", "seekrandom"} {
		w, err := FindWorkloads(name)
		require.NoError(t, err)
		c := DefaultConfig()
		c.Keys = 16
		hits := make([]int, c.Keys)
		const n = 16000
		s := w[0].Stream(c, 0)
		for i := range int64(n) {
			a := s.At(i)
			require.Equal(t, name == "readmissing", a.Absent)
			hits[a.Key]++
		}
		for key, h := range hits {
			require.InDelta(t, n/16, h, 200, "%s key %d", name, key)
		}
		require.NotEqual(t, s.Hash(100), w[0].Stream(c, 1).Hash(100), "rounds differ")
		c.Seed++
		require.NotEqual(t, s.Hash(100), w[0].Stream(c, 0).Hash(100), "seeds differ")
	}
}

func TestKeysAreOrderedAndAbsentOnesLieBetween(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.Int64Range(2, 1<<40).Draw(t, "keys")
		i := rapid.Int64Range(0, n-2).Draw(t, "index")
		size := rapid.IntRange(minKeySize(n), 40).Draw(t, "size")
		a, gap, b := AppendKey(nil, size, i, false), AppendKey(nil, size, i, true), AppendKey(nil, size, i+1, false)
		require.Len(t, a, size)
		require.True(t, sort.SliceIsSorted([][]byte{a, gap, b}, func(x, y int) bool {
			return bytes.Compare([][]byte{a, gap, b}[x], [][]byte{a, gap, b}[y]) < 0
		}))
		require.Negative(t, bytes.Compare(a, gap))
		require.Negative(t, bytes.Compare(gap, b))
	})
}

func TestValuesCompressAsAsked(t *testing.T) {
	for _, ratio := range []float64{1, 2, 4} {
		for _, size := range []int{100, 1000, 20000} {
			v := NewValues(1, ratio)
			var raw bytes.Buffer
			one := make([]byte, size)
			for i := range int64(200_000 / size) {
				v.Fill(one, i, 0)
				raw.Write(one)
			}
			var packed bytes.Buffer
			z, err := flate.NewWriter(&packed, 6)
			require.NoError(t, err)
			_, err = z.Write(raw.Bytes())
			require.NoError(t, err)
			require.NoError(t, z.Close())
			require.InEpsilon(t, ratio, float64(raw.Len())/float64(packed.Len()), 0.25, "size %d", size)
		}
	}
}

func TestValuesTellWrongFromRight(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		v := NewValues(rapid.Uint64().Draw(t, "seed"), rapid.Float64Range(1, 5).Draw(t, "ratio"))
		size := rapid.IntRange(valueHeader+16, 3000).Draw(t, "size")
		key := rapid.Int64Range(0, 1<<40).Draw(t, "key")
		version := rapid.Uint64().Draw(t, "version")
		value := make([]byte, size)
		v.Fill(value, key, version)
		require.True(t, v.Belongs(value, key))
		require.NoError(t, v.Check(value, key))
		require.False(t, v.Belongs(value, key+1))
		require.Error(t, v.Check(value, key+1))
		again := make([]byte, size)
		v.Fill(again, key, version+1)
		require.NotEqual(t, value, again, "versions differ")
		value[rapid.IntRange(0, size-1).Draw(t, "flip")] ^= 0x10
		require.Error(t, v.Check(value, key))
	})
	v := NewValues(1, 2)
	short := make([]byte, 7)
	v.Fill(short, 3, 0)
	require.NoError(t, v.Check(short, 3))
	require.Error(t, v.Check(short, 4))
	require.NoError(t, v.Check(nil, 4))
}

func TestFindWorkloads(t *testing.T) {
	w, err := FindWorkloads("fillseq, readrandom", "overwrite")
	require.NoError(t, err)
	require.Len(t, w, 3)
	_, err = FindWorkloads("")
	require.ErrorContains(t, err, "no workload named")
}
