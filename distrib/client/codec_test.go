package client

import (
	"bytes"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"pgregory.net/rapid"

	"github.com/cambiumdb/cambium/distrib"
	"github.com/cambiumdb/cambium/distrib/api"
	"github.com/cambiumdb/cambium/distrib/vclock"
)

func drawLevel(t *rapid.T) Level {
	return Level{Consistency: Consistency(rapid.IntRange(0, 3).Draw(t, "consistency")), Nodes: rapid.IntRange(0, 300).Draw(t, "nodes"), Strict: rapid.Bool().Draw(t, "strict")}
}

// Messages put together by hand are read by protobuf as what was meant.
func TestRequests(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		some := func(name string) []byte { return rapid.SliceOfN(rapid.Byte(), 0, 300).Draw(t, name) }
		same := func(want, got proto.Message, body []byte) {
			require.NoError(t, proto.Unmarshal(body, got))
			require.True(t, proto.Equal(want, got), "want %v\ngot  %v", want, got)
		}
		key, value, token, level := some("key"), some("value"), some("context"), drawLevel(t)
		wire := level.message()
		if level == (Level{}) {
			wire = nil
		}
		repair := rapid.Bool().Draw(t, "repair")
		same(&api.GetRequest{Key: key, Level: wire, Repair: repair}, &api.GetRequest{}, appendGet(nil, key, GetOptions{level, repair}))
		put := PutOptions{Level: level, Context: token, TTL: time.Duration(rapid.Int64Range(0, 1e12).Draw(t, "ttl")), Op: named([16]byte{})}
		ttl := uint64(put.TTL / time.Millisecond)
		if put.TTL%time.Millisecond > 0 {
			ttl++
		}
		body := appendPut(nil, key, value, put)
		wanted := &api.PutRequest{Key: key, Value: value, Level: wire, Context: token, TtlMs: ttl, OpId: put.Op[:]}
		same(wanted, &api.PutRequest{}, body)
		same(&api.DeleteRequest{Key: key, Level: wire, Context: token, OpId: put.Op[:]}, &api.DeleteRequest{}, appendDelete(nil, key, DeleteOptions{Level: level, Context: token, Op: put.Op}))

		var frames []*frame
		var requests []*api.SessionRequest
		for range rapid.IntRange(1, 5).Draw(t, "frames") {
			f := &frame{id: rapid.Uint64().Draw(t, "id"), timeout: uint64(rapid.Uint32().Draw(t, "timeout")), field: requestPut, body: body}
			frames = append(frames, f)
			requests = append(requests, &api.SessionRequest{Id: f.id, TimeoutMs: uint32(f.timeout), Op: &api.SessionRequest_Put{Put: wanted}})
		}
		whole := requests[0]
		if len(requests) > 1 {
			whole = &api.SessionRequest{Op: &api.SessionRequest_Batch{Batch: &api.SessionBatch{Requests: requests}}}
		}
		m := message(frames)
		same(whole, &api.SessionRequest{}, bytes.Join([][]byte{m[0].ReadOnlyData()}, nil))
		m[0].Free()
	})
}

func TestMessageOfALargeBody(t *testing.T) {
	key, value := []byte("k"), make([]byte, aloneBytes)
	f := &frame{id: 7, field: requestPut, body: appendPut(nil, key, value, PutOptions{})}
	m := message([]*frame{f})
	require.Len(t, m, 2)
	require.Equal(t, &f.body[0], &m[1].ReadOnlyData()[0], "it is not copied")
	var got api.SessionRequest
	require.NoError(t, proto.Unmarshal(append(m[0].ReadOnlyData(), m[1].ReadOnlyData()...), &got))
	require.Equal(t, uint64(7), got.GetId())
	require.Equal(t, value, got.GetPut().GetValue())
}

func TestAnswers(t *testing.T) {
	one := &api.SessionResponse{Id: 1, Result: &api.SessionResponse_Put{Put: &api.PutResponse{Siblings: 2}}}
	two := &api.SessionResponse{Id: 2, Result: &api.SessionResponse_Failure{Failure: &api.Failure{Reason: "X"}}}
	batch := &api.SessionResponse{Result: &api.SessionResponse_Batch{Batch: &api.SessionResponses{Responses: []*api.SessionResponse{one, two}}}}
	read := func(b []byte) (ids []uint64, err error) {
		err = eachAnswer(b, func(id uint64, _ protowire.Number, _ []byte) { ids = append(ids, id) })
		return ids, err
	}
	for _, c := range []struct {
		m    *api.SessionResponse
		want []uint64
	}{{one, []uint64{1}}, {batch, []uint64{1, 2}}, {&api.SessionResponse{Id: 9}, []uint64{9}}} {
		b, err := proto.Marshal(c.m)
		require.NoError(t, err)
		ids, err := read(b)
		require.NoError(t, err)
		require.Equal(t, c.want, ids)
		for i := range b { // no beginning of it does harm
			_, _ = read(b[:i])
		}
	}
	nested := &api.SessionResponse{Result: &api.SessionResponse_Batch{Batch: &api.SessionResponses{Responses: []*api.SessionResponse{batch}}}}
	b, err := proto.Marshal(nested)
	require.NoError(t, err)
	_, err = read(b)
	require.ErrorIs(t, err, errGarbage)
	_, err = read([]byte{0xff})
	require.ErrorIs(t, err, errGarbage)
}

