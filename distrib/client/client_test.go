package client

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
	"google.golang.org/grpc/connectivity"

	"github.com/cambiumdb/cambium/distrib"
	"github.com/cambiumdb/cambium/distrib/ring"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var ctx = context.Background()

// TestOutcomes: how the nodes behave that are asked first, second and third, and what comes of a put.
func TestOutcomes(t *testing.T) {
	for _, c := range []struct {
		name   string
		nodes  [3]string // words of a script each
		get    bool
		want   string // ok by NODE, or OUTCOME REASON
		asked  [3]int // times
		reason error
	}{
		{"all is well", [3]string{"ok", "ok", "ok"}, false, "ok by first", [3]int{1, 0, 0}, nil},
		{"a node that is down costs nothing", [3]string{"down", "ok", "ok"}, false, "ok by second", [3]int{0, 1, 0}, nil},
		{"nor do two", [3]string{"down", "down", "ok"}, false, "ok by third", [3]int{0, 0, 1}, nil},
		{"all are down", [3]string{"down", "down", "down"}, false, "FAILED UNAVAILABLE", [3]int{}, ErrUnavailable},
		{"a broken stream: the next one", [3]string{"break", "ok", "ok"}, false, "ok by second", [3]int{1, 1, 0}, nil},
		{"silence: the next one", [3]string{"hang", "ok", "ok"}, false, "ok by second", [3]int{1, 1, 0}, nil},
		{"two are silent", [3]string{"hang", "hang", "ok"}, false, "ok by third", [3]int{1, 1, 1}, nil},
		{"all are silent", [3]string{"hang", "hang", "hang"}, false, "UNKNOWN TIMEOUT", [3]int{1, 1, 1}, ErrTimeout},
		{"all are silent to a get", [3]string{"hang", "hang", "hang"}, true, "FAILED TIMEOUT", [3]int{1, 1, 1}, ErrTimeout},
		{"late, but the others are silent", [3]string{"600ms", "hang", "hang"}, false, "ok by first", [3]int{1, 1, 1}, nil},
		{"FAILED: the next one", [3]string{"failed", "ok", "ok"}, false, "ok by second", [3]int{1, 1, 0}, nil},
		{"all say FAILED, twice", [3]string{"failed", "failed", "failed"}, false, "FAILED UNAVAILABLE", [3]int{2, 2, 2}, ErrUnavailable},
		{"one said UNKNOWN", [3]string{"unknown", "failed", "failed"}, false, "UNKNOWN TIMEOUT", [3]int{2, 2, 2}, ErrTimeout},
		{"UNKNOWN, then another has it", [3]string{"unknown", "ok", "ok"}, false, "ok by second", [3]int{1, 1, 0}, nil},
		{"broken, then all say FAILED", [3]string{"break failed", "failed", "failed"}, false, "UNKNOWN UNAVAILABLE", [3]int{2, 2, 2}, ErrUnavailable},
		{"silent, then the others say FAILED", [3]string{"hang", "failed", "failed"}, false, "UNKNOWN TIMEOUT", [3]int{1, 1, 1}, ErrTimeout},
		{"invalid: no other is asked", [3]string{"invalid", "ok", "ok"}, false, "FAILED INVALID_ARGUMENT", [3]int{1, 0, 0}, ErrInvalid},
		{"not served: no other is asked", [3]string{"unimplemented", "ok", "ok"}, false, "FAILED UNIMPLEMENTED", [3]int{1, 0, 0}, ErrUnimplemented},
		{"too many siblings: no other is asked", [3]string{"siblings", "ok", "ok"}, false, "FAILED TOO_MANY_SIBLINGS", [3]int{1, 0, 0}, ErrTooManySiblings},
		{"broken, then too many siblings", [3]string{"break", "siblings", "ok"}, false, "UNKNOWN TOO_MANY_SIBLINGS", [3]int{1, 1, 0}, ErrTooManySiblings},
		{"overloaded: the next one, later", [3]string{"overloaded:1ms", "ok", "ok"}, false, "ok by second", [3]int{1, 1, 0}, nil},
		{"all are overloaded for a while", [3]string{"overloaded:1ms ok", "overloaded:1ms", "overloaded:1ms"}, false, "ok by first", [3]int{2, 1, 1}, nil},
		{"all are overloaded", [3]string{"overloaded:1ms", "overloaded:1ms", "overloaded:1ms"}, false, "FAILED OVERLOADED", [3]int{4, 4, 4}, ErrOverloaded},
		{"an answer that is none", [3]string{"garbage", "ok", "ok"}, false, "ok by second", [3]int{1, 1, 0}, nil},
		{"nothing but such answers", [3]string{"garbage", "garbage", "garbage"}, false, "UNKNOWN UNAVAILABLE", [3]int{2, 2, 2}, ErrUnavailable},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			f := newFakeCluster(t, 3)
			cl := f.open(t, Options{Timeout: time.Second})
			key := []byte("k")
			order := f.order(cl, key)
			for i, words := range c.nodes {
				if order[i].behave(strings.Fields(words)...); words == "down" {
					order[i].kill()
					order[i].behave("ok")
					conn, err := cl.node(order[i].addr, "").dialed()
					require.NoError(t, err)
					require.Eventually(t, func() bool { return conn.GetState() != connectivity.Ready }, 10*time.Second, time.Millisecond) // it has noticed
				}
			}
			got := ""
			var err error
			if c.get {
				_, err = cl.Get(ctx, key, GetOptions{})
			} else {
				var put *Put
				if put, err = cl.Put(ctx, key, []byte("v"), PutOptions{}); err == nil {
					for i, n := range order {
						if put.Acknowledged[0].Node == n.name {
							got = "ok by " + []string{"first", "second", "third"}[i]
						}
					}
				}
			}
			if e := (*Error)(nil); errors.As(err, &e) {
				got = e.Outcome.String() + " " + e.Reason
				require.ErrorIs(t, err, c.reason)
				require.NotEmpty(t, e.Message)
			}
			require.Equal(t, c.want, got, "%v", err)
			var ops [][]byte
			for i, n := range order {
				require.Len(t, n.asked(), c.asked[i], "node %d: %v", i, err)
				ops = append(ops, n.ops...)
			}
			for _, op := range ops {
				require.Equal(t, ops[0], op, "all tries have one op id")
			}
		})
	}
}

