package register

import (
	"bytes"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/cambiumdb/cambium/distrib"
	"github.com/cambiumdb/cambium/distrib/vclock"
)

// again decodes what was encoded, and returns the encoding of that.
var again = map[string]func(b []byte) ([]byte, error){
	"request":   func(b []byte) ([]byte, error) { r, err := DecodeRequest(b); return AppendRequest(nil, &r), err },
	"reply":     func(b []byte) ([]byte, error) { r, err := DecodeReply(b); return AppendReply(nil, &r), err },
	"operation": func(b []byte) ([]byte, error) { o, err := DecodeOperation(b); return AppendOperation(nil, &o), err },
	"result":    func(b []byte) ([]byte, error) { r, err := DecodeResult(b); return AppendResult(nil, &r), err },
	"decisions": func(b []byte) ([]byte, error) { l, err := DecodeDecisions(b); return AppendDecisions(nil, l), err },
	"behind":    func(b []byte) ([]byte, error) { l, err := DecodeBehind(b, 9); return AppendBehind(nil, l), err },
}

// TestTravel: what is decoded is what was encoded, and nothing else is taken.
func TestTravel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := drawState(t)
		next, have := drawBallot(t), drawBallot(t)
		request := Request{Kind: RequestKind(rapid.IntRange(0, int(Ask)).Draw(t, "kind")), Ballot: s.Promised, Next: next, Have: have, Decided: have, Digest: rapid.Bool().Draw(t, "digest")}
		if request.Kind == Accept {
			request.Value = s.Value
		}
		got, err := DecodeRequest(AppendRequest(nil, &request))
		require.NoError(t, err)
		require.Equal(t, AppendValue(nil, &request.Value), AppendValue(nil, &got.Value))
		got.Value = request.Value
		require.Equal(t, request, got)

		reply := s.Step(1, &request, eventual("a")).Reply
		back, err := DecodeReply(AppendReply(nil, &reply))
		require.NoError(t, err)
		require.Equal(t, AppendValue(nil, &reply.Value), AppendValue(nil, &back.Value))
		require.Equal(t, vclock.Dots(reply.Data), vclock.Dots(back.Data))
		back.Value, back.Data = reply.Value, reply.Data
		require.Equal(t, reply, back)

		o := swap(7, rapid.String().Draw(t, "expect"), rapid.String().Draw(t, "value"))
		o.Context, o.Since, o.Retried = vclock.Context(s.Value.Record), next.Time, rapid.Bool().Draw(t, "retried")
		o.Value.Expires = rapid.Int64().Draw(t, "expires")
		o.Kind = Kind(rapid.IntRange(0, int(Resolve)).Draw(t, "operation"))
		if o.Value.Deleted = rapid.Bool().Draw(t, "deleted"); o.Value.Deleted {
			o.Value.Data = nil
		}
		op, err := DecodeOperation(AppendOperation(nil, &o))
		require.NoError(t, err)
		require.True(t, bytes.Equal(o.Expect, op.Expect) && bytes.Equal(o.Value.Data, op.Value.Data))
		require.Equal(t, o.Context.Append(nil), op.Context.Append(nil))
		op.Expect, op.Value.Data, op.Context = o.Expect, o.Value.Data, o.Context
		require.Equal(t, o, op)

		result := Result{Op: distrib.OpID{3}, Outcome: Outcome(rapid.IntRange(1, int(Unknown)).Draw(t, "outcome")), Verdict: Verdict(rapid.IntRange(0, int(Forgotten)).Draw(t, "verdict")), Strays: 4, Record: s.Value.Record}
		res, err := DecodeResult(AppendResult(nil, &result))
		require.NoError(t, err)
		require.Equal(t, vclock.Dots(result.Record), vclock.Dots(res.Record))
		res.Record = result.Record
		require.Equal(t, result, res)

		decisions := []Decision{{Key: []byte("k"), Ballot: s.Promised}, {Key: []byte{}, Ballot: next}}
		list, err := DecodeDecisions(AppendDecisions(nil, decisions))
		require.NoError(t, err)
		require.Equal(t, decisions, list)
		behind, err := DecodeBehind(AppendBehind(nil, []int{1, 8}), 9)
		require.NoError(t, err)
		require.Equal(t, []int{1, 8}, behind)
		_, err = DecodeBehind(AppendBehind(nil, []int{9}), 9)
		require.Error(t, err)

		for name, b := range map[string][]byte{"decisions": AppendDecisions(nil, decisions), "behind": AppendBehind(nil, behind), "request": AppendRequest(nil, &request), "reply": AppendReply(nil, &reply), "operation": AppendOperation(nil, &o), "result": AppendResult(nil, &result)} {
			for cut := range b {
				_, err := again[name](b[:cut])
				require.Error(t, err, "%s cut at %d of %d", name, cut, len(b))
			}
			_, err := again[name](append(b, 0))
			require.Error(t, err, name)
		}
	})
}

// FuzzDecode: no bytes make a decoder panic, and what is taken can be encoded and is then the same.
func FuzzDecode(f *testing.F) {
	f.Add([]byte{1, 0, 0})
	f.Add(AppendRequest(nil, &Request{Kind: Accept, Ballot: Ballot{1, 2, 3, 4}}))
	f.Add(AppendResult(nil, &Result{Outcome: OK}))
	f.Fuzz(func(t *testing.T, b []byte) {
		for name, decode := range again {
			first, err := decode(b)
			if err != nil {
				continue
			}
			second, err := decode(first)
			require.NoError(t, err, name)
			require.Equal(t, first, second, name)
		}
	})
}
