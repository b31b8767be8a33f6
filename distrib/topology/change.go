package topology

import (
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/cambiumdb/cambium/distrib"
	"github.com/cambiumdb/cambium/distrib/ring"
)

// Kind is what a change does.
type Kind string

// The kinds.
const (
	Join    Kind = "join"    // Node, which waits, becomes a member
	Leave   Kind = "leave"   // Node, a member, goes
	Replace Kind = "replace" // Node, a member, goes and By, which waits, takes its place
	Weight  Kind = "weight"  // Node gets Weight
)

// Change is what an operator asks for.
type Change struct {
	Kind   Kind
	Node   string
	By     string
	Weight float64
}

// String is the change in words.
func (c Change) String() string {
	switch c.Kind {
	case Replace:
		return fmt.Sprintf("replace %s by %s", c.Node, c.By)
	case Weight:
		return fmt.Sprintf("weight of %s %g", c.Node, c.Weight)
	}
	return string(c.Kind) + " " + c.Node
}

// encode is the change as a part of a plan's id.
func (c Change) encode() string {
	fields := []string{string(c.Kind), url.QueryEscape(c.Node)}
	switch c.Kind {
	case Replace:
		fields = append(fields, url.QueryEscape(c.By))
	case Weight:
		fields = append(fields, strconv.FormatFloat(c.Weight, 'g', -1, 64))
	}
	return strings.Join(fields, ":")
}

func decodeChange(s string) (c Change, err error) {
	fields := strings.Split(s, ":")
	bad := fmt.Errorf("%q is no change", s)
	if len(fields) < 2 {
		return c, bad
	}
	c.Kind = Kind(fields[0])
	if c.Node, err = url.QueryUnescape(fields[1]); err != nil {
		return c, bad
	}
	switch {
	case len(fields) == 2 && (c.Kind == Join || c.Kind == Leave):
		return c, nil
	case len(fields) == 3 && c.Kind == Replace:
		if c.By, err = url.QueryUnescape(fields[2]); err == nil {
			return c, nil
		}
	case len(fields) == 3 && c.Kind == Weight:
		if c.Weight, err = strconv.ParseFloat(fields[2], 64); err == nil {
			return c, nil
		}
	}
	return c, bad
}

// membersAfter are the members of t after changes, by id.
func membersAfter(t *distrib.Topology, changes []Change) (next []distrib.Member, err error) {
	if len(changes) == 0 {
		return nil, errors.New("no change is asked for")
	}
	next = slices.Clone(t.Members)
	for _, c := range changes {
		i := named(next, c.Node)
		switch c.Kind {
		case Join:
			next, err = join(t, next, c.Node)
		case Leave, Replace:
			if i < 0 {
				return nil, fmt.Errorf("%s: %s is not a member: these are %s", c, c.Node, names(next))
			}
			next = slices.Delete(next, i, i+1)
			if c.Kind == Replace {
				next, err = join(t, next, c.By)
			}
		case Weight:
			switch {
			case i < 0:
				return nil, fmt.Errorf("%s: %s is not a member: these are %s", c, c.Node, names(next))
			case !(c.Weight >= ring.MinWeight && c.Weight <= ring.MaxWeight):
				return nil, fmt.Errorf("%s: want %g to %d", c, ring.MinWeight, ring.MaxWeight)
			}
			next[i].Weight = c.Weight
		default:
			return nil, fmt.Errorf("change %q of %s: want %s, %s, %s or %s", c.Kind, c.Node, Join, Leave, Replace, Weight)
		}
		if err != nil {
			return nil, fmt.Errorf("%s: %w", c, err)
		}
	}
	if len(next) == 0 {
		return nil, errors.New("nobody would be left: a cluster keeps one member at least")
	}
	slices.SortFunc(next, func(a, b distrib.Member) int { return strings.Compare(a.Name, b.Name) })
	return next, nil
}

// join is next with the node of that name, which waits in t.
func join(t *distrib.Topology, next []distrib.Member, name string) ([]distrib.Member, error) {
	if named(next, name) >= 0 {
		return nil, fmt.Errorf("%s is a member already", name)
	}
	i := named(t.Joining, name)
	if i < 0 {
		waiting := "none waits"
		if len(t.Joining) > 0 {
			waiting = "these wait: " + names(t.Joining)
		}
		return nil, fmt.Errorf("no node %s waits to join, %s: start it with --join first", name, waiting)
	}
	return append(next, t.Joining[i]), nil
}

func named(list []distrib.Member, name string) int {
	return slices.IndexFunc(list, func(m distrib.Member) bool { return m.Name == name })
}

func names(list []distrib.Member) string {
	var out []string
	for _, m := range list {
		out = append(out, m.Name)
	}
	return strings.Join(out, " ")
}
