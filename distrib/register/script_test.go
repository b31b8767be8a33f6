package register

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

// TestScripts plays proposers p1, p2, .. of the nodes 1, 2, .. and the owners 1, 2 and 3 of a key: testdata is the explanation
// of the package.
func TestScripts(t *testing.T) {
	datadriven.Walk(t, "testdata", func(t *testing.T, path string) {
		datadriven.RunTest(t, path, func(t *testing.T, d *datadriven.TestData) string {
			s := newStage()
			for line := range strings.Lines(d.Input) {
				fmt.Fprintf(&s.out, "> %s\n", strings.TrimSpace(line))
				if err := s.do(strings.Fields(line)); err != nil {
					return err.Error()
				}
			}
			return s.out.String()
		})
	})
}

// stage is where a script plays.
type stage struct {
	out    strings.Builder
	states map[uint64]State
	data   map[uint64]distrib.Record
	props  map[string]*Proposer
	asked  map[string]map[uint64]*Request // the last request of a proposer to a node
	group  Group
	fence  uint64
	now    distrib.Timestamp
	ids    int
	seen   map[string]vclock.Seen // what clients have read
}

func newStage() *stage {
	return &stage{
		states: map[uint64]State{}, data: map[uint64]distrib.Record{}, props: map[string]*Proposer{}, asked: map[string]map[uint64]*Request{},
		group: groups[1], fence: 1, seen: map[string]vclock.Seen{},
	}
}

func (s *stage) proposer(name string) *Proposer {
	if s.props[name] == nil {
		node, _ := strconv.ParseUint(name[1:], 10, 64)
		s.props[name], s.asked[name] = NewProposer(node, 1, s.group, 0), map[uint64]*Request{}
	}
	return s.props[name]
}

// do plays one line.
func (s *stage) do(f []string) error {
	switch f[0] {
	case "at": // at MILLIS: the time from now on
		ms, err := strconv.ParseInt(f[1], 10, 64)
		s.now = distrib.Timestamp(ms << 16)
		return err
	case "write": // write NODE VALUE [ID]: an eventual write that the node alone has stored, of that operation
		node, err := strconv.ParseUint(f[1], 10, 64)
		r := eventual(f[2])
		if len(f) > 3 {
			var n int
			n, err = strconv.Atoi(f[3])
			r[0].Op = opID(n)
		}
		s.data[node] = vclock.Merge(s.data[node], r)
		return err
	case "fence": // fence EPOCH: older requests are refused from now on
		epoch, err := strconv.ParseUint(f[1], 10, 64)
		s.fence = epoch
		return err
	case "copy": // copy FROM TO: the node TO adopts what FROM has accepted
		from, err := strconv.ParseUint(f[1], 10, 64)
		if err != nil {
			return err
		}
		to, err := strconv.ParseUint(f[2], 10, 64)
		other := s.states[from]
		s.states[to], _ = s.states[to].Adopt(&other)
		return err
	case "show": // what all nodes hold
		for n := range uint64(4) {
			if st, ok := s.states[n+1]; ok {
				fmt.Fprintf(&s.out, "  %d: promised %v, accepted %v %s, data {%s}\n", n+1, st.Promised, st.Accepted, describe(&st.Value), contents(s.data[n+1]))
			}
		}
		return nil
	}
	p := s.proposer(f[0])
	return s.play(f[0], p, f[1], f[2:])
}

func (s *stage) play(name string, p *Proposer, what string, args []string) error {
	switch what {
	case "retry":
		s.effects(name, p.Retry(s.now))
	case "move": // move EPOCH
		epoch, err := strconv.Atoi(args[0])
		if err != nil {
			return err
		}
		s.effects(name, p.Move(s.now, groups[epoch]))
	case "turn":
		s.effects(name, p.Turn(s.now))
	case "withdraw":
		for _, o := range p.Withdraw() {
			fmt.Fprintf(&s.out, "  back: %d\n", o.ID[0])
		}
	case "expire":
		n, err := strconv.Atoi(args[0])
		if err != nil {
			return err
		}
		s.effects(name, p.Expire(opID(n)))
	case "to", "lost", "missing": // NODE..: the last request reaches it, and its answer comes back; or one of both does not
		for _, arg := range args {
			node, err := strconv.ParseUint(arg, 10, 64)
			if err != nil {
				return err
			}
			s.deliver(name, p, what, node)
		}
	default:
		var list []Operation
		for _, text := range strings.Split(strings.Join(append([]string{what}, args...), " "), ", ") {
			o, err := s.operation(strings.Fields(text))
			if err != nil {
				return err
			}
			list = append(list, o)
		}
		s.effects(name, p.Submit(s.now, list...))
	}
	return nil
}

