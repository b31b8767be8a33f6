package register

import (
	"encoding/binary"
	"fmt"
	"slices"
	"strings"

	"github.com/zeebo/xxh3"

	"github.com/cambiumdb/cambium/distrib"
	"github.com/cambiumdb/cambium/distrib/ring"
)

// scope is a small world of which all histories are explored: every order in which messages come, any of them late, twice or never,
// with so many faults.
type scope struct {
	scripts    [2][]Operation // of each proposer; the next is submitted when the one before is answered
	folded     bool           // they may be submitted while others wait
	prompt     bool           // an answer comes at once or never, which leaves fewer orders
	retries    int            // of each proposer, after it was beaten
	losses     int            // how often a proposer stops waiting for an answer
	expires    int            // how often an operation's time is over
	crashes    int            // of acceptors
	starts     int            // of proposers anew
	moves      bool           // node 3 is replaced by node 4, in three epochs
	wiped      bool           // node 3 loses its store, and comes back in a second epoch
	dead       bool           // node 3 is gone from the second epoch on
	stays      bool           // the first proposer does not hear of the change
	second     uint64         // the epoch in which the second proposer begins
	late       bool           // the first one's first proposal is on its way when all begins
	data       [4]distrib.Record
	stray      distrib.Record // an eventual write that comes to a replica at any moment; nil: none
	everywhere bool           // it comes to all replicas at once: a read begun later must tell of it
	control    control
}

// control is a known mistake in what surrounds the steps.
type control struct {
	unsyncedPromises bool // promises are not synced before they are told
	unsyncedAccepts  bool // accepted values are not
	acceptOlder      bool // promises are not looked at
	sameRun          bool // a node that starts anew uses its old run number
	sameNode         bool // two nodes have one number
	noFence          bool // requests of older epochs are taken
	oneEnd           bool // a quorum of a key that moves is one of the new end
	noCopy           bool // registers do not move
	earlyCopy        bool // they are copied before the older epoch is fenced off
	forgetful        bool // who has lost its store answers before it has copied
	dropStrays       bool // what replicas stored without knowing is not told
}

// acceptor is a node: what it holds, and what of it a crash would leave.
type acceptor struct {
	state, durable    State
	data, durableData distrib.Record
	fence             uint64
	since             uint64 // as of State.Answers
	read              *State // what was told of the state, on its way to who copies it; nil: nothing
	copied            bool   // it came there
}

// message is on its way, for ever: it may be delivered again at any moment, or never.
type message struct {
	node    int // the acceptor
	prop    int // the proposer
	request *Request
	reply   *Reply // nil of a request
	hash    uint64 // not of node
}

// world is one state of the exploration. Its parts are replaced and never changed.
type world struct {
	s     *scope
	nodes [4]*acceptor
	props [2]*Proposer
	net   [4][]*message // from and to each node
	sums  struct {
		nodes, net [4]uint64
		props      [2]uint64
		heard      [2][4]uint64 // what a proposer has heard from a node
	}
	next                   [2]int // of the scripts
	open                   [2]int // operations that wait
	retried                [2]int
	starts                 int
	lost, expired, crashed int
	strayed                bool
	epoch                  uint64 // of the topology
	lostStore              bool
	tells                  [8]bool   // which operations must tell of the stray
	acked                  [8]Ballot // of each operation that was acknowledged: a ballot whose value has it
	mon                    monitor
}

// event is a step of the exploration, for the trace.
type event struct {
	what string
	a, b int
	m    *message
}

func (e event) String() string {
	s := fmt.Sprintf("%s %d %d", e.what, e.a+1, e.b+1)
	if e.m == nil {
		return s
	}
	if r := e.m.request; r != nil {
		return fmt.Sprintf("%s %v next %v %s", s, r.Ballot, r.Next, describe(&r.Value)) + " " + r.Kind.String()
	}
	r := e.m.reply
	return fmt.Sprintf("%s reply to %s %v ok=%v promised %v accepted %v %s", s, r.Kind, r.Ballot, r.OK, r.Promised, r.Accepted, describe(&r.Value))
}

// describe is what a value holds: its siblings' bytes.
func describe(v *Value) string { return "{" + contents(v.Record) + "}" }

func contents(r distrib.Record) string {
	var list []string
	for _, s := range r {
		if s.Value.Deleted {
			list = append(list, "-")
		} else {
			list = append(list, string(s.Value.Data))
		}
	}
	slices.Sort(list)
	return strings.Join(list, ",")
}

