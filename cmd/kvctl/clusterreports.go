package main

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/cambiumdb/cambium/distrib/api"
	"github.com/cambiumdb/cambium/engine/inspect"
	"github.com/cambiumdb/cambium/perf"
)

// member is a node of the ring.
type member struct {
	ID     uint64  `json:"id"`
	Name   string  `json:"name"`
	Addr   string  `json:"addr"`
	HTTP   string  `json:"http,omitempty"`
	Zone   string  `json:"zone,omitempty"`
	Weight float64 `json:"weight"`
	Run    uint64  `json:"run"` // the number of its last start
}

func memberOf(m *api.Member) member {
	w := m.GetWeight()
	if w == 0 {
		w = 1
	}
	return member{m.GetId(), m.GetName(), m.GetAddr(), m.GetHttp(), m.GetZone(), w, m.GetRun()}
}

func membersOf(of []*api.Member) []member {
	all := []member{}
	for _, m := range of {
		all = append(all, memberOf(m))
	}
	return all
}

// ringReport is the members of a ring.
type ringReport struct {
	ClusterID string   `json:"cluster_id"`
	Epoch     uint64   `json:"epoch"`
	Replicas  uint32   `json:"replicas"`
	VNodes    uint32   `json:"vnodes"`
	Members   []member `json:"members"`
	Next      []member `json:"next,omitempty"` // after the change under way
	Stage     string   `json:"stage,omitempty"`
}

func ringOf(m *api.RingResponse) *ringReport {
	r := &ringReport{m.GetClusterId(), m.GetEpoch(), m.GetReplicas(), m.GetVnodes(), membersOf(m.GetMembers()), nil, m.GetStage()}
	if len(m.GetNext()) > 0 {
		r.Next = membersOf(m.GetNext())
	}
	return r
}

// WriteText writes the members as a table.
func (r *ringReport) WriteText(w io.Writer, _ inspect.Style) {
	fmt.Fprintf(w, "cluster %s, epoch %d: %d replicas of each key, %d virtual nodes for a weight of 1\n", r.ClusterID, r.Epoch, r.Replicas, r.VNodes)
	writeMembers(w, r.Members)
	if len(r.Next) > 0 {
		fmt.Fprintf(w, "\nafter the change under way, which is at %s:\n", r.Stage)
		writeMembers(w, r.Next)
	}
}

func writeMembers(w io.Writer, members []member) {
	rows := [][]string{{"name", "id", "grpc", "http", "zone", "weight", "run"}}
	for _, m := range members {
		rows = append(rows, []string{m.Name, fmt.Sprint(m.ID), m.Addr, dash(m.HTTP), dash(m.Zone), fmt.Sprint(m.Weight), fmt.Sprint(m.Run)})
	}
	writeRows(w, rows)
}

// clusterStatus is what a node knows of its cluster.
type clusterStatus struct {
	Ring     *ringReport   `json:"ring"`
	By       string        `json:"by"` // the node that says it
	Members  []memberState `json:"members"`
	Metadata string        `json:"metadata"` // reachable, or why not
	Dirty    uint64        `json:"dirty_slots"`
	Hints    []hint        `json:"hints"`
	Change   *transition   `json:"change,omitempty"`
}

// memberState is a node's opinion of another.
type memberState struct {
	Name   string     `json:"name"`
	State  string     `json:"state"`           // up, suspect, down
	Since  *time.Time `json:"since,omitempty"` // nil: it was not heard of yet
	Reason string     `json:"reason,omitempty"`
	Epoch  uint64     `json:"epoch"`
	Data   uint64     `json:"data_bytes"`
	Hints  uint64     `json:"hint_bytes"`
	Share  float64    `json:"share"` // of the ring's keys, replicas included
}

// transition is a change of the nodes that is under way.
type transition struct {
	ID      string   `json:"id"`
	Stage   string   `json:"stage"`
	Owner   string   `json:"owner"`
	Changes []string `json:"changes"`
	Planned uint64   `json:"bytes_planned"`
	Moved   uint64   `json:"bytes_moved"`
	Keys    uint64   `json:"keys_moved"`
	Waiting []string `json:"waiting,omitempty"`
}

