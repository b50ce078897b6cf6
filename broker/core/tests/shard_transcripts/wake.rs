//! Devices that wait until somebody waits for them.

use crate::shard_transcripts::script::Script;
use crate::shard_transcripts::words::arn;
use broker_core::check::Check;
use broker_core::event::Requested;

fn polls(shards: u16) -> Script {
    Script::with(shards, true, |settings| settings.presence.wake_poll = true)
}

/// The request of a device of this channel, as a word of transcripts.
fn asks(channel: &str, rest: &str) -> String {
    let arn = arn(channel);
    format!(r"http GET /wake?X-Amz-ChannelARN={arn}{rest} HTTP/1.1\r\nHost: h\r\n\r\n")
}

/// The number of requests that were refused by this check.
fn refused(script: &Script, check: Check) -> u64 {
    let counters = script.counters();
    let mut all = counters.refusals.each();
    all.find(|(one, _)| *one == check)
        .map_or(0, |(_, count)| count)
}

/// Plays a transcript in which `ASK` is the request of a device of the usual channel, and `ASK30` one that waits for
/// 30 seconds.
fn play(script: &mut Script, transcript: &str) {
    let transcript = transcript.replace("ASK30", &asks("cam", "&wait=30"));
    script.play(&transcript.replace("ASK", &asks("cam", "")));
}

#[test]
fn a_device_is_told_as_soon_as_somebody_waits() {
    for shards in [1, 3] {
        let mut script = polls(shards);
        play(
            &mut script,
            r#"v1 connects              | v1 < 101
               a1 connects              |
               a1 > ASK                 |
               time 20s                 |
               v1 > SDP_OFFER p1        | a1 < 200 {"channel":"cam","until":"2026-01-02T03:05:55.123Z"}
               # at once while it is kept, and on the same connection: until when the newest who waits is kept
               time 10s                 |
               v1 > ICE_CANDIDATE p2    |
               a1 > ASK                 | a1 < 200 {"channel":"cam","until":"2026-01-02T03:05:55.123Z"}
               v1 vanishes              | v1 < end
               time 61s                 |
               a1 > ASK                 |
               a2 connects              |
               a2 > alexa p3 as echo    | a1 < 200 {"channel":"cam","until":"2026-01-02T03:07:06.123Z"}
               a1 > ASK                 | a1 < 200 {"channel":"cam","until":"2026-01-02T03:07:06.123Z"}"#,
        );
    }
}