// groups are the owners of the key at each epoch.
var groups = [...]Group{
	1: {1, []ring.Seat{{Node: 1, Ends: ring.OldEnd}, {Node: 2, Ends: ring.OldEnd}, {Node: 3, Ends: ring.OldEnd}}},
	2: {2, []ring.Seat{{Node: 1, Ends: ring.BothEnds}, {Node: 2, Ends: ring.BothEnds}, {Node: 3, Ends: ring.OldEnd}, {Node: 4, Ends: ring.NewEnd}}},
	3: {3, []ring.Seat{{Node: 1, Ends: ring.OldEnd}, {Node: 2, Ends: ring.OldEnd}, {Node: 4, Ends: ring.OldEnd}}},
}

func (s *scope) group(epoch uint64) Group {
	if s.wiped {
		return Group{epoch, groups[1].Seats}
	}
	if epoch == 2 && s.control.oneEnd {
		return Group{2, groups[3].Seats}
	}
	return groups[epoch]
}

func newWorld(s *scope) *world {
	w := &world{s: s, epoch: 1, mon: newMonitor(s)}
	for i := range w.nodes {
		w.setNode(i, &acceptor{data: s.data[i], durableData: s.data[i], fence: 1})
	}
	for i := range w.props {
		w.props[i] = w.proposer(i, 1)
		w.hashProposer(i)
	}
	if s.late {
		w.submit(0)
		for i := range 3 {
			w.deliver(w.net[i][0], true)
		}
	}
	return w
}

func (w *world) proposer(i int, run uint64) *Proposer {
	node := uint64(i + 1)
	if w.s.control.sameNode {
		node = 1
	}
	if w.s.control.sameRun {
		run = 1
	}
	above := distrib.Timestamp(4 * i) // the second one's clock is ahead: it takes over
	if w.s.control.sameNode {
		above = 0
	}
	return NewProposer(node, run, w.s.group(1), above)
}

// sum is the hash of the whole world. Nodes that do the same are not told apart.
func (w *world) sum() uint64 {
	var room [256]byte
	d := room[:0]
	var nodes [4]uint64
	for i := range nodes {
		d = binary.LittleEndian.AppendUint64(d[:0], w.sums.nodes[i])
		d = binary.LittleEndian.AppendUint64(d, w.sums.net[i])
		d = binary.LittleEndian.AppendUint64(d, w.sums.heard[0][i])
		d = binary.LittleEndian.AppendUint64(d, w.sums.heard[1][i])
		nodes[i] = xxh3.Hash(d)
	}
	alike := 3
	if w.s.moves || w.s.wiped {
		alike = 2
	}
	slices.Sort(nodes[:alike])
	d = d[:0]
	for _, h := range nodes {
		d = binary.LittleEndian.AppendUint64(d, h)
	}
	for i, h := range w.sums.props {
		d = binary.LittleEndian.AppendUint64(d, h)
		d = append(d, byte(w.next[i]), byte(w.open[i]), byte(w.retried[i]))
	}
	d = append(d, byte(w.starts), byte(w.lost), byte(w.expired), byte(w.crashed), bit1(w.strayed), byte(w.epoch), bit1(w.lostStore))
	for _, tells := range w.tells {
		d = append(d, bit1(tells))
	}
	for _, b := range w.acked {
		d = append(d, byte(b.Epoch), byte(b.Time), byte(b.Node), byte(b.Run))
	}
	d = binary.LittleEndian.AppendUint64(d, w.mon.hash())
	return xxh3.Hash(d)
}

func bit1(b bool) byte {
	if b {
		return 1
	}
	return 0
}

func (w *world) setNode(i int, a *acceptor) {
	d := AppendState(nil, &a.state)
	d = AppendState(d, &a.durable)
	d = distrib.AppendRecord(d, a.data)
	d = distrib.AppendRecord(d, a.durableData)
	if a.read != nil {
		d = AppendState(d, a.read)
	}
	w.nodes[i], w.sums.nodes[i] = a, xxh3.Hash(append(d, byte(a.fence), byte(a.since), bit1(a.copied)))
}

func (w *world) hashProposer(i int) {
	p := w.props[i]
	if p.phase == idle || p.phase == beaten {
		p.heard = nil
	}
	p.attempts, p.met, p.absorbed = 0, Ballot{}, min(p.absorbed, 1)
	d := []byte{byte(p.phase), byte(p.last), bit1(p.ready), byte(p.absorbed), byte(p.group.Epoch), byte(p.run)}
	for _, list := range [][]waiting{p.queue, p.round} {
		d = append(d, byte(len(list)))
		for _, w := range list {
			d = AppendBallot(append(d, w.ID[0], bit1(w.gone), bit1(w.late)), w.sent)
		}
	}
	p.turn = min(p.turn, 1)
	for _, l := range p.losers {
		d = append(AppendResult(d, &l.result), l.ID[0])
	}
	w.sums.heard[i] = [4]uint64{}
	for seat, a := range p.heard {
		h := []byte{byte(a.state)}
		if a.state == agreed {
			h = appendReply(h, &a.reply)
		}
		w.sums.heard[i][p.group.Seats[seat].Node-1] = xxh3.Hash(h)
	}
	for _, b := range []Ballot{p.ballot, p.promised, p.known, p.decided} {
		d = AppendBallot(d, b)
	}
	d = AppendValue(d, &p.base)
	d = AppendValue(d, &p.proposed)
	w.sums.props[i] = xxh3.Hash(distrib.AppendRecord(d, p.strays))
}

