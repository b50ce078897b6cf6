use super::*;
use crate::auth::{
    Grant, GrantHolder, GrantRoot, NONCE_BYTES, RoleGrant, SessionKeys, SignIn, ThingIdentity,
    Vouched,
};
use codec::sts::{AssumeRole, RoleArn};

const NOW: u64 = 1_800_000_000;

fn shown(fingerprint: u8) -> ShownCertificate {
    ShownCertificate {
        fingerprint: [fingerprint; 32],
        numbers: [u64::from(fingerprint)].into(),
        not_before_s: NOW - 10,
        not_after_s: NOW + 10,
        vouched: Err("no authority knows it".into()),
    }
}

fn vouched(fingerprint: u8, authority: u8, name: &str) -> ShownCertificate {
    let vouched = Certified {
        authority: [authority; 32],
        name: name.into(),
    };
    ShownCertificate {
        vouched: Ok(vouched),
        ..shown(fingerprint)
    }
}

fn policy(text: &str) -> Arc<Policy> {
    Arc::new(Policy::parse(text).unwrap().named("iot"))
}

fn things() -> Things {
    let mut registry = DeviceRegistry::new(6);
    registry.add([3; 32], ("cam-3", None), false, None).unwrap();
    registry
        .add([1; 32], ("cam-1", Some("camera")), false, None)
        .unwrap();
    registry
        .add([1; 32], ("bell-1", None), false, None)
        .unwrap();
    registry.add([2; 32], ("cam-2", None), true, None).unwrap();
    registry.switch_off("cam-3").unwrap();
    registry.switch_off("plant-9").unwrap();
    let full = registry.add([4; 32], ("cam-4", None), false, None);
    assert_eq!(full, Err(DeviceRegistryError::TooMany(6)));
    let authority = ThingAuthority {
        key: [7; 32],
        names: Some("plant-*".into()),
        revoked: Some(1),
        policies: Box::default(),
        subject: "CN=plant".into(),
        ends_s: NOW,
        list_ends_s: None,
    };
    Things {
        hosts: Box::default(),
        policies: Box::default(),
        registry: registry.finish(false),
        authorities: [authority].into(),
        revoked: [5].into(),
        sign_ins: SignIns::default(),
    }
}

/// The thing and the type that a certificate identifies, or the reason why the certificate is refused.
type Told = Result<(Option<String>, Option<String>), String>;

fn who(things: &Things, shown: &ShownCertificate, wanted: Option<&str>, now_s: u64) -> Told {
    let identified = things.identify(shown, wanted, now_s);
    identified
        .map(|it| (it.name.map(str::to_owned), it.thing_type.map(str::to_owned)))
        .map_err(|refusal| refusal.to_string())
}

fn is(name: &str, thing_type: Option<&str>) -> Told {
    Ok((Some(name.to_owned()), thing_type.map(str::to_owned)))
}

const NOT_ITS_NAME: &str = "the certificate does not belong to the thing that was named";
const REVOKED: &str = "the certificate is revoked";
const INACTIVE: &str = "the certificate is inactive in the registry";
const SWITCHED_OFF: &str = "the thing is inactive in the registry";

#[test]
fn a_certificate_stands_for_its_own_things_alone() {
    let things = things();
    let told = |byte, wanted, now_s| who(&things, &shown(byte), wanted, now_s);
    assert_eq!(told(1, Some("cam-1"), NOW), is("cam-1", Some("camera")));
    assert_eq!(told(1, Some("bell-1"), NOW), is("bell-1", None));
    assert_eq!(told(1, None, NOW), Ok((None, None)));
    #[rustfmt::skip] // a table, a case per row
    let cases = [
        (1, Some("cam-2"), NOW, NOT_ITS_NAME),
        (1, Some("cam-1"), NOW + 11, "the certificate has expired"),
        (1, Some("cam-1"), NOW - 11, "the certificate is not valid before"),
        (2, Some("cam-2"), NOW, INACTIVE),
        (2, None, NOW, INACTIVE),
        (3, Some("cam-3"), NOW, SWITCHED_OFF),
        (3, None, NOW, SWITCHED_OFF),
    ];
    for (byte, wanted, now_s, why) in cases {
        let refused = told(byte, wanted, now_s).unwrap_err();
        assert!(refused.starts_with(why), "{byte}: {refused}");
    }
    let unknown = "the certificate is not in the registry, and no authority knows it";
    assert_eq!(told(9, None, NOW), Err(unknown.to_owned()));
}

