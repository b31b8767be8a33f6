package fuzz

import (
	"errors"
	"testing"

	"github.com/cambiumdb/cambium/internal/entity"
)

func FuzzEntity(f *testing.F) {
	f.Add(entity.Encode(nil, []byte("value"), 1700000000000))
	f.Add(entity.Encode(nil, nil, -1))
	f.Add([]byte{1, 1, 3, 'a', 'b', 'c', 2, 'x', 'y'})
	f.Fuzz(func(t *testing.T, b []byte) {
		bounded(t, mib+uint64(len(b))*4, func() {
			e, err := entity.Decode(b)
			if err != nil {
				if !errors.Is(err, entity.ErrMalformed) {
					t.Fatal(err)
				}
				return
			}
			if len(e.Value) > len(b) {
				t.Fatalf("value of %d bytes in %d", len(e.Value), len(b))
			}
			e.Expired(0)
		})
		ms := int64(len(b)) - 10
		e, err := entity.Decode(entity.Encode([]byte{}, b, ms))
		must(t, err)
		equal(t, b, e.Value, "value")
		if !e.HasExpiry || e.ExpiryMillis != ms || e.Expired(ms-1) || !e.Expired(ms) {
			t.Fatalf("expiry want %d got %+v", ms, e)
		}
	})
}
