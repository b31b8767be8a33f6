package replica

import (
	"bytes"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"

	"github.com/cambiumdb/cambium/distrib"
	"github.com/cambiumdb/cambium/distrib/register"
	"github.com/cambiumdb/cambium/distrib/ring"
	"github.com/cambiumdb/cambium/distrib/storetest"
	"github.com/cambiumdb/cambium/distrib/vclock"
)

func ballot(epoch, time uint64) register.Ballot {
	return register.Ballot{Epoch: epoch, Time: distrib.Timestamp(time), Node: 9, Run: 1}
}

// take is a step that must be carried out.
func take(t *testing.T, r *Replica, key string, q register.Request) *register.Reply {
	t.Helper()
	reply, err := r.Step([]byte(key), 1, 0, &q)
	require.NoError(t, err)
	require.True(t, reply.OK)
	return reply
}

// learn has a register learn that the value of a ballot is decided.
func learn(t *testing.T, r *Replica, key string, at register.Ballot) {
	t.Helper()
	behind, err := r.Learn([]register.Decision{{Key: []byte(key), Ballot: at}})
	require.NoError(t, err)
	require.Empty(t, behind)
}

// decide has a register take a value of some bytes at a ballot, and learn that it is decided.
func decide(t *testing.T, r *Replica, key string, at register.Ballot, value []byte) {
	t.Helper()
	v, _, _ := register.Apply(register.Promote(at, take(t, r, key, register.Request{Kind: register.Prepare, Ballot: at}).Data), at.Time, []register.Operation{
		{ID: distrib.OpID{7}, Kind: register.Put, Value: distrib.Value{Data: value}},
	})
	take(t, r, key, register.Request{Kind: register.Accept, Ballot: at, Next: at.Next(), Value: v})
	learn(t, r, key, at)
}

// TestStepIsDurable: what a step tells is there behind a crash, and refuses what is older.
func TestStepIsDurable(t *testing.T) {
	s := storetest.NewMem()
	r := start(t, s, 1)
	crash := func() {
		s = s.Crash(0)
		r = start(t, s, 1)
	}
	take(t, r, "k", register.Request{Kind: register.Prepare, Ballot: ballot(1, 5)})
	crash()
	reply, err := r.Step([]byte("k"), 1, 0, &register.Request{Kind: register.Prepare, Ballot: ballot(1, 4)})
	require.NoError(t, err)
	require.False(t, reply.OK)
	require.Equal(t, ballot(1, 5), reply.Promised)

	decide(t, r, "k", ballot(1, 6), []byte("v"))
	require.Equal(t, []string{"v"}, texts(t, r, "k"))
	crash()
	require.Empty(t, texts(t, r, "k"), "what is learned need not be durable, since the register is")
	reply = take(t, r, "k", register.Request{Kind: register.Ask, Ballot: ballot(1, 7), Decided: ballot(1, 6)})
	require.Equal(t, ballot(1, 6), reply.Accepted)
	require.Equal(t, "v", string(reply.Value.Record[0].Value.Data))
	require.Equal(t, []string{"v"}, texts(t, r, "k"), "learned with the question")
	crash()
	take(t, r, "k", register.Request{Kind: register.Prepare, Ballot: ballot(1, 8), Decided: ballot(1, 6)})
	crash()
	require.Equal(t, []string{"v"}, texts(t, r, "k"), "learned together with a promise, which is durable")

	reply, err = r.Step([]byte("k"), 2, 0, &register.Request{Kind: register.Prepare, Ballot: ballot(1, 9)})
	require.NoError(t, err)
	require.False(t, reply.OK, "of an epoch behind the fence")
	require.EqualValues(t, 2, reply.Fence)
}

// TestEventualWritesOfALinearizableKey are refused by who knows that it is, unless they were stored before; those of
// others come as strays.
func TestEventualWritesOfALinearizableKey(t *testing.T) {
	r, other := start(t, storetest.NewMem(), 1), start(t, storetest.NewMem(), 2)
	key, large := []byte("k"), bytes.Repeat([]byte("x"), distrib.InlineBytes+1)
	before := Put{Op: distrib.OpID{1}, Value: distrib.Value{Data: large}}
	_, err := r.Put(key, before)
	require.NoError(t, err)
	held, err := r.Hold(key)
	require.NoError(t, err)
	require.False(t, held.Linearizable)

	reply := take(t, r, "k", register.Request{Kind: register.Prepare, Ballot: ballot(1, 1)})
	require.Equal(t, large, reply.Data[0].Value.Data, "it is sent with its bytes")
	decide(t, r, "k", ballot(1, 2), []byte("v"))
	held, err = r.Hold(key)
	require.NoError(t, err)
	require.True(t, held.Linearizable)
	require.Equal(t, []string{"v"}, texts(t, r, "k"), "without context a put of a register replaces all")
	_, linearizable, err := r.Digest(key)
	require.NoError(t, err)
	require.True(t, linearizable)

	again, err := r.Put(key, before)
	require.NoError(t, err)
	require.True(t, again.Repeated)
	_, err = r.Put(key, Put{Op: distrib.OpID{2}, Value: data("w")})
	require.ErrorIs(t, err, distrib.ErrLinearizable)

	w, err := other.Put(key, Put{Op: distrib.OpID{3}, Value: distrib.Value{Data: large}})
	require.NoError(t, err)
	_, err = r.Merge(key, distrib.Record{w.Sibling}, distrib.SyncNow)
	require.NoError(t, err, "what another replica took is not refused")
	reply = take(t, r, "k", register.Request{Kind: register.Ask, Ballot: ballot(1, 4), Digest: true})
	require.Len(t, reply.Data, 1)
	require.Equal(t, w.Sibling.Dot, reply.Data[0].Dot)
	require.Equal(t, large, reply.Data[0].Value.Data)
	held, err = r.Hold(key)
	require.NoError(t, err)
	require.True(t, held.Linearizable, "a merge does not forget it")
}

