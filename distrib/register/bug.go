package register

// bug is a known mistake that a test brings back, to show that it would be found out. Outside tests there is none.
type bug uint8

const (
	noBug        bug = iota
	skipIdentity     // answers from a value that may not be decided (CASSANDRA-12126, scylla#6299)
	firstValue       // goes on from the first accepted value that it is told, not from the highest
	readOne          // believes one replica about the last value
	lostIsFailed     // says FAILED where an answer was lost (Aerospike 3.99, Jepsen 2018)
)
