use super::*;
use crate::auth::fixtures::{self, ACCOUNT};
use crate::auth::sign_in::{SignIn, WebIdentity};
use crate::auth::{policy_question::PolicyQuestion, principal::Role, session::SessionKeyId};
use codec::policy::{Action, Policy};

const ALLOW: &str =
    r#"{"Statement": {"Effect": "Allow", "Action": "kinesisvideo:*", "Resource": "*"}}"#;
const REVOKED: &str = r#"{"Version": "2012-10-17", "Statement": [{"Effect": "Deny", "Action": ["*"],
    "Resource": ["*"], "Condition": {"DateLessThan": {"aws:TokenIssueTime": "1970-01-01T00:01:40.000Z"}}}]}"#;
const AGENT: &str = r#"{"Statement": {"Effect": "Allow", "Action": "*", "Resource": "*",
    "Condition": {"StringEquals": {"aws:UserAgent": "app"}}}}"#;
const NOW_S: u64 = 1000;

fn principal(name: &str, secret: &str, texts: &[&str]) -> Principal {
    Principal {
        secret: secret.into(),
        ..fixtures::principal(name, texts)
    }
}

fn role(name: &str, texts: &[&str]) -> Role {
    let trust = format!(
        r#"{{"Statement": {{"Effect": "Allow", "Action": "sts:AssumeRole",
            "Principal": {{"AWS": "arn:aws:iam::{ACCOUNT}:user/root"}}}}}}"#
    );
    fixtures::role(name, texts, &trust)
}

fn file(principals: Vec<Principal>, roles: Vec<Role>) -> Credentials {
    let file = Credentials::new(principals);
    let own = Policy::parse(ALLOW).unwrap().named("bound");
    file.with_roles(roles, [Arc::new(own)])
}

/// Returns a session of the role `app`, issued at second 50. The role was assumed via the role `hub`, and the session
/// policy `bound` restricts it.
fn session(key_id: &str) -> Caller {
    session_from(
        key_id,
        Root::Principal(Arc::new(principal("root", "secret", &[]))),
    )
}

fn session_from(key_id: &str, root: Root) -> Caller {
    let session = RoleSession {
        root,
        via: vec!["hub".into()],
        ..fixtures::role_session(role("app", &[ALLOW]))
    };
    let bound = Policy::parse(ALLOW).unwrap().named("bound");
    let scope = SessionScope::Within(vec![Arc::new(bound)]);
    let session = Session {
        key_id: SessionKeyId::of(key_id),
        ..fixtures::session(Source::Role(session), scope)
    };
    Caller::session(session.into(), None)
}

/// Looks the caller up again and returns whether it may connect.
fn again(held: &HeldCaller, credentials: &Credentials) -> Result<bool, Gone> {
    let mut sessions = SharedSessions::default();
    asked(held, credentials, &mut sessions).map(|caller| may(&caller))
}

fn asked(
    held: &HeldCaller,
    credentials: &Credentials,
    sessions: &mut SharedSessions,
) -> Result<Caller, Gone> {
    let mut now = InForce {
        credentials,
        sessions,
        region: None,
        now_s: NOW_S,
    };
    let origin = Origin {
        address: [127, 0, 0, 1].into(),
        tls: true,
        asked_s: NOW_S,
        headers: None,
    };
    held.again(&mut now, origin)
}

fn may(caller: &Caller) -> bool {
    let question = PolicyQuestion::new(Action::ConnectAsMaster, "*");
    caller.decide(&question).denied.is_none()
}

#[test]
fn a_principal_is_found_by_its_key_and_secret() {
    let of = |principal: Principal| file(vec![principal], Vec::new());
    let held = Caller::principal(Arc::new(principal("a", "1", &[ALLOW])), None);
    let held = held.held().unwrap();
    assert_eq!(again(&held, &of(principal("a", "1", &[ALLOW]))), Ok(true));
    assert_eq!(again(&held, &of(principal("a", "1", &[]))), Ok(false));
    let gone = Err(Gone::Key("a".into()));
    let with = |change: &dyn Fn(&mut Principal)| {
        let mut changed = principal("a", "1", &[ALLOW]);
        change(&mut changed);
        again(&held, &of(changed))
    };
    assert_eq!(again(&held, &of(principal("b", "1", &[ALLOW]))), gone);
    assert_eq!(with(&|it| it.secret = "2".into()), gone);
    assert_eq!(with(&|it| it.session_token = Some("t".into())), gone);
    assert_eq!(with(&|it| it.account = "999999999999".into()), gone);
    assert_eq!(with(&|it| it.expires_s = Some(NOW_S)), gone);
    assert_eq!(with(&|it| it.expires_s = Some(NOW_S + 1)), Ok(true));
    // An expiry that the principal already had when it connected was known then.
    let mut ends = principal("a", "1", &[ALLOW]);
    ends.expires_s = Some(NOW_S - 1);
    let held = Caller::principal(Arc::new(ends.clone()), None)
        .held()
        .unwrap();
    assert_eq!(again(&held, &of(ends)), Ok(true));
    assert!(Caller::anyone(ACCOUNT).held().is_none());
}

