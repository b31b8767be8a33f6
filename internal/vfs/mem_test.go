package vfs_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/cambiumdb/cambium/internal/vfs"
)

func TestMemPaths(t *testing.T) {
	p := place{vfs.NewMem(), "/"}
	require.NoError(t, p.MkdirAll("a/b"))
	p.write(t, "a/b/f", vfs.Buffered, []byte("x"))
	for _, name := range []string{"a/b/f", "/a/b/f", "./a//b/../b/f", "/../a/b/f"} {
		_, err := p.Stat(name)
		require.NoError(t, err, name)
	}
	for _, dir := range []string{"", ".", "/"} {
		names, err := p.List(dir)
		require.NoError(t, err)
		require.Equal(t, []string{"a"}, names)
	}
	require.Error(t, p.Rename("/a", "/a/b/c"), "a directory into itself")
	require.NoError(t, p.Rename("/a", "/z"))
	require.Equal(t, "x", string(p.read(t, "z/b/f", vfs.Buffered)))
	_, err := p.Create("/", vfs.Buffered)
	require.Error(t, err)
	_, err = p.Create("/z/b/f/g", vfs.Buffered)
	require.Error(t, err, "a file is no directory")
}

func TestMemStrictDirect(t *testing.T) {
	m := vfs.NewMem()
	m.SetDirect(512)
	f, err := m.Create("f", vfs.Direct)
	require.NoError(t, err)
	buf := vfs.AlignedBuffer(8192)
	transfers := map[string]struct {
		p   []byte
		off int64
	}{
		"offset":  {buf[:512], 100},
		"length":  {buf[:511], 512},
		"address": {buf[1:513], 512},
	}
	for name, x := range transfers {
		_, err := f.WriteAt(x.p, x.off)
		require.ErrorContains(t, err, "not aligned to 512", name)
		_, err = f.ReadAt(x.p, x.off)
		require.ErrorContains(t, err, "not aligned to 512", name)
	}
	size, err := f.Size()
	require.NoError(t, err)
	require.Zero(t, size, "nothing was written")
	_, err = f.WriteAt(buf[512:1536], 1024)
	require.NoError(t, err)
	m.SetStrict(false)
	_, err = f.WriteAt(buf[1:12], 3)
	require.NoError(t, err)
}

func TestMemCapacity(t *testing.T) {
	m := vfs.NewMem()
	m.SetCapacity(10 * 4096)
	free := func() int64 {
		n, err := m.Free("/")
		require.NoError(t, err)
		return n
	}
	f, err := m.Create("f", vfs.Buffered)
	require.NoError(t, err)
	n, err := f.WriteAt(make([]byte, 4096*4+1), 0)
	require.NoError(t, err)
	require.Equal(t, 4096*4+1, n)
	require.EqualValues(t, 5*4096, free(), "whole pages")
	require.NoError(t, f.Preallocate(8*4096))
	require.EqualValues(t, 2*4096, free())
	n, err = f.WriteAt(make([]byte, 4096*6), 7*4096)
	require.ErrorIs(t, err, vfs.ErrNoSpace)
	require.Equal(t, 3*4096, n, "what fits is written")
	size, err := f.Size()
	require.NoError(t, err)
	require.EqualValues(t, 10*4096, size)
	_, err = f.WriteAt(make([]byte, 100), 5000)
	require.NoError(t, err, "space that is there already")

	g, err := m.Create("g", vfs.Buffered)
	require.NoError(t, err)
	require.ErrorIs(t, g.Preallocate(1), vfs.ErrNoSpace)
	require.NoError(t, f.Truncate(4097))
	require.EqualValues(t, 8*4096, free())
	require.NoError(t, g.Preallocate(4096))
	require.NoError(t, m.Remove("f"))
	require.EqualValues(t, 7*4096, free(), "open files keep their space")
	require.NoError(t, f.Close())
	require.EqualValues(t, 9*4096, free())
	require.NoError(t, m.Rename("g", "h"))
	require.EqualValues(t, 9*4096, free())
	again, err := m.Create("h", vfs.Buffered)
	require.NoError(t, err)
	require.EqualValues(t, 10*4096, free(), "Create gives back what the file held")
	require.NoError(t, again.Preallocate(1))
	require.NoError(t, again.Close())

	after := m.CrashKeepAll()
	n64, err := after.Free("/")
	require.NoError(t, err)
	require.EqualValues(t, 9*4096, n64)
	require.NoError(t, g.Close())
}

