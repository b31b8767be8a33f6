package hint

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/cambiumdb/cambium/distrib"
	"github.com/cambiumdb/cambium/distrib/replica"
	"github.com/cambiumdb/cambium/distrib/storetest"
	"github.com/cambiumdb/cambium/distrib/vclock"
)

func open(t *testing.T, s distrib.Store, maxBytes int64) *Hints {
	t.Helper()
	births, err := replica.NextRun(s, 0)
	require.NoError(t, err)
	h, err := Open(Options{Store: s, Node: 1, Births: births, MaxBytes: maxBytes})
	require.NoError(t, err)
	return h
}

func put(t *testing.T, h *Hints, target uint64, key, value string) {
	t.Helper()
	_, err := h.Put(&distrib.PutRequest{Key: []byte(key), Value: distrib.Value{Data: []byte(value)}, For: target})
	require.NoError(t, err)
}

// drain hands over what is kept for a target and returns it.
func drain(t *testing.T, h *Hints, target uint64) map[string]string {
	t.Helper()
	got := map[string]string{}
	sent, err := h.Drain(t.Context(), target, func(key []byte, r distrib.Record) error {
		for _, s := range r {
			got[string(key)] += string(s.Value.Data)
		}
		return nil
	})
	require.NoError(t, err)
	require.Len(t, got, sent)
	return got
}

// TestSurvivesRestart: hints are there after a crash, with their sizes, and are gone once they were handed over.
func TestSurvivesRestart(t *testing.T) {
	s := storetest.NewMem()
	h := open(t, s, 0)
	large := string(bytes.Repeat([]byte("x"), 2*distrib.InlineBytes))
	put(t, h, 3, "a", "1")
	put(t, h, 3, "b", large)
	put(t, h, 1<<64-1, "a", "2")
	before := h.Kept()
	require.Len(t, before, 2)
	require.Greater(t, before[0].Bytes, int64(len(large)))

	h = open(t, s.Crash(0), 0)
	require.Len(t, h.Kept(), len(before))
	for i, k := range h.Kept() {
		require.Equal(t, before[i].Bytes, k.Bytes)
		require.Equal(t, before[i].Target, k.Target)
	}
	r, err := h.Read(&distrib.ReadRequest{Key: []byte("a"), For: 3})
	require.NoError(t, err)
	require.Equal(t, "1", string(r[0].Value.Data))
	require.Equal(t, map[string]string{"a": "1", "b": large}, drain(t, h, 3))
	require.Len(t, h.Kept(), 1)
	require.Equal(t, before[1].Bytes, h.Kept()[0].Bytes)
	require.Empty(t, drain(t, h, 3))
	require.Equal(t, map[string]string{"a": "2"}, drain(t, h, 1<<64-1))
	require.Empty(t, h.Kept())
}

// TestBound: what does not fit is refused when it comes; what was taken is kept, and others have room of their
// own.
func TestBound(t *testing.T) {
	h := open(t, storetest.NewMem(), 1000)
	n := 0
	var err error
	for ; err == nil; n++ {
		_, err = h.Put(&distrib.PutRequest{Key: fmt.Appendf(nil, "k%02d", n), Value: distrib.Value{Data: make([]byte, 100)}, For: 3})
	}
	require.ErrorIs(t, err, distrib.ErrRefused)
	require.ErrorContains(t, err, "hints for node 3 hold")
	require.ErrorContains(t, err, "the limit of 1000")
	require.ErrorIs(t, h.Merge(&distrib.MergeRequest{Key: []byte("k"), Record: distrib.Record{{Dot: vclock.Dot{Actor: vclock.Actor{Node: 2}, Counter: 1}, Value: distrib.Value{Data: make([]byte, 500)}}}, For: 3}), distrib.ErrRefused)
	put(t, h, 4, "other", "v")
	require.Len(t, drain(t, h, 3), n-1)
	put(t, h, 3, "again", "v")
}

// TestDrainGoesOn: an error ends it, what was handed over is not sent again, and what changed meanwhile is.
func TestDrainGoesOn(t *testing.T) {
	h := open(t, storetest.NewMem(), 0)
	for i := range 10 {
		put(t, h, 3, fmt.Sprintf("k%d", i), "v")
	}
	var sent []string
	stop := errors.New("stop")
	n, err := h.Drain(t.Context(), 3, func(key []byte, _ distrib.Record) error {
		if len(sent) == 4 {
			return stop
		}
		if len(sent) == 2 {
			put(t, h, 3, string(key), "new")
		}
		sent = append(sent, string(key))
		return nil
	})
	require.ErrorIs(t, err, stop)
	require.Equal(t, 4, n)
	rest := drain(t, h, 3)
	require.Len(t, rest, 7, "six that were not sent, and the one that changed")
	require.Equal(t, "vnew", rest[sent[2]])

	put(t, h, 3, "k", "v")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err = h.Drain(ctx, 3, func([]byte, distrib.Record) error { return nil })
	require.ErrorIs(t, err, context.Canceled)
	require.Len(t, h.Kept(), 1)
}

