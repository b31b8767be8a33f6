// Package register is the linearizable path: one register for each key, whose value is the key's whole record. It is CASPaxos
// (Rystsov, "CASPaxos: Replicated State Machines without logs", 2018): Paxos (Lamport, "Paxos Made Simple", 2001) for
// each key alone, whose proposals are changes f(value) and not values, with no log and no leader.
//
//	p := register.NewProposer(node, run, register.Group{Epoch: epoch, Seats: view.Seats(token)}, 0)
//	e := p.Submit(clock.Tick(wall), operation)    // what is to be sent, and what was answered
//	step := state.Step(fence, request, record)    // at each owner: store step.State, then send step.Reply
//	e = p.Answer(clock.Tick(wall), from, &reply)
//
// A Proposer, a State and a Value step from event to event: no clock, no goroutine, no I/O. A Proposer is for one goroutine
// at a time. It is the only one of its node for its key.
//
// # A round
//
//	prepare b     -> an owner promises to take nothing below b, and tells what it accepted last
//	                 of a majority's answers the value of the highest ballot is the base; where there is none, Promote
//	apply         -> the operations that wait, one after another, each on what the one before left
//	accept b v b' -> an owner that has promised nothing higher stores v as of b, and promises b'
//	                 when a majority has, v is decided: all operations are answered
//
// The accepts of one round are the promises of the next one by the same proposer (b' is right above b), which so
// takes one round trip. It lasts until another proposer prepares, or the epoch changes.
//
// A read, and a change whose condition does not hold, change nothing, and are ordered like all else: they are answered from a
// value only if a majority answers, after they came, that it has accepted the value's ballot and nothing higher. Else the value may
// not be decided, and is proposed again first. A key of which a majority holds nothing at all is absent; reading it writes nothing.
//
// # Contention
//
// Of many who swap what they have read on one key, a round lets one win. If all who have lost were told at once, all would come back
// with what it left, and all but one lose again. So they are told by turns, one with each round (Turn: more, where nobody comes back), and
// always of what is there then; one whose condition holds by then is carried out. And who came while the change was under way to which he has lost
// is told with the next one, which confirms it, and not by a question of its own.
//
// # Outcomes
//
// OK is said of what is decided. FAILED is said of an operation that is part of no proposal, or of one that every owner has
// refused or never got. All else is UNKNOWN. A round that another proposer has beaten is tried again by itself: once a majority
// has promised a higher ballot, what was proposed below it is either part of the base, or will never be decided; a value
// remembers its last changes by their ids, so none is made twice. Resolve asks for one, and where it was not made it is cancelled: it will not be made
// by a try that is late.
//
// # Versions
//
// The versions that a register writes have dots of an actor of its own, of node 0: its values are a chain, each made from the one
// before, so a counter is enough. Its birth is the time of the ballot that promoted the key. A value that was never decided may have given
// a dot that is given again; nobody but acceptors ever sees it.
//
// What is decided is merged into the replica's record for eventual reads, with the next accept or by a Decision. Eventual writes of
// replicas that do not know of the register are versions of which the value knows nothing (Strays). Owners tell them with every
// answer, and the next round makes them siblings. A Get that meets them does so before it is answered.
// A value remembers them as changes, so an eventual write that is tried again here is done once; and one that was cancelled is no
// stray, as long as that is remembered.
//
// # Why it is safe
//
//  1. A ballot has one value. It has the number of its node and of that node's start, which are never used twice, and a
//     proposer uses each time for one value.
//  2. If v is decided at b, every proposal above b comes from v. Take the first that does not, at c: a majority promised c, and
//     one of these had accepted b, before it promised c, or it would have refused b. So the base was of b or of a ballot
//     between b and c, which comes from v.
//  3. The promise b' that comes with an accept is as good as one that was asked for: whoever gives it tells at the same moment that
//     the last it accepted is b. Of a majority of these none accepts anything between b and b' any more.
//  4. A read at the value of b is right: had a later value been decided before the read came, one of the majority would
//     have told of a higher ballot.
//  5. Expiry is decided too: a value whose time is over is replaced by a delete in the register before anybody is told that it is absent.
//  6. An owner stores before it answers, refusals too: they tell of a promise. So a crash forgets nothing that anybody was told.
//  7. While owners change, a quorum is a majority of the old and of the new ones (Group), so it meets those of the epoch before and
//     of the one behind. Between these two a new owner copies what the old ones have accepted (Adopt): a majority of them, each asked
//     when all refuse requests of older epochs (fence). So for every value that is decided by then it holds that one or a later
//     one, and so does every majority of the new owners that it is part of; one that it is not part of meets every majority
//     of the old ones.
//  8. An owner that has lost its store comes back in an epoch that began after the loss, and takes no request of an older one. When
//     the others do not either, it copies as a new owner does, from so many that every majority of which it was part
//     had one of them: of N, N - N/2. Until then it takes values, and tells what it has taken since; of all else it says
//     nothing (Answers).
//  9. A copied value may have been accepted by fewer than a majority before, and be held by one now: then it is as if it was
//     decided by the copy. Nothing speaks against that: it is the highest of those who were asked, so all that is decided comes
//     before it, and what comes behind it was proposed by who was told of it, or of a higher one.
//
// The tests explore all histories of small worlds, with messages that are late, come twice or never, crashes, and changes of
// owners; and bring known mistakes back, each of which they find.
package register
