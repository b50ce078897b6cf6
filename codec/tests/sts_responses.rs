//! STS answers: exact text, in the order of the API Reference's examples.

use codec::sts::{
    CallerIdentity, ErrorKind, FederationToken, caller_identity, error_body, federation_token,
};

const TOKEN: FederationToken<'_> = FederationToken {
    access_key_id: "ASIAIOSFODNN7EXAMPLE",
    secret_access_key: "wJalrXUtnFEMI/K7MDENG/bPxRfiCYzEXAMPLEKEY",
    session_token: "AQoDYXdzEPT//////////wEXAMPLE==",
    expires_s: 1_767_323_045,
    user_arn: "arn:aws:sts::123456789012:federated-user/bob",
    user_id: "123456789012:bob",
    packed_policy_percent: 6,
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
    assert!(!shown.contains(TOKEN.secret_access_key) && !shown.contains(TOKEN.session_token));
}

#[test]
fn an_error_names_whose_fault_it_is() {
    for (kind, start) in [
        (
            ErrorKind::MalformedPolicyDocument,
            "<Error><Type>Sender</Type><Code>MalformedPolicyDocument</Code>",
        ),
        (
            ErrorKind::ServiceUnavailable,
            "<Error><Type>Receiver</Type><Code>ServiceUnavailable</Code>",
        ),
    ] {
        let text = written(|out| error_body(out, kind, "No.", "id-3"));
        assert!(text.contains(start), "{text}");
        assert!(text.ends_with(
            "<Message>No.</Message></Error><RequestId>id-3</RequestId></ErrorResponse>"
        ));
    }
}
