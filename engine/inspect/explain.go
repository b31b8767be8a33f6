package inspect

import (
	"fmt"
	"io"

	"github.com/cambiumdb/cambium/engine"
)

// Explanation says where a key lies and which place answers for it.
type Explanation struct {
	Key
	Seq    uint64 `json:"seq"` // the sequence number read at
	Found  bool   `json:"found"`
	Bytes  int    `json:"bytes"` // of the value
	Answer string `json:"answer"`
	Steps  []Step `json:"steps"` // newest first
}

// Step is one place that may hold the key.
type Step struct {
	Source  string `json:"source"`
	Filter  string `json:"filter,omitempty"`  // "no": it rules the key out; "maybe"
	Entry   string `json:"entry,omitempty"`   // the newest version there
	Covered uint64 `json:"covered,omitempty"` // sequence number of the newest range tombstone over the key
	Decides bool   `json:"decides"`           // the answer comes from here
}

// ExplainKey asks db how it answers a read of key.
func ExplainKey(db *engine.DB, key []byte) (*Explanation, error) {
	x, err := db.Explain(key)
	if err != nil {
		return nil, err
	}
	out := &Explanation{Key: NewKey(key), Seq: x.Seq, Found: x.Found, Bytes: x.Size, Answer: x.Answer, Steps: []Step{}}
	for _, s := range x.Steps {
		out.Steps = append(out.Steps, Step(s))
	}
	return out, nil
}

// WriteText writes a line for each place; > marks the one that decides.
func (x *Explanation) WriteText(w io.Writer, s Style) {
	fmt.Fprintf(w, "%s: %s, read at sequence number %d\n", s.heading(s.Bytes(x.Key.Bytes())), x.Answer, x.Seq)
	g := s.newGrid(0, 1, 2, 3)
	g.Row("", "place", "filter", "newest entry")
	for _, step := range x.Steps {
		mark, entry := "", step.Entry
		if step.Decides {
			mark = ">"
		}
		switch {
		case entry == "" && step.Covered != 0:
			entry = fmt.Sprintf("range tombstone #%d", step.Covered)
		case entry == "":
			entry = "-"
		case step.Covered != 0:
			entry += fmt.Sprintf(", under range tombstone #%d", step.Covered)
		}
		filter := step.Filter
		if filter == "" {
			filter = "-"
		}
		g.Row(mark, step.Source, filter, entry)
	}
	g.Print(w)
}
