// Package certs is who may speak with a node: mutual TLS 1.3 between nodes and with clients, and the certificates for
// it.
//
//	security, err := certs.Load(certs.Files{CA: "ca.crt", Cert: "node-n1.crt", Key: "node-n1.key"})
//	server := grpc.NewServer(grpc.Creds(security.Server()))
//	transport.Register(certs.RequireNode(server)) // of the peer service: no client comes in there
//	conn, err := grpc.NewClient("db2:7000", grpc.WithTransportCredentials(security.Client()))
//	role, name := certs.PeerOf(ctx) // in a handler
//
// # Certificates
//
// One certificate authority (CA) stands for one cluster: who has a certificate of it may come in. A certificate says
// whose it is in a URI among its subject's alternative names:
//
//	cambium://node/NAME     a node; also holds the hosts under which it is reached, and the name NodeHost
//	cambium://client/NAME   a program that reads and writes; no host may be shown with it, and no node called by it
//
// A certificate without such a URI, or with two, is refused. CreateCA, CreateNode and CreateClient make them with ECDSA
// keys on P-256.
//
// # Renewal
//
// The files are looked at before a handshake, at most once a second, and read anew when one of them is another.
// Connections that stand are not cut. What cannot be used, such as a key that does not fit its certificate while the
// two are being replaced, changes nothing but the log. The file of the CA may hold several: so one is replaced by
// another without a moment in which nodes refuse each other.
//
// There are no revocation lists. To shut out a certificate before it ends, replace the CA.
//
// All methods may be called by many goroutines at once.
package certs

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"sync/atomic"
	"time"
)

// Files are where the certificates lie, PEM. All three are required.
type Files struct {
	CA   string // one or more certificates of certificate authorities
	Cert string // a certificate of one of them, and those between, if any
	Key  string // the private key of Cert

	Logger *slog.Logger // gets renewals, what was wrong with new files, and who was refused; nil: none
}

// lookEvery is how long the files are believed to be the same.
const lookEvery = time.Second

// Security is a certificate with its key, and the CAs to trust, kept as the files are.
type Security struct {
	files Files
	log   *slog.Logger
	now   func() time.Time

	current atomic.Pointer[material]
	looked  atomic.Int64 // when the files were looked at, in nanoseconds

	mu     sync.Mutex // guards stamps
	stamps stamps     // of the files that were read last, whether they could be used or not

	refusals
}

// material is what a set of files holds. It does not change.
type material struct {
	roots  *x509.CertPool
	cert   tls.Certificate
	role   Role
	name   string
	until  time.Time   // when the certificate ends
	server *tls.Config // for connections that begin now
}

// Load reads the files. The error names the file, what is wrong with it, and what to try.
func Load(files Files) (*Security, error) { return load(files, time.Now) }

func load(files Files, now func() time.Time) (*Security, error) {
	s := &Security{files: files, log: files.Logger, now: now}
	if s.log == nil {
		s.log = slog.New(slog.DiscardHandler)
	}
	s.refusals.log = s.log
	s.stamps = stampsOf(files)
	m, err := read(files, now)
	if err != nil {
		return nil, err
	}
	if info, err := os.Stat(files.Key); err == nil && info.Mode().Perm()&0o077 != 0 {
		s.log.Warn("others may read the private key: chmod 600", "file", files.Key, "mode", fmt.Sprintf("%04o", info.Mode().Perm()))
	}
	s.current.Store(m)
	s.looked.Store(now().UnixNano())
	return s, nil
}

// Self returns whose certificate it is.
func (s *Security) Self() (Role, string) {
	m := s.material()
	return m.role, m.name
}

// Files returns where the certificates lie, for what reads them itself.
func (s *Security) Files() Files { return s.files }

// Expires returns when the certificate ends.
func (s *Security) Expires() time.Time { return s.material().until }

// CheckNode returns an error unless the certificate is that of the node.
func (s *Security) CheckNode(name string) error {
	if role, own := s.Self(); role != Node || own != name {
		return fmt.Errorf("certificate %s is that of %s %s, this is node %s: kvctl cert create-node %s makes one", s.files.Cert, role, own, name, name)
	}
	return nil
}

// material returns what the files hold, as far as they can be used.
func (s *Security) material() *material {
	now, looked := s.now().UnixNano(), s.looked.Load()
	if now-looked >= int64(lookEvery) && s.looked.CompareAndSwap(looked, now) {
		s.look()
	}
	return s.current.Load()
}

// look reads the files anew where one is another.
func (s *Security) look() {
	s.mu.Lock()
	defer s.mu.Unlock()
	is := stampsOf(s.files) // before they are read: what changes meanwhile is seen next time
	if is.same(s.stamps) {
		return
	}
	s.stamps = is
	m, err := read(s.files, s.now)
	if err != nil {
		s.log.Warn("new certificates cannot be used: those read before are kept", "error", err, "expires", s.current.Load().until)
		return
	}
	s.current.Store(m)
	s.log.Info("certificates were read anew", "file", s.files.Cert, "role", m.role, "name", m.name, "expires", m.until)
}

// stamps say which files they are; nil for one that is not there.
type stamps [3]os.FileInfo

func stampsOf(files Files) (s stamps) {
	for i, name := range []string{files.CA, files.Cert, files.Key} {
		if info, err := os.Stat(name); err == nil {
			s[i] = info
		}
	}
	return s
}

func (s stamps) same(as stamps) bool {
	for i, a := range s {
		b := as[i]
		if (a == nil) != (b == nil) {
			return false
		}
		if a != nil && !(os.SameFile(a, b) && a.ModTime().Equal(b.ModTime()) && a.Size() == b.Size()) {
			return false
		}
	}
	return true
}