func (s *stage) deliver(name string, p *Proposer, what string, node uint64) {
	r := s.asked[name][node]
	switch what {
	case "to":
		out := s.states[node].Step(s.fence, r, s.data[node])
		s.states[node] = out.State
		s.data[node] = vclock.Merge(s.data[node], out.Learned)
		if !out.Reply.OK {
			fmt.Fprintf(&s.out, "  %d refuses: it has promised %v\n", node, out.Reply.Promised)
		}
		s.effects(name, p.Answer(s.now, node, &out.Reply))
	default:
		s.effects(name, p.Lost(s.now, node, r, what == "lost"))
	}
}

// operation is one of put V, put V beside, put V seen, swap OLD NEW, put-if-absent V, delete, delete-if OLD, expiring V MILLIS,
// get, resolve ID, again ID V, swap-again ID OLD NEW.
func (s *stage) operation(f []string) (o Operation, err error) {
	s.ids++
	o = op(s.ids, Put)
	last := f[len(f)-1]
	switch f[0] {
	case "put":
		o = put(s.ids, f[1])
		switch last {
		case "beside":
			o.If, o.Context = Beside, s.seen["client"]
		case "seen":
			o.If, o.Context = IfSeen, s.seen["client"]
		}
	case "swap":
		o = swap(s.ids, f[1], f[2])
	case "put-if-absent":
		o = swap(s.ids, "", f[1])
	case "delete":
		o.Value.Deleted = true
	case "delete-if":
		o.If, o.Expect, o.Value.Deleted = IfValue, []byte(f[1]), true
	case "expiring":
		o = put(s.ids, f[1])
		o.Value.Expires, err = strconv.ParseInt(last, 10, 64)
	case "get":
		o.Kind = Get
	case "resolve", "again", "swap-again":
		var n int
		n, err = strconv.Atoi(f[1])
		o = op(n, Resolve)
		switch f[0] {
		case "again":
			o = put(n, last)
		case "swap-again":
			o = swap(n, f[2], f[3])
			o.Retried = true
		}
	default:
		err = fmt.Errorf("unknown operation %q", f)
	}
	return o, err
}

func (s *stage) effects(name string, e Effects) {
	var nodes []string
	for i, send := range e.Sends {
		s.asked[name][send.Node] = send.Request
		nodes = append(nodes, strconv.FormatUint(send.Node, 10))
		if i+1 == len(e.Sends) || e.Sends[i+1].Request.Digest != send.Request.Digest {
			s.request(send.Request, nodes)
			nodes = nil
		}
	}
	if !e.Decided.Zero() {
		fmt.Fprintf(&s.out, "  decided %v\n", e.Decided)
	}
	for _, r := range e.Results {
		fmt.Fprintf(&s.out, "  %d: %s", r.Op[0], r.Outcome)
		if r.Outcome == OK {
			fmt.Fprintf(&s.out, " %s {%s}", r.Verdict, contents(r.Record))
			s.seen["client"] = vclock.Context(r.Record)
		}
		if r.Strays > 0 {
			fmt.Fprintf(&s.out, ", strays: %d", r.Strays)
		}
		s.out.WriteByte('\n')
	}
	if b := e.Beaten; b != nil {
		fmt.Fprintf(&s.out, "  beaten by node %d, %d in a row\n", b.By.Node, b.Attempt)
	}
	if e.Behind != 0 {
		fmt.Fprintf(&s.out, "  behind: there is an epoch %d\n", e.Behind)
	}
}

func (s *stage) request(r *Request, nodes []string) {
	fmt.Fprintf(&s.out, "  %s", r.Kind)
	switch {
	case r.Kind == Ask && r.Digest:
		s.out.WriteString(" for the ballot")
	case r.Kind == Ask:
		s.out.WriteString(" for the value")
	default:
		fmt.Fprintf(&s.out, " %v", r.Ballot)
	}
	if r.Kind == Accept {
		fmt.Fprintf(&s.out, " %s and promise %v", describe(&r.Value), r.Next)
	}
	fmt.Fprintf(&s.out, " -> %s\n", strings.Join(nodes, " "))
}

func TestQuorum(t *testing.T) {
	both := func(g Group, nodes ...uint64) bool {
		return g.Quorum(func(i int) bool { return slices.Contains(nodes, g.Seats[i].Node) })
	}
	for _, c := range []struct {
		epoch int
		nodes []uint64
		want  bool
	}{
		{1, []uint64{1}, false}, {1, []uint64{1, 3}, true}, {1, []uint64{1, 4}, false},
		{2, []uint64{1, 2}, true}, {2, []uint64{1, 3}, false}, {2, []uint64{1, 4}, false}, {2, []uint64{1, 3, 4}, true}, {2, []uint64{3, 4}, false},
		{3, []uint64{1, 4}, true},
	} {
		if got := both(groups[c.epoch], c.nodes...); got != c.want {
			t.Errorf("epoch %d, nodes %v: %v, want %v", c.epoch, c.nodes, got, c.want)
		}
	}
	none := Group{Epoch: 1, Seats: []ring.Seat{}}
	if none.Quorum(func(int) bool { return true }) {
		t.Error("nobody is a quorum")
	}
}
