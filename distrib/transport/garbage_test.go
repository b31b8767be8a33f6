package transport

import (
	"testing"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

func TestGarbageEndsTheStream(t *testing.T) {
	p := newPair(t, &echo{}, nil)
	_, err := p.put(t.Context(), "k", "v")
	require.NoError(t, err)
	l, err := p.client.link(t.Context(), 2)
	require.NoError(t, err)
	_, err = l.sender.queue(kindPong+50, 1, 0, noAnswer{})
	require.NoError(t, err)
	<-l.ended
	require.Equal(t, codes.InvalidArgument, status.Code(l.broken))
	_, err = p.put(t.Context(), "k", "v") // on a new one
	require.NoError(t, err)
}
