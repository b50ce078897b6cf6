//! STS answers: exact text, in the order of the API Reference's examples.

use codec::sts::{
    CallerIdentity, ErrorKind, Granted, Keys, WebIdentity, assumed_role, caller_identity,
    error_body, federation_token, session_token, web_identity,
};

const KEYS: Keys<'_> = Keys {
    access_key_id: "ASIAIOSFODNN7EXAMPLE",
    secret_access_key: "wJalrXUtnFEMI/K7MDENG/bPxRfiCYzEXAMPLEKEY",
    session_token: "AQoDYXdzEPT//////////wEXAMPLE==",
    expires_s: 1_767_323_045,
};

const TOKEN: Granted<'_> = Granted {
    keys: KEYS,
    arn: "arn:aws:sts::123456789012:federated-user/bob",
    id: "123456789012:bob",
    packed_policy_percent: 6,
    source_identity: None,
};

fn written(write: impl FnOnce(&mut Vec<u8>)) -> String {
    let mut out = b"before".to_vec();
    write(&mut out);
    let text = String::from_utf8(out).expect("UTF-8");
    text.strip_prefix("before").expect("appended").to_owned()
}

#[test]
fn a_federation_token_is_written_whole() {
    assert_eq!(
        written(|out| federation_token(out, &TOKEN, "id-1")),
        concat!(
            r#"<GetFederationTokenResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><GetFederationTokenResult>"#,
            "<Credentials><AccessKeyId>ASIAIOSFODNN7EXAMPLE</AccessKeyId>",
            "<SecretAccessKey>wJalrXUtnFEMI/K7MDENG/bPxRfiCYzEXAMPLEKEY</SecretAccessKey>",
            "<SessionToken>AQoDYXdzEPT//////////wEXAMPLE==</SessionToken>",
            "<Expiration>2026-01-02T03:04:05Z</Expiration></Credentials>",
            "<FederatedUser><FederatedUserId>123456789012:bob</FederatedUserId>",
            "<Arn>arn:aws:sts::123456789012:federated-user/bob</Arn></FederatedUser>",
            "<PackedPolicySize>6</PackedPolicySize></GetFederationTokenResult>",
            "<ResponseMetadata><RequestId>id-1</RequestId></ResponseMetadata></GetFederationTokenResponse>",
        )
    );
}

#[test]
fn sessions_are_written_whole() {
    let role = Granted {
        keys: KEYS,
        arn: "arn:aws:sts::123456789012:assumed-role/camera/front-door",
        id: "AROAABCDEFGHIJKLMNOP:front-door",
        packed_policy_percent: 7,
        source_identity: Some("ops&co"),
    };
    let keys = concat!(
        "<Credentials><AccessKeyId>ASIAIOSFODNN7EXAMPLE</AccessKeyId>",
        "<SecretAccessKey>wJalrXUtnFEMI/K7MDENG/bPxRfiCYzEXAMPLEKEY</SecretAccessKey>",
        "<SessionToken>AQoDYXdzEPT//////////wEXAMPLE==</SessionToken>",
        "<Expiration>2026-01-02T03:04:05Z</Expiration></Credentials>",
    );
    assert_eq!(
        written(|out| assumed_role(out, &role, "id-1")),
        format!(
            "<AssumeRoleResponse xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\"><AssumeRoleResult>{keys}\
             <AssumedRoleUser><AssumedRoleId>AROAABCDEFGHIJKLMNOP:front-door</AssumedRoleId>\
             <Arn>arn:aws:sts::123456789012:assumed-role/camera/front-door</Arn></AssumedRoleUser>\
             <PackedPolicySize>7</PackedPolicySize><SourceIdentity>ops&amp;co</SourceIdentity></AssumeRoleResult>\
             <ResponseMetadata><RequestId>id-1</RequestId></ResponseMetadata></AssumeRoleResponse>"
        )
    );
    assert_eq!(
        written(|out| session_token(out, &KEYS, "id-1")),
        format!(
            "<GetSessionTokenResponse xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\"><GetSessionTokenResult>{keys}\
             </GetSessionTokenResult><ResponseMetadata><RequestId>id-1</RequestId></ResponseMetadata>\
             </GetSessionTokenResponse>"
        )
    );
}

