package antientropy

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"

	"github.com/cambiumdb/cambium/distrib"
	"github.com/cambiumdb/cambium/distrib/replica"
	"github.com/cambiumdb/cambium/distrib/ring"
	"github.com/cambiumdb/cambium/distrib/storetest"
	"github.com/cambiumdb/cambium/distrib/vclock"
)

// nodes are replicas in one process, by number from 1 on, and the transport between them.
type nodes []*replica.Replica

func newNodes(t *testing.T, n int) nodes {
	var ns nodes
	for i := range n {
		s := storetest.NewMem()
		births, err := replica.NextRun(s, 0)
		require.NoError(t, err)
		ns = append(ns, replica.New(replica.Options{Store: s, Prefix: distrib.DataPrefix(), Node: uint64(i + 1), Births: births}))
	}
	return ns
}

func (ns nodes) ids() (ids []uint64) {
	for i := range ns {
		ids = append(ids, uint64(i+1))
	}
	return ids
}

func (ns nodes) Put(_ context.Context, to uint64, r *distrib.PutRequest) (*distrib.PutReply, error) {
	w, err := ns[to-1].Put(r.Key, replica.Put{Past: r.Past, Value: r.Value})
	return &distrib.PutReply{Sibling: w.Sibling, Siblings: w.Siblings}, err
}

func (ns nodes) Merge(_ context.Context, to uint64, r *distrib.MergeRequest) error {
	_, err := ns[to-1].Merge(r.Key, r.Record, r.Sync)
	return err
}

func (ns nodes) Read(_ context.Context, to uint64, r *distrib.ReadRequest) (*distrib.ReadReply, error) {
	if !r.Partial { // as a node that is being refilled
		return nil, distrib.ErrRefused
	}
	record, err := ns[to-1].Read(r.Key)
	return &distrib.ReadReply{Record: record}, err
}

func (ns nodes) Parts(_ context.Context, to uint64, r *distrib.PartsRequest) ([]distrib.Part, error) {
	return ns[to-1].Parts(r)
}

func (ns nodes) Keys(_ context.Context, to uint64, r *distrib.KeysRequest) ([]distrib.KeyDots, error) {
	return ns[to-1].Keys(r)
}

const whole uint64 = 1<<64 - 1

func value(i int) distrib.Value { return distrib.Value{Data: fmt.Append(nil, i)} }

// requireSame checks that all nodes hold the same, by reading everything.
func requireSame(t *testing.T, ns nodes) {
	t.Helper()
	var first []distrib.KeyDots
	for i, n := range ns {
		list, err := n.Keys(&distrib.KeysRequest{Last: whole, Limit: 1 << 30})
		require.NoError(t, err)
		if i == 0 {
			first = list
		}
		require.Equal(t, first, list, "node %d", i+1)
	}
}

// TestExchange: three nodes with many keys of which few differ come to hold the same, and little more than what
// differs is listed.
func TestExchange(t *testing.T) {
	ns := newNodes(t, 3)
	rng := rand.New(rand.NewPCG(1, 1))
	const keys, differ = 10_000, 30
	for i := range keys {
		w, err := ns[0].Put(fmt.Appendf(nil, "k%d", i), replica.Put{Value: value(i)})
		require.NoError(t, err)
		for _, n := range ns[1:] {
			_, err := n.Merge(fmt.Appendf(nil, "k%d", i), distrib.Record{w.Sibling}, distrib.SyncLater)
			require.NoError(t, err)
		}
	}
	report, err := Exchange(t.Context(), ns, ns.ids(), 0, whole, Options{})
	require.NoError(t, err)
	require.Equal(t, Report{Compared: fanOut}, report, "nothing differs")

	for i := range differ {
		at, key := ns[rng.IntN(3)], fmt.Appendf(nil, "k%d", rng.IntN(keys+1000))
		p := replica.Put{Value: value(keys + i)}
		if i%2 == 0 {
			record, err := at.Read(key)
			require.NoError(t, err)
			p.Past = vclock.Context(record)
		}
		_, err := at.Put(key, p)
		require.NoError(t, err)
	}
	report, err = Exchange(t.Context(), ns, ns.ids(), 0, whole, Options{})
	require.NoError(t, err)
	require.Equal(t, 2*differ, report.Sent, "each to the two others")
	require.Less(t, report.Listed, differ*leafKeys)
	require.Less(t, report.Compared, fanOut*(1+differ))
	requireSame(t, ns)
	report, err = Exchange(t.Context(), ns, ns.ids(), 0, whole, Options{})
	require.NoError(t, err)
	require.Zero(t, report.Sent+report.Listed)
}

