package vfs_test

import (
	"bytes"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/cambiumdb/cambium/internal/vfs"
)

// fileModel is what the durability contract says about one file, in pages of one letter.
type fileModel struct {
	now     []byte
	durable []byte
	letters map[int]map[byte]bool // what each page may hold after a crash
	sizes   map[int]bool          // how many pages the file may have
}

func newFileModel() *fileModel {
	f := &fileModel{sizes: map[int]bool{0: true}}
	f.sync()
	return f
}

func (f *fileModel) sync() {
	f.durable = slices.Clone(f.now)
	f.sizes = map[int]bool{len(f.now): true}
	f.letters = map[int]map[byte]bool{}
	for i, letter := range f.now {
		f.letters[i] = map[byte]bool{letter: true}
	}
}

func (f *fileModel) write(at int, letter byte) {
	if at >= len(f.now) {
		f.resize(at + 1)
	}
	f.now[at] = letter
	f.may(at, letter)
}

func (f *fileModel) may(at int, letter byte) {
	if f.letters[at] == nil {
		f.letters[at] = map[byte]bool{0: true}
	}
	f.letters[at][letter] = true
}

func (f *fileModel) resize(size int) {
	for i := len(f.now); i < size; i++ {
		f.now = append(f.now, 0)
		f.may(i, 0)
	}
	f.now = f.now[:size]
	f.sizes[size] = true
}

// allows reports whether a crash may leave the file with these pages.
func (f *fileModel) allows(pages []byte) bool {
	if !f.sizes[len(pages)] {
		return false
	}
	for i, letter := range pages {
		if f.letters[i] == nil && letter == 0 {
			continue
		}
		if !f.letters[i][letter] {
			return false
		}
	}
	return true
}

// dirModel is what the contract says about the names of one directory.
type dirModel struct {
	now     map[string]*fileModel
	durable map[string]*fileModel
	may     map[string]map[*fileModel]bool // nil is no file
}

func (d *dirModel) set(name string, f *fileModel) {
	if f == nil {
		delete(d.now, name)
	} else {
		d.now[name] = f
	}
	if d.may[name] == nil {
		d.may[name] = map[*fileModel]bool{d.durable[name]: true}
	}
	d.may[name][f] = true
}

func (d *dirModel) sync() {
	d.durable = maps.Clone(d.now)
	d.may = map[string]map[*fileModel]bool{}
}

// allows reports whether a crash may leave the name with these pages, nil for no file.
func (d *dirModel) allows(name string, pages []byte) bool {
	candidates := d.may[name]
	if candidates == nil {
		candidates = map[*fileModel]bool{d.durable[name]: true}
	}
	for f := range candidates {
		if (f == nil && pages == nil) || (f != nil && pages != nil && f.allows(pages)) {
			return true
		}
	}
	return false
}

var modelNames = []string{"a", "b", "c", "d"}

// pagesOf returns the letters of a file, nil where there is none.
func pagesOf(t require.TestingT, m *vfs.Mem, name string) []byte {
	f, err := m.Open(name, vfs.Direct)
	if err != nil {
		return nil
	}
	size, err := f.Size()
	require.NoError(t, err)
	require.Zero(t, size%4096)
	pages := []byte{}
	page := vfs.AlignedBuffer(4096)
	for off := int64(0); off < size; off += 4096 {
		require.NoError(t, vfs.ReadFullAt(f, page, off))
		require.Equal(t, bytes.Repeat(page[:1], 4096), page, "pages are whole")
		pages = append(pages, page[0])
	}
	require.NoError(t, f.Close())
	return pages
}

