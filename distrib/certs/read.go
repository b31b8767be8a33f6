package certs

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"time"
)

// maxFileBytes bounds what is read of a file that should be a few kilobytes.
const maxFileBytes = 1 << 20

// read returns what the files hold, if all of it can be used now.
func read(files Files, now func() time.Time) (*material, error) {
	var content [3][]byte
	for i, f := range []struct{ what, name string }{{"CA", files.CA}, {"certificate", files.Cert}, {"private key", files.Key}} {
		var err error
		if content[i], err = readFile(f.what, f.name); err != nil {
			return nil, err
		}
	}
	return assemble(files, content[0], content[1], content[2], now)
}

// assemble is read without the reading.
func assemble(files Files, ca, leaf, key []byte, now func() time.Time) (*material, error) {
	cas, err := parse("CA", files.CA, ca)
	if err != nil {
		return nil, err
	}
	roots, err := authorities(files.CA, cas, now())
	if err != nil {
		return nil, err
	}
	chain, err := parse("certificate", files.Cert, leaf)
	if err != nil {
		return nil, err
	}
	if !bytes.Contains(key, []byte("PRIVATE KEY-----")) {
		return nil, fmt.Errorf("private key %s holds none: want a PEM block PRIVATE KEY, as kvctl cert create-node writes it", files.Key)
	}
	var chainPEM []byte
	for _, c := range chain {
		chainPEM = append(chainPEM, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Raw})...)
	}
	cert, err := tls.X509KeyPair(chainPEM, key)
	if err != nil {
		return nil, fmt.Errorf("private key %s does not go with certificate %s: %w: both must come from one kvctl cert create-node or create-client", files.Key, files.Cert, err)
	}
	m := &material{roots: roots, cert: cert, until: chain[0].NotAfter}
	if m.role, m.name, err = identify(chain[0]); err != nil {
		return nil, fmt.Errorf("certificate %s: %w: make one with kvctl cert create-node or create-client", files.Cert, err)
	}
	if err := checkOwn(files, m, chain, now()); err != nil {
		return nil, err
	}
	m.server = serverConfig(m, now)
	return m, nil
}

// checkOwn returns why others would refuse the certificate.
func checkOwn(files Files, m *material, chain []*x509.Certificate, now time.Time) error {
	leaf := chain[0]
	if err := checkTime(leaf, now); err != nil {
		return fmt.Errorf("certificate %s of %s %s %w: kvctl cert create-%s %s makes a new one", files.Cert, m.role, m.name, err, m.role, m.name)
	}
	uses := []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}
	if m.role == Node {
		uses = append(uses, x509.ExtKeyUsageServerAuth)
	}
	for _, use := range uses { // each for itself: a list would ask for any of them
		if err := verify(chain, m.roots, now, "", use); err != nil {
			return fmt.Errorf("certificate %s of %s %s, issued by %q, does not pass with CA %s: %w", files.Cert, m.role, m.name, leaf.Issuer.CommonName, files.CA, err)
		}
	}
	return nil
}

// verify checks a chain, the leaf first; host "" is any.
func verify(chain []*x509.Certificate, roots *x509.CertPool, now time.Time, host string, use x509.ExtKeyUsage) error {
	between := x509.NewCertPool()
	for _, c := range chain[1:] {
		between.AddCert(c)
	}
	_, err := chain[0].Verify(x509.VerifyOptions{Roots: roots, Intermediates: between, DNSName: host, CurrentTime: now, KeyUsages: []x509.ExtKeyUsage{use}})
	return err
}

// authorities returns those that are CAs now. One that has ended may stay in the file.
func authorities(file string, certs []*x509.Certificate, now time.Time) (*x509.CertPool, error) {
	pool, usable := x509.NewCertPool(), 0
	var ended error
	for _, c := range certs {
		if !c.IsCA {
			return nil, fmt.Errorf("CA %s: the certificate of %q is not that of a CA: want ca.crt of kvctl cert create-ca", file, c.Subject.CommonName)
		}
		if err := checkTime(c, now); err != nil {
			ended = err
			continue
		}
		pool.AddCert(c)
		usable++
	}
	if usable == 0 {
		return nil, fmt.Errorf("CA %s %w: kvctl cert create-ca makes another, whose certificates replace those of this one", file, ended)
	}
	return pool, nil
}

// checkTime returns an error unless the certificate is valid at that time.
func checkTime(c *x509.Certificate, now time.Time) error {
	const day = time.DateOnly + " 15:04 MST"
	switch {
	case now.After(c.NotAfter):
		return fmt.Errorf("expired on %s, %s ago", c.NotAfter.UTC().Format(day), roughly(now.Sub(c.NotAfter)))
	case now.Before(c.NotBefore):
		return fmt.Errorf("is valid from %s on, in %s: is the clock of this machine right?", c.NotBefore.UTC().Format(day), roughly(c.NotBefore.Sub(now)))
	}
	return nil
}

// roughly is a duration for people.
func roughly(d time.Duration) string {
	if d >= 48*time.Hour {
		return fmt.Sprintf("%d days", d/(24*time.Hour))
	}
	return d.Round(time.Second).String()
}

func readFile(what, name string) ([]byte, error) {
	if name == "" {
		return nil, fmt.Errorf("no file of the %s is named: CA, certificate and private key go together", what)
	}
	info, err := os.Stat(name)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, fmt.Errorf("%s %s does not exist (%w): kvctl cert create-ca, create-node and create-client make the files", what, name, fs.ErrNotExist)
	case err != nil:
		return nil, fmt.Errorf("%s: %w", what, err)
	case !info.Mode().IsRegular():
		return nil, fmt.Errorf("%s %s is no regular file", what, name)
	case info.Size() > maxFileBytes:
		return nil, fmt.Errorf("%s %s has %d bytes, the limit is %d: is it the right file?", what, name, info.Size(), maxFileBytes)
	}
	b, err := os.ReadFile(name)
	if errors.Is(err, fs.ErrPermission) {
		return nil, fmt.Errorf("%s: %w: run as its owner, or give it to this user", what, err)
	}
	return b, err
}

// parse returns the certificates of a file, at least one.
func parse(what, name string, rest []byte) (certs []*x509.Certificate, err error) {
	for n := 1; ; n++ {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			break
		}
		if strings.HasSuffix(block.Type, "PRIVATE KEY") {
			return nil, fmt.Errorf("%s %s holds a private key: it belongs into a file of its own that only its owner may read", what, name)
		}
		if block.Type != "CERTIFICATE" {
			continue
		}
		c, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, fmt.Errorf("%s %s: block %d: %w", what, name, n, err)
		}
		certs = append(certs, c)
	}
	if len(certs) == 0 {
		return nil, fmt.Errorf("%s %s holds no certificate: want PEM blocks CERTIFICATE", what, name)
	}
	return certs, nil
}
