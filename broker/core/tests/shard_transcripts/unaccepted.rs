//! Messages that are not accepted: their reasons in the counters, in the trace and in the log.

use crate::shard_transcripts::script::Script;
use crate::shard_transcripts::trace::trace;
use broker_core::event::Outcome;
use broker_core::journal::{Entry, Unaccepted, UnacceptedMessage};
use broker_core::limits::UNACCEPTED_LOGGED_PER_ACCOUNT;
use broker_core::settings::Rate;

/// One shard with short payloads and one SDP at a time.
fn script() -> Script {
    let mut script = Script::with(1, true, |settings| {
        settings.limits.payload_bytes = 1024;
        settings.limits.pending_bytes_per_channel = 3000;
        settings.quotas.off = false;
        settings.quotas.sdp = Rate { rate: 1, burst: 1 };
    });
    script.play(
        "m connects                               | m < 101
         v1 connects                              | v1 < 101",
    );
    script
}

fn logged(script: &Script) -> Vec<UnacceptedMessage> {
    let of = |entry| {
        let Entry::Unaccepted(message) = entry else {
            return None;
        };
        Some(*message)
    };
    script.log().filter_map(of).collect()
}

#[test]
fn each_reason_is_counted_recorded_and_logged() {
    let mut script = script();
    let payload = |bytes: usize| "p".repeat(bytes);
    let long = payload(1025);
    script.play(&format!(
        r#"v1 > raw {{"action":"SDP_OFFER","messagePayload":"{long}"}} |
           v1 > raw {{"action":"SDP_OFFER"}}                           |
           v1 > raw {{"action":"SDP_OFFER","messagePayload":"p!"}}     |
           v1 > raw [1]                                                |
           v1 > raw {{"action":7,"messagePayload":"p"}}                |
           v1 > raw {{"action":"sdp_offer","messagePayload":"p"}}      |
           m > raw {{"action":"SDP_ANSWER","messagePayload":"p"}}      |
           m > SDP_OFFER p to v1                                       |
           v1 > SDP_OFFER p                                            | m < SDP_OFFER p from v1
           v1 > SDP_OFFER p                                            |"#
    ));
    let kept = payload(1000);
    script.play(&format!(
        "m > ICE_CANDIDATE {kept} to gone  |
         m > ICE_CANDIDATE {kept} to other |
         m > ICE_CANDIDATE {kept} to third |"
    ));
    let counters = script.counters();
    for reason in Unaccepted::ALL {
        // The one is a test's, the other has a transcript of its own.
        let elsewhere = [Unaccepted::FaultInjected, Unaccepted::TooLongForRecipient];
        let wanted = u64::from(!elsewhere.contains(reason));
        assert_eq!(counters.unaccepted[reason.index()], wanted, "{reason:?}");
    }
    assert!(counters.all_have_their_reason());
    let trace = trace(&mut script, "cam", 5000);
    let lines = trace.lines();
    let unaccepted = lines.iter().filter(|line| line.contains("Unaccepted"));
    #[rustfmt::skip] // a list
    let wanted = [
        "1000 ? 1025 up Unaccepted(TooLong) from v1, expected at most 1024",
        "1000 ? 0 up Unaccepted(NoPayload) from v1", "1000 ? 0 up Unaccepted(NotBase64) from v1",
        "1000 ? 0 up Unaccepted(NotJson) from v1", "1000 ? 0 up Unaccepted(Malformed) from v1",
        "1000 ? 0 up Unaccepted(UnknownAction) from v1", "1000 ? 0 down Unaccepted(UnknownRecipient) from m",
        "1000 SDP_OFFER 0 down Unaccepted(MasterOffer) from m", "1000 SDP_OFFER 72 up Unaccepted(TooFast) from v1",
        "1000 ICE_CANDIDATE 1055 down Unaccepted(NoRoom) from m for third",
    ];
    assert_eq!(unaccepted.collect::<Vec<_>>(), wanted);
    let logged = logged(&script);
    let reasons: Vec<Unaccepted> = logged.iter().map(|line| line.reason).collect();
    let of_ten = UNACCEPTED_LOGGED_PER_ACCOUNT as usize;
    assert_eq!(reasons.len(), of_ten, "{reasons:?}");
    let first = &logged[0];
    assert_eq!((first.bytes, first.most, first.unlogged), (1025, 1024, 0));
    let sender = (&*first.channel, first.client_id.as_deref());
    assert_eq!(sender, ("cam", Some("v1")));
}

#[test]
fn a_loop_of_them_is_a_few_lines_that_count_the_others() {
    let mut script = script();
    for _ in 0..30 {
        script.play("v1 > raw [1] |");
    }
    script.play(
        "time 1s     |
         v1 > raw [1] |",
    );
    let logged = logged(&script);
    assert_eq!(logged.len(), UNACCEPTED_LOGGED_PER_ACCOUNT as usize + 1);
    let unlogged = 30 - u64::from(UNACCEPTED_LOGGED_PER_ACCOUNT);
    assert_eq!(logged.last().map(|line| line.unlogged), Some(unlogged));
    assert_eq!(script.counters().log_suppressed, unlogged);
}

/// A message of 67 bytes beside the payload and the sender's id, for a client whose buffer ends at 1,024.
#[test]
fn a_message_that_its_recipient_cannot_take_is_refused_to_its_sender() {
    let mut script = Script::with(1, true, |settings| {
        settings.limits.wss_message_bytes = 1024;
    });
    let payload = |bytes: usize| "p".repeat(bytes);
    let (fits, long) = (payload(1024 - 67 - 2), payload(1024 - 67 - 1));
    script.play(&format!(
        "m connects wss                           | m < 101
         v1 connects                              | v1 < 101
         v1 > SDP_OFFER {fits}                    | m < SDP_OFFER {fits} from v1
         v1 > SDP_OFFER {long}                    |
         m > SDP_ANSWER {long} to v1              | v1 < SDP_ANSWER {long}
         m vanishes                               | m < end
         v1 > SDP_OFFER {long}                    |
         v1 > ICE_CANDIDATE p                     |
         m' connects wss                          | m' < 101; m' < ICE_CANDIDATE p from v1"
    ));
    let logged = logged(&script);
    let reasons: Vec<_> = logged.iter().map(|one| one.reason).collect();
    assert_eq!(reasons, [Unaccepted::TooLongForRecipient]);
    assert_eq!((logged[0].bytes, logged[0].most), (1025, 1024));
    let trace = trace(&mut script, "cam", 5000);
    let wanted = "SDP_OFFER 1025 up Unaccepted(TooLongForRecipient) from v1, expected at most 1024";
    let lines = trace.lines();
    assert!(lines.iter().any(|line| line.ends_with(wanted)), "{lines:?}");
    let outcomes = script.counters().outcomes[0];
    let of = |outcome: Outcome| outcomes[outcome.index()];
    assert_eq!((of(Outcome::Refused), of(Outcome::Evicted)), (1, 1));
}
