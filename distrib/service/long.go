package service

import (
	"slices"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"

	"github.com/cambiumdb/cambium/distrib/api"
)

// parts are what is still to be sent of a long answer.
type parts struct {
	reply
	id   uint64
	rest []byte
}

func (p *parts) left() bool { return len(p.rest) > 0 }

// send sends the next part.
func (p *parts) send(stream grpc.BidiStreamingServer[api.SessionRequest, api.SessionResponse]) (err error) {
	if r := p.response; r != nil {
		if p.rest, err = proto.Marshal(r); err != nil {
			return err
		}
		p.id, p.response = r.GetId(), nil
	}
	n := min(len(p.rest), partBytes)
	data := p.rest[:n]
	p.rest = p.rest[n:]
	return stream.Send(&api.SessionResponse{Id: p.id, Result: &api.SessionResponse_Part{Part: &api.Part{Data: data, Rest: uint64(len(p.rest))}}})
}

// hold makes room for the answer of t. It is false where a read has to wait for that: what it found is forgotten, and
// found again once the client has taken other answers. Short answers never wait.
func (ss *session) hold(t task, bytes int) bool {
	ss.mu.Lock()
	defer ss.mu.Unlock()
	others := ss.held - t.answer
	if bytes > max(partBytes, t.answer) && others > 0 && t.request.GetGet() != nil && ss.ended == nil && !ss.fits(others+bytes, bytes-t.answer) {
		ss.reserve(-t.answer)
		t.answer = bytes
		ss.later = append(ss.later, t)
		ss.resume()
		return false
	}
	ss.reserve(bytes - t.answer)
	return true
}

// fits reports whether answers may hold so many bytes, more of them than now. The caller holds mu.
func (ss *session) fits(bytes, more int) bool {
	return bytes <= ss.budget.max && ss.server.budget.fits(more)
}

// reserve adds to what answers hold. The caller holds mu.
func (ss *session) reserve(bytes int) {
	ss.held += bytes
	ss.server.budget.hold(bytes)
}

// resume begins the reads anew that were put off and have room now, in their order. The caller holds mu.
func (ss *session) resume() {
	n := 0
	for ; n < len(ss.later); n++ {
		t := ss.later[n]
		if ss.held > 0 && !ss.fits(ss.held+t.answer, t.answer) {
			break
		}
		ss.reserve(t.answer)
		ss.server.workers.start(t)
	}
	ss.later = slices.Delete(ss.later, 0, n)
}

// drop ends a read that was put off, and whose client is gone. The caller holds mu.
func (ss *session) drop(t task) {
	t.within.drop()
	ss.under--
	ss.give(reply{operations: 1, request: t.bytes})
}
