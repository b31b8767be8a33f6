package client

import (
	"testing"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	"github.com/cambiumdb/cambium/distrib"
	"github.com/cambiumdb/cambium/distrib/api"
)

// FuzzAnswers: whatever a node sends, reading it ends without harm, and takes no more siblings than the bytes have.
func FuzzAnswers(f *testing.F) {
	get := &api.GetResponse{Siblings: []*api.Sibling{{Value: []byte("v"), Dot: &api.Dot{Node: 1, Birth: 2, Counter: 3},
		Past: []*api.ClockEntry{{Node: 1, Birth: 2, Last: 2, Beyond: []uint64{5}}}}}, Context: []byte("c"), Answered: []*api.Place{{Node: "n1", For: "n2"}}}
	for _, m := range []proto.Message{
		get,
		&api.SessionResponse{Id: 7, Result: &api.SessionResponse_Get{Get: get}},
		&api.SessionResponse{Result: &api.SessionResponse_Batch{Batch: &api.SessionResponses{Responses: []*api.SessionResponse{{Id: 1}, {Id: 2, Result: &api.SessionResponse_Get{Get: get}}}}}},
		&api.SessionResponse{Id: 7, Result: &api.SessionResponse_Part{Part: &api.Part{Data: []byte("d"), Rest: 1}}},
		&api.ScanResponse{Entries: []*api.ScanEntry{{Key: []byte("k"), Siblings: get.Siblings}}},
	} {
		b, err := proto.Marshal(m)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		var d decoder
		read := func(body []byte) {
			if item, err := d.item(nil, body); err == nil && len(item.Siblings) > len(body) {
				t.Errorf("%d siblings in %d bytes", len(item.Siblings), len(body))
			}
			_, _ = d.put(body, distrib.OpID{})
			_, _ = d.swap(nil, body, distrib.OpID{})
			_, _, _ = d.fate(body)
			_ = d.entries(body, func(*Item) error { return nil })
			_ = (decoder{}).failure(nil, body)
		}
		read(b)
		parts := assembly{}
		_ = eachAnswer(b, func(id uint64, field protowire.Number, body []byte) {
			if read(body); field == responsePart {
				_, _ = parts.add(id, body)
			}
		})
	})
}
