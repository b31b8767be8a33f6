package demo

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/cambiumdb/cambium/distrib/api"
)

func (s *Shell) put(ctx context.Context, st *statement) error {
	key, r := s.key(st), &api.PutRequest{Key: []byte(st.args[0]), Value: []byte(st.args[1]), Level: st.opts.level, TtlMs: uint64(st.opts.ttl.Milliseconds()), OpId: newOp()}
	if !st.opts.noContext {
		r.Context = s.memory[key].context
	}
	a, err := ask(s, ctx, st, api.KVClient.Put, r)
	return s.wrote(st, r.GetOpId(), a, err)
}

// linear reports whether a statement is linearizable.
func (st *statement) linear() bool {
	return st.verb.name == "cas" || st.opts.level.GetConsistency() == api.Consistency_LINEARIZABLE
}

func (s *Shell) del(ctx context.Context, st *statement) error {
	key, r := s.key(st), &api.DeleteRequest{Key: []byte(st.args[0]), Level: st.opts.level, OpId: newOp()}
	if !st.opts.noContext {
		r.Context = s.memory[key].context
	}
	a, err := ask(s, ctx, st, api.KVClient.Delete, r)
	return s.wrote(st, r.GetOpId(), a, err)
}

// wrote remembers and prints what became of a put or a delete.
func (s *Shell) wrote(st *statement, op []byte, a *api.PutResponse, err error) error {
	key := s.key(st)
	s.noteKey(key.key)
	var p *problem
	if errors.As(err, &p) && p.code == exitUnknown {
		m := s.memory[key]
		m.unknown, m.linear = op, st.linear()
		s.memory[key] = m
	}
	if err != nil {
		return err
	}
	if !st.opts.noContext {
		s.remember(key, a.GetContext())
	}
	s.printf("ok: %s", storedBy(st.opts.level, s.all))
	if n := a.GetSiblings(); n > 1 {
		s.printf("; %s has %d values now, since this writer had not read what was there", st.args[0], n)
	}
	s.printf("\n")
	return nil
}

// noteKey has \wait compare a key.
func (s *Shell) noteKey(key string) {
	if !slices.Contains(s.keys, key) {
		s.keys = append(s.keys, key)
	}
}

// storedBy says how many of all nodes of a key have a write that succeeded. More may have it: who answers first is a
// race.
func storedBy(l *api.Level, all int) string {
	switch n := nodesOf(l, all); {
	case all == 1:
		return "the only node has it"
	case n == all:
		return fmt.Sprintf("all %d nodes have it", n)
	case n == 1:
		return "at least 1 node has it"
	default:
		return fmt.Sprintf("at least %d nodes have it", n)
	}
}

// nodesOf is how many of n nodes must answer.
func nodesOf(l *api.Level, n int) int {
	switch {
	case l.GetNodes() > 0:
		return int(l.GetNodes())
	case l.GetConsistency() == api.Consistency_ONE:
		return 1
	case l.GetConsistency() == api.Consistency_ALL:
		return n
	}
	return n/2 + 1
}

func (s *Shell) get(ctx context.Context, st *statement) error {
	a, err := ask(s, ctx, st, api.KVClient.Get, &api.GetRequest{Key: []byte(st.args[0]), Level: st.opts.level})
	if err != nil {
		return err
	}
	s.remember(s.key(st), a.GetContext())
	if absent(a.GetSiblings()) {
		return problemf(exitNotFound, "%s is not there", quote(st.args[0]))
	}
	s.printf("%s", s.format(st.args[0], a.GetSiblings()))
	if a.GetLinearizable() && !st.linear() {
		s.printf("  %s is linearizable: what was written last may be missing here\n", quote(st.args[0]))
	}
	return nil
}

func (s *Shell) cas(ctx context.Context, st *statement) error {
	r := &api.CompareAndSwapRequest{Key: []byte(st.args[0]), Value: []byte(st.args[1]), TtlMs: uint64(st.opts.ttl.Milliseconds()), OpId: newOp()}
	if st.opts.absent {
		r.Expect = &api.CompareAndSwapRequest_ExpectAbsent{ExpectAbsent: true}
	} else {
		r.Expect = &api.CompareAndSwapRequest_ExpectValue{ExpectValue: []byte(*st.opts.old)}
	}
	a, err := ask(s, ctx, st, api.KVClient.CompareAndSwap, r)
	if err != nil {
		return s.wrote(st, r.GetOpId(), nil, err)
	}
	s.noteKey(st.args[0])
	if !a.GetSwapped() {
		return s.lost(st, a.GetCurrent())
	}
	s.remember(s.key(st), a.GetCurrent().GetContext())
	s.printf("ok: swapped\n")
	return nil
}

