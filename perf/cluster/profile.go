package cluster

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"runtime/pprof"
	"time"

	"golang.org/x/sync/errgroup"
)

// profileSelf writes a CPU profile of this process to a file until done is called. No path: it does nothing.
func profileSelf(path string) (done func() error, err error) {
	if path == "" {
		return func() error { return nil }, nil
	}
	f, err := os.Create(path)
	if err != nil {
		return nil, err
	}
	if err := pprof.StartCPUProfile(f); err != nil {
		_ = f.Close()
		return nil, err
	}
	return func() error {
		pprof.StopCPUProfile()
		return f.Close()
	}, nil
}

func (m *measuring) profileName(step, process string) string {
	return filepath.Join(m.profile, fmt.Sprintf("%s-%s-%s.pprof", m.run.Engine, step, process))
}

// profilePatience is how long after a step a server may take to give its profile. One that is stopped does not.
const profilePatience = 2 * time.Second

// profileServers asks the servers that tell profiles for one of a step. A server that is killed or stopped
// meanwhile gives none.
func (m *measuring) profileServers(ctx context.Context, g *errgroup.Group, step string, ended <-chan struct{}) {
	ctx, cancel := context.WithCancel(ctx)
	g.Go(func() error {
		<-ended
		time.AfterFunc(profilePatience, cancel)
		return nil
	})
	for _, sv := range m.servers.list {
		sv.mu.Lock()
		addr := sv.http
		sv.mu.Unlock()
		if addr == "" {
			continue
		}
		g.Go(func() error {
			if err := fetchProfile(ctx, addr, max(1, int(m.cfg.Duration.Seconds())), m.profileName(step, sv.name)); err != nil {
				m.say("  no profile of %s: %v\n", sv.name, err)
			}
			return nil
		})
	}
}

func fetchProfile(ctx context.Context, addr string, seconds int, path string) error {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, fmt.Sprintf("http://%s/debug/pprof/profile?seconds=%d", addr, seconds), nil)
	if err != nil {
		return err
	}
	answer, err := http.DefaultClient.Do(r)
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	if answer.StatusCode != http.StatusOK {
		return fmt.Errorf("the node says %s", answer.Status)
	}
	profile, err := io.ReadAll(answer.Body)
	if err != nil {
		return err
	}
	return os.WriteFile(path, profile, 0o666)
}
