package engine

import (
	"errors"
	"fmt"
	"strings"

	"github.com/cambiumdb/cambium/internal/entity"
	"github.com/cambiumdb/cambium/internal/filename"
	"github.com/cambiumdb/cambium/internal/ikey"
	"github.com/cambiumdb/cambium/internal/rangedel"
	"github.com/cambiumdb/cambium/sstable/blob"
)

// Explanation says how a Get of one key is answered: every place that was asked, newest first,
// what it holds, and which place decided.
type Explanation struct {
	Key    []byte
	Seq    uint64 // the sequence number read at
	Steps  []ExplainStep
	Found  bool
	Size   int // of the value in bytes, when Found
	Answer string
}

// ExplainStep is one place that may hold the key.
type ExplainStep struct {
	Source  string // "memtable", "sealed memtable 1", "L0 000012.sst"
	Filter  string // "", "no" (the filter rules the key out), "maybe"
	Entry   string // newest entry at Seq, "" for none
	Covered uint64 // sequence number of the newest range tombstone over the key, 0 for none
	Decides bool   // the answer comes from here; later steps are only for information
}

// Explain tells where key lies. It reads what a Get reads and the places below.
func (db *DB) Explain(key []byte) (*Explanation, error) {
	if len(key) == 0 {
		return nil, errorf(ErrInvalidArgument, "explain: key is empty")
	}
	v, at, err := db.pinRead()
	if err != nil {
		return nil, err
	}
	defer v.unref()
	x := &Explanation{Key: key, Seq: at}
	decided := false
	add := func(source, filter string, t ikey.Trailer, value []byte, ok bool, dels rangedel.List) {
		s := ExplainStep{Source: source, Filter: filter}
		if ok {
			s.Entry = describeEntry(t, value)
		}
		seq, covered := dels.Cover(key, at)
		if covered {
			s.Covered = seq
		}
		if !decided && (ok || covered) {
			decided, s.Decides = true, true
		}
		x.Steps = append(x.Steps, s)
	}
	for i, m := range append([]*memory{v.mem}, v.sealed...) {
		name := "memtable"
		if i > 0 {
			name = fmt.Sprintf("sealed memtable %d", i)
		}
		t, value, ok := m.Get(key, at)
		add(name, "", t, value, ok, m.RangeDels())
	}
	for level := range v.version.Levels {
		for _, t := range v.version.Find(level, key) {
			r, err := db.tables.get(t)
			if err != nil {
				return nil, err
			}
			filter := "maybe"
			if may, err := r.MayContain(key); err != nil {
				return nil, classify(err)
			} else if !may {
				filter = "no"
			}
			value, ok, err := r.Get(key, at)
			if err != nil {
				return nil, classify(err)
			}
			add(fmt.Sprintf("L%d %s", level, filename.Base(filename.Table, t.Num)), filter, value.Trailer, value.Bytes, ok, r.rangeDels)
			value.Release()
		}
	}
	err = db.getAt(v, key, at, db.opts.Clock.Now().UnixMilli(), func(value []byte) error {
		x.Found, x.Size = true, len(value)
		return nil
	})
	switch {
	case err == nil:
		x.Answer = fmt.Sprintf("found, %d bytes", x.Size)
	case errors.Is(err, ErrNotFound):
		x.Answer = "not found"
	default:
		return nil, err
	}
	return x, nil
}

func describeEntry(t ikey.Trailer, value []byte) string {
	s := fmt.Sprintf("#%d %s", t.Seq(), t.Kind())
	switch t.Kind() {
	case ikey.KindSet:
		s += fmt.Sprintf(", %d bytes", len(value))
	case ikey.KindEntity:
		if e, err := entity.Decode(value); err == nil && e.HasExpiry {
			s += fmt.Sprintf(", %d bytes, expires at Unix millisecond %d", len(e.Value), e.ExpiryMillis)
		}
	case ikey.KindBlobIndex:
		if idx, err := blob.DecodeIndex(value); err == nil {
			s += fmt.Sprintf(", %d bytes at %s+%d", idx.Size, filename.Base(filename.Blob, idx.File), idx.Offset)
		}
	}
	return s
}

// String formats the explanation for people, a step on a line.
func (x *Explanation) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "key %q at sequence number %d: %s\n", x.Key, x.Seq, x.Answer)
	for _, s := range x.Steps {
		mark := " "
		if s.Decides {
			mark = ">"
		}
		fmt.Fprintf(&b, "%s %-24s", mark, s.Source)
		if s.Filter != "" {
			fmt.Fprintf(&b, " filter %-5s", s.Filter)
		}
		switch {
		case s.Entry != "":
			fmt.Fprintf(&b, " %s", s.Entry)
		default:
			b.WriteString(" -")
		}
		if s.Covered != 0 {
			fmt.Fprintf(&b, ", range tombstone #%d", s.Covered)
		}
		b.WriteByte('\n')
	}
	return b.String()
}
