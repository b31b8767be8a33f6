package compaction

import (
	"bytes"
	"context"
	"fmt"
	"maps"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/cambiumdb/cambium/internal/filename"
	"github.com/cambiumdb/cambium/internal/ikey"
	"github.com/cambiumdb/cambium/internal/iterator"
	"github.com/cambiumdb/cambium/internal/manifest"
	"github.com/cambiumdb/cambium/internal/vfs"
	"github.com/cambiumdb/cambium/sstable"
	"github.com/cambiumdb/cambium/sstable/blob"
	"github.com/cambiumdb/cambium/sstable/block"
)

// valueEnv is the tree's with separation of values from 50 bytes on.
func valueEnv(tr *tree) *Env {
	env := tr.env()
	env.ValueThreshold, env.ValueCompression, env.ValueFileBytes = 50, block.Snappy, 4<<10
	env.OpenBlob = func(num uint64) (*blob.Reader, func(), error) {
		f, err := tr.fs.Open(filename.Path(treeDir, filename.Blob, num), vfs.Direct)
		if err != nil {
			return nil, nil, err
		}
		r, err := blob.Open(f, blob.ReaderOptions{FileNum: num})
		if err != nil {
			return nil, nil, err
		}
		return r, func() { _ = r.Close() }, nil
	}
	return env
}

// installValues is tree.install with blob files, which stay on disk.
func installValues(tr *tree, r *Result) {
	blobs := maps.Clone(tr.v.Blobs)
	for i := range r.Edit.BlobsAdded {
		blobs[r.Edit.BlobsAdded[i].Num] = &r.Edit.BlobsAdded[i]
	}
	for _, g := range r.Edit.BlobGarbage {
		b := *blobs[g.Num]
		b.GarbageCount += g.Count
		b.GarbageBytes += g.Bytes
		if blobs[g.Num] = &b; b.GarbageCount == b.Count {
			delete(blobs, g.Num)
		}
	}
	tr.install(r)
	tr.v.Blobs = blobs
}

// valuesOf reads every value of the bottom level as a plain one.
func valuesOf(t *testing.T, tr *tree, env *Env) map[string]string {
	got := map[string]string{}
	for _, table := range tr.v.Levels[bottom] {
		r, release, err := env.OpenTable(table)
		require.NoError(t, err)
		it := r.NewIterator(sstable.IterOptions{})
		for ok := it.First(); ok; ok = it.Next() {
			v := bytes.Clone(it.Value())
			if it.Key().Kind() == ikey.KindBlobIndex {
				v, err = env.loadBlob(it.Key().User, v)
				require.NoError(t, err)
			}
			got[string(it.Key().User)] = string(v)
		}
		require.NoError(t, it.Close())
		release()
	}
	return got
}

// buildValues makes a tree whose bottom level refers to several blob files, some of them mostly
// garbage, and returns what it holds.
func buildValues(t *testing.T) (*tree, map[string]string) {
	tr := newTree(t, small)
	want := map[string]string{}
	for round := range 3 {
		for i := 0; i < 60; i += round + 1 {
			k, v := fmt.Sprintf("k%02d", i), fmt.Sprintf("%d-%d-%s", round, i, bytes.Repeat([]byte{byte('a' + i%26)}, 40+i*3))
			if i%2 == 0 {
				v = string(noise(i, round, 40+i*3))
			}
			tr.put(k, []byte(v))
			want[k] = v
		}
		r, err := flushValues(tr)
		require.NoError(t, err)
		require.Greater(t, len(r.Edit.BlobsAdded), 1, "values that compress lie apart, and files end at 4 KiB")
		installValues(tr, r)
	}
	r, err := Run(context.Background(), valueEnv(tr), Manual(tr.v, nil, nil, 0))
	require.NoError(t, err)
	require.Empty(t, r.Edit.BlobsAdded, "merging keys copies no value")
	require.Zero(t, r.ValuesMoved)
	installValues(tr, r)
	return tr, want
}

