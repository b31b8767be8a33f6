package engine

import "github.com/cambiumdb/cambium/internal/manifest"

// CurrentVersion calls fn with the current version.
func (db *DB) CurrentVersion(fn func(*manifest.Version)) {
	v := db.set.Current()
	defer v.Unref()
	fn(v)
}

func init() { maxTogether = 4 }