func TestPatience(t *testing.T) {
	var p patience
	require.Equal(t, patienceFirst, p.wait(0))
	for range patienceWindow {
		p.record(100 * time.Microsecond)
	}
	require.Equal(t, patienceLeast, p.wait(0))
	require.Equal(t, patienceLeast+time.Second, p.wait(10_000_000))
	for range patienceWindow {
		p.record(30 * time.Millisecond)
	}
	require.InDelta(t, 120*time.Millisecond, p.wait(0), float64(30*time.Millisecond))
	for range patienceWindow {
		p.record(time.Hour)
	}
	require.Equal(t, patienceMost, p.wait(0))
	for range 12 * patienceWindow {
		p.record(0)
	}
	require.Equal(t, patienceLeast, p.wait(0), "what was is forgotten")
	for _, d := range []time.Duration{0, time.Microsecond, 7 * time.Microsecond, time.Millisecond, time.Second, 30 * time.Second} {
		end := bucketEnd(bucket(d))
		require.Greater(t, end, d)
		require.LessOrEqual(t, end, d*5/4+10*time.Microsecond)
	}
}

// Results are read from messages of protobuf as what was meant.
func TestResults(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		number := rapid.Uint64()
		some := func(name string) []byte { return rapid.SliceOfN(rapid.Byte(), 0, 40).Draw(t, name) }
		var places []*api.Place
		var wantPlaces []Place
		for range rapid.IntRange(0, 3).Draw(t, "places") {
			p := Place{rapid.SampledFrom([]string{"n1", "n2", "elsewhere"}).Draw(t, "node"), rapid.SampledFrom([]string{"", "n1"}).Draw(t, "for")}
			places, wantPlaces = append(places, &api.Place{Node: p.Node, For: p.For}), append(wantPlaces, p)
		}
		var record distrib.Record
		for range rapid.IntRange(0, 4).Draw(t, "siblings") {
			s := distrib.Sibling{Dot: vclock.Dot{Actor: vclock.Actor{Node: number.Draw(t, "node"), Birth: number.Draw(t, "birth")}, Counter: number.Draw(t, "counter")}}
			s.Value = distrib.Value{Deleted: rapid.Bool().Draw(t, "deleted"), Expires: rapid.Int64().Draw(t, "expires"), Time: distrib.Timestamp(number.Draw(t, "time") << 16)}
			if v := some("value"); len(v) > 0 {
				s.Value.Data = v
			}
			copy(s.Op[:], some("op"))
			s.Past = vclock.SeenOf(vclock.Of(func(yield func(vclock.Actor, vclock.Span) bool) {
				for range rapid.IntRange(0, 3).Draw(t, "actors") {
					span := vclock.Span{Last: number.Draw(t, "last"), Beyond: rapid.SliceOfN(number, 0, 3).Draw(t, "beyond")}
					if !yield(vclock.Actor{Node: number.Draw(t, "actor"), Birth: 1}, span) {
						return
					}
				}
			}))
			record = append(record, s)
		}
		d := decoder{map[string]string{"n1": "n1", "n2": "n2"}}
		encode := func(m proto.Message) []byte {
			b, err := proto.Marshal(m)
			require.NoError(t, err)
			return b
		}
		token, op := append(some("context"), 1), named([16]byte{})

		m := &api.GetResponse{Siblings: siblingMessages(record), Context: token, Answered: places, Repaired: rapid.Bool().Draw(t, "repaired"),
			Linearizable: rapid.Bool().Draw(t, "linearizable"), Strays: 3}
		want := &Item{Key: []byte("k"), Siblings: record, Context: token, Answered: wantPlaces, Repaired: m.GetRepaired(), Linearizable: m.GetLinearizable(), Strays: 3}
		item, err := d.item([]byte("k"), encode(m))
		require.NoError(t, err)
		require.Equal(t, want, item)
		put, err := d.put(encode(&api.PutResponse{Context: token, Siblings: 7, Acknowledged: places, Linearizable: true, Strays: 2}), op)
		require.NoError(t, err)
		require.Equal(t, &Put{Context: token, Siblings: 7, Acknowledged: wantPlaces, OpID: op, Linearizable: true, Strays: 2}, put)
		want.decided = true
		swap, err := d.swap([]byte("k"), encode(&api.CompareAndSwapResponse{Swapped: true, Current: m}), op)
		require.NoError(t, err)
		require.Equal(t, &Swap{Swapped: true, Current: want, OpID: op}, swap)
		for mismatch, why := range map[api.CompareAndSwapResponse_Mismatch]error{api.CompareAndSwapResponse_MISMATCH: ErrMismatch, api.CompareAndSwapResponse_SIBLINGS: ErrSiblings} {
			swap, err = d.swap([]byte("k"), encode(&api.CompareAndSwapResponse{Mismatch: mismatch, Current: m}), op)
			require.NoError(t, err)
			require.Equal(t, &Swap{Mismatch: why, Current: want, OpID: op}, swap)
		}
		failed := d.failure([]byte("k"), encode(&api.Failure{Outcome: api.Failure_FAILED, Reason: reasonMismatch, Current: m}))
		require.Equal(t, &Error{Outcome: Failed, Reason: reasonMismatch, Current: want}, failed)
		want.decided = false
		fate, answered, err := d.fate(encode(&api.ResolveResponse{Fate: api.ResolveResponse_OVERTAKEN, Answered: places}))
		require.NoError(t, err)
		require.Equal(t, Overtaken, fate)
		require.Equal(t, wantPlaces, answered)

		entry := &api.ScanEntry{Key: []byte("k"), Token: 9, Siblings: m.GetSiblings(), Context: token}
		want.Answered, want.Repaired, want.Linearizable, want.Strays = nil, false, false, 0
		var scanned []*Item
		whole := encode(&api.ScanResponse{Entries: []*api.ScanEntry{entry, entry}})
		require.NoError(t, d.entries(whole, func(i *Item) error { scanned = append(scanned, i); return nil }))
		require.Equal(t, []*Item{want, want}, scanned)
		for i := range whole { // no beginning of it does harm
			_ = d.entries(whole[:i], func(*Item) error { return nil })
		}
	})
}
