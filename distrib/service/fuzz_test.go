package service

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"

	"github.com/cambiumdb/cambium/distrib/api"
)

// FuzzRequests: whatever a client sends over a session, each of its requests gets one answer with its id, and the
// session goes on.
func FuzzRequests(f *testing.F) {
	for _, q := range []*api.SessionRequest{
		putOf(1, "k"), getOf(2, "k"), {Id: 3}, {TimeoutMs: 1, Op: putOf(4, "").Op},
		del(&api.DeleteRequest{Key: []byte("k"), Context: []byte("c")}), swap(&api.CompareAndSwapRequest{Key: []byte("k")}), resolve(&api.ResolveRequest{Key: []byte("k"), OpId: make([]byte, 16)}),
		several(putOf(5, "a"), several(putOf(6, "b")), getOf(7, "a")),
	} {
		b, err := proto.Marshal(q)
		require.NoError(f, err)
		f.Add(b)
	}
	c := newCluster(f, 3, Limits{Timeout: time.Minute})
	f.Fuzz(func(t *testing.T, b []byte) {
		q := &api.SessionRequest{}
		if proto.Unmarshal(b, q) != nil {
			return
		}
		requests := []*api.SessionRequest{q}
		if batch := q.GetBatch(); batch != nil {
			requests = batch.GetRequests()
		}
		want, got := map[uint64]int{}, map[uint64]int{}
		for _, q := range requests {
			want[q.GetId()]++
		}
		s := newScript(t, c)
		s.requests <- q
		close(s.requests)
		for answers := 0; answers < len(requests); {
			_, whole := s.take(t)
			switch batch := whole.GetBatch(); {
			case batch != nil:
				for _, r := range batch.GetResponses() {
					got[r.GetId()]++
					answers++
				}
			case whole != nil:
				got[whole.GetId()]++
				answers++
			}
		}
		require.NoError(t, <-s.ended)
		require.Equal(t, want, got)
	})
}