// lost says that what is there is not what a statement expected.
func (s *Shell) lost(st *statement, current *api.GetResponse) *problem {
	s.remember(s.key(st), current.GetContext())
	text := quote(st.args[0]) + " is not there"
	if !absent(current.GetSiblings()) {
		text = strings.TrimSuffix(s.format(st.args[0], current.GetSiblings()), "\n")
	}
	return &problem{exitNotFound, []string{"lost: " + text}}
}

func (s *Shell) scan(ctx context.Context, st *statement) error {
	conn, err := s.connection(st)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, s.patience)
	defer cancel()
	if err := s.learn(ctx, conn); err != nil {
		return s.failed(st, err)
	}
	stream, err := api.NewKVClient(conn).Scan(ctx, &api.ScanRequest{Level: st.opts.level})
	keys := 0
	for err == nil {
		var page *api.ScanResponse
		if page, err = stream.Recv(); err != nil {
			break
		}
		for _, e := range page.GetEntries() {
			s.printf("%s", s.format(string(e.GetKey()), e.GetSiblings()))
			keys++
		}
	}
	if !errors.Is(err, io.EOF) {
		return s.failed(st, err)
	}
	s.printf("%s\n", plural(keys, "key"))
	return nil
}

func (s *Shell) where(ctx context.Context, st *statement) error {
	owners, fallbacks, err := s.places(ctx, st, st.args[0])
	if err != nil {
		return err
	}
	s.printf("%s lives on %s", quote(st.args[0]), listed(owners))
	if len(fallbacks) > 0 {
		s.printf("; where one is down, %s stand in, in this order", listed(fallbacks))
	}
	s.printf("\n")
	return nil
}

// places are the names of the nodes of a key, in the order in which they are asked.
func (s *Shell) places(ctx context.Context, st *statement, key string) (owners, fallbacks []string, err error) {
	conn, err := s.connection(st)
	if err != nil {
		return nil, nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, s.patience)
	defer cancel()
	a, err := api.NewClusterClient(conn).Where(ctx, &api.WhereRequest{Key: []byte(key)})
	if err != nil {
		return nil, nil, s.failed(st, err)
	}
	for _, m := range a.GetOwners() {
		owners = append(owners, m.GetName())
	}
	for _, m := range a.GetFallbacks() {
		fallbacks = append(fallbacks, m.GetName())
	}
	return owners, fallbacks, nil
}

func (s *Shell) resolve(ctx context.Context, st *statement) error {
	op, linear := s.memory[s.key(st)].unknown, s.memory[s.key(st)].linear || st.linear()
	if len(st.args) == 2 {
		var err error
		if op, err = hex.DecodeString(st.args[1]); err != nil || len(op) != opBytes {
			return problemf(exitUsage, "%q is not the name of an operation: %d hexadecimal digits were expected", st.args[1], 2*opBytes)
		}
	}
	if op == nil {
		return problemf(exitUsage, "no write of %s by this client has an unknown outcome: the name of an operation was expected, as in %s OP", quote(st.args[0]), st.text)
	}
	a, err := ask(s, ctx, st, api.KVClient.Resolve, &api.ResolveRequest{Key: []byte(st.args[0]), OpId: op, Linearizable: linear})
	if err != nil {
		return err
	}
	switch a.GetFate() {
	case api.ResolveResponse_HAPPENED:
		s.printf("it happened: the write is there, or one that replaced it\n")
		return nil
	case api.ResolveResponse_NOT_HAPPENED:
		return problemf(exitNotFound, "it did not happen, and never will")
	case api.ResolveResponse_NOT_SEEN:
		return problemf(exitUnknown, "still unknown: no node that answered has it; it may come yet")
	}
	return problemf(exitUnknown, "unknown for ever: too much has been written to %s since", quote(st.args[0]))
}

// key is what the client of a statement remembers its key by.
func (s *Shell) key(st *statement) memoryKey { return memoryKey{st.opts.at, st.args[0]} }

func (s *Shell) remember(key memoryKey, context []byte) {
	m := s.memory[key]
	m.context = context
	s.memory[key] = m
}

const opBytes = 16

func newOp() []byte {
	op := make([]byte, opBytes)
	_, _ = rand.Read(op) // it never fails
	return op
}
