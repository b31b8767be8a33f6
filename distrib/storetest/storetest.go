// Package storetest holds every implementation of distrib.Store to its contract, and has one in memory that
// can crash.
//
//	func TestStore(t *testing.T) {
//		storetest.Run(t, func(t *testing.T) (distrib.Store, func() distrib.Store) { ... })
//	}
package storetest

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/cambiumdb/cambium/distrib"
)

// Open makes an empty store for a test. crash returns the store as a power cut at that moment leaves it; the
// one that was opened is not used any more.
type Open func(t *testing.T) (s distrib.Store, crash func() distrib.Store)

// Run runs the suite.
func Run(t *testing.T, open Open) {
	t.Run("ReadsWhatWasWritten", func(t *testing.T) { readsWhatWasWritten(t, open) })
	t.Run("OwnsItsBytes", func(t *testing.T) { ownsItsBytes(t, open) })
	t.Run("AnyBytes", func(t *testing.T) { anyBytes(t, open) })
	t.Run("LaterOpCounts", func(t *testing.T) { laterOpCounts(t, open) })
	t.Run("Scan", func(t *testing.T) { scan(t, open) })
	t.Run("ScanIsOneMoment", func(t *testing.T) { scanIsOneMoment(t, open) })
	t.Run("DeleteRange", func(t *testing.T) { deleteRange(t, open) })
	t.Run("Model", func(t *testing.T) { model(t, open) })
	t.Run("ManyAtOnce", func(t *testing.T) { manyAtOnce(t, open) })
	t.Run("CrashKeepsPrefix", func(t *testing.T) { crashKeepsPrefix(t, open) })
}

func put(t *testing.T, s distrib.Store, key, value string) {
	t.Helper()
	require.NoError(t, s.Apply([]distrib.Op{{Key: []byte(key), Value: []byte(value)}}, distrib.SyncLater))
}

func get(t *testing.T, s distrib.Store, key string) string {
	t.Helper()
	v, err := s.Get([]byte(key))
	if errors.Is(err, distrib.ErrNotFound) {
		return "-"
	}
	require.NoError(t, err)
	return string(v)
}

// list is "key=value key=value ..".
func list(t *testing.T, s distrib.Store, lower, upper []byte) string {
	t.Helper()
	var out bytes.Buffer
	require.NoError(t, s.Scan(lower, upper, func(k, v []byte) error {
		fmt.Fprintf(&out, " %s=%s", k, v)
		return nil
	}))
	return string(bytes.TrimPrefix(out.Bytes(), []byte(" ")))
}

func readsWhatWasWritten(t *testing.T, open Open) {
	s, _ := open(t)
	require.Equal(t, "-", get(t, s, "a"))
	put(t, s, "a", "1")
	put(t, s, "b", "")
	require.Equal(t, "1", get(t, s, "a"))
	require.Equal(t, "", get(t, s, "b"), "an empty value is one")
	require.NoError(t, s.Apply([]distrib.Op{{Key: []byte("a"), Delete: true}, {Key: []byte("none"), Delete: true}}, distrib.SyncNow))
	require.Equal(t, "-", get(t, s, "a"))
	require.NoError(t, s.Apply(nil, distrib.SyncNow), "nothing to do")
}

func ownsItsBytes(t *testing.T, open Open) {
	s, _ := open(t)
	key, value := []byte("key"), []byte("value")
	require.NoError(t, s.Apply([]distrib.Op{{Key: key, Value: value}}, distrib.SyncLater))
	copy(key, "xxx")
	copy(value, "xxxxx")
	got, err := s.Get([]byte("key"))
	require.NoError(t, err)
	require.Equal(t, "value", string(got))
	copy(got, "xxxxx")
	require.Equal(t, "value", get(t, s, "key"))
}

func anyBytes(t *testing.T, open Open) {
	s, _ := open(t)
	long := bytes.Repeat([]byte{0xff}, distrib.MaxStoreKeyBytes)
	large := bytes.Repeat([]byte("0123456789abcdef"), distrib.MaxValueBytes/16)
	require.NoError(t, s.Apply([]distrib.Op{{Key: long, Value: large}, {Key: []byte{0}, Value: []byte{0}}}, distrib.SyncNow))
	got, err := s.Get(long)
	require.NoError(t, err)
	require.True(t, bytes.Equal(large, got))
	got, err = s.Get([]byte{0})
	require.NoError(t, err)
	require.Equal(t, []byte{0}, got)
}

func laterOpCounts(t *testing.T, open Open) {
	s, _ := open(t)
	k := []byte("k")
	require.NoError(t, s.Apply([]distrib.Op{{Key: k, Value: []byte("1")}, {Key: k, Delete: true}, {Key: k, Value: []byte("2")}}, distrib.SyncLater))
	require.Equal(t, "2", get(t, s, "k"))
	require.NoError(t, s.Apply([]distrib.Op{{Key: k, Value: []byte("3")}, {Key: k, Delete: true}}, distrib.SyncLater))
	require.Equal(t, "-", get(t, s, "k"))
}