// TestRetried: a further try says that it is one where an earlier one may have been stored.
func TestRetried(t *testing.T) {
	for _, c := range []struct {
		nodes  [3]string
		always bool
		tries  []bool
	}{
		{[3]string{"ok", "ok", "ok"}, false, []bool{false}},
		{[3]string{"ok", "ok", "ok"}, true, []bool{true}},
		{[3]string{"failed", "ok", "ok"}, false, []bool{false, false}},
		{[3]string{"overloaded:1ms", "failed", "ok"}, false, []bool{false, false, false}},
		{[3]string{"unknown", "ok", "ok"}, false, []bool{false, true}},
		{[3]string{"break", "failed", "ok"}, false, []bool{false, true, true}},
		{[3]string{"failed", "hang", "ok"}, false, []bool{false, false, true}},
	} {
		for _, size := range []int{10, 2 * aloneBytes} {
			f := newFakeCluster(t, 3)
			cl := f.open(t, Options{})
			for i, n := range f.order(cl, []byte("k")) {
				n.behave(c.nodes[i])
			}
			put, err := cl.Put(ctx, []byte("k"), make([]byte, size), PutOptions{Retried: c.always})
			require.NoError(t, err)
			require.Equal(t, c.tries, f.tries, "%v", c.nodes)
			f.mu.Lock()
			require.Len(t, f.store["k"], 1)
			require.Len(t, f.store["k"][0].Value.Data, size)
			f.tries = nil
			f.mu.Unlock()
			_, err = cl.Delete(ctx, []byte("k"), DeleteOptions{Context: put.Context, Retried: c.always})
			require.NoError(t, err)
			require.Equal(t, c.always, f.tries[0], "%v", c.nodes)
		}
	}
}

