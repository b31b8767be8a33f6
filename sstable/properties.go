package sstable

import (
	"encoding/binary"
	"maps"
	"math"
	"slices"

	"github.com/cambiumdb/cambium/sstable/block"
)

// Properties is what a table says about itself: the block rocksdb.properties. Fields that the
// table does not state are zero. Sizes are in bytes, times in Unix seconds.
type Properties struct {
	NumEntries        uint64 // point entries and range tombstones
	NumDeletions      uint64 // of these, tombstones of both kinds
	NumMergeOperands  uint64
	NumRangeDeletions uint64
	RawKeySize        uint64 // of encoded internal keys
	RawValueSize      uint64
	DataSize          uint64 // data blocks with trailers
	IndexSize         uint64
	IndexPartitions   uint64
	TopLevelIndexSize uint64
	FilterSize        uint64
	NumDataBlocks     uint64
	NumFilterEntries  uint64
	FormatVersion     uint64
	FixedKeyLength    uint64
	ColumnFamilyID    uint64
	CreationTime      uint64
	OldestKeyTime     uint64
	FileCreationTime  uint64
	OriginalFile      uint64 // file number that the table was written under

	IndexType             uint32 // 0 binary search, 1 hash (read as 0), 2 partitioned, 3 with first keys
	IndexKeyIsUserKey     bool
	IndexValueIsDelta     bool
	WholeKeyFiltering     bool // false = the filter says nothing about whole keys
	PrefixFiltering       bool
	Compression           string
	CompressionOptions    string
	Comparator            string
	FilterPolicy          string
	MergeOperator         string
	PrefixExtractor       string
	ColumnFamilyName      string
	PropertyCollectors    string
	DBID, SessionID, Host string

	// ExternalVersion is above 0 in a table that was made for ingestion; GlobalSeq is the
	// sequence number that the table itself gives to all its entries then.
	ExternalVersion uint32
	GlobalSeq       uint64

	// ExpiryCount entries carry an expiry, between ExpiryMin and ExpiryMax, in Unix
	// milliseconds. Only tables of ours say so: see Writer.NoteExpiry.
	ExpiryCount, ExpiryMin, ExpiryMax uint64
	// Hidden entries lie behind a newer one of the same key: snapshots may have needed them. Only
	// tables of ours say so.
	Hidden uint64

	// User holds every property that is not named above, as stored.
	User map[string]string

	present map[string]bool // names that the block had; nil in a Properties of a Writer
}

// Names of properties with a special encoding or meaning.
const (
	propIndexType       = "rocksdb.block.based.table.index.type"
	propWholeKey        = "rocksdb.block.based.table.whole.key.filtering"
	propPrefix          = "rocksdb.block.based.table.prefix.filtering"
	propIndexUserKey    = "rocksdb.index.key.is.user.key"
	propIndexDelta      = "rocksdb.index.value.is.delta.encoded"
	propExternalVersion = "rocksdb.external_sst_file.version"
	propGlobalSeq       = "rocksdb.external_sst_file.global_seqno"
	propNumEntries      = "rocksdb.num.entries"
	propNumBlocks       = "rocksdb.num.data.blocks"
	propNumDeletions    = "rocksdb.deleted.keys"
	propNumRangeDels    = "rocksdb.num.range-deletions"

	propExpiryMin   = "cambium.expiry.min"
	propExpiryMax   = "cambium.expiry.max"
	propExpiryCount = "cambium.expiry.count"
	propHidden      = "cambium.hidden.count"
)

// numbers maps the varint64 properties to their fields.
func (p *Properties) numbers() map[string]*uint64 {
	return map[string]*uint64{
		propNumEntries:                 &p.NumEntries,
		propNumDeletions:               &p.NumDeletions,
		"rocksdb.merge.operands":       &p.NumMergeOperands,
		propNumRangeDels:               &p.NumRangeDeletions,
		"rocksdb.raw.key.size":         &p.RawKeySize,
		"rocksdb.raw.value.size":       &p.RawValueSize,
		"rocksdb.data.size":            &p.DataSize,
		"rocksdb.index.size":           &p.IndexSize,
		"rocksdb.index.partitions":     &p.IndexPartitions,
		"rocksdb.top-level.index.size": &p.TopLevelIndexSize,
		"rocksdb.filter.size":          &p.FilterSize,
		propNumBlocks:                  &p.NumDataBlocks,
		"rocksdb.num.filter_entries":   &p.NumFilterEntries,
		"rocksdb.format.version":       &p.FormatVersion,
		"rocksdb.fixed.key.length":     &p.FixedKeyLength,
		"rocksdb.column.family.id":     &p.ColumnFamilyID,
		"rocksdb.creation.time":        &p.CreationTime,
		"rocksdb.oldest.key.time":      &p.OldestKeyTime,
		"rocksdb.file.creation.time":   &p.FileCreationTime,
		"rocksdb.original.file.number": &p.OriginalFile,
	}
}

