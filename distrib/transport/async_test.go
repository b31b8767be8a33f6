package transport

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/cambiumdb/cambium/distrib"
)

// startPut starts a put and returns where its outcome comes.
func (p *pair) startPut(deadline time.Time, key string) chan error {
	came := make(chan error, 2)
	p.client.StartPut(deadline, 2, &distrib.PutRequest{Key: []byte(key), Value: distrib.Value{Data: []byte("v")}}, func(r *distrib.PutReply, err error) {
		if err == nil && string(r.Sibling.Value.Data) != "v" {
			err = fmt.Errorf("it answered %q", r.Sibling.Value.Data)
		}
		came <- err
	})
	return came
}

func later() time.Time { return time.Now().Add(time.Minute) }

// TestStartedRequests are answered, whether a link was open or not, and so are those that fail.
func TestStartedRequests(t *testing.T) {
	p := newPair(t, &echo{func(_ context.Context, key []byte) error {
		if string(key) == "bad" {
			return &distrib.Overloaded{What: "full"}
		}
		return nil
	}}, nil)
	for range 2 {
		require.NoError(t, <-p.startPut(later(), "k"))
		require.ErrorIs(t, <-p.startPut(later(), "bad"), distrib.ErrOverloaded)
		merged := make(chan error, 1)
		p.client.StartMerge(later(), 2, &distrib.MergeRequest{Key: []byte("k")}, func(err error) { merged <- err })
		require.NoError(t, <-merged)
		read := make(chan string, 1)
		p.client.StartRead(later(), 2, &distrib.ReadRequest{Key: []byte("k")}, func(r *distrib.ReadReply, err error) {
			read <- fmt.Sprint(string(r.Record[0].Value.Data), err)
		})
		require.Equal(t, "k<nil>", <-read)
	}
}

// TestStartedRequestsEnd: what a node does not answer ends with its deadline or its link, and says what is known; each
// ends once.
func TestStartedRequestsEnd(t *testing.T) {
	began := make(chan struct{}, 100)
	e := &echo{func(ctx context.Context, key []byte) error {
		if string(key) == "hang" {
			began <- struct{}{}
			<-ctx.Done()
		}
		return nil
	}}
	p := newPair(t, e, nil)
	require.NoError(t, <-p.startPut(later(), "k"))
	p.faults[1].Set([]string{"n1"}, nil, 0) // its answers are lost
	err := <-p.startPut(time.Now().Add(10*time.Millisecond), "k")
	require.ErrorIs(t, err, context.DeadlineExceeded)
	require.NotErrorIs(t, err, distrib.ErrRefused)
	p.faults[1].Set(nil, nil, 0)
	p.faults[0].Set([]string{"n2"}, nil, 0)
	require.ErrorIs(t, <-p.startPut(time.Now().Add(10*time.Millisecond), "k"), context.DeadlineExceeded)
	p.faults[0].Set(nil, nil, 0)

	hangs := p.startPut(later(), "hang")
	<-began
	var ends []chan error
	var all sync.WaitGroup
	var mu sync.Mutex // guards ends
	for range 8 {
		all.Go(func() {
			for range 200 {
				came := p.startPut(later(), "k")
				mu.Lock()
				ends = append(ends, came)
				mu.Unlock()
			}
		})
	}
	p.kill()
	err = <-hangs
	require.Error(t, err)
	require.NotErrorIs(t, err, distrib.ErrRefused)
	all.Wait()
	for _, came := range ends {
		<-came // answered, or lost, or refused
		require.Empty(t, came)
	}
	require.ErrorIs(t, <-p.startPut(later(), "k"), distrib.ErrUnreachable)
	p.client.Close()
	require.ErrorIs(t, <-p.startPut(later(), "k"), distrib.ErrUnreachable)
	require.Empty(t, hangs)
}
