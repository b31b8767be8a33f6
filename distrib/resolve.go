package distrib

import (
	"bytes"
	"cmp"
	"slices"
)

// A Resolver makes one value of the siblings of a key, which its writer then puts with their context. It depends on
// the siblings alone, not on their order. Clients choose one; no server applies any by itself. Siblings must not be
// empty, and expired ones must be given as deleted: see AsOf.
type Resolver func(siblings []Sibling) Value

// AsOf returns r as a reader at now, in milliseconds since 1970, sees it: what has expired is deleted. live is how
// many siblings are not deleted: with none the key is absent, though it has a context.
func AsOf(r Record, now int64) (seen Record, live int) {
	seen = slices.Clone(r)
	for i := range seen {
		v := &seen[i].Value
		if v.Expired(now) {
			*v = Value{Deleted: true, Time: v.Time}
		}
		if !v.Deleted {
			live++
		}
	}
	return seen, live
}

// LastWriteWins takes the sibling of the highest time, of several of one time that of the highest dot. A delete is a
// write like others.
func LastWriteWins(siblings []Sibling) Value {
	return slices.MaxFunc(siblings, func(a, b Sibling) int {
		return cmp.Or(cmp.Compare(a.Value.Time, b.Value.Time), a.Dot.Compare(b.Dot))
	}).Value
}

// MaxBytes takes the value whose bytes are the highest, compared one by one; of equal ones as LastWriteWins. Deleted ones
// count only where there are no others.
func MaxBytes(siblings []Sibling) Value {
	return slices.MaxFunc(siblings, func(a, b Sibling) int {
		return cmp.Or(alive(a)-alive(b), bytes.Compare(a.Value.Data, b.Value.Data), cmp.Compare(a.Value.Time, b.Value.Time), a.Dot.Compare(b.Dot))
	}).Value
}

func alive(s Sibling) int {
	if s.Value.Deleted {
		return 0
	}
	return 1
}
