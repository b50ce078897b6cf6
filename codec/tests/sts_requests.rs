//! STS requests: what botocore sends is understood, every bound holds on both of its sides, and what could change the
//! rights of credentials is never ignored.

use crate::repeated::repeated;
use codec::sts::{Error, FormRules, Request, is_form, parse};

const FED: &str = "Action=GetFederationToken&Version=2011-06-15";

const ROLE: &str =
    "Action=AssumeRole&Version=2011-06-15&RoleArn=arn:aws:iam::123456789012:role/camera";

fn request(body: &str) -> Result<Request, Error> {
    parse(body.as_bytes(), &FormRules::default())
}

#[test]
fn every_bound_holds_on_both_sides() {
    let mut rows = 0;
    for line in include_str!("data/sts_verdicts.txt").lines() {
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let (body, expected) = line.split_once(" => ").unwrap();
        let (strict, body) = match body.strip_prefix("strict ") {
            Some(body) => (true, body),
            None => (false, body),
        };
        let verdict = match parse(expand(body).as_bytes(), &FormRules { strict }) {
            Ok(_) => "ok".to_owned(),
            Err(error) => {
                assert_eq!(error.kind.status(), 400, "{line}");
                format!("{}: {}", error.kind.code(), error.message)
            }
        };
        let agrees = verdict == expected || (expected != "ok" && verdict.starts_with(expected));
        assert!(agrees, "{line}\n  got {verdict}");
        rows += 1;
    }
    assert_eq!(rows, ROWS);
}

#[test]
fn a_federation_token_is_requested_with_all_members() {
    let body = "Action=GetFederationToken&Version=2011-06-15&Name=a%2Bb&DurationSeconds=0900&\
                Policy=%7B+%22a%22%3A%221%2B2%22%7D";
    let expected = Request::GetFederationToken {
        name: "a+b".into(),
        policy: Some("{ \"a\":\"1+2\"}".into()),
        duration_s: 900,
    };
    assert_eq!(request(body), Ok(expected));
    let found = request("Name=bob&Version=2011-06-15&Action=GetFederationToken");
    let wanted = Ok(Request::GetFederationToken {
        name: "bob".into(),
        policy: None,
        duration_s: 3_600,
    });
    assert_eq!(found, wanted);
}

#[test]
fn a_role_is_requested_with_all_members() {
    let body = format!(
        "{ROLE}&RoleSessionName=s1&DurationSeconds=900&Policy=%7B%7D&ExternalId=x/1&SourceIdentity=ops&\
         Tags.member.2.Key=b&Tags.member.2.Value=2&Tags.member.1.Key=a&Tags.member.1.Value=1+1&\
         TransitiveTagKeys.member.1=b&PolicyArns.member.1.arn=arn:aws:iam::123456789012:policy/p"
    );
    let Ok(Request::AssumeRole(request)) = request(&body) else {
        panic!("{:?}", request(&body));
    };
    let found = (request.role.account(), request.role.name());
    assert_eq!(found, ("123456789012", "camera"));
    let tags: Vec<_> = request
        .tags
        .iter()
        .map(|tag| (&*tag.key, &*tag.value))
        .collect();
    assert_eq!(tags, [("a", "1 1"), ("b", "2")]);
    assert_eq!(request.transitive_tag_keys, ["b"].map(Box::<str>::from));
    let found = (request.duration_s, request.external_id.as_deref());
    assert_eq!(found, (Some(900), Some("x/1")));
    let found = (
        request.source_identity.as_deref(),
        request.policy_arns.len(),
    );
    assert_eq!(found, (Some("ops"), 1));
}

#[test]
fn requests_know_their_names() {
    #[rustfmt::skip] // a table, a case per row
    let cases = [
        (format!("{FED}&Name=bob"), "GetFederationToken"),
        (format!("{ROLE}&RoleSessionName=s1"), "AssumeRole"),
        ("Action=GetSessionToken&Version=2011-06-15".to_owned(), "GetSessionToken"),
        ("Action=GetCallerIdentity&Version=2011-06-15".to_owned(), "GetCallerIdentity"),
    ];
    for (body, name) in cases {
        let request = request(&body).unwrap();
        assert_eq!(request.name(), name);
    }
}