// crashes returns what a test's scene looks like after every kind of crash, as a set of texts.
func crashes(m *vfs.Mem, look func(*vfs.Mem) string) []string {
	seen := map[string]bool{look(m.CrashKeepAll()): true, look(m.CrashLoseUnsynced()): true}
	for seed := range uint64(300) {
		seen[look(m.Crash(rand.New(rand.NewPCG(seed, 1))))] = true
	}
	var texts []string
	for text := range seen {
		texts = append(texts, text)
	}
	slices.Sort(texts)
	return texts
}

// tree shows the names of a directory and the first byte of each page of a file, "." for zero.
func tree(t *testing.T) func(*vfs.Mem) string {
	return func(m *vfs.Mem) string {
		names, err := m.List("/")
		require.NoError(t, err)
		var b strings.Builder
		for _, name := range names {
			b.WriteString(name + "=")
			content := string(place{m, "/"}.read(t, name, vfs.Buffered))
			for len(content) > 0 {
				page := content[:min(len(content), 4096)]
				content = content[len(page):]
				letter := strings.ReplaceAll(page[:1], "\x00", ".")
				if strings.Trim(page, page[:1]) != "" {
					letter = "?" + letter // torn
				}
				b.WriteString(letter)
			}
			b.WriteString(" ")
		}
		return strings.TrimSpace(b.String())
	}
}

// put writes pages that hold one letter each.
func put(t *testing.T, f vfs.File, at int, letters string) {
	t.Helper()
	for i, letter := range letters {
		page := vfs.AlignedBuffer(4096)
		for j := range page {
			page[j] = byte(letter)
		}
		_, err := f.WriteAt(page, int64(at+i)*4096)
		require.NoError(t, err)
	}
}

