//! Upgrades and their refusals: codec/PROTOCOL.md, CON.

use crate::shard_transcripts::script::Script;

const ARN: &str =
    "arn%3Aaws%3Akinesisvideo%3Aus-west-2%3A123456789012%3Achannel%2Fcam%2F1700000000000";

/// An upgrade request with this query and these further lines, as a line of a transcript says it.
fn upgrade(query: &str, lines: &str) -> String {
    format!(
        "http GET /?{query} HTTP/1.1\\r\\nHost: h\\r\\nUpgrade: websocket\\r\\nConnection: Upgrade\\r\\n{lines}\\r\\n"
    )
}

const KEY: &str = "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\\r\\n";
const VERSION: &str = "Sec-WebSocket-Version: 13\\r\\n";

#[test]
fn each_refusal_has_its_status() {
    let both = format!("{KEY}{VERSION}");
    let arn = format!("X-Amz-ChannelARN={ARN}");
    #[rustfmt::skip] // a table, a case per row
    let cases = [
        (arn.clone(), both.clone(), "101"),
        (format!("{arn}&X-Amz-ClientId=v1"), both.clone(), "101"),
        (String::new(), both.clone(), "400 InvalidArgumentException"),
        ("X-Amz-ChannelARN=nonsense".into(), both.clone(), "400 InvalidArgumentException"),
        (format!("{arn}&{arn}"), both.clone(), "400 InvalidArgumentException"),
        (format!("{arn}&X-Amz-ClientId="), both.clone(), "400 InvalidArgumentException"),
        (format!("{arn}&X-Amz-ClientId=a%20b"), both.clone(), "400 InvalidArgumentException"),
        (format!("{arn}&X-Amz-ClientId=aws_x"), both.clone(), "400 InvalidArgumentException"),
        (arn.clone(), VERSION.into(), "400 InvalidArgumentException"),
        (arn.clone(), format!("{KEY}Sec-WebSocket-Version: 8\\r\\n"), "426 InvalidArgumentException"),
    ];
    for (query, lines, answer) in cases {
        let end = if answer == "101" { "" } else { "; a < end" };
        let said = upgrade(&query, &lines);
        Script::dev().play(&format!("a connects |\n a > {said} | a < {answer}{end}"));
    }
}

#[test]
fn malformed_queries_are_refused() {
    let arn = format!("X-Amz-ChannelARN={ARN}");
    let long = "n".repeat(257);
    for query in [
        "X-Amz-ClientId=v1".to_owned(),
        "X-Amz-ChannelARN=".to_owned(),
        format!("{arn}&x-amz-channelarn={ARN}"),
        arn.replace("1700000000000", "x"),
        arn.replace("Achannel", "Astream"),
        arn.replace("kinesisvideo", "s3"),
        arn.replace("cam", &long),
        arn.replace("cam", "c%20m"),
        format!("{arn}%"),
        format!("{arn}&X-Amz-ClientId=v1&X-Amz-ClientId=v2"),
        format!("{arn}&X-Amz-ClientId=%C3%A9"),
        format!("{arn}&X-Amz-ClientId=AWS_x"),
        format!("{arn}&X-Amz-ClientId={long}"),
    ] {
        let said = upgrade(&query, &format!("{KEY}{VERSION}"));
        Script::dev().play(&format!(
            "a connects |\n a > {said} | a < 400 InvalidArgumentException; a < end"
        ));
    }
}

#[test]
fn without_dev_only_existing_channels_admit() {
    let mut script = Script::with(2, false, |_| ());
    script.play(
        "m connects                               | m < 404 ResourceNotFoundException; m < end
         v1 connects                              | v1 < 404 ResourceNotFoundException; v1 < end",
    );
    assert_eq!(script.channels(), 0);
}

#[test]
fn the_viewer_table_is_bounded() {
    let mut script = Script::dev();
    for number in 0..10 {
        script.play(&format!("v{number} connects | v{number} < 101"));
    }
    script.play(
        "v10 connects                             | v10 < 400 ClientLimitExceededException; v10 < end
         m connects                               | m < 101
         v3 vanishes                              | v3 < end
         v10-b connects                           | v10-b < 101",
    );
}

#[test]
fn frames_behind_the_head_are_the_first_frames() {
    let both = format!("{KEY}{VERSION}");
    let said = upgrade(&format!("X-Amz-ChannelARN={ARN}&X-Amz-ClientId=v1"), &both);
    let ping = "\\x89\\x81\\x00\\x00\\x00\\x00y";
    for shards in [1, 4] {
        let mut script = Script::with(shards, true, |_| ());
        script.play(&format!(
            "a connects |\n a > {said}{ping} | a < 101; a < pong y"
        ));
    }
}
