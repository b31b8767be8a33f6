package ring

import (
	"fmt"
	"math"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

func cluster(n int, zones ...string) []Node {
	nodes := make([]Node, n)
	for i := range nodes {
		nodes[i] = Node{ID: uint64(i + 1), Name: fmt.Sprintf("n%d", i+1)}
		if len(zones) > 0 {
			nodes[i].Zone = zones[i%len(zones)]
		}
	}
	return nodes
}

func newRing(t testing.TB, opts Options, nodes []Node) *Ring {
	t.Helper()
	r, err := New(opts, nodes)
	require.NoError(t, err)
	return r
}

func names(r *Ring, list []int32) (out []string) {
	for _, i := range list {
		out = append(out, r.Node(i).Name)
	}
	return out
}

func key(i int) []byte { return fmt.Appendf(nil, "key %d", i) }

// TestPlacementIsForEver pins tokens and lists: another result would look for all data in the wrong place.
func TestPlacementIsForEver(t *testing.T) {
	require.Equal(t, "d41d8cd98f00b204e9800998ecf8427e", TokenOf(nil).String(), "RFC 1321")
	require.Equal(t, "900150983cd24fb0d6963f7d28e17f72", TokenOf([]byte("abc")).String(), "RFC 1321")
	nodes := cluster(5)
	r := newRing(t, Options{}, nodes)
	require.Equal(t, 5*DefaultVNodes, r.Tokens())
	var got []string
	for i := range 4 {
		got = append(got, fmt.Sprint(names(r, r.Replicas(TokenOf(key(i))))))
	}
	require.Equal(t, placed, got)
	slices.Reverse(nodes)
	again := newRing(t, Options{}, nodes)
	require.Equal(t, r, again, "the order in which nodes are named does not matter")
}

// placed is where the first four keys lie on a ring of n1 to n5.
var placed = []string{"[n1 n3 n2]", "[n1 n2 n3]", "[n3 n4 n1]", "[n4 n1 n5]"}

// byHand is the definition of a preference list, and of who stands in, step by step.
func byHand(r *Ring, t Token) (list, fallbacks []int32) {
	at := 0
	for at < len(r.tokens) && r.tokens[at].Compare(t) < 0 {
		at++
	}
	var distinct []int32
	for i := range r.tokens {
		if n := r.owner[(at+i)%len(r.tokens)]; !slices.Contains(distinct, n) {
			distinct = append(distinct, n)
		}
	}
	for _, n := range distinct {
		if len(list) < r.opts.Replicas && !r.sharesZone(list, n) {
			list = append(list, n)
		}
	}
	for _, n := range distinct {
		if len(list) < r.opts.Replicas && !slices.Contains(list, n) {
			list = append(list, n)
		}
	}
	for _, n := range distinct {
		if !slices.Contains(list, n) {
			fallbacks = append(fallbacks, n)
		}
	}
	return list, fallbacks
}

func TestReplicasByHand(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		nodes := cluster(rapid.IntRange(1, 40).Draw(rt, "nodes"))
		zones := rapid.IntRange(0, 4).Draw(rt, "zones")
		for i := range nodes {
			if zones > 0 {
				nodes[i].Zone = rapid.SampledFrom([]string{"", "a", "b", "c", "d"}[:zones+1]).Draw(rt, "zone")
			}
			nodes[i].Weight = rapid.SampledFrom([]float64{0, 0.0625, 0.5, 1, 2}).Draw(rt, "weight")
		}
		r := newRing(t, Options{Replicas: rapid.IntRange(1, 6).Draw(rt, "replicas")}, nodes)
		probes := []Token{{}, {math.MaxUint64, math.MaxUint64}, r.tokens[0], r.tokens[len(r.tokens)-1]}
		for range 10 {
			probes = append(probes, Token{rapid.Uint64().Draw(rt, "hi"), rapid.Uint64().Draw(rt, "lo")})
			u := rapid.SampledFrom(r.tokens).Draw(rt, "token")
			probes = append(probes, u, Token{u.Hi, u.Lo + 1}, Token{u.Hi, u.Lo - 1})
		}
		for _, p := range probes {
			list, fallbacks := byHand(r, p)
			require.Equal(t, list, r.Replicas(p), "%s", p)
			require.Equal(t, fallbacks, slices.Collect(r.Fallbacks(p)), "%s", p)
		}
	})
}

