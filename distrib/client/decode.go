package client

import (
	"fmt"

	"google.golang.org/protobuf/encoding/protowire"

	"github.com/cambiumdb/cambium/distrib"
	"github.com/cambiumdb/cambium/distrib/api"
	"github.com/cambiumdb/cambium/distrib/vclock"
)

// fields reads the fields of a message one by one.
type fields struct {
	rest []byte
	num  protowire.Number
	n    uint64 // of a number
	body []byte // of all else
	err  error
}

// next goes to the next field, false at the end or at garbage.
func (f *fields) next() bool {
	if len(f.rest) == 0 || f.err != nil {
		return false
	}
	num, typ, used := protowire.ConsumeTag(f.rest)
	if used < 0 {
		f.err = errGarbage
		return false
	}
	f.rest, f.num, f.n, f.body = f.rest[used:], num, 0, nil
	switch typ {
	case protowire.VarintType:
		f.n, used = protowire.ConsumeVarint(f.rest)
	case protowire.Fixed64Type:
		f.n, used = protowire.ConsumeFixed64(f.rest)
	case protowire.BytesType:
		f.body, used = protowire.ConsumeBytes(f.rest)
	default: // of a later version
		f.num, used = 0, protowire.ConsumeFieldValue(num, typ, f.rest)
	}
	if used < 0 {
		f.err = errGarbage
		return false
	}
	f.rest = f.rest[used:]
	return true
}

// decoder makes results of the messages of kv.proto. Their bytes alias the message.
type decoder struct {
	names map[string]string // of nodes, so that they need not be made anew
}

// put reads a PutResponse.
func (d decoder) put(b []byte, op distrib.OpID) (*Put, error) {
	p := &Put{OpID: op}
	f := fields{rest: b}
	for f.next() {
		switch f.num {
		case 1:
			p.Context = f.body
		case 2:
			p.Siblings = int(f.n)
		case 3:
			p.Acknowledged = d.place(&f, p.Acknowledged)
		case 5:
			p.Linearizable = f.n != 0
		case 6:
			p.Strays = int(f.n)
		}
	}
	return p, f.err
}

// item reads a GetResponse.
func (d decoder) item(key, b []byte) (*Item, error) {
	i := &Item{Key: key}
	f := fields{rest: b}
	for f.next() {
		switch f.num {
		case 1:
			d.sibling(&f, i)
		case 2:
			i.Context = f.body
		case 3:
			i.Answered = d.place(&f, i.Answered)
		case 4:
			i.Repaired = f.n != 0
		case 5:
			i.Linearizable = f.n != 0
		case 6:
			i.Strays = int(f.n)
		}
	}
	return i, f.err
}

// swap reads a CompareAndSwapResponse.
func (d decoder) swap(key, b []byte, op distrib.OpID) (*Swap, error) {
	s, several := &Swap{OpID: op, Current: &Item{Key: key}}, false
	f := fields{rest: b}
	for f.next() {
		switch f.num {
		case 1:
			s.Swapped = f.n != 0
		case 2:
			if s.Current, f.err = d.item(key, f.body); f.err != nil {
				return nil, f.err
			}
		case 4:
			several = api.CompareAndSwapResponse_Mismatch(f.n) == api.CompareAndSwapResponse_SIBLINGS
		}
	}
	switch s.Current.decided = true; {
	case s.Swapped:
	case several:
		s.Mismatch = ErrSiblings
	default:
		s.Mismatch = ErrMismatch
	}
	return s, f.err
}

// swapped reports whether a CompareAndSwapResponse says that it was.
func swapped(b []byte) bool {
	f := fields{rest: b}
	for f.next() {
		if f.num == 1 {
			return f.n != 0
		}
	}
	return false
}

var fates = map[api.ResolveResponse_Fate]Fate{
	api.ResolveResponse_HAPPENED: Happened, api.ResolveResponse_NOT_SEEN: NotSeen, api.ResolveResponse_OVERTAKEN: Overtaken,
	api.ResolveResponse_NOT_HAPPENED: NotHappened,
}