#[test]
fn bytes_that_are_no_text_are_refused() {
    let mut body = format!("{FED}&Name=bob&Policy=").into_bytes();
    body.push(0xff);
    let error = parse(&body, &FormRules::default()).unwrap_err();
    assert_eq!(error.message, "The request body is not UTF-8.");
}

#[test]
fn forms_are_known_by_their_type() {
    for (content_type, form) in [
        ("application/x-www-form-urlencoded", true),
        ("application/x-www-form-urlencoded; charset=utf-8", true),
        (
            " Application/X-WWW-Form-UrlEncoded ;charset=\"utf-8\"",
            true,
        ),
        ("application/json", false),
        ("text/plain; application/x-www-form-urlencoded", false),
        ("application/x-www-form-urlencodedx", false),
        ("", false),
    ] {
        assert_eq!(is_form(content_type), form, "{content_type}");
    }
}

/// The exchanges of the transcript: a line lost by accident is noticed.
const ROWS: usize = 102;

/// `@FED`, `@ID` and `<text*times>` written out.
fn expand(body: &str) -> String {
    repeated(body)
        .replace("@FED", FED)
        .replace("@ROLE", ROLE)
        .replace("@ASSUME", "Action=AssumeRole&Version=2011-06-15")
        .replace("@ID", "Action=GetCallerIdentity&Version=2011-06-15")
}

#[test]
fn a_token_of_a_provider_is_taken_and_never_shown() {
    let form = "Action=AssumeRoleWithWebIdentity&Version=2011-06-15&RoleSessionName=app&\
                RoleArn=arn:aws:iam::123456789012:role/viewer";
    let body = format!(
        "{form}&WebIdentityToken=a.b.c&DurationSeconds=900&PolicyArns.member.1.arn=arn:aws:iam::123456789012:policy/p"
    );
    assert!(codec::sts::is_web_identity(body.as_bytes()));
    let asked = request(&body).unwrap();
    assert!(!format!("{asked:?}").contains("a.b.c"));
    let Request::AssumeRoleWithWebIdentity(asked) = asked else {
        panic!("{asked:?}");
    };
    assert_eq!(asked.token.reveal(), "a.b.c");
    let found = (&*asked.role.session_name, asked.role.duration_s);
    assert_eq!(found, ("app", Some(900)));
    assert_eq!(asked.role.role.name(), "viewer");
    #[rustfmt::skip] // a table, a case per row
    let rows = [
        (String::new(), "Value null at 'webIdentityToken'"),
        ("&WebIdentityToken=abc".into(), "webIdentityToken"),
        (format!("&WebIdentityToken={}", "x".repeat(20_001)), "webIdentityToken"),
        ("&WebIdentityToken=a.b.c&ProviderId=www.amazon.com".into(), "ProviderId is for"),
        ("&WebIdentityToken=a.b.c&Tags.member.1.Key=a&Tags.member.1.Value=b".into(), "not known to this action"),
        ("&WebIdentityToken=a.b.c&ExternalId=xy".into(), "not known to this action"),
        ("&WebIdentityToken=a.b.c&WebIdentityToken=a.b.d".into(), "twice"),
    ];
    for (more, wanted) in rows {
        let error = request(&format!("{form}{more}")).unwrap_err();
        assert!(error.message.contains(wanted), "{more}: {}", error.message);
    }
    #[rustfmt::skip] // a list
    let cases = ["", "Action=AssumeRole", "Action=AssumeRoleWithWebIdentity&Action=AssumeRole", "%"];
    for other in cases {
        assert!(!codec::sts::is_web_identity(other.as_bytes()), "{other}");
    }
}