func TestRanges(t *testing.T) {
	r := newRing(t, Options{}, cluster(4))
	total := 0.0
	for rng, list := range r.Ranges() {
		total += rng.Share()
		require.True(t, rng.Contains(rng.Last))
		require.False(t, rng.Contains(rng.After))
		require.Equal(t, list, r.Replicas(rng.Last))
		next := Token{rng.After.Hi, rng.After.Lo + 1}
		require.Equal(t, list, r.Replicas(next), "the first token behind the one before")
	}
	require.InDelta(t, 1, total, 1e-9)
	whole := Range{Token{5, 5}, Token{5, 5}}
	require.EqualValues(t, 1, whole.Share())
	require.True(t, whole.Contains(Token{}))
	over := Range{Token{math.MaxUint64, 0}, Token{1, 0}}
	require.True(t, over.Contains(Token{}) && over.Contains(Token{math.MaxUint64, 9}) && !over.Contains(Token{2, 0}))
	require.InDelta(t, 2.0/math.Exp2(64), over.Share(), 1e-30)
}

// TestLoad: what nodes of equal weight hold, as a factor of the mean. Tokens are random, so with v of them
// a node's share of the ring varies by 1/sqrt(v) of itself, and replicas even that out somewhat.
func TestLoad(t *testing.T) {
	for _, c := range []struct {
		nodes              int
		least, most, sigma float64
	}{
		{3, 1, 1, 1e-9}, // everything is everywhere
		{10, 0.90, 1.08, 0.06},
		{100, 0.90, 1.15, 0.05},
		{1000, 0.82, 1.18, 0.05},
	} {
		load := newRing(t, Options{}, cluster(c.nodes)).Load()
		sum, squares := 0.0, 0.0
		for i := range load {
			load[i] *= float64(c.nodes)
			sum += load[i]
			squares += (load[i] - 1) * (load[i] - 1)
		}
		sigma := math.Sqrt(squares / float64(c.nodes))
		t.Logf("%d nodes: %.3f to %.3f of the mean, standard deviation %.3f", c.nodes, slices.Min(load), slices.Max(load), sigma)
		require.InDelta(t, c.nodes, sum, 1e-6)
		require.GreaterOrEqual(t, slices.Min(load), c.least-1e-9)
		require.LessOrEqual(t, slices.Max(load), c.most+1e-9)
		require.LessOrEqual(t, sigma, c.sigma)
	}
}

func TestWeight(t *testing.T) {
	nodes := cluster(20)
	nodes[7].Weight = 2
	nodes[9].Weight = 0.5
	r := newRing(t, Options{Replicas: 1}, nodes)
	load := r.Load()
	of := func(name string) float64 {
		return load[slices.IndexFunc(r.Nodes(), func(n Node) bool { return n.Name == name })] * 20.5
	}
	require.InDelta(t, 2, of("n8"), 0.4)
	require.InDelta(t, 0.5, of("n10"), 0.2)
}

// TestZones: no two replicas share a zone while there are zones left.
func TestZones(t *testing.T) {
	r := newRing(t, Options{}, cluster(30, "a", "b", "c"))
	for rng := range r.Ranges() {
		seen := map[string]bool{}
		for _, i := range r.Replicas(rng.Last) {
			seen[r.Node(i).Zone] = true
		}
		require.Len(t, seen, 3)
	}
	two := newRing(t, Options{}, cluster(30, "a", "b"))
	for rng := range two.Ranges() {
		list := two.Replicas(rng.Last)
		require.Len(t, list, 3)
		require.NotEqual(t, two.Node(list[0]).Zone, two.Node(list[1]).Zone)
	}
}

// TestMoves: a change moves what it must and nothing else, and after the moves every range is where the new
// ring says.
func TestMoves(t *testing.T) {
	old := newRing(t, Options{}, cluster(10))
	next := newRing(t, Options{}, cluster(11))
	require.Empty(t, Moves(old, old))
	moves := Moves(old, next)
	for _, m := range moves {
		require.Equal(t, []uint64{11}, m.Gain, "only the new node gets anything")
		require.Len(t, m.Lose, 1)
	}
	require.InDelta(t, 3.0/11, Moved(moves), 0.03, "its share of three copies")
	require.InDelta(t, Moved(moves), Moved(Moves(next, old)), 1e-12, "and as much on the way back")

	for i := range 2000 {
		tok := TokenOf(key(i))
		held := old.ids(tok)
		for _, m := range moves {
			if m.Range.Contains(tok) {
				require.ElementsMatch(t, held, m.From)
				held = append(without(held, m.Lose), m.Gain...)
			}
		}
		require.ElementsMatch(t, next.ids(tok), held, "key %d", i)
	}
}

