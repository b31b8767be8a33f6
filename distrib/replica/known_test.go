package replica

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/cambiumdb/cambium/distrib"
	"github.com/cambiumdb/cambium/distrib/register"
	"github.com/cambiumdb/cambium/distrib/storetest"
)

// watched counts reads and changes of a store, and makes changes and says that they failed when it is told to.
type watched struct {
	distrib.Store
	gets    int
	applies int
	fails   error
}

func (w *watched) Get(key []byte) ([]byte, error) {
	w.gets++
	return w.Store.Get(key)
}

func (w *watched) Apply(ops []distrib.Op, sync distrib.Sync) error {
	w.applies++
	return errors.Join(w.Store.Apply(ops, sync), w.fails)
}

// TestKnown: what a replica keeps in memory of a register is what its store has, whoever changes that.
func TestKnown(t *testing.T) {
	mem := storetest.NewMem()
	s := &watched{Store: mem}
	r := start(t, mem, 1)
	r.opts.Store = s
	key := []byte("k")
	ask := func() *register.Reply {
		t.Helper()
		return take(t, r, "k", register.Request{Kind: register.Ask, Ballot: ballot(1, 100)})
	}
	text := func(reply *register.Reply) string { return string(reply.Value.Record[0].Value.Data) }

	value := []byte("v")
	decide(t, r, "k", ballot(1, 2), value)
	copy(value, "x") // it was lent
	s.gets = 0
	require.Equal(t, "v", text(ask()))
	require.Zero(t, s.gets, "a register that was just used is not read again")

	other := start(t, storetest.NewMem(), 2)
	w, err := other.Put(key, Put{Op: distrib.OpID{3}, Value: data("stray")})
	require.NoError(t, err)
	_, err = r.Merge(key, distrib.Record{w.Sibling}, distrib.SyncNow)
	require.NoError(t, err)
	require.Len(t, ask().Data, 1, "an eventual write of another replica is told")

	s.fails = errors.New("the device is gone")
	next := register.Request{Kind: register.Accept, Ballot: ballot(1, 9), Value: register.Promote(ballot(1, 9))}
	_, err = r.Step(key, 1, 0, &next)
	require.ErrorIs(t, err, s.fails)
	s.fails = nil
	require.Equal(t, next.Ballot, ask().Accepted, "what the store has counts, and not what it had")

	require.NoError(t, r.Forget(0, math.MaxUint64))
	require.Zero(t, ask().Accepted)

	large := bytes.Repeat([]byte("l"), distrib.InlineBytes+1)
	var v register.Value
	for i, data := range [][]byte{large, large, large, []byte("small")} {
		at := ballot(2, uint64(10*i+1))
		if i == 0 {
			v = register.Promote(at)
		}
		v, _, _ = register.Apply(v, at.Time, []register.Operation{{ID: distrib.OpID{byte(i + 1)}, Kind: register.Put, Value: distrib.Value{Data: data}}})
		take(t, r, "k", register.Request{Kind: register.Accept, Ballot: at, Value: v})
		learn(t, r, "k", at)
		reply := take(t, r, "k", register.Request{Kind: register.Ask, Ballot: ballot(2, 100)})
		require.True(t, bytes.Equal(data, reply.Value.Record[0].Value.Data))
		require.True(t, slices.Equal([]string{string(data)}, texts(t, r, "k")))
	}
	values := 0
	require.NoError(t, mem.Scan(nil, nil, func(k, v []byte) error {
		if len(v) >= len(large) {
			values++
		}
		return nil
	}))
	require.Zero(t, values, "large values that were replaced are gone")
}

// TestKnownIsBounded: what is kept stays within its bytes, and the last used is kept.
func TestKnownIsBounded(t *testing.T) {
	var k known
	head := distrib.Head{}
	state := register.State{Value: register.Value{Record: distrib.Record{{Value: data(string(make([]byte, 1000)))}}}}
	for i := range 1000 {
		k.put(fmt.Append(nil, i), state, head)
		k.get([]byte("0"))
		require.LessOrEqual(t, k.bytes, knownBytes/shelves)
		require.Len(t, k.keys, k.order.Len())
	}
	require.NotNil(t, k.get([]byte("0")))
	require.NotNil(t, k.get([]byte("999")))
	require.Nil(t, k.get([]byte("1")))
	for e := k.order.Front(); e != nil; e = k.order.Front() {
		k.forget([]byte(e.Value.(*knowing).key))
	}
	require.Zero(t, k.bytes)
	require.Empty(t, k.keys)
}