// TestExchangeEmptyNode: a node that lost everything gets it all back, siblings included; a range alone is
// mended alone.
func TestExchangeEmptyNode(t *testing.T) {
	ns := newNodes(t, 2)
	for i := range 3000 {
		_, err := ns[0].Put(fmt.Appendf(nil, "k%d", i/2), replica.Put{Value: value(i)})
		require.NoError(t, err)
	}
	const half = 1<<63 - 1
	report, err := Exchange(t.Context(), ns, ns.ids(), 0, half, Options{})
	require.NoError(t, err)
	for i := range 1500 {
		key := fmt.Appendf(nil, "k%d", i)
		record, err := ns[1].Read(key)
		require.NoError(t, err)
		if ring.TokenOf(key).Hi <= half {
			require.Len(t, record, 2)
		} else {
			require.Empty(t, record)
		}
	}
	again, err := Exchange(t.Context(), ns, ns.ids(), half+1, whole, Options{})
	require.NoError(t, err)
	require.Equal(t, 1500, report.Sent+again.Sent)
	requireSame(t, ns)
}

// failing is a transport of which one call fails.
type failing struct {
	nodes
	left atomic.Int32
}

func (f *failing) Merge(ctx context.Context, to uint64, r *distrib.MergeRequest) error {
	if f.left.Add(-1) == 0 {
		return errors.New("cut off")
	}
	return f.nodes.Merge(ctx, to, r)
}

func TestExchangeFails(t *testing.T) {
	ns := newNodes(t, 2)
	for i := range 10 {
		_, err := ns[0].Put(fmt.Appendf(nil, "k%d", i), replica.Put{Value: value(i)})
		require.NoError(t, err)
	}
	f := &failing{nodes: ns}
	f.left.Store(4)
	report, err := Exchange(t.Context(), f, ns.ids(), 0, whole, Options{})
	require.ErrorContains(t, err, "node 2: cut off")
	got, err := ns[1].Keys(&distrib.KeysRequest{Last: whole, Limit: 100})
	require.NoError(t, err)
	require.Len(t, got, report.Sent, "what was sent stands")
	require.Less(t, report.Sent, 10)
	_, err = Exchange(t.Context(), ns, ns.ids(), 0, whole, Options{})
	require.NoError(t, err)
	requireSame(t, ns)
}

// reads counts who is asked for records.
type reads struct {
	nodes
	of [4]atomic.Int32
}

func (r *reads) Read(ctx context.Context, to uint64, q *distrib.ReadRequest) (*distrib.ReadReply, error) {
	r.of[to].Add(1)
	return r.nodes.Read(ctx, to, q)
}