// TestDrainOfMany: more than is listed at a time.
func TestDrainOfMany(t *testing.T) {
	h := open(t, storetest.NewMem(), 0)
	for i := range 3*drainKeys + 5 {
		put(t, h, 3, fmt.Sprintf("k%d", i), "v")
	}
	require.Len(t, drain(t, h, 3), 3*drainKeys+5)
	require.Empty(t, h.Kept())
}

// TestAge: how long something is kept is known, also after a restart, and nothing more is taken for a node that is gone
// for too long until it has got what was kept.
func TestAge(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := storetest.NewMem()
		h, began := open(t, s, 0), time.Now()
		timed := func(h *Hints, key string) error {
			now := distrib.Timestamp(time.Now().UnixMilli()) << 16
			return h.Merge(&distrib.MergeRequest{For: 3, Key: []byte(key), Record: distrib.Record{
				{Dot: vclock.Dot{Actor: vclock.Actor{Node: 2, Birth: 1}, Counter: 1}, Value: distrib.Value{Time: now, Data: []byte("v")}}}})
		}
		require.NoError(t, timed(h, "a"))
		time.Sleep(time.Hour)
		require.NoError(t, timed(h, "b"))
		require.True(t, began.Equal(h.Kept()[0].Oldest))
		h = open(t, s, 0)
		require.True(t, began.Equal(h.Kept()[0].Oldest), "after a restart")

		_, err := h.Drain(t.Context(), 3, func(key []byte, _ distrib.Record) error {
			if string(key) == "b" {
				return errors.New("gone")
			}
			return nil
		})
		require.ErrorContains(t, err, "gone")
		require.False(t, h.Kept()[0].Oldest.After(began.Add(time.Hour)), "b is left")
		time.Sleep(7*24*time.Hour - time.Hour)
		require.NoError(t, timed(h, "c"))
		time.Sleep(2 * time.Hour)
		err = timed(h, "d")
		require.ErrorIs(t, err, distrib.ErrRefused)
		require.ErrorContains(t, err, "have waited for 170h")
		require.Len(t, drain(t, h, 3), 2)
		require.Equal(t, []Counts{{Target: 3, Kept: 1, HandedOver: 3, Refused: 1}}, h.Counts())
		require.Empty(t, h.Kept())
		require.NoError(t, timed(h, "d"))
		require.True(t, time.Now().Equal(h.Kept()[0].Oldest))
	})
}

// TestDrainIsThrottled: each record waits for its turn, and nothing is handed over once waiting has failed.
func TestDrainIsThrottled(t *testing.T) {
	h := open(t, storetest.NewMem(), 0)
	for i := range 10 {
		put(t, h, 3, fmt.Sprint(i), "1234")
	}
	sum, sent := 0, 0
	h.opts.Pace = func(_ context.Context, bytes int) error {
		require.Equal(t, sum, 5*sent, "it waits before each")
		if sum += bytes; sum > 20 {
			return errors.New("no more")
		}
		return nil
	}
	_, err := h.Drain(t.Context(), 3, func([]byte, distrib.Record) error { sent++; return nil })
	require.ErrorContains(t, err, "no more")
	require.Equal(t, 4, sent)
	h.opts.Pace = func(context.Context, int) error { return nil }
	require.Len(t, drain(t, h, 3), 6)
}

// TestForget: nodes that are gone are forgotten once nothing is kept for them and nobody writes it.
func TestForget(t *testing.T) {
	h := open(t, storetest.NewMem(), 0)
	put(t, h, 3, "a", "1")
	put(t, h, 4, "a", "1")
	drain(t, h, 4)
	gone := func(node uint64) bool { return node != 5 }
	_, err := h.Read(&distrib.ReadRequest{Key: []byte("a"), For: 5})
	require.NoError(t, err)
	h.Forget(gone)
	targets := func() (list []uint64) {
		for _, c := range h.Counts() {
			list = append(list, c.Target)
		}
		return list
	}
	require.Equal(t, []uint64{3, 5}, targets(), "something is kept for 3, and 5 is there")
	_, err = h.Drain(t.Context(), 3, func([]byte, distrib.Record) error {
		h.Forget(gone)
		require.Equal(t, []uint64{3, 5}, targets(), "it is being drained")
		return nil
	})
	require.NoError(t, err)
	h.Forget(gone)
	require.Equal(t, []uint64{5}, targets())
	put(t, h, 3, "b", "2")
	require.Equal(t, map[string]string{"b": "2"}, drain(t, h, 3))
}
