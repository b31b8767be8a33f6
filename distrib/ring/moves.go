package ring

import "slices"

// Move is a range that gets other replicas.
type Move struct {
	Range Range
	From  []uint64 // ids of those that hold it before
	Gain  []uint64 // ids of those that hold it only after: what each of them must get is the range
	Lose  []uint64 // ids of those that hold it only before
}

// Moves returns what differs in the placement of old and next, clockwise, ranges as long as may be.
func Moves(old, next *Ring) []Move {
	bounds := slices.Concat(old.tokens, next.tokens)
	slices.SortFunc(bounds, Token.Compare)
	bounds = slices.Compact(bounds)
	var moves []Move
	after := bounds[len(bounds)-1]
	for _, t := range bounds {
		from, to := old.ids(t), next.ids(t)
		m := Move{Range: Range{after, t}, From: from, Gain: without(to, from), Lose: without(from, to)}
		after = t
		if len(m.Gain) == 0 && len(m.Lose) == 0 {
			continue
		}
		if n := len(moves); n > 0 && moves[n-1].joins(m) {
			moves[n-1].Range.Last = t
			continue
		}
		moves = append(moves, m)
	}
	return moves
}

// joins reports whether n, which may follow m at once, moves between the same nodes.
func (m Move) joins(n Move) bool {
	return m.Range.Last == n.Range.After && slices.Equal(m.From, n.From) && slices.Equal(m.Gain, n.Gain) && slices.Equal(m.Lose, n.Lose)
}

// Moved is how much data moves copies for: the sum of the shares of the ranges, each for every node that gets
// it. One copy of everything is 1.
func Moved(moves []Move) float64 {
	total := 0.0
	for _, m := range moves {
		total += m.Range.Share() * float64(len(m.Gain))
	}
	return total
}

// ids are the nodes of the preference list of t, in its order.
func (r *Ring) ids(t Token) []uint64 {
	list := r.Replicas(t)
	ids := make([]uint64, len(list))
	for i, n := range list {
		ids[i] = r.nodes[n].ID
	}
	return ids
}

// without returns what of a is not in b.
func without(a, b []uint64) (rest []uint64) {
	for _, id := range a {
		if !slices.Contains(b, id) {
			rest = append(rest, id)
		}
	}
	return rest
}
