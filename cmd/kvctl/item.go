package main

import (
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/cambiumdb/cambium/distrib"
	"github.com/cambiumdb/cambium/distrib/client"
	"github.com/cambiumdb/cambium/engine/inspect"
)

// place is a node that counted.
type place struct {
	Node string `json:"node"`
	For  string `json:"for,omitempty"` // the node that it stands in for
}

func placesOf(of []client.Place) []place {
	places := []place{}
	for _, p := range of {
		places = append(places, place{p.Node, p.For})
	}
	return places
}

// sibling is one of the concurrent values of a key.
type sibling struct {
	inspect.Value
	Deleted bool       `json:"deleted,omitempty"`
	Dot     string     `json:"dot"`  // NODE.BIRTH:COUNTER of its write
	Past    string     `json:"past"` // what its writer had seen
	Written time.Time  `json:"written"`
	Expires *time.Time `json:"expires,omitempty"`
	OpID    string     `json:"op_id,omitempty"`
}

// siblingOf shows s, which is as it is now in seen.
func siblingOf(s, seen distrib.Sibling) *sibling {
	v := &sibling{Dot: s.Dot.String(), Past: s.Past.Clock.String(), Written: time.UnixMilli(int64(s.Value.Time >> 16)).UTC()}
	if s.Op != (distrib.OpID{}) {
		v.OpID = fmt.Sprintf("%x", s.Op[:])
	}
	if s.Value.Expires != 0 {
		at := time.UnixMilli(s.Value.Expires).UTC()
		v.Expires = &at
	}
	if v.Deleted = seen.Value.Deleted; !v.Deleted {
		v.Value = inspect.NewValue(s.Value.Data)
	}
	return v
}

// WriteText writes the value and its clock on a line.
func (s *sibling) WriteText(w io.Writer, style inspect.Style) {
	what := "deleted"
	if !s.Deleted {
		what = "value " + style.Bytes(s.Value.Bytes())
	}
	fmt.Fprintf(w, "%s\tdot %s\tpast %s\twritten %s", what, s.Dot, s.Past, s.Written.Format(time.RFC3339))
	if s.Expires != nil {
		fmt.Fprintf(w, "\texpires %s", s.Expires.Format(time.RFC3339))
	}
	fmt.Fprintln(w)
}

// item is a key, and what was read of it.
type item struct {
	inspect.Key
	inspect.Value            // where there is one
	Found         bool       `json:"found"`
	Siblings      []*sibling `json:"siblings,omitempty"`
	Context       []byte     `json:"context,omitempty"`
	Answered      []place    `json:"answered,omitempty"`
	Repaired      bool       `json:"repaired,omitempty"`
	Linearizable  bool       `json:"linearizable,omitempty"`
	Strays        int        `json:"strays,omitempty"`
	Error         string     `json:"error,omitempty"` // of a key of a batch
}

// itemOf is an item for people and programs. The clocks of a value that stands alone are left out unless all is set.
func itemOf(i *client.Item, all bool) *item {
	v := &item{Key: inspect.NewKey(i.Key), Found: i.Found(), Context: i.Context, Repaired: i.Repaired, Linearizable: i.Linearizable, Strays: i.Strays}
	if len(i.Answered) > 0 {
		v.Answered = placesOf(i.Answered)
	}
	live := i.Live()
	if len(live) == 1 {
		v.Value = inspect.NewValue(live[0].Data)
	}
	if all || len(live) > 1 {
		v.Siblings = siblingsOf(i)
	}
	return v
}

func siblingsOf(i *client.Item) (list []*sibling) {
	seen := i.Seen()
	for n, s := range i.Siblings {
		list = append(list, siblingOf(s, seen[n]))
	}
	return list
}

// WriteText writes the key and its value, or all of its values with their clocks.
func (i *item) WriteText(w io.Writer, style inspect.Style) {
	switch {
	case i.Error != "":
		fmt.Fprintf(w, "%s\terror: %s\n", style.Bytes(i.Key.Bytes()), i.Error)
	case !i.Found:
		fmt.Fprintf(w, "%s\tnot found\n", style.Bytes(i.Key.Bytes()))
	case !i.Value.None():
		sep := "\t"
		if style.Hex {
			sep = " "
		}
		fmt.Fprintf(w, "%s%s%s\n", style.Bytes(i.Key.Bytes()), sep, style.Bytes(i.Value.Bytes()))
	default:
		for _, s := range i.Siblings {
			fmt.Fprintf(w, "%s\t", style.Bytes(i.Key.Bytes()))
			s.WriteText(w, style)
		}
	}
}

// acknowledged is the result of a write, for programs: people get silence.
type acknowledged struct {
	Op string `json:"op"`
	inspect.Key
	OK           bool    `json:"ok"`
	Siblings     int     `json:"siblings"`
	Context      []byte  `json:"context,omitempty"`
	Acknowledged []place `json:"acknowledged,omitempty"`
	OpID         string  `json:"op_id,omitempty"`
	Linearizable bool    `json:"linearizable,omitempty"`
	Strays       int     `json:"strays,omitempty"`
	Error        string  `json:"error,omitempty"` // of a key of a batch
}

func acknowledgedOf(op string, key []byte, p *client.Put) *acknowledged {
	return &acknowledged{Op: op, Key: inspect.NewKey(key), OK: true, Siblings: p.Siblings, Context: p.Context,
		Acknowledged: placesOf(p.Acknowledged), OpID: fmt.Sprintf("%x", p.OpID[:]), Linearizable: p.Linearizable, Strays: p.Strays}
}

// WriteText writes nothing but an error.
func (s *acknowledged) WriteText(w io.Writer, style inspect.Style) {
	if s.Error != "" {
		fmt.Fprintf(w, "%s\terror: %s\n", style.Bytes(s.Key.Bytes()), s.Error)
	}
}

// swapped is the result of a compare-and-swap, for programs: people get silence.
type swapped struct {
	written
	Mismatch string `json:"mismatch,omitempty"` // why not ok
	Current  *item  `json:"current"`            // what is there now
	OpID     string `json:"op_id"`
}

// names joins places for people. Of a linearizable operation none is known.
func names(places []client.Place) string {
	if len(places) == 0 {
		return "a majority of the key's nodes"
	}
	var all []string
	for _, p := range places {
		all = append(all, p.String())
	}
	return strings.Join(all, ", ")
}
