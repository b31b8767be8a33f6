package meta

import (
	"bytes"
	"log/slog"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"
	"go.uber.org/zap"
)

// TestLog: what etcd says again and again is passed on a few times, and nothing of a member that is stopped.
func TestLog(t *testing.T) {
	var out bytes.Buffer
	quiet := new(atomic.Bool)
	l := zapLogger(slog.New(slog.NewTextHandler(&out, nil)), quiet)
	for range 100 {
		l.Warn("no answer", zap.String("from", "n2"))
		l.Info("this and that")
	}
	l.Error("no space is left")
	require.Equal(t, sameAMinute, strings.Count(out.String(), `level=WARN msg="etcd: no answer" from=n2`))
	require.Equal(t, sameAMinute+1, strings.Count(out.String(), "\n"))
	require.Contains(t, out.String(), `level=ERROR msg="etcd: no space is left"`)
	quiet.Store(true)
	l.Error("it ends")
	require.NotContains(t, out.String(), "it ends")
}