// TestExchangeMeasured: a node that lacks all is given as many bytes as a range holds, each record is read from one
// node, and the pace is asked before each is sent.
func TestExchangeMeasured(t *testing.T) {
	ns := newNodes(t, 3)
	for i := range 500 {
		w, err := ns[0].Put(fmt.Appendf(nil, "k%d", i), replica.Put{Value: distrib.Value{Data: make([]byte, i*20)}})
		require.NoError(t, err)
		_, err = ns[1].Merge(fmt.Appendf(nil, "k%d", i), distrib.Record{w.Sibling}, distrib.SyncLater)
		require.NoError(t, err)
	}
	parts, err := ns[0].Parts(&distrib.PartsRequest{Last: whole, Parts: 1})
	require.NoError(t, err)
	require.Greater(t, parts[0].Bytes, int64(500*499*10))
	var paced, sent atomic.Int64
	r := &reads{nodes: ns}
	report, err := Exchange(t.Context(), r, []uint64{3, 1, 2}, 0, whole, Options{
		Pace: func(_ context.Context, bytes int) error { paced.Add(int64(bytes)); return nil },
		Sent: func(node uint64, bytes int) {
			require.Equal(t, uint64(3), node)
			sent.Add(int64(bytes))
		},
	})
	require.NoError(t, err)
	require.Equal(t, 500, report.Sent)
	require.Equal(t, parts[0].Bytes, report.Bytes)
	require.Equal(t, report.Bytes, paced.Load())
	require.Equal(t, report.Bytes, sent.Load())
	require.Equal(t, [3]int32{500, 0, 0}, [3]int32{r.of[1].Load(), r.of[2].Load(), r.of[3].Load()})
	requireSame(t, ns)

	_, err = ns[0].Put([]byte("k1"), replica.Put{Value: value(1)})
	require.NoError(t, err)
	stop := errors.New("not now")
	_, err = Exchange(t.Context(), ns, ns.ids(), 0, whole, Options{Pace: func(context.Context, int) error { return stop }})
	require.ErrorIs(t, err, stop)
}

func TestParts(t *testing.T) {
	n := newNodes(t, 1)[0]
	for _, c := range []distrib.PartsRequest{{First: 0, Last: whole, Parts: 64}, {First: 0, Last: whole, Parts: 1}, {First: 5, Last: 5, Parts: 10}, {First: 0, Last: 2, Parts: 64}, {First: whole - 3, Last: whole, Parts: 3}, {First: 100, Last: 1 << 40, Parts: 1000}} {
		parts, err := n.Parts(&c)
		require.NoError(t, err)
		next := c.First
		for _, p := range parts {
			require.Equal(t, next, p.First, "%+v", c)
			require.GreaterOrEqual(t, p.Last, p.First)
			next = p.Last + 1
		}
		require.Equal(t, c.Last+1, next)
		require.LessOrEqual(t, len(parts), c.Parts)
	}
	for _, bad := range []distrib.PartsRequest{{First: 2, Last: 1, Parts: 1}, {First: 0, Last: 1, Parts: 0}, {First: 0, Last: 1, Parts: distrib.MaxParts + 1}} {
		_, err := n.Parts(&bad)
		require.Error(t, err)
	}
}

func TestDirty(t *testing.T) {
	s := storetest.NewMem()
	d, err := OpenDirty(s)
	require.NoError(t, err)
	_, ok := d.Next(0)
	require.False(t, ok)
	for _, token := range []uint64{5, 7, 1 << 63, whole} {
		require.NoError(t, d.Mark(token))
	}
	require.Equal(t, 3, d.Count(), "5 and 7 are in one")
	d, err = OpenDirty(s)
	require.NoError(t, err)
	slot, ok := d.Next(0)
	require.True(t, ok)
	require.Equal(t, Slots{0, 1<<48 - 1}, slot)
	require.NoError(t, d.Clean(slot))
	slot, ok = d.Next(slot.Last + 1)
	require.True(t, ok)
	require.Equal(t, Slots{1 << 63, 1<<63 | 1<<48 - 1}, slot)
	slot, ok = d.Next(slot.Last + 1)
	require.True(t, ok)
	require.Equal(t, whole, slot.Last)
	require.NoError(t, d.MarkRange(Slots{3 << 48, 5 << 48}))
	slot, ok = d.Next(0)
	require.True(t, ok)
	require.Equal(t, Slots{3 << 48, SlotAt(5 << 48).Last}, slot, "three side by side")
	require.NoError(t, d.Clean(SlotAt(4<<48)))
	slot, _ = d.Next(0)
	require.Equal(t, SlotAt(3<<48), slot)
	require.NoError(t, d.MarkAll())
	d, err = OpenDirty(s)
	require.NoError(t, err)
	require.Equal(t, 1<<slotBits, d.Count())
	require.NoError(t, s.Apply([]distrib.Op{{Key: dirtyKey, Value: []byte("x")}}, distrib.SyncNow))
	_, err = OpenDirty(s)
	require.ErrorContains(t, err, "dirty slots")
}

