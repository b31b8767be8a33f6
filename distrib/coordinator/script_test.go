package coordinator

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/cockroachdb/datadriven"

	"github.com/cambiumdb/cambium/distrib"
	"github.com/cambiumdb/cambium/distrib/ring"
	"github.com/cambiumdb/cambium/distrib/vclock"
)

// TestScripts plays what nodes answer to a write or a read of the nodes 1, 2 and 3, with 4 and 5 as
// fallbacks unless the cluster has three nodes only. Of the owners the last ones may be down. Where owners change, next
// are those of the new end.
func TestScripts(t *testing.T) {
	datadriven.Walk(t, "testdata", func(t *testing.T, path string) {
		datadriven.RunTest(t, path, func(t *testing.T, d *datadriven.TestData) string {
			need := 2
			d.MaybeScanArgs(t, "need", &need)
			down := 0
			d.MaybeScanArgs(t, "down", &down)
			next, err := idsOf(d, "next")
			if err != nil {
				return err.Error()
			}
			nodes := &keyNodes{owners: seatsOf([]uint64{1, 2, 3}, next)}
			nodes.reachable = len(nodes.owners) - down
			if !d.HasArg("three") && !d.HasArg("strict") {
				nodes.spares.list = []uint64{4, 5}
				if d.HasArg("spare") {
					nodes.spares.list, err = idsOf(d, "spare")
				}
				if err != nil {
					return err.Error()
				}
			}
			if d.Cmd == "write" {
				n := nodes.count()
				w := newWrite(nodes, counts{need, min(need, n[1])}, d.HasArg("retried"))
				return playWrite(d, &w)
			}
			r := newRead(nodes, need)
			return playRead(d, &r)
		})
	})
}

// idsOf are the nodes that an argument names.
func idsOf(d *datadriven.TestData, arg string) (ids []uint64, err error) {
	for _, a := range d.CmdArgs {
		for _, v := range a.Vals {
			if a.Key != arg {
				continue
			}
			id, err := strconv.ParseUint(v, 10, 64)
			if err != nil {
				return nil, err
			}
			ids = append(ids, id)
		}
	}
	return ids, nil
}

// seatsOf are the owners of a key with the ends old and next; without next nothing changes.
func seatsOf(old, next []uint64) (seats []ring.Seat) {
	for _, id := range old {
		seats = append(seats, ring.Seat{Node: id, Ends: ring.OldEnd})
	}
	for _, id := range next {
		if i := slices.Index(old, id); i >= 0 {
			seats[i].Ends = ring.BothEnds
		} else {
			seats = append(seats, ring.Seat{Node: id, Ends: ring.NewEnd})
		}
	}
	return seats
}

// tryOf is the request to a node that has no answer yet.
func (s *seats) tryOf(node uint64) (int, error) {
	i := slices.IndexFunc(s.tries, func(t try) bool { return t.at.Node == node && t.state.open() })
	if i < 0 {
		return 0, fmt.Errorf("node %d was not asked", node)
	}
	return i, nil
}