func TestGetPutDelete(t *testing.T) {
	f := newFakeCluster(t, 3)
	c := f.open(t, Options{})
	key := []byte("user:1")
	item, err := c.Get(ctx, key, GetOptions{Level: Level{Consistency: All, Strict: true}, Repair: true})
	require.NoError(t, err)
	require.False(t, item.Found())
	_, err = item.Value()
	require.ErrorIs(t, err, distrib.ErrNotFound)

	put, err := c.Put(ctx, key, []byte("Ada"), PutOptions{TTL: time.Hour})
	require.NoError(t, err)
	require.Equal(t, 1, put.Siblings)
	require.NotZero(t, put.OpID)
	item, err = c.Get(ctx, key, GetOptions{})
	require.NoError(t, err)
	value, err := item.Value()
	require.NoError(t, err)
	require.Equal(t, "Ada", string(value))
	require.Equal(t, put.OpID, item.Siblings[0].Op)
	require.Equal(t, "1.7:1", item.Siblings[0].Dot.String())
	require.Positive(t, item.Siblings[0].Value.Expires)
	require.Len(t, item.Answered, 1)

	// Without context: a sibling. With that of both: an update.
	other, err := c.Put(ctx, key, []byte("Grace"), PutOptions{})
	require.NoError(t, err)
	require.Equal(t, 2, other.Siblings)
	item, err = c.Get(ctx, key, GetOptions{})
	require.NoError(t, err)
	_, err = item.Value()
	require.ErrorIs(t, err, ErrSiblings)
	value, err = item.Resolve(distrib.LastWriteWins)
	require.NoError(t, err)
	require.Equal(t, "Grace", string(value))
	put, err = c.Put(ctx, key, value, PutOptions{Context: item.Context})
	require.NoError(t, err)
	require.Equal(t, 1, put.Siblings)

	fate, places, err := c.Resolve(ctx, key, put.OpID, ResolveOptions{})
	require.NoError(t, err)
	require.Equal(t, Happened, fate)
	require.Len(t, places, 1)
	fate, _, err = c.Resolve(ctx, key, distrib.OpID{1}, ResolveOptions{})
	require.NoError(t, err)
	require.Equal(t, NotSeen, fate)

	item, err = c.Get(ctx, key, GetOptions{})
	require.NoError(t, err)
	require.Equal(t, "{1.7:2}", item.Siblings[0].Past.Clock.String(), "it has seen both")
	deleted, err := c.Delete(ctx, key, DeleteOptions{Context: item.Context})
	require.NoError(t, err)
	require.Zero(t, deleted.Siblings)
	item, err = c.Get(ctx, key, GetOptions{})
	require.NoError(t, err)
	require.False(t, item.Found())
	require.NotEmpty(t, item.Context)
}

// TestConditions: how the nodes behave that are asked first, second and third, and what comes of a linearizable write that is done
// where what is there is as expected. A try that says that it is not the first speaks for those before it.
func TestConditions(t *testing.T) {
	for _, c := range []struct {
		name  string
		nodes [3]string
		want  string // of a put or, where nodes swap, of a swap
		asked [3]int
	}{
		{"a mismatch: no other is asked", [3]string{"mismatch", "ok", "ok"}, "FAILED MISMATCH", [3]int{1, 0, 0}},
		{"broken, then a mismatch: the first is not done either", [3]string{"break", "mismatch", "ok"}, "FAILED MISMATCH", [3]int{1, 1, 0}},
		{"silent, then a mismatch", [3]string{"hang", "mismatch", "ok"}, "FAILED MISMATCH", [3]int{1, 1, 0}},
		{"a mismatch of the first, when others may have done it", [3]string{"600ms|mismatch", "hang", "hang"}, "UNKNOWN TIMEOUT", [3]int{1, 1, 1}},
		{"cancelled: for all tries", [3]string{"unknown", "cancelled", "ok"}, "FAILED NOT_HAPPENED", [3]int{1, 1, 0}},
		{"overtaken: no other knows", [3]string{"unknown", "overtaken", "ok"}, "UNKNOWN OVERTAKEN", [3]int{1, 1, 0}},
		{"swapped", [3]string{"swapped", "lost", "lost"}, "swapped", [3]int{1, 0, 0}},
		{"not swapped", [3]string{"lost", "swapped", "swapped"}, "what is there is not as expected", [3]int{1, 0, 0}},
		{"broken, then not swapped", [3]string{"break", "lost", "swapped"}, "what is there is not as expected", [3]int{1, 1, 0}},
		{"broken, then swapped", [3]string{"break", "swapped", "lost"}, "swapped", [3]int{1, 1, 0}},
		{"not swapped by the first, when others may have", [3]string{"600ms|lost", "hang", "hang"}, "UNKNOWN TIMEOUT", [3]int{1, 1, 1}},
		{"and another says", [3]string{"300ms|lost", "hang", "600ms|swapped"}, "swapped", [3]int{1, 1, 1}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			f := newFakeCluster(t, 3)
			cl := f.open(t, Options{Timeout: time.Second})
			key := []byte("k")
			order := f.order(cl, key)
			swaps := false
			for i, words := range c.nodes {
				order[i].behave(words)
				swaps = swaps || strings.Contains(words, "swapped") || strings.Contains(words, "lost")
			}
			got := "ok"
			var err error
			if swaps {
				var s *Swap
				if s, err = cl.CompareAndSwap(ctx, key, Expected{Value: []byte("v")}, []byte("w"), SwapOptions{}); err == nil {
					if got = "swapped"; !s.Swapped {
						got = s.Mismatch.Error()
					}
					require.True(t, s.Current.Linearizable)
				}
			} else {
				_, err = cl.Put(ctx, key, []byte("v"), PutOptions{Level: Level{Consistency: Linearizable}})
			}
			if e := (*Error)(nil); errors.As(err, &e) {
				got = e.Outcome.String() + " " + e.Reason
				require.NotEmpty(t, e.OpID)
				require.True(t, e.Linearizable)
			}
			require.Equal(t, c.want, got, "%v", err)
			for i, n := range order {
				require.Len(t, n.asked(), c.asked[i], "node %d: %v", i, err)
			}
			for i, retried := range f.tries {
				require.Equal(t, i > 0, retried, "try %d", i)
			}
		})
	}
}

