// Package compaction chooses which tables to rewrite and rewrites them. Choosing is pure: a
// Policy makes a Plan from a Version. Doing has effects: Run reads and writes tables and gives
// back the edit that its caller installs; Flush does the same for a memtable.
//
//	policy := compaction.NewLeveled(compaction.Options{})
//	if plan := policy.Pick(version, busy); plan != nil && busy.Reserve(plan) {
//		result, err := compaction.Run(ctx, env, plan) // nothing is installed yet
//		if err == nil {
//			if err = busy.Verify(plan, current); err == nil {
//				err = set.Apply(result.Edit)
//			}
//		}
//		busy.Release(plan)
//	}
//
// After an error of Run or Flush the inputs are untouched, and the outputs are removed where
// that is possible; what a crash or a failed removal leaves behind are tables that no manifest
// mentions.
//
// A Policy is immutable. Plans and Versions are values that nobody changes once made; whoever
// runs a plan keeps a reference to the Version that it was picked from until the edit is
// installed or given up. Any number of Runs and Flushes may go on at the same time, each with
// an Env of its own, as long as their plans are reserved in the same Reservations.
package compaction

import (
	"context"
	"fmt"
	"log/slog"
	"strings"

	"github.com/cambiumdb/cambium/internal/cache"
	"github.com/cambiumdb/cambium/internal/manifest"
	"github.com/cambiumdb/cambium/internal/vfs"
	"github.com/cambiumdb/cambium/sstable"
	"github.com/cambiumdb/cambium/sstable/blob"
	"github.com/cambiumdb/cambium/sstable/block"
)

// Policy decides what to compact next. All methods are pure and may be called concurrently.
type Policy interface {
	// Pick returns the most urgent plan that does not conflict with busy, or nil when there is
	// none. Picking and running again and again, with no writes between, comes to an end. A
	// nil busy holds nothing.
	Pick(v *manifest.Version, busy *Reservations) *Plan
	// Debt estimates the bytes that Pick's plans would still rewrite until it returns nil; it
	// is 0 exactly when nothing is left to do.
	Debt(v *manifest.Version) int64
	// Scores explains Pick: one entry for each level.
	Scores(v *manifest.Version) []LevelScore
}

// LevelScore says how full a level is against what the policy wants. A level with Score >= 1
// has work.
type LevelScore struct {
	Level int
	Files int
	Bytes int64
	// Target is in bytes: 0 for L0, which is counted in files, and for a level that must
	// empty; math.MaxInt64 for the last level.
	Target int64
	Score  float64
}

// Options adjusts a policy. The zero value works.
type Options struct {
	// L0Trigger is the number of tables in L0 from which they are merged into the next level.
	// Raising it saves writes and costs every read of a key one more table. Default 4.
	L0Trigger int
	// BaseBytes is the size up to which the first level below L0 may grow; what a table of L0
	// holds, or a little more, is best. Default 64 MiB.
	BaseBytes int64
	// Ratio is the largest factor between the sizes of two adjacent levels. Raising it saves
	// levels and space, and costs rewrites where a level is that much larger. Default 16.
	Ratio int
	// TargetFileBytes is the size of an output table. Smaller ones make finer plans and more
	// files. Default 32 MiB.
	TargetFileBytes int64
	// MaxRuns is the number of sorted runs, the tables of L0 among them, up to which Tiered and
	// LazyLeveled let them pile up; while merges go on there may be some more. Raising it saves
	// rewrites and costs every read of a key that many tables. The defaults are theirs.
	MaxRuns int
	// MaxSpace is how large, as a multiple of the last level, Tiered and LazyLeveled let the
	// whole tree become. Raising it saves rewrites and costs that space. The defaults are theirs.
	MaxSpace float64
}

func (o Options) withDefaults() Options {
	if o.L0Trigger <= 0 {
		o.L0Trigger = 4
	}
	if o.BaseBytes <= 0 {
		o.BaseBytes = 64 << 20
	}
	if o.Ratio < 2 {
		o.Ratio = 16
	}
	if o.TargetFileBytes <= 0 {
		o.TargetFileBytes = 32 << 20
	}
	return o
}

// maxGrandparentOverlap limits, in multiples of the target file size, how much of the level
// below its own one output table may overlap, since that is what compacting it next will cost.
const maxGrandparentOverlap = 10

// Reasons that plans carry.
const (
	ReasonL0         = "l0files"    // L0 holds too many tables
	ReasonSize       = "size"       // a level is above its target
	ReasonRuns       = "runs"       // too many sorted runs lie over one another
	ReasonSpace      = "space"      // what lies above the last level may hide too much of it
	ReasonManual     = "manual"     // somebody asked
	ReasonTombstones = "tombstones" // a table is mostly deletions
	ReasonSnapshot   = "snapshot"   // a table holds what only closed snapshots saw
	ReasonExpired    = "expired"    // a table holds values whose life has ended
	ReasonMarked     = "marked"     // RocksDB marked the table
	ReasonValues     = "values"     // blob files are mostly garbage, or may be
	ReasonFlush      = "flush"      // a memtable, not a plan
)

