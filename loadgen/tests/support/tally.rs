//! What a tally says of the messages of a run.

use loadgen::measure::Tally;

/// Whether every message that was sent arrived once, in order, unchanged and where it belongs.
pub(crate) fn is_clean(tally: &Tally) -> bool {
    let faults = [
        tally.lost,
        tally.duplicated,
        tally.reordered,
        tally.corrupted,
        tally.misrouted,
    ];
    faults == [0; 5]
}