func appendReply(d []byte, r *Reply) []byte {
	d = append(d, byte(r.Kind), bit1(r.OK), bit1(r.Omitted), byte(r.Fence))
	d = AppendBallot(AppendBallot(AppendBallot(d, r.Ballot), r.Promised), r.Accepted)
	d = AppendValue(d, &r.Value)
	return distrib.AppendRecord(d, r.Data)
}

// send adds a message, unless it is on its way already. It reports what no message may be.
func (w *world) send(m *message) (violation string) {
	d := []byte{byte(m.prop)}
	if r := m.request; r != nil {
		d = append(d, 1, byte(r.Kind), bit1(r.Digest))
		d = AppendBallot(AppendBallot(AppendBallot(AppendBallot(d, r.Ballot), r.Next), r.Have), r.Decided)
		d = AppendValue(d, &r.Value)
	} else {
		d = appendReply(append(d, 2), m.reply)
	}
	m.hash = xxh3.Hash(d)
	for _, other := range w.net[m.node] {
		if other.hash == m.hash {
			return ""
		}
	}
	if m.request != nil && m.request.Kind == Accept {
		violation = w.proposed(m.request)
	}
	w.net[m.node] = append(slices.Clip(w.net[m.node]), m)
	w.sums.net[m.node] += m.hash
	return violation
}

// clean drops messages that can do nothing any more, so that worlds which differ in nothing else are one.
func (w *world) clean() {
	if c := &w.s.control; c.acceptOlder || c.sameRun || c.sameNode {
		return
	}
	for i := range w.net {
		if slices.ContainsFunc(w.net[i], w.idle) {
			w.net[i] = slices.DeleteFunc(slices.Clone(w.net[i]), w.idle)
			w.sums.net[i] = 0
			for _, m := range w.net[i] {
				w.sums.net[i] += m.hash
			}
		}
	}
}

// idle reports whether a message can do nothing any more: nobody waits for the answer, and what it asks was done or is refused.
func (w *world) idle(m *message) bool {
	p, a := w.props[m.prop], w.nodes[m.node]
	if m.reply != nil {
		return !p.phase.awaits(m.reply.Kind) || p.ballot != m.reply.Ballot
	}
	r := m.request
	if p.phase.awaits(r.Kind) && p.ballot == r.Ballot && p.heard[p.seat(m.node)].state == awaited {
		return false
	}
	switch {
	case r.Kind == Ask || r.Ballot.Epoch < a.fence && !w.s.control.noFence:
		return true
	case r.Kind == Prepare:
		return r.Ballot.Compare(a.durable.Promised) <= 0
	}
	return r.Ballot == a.durable.Accepted || r.Ballot.Compare(a.durable.Promised) < 0
}

func (p *Proposer) seat(node int) int {
	return slices.IndexFunc(p.group.Seats, func(s ring.Seat) bool { return s.Node == uint64(node+1) })
}

// requests yields all proposals that are on their way.
func (w *world) proposals(yield func(*Request) bool) {
	for i := range w.net {
		for _, m := range w.net[i] {
			if m.request != nil && m.request.Kind == Accept && !yield(m.request) {
				return
			}
		}
	}
}

// proposed checks a proposal beside all others: one value for a ballot, and no acknowledged change is missing.
func (w *world) proposed(r *Request) string {
	for o := range w.proposals {
		if o.Ballot == r.Ballot && !slices.Equal(AppendValue(nil, &o.Value), AppendValue(nil, &r.Value)) {
			return fmt.Sprintf("two values of the ballot %v: %s and %s", r.Ballot, describe(&o.Value), describe(&r.Value))
		}
	}
	return w.keeps(r)
}

// keeps checks that a proposal has all changes that were acknowledged at lower ballots.
func (w *world) keeps(r *Request) string {
	for i, b := range w.acked {
		if !b.Zero() && b.Compare(r.Ballot) < 0 && !r.Value.has(opID(i)) {
			return fmt.Sprintf("operation %d was acknowledged at %v, and %v is proposed without it", i, b, r.Ballot)
		}
	}
	return ""
}

func opID(i int) distrib.OpID { return distrib.OpID{0: byte(i), 15: 1} }