// TestLearn: what is decided of many keys is stored at once, and it is said which of them were not accepted here.
func TestLearn(t *testing.T) {
	mem := storetest.NewMem()
	s := &watched{Store: mem}
	r := start(t, mem, 1)
	r.opts.Store = s
	var list []register.Decision
	for i := range 600 {
		key, at := fmt.Appendf(nil, "k%d", i), ballot(1, uint64(i+1))
		v, _, _ := register.Apply(register.Promote(at), at.Time, []register.Operation{{ID: distrib.OpID{7}, Kind: register.Put, Value: data("v")}})
		if i == 5 {
			at = ballot(1, 1000) // of another value
		}
		take(t, r, string(key), register.Request{Kind: register.Accept, Ballot: ballot(1, uint64(i+1)), Value: v})
		list = append(list, register.Decision{Key: key, Ballot: at})
	}
	list = append(list, register.Decision{Key: []byte("unheard"), Ballot: ballot(1, 1)})
	for again := range 2 { // the second time there is nothing to do
		s.applies = 0
		behind, err := r.Learn(list)
		require.NoError(t, err)
		require.Equal(t, []int{5, 600}, behind)
		require.Equal(t, 1-again, s.applies)
		for i, d := range list {
			want := []string{"v"}
			if slices.Contains(behind, i) {
				want = nil
			}
			require.Equal(t, want, texts(t, r, string(d.Key)))
		}
	}
	s.gets = 0
	take(t, r, "k7", register.Request{Kind: register.Ask, Ballot: ballot(1, 2000)})
	require.Zero(t, s.gets, "it is known still")
}

// slow is a store whose synced changes wait.
type slow struct {
	distrib.Store
	entered, leave chan struct{}
}

func (s *slow) Apply(ops []distrib.Op, sync distrib.Sync) error {
	if sync == distrib.SyncNow {
		s.entered <- struct{}{}
		<-s.leave
	}
	return s.Store.Apply(ops, sync)
}

// TestLearnWaitsWithNothingInHand: a key whose change takes long holds up no other of those that are decided with it, nor who
// changes them.
func TestLearnWaitsWithNothingInHand(t *testing.T) {
	mem := storetest.NewMem()
	r := start(t, mem, 1)
	var list []register.Decision
	has := map[uint64]bool{}
	for i := 0; len(list) < 3; i++ { // of three locks
		key := fmt.Sprint("k", i)
		if stripe := r.hash([]byte(key)) % stripes; !has[stripe] {
			has[stripe] = true
			at := ballot(1, 1)
			v, _, _ := register.Apply(register.Promote(at), at.Time, []register.Operation{{ID: distrib.OpID{7}, Kind: register.Put, Value: data("v")}})
			take(t, r, key, register.Request{Kind: register.Accept, Ballot: at, Value: v})
			list = append(list, register.Decision{Key: []byte(key), Ballot: at})
		}
	}
	s := &slow{mem, make(chan struct{}, 2), make(chan struct{})}
	r.opts.Store = s
	var all errgroup.Group
	all.Go(func() error {
		_, err := r.Step(list[1].Key, 1, 0, &register.Request{Kind: register.Prepare, Ballot: ballot(1, 5)})
		return err
	})
	<-s.entered
	all.Go(func() error { _, err := r.Learn(list); return err })
	for _, d := range []register.Decision{list[0], list[2]} {
		require.Eventually(t, func() bool { return slices.Equal([]string{"v"}, texts(t, r, string(d.Key))) }, 10*time.Second, time.Millisecond)
		_, err := r.Merge(d.Key, distrib.Record{}, distrib.SyncLater)
		require.NoError(t, err, "its lock is free")
	}
	require.Empty(t, texts(t, r, string(list[1].Key)))
	close(s.leave)
	require.NoError(t, all.Wait())
	require.Equal(t, []string{"v"}, texts(t, r, string(list[1].Key)))
}