#[test]
fn a_caller_is_written_whole() {
    let caller = CallerIdentity {
        user_id: "AIDA&1",
        account: "123456789012",
        arn: "arn:aws:iam::123456789012:user/<ops>",
    };
    assert_eq!(
        written(|out| caller_identity(out, &caller, "id-2")),
        concat!(
            r#"<GetCallerIdentityResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><GetCallerIdentityResult>"#,
            "<Arn>arn:aws:iam::123456789012:user/&lt;ops&gt;</Arn><UserId>AIDA&amp;1</UserId>",
            "<Account>123456789012</Account></GetCallerIdentityResult>",
            "<ResponseMetadata><RequestId>id-2</RequestId></ResponseMetadata></GetCallerIdentityResponse>",
        )
    );
}

#[test]
fn secrets_are_not_shown() {
    let shown = format!("{TOKEN:?}");
    assert!(shown.contains("ASIAIOSFODNN7EXAMPLE"));
    assert!(!shown.contains(KEYS.secret_access_key) && !shown.contains(KEYS.session_token));
}

#[test]
fn an_error_names_whose_fault_it_is() {
    #[rustfmt::skip] // a table, a case per row
    let cases = [
        (ErrorKind::MalformedPolicyDocument, "<Error><Type>Sender</Type><Code>MalformedPolicyDocument</Code>"),
        (ErrorKind::ServiceUnavailable, "<Error><Type>Receiver</Type><Code>ServiceUnavailable</Code>"),
    ];
    for (kind, start) in cases {
        let text = written(|out| error_body(out, kind, "No.", "id-3"));
        assert!(text.contains(start), "{text}");
        assert!(text.ends_with(
            "<Message>No.</Message></Error><RequestId>id-3</RequestId></ErrorResponse>"
        ));
    }
}

#[test]
fn a_web_identity_is_written_whole() {
    let role = Granted {
        arn: "arn:aws:sts::123456789012:assumed-role/viewer/app",
        id: "AROAABCDEFGHIJKLMNOP:app",
        ..TOKEN
    };
    let identity = WebIdentity {
        subject: "alice<&>",
        audience: "home-app",
        provider: "https://id.example.com/realms/home",
    };
    assert_eq!(
        written(|out| web_identity(out, &role, &identity, "id-1")),
        concat!(
            r#"<AssumeRoleWithWebIdentityResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/">"#,
            "<AssumeRoleWithWebIdentityResult>",
            "<SubjectFromWebIdentityToken>alice&lt;&amp;&gt;</SubjectFromWebIdentityToken>",
            "<Audience>home-app</Audience>",
            "<Credentials><AccessKeyId>ASIAIOSFODNN7EXAMPLE</AccessKeyId>",
            "<SecretAccessKey>wJalrXUtnFEMI/K7MDENG/bPxRfiCYzEXAMPLEKEY</SecretAccessKey>",
            "<SessionToken>AQoDYXdzEPT//////////wEXAMPLE==</SessionToken>",
            "<Expiration>2026-01-02T03:04:05Z</Expiration></Credentials>",
            "<AssumedRoleUser><AssumedRoleId>AROAABCDEFGHIJKLMNOP:app</AssumedRoleId>",
            "<Arn>arn:aws:sts::123456789012:assumed-role/viewer/app</Arn></AssumedRoleUser>",
            "<PackedPolicySize>6</PackedPolicySize><Provider>https://id.example.com/realms/home</Provider>",
            "</AssumeRoleWithWebIdentityResult>",
            "<ResponseMetadata><RequestId>id-1</RequestId></ResponseMetadata></AssumeRoleWithWebIdentityResponse>",
        )
    );
}