// TestDecided: what the register has said of expiry holds, not the clock here.
func TestDecided(t *testing.T) {
	expired := []distrib.Sibling{{Value: distrib.Value{Data: []byte("v"), Expires: 1}}}
	require.False(t, (&Item{Siblings: expired}).Found())
	require.True(t, (&Item{Siblings: expired, decided: true}).Found())
	f := newFakeCluster(t, 1)
	c := f.open(t, Options{})
	f.store["k"] = distrib.Record{expired[0]}
	for level, want := range map[Consistency]bool{Quorum: false, Linearizable: true} {
		item, err := c.Get(ctx, []byte("k"), GetOptions{Level: Level{Consistency: level}})
		require.NoError(t, err)
		require.Equal(t, want, item.Found())
	}
}

// What a node does not serve says so.
func TestCompareAndSwap(t *testing.T) {
	f := newFakeCluster(t, 1)
	f.nodes[0].behave("unimplemented")
	_, err := f.open(t, Options{}).CompareAndSwap(ctx, []byte("k"), Expected{Value: []byte{}}, []byte("v"), SwapOptions{})
	require.ErrorIs(t, err, ErrUnimplemented)
}

func TestInvalid(t *testing.T) {
	f := newFakeCluster(t, 1)
	c := f.open(t, Options{})
	long := make([]byte, distrib.MaxKeyBytes+1)
	for name, do := range map[string]func() error{
		"an empty key": func() error { _, err := c.Get(ctx, nil, GetOptions{}); return err },
		"a long key":   func() error { _, err := c.Put(ctx, long, nil, PutOptions{}); return err },
		"a large value": func() error {
			_, err := c.Put(ctx, []byte("k"), make([]byte, distrib.MaxValueBytes+1), PutOptions{})
			return err
		},
		"a negative W":   func() error { _, err := c.Delete(ctx, []byte("k"), DeleteOptions{Level: Level{Nodes: -1}}); return err },
		"a consistency":  func() error { _, err := c.Get(ctx, []byte("k"), GetOptions{Level: Level{Consistency: 9}}); return err },
		"a negative TTL": func() error { _, err := c.Put(ctx, []byte("k"), nil, PutOptions{TTL: -1}); return err },
		"no name":        func() error { _, _, err := c.Resolve(ctx, []byte("k"), distrib.OpID{}, ResolveOptions{}); return err },
		"nodes beside linearizable": func() error {
			_, err := c.Get(ctx, []byte("k"), GetOptions{Level: Level{Consistency: Linearizable, Nodes: 2}})
			return err
		},
		"a TTL of a delete": func() error {
			_, err := c.DeleteIf(ctx, []byte("k"), Expected{Absent: true}, SwapOptions{TTL: time.Second})
			return err
		},
		"a negative TTL of a swap": func() error {
			_, err := c.PutIfAbsent(ctx, []byte("k"), nil, SwapOptions{TTL: -1})
			return err
		},
		"a swap of nothing": func() error {
			_, err := c.CompareAndSwap(ctx, nil, Expected{Absent: true}, nil, SwapOptions{})
			return err
		},
	} {
		err := do()
		require.ErrorIs(t, err, ErrInvalid, name)
		var e *Error
		require.ErrorAs(t, err, &e)
		require.Equal(t, Failed, e.Outcome, name)
	}
	require.Empty(t, f.nodes[0].asked())
}