func playWrite(d *datadriven.TestData, w *write) string {
	var out strings.Builder
	show := func(sends []Send) {
		for _, s := range sends {
			fmt.Fprintf(&out, " %d%s", s.Node, [...]string{"", " first", " keep", " mend"}[s.Kind])
			if s.For != 0 {
				fmt.Fprintf(&out, " for %d", s.For)
			}
			if s.Retried {
				out.WriteString(" retried")
			}
			out.WriteByte(',')
		}
		for _, node := range w.doubt(w.outcome()) {
			fmt.Fprintf(&out, " %d probe,", node)
		}
		fmt.Fprintf(&out, " -> %s", w.outcome())
		if w.outcome() == OK {
			fmt.Fprintf(&out, " at %v", w.places())
		}
		if !slices.ContainsFunc(w.tries, func(t try) bool { return t.state == asked }) && !w.finished() {
			out.WriteString(", unfinished")
		}
		out.WriteByte('\n')
	}
	out.WriteString("send")
	show(w.start())
	for line := range strings.Lines(d.Input) { // NODE WHAT, up or silent to a probe, own and others for a second dot
		var node uint64
		var what string
		if _, err := fmt.Sscan(line, &node, &what); err != nil {
			return err.Error()
		}
		fmt.Fprintf(&out, "%s: send", strings.TrimSpace(line))
		if what == "up" || what == "silent" {
			show(w.probed(node, what == "up"))
			continue
		}
		i, err := w.tryOf(node)
		if err != nil {
			return err.Error()
		}
		switch what {
		case "slow":
			show(w.slow(i))
		case "stored":
			show(w.stored(i))
		case "late":
			show(w.expire(i))
		default:
			sends := w.answer(i, map[string]answer{"done": did, "refused": refused, "lost": lost, "too-many": tooMany, "linear": inRegister}[what])
			show(append(sends, w.mend(i, strings.Contains(line, "own"), strings.Contains(line, "others"))...))
		}
	}
	return out.String()
}

// recordOf makes a record of versions named a, b, .. each by a node of its own. "a>b" is b, which has seen a.
func recordOf(names string) (r distrib.Record) {
	for _, name := range strings.Split(names, ",") {
		var past vclock.Clock
		if before, after, ok := strings.Cut(name, ">"); ok {
			past, name = past.With(dotOf(before)), after
		}
		if name != "-" {
			r = vclock.Merge(r, distrib.Record{{Dot: dotOf(name), Past: vclock.SeenOf(past)}})
		}
	}
	return r
}

func dotOf(name string) vclock.Dot {
	return vclock.Dot{Actor: vclock.Actor{Node: uint64(name[0])}, Counter: 1}
}

func namesOf(dots []vclock.Dot) string {
	if len(dots) == 0 {
		return "-"
	}
	var names []string
	for _, d := range dots {
		names = append(names, string(rune(d.Node)))
	}
	return strings.Join(names, ",")
}

func playRead(d *datadriven.TestData, r *read) string {
	var out strings.Builder
	show := func(asks []Ask) {
		for _, a := range asks {
			fmt.Fprintf(&out, " %d", a.Node)
			if a.Digest {
				out.WriteString(" digest")
			}
			if a.For != 0 {
				fmt.Fprintf(&out, " for %d", a.For)
			}
			out.WriteByte(',')
		}
		for _, node := range r.doubt(r.outcome()) {
			fmt.Fprintf(&out, " %d probe,", node)
		}
		fmt.Fprintf(&out, " -> %s", r.outcome())
		if r.outcome() == OK {
			fmt.Fprintf(&out, " %s", namesOf(vclock.Dots(r.record)))
			if stale := r.stale(); len(stale) > 0 {
				fmt.Fprintf(&out, ", stale %v", stale)
			}
		}
		out.WriteByte('\n')
	}
	out.WriteString("ask")
	show(r.start())
	for line := range strings.Lines(d.Input) { // NODE VERSIONS, NODE nothing, NODE slow, or up or silent to a probe
		var node uint64
		var what string
		if _, err := fmt.Sscan(line, &node, &what); err != nil {
			return err.Error()
		}
		fmt.Fprintf(&out, "%d %s: ask", node, what)
		if what == "up" || what == "silent" {
			show(r.probed(node, what == "up"))
			continue
		}
		i, err := r.tryOf(node)
		if err != nil {
			return err.Error()
		}
		switch what {
		case "slow":
			show(r.slow(i))
		case "nothing":
			show(r.answer(i, nil))
		default:
			record := recordOf(what)
			if r.holds[i].full {
				show(r.answer(i, &distrib.ReadReply{Record: record}))
			} else {
				show(r.answer(i, &distrib.ReadReply{Dots: vclock.Dots(record)}))
			}
		}
	}
	return out.String()
}