// held is a store whose changes wait until they may go on, or fail.
type held struct {
	distrib.Store
	entered, leave chan struct{}
	wrong          error
}

func (s *held) Apply(ops []distrib.Op, sync distrib.Sync) error {
	s.entered <- struct{}{}
	<-s.leave
	if s.wrong != nil {
		return s.wrong
	}
	return s.Store.Apply(ops, sync)
}

// TestMarksShareASave: what is marked while the slots are stored is stored together behind it, and none is taken for stored before.
func TestMarksShareASave(t *testing.T) {
	const marks = 20
	mem := storetest.NewMem()
	s := &held{mem, make(chan struct{}, 2*marks), make(chan struct{}), nil}
	d, err := OpenDirty(s)
	require.NoError(t, err)
	var all errgroup.Group
	all.Go(func() error { return d.Mark(0) })
	<-s.entered
	for i := range uint64(marks) {
		for range 2 { // two of a slot
			all.Go(func() error { return d.Mark((i + 1) << 48) })
		}
	}
	require.Eventually(t, func() bool { return d.Count() == marks+1 }, 10*time.Second, time.Millisecond)
	s.leave <- struct{}{}
	<-s.entered
	stored, err := OpenDirty(mem)
	require.NoError(t, err)
	require.Equal(t, 1, stored.Count())
	close(s.leave)
	require.NoError(t, all.Wait())
	require.Empty(t, s.entered, "two saves for all")
	stored, err = OpenDirty(mem)
	require.NoError(t, err)
	require.Equal(t, marks+1, stored.Count())

	s.wrong = errors.New("the device is gone")
	require.ErrorIs(t, d.Mark(whole), s.wrong)
	require.ErrorIs(t, d.Mark(whole), s.wrong, "it is not stored, though it was marked before")
	s.wrong = nil
	require.NoError(t, d.Mark(whole))
	stored, err = OpenDirty(mem)
	require.NoError(t, err)
	require.Equal(t, marks+2, stored.Count())
}

// TestNext finds all runs of slots, beside a model that steps.
func TestNext(t *testing.T) {
	for seed := range uint64(40) {
		rng := rand.New(rand.NewPCG(seed, 3))
		d, err := OpenDirty(storetest.NewMem())
		require.NoError(t, err)
		dirty := map[uint32]bool{}
		for range rng.IntN(6) {
			first := uint32(rng.IntN(1 << slotBits))
			last := min(first+uint32(rng.IntN(1<<rng.IntN(17))), 1<<slotBits-1)
			remove := rng.IntN(3) == 0
			s := Slots{uint64(first) << (64 - slotBits), SlotAt(uint64(last) << (64 - slotBits)).Last}
			if remove {
				require.NoError(t, d.Clean(s))
			} else {
				require.NoError(t, d.MarkRange(s))
			}
			for i := first; i <= last; i++ {
				dirty[i] = !remove
			}
		}
		got := map[uint32]bool{}
		for next := uint64(0); ; {
			s, ok := d.Next(next)
			if !ok {
				break
			}
			require.False(t, s.First>>(64-slotBits) > 0 && dirty[slotOf(s.First)-1] && next < s.First, "a run begins at its begin")
			for i := slotOf(s.First); i <= slotOf(s.Last); i++ {
				got[i] = true
			}
			require.False(t, dirty[slotOf(s.Last)+1], "a run ends at its end")
			if next = s.Last + 1; next == 0 {
				break
			}
		}
		for i := range uint32(1 << slotBits) {
			if got[i] != dirty[i] {
				t.Fatalf("seed %d: slot %d: got %v want %v", seed, i, got[i], dirty[i])
			}
		}
	}
}