#[test]
fn an_authority_vouches_for_the_names_that_it_may_give() {
    let things = things();
    let told =
        |byte, authority, name, wanted| who(&things, &vouched(byte, authority, name), wanted, NOW);
    assert_eq!(told(9, 7, "plant-1", Some("plant-1")), is("plant-1", None));
    assert_eq!(told(9, 7, "plant-1", None), Ok((None, None)));
    let foreign = "the certificate's authority may not certify the name cam-1";
    let strange =
        "the certificate is not in the registry, and no authority of this server issued it";
    for (byte, authority, name, wanted, why) in [
        (2, 7, "plant-1", None, INACTIVE),
        (9, 7, "plant-9", None, SWITCHED_OFF),
        (9, 7, "plant-1", Some("plant-2"), NOT_ITS_NAME),
        (9, 7, "cam-1", None, foreign),
        (9, 8, "plant-1", None, strange),
        (5, 7, "plant-1", None, REVOKED),
    ] {
        let refused = told(byte, authority, name, wanted).unwrap_err();
        assert!(refused.starts_with(why), "{name}: {refused}");
    }
}

/// Returns the identity for which keys were issued. `vouched` holds the authority, the certificate's number and the
/// name in the certificate.
fn keys(fingerprint: u8, name: Option<&str>, vouched: Option<(u8, u64, &str)>) -> ThingIdentity {
    ThingIdentity {
        certificate: [fingerprint; 32],
        numbers: vec![vouched.map_or(0, |(_, number, _)| number)],
        name: name.map(Into::into),
        thing_type: None,
        alias: "camera".into(),
        grounds: 0,
        authority: vouched.map(|(key, _, own)| Vouched {
            authority: [key; 32],
            unnamed: name.is_none().then(|| own.into()),
        }),
    }
}

#[test]
fn keys_end_with_their_certificate_name_and_authority() {
    let things = things();
    let listed = |byte, name| things.knows(&keys(byte, name, None));
    assert!(listed(1, Some("cam-1")) && listed(1, None));
    assert!(!listed(1, Some("cam-2")));
    assert!(!listed(2, Some("cam-2")) && !listed(2, None));
    assert!(!listed(3, Some("cam-3")) && !listed(3, None));
    assert!(!listed(9, None));
    let by = |key, number, own| {
        let named = things.knows(&keys(9, Some(own), Some((key, number, own))));
        let unnamed = things.knows(&keys(9, None, Some((key, number, own))));
        assert_eq!(named, unnamed, "{own}: the name in the certificate counts");
        named
    };
    assert!(by(7, 1, "plant-1"));
    assert!(!by(7, 5, "plant-1"), "revoked");
    assert!(!by(7, 1, "plant-9") && !by(7, 1, "cam-1") && !by(8, 1, "plant-1"));
    assert!(!things.knows(&keys(2, Some("plant-1"), Some((7, 1, "plant-1")))));
}

#[test]
fn a_list_that_revokes_wins_over_the_registry() {
    let mut things = things();
    let thing = keys(1, Some("cam-1"), None);
    let own = ThingIdentity {
        numbers: vec![1],
        ..thing
    };
    assert!(things.knows(&own));
    let found = who(&things, &shown(1), Some("cam-1"), NOW);
    assert_eq!(found, is("cam-1", Some("camera")));
    things.revoked = [1].into();
    let refused = who(&things, &shown(1), Some("cam-1"), NOW).unwrap_err();
    assert!(refused.starts_with(REVOKED), "{refused}");
    assert!(!things.knows(&own), "keys that were given before");
    // Another certificate in the chain may be revoked, such as that of the authority that signed the device's
    // certificate.
    let mut behind = shown(3);
    behind.numbers = [3, 1].into();
    let refused = who(&things, &behind, None, NOW).unwrap_err();
    assert!(refused.starts_with(REVOKED), "{refused}");
}