func scan(t *testing.T, open Open) {
	s, _ := open(t)
	for _, k := range []string{"b", "a", "c", "ab", "\xff\xff"} {
		put(t, s, k, "v")
	}
	require.Equal(t, "a=v ab=v b=v c=v \xff\xff=v", list(t, s, nil, nil))
	require.Equal(t, "ab=v b=v", list(t, s, []byte("ab"), []byte("c")), "the upper bound is not in it")
	require.Equal(t, "", list(t, s, []byte("d"), []byte("e")))
	require.Equal(t, "", list(t, s, []byte("c"), []byte("a")), "bounds the wrong way round hold nothing")
	stop := errors.New("stop")
	seen := 0
	require.Equal(t, stop, s.Scan(nil, nil, func(_, _ []byte) error {
		if seen++; seen == 2 {
			return stop
		}
		return nil
	}))
	require.Equal(t, 2, seen)
}

// scanIsOneMoment: a scan does not see what is written while it runs, and may itself write.
func scanIsOneMoment(t *testing.T, open Open) {
	s, _ := open(t)
	for i := range 100 {
		put(t, s, fmt.Sprintf("k%02d", i), "old")
	}
	seen := 0
	require.NoError(t, s.Scan(nil, nil, func(k, v []byte) error {
		if seen++; string(v) != "old" {
			return fmt.Errorf("%s is %s", k, v)
		}
		put(t, s, "k99", "new")
		put(t, s, "k990", "new")
		return nil
	}))
	require.Equal(t, 100, seen)
}

func deleteRange(t *testing.T, open Open) {
	s, _ := open(t)
	for _, k := range []string{"a", "b", "c", "d"} {
		put(t, s, k, "v")
	}
	require.NoError(t, s.DeleteRange([]byte("b"), []byte("d"), distrib.SyncNow))
	require.Equal(t, "a=v d=v", list(t, s, nil, nil))
	put(t, s, "b", "again")
	require.NoError(t, s.DeleteRange([]byte("x"), []byte("z"), distrib.SyncNow))
	require.Equal(t, "a=v b=again d=v", list(t, s, nil, nil))
}

// model compares with a map through random changes.
func model(t *testing.T, open Open) {
	s, _ := open(t)
	want := NewMem()
	rng := rand.New(rand.NewPCG(1, 2))
	key := func() []byte { return fmt.Appendf(nil, "key%02d", rng.IntN(60)) }
	for i := range 2000 {
		sync := distrib.Sync(rng.IntN(3) % (1 + i%3))
		if rng.IntN(50) == 0 {
			lower, upper := key(), key()
			if bytes.Compare(lower, upper) >= 0 {
				continue
			}
			require.NoError(t, s.DeleteRange(lower, upper, sync))
			require.NoError(t, want.DeleteRange(lower, upper, sync))
			continue
		}
		var ops []distrib.Op
		for range 1 + rng.IntN(4) {
			ops = append(ops, distrib.Op{Key: key(), Value: fmt.Append(nil, i), Delete: rng.IntN(3) == 0})
		}
		require.NoError(t, s.Apply(ops, sync))
		require.NoError(t, want.Apply(ops, sync))
		if i%100 == 0 {
			lower := key()
			require.Equal(t, list(t, want, lower, nil), list(t, s, lower, nil))
		}
	}
	require.Equal(t, list(t, want, nil, nil), list(t, s, nil, nil))
}

// manyAtOnce: pairs of keys are always written together, so no reader may see them differ.
func manyAtOnce(t *testing.T, open Open) {
	s, _ := open(t)
	var wg sync.WaitGroup
	for w := range 4 {
		wg.Go(func() {
			a, b := fmt.Appendf(nil, "a%d", w), fmt.Appendf(nil, "b%d", w)
			for i := range 200 {
				v := fmt.Append(nil, i)
				if err := s.Apply([]distrib.Op{{Key: a, Value: v}, {Key: b, Value: v}}, distrib.SyncLater); err != nil {
					t.Error(err)
					return
				}
			}
		})
		wg.Go(func() {
			for range 50 {
				seen := map[byte]string{}
				err := s.Scan([]byte("a"), nil, func(k, v []byte) error {
					if int(k[1]-'0') == w {
						seen[k[0]] = string(v)
					}
					return nil
				})
				if err != nil || seen['a'] != seen['b'] {
					t.Errorf("a%d is %q, b%d is %q, %v", w, seen['a'], w, seen['b'], err)
					return
				}
			}
		})
	}
	wg.Wait()
}

// crashKeepsPrefix: after a power cut there is a prefix of the changes, at least up to the last one with
// SyncNow, and of none a part.
func crashKeepsPrefix(t *testing.T, open Open) {
	s, crash := open(t)
	const last = 30
	for i := range 50 {
		sync := distrib.SyncLater
		if i == last {
			sync = distrib.SyncNow
		}
		v := fmt.Append(nil, i)
		require.NoError(t, s.Apply([]distrib.Op{{Key: []byte("x"), Value: v}, {Key: []byte("y"), Value: v}, {Key: fmt.Appendf(nil, "k%02d", i)}}, sync))
	}
	after := crash()
	x := get(t, after, "x")
	require.Equal(t, x, get(t, after, "y"))
	upTo := 0
	_, err := fmt.Sscan(x, &upTo)
	require.NoError(t, err)
	require.GreaterOrEqual(t, upTo, last)
	for i := range 50 {
		require.Equal(t, i <= upTo, get(t, after, fmt.Sprintf("k%02d", i)) != "-", "change %d of %d", i, upTo)
	}
}
