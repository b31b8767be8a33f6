package register

import (
	"github.com/cambiumdb/cambium/distrib"
	"github.com/cambiumdb/cambium/distrib/vclock"
	"github.com/cambiumdb/cambium/internal/bugs"
)

// State is what an acceptor must not forget of a key. The zero value is that of a key that it was never asked for.
type State struct {
	Promised Ballot // nothing below it is taken any more
	Accepted Ballot // of the last value that it took
	Value    Value
}

// Linearizable reports whether the key is: a value was taken, by eventual writes it must not be changed any more.
func (s *State) Linearizable() bool { return !s.Accepted.Zero() }

// Answers reports whether an acceptor may answer a request of that kind, of which the node takes part again since an epoch after
// it has lost its store, and has not copied all registers: only who has accepted something since may tell what that was, and
// promise. since 0: it has lost nothing.
func (s *State) Answers(kind RequestKind, since uint64) bool {
	return kind == Accept || s.Accepted.Epoch >= since
}

// Adopt is s with what another acceptor has accepted, where that is later. For who has lost its store, or becomes an owner,
// see the package comment.
func (s State) Adopt(other *State) (next State, later bool) {
	if other.Accepted.Compare(s.Accepted) <= 0 {
		return s, false
	}
	s.Accepted, s.Value = other.Accepted, other.Value
	if s.Promised.Compare(s.Accepted) < 0 {
		s.Promised = s.Accepted
	}
	return s, true
}

// RequestKind is what a proposer asks.
type RequestKind uint8

// The kinds of requests.
const (
	// Prepare asks to promise Ballot, and for what was accepted.
	Prepare RequestKind = iota
	// Accept asks to take Value at Ballot and then to promise Next.
	Accept
	// Ask asks for what was accepted and changes nothing.
	Ask
)

// String returns the kind's name.
func (k RequestKind) String() string { return [...]string{"prepare", "accept", "ask"}[k] }

// Request is what a proposer asks an acceptor.
type Request struct {
	Kind RequestKind
	// Ballot is the proposal's. Of Ask it only names the question and its epoch.
	Ballot Ballot
	Next   Ballot // of Accept; zero: none
	Value  Value  // of Accept
	// Have is a ballot whose value the proposer knows, so that it need not be sent.
	Have Ballot
	// Digest is of Ask: no value is to be sent at all.
	Digest bool
	// Decided is a ballot of which the proposer knows that its value is decided; zero: none.
	Decided Ballot
}

// Reply is what an acceptor answers. It must not be sent before all that it tells is durable.
type Reply struct {
	Kind   RequestKind // Kind and Ballot of the request
	Ballot Ballot
	// OK: it has promised, accepted, told. Else nothing was changed.
	OK       bool
	Promised Ballot // after the request
	Accepted Ballot // after the request
	// Value of Accepted, unless the proposer had it or did not want it: then Omitted.
	Value   Value
	Omitted bool
	// Data is the replica's record where nothing was accepted, else its strays.
	Data distrib.Record
	// Fence is the oldest epoch whose requests the acceptor takes.
	Fence uint64
}

// Step is what an acceptor does with a request.
type Step struct {
	State State
	// Save: State is to be stored before Reply is sent, in one batch with the merge of Learned.
	Save bool
	// Learned is a decided record that the data record must come to hold; nil: none.
	Learned distrib.Record
	Reply   Reply
}

// Step takes a request. fence is the oldest epoch whose requests the node takes, data what it holds of the key for
// eventual reads, of which the bytes of values are only needed where they are sent on: in Reply.Data.
func (s State) Step(fence uint64, r *Request, data distrib.Record) Step {
	out := Step{State: s, Reply: Reply{Kind: r.Kind, Ballot: r.Ballot, Fence: fence}}
	out.Learned, _ = s.Learn(r.Decided, data)
	if r.Ballot.Epoch >= fence {
		out.take(r)
	}
	out.answer(r, data)
	return out
}

// take does what the request asks if nothing stands against it.
func (t *Step) take(r *Request) {
	s := &t.State
	switch r.Kind {
	case Ask:
		t.Reply.OK = true
	case Prepare:
		if t.Reply.OK = r.Ballot.Compare(s.Promised) >= 0; t.Reply.OK && r.Ballot != s.Promised {
			s.Promised, t.Save = r.Ballot, true
		}
	case Accept:
		switch {
		case r.Ballot == s.Accepted: // it came twice
			t.Reply.OK = true
		case r.Ballot.Compare(s.Promised) >= 0 || bugs.On(bugs.OlderAccepted):
			*s = State{Promised: r.Ballot, Accepted: r.Ballot, Value: r.Value}
			if r.Next.Compare(r.Ballot) > 0 {
				s.Promised = r.Next
			}
			t.Reply.OK, t.Save = true, true
		}
	}
}

// answer fills in what the acceptor tells of itself.
func (t *Step) answer(r *Request, data distrib.Record) {
	s, reply := &t.State, &t.Reply
	reply.Promised, reply.Accepted = s.Promised, s.Accepted
	if !reply.OK {
		return
	}
	reply.Data = data
	if s.Linearizable() {
		reply.Data = Strays(&s.Value, vclock.Merge(data, t.Learned))
		if bugs.On(bugs.StraysUntold) {
			reply.Data = nil
		}
	}
	if r.Kind == Accept || r.Kind == Ask && r.Digest || r.Have == s.Accepted {
		reply.Omitted = s.Linearizable()
		return
	}
	reply.Value = s.Value
}
