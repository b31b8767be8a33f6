// Package observe is how a node is watched: metrics for Prometheus, health, and profiles, over HTTP.
//
//	registry := observe.NewRegistry()
//	operations := observe.NewOperations(registry)
//	observe.Register(registry, observe.Sources{Epoch: epoch, Dirty: dirty})
//	server, err := observe.Start(observe.Options{Listen: "127.0.0.1:7801", Registry: registry, Ready: ready})
//	operations.Done(observe.Get, observe.Quorum, observe.OK, took) // of each operation of a client
//	defer server.Close(ctx)
//
// It knows no part of a node: what it tells comes from functions. The metrics are listed in docs/operations.md, which
// a test compares. All methods may be called by many goroutines at once.
package observe

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/pprof"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// NewRegistry returns a registry with the metrics of the Go runtime and of the process.
func NewRegistry() *prometheus.Registry {
	r := prometheus.NewRegistry()
	r.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return r
}

// Options of a Server. Listen is required.
type Options struct {
	Listen   string      // host:port; port 0 is any that is free
	TLS      *tls.Config // nil: in the clear
	Registry *prometheus.Registry
	// Ready says why the node does not serve, or nil. It must not wait. nil: it always serves.
	Ready  func() error
	Logger *slog.Logger // gets what goes wrong with connections; nil: none
}

// Server answers over HTTP.
type Server struct {
	http   http.Server
	addr   string
	cancel context.CancelFunc // ends requests that go on, such as profiles
	served chan error
}

// Start begins to listen and to answer.
func Start(o Options) (*Server, error) {
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	l, err := net.Listen("tcp", o.Listen)
	if err != nil {
		return nil, fmt.Errorf("listen for HTTP at %s: %w", o.Listen, err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	s := &Server{addr: l.Addr().String(), cancel: cancel, served: make(chan error, 1)}
	s.http = http.Server{
		Handler:           Handler(o),
		TLSConfig:         o.TLS,
		ReadHeaderTimeout: 10 * time.Second,
		IdleTimeout:       2 * time.Minute,
		ErrorLog:          slog.NewLogLogger(o.Logger.Handler(), slog.LevelWarn),
		BaseContext:       func(net.Listener) context.Context { return ctx },
	}
	go func() {
		if o.TLS != nil {
			s.served <- s.http.ServeTLS(l, "", "")
		} else {
			s.served <- s.http.Serve(l)
		}
	}()
	return s, nil
}

// Addr returns the host:port at which it listens.
func (s *Server) Addr() string { return s.addr }

// Close ends profiles that are being taken, lets other answers end as long as ctx allows, and stops listening.
func (s *Server) Close(ctx context.Context) error {
	s.cancel()
	err := s.http.Shutdown(ctx)
	if err != nil {
		err = s.http.Close()
	}
	if e := <-s.served; !errors.Is(e, http.ErrServerClosed) {
		err = errors.Join(err, e)
	}
	return err
}

const index = `cambium node

/livez         200 while the process answers
/readyz        200 while it serves clients, else 503 and why
/metrics       Prometheus
/debug/pprof/  profiles of Go
`

// Handler returns what a Server answers with.
func Handler(o Options) http.Handler {
	mux := http.NewServeMux()
	text := func(w http.ResponseWriter, code int, body string) {
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		w.WriteHeader(code)
		fmt.Fprint(w, body)
	}
	mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, _ *http.Request) { text(w, http.StatusOK, index) })
	mux.HandleFunc("GET /livez", func(w http.ResponseWriter, _ *http.Request) { text(w, http.StatusOK, "ok\n") })
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, _ *http.Request) {
		if o.Ready != nil {
			if err := o.Ready(); err != nil {
				text(w, http.StatusServiceUnavailable, err.Error()+"\n")
				return
			}
		}
		text(w, http.StatusOK, "ok\n")
	})
	if o.Registry != nil {
		mux.Handle("GET /metrics", promhttp.HandlerFor(o.Registry, promhttp.HandlerOpts{
			Registry: o.Registry, ErrorHandling: promhttp.ContinueOnError, MaxRequestsInFlight: 4,
		}))
	}
	mux.HandleFunc("/debug/pprof/", pprof.Index)
	mux.HandleFunc("/debug/pprof/cmdline", pprof.Cmdline)
	mux.HandleFunc("/debug/pprof/profile", pprof.Profile)
	mux.HandleFunc("/debug/pprof/symbol", pprof.Symbol)
	mux.HandleFunc("/debug/pprof/trace", pprof.Trace)
	return mux
}
