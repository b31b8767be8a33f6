package fuzz

import (
	"bytes"
	"testing"

	"github.com/cambiumdb/cambium/internal/filename"
	"github.com/cambiumdb/cambium/internal/ikey"
	"github.com/cambiumdb/cambium/internal/manifest"
	"github.com/cambiumdb/cambium/internal/record"
	"github.com/cambiumdb/cambium/internal/vfs"
)

func seedEdit() []byte {
	n := uint64(17)
	cmp := "leveldb.BytewiseComparator"
	e := manifest.Edit{
		Comparator: &cmp, LogNum: &n, NextFileNum: &n, LastSeq: &n,
		Deleted: []manifest.DeletedTable{{Level: 1, Num: 4}},
		Added: []manifest.AddedTable{{Level: 0, Table: &manifest.Table{
			Num: 9, Size: 1000, SmallestSeq: 3, LargestSeq: 8, OldestBlob: 12,
			Smallest: ikey.Make([]byte("a"), 3, ikey.KindSet), Largest: ikey.Make([]byte("m"), 8, ikey.KindSet),
		}}},
		BlobsAdded:  []manifest.Blob{{Num: 12, Count: 3, Bytes: 500}},
		BlobGarbage: []manifest.BlobGarbage{{Num: 12, Count: 1, Bytes: 100}},
	}
	return e.Encode(nil)
}

func FuzzManifestEdit(f *testing.F) {
	f.Add(seedEdit())
	f.Add([]byte{})
	for _, b := range fixtures(f, "MANIFEST-", 64<<10) {
		r := record.NewReader(bytes.NewReader(b), "MANIFEST", 0)
		for rec, err := r.Next(); err == nil; rec, err = r.Next() {
			f.Add(bytes.Clone(rec))
		}
	}
	base := newManifest(f)
	f.Fuzz(func(t *testing.T, b []byte) {
		bounded(t, mib+uint64(len(b))*512, func() {
			var e manifest.Edit
			if e.Decode(b) != nil {
				return
			}
			_ = e.String()
			once := e.Encode(nil)
			var e2 manifest.Edit
			must(t, e2.Decode(once))
			equal(t, once, e2.Encode(nil), "encoded again")
		})
		recoverManifest(t, base, b)
	})
}

const dir = "db"

// newManifest returns the bytes of the manifest of a new database.
func newManifest(f *testing.F) []byte {
	m := vfs.NewMem()
	must(f, m.MkdirAll(dir))
	s, err := manifest.Create(m, dir, manifest.Options{DBID: "fuzz"})
	must(f, err)
	num := s.ManifestNum()
	must(f, s.Close())
	return load(f, m, filename.Path(dir, filename.Manifest, num))
}

// recoverManifest reads a manifest in which the record b follows those of base.
func recoverManifest(t *testing.T, base, b []byte) {
	m := vfs.NewMem()
	must(t, m.MkdirAll(dir))
	file := record.AppendRecord(bytes.Clone(base), len(base)%record.BlockSize, 0, false, b)
	store(t, m, filename.Path(dir, filename.Manifest, 5), file)
	must(t, filename.SetCurrent(m, dir, 5))
	bounded(t, 8*mib+uint64(len(b))*512, func() {
		s, err := manifest.Recover(m, dir, manifest.Options{})
		if err != nil {
			return
		}
		v := s.Current()
		_ = v.String()
		_ = v.Check()
		v.Unref()
		must(t, s.Close())
	})
}