#[test]
fn it_is_told_that_there_is_nothing_when_its_time_is_over_or_a_master_is_there() {
    for shards in [1, 3] {
        let mut script = polls(shards);
        play(
            &mut script,
            "v1 connects              | v1 < 101
             v1 vanishes              | v1 < end
             a1 connects              |
             a1 > ASK30               |
             time 29s                 |
             time 2s                  | a1 < 204
             a1 > ASK                 |
             time 239s                |
             time 2s                  | a1 < 204
             a1 > ASK                 |
             m connects               | a1 < 204; m < 101
             a1 > ASK                 | a1 < 204
             # what comes back from a master that is gone is for the next one
             m stalls                 |
             v1-b connects            | v1-b < 101
             v1-b > SDP_OFFER p1        |
             m vanishes               | m < end
             a1 > ASK                 | a1 < 200 {\"channel\":\"cam\",\"until\":\"2026-01-02T03:10:07.123Z\"}",
        );
    }
}

#[test]
fn a_newer_device_takes_the_place_and_one_that_hangs_up_leaves_it() {
    for shards in [1, 3] {
        let mut script = polls(shards);
        play(
            &mut script,
            "v1 connects              | v1 < 101
             a1 connects              |
             a2 connects              |
             a1 > ASK                 |
             a2 > ASK                 | a1 < 409 ResourceInUseException
             a1 > ASK                 | a2 < 409 ResourceInUseException
             # behind its question, on the same connection: answered after it
             a1 > describe cam        |
             a1 vanishes              | a1 < end
             a2 > ASK                 |
             v1 > SDP_OFFER p1        | a2 < 200 {\"channel\":\"cam\",\"until\":\"2026-01-02T03:05:35.123Z\"}",
        );
        assert_eq!(refused(&script, Check::WakePollReplaced), 2);
    }
}

#[test]
fn a_deleted_channel_is_not_found_and_one_that_is_not_there_is_not_made() {
    for shards in [1, 3] {
        let mut script = polls(shards);
        play(
            &mut script,
            "a1 connects              |
             a1 > ASK                 | a1 < 404 ResourceNotFoundException
             v1 connects              | v1 < 101
             a1 > ASK                 |
             a2 connects              |
             a2 > delete cam          | a1 < 404 ResourceNotFoundException; v1 < close 1001 Channel deleted; \
                                        a2 < 200 {}
             a1 > ASK                 | a1 < 404 ResourceNotFoundException",
        );
    }
}

#[test]
fn a_drain_sends_devices_away() {
    for shards in [1, 3] {
        let mut script = polls(shards);
        play(
            &mut script,
            "v1 connects              | v1 < 101
             v1 vanishes              | v1 < end
             a1 connects              |
             a1 > ASK                 |
             a2 connects              |
             drain 2s                 |",
        );
        assert!(!script.is_drained());
        play(
            &mut script,
            "time 500ms               | a1 < 204; a1 < end
             a2 > ASK                 | a2 < 503 ServiceUnavailable; a2 < end",
        );
        assert!(script.is_drained());
    }
}

#[test]
fn what_is_no_question_of_a_device_is_refused() {
    let mut script = polls(1);
    let arn = arn("cam");
    script.play("v1 connects | v1 < 101");
    let twice = format!("&X-Amz-ChannelARN={arn}");
    #[rustfmt::skip] // a list
    let queries = [
        "&wait=29", "&wait=601", "&wait=60&wait=60", "&wait=", "&X-Amz-ClientId=v1", "&X-Amz-Signature=1", &twice,
    ];
    for (place, query) in queries.into_iter().enumerate() {
        let (a, asks) = (format!("a{place}"), asks("cam", query));
        script.play(&format!(
            "{a} connects |
             {a} > {asks} | {a} < 400 InvalidArgumentException; {a} < end"
        ));
    }
    let counted = script.counters().requests[Requested::Wake.index()];
    assert_eq!(counted.iter().sum::<u64>(), 7, "{counted:?}");
    // Unless it is configured there is no such path.
    let mut script = Script::dev();
    play(
        &mut script,
        "a connects               |
         a > ASK                  | a < 404 UnknownOperationException",
    );
}

#[test]
fn an_account_with_its_share_is_refused() {
    let mut script = Script::with_wake_polls(1, 2);
    for channel in ["c1", "c2", "c3"] {
        script.play(&format!(
            "v{channel} connects {channel} | v{channel} < 101
             a{channel} connects |"
        ));
    }
    script.play(&format!(
        "ac1 > {} |
         ac2 > {} |
         ac3 > {} | ac3 < 400 ClientLimitExceededException",
        asks("c1", ""),
        asks("c2", ""),
        asks("c3", "")
    ));
    script.play(&format!(
        "ac1 vanishes | ac1 < end
         ac3 > {} |",
        asks("c3", "")
    ));
    assert_eq!(refused(&script, Check::WakePollsFull), 1);
}

/// A device that asks while its former connection confirms nothing any more is told, once that is doubtful.
#[test]
fn a_device_whose_connection_is_doubtful_is_called() {
    let mut script = polls(1);
    play(
        &mut script,
        r#"m connects               | m < 101
           v1 connects              | v1 < 101
           m is cut                 |
           v1 > SDP_OFFER p1        |
           a1 connects              |
           time 1900ms              |
           a1 > ASK                 | a1 < 204
           time 200ms               |
           a1 > ASK                 | a1 < 200 {"channel":"cam","until":"2026-01-02T03:05:35.123Z"}
           m-b connects             | m-b < 101; m-b < SDP_OFFER p1 from v1"#,
    );
}