// TestLearnBeside: decisions of many keys, steps of these keys and a range that is forgotten do not wait for each other for ever.
func TestLearnBeside(t *testing.T) {
	r := start(t, storetest.NewMem(), 1)
	var list []register.Decision
	for i := range 300 {
		list = append(list, register.Decision{Key: fmt.Appendf(nil, "k%d", i), Ballot: ballot(1, 1)})
	}
	var all errgroup.Group
	for g := range 4 {
		rng := rand.New(rand.NewPCG(1, uint64(g)))
		all.Go(func() error {
			for range 50 {
				mine := slices.Clone(list)
				rng.Shuffle(len(mine), func(i, j int) { mine[i], mine[j] = mine[j], mine[i] })
				if _, err := r.Learn(mine); err != nil {
					return err
				}
				d := mine[0]
				if _, err := r.Step(d.Key, 1, 0, &register.Request{Kind: register.Accept, Ballot: d.Ballot, Value: register.Promote(d.Ballot)}); err != nil {
					return err
				}
				if err := r.Forget(rng.Uint64(), math.MaxUint64); err != nil {
					return err
				}
			}
			return nil
		})
	}
	require.NoError(t, all.Wait())
}

// TestAdopt: a node that has lost its store tells nothing of a register before it has copied it, and holds it then as the other does.
func TestAdopt(t *testing.T) {
	a, b := start(t, storetest.NewMem(), 1), start(t, storetest.NewMem(), 2)
	want := map[string]bool{}
	for i := range 50 {
		key := fmt.Sprintf("k%d", i)
		decide(t, a, key, ballot(1, 5), []byte(key))
		want[key] = true
	}
	take(t, a, "promised", register.Request{Kind: register.Prepare, Ballot: ballot(1, 5)})
	const since = 3
	step := func(key string, q register.Request) error {
		_, err := b.Step([]byte(key), 1, since, &q)
		return err
	}
	require.ErrorIs(t, step("k0", register.Request{Kind: register.Prepare, Ballot: ballot(since, 1)}), ErrRegister)
	require.ErrorIs(t, step("k0", register.Request{Kind: register.Ask, Ballot: ballot(since, 1)}), ErrRegister)
	require.ErrorIs(t, ErrRegister, distrib.ErrRefused)
	reply, err := b.Step([]byte("k0"), 1, since, &register.Request{Kind: register.Accept, Ballot: ballot(1, 9)})
	require.NoError(t, err)
	require.False(t, reply.OK, "a ballot of before the loss")
	require.NoError(t, step("k1", register.Request{Kind: register.Accept, Ballot: ballot(since, 9), Value: register.Promote(ballot(since, 9), distrib.Record{{
		Dot: vclock.Dot{Actor: vclock.Actor{Node: 1}, Counter: 1}, Value: data("newer"),
	}})}))
	require.NoError(t, step("k1", register.Request{Kind: register.Ask, Ballot: ballot(since, 10)}), "it tells what it has taken since")

	q, pages := &distrib.KeysRequest{Last: 1<<64 - 1, Limit: 7, Bytes: 1 << 30, Registers: true}, 0
	got := map[string]bool{}
	for {
		list, err := a.Keys(q)
		require.NoError(t, err)
		pages++
		for _, k := range list {
			got[string(k.Key)] = true
			changed, err := b.Adopt(k.Key, k.Register)
			require.NoError(t, err)
			require.Equal(t, string(k.Key) != "k1", changed)
			changed, err = b.Adopt(k.Key, k.Register)
			require.NoError(t, err)
			require.False(t, changed, "again")
		}
		if !q.Full(len(list), 0) {
			break
		}
		q.First = ring.TokenOf(list[len(list)-1].Key).Hi + 1
	}
	require.Equal(t, want, got)
	require.Greater(t, pages, 5)
	for key := range want {
		reply := take(t, b, key, register.Request{Kind: register.Ask, Ballot: ballot(since, 11)})
		if key == "k1" {
			require.Equal(t, ballot(since, 9), reply.Accepted)
			continue
		}
		require.Equal(t, ballot(1, 5), reply.Accepted)
		require.Equal(t, key, string(reply.Value.Record[0].Value.Data))
	}
	_, err = b.Adopt([]byte("k"), []byte{9})
	require.ErrorContains(t, err, `take over the register of "k"`)
}

// TestForgetRegisters: they go with the records of their range.
func TestForgetRegisters(t *testing.T) {
	s := storetest.NewMem()
	r := start(t, s, 1)
	decide(t, r, "k", ballot(1, 5), []byte("v"))
	require.Equal(t, 2, entries(t, s), "a record and a register")
	token := ring.TokenOf([]byte("k")).Hi
	require.NoError(t, r.Forget(token+1, 1<<64-1))
	require.Equal(t, 2, entries(t, s))
	require.NoError(t, r.Forget(token, token))
	require.Zero(t, entries(t, s))
}
