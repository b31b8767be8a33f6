package client

import (
	"testing"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"

	"github.com/cambiumdb/cambium/distrib/api"
)

// A try that was taken back before the writer took it is not sent, also where it is another try by now.
func TestWithdrawn(t *testing.T) {
	f := newFakeCluster(t, 1)
	c := f.open(t, Options{InFlight: 2})
	s := newSession(c.view.Load().nodes[0])
	defer s.cancel()
	request := func() *try {
		return &try{frame: frame{field: requestGet, body: appendGet(nil, []byte("k"), GetOptions{})}, answers: make(chan answer, 1)}
	}
	a, b := request(), request()
	require.ErrorIs(t, s.submit(a, false), errConnecting)
	require.NoError(t, s.submit(a, true))
	require.False(t, a.withdraw(false))
	require.NoError(t, s.submit(b, true))
	require.NoError(t, s.submit(a, true))
	s.open = true
	require.EqualError(t, s.submit(request(), false), "2 requests are under way at it, the limit")
	m, ok := s.take(nil)
	require.True(t, ok)
	defer m[0].Free()
	var got api.SessionRequest
	require.NoError(t, proto.Unmarshal(m[0].ReadOnlyData(), &got))
	var ids []uint64
	for _, r := range got.GetBatch().GetRequests() {
		ids = append(ids, r.GetId())
	}
	require.Equal(t, []uint64{b.id, a.id}, ids)
	require.True(t, a.withdraw(true), "it was taken")
	require.Len(t, s.pending, 2)

	// One that had an answer or a broken stream says what is known.
	s.end(errGarbage)
	lost := <-b.answers
	require.ErrorIs(t, lost.err, errGarbage)
	require.True(t, lost.taken)
	require.ErrorIs(t, s.submit(request(), true), errGarbage)
}
