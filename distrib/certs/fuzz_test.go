package certs

import (
	"os"
	"strings"
	"testing"
	"time"
)

// FuzzLoad: whatever the files hold, either all can be used or the error names one of them.
func FuzzLoad(f *testing.F) {
	dir := f.TempDir()
	o := Options{CA: dir}
	ca, err := CreateCA(o)
	if err != nil {
		f.Fatal(err)
	}
	n1, err := CreateNode(o, "n1", []string{"localhost"})
	if err != nil {
		f.Fatal(err)
	}
	var good [3][]byte
	for i, name := range []string{ca.Cert, n1.Cert, n1.Key} {
		if good[i], err = os.ReadFile(name); err != nil {
			f.Fatal(err)
		}
	}
	f.Add(good[0], good[1], good[2])
	f.Add(good[1], good[0], good[2])
	f.Add(append(good[0], good[0]...), append(good[1], good[0]...), good[2])
	f.Add([]byte("-----BEGIN CERTIFICATE-----\n-----END CERTIFICATE-----\n"), good[1], good[2])
	f.Add(good[0], good[1], []byte("-----BEGIN PRIVATE KEY-----\n-----END PRIVATE KEY-----\n"))
	f.Add([]byte{}, []byte{0xff}, []byte("PRIVATE KEY-----"))
	f.Fuzz(func(t *testing.T, ca, cert, key []byte) {
		files := Files{CA: "dir/ca", Cert: "dir/cert", Key: "dir/key"}
		m, err := assemble(files, ca, cert, key, time.Now)
		switch {
		case err != nil && !strings.Contains(err.Error(), "dir/"):
			t.Errorf("no file is named: %v", err)
		case err == nil && m.until.Before(time.Now()):
			t.Errorf("it has expired: %s", m.until)
		}
	})
}
