package compaction

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/cockroachdb/datadriven"
	"github.com/stretchr/testify/require"

	"github.com/cambiumdb/cambium/internal/ikey"
	"github.com/cambiumdb/cambium/internal/manifest"
	"github.com/cambiumdb/cambium/internal/rangedel"
	"github.com/cambiumdb/cambium/sstable"
)

// TestDivideScript shows where a plan is cut into parts. The stretches are drawn as key:bytes, the
// grandparents as tables.
func TestDivideScript(t *testing.T) {
	datadriven.RunTest(t, "testdata/divide", func(t *testing.T, d *datadriven.TestData) string {
		n := 0
		d.ScanArgs(t, "parts", &n)
		above, below, _ := strings.Cut(d.Input, "over")
		var stretches []stretch
		for _, word := range strings.Fields(above) {
			key, size, ok := strings.Cut(word, ":")
			require.True(t, ok, word)
			stretches = append(stretches, stretch{[]byte(key), int64(mustUint(t, size))})
		}
		grandparents := drawnVersion(t, "L6 "+below).Levels[6]
		cuts := chooseCuts(stretches, n, grandparents, d.HasArg("align"))
		if len(cuts) == 0 {
			return "in one\n"
		}
		return fmt.Sprintf("%s\n", cuts)
	})
}

// partsTree builds the same tree for every call: tombstones of both kinds, times to live, snapshots,
// and a bottom level of many tables.
func partsTree(t *testing.T) *tree {
	rng := rand.New(rand.NewSource(11))
	tr := newTree(t, Options{TargetFileBytes: 2 << 10})
	for round := range 4 {
		tr.workload(rng, 500, 400, 150)
		if round == 2 {
			tr.snapshots = append(tr.snapshots, tr.seq)
		}
		_, err := tr.flush()
		require.NoError(t, err)
		if round == 0 {
			tr.compactAll()
		}
	}
	tr.now += 100
	return tr
}

// entriesOf lists all entries and tombstones of a level.
func entriesOf(t *testing.T, tr *tree, level int) (points []string, spans rangedel.List) {
	var lists []rangedel.List
	for _, table := range tr.v.Levels[level] {
		r, release, err := tr.openTable(table)
		require.NoError(t, err)
		it := r.NewIterator(sstable.IterOptions{})
		for ok := it.First(); ok; ok = it.Next() {
			points = append(points, fmt.Sprintf("%s %x", it.Key(), it.Value()))
		}
		require.NoError(t, it.Err())
		require.NoError(t, it.Close())
		lists = append(lists, r.RangeDels())
		release()
	}
	return points, rangedel.Merge(lists...)
}

// TestPartsMakeNoDifference compares what a plan leaves in one and in several parts.
func TestPartsMakeNoDifference(t *testing.T) {
	one := partsTree(t)
	want := one.run(Manual(one.v, nil, nil, 0))
	wantPoints, wantSpans := entriesOf(t, one, bottom)
	require.NotEmpty(t, wantSpans)
	for _, n := range []int{2, 3, 7, 100} {
		tr := partsTree(t)
		tr.parts = n
		plan := Manual(tr.v, nil, nil, 0)
		in, err := newInputs(tr.env(), plan, newBeneath(tr.v, plan))
		require.NoError(t, err)
		ranges, err := divide(in)
		require.NoError(t, err)
		require.Len(t, ranges, min(n, plan.MaxParts(2<<10)))
		got := tr.run(plan)
		tr.check()
		require.Equal(t, want.In, got.In)
		require.Equal(t, want.Dropped, got.Dropped)
		points, spans := entriesOf(t, tr, bottom)
		require.Equal(t, wantPoints, points)
		require.Equal(t, wantSpans.String(), spans.String())
		require.True(t, slices.IsSortedFunc(got.Tables, func(a, b *manifest.Table) int { return ikey.Compare(a.Smallest, b.Smallest) }))
	}
}

// TestPartsOfValues: garbage and blob files of all parts come together.
func TestPartsOfValues(t *testing.T) {
	tr, want := buildValues(t)
	env := valueEnv(tr)
	env.Parts, env.TargetFileBytes = 3, 128
	before := maps.Clone(tr.v.Blobs)
	plan := movePlan(tr)
	require.Greater(t, plan.MaxParts(128), 1)
	r, err := Run(context.Background(), env, plan)
	require.NoError(t, err)
	require.Greater(t, len(r.Tables), 1)
	require.True(t, slices.IsSortedFunc(r.Edit.BlobsAdded, func(a, b manifest.Blob) int { return cmp.Compare(a.Num, b.Num) }))
	for _, g := range r.Edit.BlobGarbage {
		b := before[g.Num]
		require.Equal(t, manifest.BlobGarbage{Num: g.Num, Count: b.Count - b.GarbageCount, Bytes: b.Bytes - b.GarbageBytes}, g)
	}
	installValues(tr, r)
	require.Equal(t, want, valuesOf(t, tr, valueEnv(tr)))
}

// TestPartThatFails ends the other parts, which wait for ever otherwise, and leaves nothing behind.
func TestPartThatFails(t *testing.T) {
	tr := partsTree(t)
	tr.parts = 4
	plan := Manual(tr.v, nil, nil, 0)
	names, err := tr.mem.List(treeDir)
	require.NoError(t, err)
	env := tr.env()
	var asked atomic.Int32
	env.Limiter = limiterFunc(func(ctx context.Context, _ int) error {
		if asked.Add(1) == 3 {
			return errors.New("the third fails")
		}
		<-ctx.Done()
		return context.Cause(ctx)
	})
	_, err = Run(context.Background(), env, plan)
	require.ErrorContains(t, err, "the third fails")
	left, err := tr.mem.List(treeDir)
	require.NoError(t, err)
	require.Equal(t, names, left)
	tr.check()
}
