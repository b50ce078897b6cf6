//! Changes of channels: when they are seen, in which order they are made, and that a store which fails changes nothing.
//! codec/PROTOCOL.md, CHAN and MEDIA.

use crate::shard_transcripts::script::Script;
use broker_core::journal::Entry;

const CREATED: &str =
    r#"200 {"ChannelARN":"arn:aws:kinesisvideo:us-west-2:123456789012:channel/cam/1767323075123"}"#;
/// A time that was taken is not given again.
const CREATED_LATER: &str =
    r#"200 {"ChannelARN":"arn:aws:kinesisvideo:us-west-2:123456789012:channel/cam/1767323075124"}"#;

#[test]
fn an_update_needs_the_version_and_tags_do_not() {
    let mut script = Script::with(3, false, |_| ());
    script.play(&format!(
        r#"a connects |
         a > create cam | a < {CREATED}
         a > api /updateSignalingChannel {{"ChannelARN":"<cam>","CurrentVersion":"other","SingleMasterConfiguration":{{"MessageTtlSeconds":90}}}} | a < 400 VersionMismatchException
         a > api /TagResource {{"ResourceARN":"<cam>","Tags":[{{"Key":"a","Value":"1"}},{{"Key":"b","Value":"2"}}]}} | a < 200 {{}}
         a > api /TagResource {{"ResourceARN":"<cam>","Tags":[{{"Key":"a","Value":"3"}}]}} | a < 200 {{}}
         a > api /UntagResource {{"ResourceARN":"<cam>","TagKeyList":["b","c"]}} | a < 200 {{}}
         a > api /ListTagsForResource {{"ResourceARN":"<cam>"}} | a < 200 {{"Tags":{{"a":"3"}}}}
         a > api /TagResource {{"ResourceARN":"<none>","Tags":[{{"Key":"a","Value":"1"}}]}} | a < 404 ResourceNotFoundException
         a > api /ListTagsForResource {{"ResourceARN":"<none>"}} | a < 404 ResourceNotFoundException"#
    ));
}

