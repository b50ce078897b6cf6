//! Request bodies: what real clients send is understood, and every bound holds on both of its sides.

use crate::repeated::repeated;
use codec::control::{
    ApiError, BodyRules, Call, ErrorKind, Operation, Protocol, Selector, StreamSelector,
    page_token, parse,
};
use codec::identifiers::ChannelArn;
use codec::signal::Role;

const ARN: &str = "arn:aws:kinesisvideo:us-east-1:123456789012:channel/demo/1700000000123";

fn call(operation: Operation, body: &str) -> Result<Call, ApiError> {
    parse(
        operation,
        &mut body.as_bytes().to_vec(),
        &BodyRules::default(),
    )
}

/// `ok`, or the error type and the text.
fn verdict(operation: Operation, body: &str) -> String {
    match call(operation, body) {
        Ok(_) => "ok".to_owned(),
        Err(error) => format!("{}: {}", error.kind.error_type(), error.message),
    }
}

#[test]
fn recorded_bodies_decode_to_their_operation() {
    let recorded: Vec<serde_json::Value> =
        serde_json::from_str(include_str!("data/control_requests.json")).unwrap();
    assert_eq!(recorded.len(), 39);
    for request in &recorded {
        let text = |member: &str| request[member].as_str().unwrap();
        let operation = Operation::from_path(text("target")).unwrap();
        assert_eq!(operation.name(), text("operation"));
        let body = text("body");
        let expected = if body.contains("WEBRTC") {
            // The C SDK asks so only when media storage is on, which this service never reports.
            "InvalidArgumentException: Protocols"
        } else if body.contains("\"abc=\"") {
            // Recorded against a stub: no token of ours.
            "InvalidArgumentException: NextToken"
        } else {
            "ok"
        };
        let verdict = verdict(operation, body);
        assert!(verdict.starts_with(expected), "{body}: {verdict}");
    }
}

#[test]
fn every_bound_holds_on_both_sides() {
    let mut operation = None;
    let mut rows = 0;
    for line in include_str!("data/control_verdicts.txt").lines() {
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        if let Some(heading) = line.strip_prefix("= ") {
            let name = heading.split(':').next();
            operation = Operation::ALL
                .iter()
                .copied()
                .find(|known| Some(known.name()) == name);
            continue;
        }
        let (body, expected) = line.split_once(" => ").unwrap();
        let verdict = verdict(operation.unwrap(), &expand(body));
        let agrees = verdict == expected || (expected != "ok" && verdict.starts_with(expected));
        assert!(agrees, "{line}\n  got {verdict}");
        rows += 1;
    }
    assert_eq!(rows, ROWS);
}

#[test]
fn bodies_that_are_no_object_are_serialization_errors() {
    #[rustfmt::skip] // a list
    let broken = [
        "", " ", "{", "{}x", "{} {}", "{,}", "{\"a\":1,}", "{\"a\" 1}", "{a:1}", "{'a':1}", "{\"a\":\"\n\"}",
        "{\"a\":\"\\x\"}", "{\"a\":01}", "{\"a\":nul}", "\u{feff}{}", "{\"a\":\"\\ud800\"}",
    ];
    for operation in Operation::ALL.iter().copied() {
        for body in broken {
            let verdict = verdict(operation, body);
            assert_eq!(
                verdict, "SerializationException: The request body is not valid JSON.",
                "{body}"
            );
        }
        for body in ["[]", "null", "1", "\"{}\"", "[{}]", "true"] {
            let verdict = verdict(operation, body);
            assert_eq!(
                verdict, "SerializationException: The request body must be a JSON object.",
                "{body}"
            );
        }
        let mut broken = *b"{\"a\":\"?\"}";
        broken[6] = 0xff;
        let error = parse(operation, &mut broken, &BodyRules::default()).unwrap_err();
        assert_eq!(error.kind, ErrorKind::Serialization);
        let mut gzip = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 3, 0xab, 0xae, 5, 0];
        let error = parse(operation, &mut gzip, &BodyRules::default()).unwrap_err();
        assert_eq!(error.kind, ErrorKind::Serialization);
        assert!(error.message.contains("Content-Encoding"), "{error:?}");
    }
}