func TestOpen(t *testing.T) {
	_, err := Open(ctx, Options{})
	require.ErrorContains(t, err, "no endpoints")
	_, err = Open(ctx, Options{Endpoints: []string{"x:1"}, Timeout: -1})
	require.ErrorContains(t, err, "timeout -1ns")

	closed, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	require.NoError(t, closed.Close())
	silent, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer silent.Close()
	_, err = Open(ctx, Options{Endpoints: []string{closed.Addr().String(), silent.Addr().String()}, Timeout: 200 * time.Millisecond})
	require.ErrorContains(t, err, closed.Addr().String()+": ")
	require.ErrorContains(t, err, "connection refused")
	require.ErrorContains(t, err, silent.Addr().String()+": ")

	// One that answers is enough.
	f := newFakeCluster(t, 3)
	c, err := Open(ctx, Options{Endpoints: []string{closed.Addr().String(), f.nodes[1].addr}})
	require.NoError(t, err)
	defer c.Close()
	for i := range 20 {
		_, err = c.Put(ctx, fmt.Appendf(nil, "k%d", i), nil, PutOptions{})
		require.NoError(t, err)
	}
	for _, n := range f.nodes {
		require.NotEmpty(t, n.asked(), "%s: keys are spread", n.name)
	}
}

// Where nodes do not tell the ring, all endpoints are asked in turn.
func TestNoRing(t *testing.T) {
	f := newFakeCluster(t, 3)
	f.ring = nil
	c := f.open(t, Options{})
	for i := range 9 {
		_, err := c.Put(ctx, fmt.Appendf(nil, "k%d", i), nil, PutOptions{})
		require.NoError(t, err)
	}
	for _, n := range f.nodes {
		require.Len(t, n.asked(), 3)
	}
}

// A client learns of a new member, and of one that has gone.
func TestRingChanges(t *testing.T) {
	f := newFakeCluster(t, 3)
	c := f.open(t, Options{})
	joined := f.add("n4", "127.0.0.1:0")
	f.mu.Lock()
	f.ring.Epoch++
	f.mu.Unlock()
	require.Eventually(t, func() bool {
		for i := range 20 {
			_, err := c.Put(ctx, fmt.Appendf(nil, "k%d", i), nil, PutOptions{})
			require.NoError(t, err)
		}
		return len(joined.asked()) > 0
	}, 10*time.Second, 50*time.Millisecond)

	gone := f.nodes[0]
	f.mu.Lock()
	f.ring.Epoch++
	f.ring.Members = f.ring.Members[1:]
	f.mu.Unlock()
	require.Eventually(t, func() bool { return c.view.Load().epoch == 3 }, 10*time.Second, 10*time.Millisecond)
	before := len(gone.asked())
	for i := range 20 {
		_, err := c.Put(ctx, fmt.Appendf(nil, "k%d", i), nil, PutOptions{})
		require.NoError(t, err)
	}
	require.Len(t, gone.asked(), before)
}

// Writers go on while a node dies, comes back, is silent and wakes up: none of their operations fails.
func TestNodesComeAndGo(t *testing.T) {
	f := newFakeCluster(t, 3)
	c := f.open(t, Options{})
	var stop atomic.Bool
	var done atomic.Int64
	var writers sync.WaitGroup
	failures := make(chan error, 1000)
	for w := range 16 {
		writers.Go(func() {
			for i := 0; !stop.Load(); i++ {
				if _, err := c.Put(ctx, fmt.Appendf(nil, "w%d-%d", w, i%50), []byte("v"), PutOptions{}); err != nil {
					failures <- err
					return
				}
				done.Add(1)
			}
		})
	}
	more := func() { // so many operations are done
		from := done.Load()
		require.Eventually(t, func() bool { return done.Load() > from+500 || len(failures) > 0 }, 20*time.Second, time.Millisecond)
	}
	n := f.nodes[1]
	more()
	n.kill()
	more()
	n.start(n.addr)
	require.Eventually(t, func() bool { before := len(n.asked()); more(); return len(n.asked()) > before+50 }, 20*time.Second, time.Millisecond)
	n.behave("hang")
	more()
	n.behave("ok")
	require.Eventually(t, func() bool { before := len(n.asked()); more(); return len(n.asked()) > before+50 }, 20*time.Second, time.Millisecond)
	f.nodes[2].breakStreams()
	more()
	stop.Store(true)
	writers.Wait()
	close(failures)
	for err := range failures {
		require.NoError(t, err)
	}
}