func TestMemCrashScenes(t *testing.T) {
	create := func(t *testing.T, m *vfs.Mem, name, letters string) vfs.File {
		f, err := m.Create(name, vfs.Direct)
		require.NoError(t, err)
		put(t, f, 0, letters)
		return f
	}
	durable := func(t *testing.T, m *vfs.Mem, name, letters string) vfs.File {
		f := create(t, m, name, letters)
		require.NoError(t, f.Sync())
		require.NoError(t, m.SyncDir("/"))
		return f
	}
	scenes := []struct {
		name string
		play func(t *testing.T, m *vfs.Mem)
		want []string // every result that is possible
	}{
		{"synced file and name stay", func(t *testing.T, m *vfs.Mem) {
			durable(t, m, "f", "ab")
		}, []string{"f=ab"}},
		{"synced file without its name", func(t *testing.T, m *vfs.Mem) {
			require.NoError(t, create(t, m, "f", "ab").Sync())
		}, []string{"", "f=ab"}},
		{"name without the bytes", func(t *testing.T, m *vfs.Mem) {
			create(t, m, "f", "ab")
			require.NoError(t, m.SyncDir("/"))
		}, []string{"f=", "f=.", "f=..", "f=.b", "f=a", "f=a.", "f=ab"}},
		{"pages overwritten in place", func(t *testing.T, m *vfs.Mem) {
			f := durable(t, m, "f", "abc")
			put(t, f, 0, "x")
			put(t, f, 2, "z")
		}, []string{"f=abc", "f=abz", "f=xbc", "f=xbz"}},
		{"a page written twice", func(t *testing.T, m *vfs.Mem) {
			f := durable(t, m, "f", "a")
			put(t, f, 0, "b")
			put(t, f, 0, "c")
		}, []string{"f=a", "f=b", "f=c"}},
		{"preallocated and synced, then written", func(t *testing.T, m *vfs.Mem) {
			f := create(t, m, "f", "")
			require.NoError(t, f.Preallocate(8192))
			require.NoError(t, f.Sync())
			require.NoError(t, m.SyncDir("/"))
			put(t, f, 0, "ab")
		}, []string{"f=..", "f=.b", "f=a.", "f=ab"}},
		{"cut and not synced", func(t *testing.T, m *vfs.Mem) {
			f := durable(t, m, "f", "abc")
			require.NoError(t, f.Truncate(4096))
		}, []string{"f=a", "f=abc"}},
		{"cut and synced", func(t *testing.T, m *vfs.Mem) {
			f := durable(t, m, "f", "abc")
			require.NoError(t, f.Truncate(4096))
			require.NoError(t, f.Sync())
		}, []string{"f=a"}},
		{"cut and grown again", func(t *testing.T, m *vfs.Mem) {
			f := durable(t, m, "f", "a")
			require.NoError(t, f.Truncate(0))
			require.NoError(t, f.Truncate(4096))
		}, []string{"f=", "f=.", "f=a"}},
		{"rename in place of another", func(t *testing.T, m *vfs.Mem) {
			durable(t, m, "f", "a")
			durable(t, m, "tmp", "b")
			require.NoError(t, m.Rename("tmp", "f"))
		}, []string{"f=a tmp=b", "f=b"}},
		{"rename of a new file", func(t *testing.T, m *vfs.Mem) {
			durable(t, m, "f", "a")
			require.NoError(t, create(t, m, "tmp", "b").Sync())
			require.NoError(t, m.Rename("tmp", "f"))
		}, []string{"f=a", "f=a tmp=b", "f=b"}},
		{"a name moved away and made again", func(t *testing.T, m *vfs.Mem) {
			durable(t, m, "f", "a")
			require.NoError(t, m.Rename("f", "g"))
			require.NoError(t, create(t, m, "f", "b").Sync())
		}, []string{"f=a", "f=b g=a", "g=a"}},
		{"removed", func(t *testing.T, m *vfs.Mem) {
			durable(t, m, "f", "a")
			require.NoError(t, m.Remove("f"))
		}, []string{"", "f=a"}},
		{"two names independently", func(t *testing.T, m *vfs.Mem) {
			require.NoError(t, create(t, m, "f", "a").Sync())
			require.NoError(t, create(t, m, "g", "b").Sync())
		}, []string{"", "f=a", "f=a g=b", "g=b"}},
		{"links share their bytes", func(t *testing.T, m *vfs.Mem) {
			f := durable(t, m, "f", "a")
			require.NoError(t, m.Link("f", "g"))
			require.NoError(t, m.SyncDir("/"))
			put(t, f, 0, "b")
		}, []string{"f=a g=a", "f=b g=b"}},
		{"created over a synced file", func(t *testing.T, m *vfs.Mem) {
			durable(t, m, "f", "a")
			create(t, m, "f", "b")
		}, []string{"f=", "f=.", "f=a", "f=b"}},
	}
	for _, scene := range scenes {
		t.Run(scene.name, func(t *testing.T) {
			m := vfs.NewMem()
			scene.play(t, m)
			now := tree(t)(m)
			require.Equal(t, scene.want, crashes(m, tree(t)))
			require.Equal(t, now, tree(t)(m.CrashKeepAll()), "a killed process loses nothing")
			require.Equal(t, now, tree(t)(m), "a crash does not touch the file system itself")
			again := m.Crash(rand.New(rand.NewPCG(5, 5)))
			require.Equal(t, tree(t)(again), tree(t)(m.Crash(rand.New(rand.NewPCG(5, 5)))), "by seed")
			require.Equal(t, []string{tree(t)(again)}, crashes(again, tree(t)), "what survived is durable")
		})
	}
}