func noise(i, round, n int) []byte {
	out, x := make([]byte, n), uint32(i*7919+round*104729+1)
	for j := range out {
		x ^= x << 13
		x ^= x >> 17
		x ^= x << 5
		out[j] = byte(x)
	}
	return out
}

func flushValues(tr *tree) (*Result, error) {
	slices.SortFunc(tr.pending, func(a, b iterator.Entry) int { return ikey.Compare(a.Key, b.Key) })
	r, err := Flush(context.Background(), valueEnv(tr), iterator.NewSlice(tr.pending), nil)
	if err == nil {
		tr.pending = nil
	}
	return r, err
}

func movePlan(tr *tree) *Plan {
	plan := newPlan(tr.v, Input{bottom, tr.v.Levels[bottom]}, bottom, ReasonValues)
	plan.MoveValues = map[uint64]bool{}
	for num, b := range tr.v.Blobs {
		if b.GarbageCount > 0 {
			plan.MoveValues[num] = true
		}
	}
	return plan
}

// TestMoveValues: values move as they are stored, the files that they leave lose every reference
// and no other file loses any, and everything is still there.
func TestMoveValues(t *testing.T) {
	tr, want := buildValues(t)
	require.Equal(t, want, valuesOf(t, tr, valueEnv(tr)))
	before := maps.Clone(tr.v.Blobs)
	plan := movePlan(tr)
	require.NotEmpty(t, plan.MoveValues)
	require.Less(t, len(plan.MoveValues), len(before))
	env := valueEnv(tr)
	var written int64
	env.WroteValues = func(reason string, n int64) {
		require.Equal(t, ReasonValues, reason)
		written += n
	}
	r, err := Run(context.Background(), env, plan)
	require.NoError(t, err)
	require.Positive(t, r.ValuesMoved)
	require.Equal(t, r.In, r.Out)
	installValues(tr, r)
	require.Equal(t, want, valuesOf(t, tr, valueEnv(tr)))
	var added uint64
	for _, b := range r.Edit.BlobsAdded {
		added += b.Bytes
	}
	require.GreaterOrEqual(t, written, int64(added))
	for num, b := range before {
		if plan.MoveValues[num] {
			require.NotContains(t, tr.v.Blobs, num)
		} else {
			require.Equal(t, b, tr.v.Blobs[num])
		}
	}
	live := map[uint64]manifest.BlobRef{}
	for _, table := range tr.v.Levels[bottom] {
		for _, ref := range table.Stats.BlobRefs {
			was := live[ref.Num]
			live[ref.Num] = manifest.BlobRef{Num: ref.Num, Count: was.Count + ref.Count, Bytes: was.Bytes + ref.Bytes}
		}
	}
	require.Len(t, live, len(tr.v.Blobs))
	for num, b := range tr.v.Blobs {
		require.Equal(t, manifest.BlobRef{Num: num, Count: b.Count - b.GarbageCount, Bytes: b.Bytes - b.GarbageBytes}, live[num])
	}
}

// TestErrorAtEveryCallOfValues fails each file operation of a flush and of a move in turn: no
// table and no blob file is left behind.
func TestErrorAtEveryCallOfValues(t *testing.T) {
	jobs := map[string]func(tr *tree) (*Result, error){
		"move": func(tr *tree) (*Result, error) { return Run(context.Background(), valueEnv(tr), movePlan(tr)) },
		"flush": func(tr *tree) (*Result, error) {
			for i := range 80 {
				tr.put(fmt.Sprintf("k%02d", i), noise(i, 9, 100))
			}
			return flushValues(tr)
		},
	}
	for name, job := range jobs {
		t.Run(name, func(t *testing.T) {
			tr, want := buildValues(t)
			names, err := tr.mem.List(treeDir)
			require.NoError(t, err)
			seq := tr.seq
			fault := vfs.NewFault(tr.mem)
			tr.fs = fault
			failed := 0
			for n := 0; ; n++ {
				tr.seq, tr.pending = seq, nil
				hit := fault.Add(vfs.Rule{Ops: vfs.OpAny &^ vfs.OpPreallocate, Skip: n, Err: vfs.ErrInjected})
				r, err := job(tr)
				fault.Clear()
				if err == nil {
					if hit.Hits() == 0 {
						break
					}
					for _, a := range r.Edit.Added { // a Close of what was only read may fail
						require.NoError(t, tr.mem.Remove(filename.Path(treeDir, filename.Table, a.Table.Num)))
					}
					for _, b := range r.Edit.BlobsAdded {
						require.NoError(t, tr.mem.Remove(filename.Path(treeDir, filename.Blob, b.Num)))
					}
					continue
				}
				failed++
				require.ErrorIs(t, err, vfs.ErrInjected)
				left, err := tr.mem.List(treeDir)
				require.NoError(t, err)
				require.Equal(t, names, left, "call %d", n)
			}
			require.Greater(t, failed, 10)
			require.Equal(t, want, valuesOf(t, tr, valueEnv(tr)))
		})
	}
}

