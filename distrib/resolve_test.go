package distrib

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/cambiumdb/cambium/distrib/vclock"
)

func TestResolvers(t *testing.T) {
	sibling := func(node uint64, v Value) Sibling {
		return Sibling{Dot: vclock.Dot{Actor: vclock.Actor{Node: node}, Counter: 1}, Value: v}
	}
	old := sibling(1, Value{Data: []byte("z"), Time: 1})
	last := sibling(2, Value{Data: []byte("a"), Time: 9})
	same := sibling(3, Value{Data: []byte("b"), Time: 9})
	gone := sibling(4, Value{Deleted: true, Time: 99})
	short := sibling(5, Value{Data: []byte("zz"), Time: 50, Expires: 100})
	cart := sibling(6, Value{Data: []byte("tea\nmilk\n"), Time: 3, Expires: 500})
	other := sibling(7, Value{Data: []byte("bread\ntea"), Time: 2, Expires: 400})
	ever := sibling(8, Value{Time: 1})
	both := Value{Data: []byte("bread\nmilk\ntea\n"), Time: 3, Expires: 500}
	always := both
	always.Expires = 0
	for _, c := range []struct {
		name     string
		resolve  Resolver
		siblings []Sibling
		want     Sibling
	}{
		{"the latest", LastWriteWins, []Sibling{old, last}, last},
		{"a tie goes to the higher dot", LastWriteWins, []Sibling{last, same, old}, same},
		{"a delete is a write", LastWriteWins, []Sibling{gone, old}, gone},
		{"the highest bytes", MaxBytes, []Sibling{old, last, gone}, old},
		{"nothing but a delete", MaxBytes, []Sibling{gone}, gone},
		{"the lines of all", SetUnion, []Sibling{cart, other, gone}, Sibling{Value: both}},
		{"an empty set that never expires", SetUnion, []Sibling{other, ever, cart}, Sibling{Value: always}},
		{"an empty set", SetUnion, []Sibling{ever}, ever},
		{"only deletes", SetUnion, []Sibling{gone}, gone},
	} {
		require.Equal(t, c.want.Value, c.resolve(c.siblings), c.name)
		for i, j := 0, len(c.siblings)-1; i < j; i, j = i+1, j-1 {
			c.siblings[i], c.siblings[j] = c.siblings[j], c.siblings[i]
		}
		require.Equal(t, c.want.Value, c.resolve(c.siblings), "%s, in another order", c.name)
	}
	record := Record{old, gone, short}
	seen, live := AsOf(record, 99)
	require.Equal(t, record, seen)
	require.Equal(t, 2, live)
	seen, live = AsOf(record, 100)
	require.Equal(t, 1, live)
	require.Equal(t, Value{Deleted: true, Time: 50}, seen[2].Value)
	require.Equal(t, vclock.Context(record), vclock.Context(seen), "what has expired keeps its clock")
	require.Equal(t, []byte("zz"), record[2].Value.Data, "the record is as it was")
}