// Plan is one compaction: merge the tables of Inputs into Output. Inputs are in ascending order
// of level; the tables of L0 are newest first, those of other levels ascend by key.
type Plan struct {
	Inputs []Input
	Output int
	Reason string
	// Grandparents are the tables one level below Output that the plan overlaps; outputs are
	// cut so that none overlaps too many of them.
	Grandparents []*manifest.Table
	// Align says that outputs end where grandparents begin, even at the price of being up to
	// twice the target size, so that tables that lie over one another share their boundaries.
	Align bool
	// MoveValues are the blob files whose values go to new ones where the inputs refer to them.
	MoveValues map[uint64]bool
	// TrivialMove says that the inputs, all of one level, go to Output as they are.
	TrivialMove bool
	// Final says of a manual plan that the data is in its last place after it.
	Final bool
}

// Input is the part of a plan that comes from one level.
type Input struct {
	Level  int
	Tables []*manifest.Table
}

// Bytes is the total size of the inputs.
func (p *Plan) Bytes() int64 {
	var n int64
	for _, in := range p.Inputs {
		n += totalBytes(in.Tables)
	}
	return n
}

// String draws the plan: L0[a..c] + L1[b..d] -> L1.
func (p *Plan) String() string {
	var b strings.Builder
	for i, in := range p.Inputs {
		if i > 0 {
			b.WriteString(" + ")
		}
		fmt.Fprintf(&b, "L%d", in.Level)
		for _, t := range in.Tables {
			b.WriteString(rangeOf(t).String())
		}
	}
	fmt.Fprintf(&b, " -> L%d", p.Output)
	return b.String()
}

// Decision is what a Filter says about a value.
type Decision uint8

// The decisions. Drop removes the key: where older versions lie beneath, by a tombstone.
const (
	Keep Decision = iota
	Drop
	Replace
)

// Filter is the one hook by which a layer above takes part in compaction. It is asked about the
// newest version of a key in a merge, when every snapshot sees that version, and only about
// values that this engine writes: plain ones, separated ones (which it sees whole) and ones
// with a time to live (which keep it). newValue matters for Replace only. key and value are
// valid during the call. Several compactions may call it concurrently. A newer version of the
// key may exist above the merge.
type Filter interface {
	Filter(level int, key, value []byte) (decision Decision, newValue []byte)
}

// Limiter slows compaction down. Wait returns when n more bytes may be written, or with an
// error when ctx ends. Several goroutines may call it.
type Limiter interface {
	Wait(ctx context.Context, n int) error
}

// Env is what Run and Flush need of the database around them. It is read only.
type Env struct {
	FS         vfs.FS
	Dir        string
	NewFileNum func() uint64
	// OpenTable returns a reader of t and a function that gives it back.
	OpenTable func(t *manifest.Table) (*sstable.Reader, func(), error)
	// OpenBlob does the same for a blob file. It is used for Filter and Plan.MoveValues.
	OpenBlob func(num uint64) (*blob.Reader, func(), error)
	// WriterOptions returns the options for tables of a level. FileNumber and CreationTime are
	// filled in by the caller.
	WriterOptions   func(outputLevel int) sstable.WriterOptions
	TargetFileBytes int64 // 0 = 32 MiB
	// Parts is into how many ranges Run may divide a plan, to merge them at the same time: then
	// every function here is called by several goroutines. Each takes the buffers of a run. 0 = 1.
	Parts int
	// ValueThreshold is the length in bytes from which a plain value goes to a blob file, in
	// ValueCompression where that helps; 0 = none does. A blob file ends at ValueFileBytes.
	ValueThreshold   int64
	ValueCompression block.Compression
	ValueFileBytes   int64 // 0 = 256 MiB
	// Cache gives the memory for compressing large values, and keeps blocks that are written, as far as it has room that nothing
	// else needs; nil = the Go heap does, and nobody.
	Cache *cache.Cache
	// Snapshots are the sequence numbers that readers hold, ascending, as of a moment when all
	// entries of the inputs are visible: readers that come later see the newest of each key.
	Snapshots []uint64
	NowMillis uint64 // Unix time that decides what has expired
	// Version is the one that the plan was picked from, and which its caller holds.
	Version *manifest.Version
	// Wrote, when not nil, hears how many bytes went to the device, in several calls for each
	// output and also for outputs that are then given up.
	Wrote func(level int, reason string, bytes int64)
	// WroteValues does the same for blob files, when not nil.
	WroteValues func(reason string, bytes int64)
	// Read, when not nil, hears every now and then how many point entries were read since the last
	// call: how far the work has got.
	Read func(entries uint64)

	Limiter Limiter // nil = no limit
	Filter  Filter  // nil = none; not asked by Flush
	Logger  *slog.Logger
}

func (env *Env) targetFileBytes() int64 {
	if env.TargetFileBytes > 0 {
		return env.TargetFileBytes
	}
	return Options{}.withDefaults().TargetFileBytes
}

// Result is what Run or Flush did. In always equals Out + Dropped.Total(); both count point
// entries, not range tombstones.
type Result struct {
	Edit                    *manifest.Edit
	In, Out                 uint64
	Dropped                 Dropped
	BytesRead, BytesWritten int64 // sizes of the input and of the output tables
	BlocksReused            int   // data blocks that were written as they had been read
	ValuesMoved             int64 // bytes of values that went from one blob file to another
	ValuesWritten           int64 // bytes of records in new blob files
	Tables                  []*manifest.Table
	// Dead are the records that lost their last reference, by blob file: of each file that is
	// WorthHoles, all that Edit counts as new garbage. They are dead once Edit is in effect.
	Dead map[uint64]*blob.Dead
}
