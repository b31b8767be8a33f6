package certs

import (
	"crypto/x509"
	"errors"
	"fmt"
	"net/url"
	"regexp"
	"strings"
)

// Role is what the holder of a certificate may be.
type Role int

// The roles. Anonymous is who came without TLS.
const (
	Anonymous Role = iota
	Node
	Client
)

// String returns the word that certificates hold.
func (r Role) String() string {
	switch r {
	case Node:
		return "node"
	case Client:
		return "client"
	}
	return "anonymous"
}

// NodeHost is a host that every node's certificate holds and no client's. Whatever checks hosts but knows no roles,
// as etcd does, can tell nodes by it.
const NodeHost = "node.cambium.internal"

const scheme = "cambium"

func uri(role Role, name string) *url.URL {
	return &url.URL{Scheme: scheme, Host: role.String(), Path: "/" + name}
}

// identify returns whose certificate it is.
func identify(cert *x509.Certificate) (role Role, name string, err error) {
	var ours []*url.URL
	for _, u := range cert.URIs {
		if u.Scheme == scheme {
			ours = append(ours, u)
		}
	}
	if len(ours) == 0 {
		return Anonymous, "", fmt.Errorf("the certificate of %q is neither a node's nor a client's: it holds no URI %s://node/NAME or %s://client/NAME", cert.Subject.CommonName, scheme, scheme)
	}
	if len(ours) > 1 {
		return Anonymous, "", fmt.Errorf("the certificate of %q is of several: %s and %s", cert.Subject.CommonName, ours[0], ours[1])
	}
	u := ours[0]
	name = strings.TrimPrefix(u.Path, "/")
	for _, r := range []Role{Node, Client} {
		if u.Host == r.String() {
			role = r
		}
	}
	if role == Anonymous || CheckName(name) != nil || *u != *uri(role, name) {
		return Anonymous, "", fmt.Errorf("the certificate of %q holds the URI %s, want %s://node/NAME or %s://client/NAME", cert.Subject.CommonName, u, scheme, scheme)
	}
	return role, name, nil
}

const nameMax = 63

var nameShape = regexp.MustCompile(`^[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?$`)

// CheckName keeps names of nodes and clients to what can stand in a URI, a file's name and a log as it is.
func CheckName(name string) error {
	switch {
	case name == "":
		return errors.New("the name is empty")
	case len(name) > nameMax:
		return fmt.Errorf("the name has %d bytes, the limit is %d", len(name), nameMax)
	case !nameShape.MatchString(name):
		return fmt.Errorf("the name %q: want letters, digits, and . _ - between them", name)
	}
	return nil
}
