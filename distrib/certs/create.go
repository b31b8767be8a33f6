package certs

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"math/big"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"time"
)

// How long certificates are valid unless Options say otherwise.
const (
	ValidCA   = 10 * 365 * 24 * time.Hour
	ValidLeaf = 365 * 24 * time.Hour
)

// early is how long before its making a certificate is valid, for clocks that are behind.
const early = time.Hour

// Options of a certificate to be made.
type Options struct {
	CA    string        // the directory of ca.crt and ca.key; CreateCA makes them there
	Out   string        // where a node's or client's files go; "": CA
	Valid time.Duration // 0: ValidCA or ValidLeaf; it never outlives its CA
	Now   func() time.Time
}

func (o Options) withDefaults(valid time.Duration) Options {
	if o.Valid == 0 {
		o.Valid = valid
	}
	if o.Out == "" {
		o.Out = o.CA
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	return o
}

// Pair are the files of a certificate that was made.
type Pair struct {
	Cert string `json:"cert"`
	Key  string `json:"key"`
}

// CreateCA makes ca.crt and ca.key in the directory Options.CA, which is made too. Files that exist stay as they are.
// The key belongs on no node: who has it can make certificates for everything.
func CreateCA(o Options) (Pair, error) {
	o = o.withDefaults(ValidCA)
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return Pair{}, err
	}
	public, err := x509.MarshalPKIXPublicKey(&key.PublicKey)
	if err != nil {
		return Pair{}, err
	}
	hash := sha256.Sum256(public)
	template := &x509.Certificate{
		Subject:               pkix.Name{CommonName: fmt.Sprintf("cambium CA %x", hash[:4])}, // two of them can be told apart
		KeyUsage:              x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
		IsCA:                  true,
		BasicConstraintsValid: true,
		MaxPathLenZero:        true,
	}
	pair, err := create(o.CA, "ca", o, template, template, key, key)
	if err != nil {
		return Pair{}, fmt.Errorf("create CA in %s: %w", o.CA, err)
	}
	return pair, nil
}

// CreateNode makes node-NAME.crt and node-NAME.key: the certificate of a node that is reached under hosts, which are IP
// addresses and names of DNS.
func CreateNode(o Options, name string, hosts []string) (Pair, error) {
	template := &x509.Certificate{
		DNSNames:    []string{NodeHost},
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	if err := addHosts(template, hosts); err != nil {
		return Pair{}, fmt.Errorf("create certificate of node %s: %w", name, err)
	}
	return createLeaf(o, Node, name, template)
}

// CreateClient makes client-NAME.crt and client-NAME.key.
func CreateClient(o Options, name string) (Pair, error) {
	return createLeaf(o, Client, name, &x509.Certificate{ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}})
}

func createLeaf(o Options, role Role, name string, template *x509.Certificate) (pair Pair, err error) {
	o = o.withDefaults(ValidLeaf)
	if err = CheckName(name); err == nil {
		template.Subject = pkix.Name{CommonName: name, OrganizationalUnit: []string{role.String()}}
		template.URIs = []*url.URL{uri(role, name)}
		template.KeyUsage = x509.KeyUsageDigitalSignature
		pair, err = signed(o, role.String()+"-"+name, template)
	}
	if err != nil {
		return Pair{}, fmt.Errorf("create certificate of %s %s: %w", role, name, err)
	}
	return pair, nil
}

// signed makes a certificate of the CA in o.CA.
func signed(o Options, base string, template *x509.Certificate) (Pair, error) {
	certFile, keyFile := filepath.Join(o.CA, "ca.crt"), filepath.Join(o.CA, "ca.key")
	for _, f := range []string{certFile, keyFile} {
		if _, err := os.Stat(f); errors.Is(err, fs.ErrNotExist) {
			return Pair{}, fmt.Errorf("%w: kvctl cert create-ca --ca-dir %s makes a CA", err, o.CA)
		}
	}
	pair, err := tls.LoadX509KeyPair(certFile, keyFile)
	if err != nil {
		return Pair{}, fmt.Errorf("CA %s and its key %s: %w", certFile, keyFile, err)
	}
	ca := pair.Leaf
	if err := checkTime(ca, o.Now()); err != nil {
		return Pair{}, fmt.Errorf("CA %s %w: kvctl cert create-ca makes another", certFile, err)
	}
	if !ca.IsCA {
		return Pair{}, fmt.Errorf("CA %s: the certificate of %q is not that of a CA", certFile, ca.Subject.CommonName)
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return Pair{}, err
	}
	return create(o.Out, base, o, template, ca, key, pair.PrivateKey)
}

// create signs the template and writes both files, or none.
func create(dir, base string, o Options, template, parent *x509.Certificate, key *ecdsa.PrivateKey, signer any) (Pair, error) {
	if o.Valid < time.Minute {
		return Pair{}, fmt.Errorf("valid for %s, want a minute or more", o.Valid)
	}
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127))
	if err != nil {
		return Pair{}, err
	}
	now := o.Now()
	template.SerialNumber = serial
	template.NotBefore, template.NotAfter = now.Add(-early), now.Add(o.Valid)
	if parent != template && template.NotAfter.After(parent.NotAfter) {
		template.NotAfter = parent.NotAfter
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, &key.PublicKey, signer)
	if err != nil {
		return Pair{}, err
	}
	secret, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return Pair{}, err
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return Pair{}, err
	}
	pair := Pair{Cert: filepath.Join(dir, base+".crt"), Key: filepath.Join(dir, base+".key")}
	if err := writeNew(pair.Key, "PRIVATE KEY", secret, 0o600); err != nil {
		return Pair{}, err
	}
	if err := writeNew(pair.Cert, "CERTIFICATE", der, 0o644); err != nil {
		return Pair{}, errors.Join(err, os.Remove(pair.Key)) // it is the key of nothing
	}
	return pair, nil
}

// writeNew writes a file that does not exist yet.
func writeNew(name, kind string, content []byte, mode fs.FileMode) error {
	f, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, mode)
	if errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("%w: no file is replaced: write elsewhere with --out, or move it away", err)
	}
	if err != nil {
		return err
	}
	err = pem.Encode(f, &pem.Block{Type: kind, Bytes: content})
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return errors.Join(err, os.Remove(name))
	}
	return nil
}

var hostShape = regexp.MustCompile(`^(\*\.)?([A-Za-z0-9]([A-Za-z0-9-]*[A-Za-z0-9])?\.)*[A-Za-z0-9]([A-Za-z0-9-]*[A-Za-z0-9])?$`)

func addHosts(to *x509.Certificate, hosts []string) error {
	if len(hosts) == 0 {
		return errors.New("no host is named: want the IP addresses and names under which others reach the node, as --host db1,10.0.0.1")
	}
	for _, host := range hosts {
		ip := net.ParseIP(strings.TrimSuffix(strings.TrimPrefix(host, "["), "]"))
		switch {
		case ip != nil:
			to.IPAddresses = append(to.IPAddresses, ip)
		case len(host) > 253 || !hostShape.MatchString(host) || onlyDigits(host[strings.LastIndex(host, ".")+1:]):
			return fmt.Errorf("host %q: want an IP address or a name, without a port", host)
		default:
			to.DNSNames = append(to.DNSNames, host)
		}
	}
	return nil
}

// onlyDigits tells what is meant to be an IP address: no name ends so.
func onlyDigits(label string) bool { return strings.Trim(label, "0123456789") == "" }