#[test]
fn a_channel_has_fifty_tags_at_most() {
    let tags = |from: usize, to: usize| {
        let tag = |n| format!(r#"{{"Key":"k{n}","Value":""}}"#);
        (from..to).map(tag).collect::<Vec<_>>().join(",")
    };
    Script::dev().play(&format!(
        r#"a connects |
         a > create cam | a < {CREATED}
         a > api /TagResource {{"ResourceARN":"<cam>","Tags":[{}]}} | a < 200 {{}}
         a > api /TagResource {{"ResourceARN":"<cam>","Tags":[{}]}} | a < 400 TagsPerResourceExceededLimitException
         a > api /TagResource {{"ResourceARN":"<cam>","Tags":[{}]}} | a < 200 {{}}"#,
        tags(0, 49),
        tags(49, 51),
        tags(48, 50),
    ));
}

#[test]
fn media_storage_is_refused_where_the_channel_is_there() {
    Script::dev().play(&format!(
        r#"a connects |
         a > create cam | a < {CREATED}
         a > api /describeMediaStorageConfiguration {{"ChannelName":"cam"}} | a < 200 {{"MediaStorageConfiguration":{{"StreamARN":null,"Status":"DISABLED"}}}}
         a > api /describeMediaStorageConfiguration {{"ChannelName":"none"}} | a < 404 ResourceNotFoundException
         a > api /updateMediaStorageConfiguration {{"ChannelARN":"<cam>","MediaStorageConfiguration":{{"Status":"DISABLED"}}}} | a < 200 {{}}
         a > api /updateMediaStorageConfiguration {{"ChannelARN":"<cam>","MediaStorageConfiguration":{{"Status":"ENABLED","StreamARN":"arn:aws:kinesisvideo:us-west-2:123456789012:stream/s/1"}}}} | a < 400 InvalidArgumentException
         a > api /updateMediaStorageConfiguration {{"ChannelARN":"<none>","MediaStorageConfiguration":{{"Status":"DISABLED"}}}} | a < 404 ResourceNotFoundException
         a > api /joinStorageSession {{"channelArn":"<cam>"}} | a < 400 InvalidArgumentException
         a > api /joinStorageSession {{"channelArn":"<none>"}} | a < 404 ResourceNotFoundException
         a > api /joinStorageSessionAsViewer {{"channelArn":"<cam>","clientId":"v"}} | a < 400 InvalidArgumentException
         a > api /joinStorageSessionAsViewer {{"channelArn":"<none>","clientId":"v"}} | a < 404 ResourceNotFoundException
         a > api /describeMappedResourceConfiguration {{"StreamName":"s"}} | a < 200 {{"MappedResourceConfigurationList":[]}}"#
    ));
}

#[test]
fn a_channel_that_is_not_durable_is_invisible() {
    Script::with(2, false, |_| ()).play(&format!(
        "a connects                               |
         store waits                              |
         a > create cam                           |
         a2 connects                              |
         a2 > describe cam                        | a2 < 404 ResourceNotFoundException
         a2 > create cam                          | a2 < 400 ResourceInUseException
         a2 > list                                | a2 < 200 {{\"ChannelInfoList\":[]}}
         m connects cam@1767323075123             | m < 404 ResourceNotFoundException; m < end
         store commits                            | a < {CREATED}
         m-b connects cam@1767323075123           | m-b < 101"
    ));
}

/// Nothing is wrong with the store then, and no trouble is logged.
#[test]
fn a_busy_store_answers_try_again() {
    let mut script = Script::with(2, false, |_| ());
    script.play(&format!(
        r#"a connects |
         store waits |
         a > create cam |
         store is busy | a < 503 ServiceUnavailable
         a > describe cam | a < 404 ResourceNotFoundException
         a > create cam |
         store commits | a < {CREATED_LATER}"#
    ));
    assert_eq!(troubles(&script), 0);
}

/// 128 calls may be under way between two shards, and 64 changes.
#[test]
fn changes_that_wait_for_a_slow_disk_leave_places_for_other_calls() {
    let mut script = Script::with(2, true, |_| ());
    let names = (0..).map(|number| format!("c{number}"));
    let names: Vec<String> = names
        .filter(|name| script.home(name) == 1)
        .take(65)
        .collect();
    script.play("store waits |");
    for (number, name) in names.iter().enumerate() {
        script.play(&format!("a{number} connects | "));
        let answer = if number < 64 {
            String::new()
        } else {
            format!("a{number} < 503 ServiceUnavailable")
        };
        script.play(&format!("a{number} > create {name} | {answer}"));
    }
    let name = &names[0];
    script.play(&format!(
        "a-b connects | \n a-b > describe {name} | a-b < 404 ResourceNotFoundException"
    ));
}

fn troubles(script: &Script) -> usize {
    let trouble = |entry: &Entry| matches!(entry, Entry::StoreTrouble { .. });
    script.log().filter(trouble).count()
}

#[test]
fn what_the_store_does_not_keep_did_not_happen() {
    let mut script = Script::with(2, false, |_| ());
    script.play(&format!(
        r#"a connects |
         a > create cam | a < {CREATED}
         m connects cam@1767323075123 | m < 101
         store waits |
         a > create other |
         store fails no space left | a < 503 ServiceUnavailable
         a > describe other | a < 404 ResourceNotFoundException
         a > delete cam created-now |
         a2 connects |
         v1 connects cam@1767323075123 | v1 < 404 ResourceNotFoundException; v1 < end
         a2 > api /getSignalingChannelEndpoint {{"ChannelARN":"<cam>"}} | a2 < 400 ResourceInUseException
         store fails no space left | a < 503 ServiceUnavailable
         v1-b connects cam@1767323075123 | v1-b < 101
         a > api /TagResource {{"ResourceARN":"<cam>","Tags":[{{"Key":"a","Value":"1"}}]}} |
         store fails no space left | a < 503 ServiceUnavailable
         a > api /ListTagsForResource {{"ResourceARN":"<cam>"}} | a < 200 {{"Tags":{{}}}}
         a > delete cam created-now |
         store commits | a < 200 {{}}; m < close 1001 Channel deleted; v1-b < close 1001 Channel deleted"#
    ));
    assert_eq!(troubles(&script), 3);
    assert_eq!(script.channels(), 0);
}

#[test]
fn changes_of_one_channel_are_made_one_after_the_other() {
    Script::with(3, false, |_| ()).play(&format!(
        r#"a connects |
         a2 connects |
         a3 connects |
         a > create cam | a < {CREATED}
         store waits |
         a > api /TagResource {{"ResourceARN":"<cam>","Tags":[{{"Key":"a","Value":"1"}}]}} |
         a2 > api /TagResource {{"ResourceARN":"<cam>","Tags":[{{"Key":"b","Value":"2"}}]}} |
         a3 > delete cam created-now |
         a4 connects |
         a4 > api /ListTagsForResource {{"ResourceARN":"<cam>"}} | a4 < 200 {{"Tags":{{}}}}
         a4 > api /TagResource {{"ResourceARN":"<cam>","Tags":[{{"Key":"c","Value":"3"}}]}} |
         store commits | a < 200 {{}}; a2 < 200 {{}}; a3 < 200 {{}}; a4 < 404 ResourceNotFoundException"#
    ));
}

#[test]
fn too_many_changes_of_one_channel_are_refused() {
    let mut script = Script::dev();
    script.play(&format!(
        "a connects | \n a > create cam | a < {CREATED} \n store waits |"
    ));
    for n in 0..17 {
        script.play(&format!(
            r#"a{n} connects |
            a{n} > api /UntagResource {{"ResourceARN":"<cam>","TagKeyList":["x"]}} |"#
        ));
    }
    script.play(
        r#"a > api /UntagResource {"ResourceARN":"<cam>","TagKeyList":["x"]} | a < 400 ClientLimitExceededException"#,
    );
}

#[test]
fn a_drain_waits_for_changes_under_way() {
    let mut script = Script::with(1, false, |_| ());
    script.play("a connects | \n store waits | \n a > create cam | \n drain 20s |");
    assert!(!script.is_drained());
    script.play(&format!("store commits | a < {CREATED}; a < end"));
    assert!(script.is_drained());
}

#[test]
fn rates_are_those_of_the_quotas_and_come_back() {
    let mut script = Script::with(2, false, |_| ());
    script.play(&format!("a connects | \n a > create cam | a < {CREATED}"));
    let describe = |script: &mut Script, wanted: &str| {
        let ask = r#"a > api /ListTagsForResource {"ResourceARN":"<cam>"}"#;
        script.play(&format!("{ask} | a < {wanted}"));
    };
    for _ in 0..25 {
        describe(&mut script, r#"200 {"Tags":{}}"#);
    }
    describe(&mut script, "400 ClientLimitExceededException");
    script.play("time 199ms |");
    describe(&mut script, "400 ClientLimitExceededException");
    script.play("time 1ms |");
    describe(&mut script, r#"200 {"Tags":{}}"#);
    for n in 0..15_u32 {
        let evicted = n.checked_sub(5).map_or_else(String::new, |old| {
            format!("m-{old} < close 1001 Going away; ")
        });
        script.play(&format!(
            "m-{n} connects cam@1767323075123 | {evicted}m-{n} < 101"
        ));
    }
    script.play("m connects cam@1767323075123 | m < 400 ClientLimitExceededException; m < end");
    script.play("v1 connects cam@1767323075123 | v1 < 101");
}

#[test]
fn messages_above_the_rate_get_a_status_response_and_nothing_else_is_lost() {
    let mut script = Script::with(1, true, |settings| {
        settings.quotas.off = false;
        settings.quotas.sdp.burst = 2;
        settings.quotas.ice.burst = 1;
    });
    script.play(
        "m connects                               | m < 101
         v1 connects                              | v1 < 101
         v1 > SDP_OFFER p1                        | m < SDP_OFFER p1 from v1
         v1 > SDP_OFFER p2                        | m < SDP_OFFER p2 from v1
         v1 > SDP_OFFER p3 id c1                  | v1 < status c1 400 ClientLimitExceededException Rate exceeded.
         v1 > SDP_OFFER p3                        |
         v1 > SDP_ANSWER p4                       | m < SDP_ANSWER p4 from v1
         v1 > ICE_CANDIDATE p5                    | m < ICE_CANDIDATE p5 from v1
         v1 > ICE_CANDIDATE p6                    |
         m > SDP_ANSWER p7 to v1                  | v1 < SDP_ANSWER p7
         time 50ms                                |
         v1 > ICE_CANDIDATE p8                    | m < ICE_CANDIDATE p8 from v1
         time 150ms                               |
         v1 > SDP_OFFER p9                        | m < SDP_OFFER p9 from v1",
    );
    assert_eq!(script.counters().outcomes[0][5], 2, "throttled offers");
}
