//! What the log tells of connections.

use crate::script::Script;
use broker::journal::Entry;

#[test]
fn the_end_of_a_connection_names_its_channel_also_when_that_went_first() {
    let mut script = Script::dev();
    script.play(
        "a connects                               |
         m connects                               | m < 101
         v1 connects                              | v1 < 101
         v1 > unmasked                            | v1 < close 1002 a client's frame must be masked
         a > delete cam                           | a < 200 {}; m < close 1001 Channel deleted
         time 6s                                  | m < end; v1 < end",
    );
    let ends: Vec<(Option<Box<str>>, String)> = script
        .log()
        .filter_map(|entry| match entry {
            Entry::ConnectionEnd(end) => Some((end.channel, end.reason.to_string())),
            Entry::Refused(_)
            | Entry::Suppressed { .. }
            | Entry::Audit(_)
            | Entry::StoreTrouble { .. } => None,
        })
        .collect();
    let cam = || Some("cam".into());
    let mut reasons: Vec<&str> = ends.iter().map(|(_, reason)| reason.as_str()).collect();
    reasons.sort_unstable();
    assert_eq!(reasons, ["channel_deleted", "protocol_error:1002"]);
    assert!(
        ends.iter().all(|(channel, _)| *channel == cam()),
        "{ends:?}"
    );
}
