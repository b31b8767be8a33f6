package perf

import (
	"fmt"
	"io"
	"strings"
	"sync/atomic"
)

// GeneratePairs makes a data set of n records that look like a distribution's package index:
// keys such as "libamber-dev/2.4.1-3/amd64" in random order, values of 200 to 2,000 bytes of
// structured text. It is for when no real data set is at hand. Equal seeds, equal records.
func GeneratePairs(n int64, seed uint64) PairSource {
	return &generated{n: n, salt: saltOf(seed, "pairs"), order: newPermutation(max(1, n), saltOf(seed, "pairs order"))}
}

type generated struct {
	n     int64
	salt  uint64
	order permutation
	next  atomic.Int64
}

func (g *generated) Next() (Pair, error) {
	i := g.next.Load()
	if i >= g.n {
		return Pair{}, io.EOF
	}
	g.next.Store(i + 1)
	return g.pair(g.order.at(i)), nil
}

func (g *generated) Position() (done, total int64) { return g.next.Load(), g.n }

func (g *generated) Close() error { return nil }

var (
	genStems    = strings.Fields("amber birch cedar dahlia elder fennel garnet hazel indigo juniper kestrel laurel maple nettle onyx poplar quartz rowan sorrel tansy umber violet willow xenon yarrow zinnia")
	genPurposes = strings.Fields("archive audio backup codec compiler crypto daemon desktop editor font game graph image index kernel mail media monitor net parser plot proxy queue render search shell solver sync table text theme video web")
	genSuffixes = []string{"", "-dev", "-doc", "-common", "-data", "-bin", "-utils", "-dbg"}
	genArches   = []string{"amd64", "all", "amd64", "arm64"}
	genSections = strings.Fields("admin comm database devel doc editors electronics games graphics libs mail math net science sound text utils video web")
	genWords    = strings.Fields("a fast small and complete tool for reading writing checking large files over the network with support of plugins themes tables images its own language bindings headers examples manual pages shared library runtime static used by programs that need it")
)

// dice is a stream of small random numbers.
type dice uint64

func (d *dice) roll(n int) int {
	*d += golden
	return int(below(mix(uint64(*d)), int64(n)))
}

func (g *generated) pair(index int64) Pair {
	d := dice(draw(g.salt, index))
	// The index is in the name, base len(genStems), so that no two records share a key.
	name := genPurposes[d.roll(len(genPurposes))]
	for i := index; ; i /= int64(len(genStems)) {
		name += "-" + genStems[i%int64(len(genStems))]
		if i < int64(len(genStems)) {
			break
		}
	}
	source := name
	name += genSuffixes[d.roll(len(genSuffixes))]
	version := fmt.Sprintf("%d.%d.%d-%d", d.roll(9), d.roll(20), d.roll(30), 1+d.roll(6))
	arch := genArches[d.roll(len(genArches))]

	var b strings.Builder
	fmt.Fprintf(&b, "Package: %s\nSource: %s\nVersion: %s\nInstalled-Size: %d\nArchitecture: %s\nDepends: ",
		name, source, version, 20+d.roll(90000), arch)
	for i, n := 0, 1+d.roll(12); i < n; i++ {
		if i > 0 {
			b.WriteString(", ")
		}
		fmt.Fprintf(&b, "lib%s-%s%d (>= %d.%d)", genStems[d.roll(len(genStems))],
			genPurposes[d.roll(len(genPurposes))], d.roll(9), d.roll(5), d.roll(40))
	}
	b.WriteString("\nDescription:")
	for i, n := 0, 5+d.roll(40); i < n; i++ {
		b.WriteString(" " + genWords[d.roll(len(genWords))])
	}
	fmt.Fprintf(&b, "\nSection: %s\nPriority: optional\nFilename: pool/main/%s/%s_%s_%s.deb\nSize: %d\nSHA256: ",
		genSections[d.roll(len(genSections))], source, name, version, arch, 1000+d.roll(90000000))
	for range 4 {
		fmt.Fprintf(&b, "%016x", mix(uint64(d.roll(1<<30))+draw(g.salt, index)))
	}
	return Pair{Key: []byte(name + "/" + version + "/" + arch), Value: []byte(b.String())}
}
