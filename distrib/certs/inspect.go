package certs

import (
	"fmt"
	"slices"
	"time"
)

// Info is what a certificate says, for people.
type Info struct {
	File    string    `json:"file"`
	Role    string    `json:"role"` // ca, node, client, or other
	Name    string    `json:"name"`
	Hosts   []string  `json:"hosts,omitempty"`
	Issuer  string    `json:"issuer"`
	Serial  string    `json:"serial"`
	From    time.Time `json:"from"`
	Until   time.Time `json:"until"`
	Problem string    `json:"problem,omitempty"` // why nobody accepts it now
}

// Inspect returns what the certificates of a file say at that time.
func Inspect(file string, now time.Time) (infos []Info, err error) {
	b, err := readFile("certificate", file)
	if err != nil {
		return nil, err
	}
	certs, err := parse("certificate", file, b)
	if err != nil {
		return nil, err
	}
	for _, c := range certs {
		i := Info{File: file, Name: c.Subject.CommonName, Issuer: c.Issuer.CommonName, Serial: fmt.Sprintf("%x", c.SerialNumber), From: c.NotBefore.UTC(), Until: c.NotAfter.UTC()}
		for _, host := range c.DNSNames {
			if host != NodeHost {
				i.Hosts = append(i.Hosts, host)
			}
		}
		for _, ip := range c.IPAddresses {
			i.Hosts = append(i.Hosts, ip.String())
		}
		slices.Sort(i.Hosts)
		role, name, err := identify(c)
		switch {
		case c.IsCA:
			i.Role = "ca"
		case err != nil:
			i.Role, i.Problem = "other", err.Error()
		default:
			i.Role, i.Name = role.String(), name
		}
		if err := checkTime(c, now); err != nil {
			i.Problem = err.Error()
		}
		infos = append(infos, i)
	}
	return infos, nil
}
