//! Waiting SendAlexaOfferToMaster calls take nothing that other calls need, and share what they take.

use crate::shard_transcripts::script::Script;
use broker_core::event::{Kind, Outcome};
use codec::signal::Action;

/// Names of channels that live on the second of two shards; callers connect to the first.
fn elsewhere(script: &Script, many: usize) -> Vec<String> {
    let names = (0..).map(|number| format!("c{number}"));
    let there = |name: &String| script.home(name) == 1;
    names.filter(there).take(many).collect()
}

/// This many callers, each with an offer that waits on `channel`.
fn wait(script: &mut Script, channel: &str, many: usize) {
    for number in 0..many {
        let caller = format!("a-{channel}-{number}");
        script.play(&format!(
            "{caller} connects                            |
             {caller} > alexa p1 as echo{number} to {channel} |"
        ));
    }
}

#[test]
fn waiting_calls_leave_the_places_of_other_calls_alone() {
    let mut script = Script::with(2, true, |_| ());
    let names = elsewhere(&script, 4);
    for name in &names {
        script.play(&format!("v-{name} connects {name} | v-{name} < 101"));
        wait(&mut script, name, 60);
    }
    assert_eq!(script.counters().waiting_calls, 240);
    assert_eq!(script.call_places(), 240);
    script.play("a connects |");
    let first = &names[0];
    script.play(&format!(
        "a > api /describeMediaStorageConfiguration {{\"ChannelName\":\"{first}\"}} \
         | a < 200 {{\"MediaStorageConfiguration\":{{\"StreamARN\":null,\"Status\":\"DISABLED\"}}}}"
    ));
    // The end of each is confirmed, and nothing is left.
    let ends = (0..60).map(|number| format!("a-{first}-{number} < 404 ResourceNotFoundException"));
    let ends = ends.collect::<Vec<_>>().join("; ");
    script.play(&format!(
        "a > delete {first} | v-{first} < close 1001 Channel deleted; {ends}; a < 200 {{}}"
    ));
    let found = (script.counters().waiting_calls, script.call_places());
    assert_eq!(found, (180, 180));
}

#[test]
fn a_caller_that_hangs_up_frees_its_place_whatever_is_on_its_way() {
    let mut script = Script::with(2, true, |_| ());
    let name = elsewhere(&script, 1).remove(0);
    script.play(&format!(
        "v1 connects {name}                       | v1 < 101
         a1 connects                              |
         letters wait                             |
         # the question is on its way
         a1 > alexa p1 as echo to {name}          |
         a1 vanishes                              | a1 < end
         letters taken                            |"
    ));
    let found = (script.counters().waiting_calls, script.call_places());
    assert_eq!(found, (0, 0));
    script.play(&format!(
        "a2 connects                              |
         a2 > alexa p2 as echo to {name}          |"
    ));
    let found = (script.counters().waiting_calls, script.call_places());
    assert_eq!(found, (1, 1));
    script.play(
        "letters wait                             |
         # the answer is on its way
         time 61s                                 | v1 < ping
         a2 vanishes                              | a2 < end
         letters taken                            |",
    );
    let found = (script.counters().waiting_calls, script.call_places());
    assert_eq!(found, (0, 0));
    script.play(&format!(
        "a3 connects                              |
         a3 > alexa p3 as echo to {name}          |
         a3 vanishes                              | a3 < end"
    ));
    let found = (script.counters().waiting_calls, script.call_places());
    assert_eq!(found, (0, 0));
}

#[test]
fn on_a_full_channel_a_sender_replaces_its_own_call_and_nobody_elses() {
    let mut script = Script::dev();
    script.play("m connects | m < 101");
    script.play("m stalls |");
    wait(&mut script, "cam", 64);
    script.play(
        "a connects                               |
         a > alexa p2 as another                  | a < 400 ClientLimitExceededException
         a > alexa p3 as echo7                    | a-cam-7 < 200 {\"Answer\":null}
         a-b connects                             |
         a-b > alexa p4 as echo-64                | a-b < 400 ClientLimitExceededException",
    );
    assert_eq!(script.counters().waiting_calls, 64);
}

#[test]
fn the_newest_call_of_who_has_most_makes_room_for_who_has_less() {
    let mut script = Script::with_waiting_calls(2, 4);
    let names = elsewhere(&script, 3);
    let [first, second, third] = [&names[0], &names[1], &names[2]];
    for name in &names {
        script.play(&format!("v-{name} connects {name} | v-{name} < 101"));
    }
    wait(&mut script, first, 4);
    script.play(&format!(
        "a1 connects                              |
         a2 connects                              |
         a3 connects                              |
         a4 connects                              |
         a1 > alexa p2 as dot to {second}         | a-{first}-3 < 400 ClientLimitExceededException
         a2 > alexa p3 as dot to {third}          | a-{first}-2 < 400 ClientLimitExceededException
         # a sender's own call is no other's
         a3 > alexa p4 as echo0 to {first}        | a-{first}-0 < 200 {{\"Answer\":null}}
         # who has most would have more
         a4 > alexa p5 as echo9 to {first}        | a4 < 400 ClientLimitExceededException
         a4 > alexa p5 as echo9 to {third}        | a4 < 400 ClientLimitExceededException"
    ));
    let row = script.counters().outcomes[Kind::Known(Action::SdpOffer).index()];
    let found = (
        row[Outcome::Overflow.index()],
        row[Outcome::Overwritten.index()],
    );
    assert_eq!(found, (2, 1));
    let found = (script.counters().waiting_calls, script.call_places());
    assert_eq!(found, (4, 4));
}