// TestJoin: a node that joins gets its share of the copies, and only it gets any.
func TestJoin(t *testing.T) {
	for _, n := range []int{10, 100, 1000} {
		moves := Moves(newRing(t, Options{}, cluster(n)), newRing(t, Options{}, cluster(n+1)))
		for _, m := range moves {
			require.Equal(t, []uint64{uint64(n + 1)}, m.Gain)
		}
		ideal := 3 / float64(n+1)
		t.Logf("%d nodes and one more: %.5f copies of everything move in %d ranges, %.3f of the ideal", n, Moved(moves), len(moves), Moved(moves)/ideal)
		require.LessOrEqual(t, Moved(moves), 1.25*ideal)
		require.GreaterOrEqual(t, Moved(moves), 0.75*ideal, "it bears its part")
	}
}

func TestRefusals(t *testing.T) {
	two := cluster(2)
	for want, c := range map[string]struct {
		opts  Options
		nodes []Node
	}{
		"0 nodes, want 1 to 10000":                  {Options{}, nil},
		"17 replicas, want 1 to 16":                 {Options{Replicas: 17}, two},
		"149 virtual nodes, want 150 to 200":        {Options{VNodes: 149}, two},
		"node 3 has no name":                        {Options{}, []Node{{ID: 3}}},
		`two nodes are named "x"`:                   {Options{}, []Node{{ID: 1, Name: "x"}, {ID: 2, Name: "x"}}},
		`nodes "x" and "y" have the same id 1`:      {Options{}, []Node{{ID: 1, Name: "x"}, {ID: 1, Name: "y"}}},
		`weight 17 of node "x", want 0.0625 to 16`:  {Options{}, []Node{{ID: 1, Name: "x", Weight: 17}}},
		`weight NaN of node "x", want 0.0625 to 16`: {Options{}, []Node{{ID: 1, Name: "x", Weight: math.NaN()}}},
	} {
		_, err := New(c.opts, c.nodes)
		require.ErrorContains(t, err, want)
	}
}

// BenchmarkReplicas is a lookup in a ring of 1000 nodes, of a key that was hashed before, and with the hash.
func BenchmarkReplicas(b *testing.B) {
	r := newRing(b, Options{}, cluster(1000))
	keys := make([][]byte, 1<<16)
	tokens := make([]Token, len(keys))
	for i := range keys {
		keys[i] = key(i)
		tokens[i] = TokenOf(keys[i])
	}
	b.Run("token", func(b *testing.B) {
		for i := 0; b.Loop(); i++ {
			r.Replicas(tokens[i%len(tokens)])
		}
	})
	b.Run("key", func(b *testing.B) {
		for i := 0; b.Loop(); i++ {
			r.Replicas(TokenOf(keys[i%len(keys)]))
		}
	})
}

func BenchmarkFallbacks(b *testing.B) {
	for _, n := range []int{3, 1000} {
		r := newRing(b, Options{}, cluster(n))
		token := TokenOf(key(1))
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			for b.Loop() {
				count := 0
				for range r.Fallbacks(token) {
					if count++; count == 6 {
						break
					}
				}
			}
		})
	}
}

func BenchmarkNew(b *testing.B) {
	nodes := cluster(1000)
	for b.Loop() {
		newRing(b, Options{}, nodes)
	}
}

// TestStretches: they are the whole ring, each token in one, and its nodes are those of its keys.
func TestStretches(t *testing.T) {
	for nodes := 1; nodes <= 6; nodes++ {
		var members []Node
		for i := range nodes {
			members = append(members, Node{ID: uint64(i + 1), Name: fmt.Sprintf("n%d", i)})
		}
		r, err := New(Options{Replicas: min(nodes, 3)}, members)
		require.NoError(t, err)
		list := r.Stretches()
		if nodes <= 3 {
			require.Len(t, list, 1, "all nodes hold all")
		}
		next := Token{}
		for _, s := range list {
			require.Equal(t, next, s.First)
			require.LessOrEqual(t, s.First.Compare(s.Last), 0)
			for _, token := range []Token{s.First, s.Last} {
				var ids []uint64
				for _, n := range r.Replicas(token) {
					ids = append(ids, r.Node(n).ID)
				}
				require.ElementsMatch(t, ids, s.Nodes)
			}
			next = s.Last.Next()
		}
		require.Equal(t, Token{}, next, "the end of the ring")
	}
}
