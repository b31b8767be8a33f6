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

// SetUnion takes values as sets of lines and returns the lines of all, each once, ascending: what writers have added side by side is
// all there. What one has taken out comes back where another has left it in. It expires with the last of them. Where
// all are deleted it is as LastWriteWins.
func SetUnion(siblings []Sibling) Value {
	var members [][]byte
	all := Value{Expires: -1}
	for _, s := range siblings {
		if s.Value.Deleted {
			continue
		}
		if len(s.Value.Data) > 0 {
			members = append(members, bytes.Split(bytes.TrimSuffix(s.Value.Data, []byte("\n")), []byte("\n"))...)
		}
		if all.Expires != 0 {
			all.Expires = max(all.Expires, s.Value.Expires)
		}
		if s.Value.Expires == 0 {
			all.Expires = 0
		}
		all.Time = max(all.Time, s.Value.Time)
	}
	if all.Expires < 0 {
		return LastWriteWins(siblings)
	}
	slices.SortFunc(members, bytes.Compare)
	for _, m := range slices.CompactFunc(members, bytes.Equal) {
		all.Data = append(append(all.Data, m...), '\n')
	}
	return all
}

func alive(s Sibling) int {
	if s.Value.Deleted {
		return 0
	}
	return 1
}
