package client

import (
	"bytes"
	"fmt"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"

	"github.com/cambiumdb/cambium/distrib/api"
)

// TestMoreThanNodesTake is of more operations at once than all nodes take of the client: the others wait.
func TestMoreThanNodesTake(t *testing.T) {
	f := newFakeCluster(t, 3)
	for _, n := range f.nodes {
		n.behave("100ms")
	}
	c := f.open(t, Options{InFlight: 2})
	var all sync.WaitGroup
	errs := make([]error, 40)
	for i := range errs {
		all.Go(func() { _, errs[i] = c.Get(t.Context(), fmt.Append(nil, i), GetOptions{}) })
	}
	all.Wait()
	for _, err := range errs {
		require.NoError(t, err)
	}
}

func TestInFlightLimit(t *testing.T) {
	_, err := Open(t.Context(), Options{Endpoints: []string{"127.0.0.1:1"}, InFlight: 4096})
	require.EqualError(t, err, "client: in flight 4096: the limit is 1024, what a node takes of one session: more wait in the client")
}

func TestNodeTakesNoMore(t *testing.T) {
	f := newFakeCluster(t, 1)
	c := f.open(t, Options{InFlight: 2})
	s := newSession(c.view.Load().nodes[0])
	defer s.cancel()
	var list []*try
	for range 5 {
		a := &try{node: s.node, frame: frame{field: requestPut}, answers: make(chan answer, 1)}
		require.NoError(t, s.submit(a, true))
		list = append(list, a)
	}
	next := func() (n int) {
		s.mu.Lock()
		defer s.mu.Unlock()
		return len(s.next(nil))
	}
	require.Equal(t, 2, next())
	require.Zero(t, next())
	s.deliver(1, responsePut, nil)
	list[2].withdraw(false)
	require.Equal(t, 1, next(), "the one behind that which was withdrawn")
	require.True(t, list[3].taken)
	list[1].withdraw(false)
	require.Equal(t, 1, next())
	require.Equal(t, 2, s.under)
}

// TestLongRequestsWait is of more bytes than a node takes: shorter requests pass.
func TestLongRequestsWait(t *testing.T) {
	f := newFakeCluster(t, 1)
	c := f.open(t, Options{})
	s := newSession(c.view.Load().nodes[0])
	defer s.cancel()
	s.open = true
	submit := func(bytes int) *try {
		a := &try{node: s.node, frame: frame{field: requestPut, body: make([]byte, bytes)}, answers: make(chan answer, 1)}
		require.NoError(t, s.submit(a, false))
		return a
	}
	next := func() (ids []uint64) {
		s.mu.Lock()
		defer s.mu.Unlock()
		for _, f := range s.next(nil) {
			ids = append(ids, f.id)
		}
		return ids
	}
	first := submit(inFlightBytes - 100)
	second := submit(101)
	submit(100)
	last := submit(1)
	require.Equal(t, []uint64{1}, next(), "it goes alone")
	require.Equal(t, []uint64{3}, next())
	require.Empty(t, next())
	require.True(t, second.waitsForRoom())
	require.False(t, first.waitsForRoom())
	last.withdraw(false)
	s.deliver(first.id, responsePut, nil)
	require.Equal(t, []uint64{2}, next())
	require.Equal(t, 2, s.under)
	require.Equal(t, 201, s.bytes)
	second.withdraw(false)
	require.Equal(t, 1, s.under)
	require.Equal(t, 100, s.bytes)

	large := submit(inFlightBytes + 1) // goes alone, so that it goes at all
	require.Empty(t, next())
	s.deliver(3, responsePut, nil)
	require.Equal(t, []uint64{large.id}, next())
}

// partsOf is what a node sends of an answer, so many bytes at a time.
func partsOf(t testing.TB, r *api.SessionResponse, size int) (list []*api.SessionResponse) {
	b, err := proto.Marshal(r)
	require.NoError(t, err)
	for len(b) > 0 {
		n := min(size, len(b))
		list = append(list, &api.SessionResponse{Id: r.Id, Result: &api.SessionResponse_Part{Part: &api.Part{Data: b[:n], Rest: uint64(len(b) - n)}}})
		b = b[n:]
	}
	return list
}

func TestAnswerInParts(t *testing.T) {
	f := newFakeCluster(t, 1)
	c := f.open(t, Options{})
	value := bytes.Repeat([]byte("v"), 100)
	_, err := c.Put(t.Context(), []byte("k"), value, PutOptions{})
	require.NoError(t, err)
	f.nodes[0].behave("parts", "broken part", "parts")
	for range 3 {
		item, err := c.Get(t.Context(), []byte("k"), GetOptions{})
		require.NoError(t, err)
		got, err := item.Value()
		require.NoError(t, err)
		require.Equal(t, value, got)
	}
	require.Len(t, f.nodes[0].asked(), 1+3+1, "what was broken ended its session, and was asked for again")
}

func TestAssembly(t *testing.T) {
	a := assembly{}
	part := func(data string, rest uint64) []byte {
		return appendUint(appendBytes(nil, 1, []byte(data)), 2, rest)
	}
	for _, step := range []struct {
		id   uint64
		data string
		rest uint64
		want string
	}{{1, "ab", 2, ""}, {2, "x", 1, ""}, {1, "cd", 0, "abcd"}, {2, "y", 0, "xy"}, {1, "z", 0, "z"}} {
		whole, err := a.add(step.id, part(step.data, step.rest))
		require.NoError(t, err)
		require.Equal(t, step.want, string(whole))
	}
	require.Empty(t, a)
	_, err := a.add(3, part("a", 7))
	require.NoError(t, err)
	for _, bad := range [][]byte{nil, part("", 7), part("a", api.MaxAnswerBytes), part("a", 1<<63), {0x0a}, part("ab", 1)} {
		_, err := a.add(3, bad)
		require.ErrorIs(t, err, errGarbage)
	}
	_, err = a.add(1, part("a", api.MaxAnswerBytes-1)) // room is made as bytes come
	require.NoError(t, err)
	require.LessOrEqual(t, cap(a[1].got), assembledAhead)
}

// TestPartsNobodyWaitsFor are forgotten.
func TestPartsNobodyWaitsFor(t *testing.T) {
	f := newFakeCluster(t, 1)
	c := f.open(t, Options{})
	s := newSession(c.view.Load().nodes[0])
	defer s.cancel()
	a := &try{frame: frame{field: requestGet}, answers: make(chan answer, 1)}
	require.NoError(t, s.submit(a, true))
	s.mu.Lock()
	s.next(nil)
	s.mu.Unlock()
	parts := assembly{}
	list := partsOf(t, &api.SessionResponse{Id: a.id, Result: &api.SessionResponse_Get{Get: &api.GetResponse{Context: make([]byte, 20)}}}, 10)
	encoded := func(i int) []byte {
		b, err := proto.Marshal(list[i].GetPart())
		require.NoError(t, err)
		return b
	}
	require.NoError(t, s.part(parts, a.id, encoded(0)))
	require.Len(t, parts, 1)
	a.withdraw(false)
	require.NoError(t, s.part(parts, a.id, encoded(1)))
	require.NoError(t, s.part(parts, 77, encoded(1)))
	require.Empty(t, parts)
	require.Empty(t, a.answers)
}