// TestMemCrashModel does random work and compares the file system after crashes with a model
// that knows only the durability contract.
func TestMemCrashModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := vfs.NewMem()
		dir := &dirModel{now: map[string]*fileModel{}}
		dir.sync()
		letter := byte(0)
		name := rapid.SampledFrom(modelNames)
		existing := func(t *rapid.T) (vfs.File, *fileModel) {
			if len(dir.now) == 0 {
				t.Skip("no file")
			}
			n := rapid.SampledFrom(slices.Sorted(maps.Keys(dir.now))).Draw(t, "file")
			f, err := m.OpenReadWrite(n, vfs.Direct)
			require.NoError(t, err)
			return f, dir.now[n]
		}
		t.Repeat(map[string]func(*rapid.T){
			"create": func(t *rapid.T) {
				n := name.Draw(t, "name")
				f, err := m.Create(n, vfs.Direct)
				require.NoError(t, err)
				require.NoError(t, f.Close())
				if old := dir.now[n]; old != nil {
					old.resize(0)
				} else {
					dir.set(n, newFileModel())
				}
			},
			"write": func(t *rapid.T) {
				f, model := existing(t)
				letter++
				at := rapid.IntRange(0, 5).Draw(t, "page")
				page := vfs.AlignedBuffer(4096)
				copy(page, bytes.Repeat([]byte{letter}, 4096))
				_, err := f.WriteAt(page, int64(at)*4096)
				require.NoError(t, err)
				model.write(at, letter)
				require.NoError(t, f.Close())
			},
			"truncate": func(t *rapid.T) {
				f, model := existing(t)
				size := rapid.IntRange(0, 6).Draw(t, "pages")
				require.NoError(t, f.Truncate(int64(size)*4096))
				model.resize(size)
				require.NoError(t, f.Close())
			},
			"preallocate": func(t *rapid.T) {
				f, model := existing(t)
				size := rapid.IntRange(0, 6).Draw(t, "pages")
				require.NoError(t, f.Preallocate(int64(size)*4096))
				model.resize(max(size, len(model.now)))
				require.NoError(t, f.Close())
			},
			"punch": func(t *rapid.T) {
				f, model := existing(t)
				at := rapid.IntRange(0, 5).Draw(t, "page")
				n := rapid.IntRange(1, 3).Draw(t, "pages")
				require.NoError(t, f.PunchHole(int64(at)*4096, int64(n)*4096))
				for i := at; i < min(at+n, len(model.now)); i++ {
					model.write(i, 0)
				}
				require.NoError(t, f.Close())
			},
			"sync": func(t *rapid.T) {
				f, model := existing(t)
				require.NoError(t, f.Sync())
				model.sync()
				require.NoError(t, f.Close())
			},
			"rename": func(t *rapid.T) {
				from, to := name.Draw(t, "from"), name.Draw(t, "to")
				err := m.Rename(from, to)
				if dir.now[from] == nil {
					require.Error(t, err)
					return
				}
				require.NoError(t, err)
				if file := dir.now[from]; file != dir.now[to] {
					dir.set(to, file)
					dir.set(from, nil)
				}
			},
			"link": func(t *rapid.T) {
				from, to := name.Draw(t, "from"), name.Draw(t, "to")
				err := m.Link(from, to)
				if dir.now[from] == nil || dir.now[to] != nil {
					require.Error(t, err)
					return
				}
				require.NoError(t, err)
				dir.set(to, dir.now[from])
			},
			"remove": func(t *rapid.T) {
				n := name.Draw(t, "name")
				err := m.Remove(n)
				require.Equal(t, dir.now[n] == nil, err != nil)
				if err == nil {
					dir.set(n, nil)
				}
			},
			"syncdir": func(t *rapid.T) {
				require.NoError(t, m.SyncDir("/"))
				dir.sync()
			},
			"": func(t *rapid.T) {
				checkCrashes(t, m, dir)
			},
		})
	})
}

func checkCrashes(t *rapid.T, m *vfs.Mem, dir *dirModel) {
	kept, lost := m.CrashKeepAll(), m.CrashLoseUnsynced()
	for _, name := range modelNames {
		if f := dir.now[name]; f == nil {
			require.Nil(t, pagesOf(t, kept, name))
		} else {
			require.Equal(t, append([]byte{}, f.now...), pagesOf(t, kept, name))
		}
		if f := dir.durable[name]; f == nil {
			require.Nil(t, pagesOf(t, lost, name))
		} else {
			require.Equal(t, append([]byte{}, f.durable...), pagesOf(t, lost, name))
		}
	}
	for seed := range uint64(3) {
		after := m.Crash(rand.New(rand.NewPCG(seed, rapid.Uint64().Draw(t, "seed"))))
		for _, name := range modelNames {
			pages := pagesOf(t, after, name)
			require.True(t, dir.allows(name, pages), fmt.Sprintf("%s may not hold %v", name, pages))
		}
	}
}