// texts maps the string properties to their fields.
func (p *Properties) texts() map[string]*string {
	return map[string]*string{
		"rocksdb.compression":               &p.Compression,
		"rocksdb.compression_options":       &p.CompressionOptions,
		"rocksdb.comparator":                &p.Comparator,
		"rocksdb.filter.policy":             &p.FilterPolicy,
		"rocksdb.merge.operator":            &p.MergeOperator,
		"rocksdb.prefix.extractor.name":     &p.PrefixExtractor,
		"rocksdb.column.family.name":        &p.ColumnFamilyName,
		"rocksdb.property.collectors":       &p.PropertyCollectors,
		"rocksdb.creating.db.identity":      &p.DBID,
		"rocksdb.creating.session.identity": &p.SessionID,
		"rocksdb.creating.host.identity":    &p.Host,
	}
}

// Has reports whether the table states the property name.
func (p *Properties) Has(name string) bool { return p.present[name] }

// encode builds the properties block: strictly ascending keys, one restart.
func (p *Properties) encode() []byte {
	all := maps.Clone(p.User)
	if all == nil {
		all = map[string]string{}
	}
	varint := func(v uint64) string { return string(binary.AppendUvarint(nil, v)) }
	fixed64 := func(v uint64) string { return string(binary.LittleEndian.AppendUint64(nil, v)) }
	for name, v := range p.numbers() {
		all[name] = varint(*v)
	}
	for _, optional := range []string{"rocksdb.index.partitions", "rocksdb.top-level.index.size"} {
		if p.IndexPartitions == 0 {
			delete(all, optional)
		}
	}
	for name, v := range p.texts() {
		if *v != "" {
			all[name] = *v
		}
	}
	all[propIndexType] = string(binary.LittleEndian.AppendUint32(nil, p.IndexType))
	all[propIndexUserKey] = varint(bit(p.IndexKeyIsUserKey))
	all[propIndexDelta] = varint(bit(p.IndexValueIsDelta))
	all[propWholeKey] = string('0' + rune(bit(p.WholeKeyFiltering)))
	all[propPrefix] = string('0' + rune(bit(p.PrefixFiltering)))
	if p.ExternalVersion > 0 {
		all[propExternalVersion] = string(binary.LittleEndian.AppendUint32(nil, p.ExternalVersion))
		all[propGlobalSeq] = fixed64(p.GlobalSeq)
	}
	if p.ExpiryCount > 0 {
		all[propExpiryMin] = fixed64(p.ExpiryMin)
		all[propExpiryMax] = fixed64(p.ExpiryMax)
		all[propExpiryCount] = fixed64(p.ExpiryCount)
	}
	if p.Hidden > 0 {
		all[propHidden] = fixed64(p.Hidden)
	}
	b := block.NewBuilder(math.MaxInt32)
	for _, name := range slices.Sorted(maps.Keys(all)) {
		b.Add([]byte(name), []byte(all[name]))
	}
	return b.Finish()
}

func bit(b bool) uint64 {
	if b {
		return 1
	}
	return 0
}

// decodeProperties reads a properties block.
func decodeProperties(data []byte, origin block.Origin) (Properties, error) {
	p := Properties{WholeKeyFiltering: true, PrefixFiltering: true, present: map[string]bool{}}
	numbers, texts := p.numbers(), p.texts()
	var it block.RawIter
	if err := it.Init(data, origin); err != nil {
		return Properties{}, err
	}
	last := ""
	for it.Next() {
		name, v := string(it.Key()), it.Value()
		if name <= last && len(p.present) > 0 {
			return Properties{}, origin.Errorf("property %q after %q", name, last)
		}
		last = name
		p.present[name] = true
		if field := numbers[name]; field != nil {
			n, used := binary.Uvarint(v)
			if used <= 0 {
				return Properties{}, origin.Errorf("property %s is no number: %x", name, v)
			}
			*field = n
			continue
		}
		if field := texts[name]; field != nil {
			*field = string(v)
			continue
		}
		if err := p.decodeSpecial(name, v, origin); err != nil {
			return Properties{}, err
		}
	}
	return p, it.Err()
}

// decodeSpecial reads the properties that are neither a varint64 nor a plain string of ours.
func (p *Properties) decodeSpecial(name string, v []byte, origin block.Origin) error {
	bad := func() error { return origin.Errorf("property %s of %d bytes: %x", name, len(v), v[:min(len(v), 16)]) }
	switch name {
	case propIndexType, propExternalVersion:
		if len(v) != 4 {
			return bad()
		}
		n := binary.LittleEndian.Uint32(v)
		if name == propIndexType {
			p.IndexType = n
		} else {
			p.ExternalVersion = n
		}
	case propIndexUserKey, propIndexDelta:
		n, used := binary.Uvarint(v)
		if used <= 0 {
			return bad()
		}
		if name == propIndexUserKey {
			p.IndexKeyIsUserKey = n != 0
		} else {
			p.IndexValueIsDelta = n != 0
		}
	case propWholeKey:
		p.WholeKeyFiltering = string(v) != "0"
	case propPrefix:
		p.PrefixFiltering = string(v) != "0"
	case propGlobalSeq, propExpiryMin, propExpiryMax, propExpiryCount, propHidden:
		if len(v) != 8 {
			return bad()
		}
		*map[string]*uint64{
			propGlobalSeq: &p.GlobalSeq, propExpiryMin: &p.ExpiryMin,
			propExpiryMax: &p.ExpiryMax, propExpiryCount: &p.ExpiryCount, propHidden: &p.Hidden,
		}[name] = binary.LittleEndian.Uint64(v)
	default:
		if p.User == nil {
			p.User = map[string]string{}
		}
		p.User[name] = string(v)
	}
	return nil
}