// fate reads a ResolveResponse.
func (d decoder) fate(b []byte) (fate Fate, answered []Place, err error) {
	f := fields{rest: b}
	var wire api.ResolveResponse_Fate
	for f.next() {
		switch f.num {
		case 1:
			wire = api.ResolveResponse_Fate(f.n)
		case 2:
			answered = d.place(&f, answered)
		}
	}
	fate, known := fates[wire]
	if f.err == nil && !known {
		f.err = fmt.Errorf("a fate that this program does not know: %s", wire)
	}
	return fate, answered, f.err
}

// entries calls visit with each key of a ScanResponse, until it returns an error.
func (d decoder) entries(b []byte, visit func(*Item) error) error {
	f := fields{rest: b}
	for f.next() {
		if f.num != 1 {
			continue
		}
		i := &Item{}
		e := fields{rest: f.body}
		for e.next() {
			switch e.num {
			case 1:
				i.Key = e.body
			case 3:
				d.sibling(&e, i)
			case 4:
				i.Context = e.body
			}
		}
		if e.err != nil {
			return e.err
		}
		if err := visit(i); err != nil {
			return err
		}
	}
	return f.err
}

// place appends the Place that is the field of f.
func (d decoder) place(f *fields, to []Place) []Place {
	if to == nil {
		to = make([]Place, 0, 3)
	}
	var p Place
	m := fields{rest: f.body}
	for m.next() {
		switch m.num {
		case 1:
			p.Node = d.name(m.body)
		case 2:
			p.For = d.name(m.body)
		}
	}
	f.err = m.err
	return append(to, p)
}

func (d decoder) name(b []byte) string {
	if name, ok := d.names[string(b)]; ok {
		return name
	}
	return string(b)
}

// sibling appends the Sibling that is the field of f.
func (d decoder) sibling(f *fields, to *Item) {
	to.Siblings = append(to.Siblings, distrib.Sibling{})
	s := &to.Siblings[len(to.Siblings)-1]
	past := 0
	m := fields{rest: f.body}
	for m.next() && m.err == nil {
		switch m.num {
		case 1:
			s.Value.Data = m.body
		case 2:
			s.Value.Deleted = m.n != 0
		case 3:
			s.Value.Expires = int64(m.n)
		case 4:
			s.Value.Time = distrib.Timestamp(m.n << 16) // what is below the milliseconds does not travel
		case 5:
			s.Dot, m.err = dot(m.body)
		case 6:
			past++
		case 7:
			copy(s.Op[:], m.body)
		}
	}
	if m.err == nil && past > 0 {
		s.Past, m.err = seen(f.body)
	}
	f.err = m.err
}

// dot reads a Dot.
func dot(b []byte) (d vclock.Dot, err error) {
	f := fields{rest: b}
	for f.next() {
		switch f.num {
		case 1:
			d.Node = f.n
		case 2:
			d.Birth = f.n
		case 3:
			d.Counter = f.n
		}
	}
	return d, f.err
}

// seen reads the past of a Sibling.
func seen(sibling []byte) (s vclock.Seen, err error) {
	clock := vclock.Of(func(yield func(vclock.Actor, vclock.Span) bool) {
		f := fields{rest: sibling}
		for f.next() {
			if f.num != 6 {
				continue
			}
			actor, span, e := clockEntry(f.body)
			if e != nil {
				err = e
				return
			}
			if !yield(actor, span) {
				return
			}
		}
	})
	return vclock.SeenOf(clock), err
}

// clockEntry reads a ClockEntry.
func clockEntry(b []byte) (a vclock.Actor, s vclock.Span, err error) {
	f := fields{rest: b}
	for f.next() {
		switch f.num {
		case 1:
			a.Node = f.n
		case 2:
			a.Birth = f.n
		case 3:
			s.Last = f.n
		case 4: // packed or not
			if f.body == nil {
				s.Beyond = append(s.Beyond, f.n)
			}
			for rest := f.body; len(rest) > 0; {
				n, used := protowire.ConsumeVarint(rest)
				if used < 0 {
					return a, s, errGarbage
				}
				s.Beyond = append(s.Beyond, n)
				rest = rest[used:]
			}
		}
	}
	return a, s, f.err
}