// A node that hangs is asked by one operation, then by probes only, until it answers one.
func TestSuspect(t *testing.T) {
	f := newFakeCluster(t, 3)
	c := f.open(t, Options{})
	key := []byte("k")
	order := f.order(c, key)
	order[0].behave("hang")
	for range 100 {
		_, err := c.Put(ctx, key, nil, PutOptions{})
		require.NoError(t, err)
	}
	puts := 0
	for _, what := range order[0].asked() {
		if strings.HasPrefix(what, "put") {
			puts++
		}
	}
	require.Equal(t, 1, puts)
	require.Equal(t, int32(1), c.suspects.Load())
	order[0].breakStreams() // the probe that it did not answer is gone
	order[0].behave("ok")
	require.Eventually(t, func() bool {
		put, err := c.Put(ctx, key, nil, PutOptions{})
		require.NoError(t, err)
		return put.Acknowledged[0].Node == order[0].name
	}, 10*time.Second, time.Millisecond)
	require.Zero(t, c.suspects.Load())
}

// A context that ends ends the operation; what is known depends on whether it was sent.
func TestContextEnds(t *testing.T) {
	f := newFakeCluster(t, 3)
	c := f.open(t, Options{})
	cancelled, cancel := context.WithCancel(ctx)
	cancel()
	_, err := c.Put(cancelled, []byte("k"), nil, PutOptions{})
	var e *Error
	require.ErrorAs(t, err, &e)
	require.Equal(t, Failed, e.Outcome)
	require.ErrorIs(t, err, context.Canceled)

	for _, n := range f.nodes {
		n.behave("hang")
	}
	cancelled, cancel = context.WithCancel(ctx)
	go func() {
		for len(f.order(c, []byte("k"))[0].asked()) == 0 {
			time.Sleep(time.Millisecond)
		}
		cancel()
	}()
	_, err = c.Put(cancelled, []byte("k"), nil, PutOptions{})
	require.ErrorAs(t, err, &e)
	require.Equal(t, Unknown, e.Outcome)
	require.ErrorIs(t, err, context.Canceled)
	require.Contains(t, e.Try, fmt.Sprintf("%x", e.OpID[:]))

	// So does Close.
	ended := make(chan error)
	go func() {
		_, err := c.Put(ctx, []byte("k"), nil, PutOptions{})
		ended <- err
	}()
	for len(f.order(c, []byte("k"))[0].asked()) < 2 && len(f.order(c, []byte("k"))[1].asked()) < 1 {
		time.Sleep(time.Millisecond)
	}
	c.Close()
	require.ErrorAs(t, <-ended, &e)
	require.Equal(t, Unknown, e.Outcome)
}

// Values as large as may be go through.
func TestLargeValues(t *testing.T) {
	f := newFakeCluster(t, 3)
	c := f.open(t, Options{Timeout: time.Minute})
	value := make([]byte, distrib.MaxValueBytes)
	for i := range value {
		value[i] = byte(i * 7)
	}
	for _, size := range []int{0, 1, aloneBytes - 100, aloneBytes, aloneBytes + 1, len(value)} {
		key := fmt.Appendf(nil, "k%d", size)
		_, err := c.Put(ctx, key, value[:size], PutOptions{})
		require.NoError(t, err)
		item, err := c.Get(ctx, key, GetOptions{})
		require.NoError(t, err)
		got, err := item.Value()
		require.NoError(t, err)
		require.True(t, string(value[:size]) == string(got), "%d bytes", size)
	}
}

// A node that says nothing at all is given up long before the patience with slow answers ends: at the cost of the budget,
// which a node whose patience has ended does not take from.
func TestSilence(t *testing.T) {
	f := newFakeCluster(t, 3)
	c := f.open(t, Options{})
	key := []byte("k")
	order := f.order(c, key)
	_, err := c.Put(ctx, key, nil, PutOptions{})
	require.NoError(t, err)
	n := c.view.Load().nodes[c.Ring().Replicas(ring.TokenOf(key))[0]]
	for range 2 * patienceWindow {
		n.patience.record(time.Second)
		n.quiet.record(time.Millisecond)
	}
	order[0].behave("hang")
	put, err := c.Put(ctx, key, nil, PutOptions{})
	require.NoError(t, err)
	require.Equal(t, order[1].name, put.Acknowledged[0].Node)
	require.Equal(t, int64(budgetMost-1000), c.budget.millis.Load())
	require.True(t, n.suspect.Load())
}