func statusOf(m *api.StatusResponse) *clusterStatus {
	s := &clusterStatus{Ring: ringOf(m.GetRing()), By: m.GetSelf().GetName(), Members: []memberState{}, Metadata: m.GetMetadata(), Dirty: m.GetDirtySlots(), Hints: []hint{}}
	for _, x := range m.GetMembers() {
		s.Members = append(s.Members, memberState{x.GetMember().GetName(), x.GetState(), timeOf(x.GetSinceMs()), x.GetReason(), x.GetEpoch(),
			x.GetDataBytes(), x.GetHintBytes(), x.GetShare()})
	}
	for _, h := range m.GetHints() {
		s.Hints = append(s.Hints, hintOf(h))
	}
	if t := m.GetTransition(); t.GetId() != "" {
		s.Change = &transition{t.GetId(), t.GetStage(), t.GetOwner(), slices.Concat([]string{}, t.GetChanges()), t.GetBytesPlanned(), t.GetBytesMoved(), t.GetKeysMoved(), t.GetWaiting()}
	}
	return s
}

// WriteText writes a table of the nodes, and what goes on.
func (s *clusterStatus) WriteText(w io.Writer, _ inspect.Style) {
	fmt.Fprintf(w, "cluster %s, epoch %d, as %s sees it; metadata %s; %d of 65536 slots to compare\n", s.Ring.ClusterID, s.Ring.Epoch, s.By, s.Metadata, s.Dirty)
	rows := [][]string{{"name", "state", "since", "share", "data", "hints", "epoch", "why"}}
	for _, m := range s.Members {
		rows = append(rows, []string{m.Name, m.State, timeText(m.Since), fmt.Sprintf("%.1f %%", 100*m.Share), perf.Bytes(int64(m.Data)), perf.Bytes(int64(m.Hints)),
			fmt.Sprint(m.Epoch), dash(m.Reason)})
	}
	writeRows(w, rows)
	if len(s.Hints) > 0 {
		fmt.Fprintln(w)
		(&hints{s.Hints}).WriteText(w, inspect.Style{})
	}
	if c := s.Change; c != nil {
		fmt.Fprintf(w, "\nchange %s: %s; at %s, driven by %s; %s of %s moved, %d keys\n", c.ID, strings.Join(c.Changes, ", "), c.Stage, c.Owner,
			perf.Bytes(int64(c.Moved)), perf.Bytes(int64(c.Planned)), c.Keys)
		if len(c.Waiting) > 0 {
			fmt.Fprintf(w, "it waits for %s\n", strings.Join(c.Waiting, ", "))
		}
	}
}

// hints are writes that nodes keep for others.
type hints struct {
	Hints []hint `json:"hints"`
}

type hint struct {
	Node   string     `json:"node"` // that keeps them
	Target string     `json:"target"`
	Bytes  uint64     `json:"bytes"`
	Oldest *time.Time `json:"oldest,omitempty"`
	State  string     `json:"state"` // waiting, draining, drained
	// Of records, since the node started.
	Kept       uint64 `json:"kept"`
	HandedOver uint64 `json:"handed_over"`
	Refused    uint64 `json:"refused"`
}

func hintOf(h *api.KeptHints) hint {
	return hint{h.GetNode(), h.GetTarget(), h.GetBytes(), timeOf(h.GetOldestMs()), h.GetState(), h.GetKept(), h.GetHandedOver(), h.GetRefused()}
}

// timeOf is a time of an answer; nil: it has none.
func timeOf(ms int64) *time.Time {
	if ms <= 0 {
		return nil
	}
	at := time.UnixMilli(ms).UTC()
	return &at
}

func timeText(at *time.Time) string {
	if at == nil {
		return "-"
	}
	return at.Format(time.DateTime)
}

// add adds what another node has not said already.
func (r *hints) add(h hint) {
	if !slices.ContainsFunc(r.Hints, func(o hint) bool { return o.Node == h.Node && o.Target == h.Target }) {
		r.Hints = append(r.Hints, h)
	}
}

// WriteText writes a table.
func (r *hints) WriteText(w io.Writer, _ inspect.Style) {
	if len(r.Hints) == 0 {
		fmt.Fprintln(w, "no node keeps writes for another")
		return
	}
	rows := [][]string{{"kept by", "for", "bytes", "oldest", "state", "kept", "handed over", "refused"}}
	for _, h := range r.Hints {
		rows = append(rows, []string{h.Node, h.Target, perf.Bytes(int64(h.Bytes)), timeText(h.Oldest), h.State, fmt.Sprint(h.Kept), fmt.Sprint(h.HandedOver), fmt.Sprint(h.Refused)})
	}
	writeRows(w, rows)
}