#[test]
fn a_session_hangs_on_all_that_it_names() {
    let root = || vec![principal("root", "secret", &[])];
    let roles = || vec![role("app", &[ALLOW]), role("hub", &[])];
    let held = session("ASIAABCDEFGHIJKLMNOP").held().unwrap();
    assert_eq!(again(&held, &file(root(), roles())), Ok(true));
    let revoked = vec![role("app", &[ALLOW, REVOKED]), role("hub", &[])];
    assert_eq!(again(&held, &file(root(), revoked)), Ok(false));
    let other = vec![principal("root", "other", &[])];
    let gone = Err(Gone::Key("root".into()));
    assert_eq!(again(&held, &file(other, roles())), gone);
    let gone = Err(Gone::Role("app".into()));
    for left in ["app", "hub"] {
        let roles = roles().into_iter().filter(|it| it.name != left).collect();
        assert_eq!(again(&held, &file(root(), roles)), gone, "without {left}");
    }
    let sign_in = SignIn::Web(WebIdentity {
        account: ACCOUNT.into(),
        provider: "id.example.com".into(),
        subject: "ada".into(),
        audience: "app".into(),
        claims: Vec::new(),
    });
    let label = sign_in.label().into();
    let signed_in = session_from("ASIAABCDEFGHIJKLMNOR", Root::SignIn(Arc::new(sign_in)));
    let held = signed_in.held().unwrap();
    let found = again(&held, &file(root(), roles()));
    assert_eq!(found, Err(Gone::SignIn(label)));
    let held = session("ASIAABCDEFGHIJKLMNOP").held().unwrap();
    let without = Credentials::new(root());
    let without = without.with_roles(roles(), []);
    assert_eq!(again(&held, &without), gone, "without its bound");
}

fn session_arc(caller: &Caller) -> *const Session {
    std::ptr::from_ref(caller.session_of().unwrap())
}

#[test]
fn connections_of_one_token_share_its_session() {
    let credentials = file(
        vec![principal("root", "secret", &[])],
        vec![role("app", &[ALLOW]), role("hub", &[])],
    );
    let mut sessions = SharedSessions::default();
    let one = session("ASIAABCDEFGHIJKLMNOP").held().unwrap();
    let two = session("ASIAABCDEFGHIJKLMNOP").held().unwrap();
    let (one, two) = (one.shared(&mut sessions), two.shared(&mut sessions));
    let other = session("ASIAABCDEFGHIJKLMNOQ").held().unwrap();
    let other = other.shared(&mut sessions);
    let mut found = |held: &HeldCaller| asked(held, &credentials, &mut sessions).unwrap();
    let all = [found(&one), found(&two), found(&other)];
    let [first, second, third] = [0, 1, 2].map(|place| session_arc(&all[place]));
    assert_eq!(first, second);
    assert_ne!(first, third);
    // Other credentials produce another session, which is again shared by all connections.
    sessions.clear();
    let mut found = |held: &HeldCaller| asked(held, &credentials, &mut sessions).unwrap();
    let renewed = [found(&one), found(&two)];
    assert_eq!(session_arc(&renewed[0]), session_arc(&renewed[1]));
    assert_ne!(session_arc(&renewed[0]), first);
}

#[test]
fn headers_that_a_policy_named_are_kept() {
    let who = principal("a", "1", &[AGENT]);
    let caller = Caller::principal(Arc::new(who.clone()), None).from_origin(Origin {
        address: [127, 0, 0, 1].into(),
        tls: true,
        asked_s: 1,
        headers: Some(Arc::new(OriginHeaders {
            user_agent: Some("app".into()),
            referer: None,
        })),
    });
    let held = caller.held().unwrap();
    let credentials = file(vec![who], Vec::new());
    assert_eq!(again(&held, &credentials), Ok(true));
    let mut sessions = SharedSessions::default();
    let once = asked(&held, &credentials, &mut sessions).unwrap();
    assert_eq!(again(&once.held().unwrap(), &credentials), Ok(true));
}

#[test]
fn a_connection_keeps_little() {
    assert_eq!(size_of::<Option<HeldCaller>>(), 16);
    // All connections of a token share the session. Its names, tags and own policy are stored outside it.
    assert!(size_of::<Session>() <= 256, "{}", size_of::<Session>());
}
