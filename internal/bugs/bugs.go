// Package bugs brings known bugs back, to show that a test finds them: in builds with the tag "bugs". In all others On is false, and
// the compiler leaves out what hangs on it.
//
//	if bugs.On(bugs.StandInCounts) || ... // in the code that would be wrong
//	bugs.Bring(bugs.StandInCounts)        // in a test with the tag
package bugs

// Bug is one that there was, or might be.
type Bug uint8

// The bugs of the eventual path, which distrib/sim finds.
const (
	None                Bug = iota
	BirthsDropped           // a node takes the same births after every start
	HintForgotten           // a hint is forgotten before its node has it
	RefilledReads           // the reads of a node count before it is refilled
	Unsynced                // a write is acknowledged as synced, and is not
	StandInCounts           // "not found" rests on a node that stands in and knows nothing
	DigestsIgnored          // what other nodes hold beside the record that came is not asked for
	OperationsForgotten     // operations that were overwritten are not remembered
	StraysForgotten         // a write is said to have failed though a node that did not answer may have stored it
)

// The bugs of the register, which distrib/sim finds, and the first four the explorations of distrib/register too.
const (
	NoIdentityRound  Bug = StraysForgotten + 1 + iota // answers come from a value that may not be decided (CASSANDRA-12126, scylla#6299)
	FirstIsTaken                                      // the first accepted value is gone on from, not the highest
	OneIsBelieved                                     // one replica is believed about the last value
	LostIsFailed                                      // FAILED is said where an answer was lost (Aerospike 3.99, Jepsen 2018)
	StateForgotten                                    // a node that starts has forgotten what it promised and accepted
	OlderAccepted                                     // an acceptor takes what is below its promise
	ChangesForgotten                                  // a value does not remember the changes that it is made of
	StraysUntold                                      // owners do not tell of eventual writes that the register does not know
	NotCancelled                                      // Resolve says that a change will not happen, and does not see to it
	LossIgnored                                       // a node that has lost its store answers for registers at once
	Count                                             // how many there are, None included
)

// String says what is wrong.
func (b Bug) String() string {
	return [...]string{"none", "births dropped", "hint forgotten", "reads count before the refill", "unsynced writes acknowledged",
		"not found from who stands in", "digests ignored", "operations forgotten", "strays forgotten",
		"answers without a round", "first value taken", "one replica believed", "lost answer called a failure",
		"acceptors forget", "older ballots accepted", "changes forgotten", "strays untold", "resolved, not cancelled",
		"a lost store ignored"}[b]
}
