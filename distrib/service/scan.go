package service

import (
	"errors"
	"time"

	"google.golang.org/grpc"

	"github.com/cambiumdb/cambium/distrib"
	"github.com/cambiumdb/cambium/distrib/api"
	"github.com/cambiumdb/cambium/distrib/ring"
	"github.com/cambiumdb/cambium/distrib/vclock"
)

// A message of a scan is sent when it has pageKeys keys, or pageBytes of keys and values.
const pageKeys, pageBytes = 256, 1 << 20

// errEnough ends a scan that has found as many keys as it was to.
var errEnough = errors.New("enough")

// Scan implements api.KVServer. It has no other deadline than that of its client: it goes on as that takes pages.
func (s *Server) Scan(q *api.ScanRequest, stream grpc.ServerStreamingServer[api.ScanResponse]) error {
	since := time.Now()
	f := s.scan(q, stream)
	s.count(q, f, since)
	if f != nil {
		return statusOf(f)
	}
	return nil
}

func (s *Server) scan(q *api.ScanRequest, stream grpc.ServerStreamingServer[api.ScanResponse]) *api.Failure {
	if err := s.budget.take(operationBytes + pageBytes); err != nil {
		return s.refusal(err)
	}
	defer s.budget.give(1, operationBytes+pageBytes)
	a := attempt{op: "scan", began: s.opts.Now()}
	o, err := scanOptions(q, a.began)
	if err == nil {
		p := page{send: stream.Send, request: q, now: o.Now}
		if err = s.opts.Coordinator.Scan(stream.Context(), o, p.add); err == nil || errors.Is(err, errEnough) {
			err = p.flush()
		}
	}
	if err != nil {
		return s.failure(stream.Context(), a, err)
	}
	return nil
}

// page gathers the keys of a scan's next message.
type page struct {
	send    func(*api.ScanResponse) error
	request *api.ScanRequest
	now     int64
	entries []*api.ScanEntry
	bytes   int
	keys    uint32 // so far, in all pages
}

func (p *page) add(key []byte, r distrib.Record) error {
	e := &api.ScanEntry{Key: key, Token: ring.TokenOf(key).Hi}
	p.bytes += len(key)
	if !p.request.GetKeysOnly() {
		e.Siblings, e.Context = siblings(r, p.now), distrib.EncodeContext(key, vclock.Context(r))
		for _, s := range e.Siblings {
			p.bytes += len(s.Value)
		}
	}
	p.entries = append(p.entries, e)
	p.keys++
	if p.keys == p.request.GetLimit() {
		return errEnough
	}
	if len(p.entries) < pageKeys && p.bytes < pageBytes {
		return nil
	}
	return p.flush()
}

func (p *page) flush() error {
	if len(p.entries) == 0 {
		return nil
	}
	err := p.send(&api.ScanResponse{Entries: p.entries})
	p.entries, p.bytes = nil, 0
	return err
}
