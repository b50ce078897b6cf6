//! Response bodies: exact text, members in the documented order, and JSON that an independent parser reads.

use codec::control::{
    ChannelInfo, ChannelStatus, IceServer, Operation, Protocol, Tag, alexa, create, describe,
    describe_mapped_resource, describe_media_storage, endpoint, error_body, ice, list, list_tags,
    page_token,
};

const ARN: &str = "arn:aws:kinesisvideo:us-west-2:123456789012:channel/demo/1767323075123";
const INFO: ChannelInfo<'_> = ChannelInfo {
    name: "demo",
    arn: ARN,
    status: ChannelStatus::Active,
    created_ms: 1_767_323_075_123,
    ttl_seconds: 60,
    version: "bQ9NQnvAUVdoQFFM1234",
};
const INFO_TEXT: &str = r#"{"ChannelName":"demo","ChannelARN":"arn:aws:kinesisvideo:us-west-2:123456789012:channel/demo/1767323075123","ChannelType":"SINGLE_MASTER","ChannelStatus":"ACTIVE","CreationTime":1767323075.123,"SingleMasterConfiguration":{"MessageTtlSeconds":60},"Version":"bQ9NQnvAUVdoQFFM1234"}"#;

/// The text that a writer appends, after a check that it is JSON and that the bytes before it are untouched.
fn written(write: impl FnOnce(&mut Vec<u8>)) -> String {
    let mut out = b"before".to_vec();
    write(&mut out);
    let text = std::str::from_utf8(&out)
        .expect("UTF-8")
        .strip_prefix("before")
        .expect("appended")
        .to_owned();
    serde_json::from_str::<serde_json::Value>(&text).expect("JSON");
    text
}

#[test]
fn create_names_the_channel() {
    let found = written(|out| create(out, ARN));
    assert_eq!(found, format!(r#"{{"ChannelARN":"{ARN}"}}"#));
}

#[test]
fn describe_keeps_the_order_that_the_c_sdk_reads() {
    let found = written(|out| describe(out, &INFO));
    assert_eq!(found, format!(r#"{{"ChannelInfo":{INFO_TEXT}}}"#));
    let deleting = ChannelInfo {
        status: ChannelStatus::Deleting,
        created_ms: 5,
        ttl_seconds: 120,
        ..INFO
    };
    let text = written(|out| describe(out, &deleting));
    assert!(text.contains(r#""ChannelStatus":"DELETING","CreationTime":0.005,"SingleMasterConfiguration":{"MessageTtlSeconds":120}"#));
}

#[test]
fn list_has_a_token_only_when_more_follows() {
    let found = written(|out| list(out, [], None));
    assert_eq!(found, r#"{"ChannelInfoList":[]}"#);
    let found = written(|out| list(out, [INFO], None));
    assert_eq!(found, format!(r#"{{"ChannelInfoList":[{INFO_TEXT}]}}"#));
    let token = page_token("demo");
    let wanted =
        format!(r#"{{"ChannelInfoList":[{INFO_TEXT},{INFO_TEXT}],"NextToken":"ZGVtbw=="}}"#);
    assert_eq!(written(|out| list(out, [INFO, INFO], Some(&token))), wanted);
}

#[test]
fn every_status_has_its_word() {
    let word = |status| {
        let info = ChannelInfo { status, ..INFO };
        let value: serde_json::Value =
            serde_json::from_str(&written(|out| describe(out, &info))).expect("JSON");
        value["ChannelInfo"]["ChannelStatus"].clone()
    };
    assert_eq!(word(ChannelStatus::Creating), "CREATING");
    assert_eq!(word(ChannelStatus::Active), "ACTIVE");
    assert_eq!(word(ChannelStatus::Updating), "UPDATING");
    assert_eq!(word(ChannelStatus::Deleting), "DELETING");
}

#[test]
fn tags_are_a_map() {
    let tag = |key: &str, value: &str| Tag {
        key: key.into(),
        value: value.into(),
    };
    assert_eq!(written(|out| list_tags(out, &[])), r#"{"Tags":{}}"#);
    let tags = [tag("env", "dev"), tag("é:/", ""), tag("a", "a=b")];
    let found = written(|out| list_tags(out, &tags));
    assert_eq!(found, r#"{"Tags":{"env":"dev","é:/":"","a":"a=b"}}"#);
}

#[test]
fn nothing_is_stored() {
    assert_eq!(
        written(describe_media_storage),
        r#"{"MediaStorageConfiguration":{"StreamARN":null,"Status":"DISABLED"}}"#
    );
    let found = written(describe_mapped_resource);
    assert_eq!(found, r#"{"MappedResourceConfigurationList":[]}"#);
}

#[test]
fn endpoints_come_in_the_order_given() {
    assert_eq!(
        written(|out| endpoint(
            out,
            &[
                (Protocol::Wss, "wss://localhost:8443"),
                (Protocol::Https, "https://localhost:8443")
            ]
        )),
        r#"{"ResourceEndpointList":[{"Protocol":"WSS","ResourceEndpoint":"wss://localhost:8443"},{"Protocol":"HTTPS","ResourceEndpoint":"https://localhost:8443"}]}"#
    );
    let found = written(|out| endpoint(out, &[]));
    assert_eq!(found, r#"{"ResourceEndpointList":[]}"#);
}

#[test]
fn ice_members_are_in_the_order_of_aws() {
    let uris = [
        "turn:t.example:443?transport=udp".to_owned(),
        "turns:t.example:443?transport=tcp".to_owned(),
    ];
    let stun = ["stun:localhost:3478".to_owned()];
    let turn = IceServer {
        password: "a+/=",
        ttl_seconds: 300,
        uris: &uris,
        username: "1767323375:v1",
    };
    let none = IceServer {
        password: "none",
        ttl_seconds: 86_400,
        uris: &stun,
        username: "0:none",
    };
    assert_eq!(
        written(|out| ice(out, &[turn, none])),
        concat!(
            r#"{"IceServerList":[{"Password":"a+/=","Ttl":300,"Uris":["turn:t.example:443?transport=udp","turns:t.example:443?transport=tcp"],"Username":"1767323375:v1"},"#,
            r#"{"Password":"none","Ttl":86400,"Uris":["stun:localhost:3478"],"Username":"0:none"}]}"#
        )
    );
}

#[test]
fn alexa_responses_have_an_answer_or_null() {
    let found = written(|out| alexa(out, Some("eyJ0==")));
    assert_eq!(found, r#"{"Answer":"eyJ0=="}"#);
    assert_eq!(written(|out| alexa(out, None)), r#"{"Answer":null}"#);
}

#[test]
fn what_needs_escapes_gets_them() {
    let odd = "quote \" back \\ line \n bell \u{7} é 中";
    let text = written(|out| error_body(out, Some(Operation::GetIceServerConfig), odd));
    let value: serde_json::Value = serde_json::from_str(&text).expect("JSON");
    assert_eq!(value["Message"], odd);
    let text = written(|out| describe(out, &ChannelInfo { name: odd, ..INFO }));
    let value: serde_json::Value = serde_json::from_str(&text).expect("JSON");
    assert_eq!(value["ChannelInfo"]["ChannelName"], odd);
}

#[test]
fn what_the_c_sdk_reads_stays_within_its_limits() {
    // It keeps 10 KiB of a body and parses at most 100 JSON tokens.
    let (name, arn) = ("n".repeat(256), "a".repeat(1024));
    let longest = ChannelInfo {
        name: &name,
        arn: &arn,
        ..INFO
    };
    assert!(written(|out| describe(out, &longest)).len() < 2 * 1024);
}
