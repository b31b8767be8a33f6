package block

import "github.com/cambiumdb/cambium/internal/zstd"

// Dict is a compression dictionary as a table stores it (rocksdb.compression_dict). It may be
// used by several goroutines at once. A nil *Dict means no dictionary.
type Dict = zstd.Dict

// NewDict makes a dictionary of raw, which it keeps. Empty raw gives nil.
func NewDict(raw []byte) *Dict { return zstd.NewDict(raw) }