// plan is a change that could be made.
type plan struct {
	ID      string   `json:"id"`
	Epoch   uint64   `json:"epoch"` // of the ring that it is made for
	Moves   []move   `json:"moves"`
	Bytes   uint64   `json:"bytes"`
	Ranges  uint64   `json:"ranges"`
	Seconds float64  `json:"seconds"` // estimate
	Notes   []string `json:"notes,omitempty"`
}

type move struct {
	From   string `json:"from"`
	To     string `json:"to"`
	Ranges uint64 `json:"ranges"`
	Bytes  uint64 `json:"bytes"`
}

func planOf(m *api.PlanResponse) *plan {
	p := &plan{ID: m.GetId(), Epoch: m.GetEpoch(), Moves: []move{}, Bytes: m.GetBytes(), Ranges: m.GetRanges(), Seconds: m.GetSeconds(), Notes: m.GetNotes()}
	for _, x := range m.GetMoves() {
		p.Moves = append(p.Moves, move{x.GetFrom(), x.GetTo(), x.GetRanges(), x.GetBytes()})
	}
	return p
}

// WriteText writes what moves as a table.
func (p *plan) WriteText(w io.Writer, _ inspect.Style) {
	if len(p.Moves) == 0 {
		fmt.Fprintf(w, "plan %s, for epoch %d: moves nothing\n", p.ID, p.Epoch)
		p.writeNotes(w)
		return
	}
	fmt.Fprintf(w, "plan %s, for epoch %d: moves %s in %d ranges, in about %s\n", p.ID, p.Epoch, perf.Bytes(int64(p.Bytes)), p.Ranges, perf.Seconds(time.Duration(p.Seconds*float64(time.Second))))
	rows := [][]string{{"from", "to", "ranges", "bytes"}}
	for _, m := range p.Moves {
		rows = append(rows, []string{m.From, m.To, fmt.Sprint(m.Ranges), perf.Bytes(int64(m.Bytes))})
	}
	writeRows(w, rows)
	p.writeNotes(w)
}

func (p *plan) writeNotes(w io.Writer) {
	for _, n := range p.Notes {
		fmt.Fprintln(w, n)
	}
}

// WriteText writes what was done.
func (c *changed) WriteText(w io.Writer, _ inspect.Style) {
	fmt.Fprintf(w, "%s of plan %s: the ring is at epoch %d\n", c.Op, c.ID, c.Epoch)
}

// repaired is what nodes have compared.
type repaired struct {
	Nodes []*repairedNode `json:"nodes"`
}

type repairedNode struct {
	Node     string `json:"node"`
	Ranges   uint64 `json:"ranges"`
	Of       uint64 `json:"of"`
	Compared uint64 `json:"compared"` // parts
	Listed   uint64 `json:"listed"`   // keys of parts that differed
	Sent     uint64 `json:"sent"`     // records that others lacked
	Error    string `json:"error,omitempty"`
}

// WriteText writes a table.
func (r *repaired) WriteText(w io.Writer, _ inspect.Style) {
	rows := [][]string{{"node", "ranges", "compared", "listed", "sent", "error"}}
	for _, n := range r.Nodes {
		rows = append(rows, []string{n.Node, fmt.Sprintf("%d of %d", n.Ranges, n.Of), fmt.Sprint(n.Compared), fmt.Sprint(n.Listed), fmt.Sprint(n.Sent), dash(n.Error)})
	}
	writeRows(w, rows)
}

// err is an error where not all was compared.
func (r *repaired) err() error {
	for _, n := range r.Nodes {
		if n.Error != "" || n.Ranges < n.Of {
			return &statusError{code: exitUnavailable, err: errors.New("repair: not all ranges were compared"), try: "again, when all nodes answer: kvctl cluster status"}
		}
	}
	return nil
}

// writeRows writes rows in columns that are aligned to the left. The first row is their heading.
func writeRows(w io.Writer, rows [][]string) {
	width := make([]int, len(rows[0]))
	for _, row := range rows {
		for i, cell := range row {
			width[i] = max(width[i], len(cell))
		}
	}
	for _, row := range rows {
		line := ""
		for i, cell := range row {
			line += fmt.Sprintf("%-*s  ", width[i], cell)
		}
		fmt.Fprintln(w, strings.TrimRight(line, " "))
	}
}

func dash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}

func listed(names []string) string { return dash(strings.Join(names, " ")) }