// TestMemCrashOfManyLengths grows a file far more often than lengths are remembered: the durable
// length stays among them.
func TestMemCrashOfManyLengths(t *testing.T) {
	m := vfs.NewMem()
	f, err := m.Create("f", vfs.Buffered)
	require.NoError(t, err)
	_, err = f.WriteAt([]byte("durable"), 0)
	require.NoError(t, err)
	require.NoError(t, f.Sync())
	require.NoError(t, m.SyncDir("/"))
	for i := range int64(500) {
		_, err := f.WriteAt([]byte("x"), 7+i)
		require.NoError(t, err)
	}
	require.Equal(t, "durable", string(place{m.CrashLoseUnsynced(), "/"}.read(t, "f", vfs.Buffered)))
	sizes := crashes(m, func(m *vfs.Mem) string {
		return fmt.Sprintf("%03d", len(place{m, "/"}.read(t, "f", vfs.Buffered)))
	})
	require.Equal(t, "007", sizes[0])
	require.Equal(t, "507", sizes[len(sizes)-1])
	require.Greater(t, len(sizes), 10)
}

func TestMemCrashDirectories(t *testing.T) {
	m := vfs.NewMem()
	require.NoError(t, m.MkdirAll("a/b"))
	p := place{m, "/a/b"}
	p.write(t, "f", vfs.Direct, []byte("x"))
	require.NoError(t, m.SyncDir("a/b"))
	require.NoError(t, m.SyncDir("a"))
	_, err := m.CrashLoseUnsynced().Stat("a")
	require.Error(t, err, "the topmost name was not synced")
	require.NoError(t, m.SyncDir("/"))
	require.Equal(t, "x", string(place{m.CrashLoseUnsynced(), "/a/b"}.read(t, "f", vfs.Direct)))

	// A rename between directories is one change, durable with either; so is what it builds on.
	require.NoError(t, m.Rename("a/b/f", "a/g"))
	require.NoError(t, m.SyncDir("a"))
	after := m.CrashLoseUnsynced()
	_, err = after.Stat("a/g")
	require.NoError(t, err)
	_, err = after.Stat("a/b/f")
	require.Error(t, err)

	place{m, "/"}.write(t, "a/b/h", vfs.Direct, []byte("y"))
	require.NoError(t, m.Rename("a/b/h", "a/h"))
	require.NoError(t, m.SyncDir("a"))
	for seed := range uint64(20) {
		after := m.Crash(rand.New(rand.NewPCG(seed, 0)))
		_, err = after.Stat("a/h")
		require.NoError(t, err)
		_, err = after.Stat("a/b/h")
		require.Error(t, err, "the creation does not come back after the rename")
	}
}

// TestMemLocksEndWithTheCrash takes the lock of a process that is gone.
func TestMemLocksEndWithTheCrash(t *testing.T) {
	m := vfs.NewMem()
	lock, err := m.Lock("LOCK")
	require.NoError(t, err)
	after := m.CrashKeepAll()
	other, err := after.Lock("LOCK")
	require.NoError(t, err)
	require.NoError(t, lock.Close(), "the old process ends")
	_, err = after.Lock("LOCK")
	require.ErrorIs(t, err, vfs.ErrLocked)
	require.NoError(t, other.Close())
}

// publish replaces the file CURRENT, leaving out the steps that are named.
func publish(m *vfs.Mem, content, without string) error {
	f, err := m.Create("tmp", vfs.Buffered)
	if err != nil {
		return err
	}
	if _, err := f.WriteAt([]byte(content), 0); err != nil {
		return err
	}
	if without != "sync" {
		if err := f.Sync(); err != nil {
			return err
		}
	}
	if err := f.Close(); err != nil {
		return err
	}
	if err := m.Rename("tmp", "CURRENT"); err != nil || without == "syncdir" {
		return err
	}
	return m.SyncDir("/")
}