#[test]
fn create_is_read_whole() {
    let create = |body: &str| match call(Operation::CreateSignalingChannel, body) {
        Ok(Call::Create(create)) => create,
        other => panic!("{other:?}"),
    };
    let whole = create(
        r#"{"Tags":[{"Value":"dev","Key":"env"},{"Key":"empty","Value":""}],"Other":{"ChannelName":1},
            "SingleMasterConfiguration":{"MessageTtlSeconds":30},"ChannelType":"SINGLE_MASTER","ChannelNam\u0065":"demo2"}"#,
    );
    assert_eq!((whole.name.as_str(), whole.ttl_seconds), ("demo2", 30));
    let tags: Vec<_> = whole
        .tags
        .iter()
        .map(|tag| (&*tag.key, &*tag.value))
        .collect();
    assert_eq!(tags, [("env", "dev"), ("empty", "")]);

    let least = create(
        r#"{"ChannelName":"d","ChannelType":null,"SingleMasterConfiguration":{"MessageTtlSeconds":null},"Tags":null}"#,
    );
    let found = (least.name.as_str(), least.ttl_seconds, least.tags.len());
    assert_eq!(found, ("d", 60, 0));
}

#[test]
fn fifty_tags_fit() {
    for (operation, member) in [
        (Operation::CreateSignalingChannel, r#""ChannelName":"a""#),
        (Operation::TagResource, "@RESOURCE"),
    ] {
        let tags = |count: usize| {
            let tags: Vec<_> = (0..count)
                .map(|n| format!(r#"{{"Key":"k{n}","Value":""}}"#))
                .collect();
            let body = format!(r#"{{{member},"Tags":[{}]}}"#, tags.join(","));
            verdict(operation, &expand(&body))
        };
        assert_eq!(tags(50), "ok");
        assert!(tags(51).starts_with("TagsPerResourceExceededLimitException: Tags"));
    }
}

#[test]
fn describe_prefers_the_arn() {
    let operation = Operation::DescribeSignalingChannel;
    let by_name = call(operation, r#"{"ChannelName":"demo"}"#).unwrap();
    assert!(matches!(&by_name, Call::Describe(Selector::ByName(name)) if name.as_str() == "demo"));
    let found = (by_name.arn(), by_name.channel_name());
    assert_eq!(found, (None, Some("demo")));
    let both = call(operation, &expand(r#"{@ARN,"ChannelName":"demo"}"#)).unwrap();
    assert_eq!(both.arn().map(ChannelArn::as_str), Some(ARN));
    assert_eq!(both.channel_name(), Some("demo"));
}

#[test]
fn list_pages_and_prefixes() {
    let list = |body: &str| match call(Operation::ListSignalingChannels, body) {
        Ok(Call::List(list)) => list,
        other => panic!("{other:?}"),
    };
    assert_eq!(list("{}").entries_max, 500);
    for (asked, entries) in [
        (2, 2),
        (999, 999),
        (1000, 1000),
        (1001, 1000),
        (10_000, 1000),
    ] {
        let found = list(&format!(r#"{{"MaxResults":{asked}}}"#)).entries_max;
        assert_eq!(found, entries);
    }
    let found = (list("{}").after, list(r#"{"NextToken":""}"#).after);
    assert_eq!(found, (None, None));
    for name in ["demo", "a", &"n".repeat(256)] {
        let body = format!(r#"{{"NextToken":"{}"}}"#, page_token(name));
        assert_eq!(list(&body).after.unwrap().as_str(), name);
    }
    let condition =
        r#"{"ChannelNameCondition":{"ComparisonOperator":"BEGINS_WITH","ComparisonValue":"de"}}"#;
    assert_eq!(list(condition).prefix.unwrap().as_str(), "de");
}

#[test]
fn endpoint_defaults_and_order() {
    let endpoint = |members: &str| match call(
        Operation::GetSignalingChannelEndpoint,
        &expand(&format!(
            r#"{{@ARN,"SingleMasterChannelEndpointConfiguration":{members}}}"#
        )),
    ) {
        Ok(Call::Endpoint(endpoint)) => (endpoint.protocols, endpoint.role),
        other => panic!("{other:?}"),
    };
    assert_eq!(endpoint("null"), (vec![Protocol::Wss], Role::Viewer));
    let found = endpoint(r#"{"Role":"MASTER"}"#);
    assert_eq!(found, (vec![Protocol::Wss], Role::Master));
    let asked = endpoint(r#"{"Protocols":["HTTPS","WSS","HTTPS"]}"#);
    assert_eq!(asked, (vec![Protocol::Https, Protocol::Wss], Role::Viewer));
}

#[test]
fn ice_credentials_are_named() {
    let name = |members: &str| match call(
        Operation::GetIceServerConfig,
        &expand(&format!("{{@ARN{members}}}")),
    ) {
        Ok(Call::Ice(ice)) => ice.credential_name().to_owned(),
        other => panic!("{other:?}"),
    };
    assert_eq!(name(""), "kvs");
    assert_eq!(name(r#","ClientId":"v1""#), "v1");
    assert_eq!(name(r#","ClientId":"v1","Username":"u1""#), "u1");
}

#[test]
fn changes_are_read_whole() {
    let update = expand(
        r#"{@ARN,"CurrentVersion":"v1","SingleMasterConfiguration":{"MessageTtlSeconds":7}}"#,
    );
    match call(Operation::UpdateSignalingChannel, &update) {
        Ok(Call::Update(update)) => assert_eq!(
            (update.arn.as_str(), &*update.version, update.ttl_seconds),
            (ARN, "v1", 7)
        ),
        other => panic!("{other:?}"),
    }
    let tag = expand(r#"{"Tags":[{"Value":"1","Key":"b"},{"Key":"a","Value":""}],@RESOURCE}"#);
    match call(Operation::TagResource, &tag) {
        Ok(Call::Tag(tag)) => {
            let pairs: Vec<_> = tag
                .tags
                .iter()
                .map(|tag| (&*tag.key, &*tag.value))
                .collect();
            assert_eq!(pairs, [("b", "1"), ("a", "")]);
        }
        other => panic!("{other:?}"),
    }
    let untag = expand(r#"{@RESOURCE,"TagKeyList":["b","a","b"]}"#);
    match call(Operation::UntagResource, &untag) {
        Ok(Call::Untag(untag)) => assert_eq!(untag.keys, ["b", "a", "b"].map(Box::<str>::from)),
        other => panic!("{other:?}"),
    }
}

#[test]
fn media_storage_is_read_and_judged_by_others() {
    let enabled = |status: &str| match call(
        Operation::UpdateMediaStorageConfiguration,
        &expand(&format!(
            r#"{{@ARN,"MediaStorageConfiguration":{{"Status":"{status}"}}}}"#
        )),
    ) {
        Ok(Call::UpdateMediaStorage(update)) => update.enabled,
        other => panic!("{other:?}"),
    };
    assert!(enabled("ENABLED") && !enabled("DISABLED"));

    let by_name = call(
        Operation::DescribeMediaStorageConfiguration,
        r#"{"ChannelName":"demo"}"#,
    )
    .unwrap();
    let found = (by_name.arn(), by_name.channel_name());
    assert_eq!(found, (None, Some("demo")));

    let join = expand(r#"{@CHANNEL,"clientId":"v1"}"#);
    match call(Operation::JoinStorageSessionAsViewer, &join) {
        Ok(Call::JoinAsViewer(join)) => assert_eq!(join.client_id.as_str(), "v1"),
        other => panic!("{other:?}"),
    }

    let stream = "arn:aws:kinesisvideo:us-east-1:123456789012:stream/strm/17";
    let mapped = |body: &str| match call(Operation::DescribeMappedResourceConfiguration, body) {
        Ok(Call::MappedResource(mapped)) => mapped.stream,
        other => panic!("{other:?}"),
    };
    let nowhere = call(
        Operation::DescribeMappedResourceConfiguration,
        r#"{"StreamName":"s"}"#,
    )
    .unwrap();
    assert_eq!((nowhere.arn(), nowhere.channel_name()), (None, None));
    let by_arn = StreamSelector::ByArn(stream.into());
    assert_eq!(mapped(&format!(r#"{{"StreamARN":"{stream}"}}"#)), by_arn);
    let found = mapped(&format!(
        r#"{{"StreamName":"strm","StreamARN":"{stream}"}}"#
    ));
    assert_eq!(found, by_arn);
    assert!(matches!(mapped(r#"{"StreamName":"strm"}"#),
        StreamSelector::ByName(name) if name.as_str() == "strm"));
}

#[test]
fn a_stream_of_another_partition_is_not_for_strict_rules() {
    let verdict = |partition: &str, strict| {
        let body = format!(r#"{{"StreamARN":"arn:{partition}:kinesisvideo:r:1:stream/s/1"}}"#);
        let operation = Operation::DescribeMappedResourceConfiguration;
        parse(operation, &mut body.into_bytes(), &BodyRules { strict })
    };
    assert!(verdict("aws", true).is_ok() && verdict("aws-cn", false).is_ok());
    let error = verdict("aws-cn", true).unwrap_err();
    assert_eq!(error.message, "StreamARN must begin with arn:aws:.");
}

#[test]
fn arns_are_checked_and_strict_rules_want_aws() {
    let with = |member: &str, arn: &str| {
        format!(
            r#"{{"{member}":"{arn}","SenderClientId":"a","MessagePayload":"AA==","CurrentVersion":"v","clientId":"a",
            "SingleMasterConfiguration":{{"MessageTtlSeconds":60}},"MediaStorageConfiguration":{{"Status":"DISABLED"}},
            "Tags":[{{"Key":"k","Value":""}}],"TagKeyList":["k"]}}"#
        )
    };
    let china = ARN.replace("arn:aws:", "arn:aws-cn:");
    let bad = [
        String::new(),
        "x".to_owned(),
        ARN.replace("/1700000000123", ""),
        ARN.replace("channel/", "stream/"),
        format!("{ARN} "),
        format!("{ARN}{}", "1".repeat(1024)),
    ];
    for operation in Operation::ALL.iter().copied() {
        let member = match operation {
            Operation::CreateSignalingChannel
            | Operation::ListSignalingChannels
            | Operation::DescribeMappedResourceConfiguration => continue,
            Operation::TagResource | Operation::UntagResource | Operation::ListTagsForResource => {
                "ResourceARN"
            }
            Operation::JoinStorageSession | Operation::JoinStorageSessionAsViewer => "channelArn",
            Operation::DescribeSignalingChannel
            | Operation::UpdateSignalingChannel
            | Operation::DeleteSignalingChannel
            | Operation::GetSignalingChannelEndpoint
            | Operation::DescribeMediaStorageConfiguration
            | Operation::UpdateMediaStorageConfiguration
            | Operation::GetIceServerConfig
            | Operation::SendAlexaOfferToMaster => "ChannelARN",
        };
        for arn in &bad {
            let verdict = verdict(operation, &with(member, arn));
            let expected = format!("InvalidArgumentException: {member} must ");
            assert!(verdict.starts_with(&expected), "{arn}: {verdict}");
        }
        let judge = |arn: &str, strict| {
            let mut body = with(member, arn).into_bytes();
            parse(operation, &mut body, &BodyRules { strict })
        };
        let call = judge(ARN, true).unwrap();
        assert_eq!(call.arn().map(ChannelArn::as_str), Some(ARN));
        let error = judge(&china, true).unwrap_err();
        assert_eq!(error.kind, ErrorKind::InvalidArgument);
        let call = judge(&china, false).unwrap();
        assert_eq!(call.operation(), operation);
        assert_eq!(call.channel_name(), Some("demo"));
    }
}

/// The exchanges of the transcript: a line lost by accident is noticed.
const ROWS: usize = 300;

/// `@ARN` and its like, and `<text*times>`, written out.
fn expand(body: &str) -> String {
    let out = repeated(body);
    let member = |name: &str| format!("\"{name}\":\"{ARN}\"");
    out.replace("@ARN", &member("ChannelARN"))
        .replace("@RESOURCE", &member("ResourceARN"))
        .replace("@CHANNEL", &member("channelArn"))
        .replace(
            "@TTL",
            r#""SingleMasterConfiguration":{"MessageTtlSeconds":60}"#,
        )
}
