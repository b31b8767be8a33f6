package topology

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/cockroachdb/datadriven"

	"github.com/cambiumdb/cambium/distrib"
)

// TestScripts plays changes of a cluster. Nodes are n1, n2, .. and their ids 1, 2, ..
//
//	define     members, one a line, and those that wait: "n4 waits"; a weight may follow: "n2 weight 2"
//	plan       changes, one a line: "join n4"; down=(n1) are down; each range has 100 bytes; the plan can be committed
//	commit     the last plan, with its owner
//	step       reports, one a line: "n1 epoch 7", and where they are: "oldest 6", "done", "ranges 3/12", "trouble WHY"
//	abort      the change under way
//	take-over  of the change by a node
func TestScripts(t *testing.T) {
	datadriven.Walk(t, "testdata", func(t *testing.T, path string) {
		s := &scene{}
		datadriven.RunTest(t, path, func(t *testing.T, d *datadriven.TestData) string {
			out, err := s.play(t, d)
			if err != nil {
				return err.Error() + "\n"
			}
			return out
		})
	})
}

type scene struct {
	t    *distrib.Topology
	plan *Plan
}

func idOf(name string) uint64 {
	id, err := strconv.ParseUint(strings.TrimPrefix(name, "n"), 10, 64)
	if err != nil {
		panic(err)
	}
	return id
}

func (s *scene) play(t *testing.T, d *datadriven.TestData) (string, error) {
	down := func(id uint64) bool {
		for _, a := range d.CmdArgs {
			if a.Key == "down" && slices.Contains(a.Vals, fmt.Sprintf("n%d", id)) {
				return true
			}
		}
		return false
	}
	var err error
	switch d.Cmd {
	case "define":
		s.t = &distrib.Topology{ClusterID: "c", Epoch: 7, Replicas: 3}
		for line := range strings.Lines(d.Input) {
			f := strings.Fields(line)
			m := distrib.Member{ID: idOf(f[0]), Name: f[0]}
			switch {
			case len(f) > 1 && f[1] == "waits":
				s.t.Joining = append(s.t.Joining, m)
				continue
			case len(f) > 2 && f[1] == "weight":
				if m.Weight, err = strconv.ParseFloat(f[2], 64); err != nil {
					return "", err
				}
			}
			s.t.Members = append(s.t.Members, m)
		}
	case "plan":
		var changes []Change
		for line := range strings.Lines(d.Input) {
			f := append(strings.Fields(line), "", "")
			c := Change{Kind: Kind(f[0]), Node: f[1]}
			if c.Kind == Replace {
				c.By = f[3]
			}
			if c.Kind == Weight {
				if c.Weight, err = strconv.ParseFloat(f[2], 64); err != nil {
					return "", err
				}
			}
			changes = append(changes, c)
		}
		if s.plan, err = NewPlan(s.t, changes, down); err != nil {
			return "", err
		}
		return show(s.plan), nil
	case "commit":
		p, err := Recall(s.t, s.plan.ID, down)
		if err != nil {
			return "", err
		}
		owner := "n1"
		d.MaybeScanArgs(t, "owner", &owner)
		s.t = p.Commit(idOf(owner))
	case "step":
		reports := map[uint64]Report{}
		for line := range strings.Lines(d.Input) {
			id, r := s.report(line)
			reports[id] = r
		}
		next, waiting := Step(s.t, reports)
		if next == nil {
			var out strings.Builder
			for _, w := range waiting {
				fmt.Fprintf(&out, "waits for %s\n", w)
			}
			return out.String(), nil
		}
		s.t = next
	case "abort":
		next, err := Abort(s.t, s.t.Change.ID)
		if err != nil {
			return "", err
		}
		s.t = next
	case "take-over":
		s.t = takenOver(s.t, idOf(d.CmdArgs[0].Key))
	default:
		return "", fmt.Errorf("no command %s", d.Cmd)
	}
	return s.show(), nil
}

// report reads what a node says; of its part in the stage unless it says "nothing".
func (s *scene) report(line string) (uint64, Report) {
	f := append(strings.Fields(line), "")
	r := Report{Change: s.t.Change.ID, Stage: s.t.Change.Stage}
	for i := 1; i < len(f); i++ {
		switch f[i] {
		case "epoch":
			_, _ = fmt.Sscan(f[i+1], &r.Epoch)
			r.Oldest = r.Epoch
		case "oldest":
			_, _ = fmt.Sscan(f[i+1], &r.Oldest)
		case "done":
			r.Done = true
		case "before":
			r.Stage = "before"
		case "ranges":
			_, _ = fmt.Sscanf(f[i+1], "%d/%d", &r.Ranges, &r.Of)
		case "trouble":
			r.Trouble = strings.TrimSpace(strings.Join(f[i+1:], " "))
			i = len(f)
		}
	}
	return idOf(f[0]), r
}

func show(p *Plan) string {
	var out strings.Builder
	moves, total, seconds := p.Measure(slices.Repeat([]int64{100}, len(p.Gains)), 10_000)
	for _, m := range moves {
		fmt.Fprintf(&out, "%s -> %s  %d ranges, %d bytes\n", m.From, m.To, m.Ranges, m.Bytes)
	}
	fmt.Fprintf(&out, "%d ranges, %d bytes, %.1f s\n", len(p.Gains), total, seconds)
	for _, n := range p.Notes {
		fmt.Fprintf(&out, "note: %s\n", n)
	}
	return out.String() + p.ID + "\n"
}

func (s *scene) show() string {
	var out strings.Builder
	fmt.Fprintf(&out, "epoch %d, members %s", s.t.Epoch, names(s.t.Members))
	if len(s.t.Joining) > 0 {
		fmt.Fprintf(&out, ", waiting %s", names(s.t.Joining))
	}
	if c := s.t.Change; c != nil {
		fmt.Fprintf(&out, "\n%s since %d, then %s, driven by n%d", c.Stage, c.Since, names(c.Next), c.Owner)
		for _, id := range c.Dead {
			fmt.Fprintf(&out, ", without n%d", id)
		}
	}
	if s.t.Fence > 0 {
		fmt.Fprintf(&out, "\nrequests of epochs below %d are refused", s.t.Fence)
	}
	return out.String() + "\n"
}