// restOf returns what is dead in a blob file by the references that the tables hold.
func restOf(t *testing.T, tr *tree, env *Env, num uint64) *blob.Dead {
	var live blob.Live
	for _, tables := range tr.v.Levels {
		for _, table := range tables {
			r, release, err := env.OpenTable(table)
			require.NoError(t, err)
			it := r.NewIterator(sstable.IterOptions{})
			for ok := it.First(); ok; ok = it.Next() {
				if it.Key().Kind() != ikey.KindBlobIndex {
					continue
				}
				idx, err := blob.DecodeIndex(it.Value())
				require.NoError(t, err)
				if idx.File == num {
					live.Add(len(it.Key().User), idx)
				}
			}
			require.NoError(t, it.Close())
			release()
		}
	}
	r, release, err := env.OpenBlob(num)
	require.NoError(t, err)
	defer release()
	return live.Rest(r.End())
}

// TestDeadValues: what runs hand out as dead is what the tables that are left do not refer to, of
// every blob file of large values and of no other.
func TestDeadValues(t *testing.T) {
	tr := newTree(t, small)
	dead := map[uint64]*blob.Dead{}
	step := func(r *Result, err error) {
		t.Helper()
		require.NoError(t, err)
		for num, d := range r.Dead {
			if dead[num] == nil {
				dead[num] = &blob.Dead{}
			}
			dead[num].Union(d)
		}
		installValues(tr, r)
	}
	env := func() *Env {
		e := valueEnv(tr)
		e.ValueFileBytes, e.ValueCompression, e.Parts, e.TargetFileBytes = 400<<10, block.None, 3, 1<<10
		return e
	}
	for round := range 4 {
		for i := 0; i < 90; i += round + 1 {
			n := 16_400 + i*37
			if round == 3 {
				n = 60 // a file of small values
			}
			tr.put(fmt.Sprintf("k%02d", i), noise(i, round, n))
		}
		tr.delete(fmt.Sprintf("k%02d", 10*round+5))
		slices.SortFunc(tr.pending, func(a, b iterator.Entry) int { return ikey.Compare(a.Key, b.Key) })
		r, err := Flush(context.Background(), env(), iterator.NewSlice(tr.pending), nil)
		tr.pending = nil
		step(r, err)
		plan := Manual(tr.v, nil, nil, 0)
		e := env()
		if round == 1 {
			e.Snapshots = []uint64{tr.seq / 2, tr.seq}
		}
		r, err = Run(context.Background(), e, plan)
		step(r, err)
	}
	require.NotEmpty(t, dead)
	holes := int64(0)
	for num, b := range tr.v.Blobs {
		if !WorthHoles(b) {
			require.NotContains(t, dead, num)
			continue
		}
		if dead[num] == nil {
			dead[num] = &blob.Dead{}
		}
		require.Equal(t, restOf(t, tr, env(), num).Encode(nil), dead[num].Encode(nil), "%s", b)
		holes += dead[num].HoleBytes(vfs.HoleUnit)
	}
	require.Greater(t, holes, int64(300<<10))
}
