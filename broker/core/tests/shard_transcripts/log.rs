//! The log's entries about connections.

use crate::shard_transcripts::script::Script;
use broker_core::auth::SessionKeys;
use broker_core::check::Check;
use broker_core::journal::{Entry, Refused};
use broker_core::limits::{DENIALS_LOGGED_PER_PREFIX, REFUSALS_REPEATED_PER_NETWORK};
use broker_core::refusal_id::RefusalReader;
use broker_core::time::Wall;
use codec::signal::Role;
use std::sync::atomic::Ordering;

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
        .filter_map(|entry| {
            let Entry::ConnectionEnd(end) = entry else {
                return None;
            };
            Some((end.channel, end.reason.to_string()))
        })
        .collect();
    let cam = || Some("cam".into());
    let mut reasons: Vec<&str> = ends.iter().map(|(_, reason)| reason.as_str()).collect();
    reasons.sort_unstable();
    assert_eq!(reasons, ["channel_deleted", "protocol_error:1002"]);
    let fine = ends.iter().all(|(channel, _)| *channel == cam());
    assert!(fine, "{ends:?}");
}

#[test]
fn a_change_that_a_quota_refuses_has_its_audit_line() {
    let mut script = Script::with(2, false, |settings| {
        settings.limits.channels_per_account = 1;
    });
    script.play(
        "a connects                               |
         a > create one                           | a < 200 \
         {\"ChannelARN\":\"arn:aws:kinesisvideo:us-west-2:123456789012:channel/one/1767323075123\"}
         a > create two                           | a < 400 AccountChannelLimitExceededException",
    );
    let audited: Vec<(String, &str)> = script
        .log()
        .filter_map(|entry| {
            let Entry::Audit(audit) = entry else {
                return None;
            };
            Some((audit.channel_arn?.into(), audit.outcome))
        })
        .collect();
    let arn = "arn:aws:kinesisvideo:us-west-2:123456789012:channel/one/1767323075123";
    let refused = "AccountChannelLimitExceededException";
    let wanted = [(arn.to_owned(), "ok"), ("two".to_owned(), refused)];
    assert_eq!(audited, wanted);
}

#[test]
fn the_audit_line_of_a_refused_media_storage_says_so() {
    let mut script = Script::dev();
    script.play(
        r#"a connects                               |
         m connects                               | m < 101
         a > api /updateMediaStorageConfiguration {"ChannelARN":"arn:aws:kinesisvideo:us-west-2:123456789012:channel/cam/1700000000000","MediaStorageConfiguration":{"Status":"ENABLED","StreamARN":"arn:aws:kinesisvideo:us-west-2:123456789012:stream/s/1"}} | a < 400 InvalidArgumentException"#,
    );
    let outcome = |entry| {
        if let Entry::Audit(audit) = entry {
            Some(audit.outcome)
        } else {
            None
        }
    };
    let outcomes: Vec<&str> = script.log().filter_map(outcome).collect();
    assert_eq!(outcomes, ["InvalidArgumentException"]);
}

#[test]
fn a_change_whose_line_has_no_place_is_refused_and_one_that_is_refused_keeps_none() {
    let mut script = Script::with(2, false, |_| ());
    script.places.store(2, Ordering::SeqCst);
    let created = r#"200 {"ChannelARN":"arn:aws:kinesisvideo:us-west-2:123456789012:channel"#;
    script.play(&format!(
        "a connects                               |
         a > create one                           | a < {created}/one/1767323075123\"}}
         # refused for another reason: its place is for the next
         a > create one                           | a < 400 ResourceInUseException
         a > create two                           | a < {created}/two/1767323075123\"}}
         a > create three                         | a < 503 ServiceUnavailable
         a > delete one created-now               | a < 503 ServiceUnavailable
         a > describe three                       | a < 404 ResourceNotFoundException"
    ));
    assert_eq!(script.counters().audit_refused, 2);
    assert_eq!(script.channels(), 2);
    script.places.store(1, Ordering::SeqCst);
    script.play("a > delete one created-now               | a < 200 {}");
}

#[test]
fn refused_changes_are_limited_like_other_refusals() {
    let mut script = Script::with(1, false, |_| ());
    script.play("a connects |");
    for _ in 0..40 {
        script.play("a > delete nothing | a < 404 ResourceNotFoundException");
    }
    let noted = script.log().count();
    let wanted = 1 + REFUSALS_REPEATED_PER_NETWORK + DENIALS_LOGGED_PER_PREFIX;
    assert_eq!(noted, wanted as usize, "of one network at a time");
    assert_eq!(script.counters().log_suppressed, 80 - u64::from(wanted));
}

#[test]
fn a_change_whose_caller_vanishes_has_its_line() {
    let mut script = Script::with(1, false, |_| ());
    script.play(
        "a connects                               |
         store waits                              |
         a > create one                           |
         a vanishes                               |
         store commits                            | a < 200 \
         {\"ChannelARN\":\"arn:aws:kinesisvideo:us-west-2:123456789012:channel/one/1767323075123\"}; a < end",
    );
    let audits = script
        .log()
        .filter(|entry| matches!(entry, Entry::Audit(_)));
    assert_eq!(audits.count(), 1);
}

/// The lines of refusals, each of whose ids says the same.
fn refused(script: &Script) -> Vec<Refused> {
    let reader = RefusalReader::new(&SessionKeys::new(&[0; 32], None));
    let refused = script.log().filter_map(|entry| {
        let Entry::Refused(refused) = entry else {
            return None;
        };
        Some(*refused)
    });
    let refused: Vec<Refused> = refused.collect();
    for line in &refused {
        let says = reader.read(&line.request_id, Wall(u64::MAX), 2);
        let says = says.expect("an id of ours");
        let noted = (line.at, line.status, line.check, line.what);
        let word = says.purpose.word();
        assert_eq!((says.at, says.status, says.check, word), noted);
    }
    refused
}

#[test]
fn a_refusal_has_its_check_and_what_the_request_named() {
    let mut script = Script::with(2, false, |settings| {
        settings.limits.viewers_per_channel = 1;
    });
    script.play(
        "a connects                               |
         v1 connects                              | v1 < 404 ResourceNotFoundException; v1 < end
         a > describe cam                         | a < 404 ResourceNotFoundException",
    );
    let lines = refused(&script);
    let line = |number: usize| {
        let line: &Refused = &lines[number];
        let claims = &line.claims;
        let names = (claims.channel.as_deref(), claims.client_id.as_deref());
        (line.check, line.action, names)
    };
    let absent = Check::ChannelAbsent;
    let viewer = Some("ConnectAsViewer");
    assert_eq!(line(0), (absent, viewer, (Some("cam"), Some("v1"))));
    let describe = Some("DescribeSignalingChannel");
    assert_eq!(line(1), (absent, describe, (Some("cam"), None)));
    assert_eq!(lines.len(), 2);
}

#[test]
fn a_connection_whose_place_is_taken_is_counted_and_logged() {
    let mut script = Script::dev();
    script.play(
        "m connects                               | m < 101
         time 5s                                  |
         m' connects                              | m' < 101
         v1 connects                              | v1 < 101
         v1 > SDP_OFFER p1                        | m' < SDP_OFFER p1 from v1
         v1 > close 1000                          | v1 < close 1000; v1 < end
         m' > close 1000                          | m' < close 1000; m' < end",
    );
    let taken: Vec<_> = script
        .log()
        .filter_map(|entry| {
            let Entry::Superseded(taken) = entry else {
                return None;
            };
            Some((taken.role, taken.after_ms, taken.unlogged))
        })
        .collect();
    assert_eq!(taken, [(Role::Master, 5_000, 0)]);
    let sessions = script.counters().sessions;
    assert_eq!(sessions.superseded, [1, 0]);
    assert_eq!((sessions.outcomes, sessions.short), ([0, 1, 0, 0], [1, 1]));
}