#[test]
fn policies_as_guides_print_them_decide_who_may_use_an_alias() {
    let guide = policy(
        r#"{"Version":"2012-10-17","Statement":[
            {"Effect":"Allow","Action":["iot:Connect"],"Resource":"arn:aws:iot:us-west-2:123456789012:rolealias/camera"},
            {"Effect":"Allow","Action":["iot:AssumeRoleWithCertificate"],
             "Resource":"arn:aws:iot:us-west-2:123456789012:rolealias/camera"}]}"#,
    );
    let by_name = policy(
        r#"{"Version":"2012-10-17","Statement":{"Effect":"Allow","Action":"iot:AssumeRole*",
            "Resource":"arn:aws:iot:*:*:rolealias/${iot:Connection.Thing.ThingName}",
            "Condition":{"StringEquals":{"credentials-iot:ThingTypeName":"camera"}}}}"#,
    );
    let others =
        policy(r#"{"Statement":{"Effect":"Allow","Action":"iot:Publish","Resource":"*"}}"#);
    let origin = ([127, 0, 0, 1].into(), NOW);
    let certificate = shown(1);
    let mut things = things();
    for (policy, wanted, alias, decision) in [
        (&guide, None, "camera", Decision::Allow),
        (&guide, None, "other", Decision::NoMatch),
        (&others, None, "camera", Decision::NoMatch),
        (&by_name, Some("cam-1"), "cam-1", Decision::Allow),
        (&by_name, Some("bell-1"), "bell-1", Decision::NoMatch),
        (&by_name, None, "cam-1", Decision::NoMatch),
    ] {
        things.policies = [Arc::clone(policy)].into();
        let thing = things.identify(&certificate, wanted, NOW).unwrap();
        let arn = alias_arn("us-west-2", "123456789012", alias);
        let found = thing.may_use(&arn, origin, &mut 0).0;
        assert_eq!(found, decision, "{wanted:?} {alias}");
    }
}

#[test]
fn names_of_an_authority_are_a_pattern() {
    for (name, pattern, is) in [
        ("plant2-1", "plant2-*", true),
        ("plant2-", "plant2-*", true),
        ("plant1-1", "plant2-*", false),
        ("a-cam", "*-cam", true),
        ("a-b-cam-1", "a*b*1", true),
        ("ab1", "a*b*1", true),
        ("a1", "a*1*1", false),
        ("x", "*", true),
        ("x", "x", true),
        ("xy", "x", false),
    ] {
        assert_eq!(is_like(name, pattern), is, "{name} {pattern}");
    }
}

/// The C SDK stores tokens of up to 2,048 characters.
#[test]
fn the_longest_names_make_a_token_that_devices_can_keep() {
    let longest = |bytes: usize| Box::<str>::from("x".repeat(bytes));
    let sign_in = SignIn::Thing(ThingIdentity {
        certificate: [0xff; 32],
        numbers: vec![u64::MAX; 5],
        name: Some(longest(128)),
        thing_type: Some(longest(128)),
        alias: longest(128),
        grounds: u64::MAX,
        authority: Some(Vouched {
            authority: [0xff; 32],
            unnamed: None,
        }),
    });
    let role = format!("arn:aws:iam::123456789012:role/{}", longest(64));
    let request = AssumeRole::new(RoleArn::parse(&role).unwrap(), &longest(64));
    let grant = Grant {
        root: GrantRoot::SignIn(sign_in),
        holder: GrantHolder::Role(RoleGrant::of(&request)),
        issued_s: Some(NOW),
        expires_s: NOW + 43_200,
    };
    let keys = SessionKeys::new(&[1; 32], None);
    let sealed = keys.seal(&[0; NONCE_BYTES], &grant, "").unwrap();
    let characters = sealed.session_token.reveal().len();
    assert!(characters <= 2048, "{characters}");
}