// TestMemCrashAtEverySyncPoint shows the use of the hook: a careful publication shows the old or
// the new content at each crash and the new one at the end, and a careless one is caught.
func TestMemCrashAtEverySyncPoint(t *testing.T) {
	outcomes := func(without string) []string {
		m := vfs.NewMem()
		require.NoError(t, publish(m, "old", ""))
		seen := map[string]bool{}
		look := func(when string) {
			for seed := range uint64(50) {
				after := m.Crash(rand.New(rand.NewPCG(seed, 2)))
				seen[when+":"+string(place{after, "/"}.read(t, "CURRENT", vfs.Buffered))] = true
			}
		}
		m.SetSyncHook(func(op, name string) { look("during") })
		require.NoError(t, publish(m, "new", without))
		m.SetSyncHook(nil)
		look("after")
		var list []string
		for s := range seen {
			list = append(list, s)
		}
		slices.Sort(list)
		return list
	}
	require.Equal(t, []string{"after:new", "during:new", "during:old"}, outcomes(""))
	require.Contains(t, outcomes("sync"), "after:", "an empty CURRENT")
	require.Contains(t, outcomes("syncdir"), "after:old")
}

func TestMemSyncHook(t *testing.T) {
	m := vfs.NewMem()
	var calls []string
	m.SetSyncHook(func(op, name string) { calls = append(calls, fmt.Sprint(op, " ", name)) })
	place{m, "/"}.write(t, "f", vfs.Direct, nil)
	require.NoError(t, m.SyncDir("/"))
	require.Error(t, m.SyncDir("/missing"))
	require.Equal(t, []string{"sync /f", "synced /f", "syncdir /", "syncdir done /", "syncdir /missing"}, calls)
}

func TestMemConcurrentCrash(t *testing.T) {
	m := vfs.NewMem()
	p := place{m, "/"}
	done := make(chan error)
	for i := range 3 {
		go func() { done <- churn(p, fmt.Sprint(i)) }()
	}
	go func() {
		for seed := range uint64(20) {
			m.Crash(rand.New(rand.NewPCG(seed, 3)))
		}
		done <- nil
	}()
	for range 4 {
		require.NoError(t, <-done)
	}
}

// TestMemHoles: a hole gives room back at once, a crash may bring the bytes back until it is
// synced, and where the file system has no holes the error says so and nothing has changed.
func TestMemHoles(t *testing.T) {
	m := vfs.NewMem()
	m.SetCapacity(8 * vfs.HoleUnit)
	p := place{m, "/"}
	p.write(t, "f", vfs.Direct, pattern(8*vfs.HoleUnit))
	f, err := m.OpenReadWrite("f", vfs.Direct)
	require.NoError(t, err)

	m.SetHoles(false)
	require.ErrorIs(t, f.PunchHole(0, vfs.HoleUnit), errors.ErrUnsupported)
	require.Equal(t, pattern(8*vfs.HoleUnit), p.read(t, "f", vfs.Direct))
	m.SetHoles(true)

	require.NoError(t, f.PunchHole(0, 4*vfs.HoleUnit))
	free, err := m.Free("/")
	require.NoError(t, err)
	require.EqualValues(t, 4*vfs.HoleUnit, free)
	require.NoError(t, m.SyncDir("/"))
	require.Equal(t, pattern(8*vfs.HoleUnit), place{m.CrashLoseUnsynced(), "/"}.read(t, "f", vfs.Direct))
	require.NoError(t, f.Sync())
	want := pattern(8 * vfs.HoleUnit)
	clear(want[:4*vfs.HoleUnit])
	require.Equal(t, want, place{m.CrashLoseUnsynced(), "/"}.read(t, "f", vfs.Direct))
	require.NoError(t, f.Close())
}
