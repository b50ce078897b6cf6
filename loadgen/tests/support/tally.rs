//! What a tally says of the messages of a run.

use crate::support::Fault;
use loadgen::measure::MessageTally;

/// Whether every message that was sent arrived once, in order, unchanged and where it belongs.
pub(crate) fn is_clean(tally: &MessageTally) -> bool {
    faults(tally).iter().all(|(_, count)| *count == 0)
}

/// The number of messages that a relay with this fault spoiled, by the fault's own name. No other is wrong with any;
/// only one that is held back at the end is lost.
pub(crate) fn spoiled(fault: Fault, tally: &MessageTally) -> u64 {
    // What comes late, when its session is over, is lost and received.
    let whole = tally.received + tally.lost == tally.sent + tally.duplicated;
    assert!(whole || fault == Fault::Reorders, "{fault:?}: {tally:?}");
    for (other, count) in faults(tally) {
        let is_held_back = (fault, other) == (Fault::Reorders, Fault::Loses);
        let fine = count == 0 || fault == other || is_held_back;
        assert!(fine, "{fault:?}: {tally:?}");
    }
    let own = faults(tally).into_iter().find(|(one, _)| *one == fault);
    own.map_or(0, |(_, count)| count)
}

fn faults(tally: &MessageTally) -> [(Fault, u64); 5] {
    [
        (Fault::Loses, tally.lost),
        (Fault::Duplicates, tally.duplicated),
        (Fault::Reorders, tally.reordered),
        (Fault::Corrupts, tally.corrupted),
        (Fault::Misroutes, tally.misrouted),
    ]
}
