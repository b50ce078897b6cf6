//! Trust documents, which define the principals that may assume a role.
//!
//! The grammar is the same as for other policies, but with `Principal` in place of `Resource`. A statement names a
//! principal either directly or through its account. If it names only the account, the principal's own policies must
//! also allow the action.
//!
//! Source: IAM User Guide, "AWS JSON policy elements: Principal", "How permissions for roles are evaluated"; STS API
//! Reference, "AssumeRole".

use crate::policy::limits::{TRUST_BYTES_MAX, VARIABLES_MAX};
use crate::policy::rules::{EVERYBODY, Effect, Grammar};
use crate::policy::{
    Action, Decision, Ground, KeyName, Policy, PolicyError, Request, all_faults, read, within,
};
use crate::policy::{list::List, statement::Statement};
use std::collections::BTreeSet;

/// A parsed trust document.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Trust {
    statements: Box<[Clause]>,
}

/// A statement: its principals, its actions and their conditions.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Clause {
    /// Whether the statement applies to all principals except those in `principals`.
    spares: bool,
    denies: bool,
    /// The principals, each prefixed with its kind: `AWS:arn:…`.
    principals: Box<[Box<str>]>,
    /// The actions and conditions, stored as a policy for all resources (`Resource: "*"`).
    rule: Policy,
}

/// A caller that wants to assume a role, with all the names that a trust document may use for the caller.
#[derive(Clone, Copy, Debug)]
pub struct Trusted<'a> {
    /// The names of the caller, each prefixed with its kind, such as `AWS:arn:aws:iam::123456789012:user/back-end`.
    pub own: &'a [&'a str],
    /// The principal of the caller's account, such as `AWS:arn:aws:iam::123456789012:root`. `None` if the caller has
    /// only a web token.
    pub account: Option<&'a str>,
}

/// A trust document's decision on a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TrustDecision {
    /// A statement allows the request and names the caller directly.
    Allow,
    /// A statement allows the request for the caller's account or for everybody. The caller's own policies must also
    /// allow it.
    AllowAccount,
    /// A statement denies the request.
    Deny,
    /// No statement applies to the request.
    NoMatch,
}

/// The statement in a trust document that caused a request to be denied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TrustGround {
    /// Position of the statement in the document, counted from 1.
    pub statement: usize,
    ground: Ground,
}

impl Trust {
    /// Parses a document of at most [`TRUST_BYTES_MAX`] bytes. On failure, returns the first error with its line and
    /// column.
    pub fn parse(text: &str) -> Result<Self, PolicyError> {
        within(text, TRUST_BYTES_MAX)?;
        let bytes = read::document(text, Grammar::Trust, VARIABLES_MAX, 0)?;
        Self::of_statements(&bytes)
            .ok_or_else(|| PolicyError::whole("the document cannot be kept".to_owned()))
    }

    /// Parses a document like [`Self::parse`], but returns all errors, like [`Policy::parse_with_faults`].
    pub fn parse_with_faults(text: &str) -> Result<Self, Vec<PolicyError>> {
        Self::parse(text).map_err(|first| all_faults(text, Grammar::Trust, first))
    }

    fn of_statements(bytes: &[u8]) -> Option<Self> {
        let (mut rest, mut statements) = (bytes, Vec::new());
        while !rest.is_empty() {
            let statement;
            (statement, rest) = Statement::read(rest)?;
            let of_entry = |entry: &[u8]| std::str::from_utf8(entry).ok().map(Into::into);
            let principals = statement.resources.entries().map(of_entry);
            let mut rule = Vec::new();
            let anywhere = Statement {
                spares_resources: false,
                resources: List::new(b"*"),
                ..statement
            };
            anywhere.write(&mut rule).ok()?;
            statements.push(Clause {
                spares: statement.spares_resources,
                denies: statement.effect == Effect::Deny,
                principals: principals.collect::<Option<_>>()?,
                rule: Policy::of_bytes(&rule)?,
            });
        }
        let statements = statements.into();
        Some(Self { statements })
    }

    /// Decides whether a caller may perform an action on the role. Adds the work done to `steps`, like
    /// [`Policy::decide`]. Sets `ground` to the statement that denies the request or, if there is none, to the first
    /// statement that would allow the request if its conditions were met.
    #[must_use]
    pub fn decide(
        &self,
        who: &Trusted<'_>,
        request: &Request<'_>,
        steps: &mut u64,
        ground: &mut Option<TrustGround>,
    ) -> TrustDecision {
        let mut decision = TrustDecision::NoMatch;
        for (number, clause) in (1..).zip(&self.statements) {
            let applies = clause.applies(who);
            if applies == TrustDecision::NoMatch {
                continue;
            }
            let mut own = None;
            let ruled = clause.rule.decide(request, steps, &mut own);
            let own = own.map(|ground| TrustGround {
                statement: number,
                ground,
            });
            match ruled {
                Decision::Deny => {
                    *ground = own;
                    return TrustDecision::Deny;
                }
                Decision::Allow if applies == TrustDecision::Allow => decision = applies,
                Decision::Allow if decision == TrustDecision::NoMatch => decision = applies,
                Decision::Allow => {}
                Decision::Open | Decision::NoMatch => *ground = ground.or(own),
            }
        }
        decision
    }

    /// Returns the key of the condition that failed, or `None` if the statement denies the request.
    #[must_use]
    pub fn failed_key(&self, ground: TrustGround) -> Option<String> {
        let clause = self.statements.get(ground.statement.checked_sub(1)?)?;
        clause.rule.failed_key(ground.ground)
    }

    /// Returns whether any statement allows the action to any principal.
    #[must_use]
    pub fn allows(&self, action: Action) -> bool {
        let mut rules = self.statements.iter().map(|clause| &clause.rule);
        rules.any(|rule| rule.allowed_somewhere().any(|allowed| allowed == action))
    }

    /// Returns the principals named in the statements, each prefixed with its kind.
    pub fn principals(&self) -> impl Iterator<Item = &str> {
        let named = self.statements.iter().flat_map(|clause| &clause.principals);
        named.map(|name| &**name)
    }

    /// Returns the identity provider token claims that the statements use, each as `ISSUER:CLAIM`.
    #[must_use]
    pub fn claims(&self) -> BTreeSet<String> {
        let rules = self.statements.iter().map(|clause| &clause.rule);
        rules.flat_map(Policy::claims).collect()
    }

    /// Returns the ARNs of the OpenID providers whose users a statement allows. The boolean indicates whether that
    /// statement uses the provider's claims.
    pub fn federated(&self) -> impl Iterator<Item = (&str, bool)> {
        let allows = self.statements.iter().filter(|clause| !clause.denies);
        allows.flat_map(|clause| {
            let claims = clause.rule.claims();
            clause.principals.iter().filter_map(move |name| {
                let arn = name.strip_prefix("Federated:")?;
                let (_, issuer) = arn.split_once(":oidc-provider/")?;
                let mut of_it = claims.iter().filter(|key| is_of(key, issuer));
                Some((arn, of_it.next().is_some()))
            })
        })
    }

    /// Returns whether a statement denies everybody even though another one allows devices or users of an identity
    /// provider.
    #[must_use]
    pub fn denies_sign_ins(&self) -> bool {
        let signs_in = |name: &str| name.starts_with("Service:") || name.starts_with("Federated:");
        let mut all = self.statements.iter();
        let denies = |clause: &Clause| clause.denies && !clause.spares && clause.names(EVERYBODY);
        let lets_in = self.statements.iter().filter(|clause| !clause.denies);
        let mut let_in = lets_in.flat_map(|clause| &clause.principals);
        all.any(denies) && let_in.any(|name| signs_in(name))
    }

    /// Returns whether any statement uses this key, either in a condition or as a variable.
    #[must_use]
    pub fn reads(&self, name: KeyName) -> bool {
        self.statements.iter().any(|clause| clause.rule.reads(name))
    }

    /// Returns remarks for the operator. See [`Policy::remarks`].
    pub fn remarks(&self) -> impl Iterator<Item = String> {
        let remarks = self
            .statements
            .iter()
            .flat_map(|clause| clause.rule.remarks());
        let remarks: BTreeSet<_> = remarks.collect();
        remarks.into_iter()
    }
}

fn is_of(key: &str, issuer: &str) -> bool {
    let of = key.rsplit_once(':').map(|(of, _)| of);
    of.is_some_and(|of| of.eq_ignore_ascii_case(issuer))
}

impl Clause {
    /// Returns whether the clause applies to a caller, by name or through the account. In an `Allow` statement, a
    /// wildcard covers all callers that have an account. In a `Deny` statement, it covers all callers, including
    /// devices and users of identity providers.
    fn applies(&self, who: &Trusted<'_>) -> TrustDecision {
        let is_named = who.own.iter().any(|name| self.names(name));
        let is_of_account = match who.account {
            Some(account) => self.names(account) || self.names(EVERYBODY),
            None => self.denies && self.names(EVERYBODY),
        };
        match (self.spares, is_named, is_of_account) {
            (false, true, _) => TrustDecision::Allow,
            (false, false, true) | (true, false, false) => TrustDecision::AllowAccount,
            // Only a caller's own name exempts it from a denial; its account does not.
            (true, false, true) if self.denies => TrustDecision::AllowAccount,
            (false, false, false) | (true, _, _) => TrustDecision::NoMatch,
        }
    }

    fn names(&self, name: &str) -> bool {
        self.principals.iter().any(|known| **known == *name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const USER: &str = "AWS:arn:aws:iam::123456789012:user/back-end";
    const ROOT: &str = "AWS:arn:aws:iam::123456789012:root";

    fn decided(text: &str, who: &Trusted<'_>) -> TrustDecision {
        let request = Request {
            action: Action::AssumeRole,
            resource: "arn:aws:iam::123456789012:role/r",
            client_id: None,
            context: &(),
        };
        let trust = Trust::parse(text).unwrap();
        trust.decide(who, &request, &mut 0, &mut None)
    }

    fn one(effect: &str, member: &str, principal: &str, more: &str) -> String {
        format!(
            r#"{{"Statement": [{{"Effect": "{effect}", "{member}": {principal}, "Action": "sts:AssumeRole"{more}}}]}}"#
        )
    }

    const ABSENT: &str = r#", "Condition": {"Null": {"aws:username": true}}"#;
    const PRESENT: &str = r#", "Condition": {"Null": {"aws:username": false}}"#;
    const NAMED: &str = r#"{"AWS": ["arn:aws:iam::123456789012:user/back-end"]}"#;
    const ITS_ROOT: &str = r#"{"AWS": "arn:aws:iam::123456789012:root"}"#;
    const ITS_ACCOUNT: &str = r#"{"AWS": "123456789012"}"#;
    const ANOTHER: &str = r#"{"AWS": "210987654321"}"#;
    const SERVICE: &str = r#"{"Service": "credentials.iot.amazonaws.com"}"#;

    /// Effect, member, principal and condition of a statement, and the decision on a user.
    #[rustfmt::skip] // a table, a case per row
    const CASES: &[(&str, &str, &str, &str, TrustDecision)] = &[
        ("Allow", "Principal", NAMED, "", TrustDecision::Allow),
        ("Allow", "Principal", NAMED, ABSENT, TrustDecision::Allow),
        ("Allow", "Principal", NAMED, PRESENT, TrustDecision::NoMatch),
        ("Deny", "Principal", NAMED, "", TrustDecision::Deny),
        ("Allow", "Principal", ITS_ACCOUNT, "", TrustDecision::AllowAccount),
        ("Allow", "Principal", ITS_ROOT, "", TrustDecision::AllowAccount),
        ("Allow", "Principal", ANOTHER, "", TrustDecision::NoMatch),
        ("Allow", "Principal", r#""*""#, ABSENT, TrustDecision::AllowAccount),
        ("Deny", "Principal", r#""*""#, "", TrustDecision::Deny),
        ("Allow", "Principal", SERVICE, "", TrustDecision::NoMatch),
        ("Allow", "NotPrincipal", NAMED, ABSENT, TrustDecision::NoMatch),
        ("Allow", "NotPrincipal", ITS_ACCOUNT, ABSENT, TrustDecision::NoMatch),
        ("Allow", "NotPrincipal", ANOTHER, ABSENT, TrustDecision::AllowAccount),
        // Naming the account does not exempt its users from a denial.
        ("Deny", "NotPrincipal", ITS_ACCOUNT, "", TrustDecision::Deny),
        ("Deny", "NotPrincipal", NAMED, "", TrustDecision::NoMatch),
    ];

    #[test]
    fn principals_are_named_themselves_or_with_their_account() {
        let who = Trusted {
            own: &[USER],
            account: Some(ROOT),
        };
        for (effect, member, principal, condition, wanted) in CASES {
            let text = one(effect, member, principal, condition);
            assert_eq!(decided(&text, &who), *wanted, "{text}");
        }
    }

    #[test]
    fn everybody_without_an_account_is_denied_and_not_allowed() {
        let provider = "Federated:arn:aws:iam::123456789012:oidc-provider/id.example.com";
        for own in [provider, "Service:credentials.iot.amazonaws.com"] {
            let who = Trusted {
                own: &[own],
                account: None,
            };
            for everybody in [r#""*""#, r#"{"AWS": "*"}"#] {
                let text = one("Allow", "Principal", everybody, ABSENT);
                assert_eq!(decided(&text, &who), TrustDecision::NoMatch);
                for (condition, wanted) in [
                    ("", TrustDecision::Deny),
                    (ABSENT, TrustDecision::Deny),
                    (PRESENT, TrustDecision::NoMatch),
                ] {
                    let text = one("Deny", "Principal", everybody, condition);
                    assert_eq!(decided(&text, &who), wanted, "{own} {text}");
                }
            }
        }
    }

    #[test]
    fn a_denial_of_everybody_is_told_where_devices_or_web_users_are_let_in() {
        let (deny, allow) = (r#""Effect": "Deny""#, r#""Effect": "Allow""#);
        #[rustfmt::skip] // a table, a case per row
        let cases = [
            (format!(r#"{deny}, "Principal": "*""#), format!(r#"{allow}, "Principal": {SERVICE}"#), true),
            (format!(r#"{deny}, "Principal": "*""#), format!(r#"{allow}, "Principal": {NAMED}"#), false),
            (format!(r#"{deny}, "Principal": {NAMED}"#), format!(r#"{allow}, "Principal": {SERVICE}"#), false),
        ];
        for (first, second, told) in cases {
            let action = r#""Action": "sts:AssumeRole""#;
            let text =
                format!(r#"{{"Statement": [{{{first}, {action}}}, {{{second}, {action}}}]}}"#);
            let found = Trust::parse(&text).unwrap().denies_sign_ins();
            assert_eq!(found, told, "{text}");
        }
    }

    #[test]
    fn a_denial_wins_over_every_allowance() {
        let who = Trusted {
            own: &[USER],
            account: Some(ROOT),
        };
        let text = r#"{"Statement": [
            {"Effect": "Allow", "Principal": {"AWS": "123456789012"}, "Action": "sts:*"},
            {"Effect": "Allow", "Principal": {"AWS": "arn:aws:iam::123456789012:user/back-end"}, "Action": "sts:*"},
            {"Effect": "Deny", "Principal": {"AWS": "123456789012"}, "Action": "sts:AssumeRole"}]}"#;
        let trust = Trust::parse(text).unwrap();
        let request = |action| Request {
            action,
            resource: "arn:aws:iam::123456789012:role/r",
            client_id: None,
            context: &(),
        };
        let mut ground = None;
        let denied = trust.decide(&who, &request(Action::AssumeRole), &mut 0, &mut ground);
        assert_eq!(denied, TrustDecision::Deny);
        assert_eq!(ground.map(|ground| ground.statement), Some(3));
        let allowed = trust.decide(&who, &request(Action::TagSession), &mut 0, &mut None);
        assert_eq!(allowed, TrustDecision::Allow);
    }

    #[test]
    fn providers_are_named_with_whether_their_claims_are() {
        let text = r#"{"Statement": [
            {"Effect": "Allow", "Action": "sts:AssumeRoleWithWebIdentity",
             "Principal": {"Federated": "arn:aws:iam::123456789012:oidc-provider/id.example.com/a"},
             "Condition": {"StringEquals": {"ID.example.com/a:sub": "x", "other.example.com:aud": "y"}}},
            {"Effect": "Allow", "Action": "sts:AssumeRoleWithWebIdentity",
             "Principal": {"Federated": ["arn:aws:iam::123456789012:oidc-provider/other.example.com"]}},
            {"Effect": "Deny", "Action": "sts:AssumeRoleWithWebIdentity",
             "Principal": {"Federated": "arn:aws:iam::123456789012:oidc-provider/denied.example.com"}}]}"#;
        let trust = Trust::parse(text).unwrap();
        let found: Vec<_> = trust.federated().collect();
        let arn = |issuer| format!("arn:aws:iam::123456789012:oidc-provider/{issuer}");
        let (one, other) = (arn("id.example.com/a"), arn("other.example.com"));
        assert_eq!(found, [(&*one, true), (&*other, false)]);
        let claims: Vec<_> = trust.claims().into_iter().collect();
        assert_eq!(claims, ["ID.example.com/a:sub", "other.example.com:aud"]);
    }

    #[test]
    fn faults_name_what_is_allowed() {
        #[rustfmt::skip] // a table, a case per row
        let rows = [
            (one("Allow", "Principal", r#""*""#, ""), "must have a Condition"),
            (one("Allow", "NotPrincipal", r#"{"AWS": "123456789012"}"#, ""), "must have a Condition"),
            (one("Allow", "Principal", r#"{"AWS": "arn:aws:iam::123456789012:user/*"}"#, ""), "expected no * and ?"),
            (one("Allow", "Principal", r#"{"AWS": "back-end"}"#, ""), "expected an account or an ARN"),
            (one("Allow", "Principal", r#"{"CanonicalUser": "x"}"#, ""), "expected AWS, Service and Federated"),
            (one("Allow", "Principal", "{}", ""), "must have AWS"),
            (one("Allow", "Principal", r#""x""#, ""), "expected \"*\" or an object"),
            (
                one(
                    "Allow",
                    "Principal",
                    r#"{"AWS": "123456789012"}"#,
                    r#", "Resource": "*""#,
                ),
                "Resource\": not evaluated here",
            ),
            (
                r#"{"Statement": {"Effect": "Allow", "Action": "sts:AssumeRole"}}"#.to_owned(),
                "the statement lacks Principal",
            ),
        ];
        for (text, wanted) in rows {
            let error = Trust::parse(&text).unwrap_err();
            let fine = error.line == 1 && error.rule.contains(wanted);
            assert!(fine, "{text}: {error}");
        }
        let long = " ".repeat(TRUST_BYTES_MAX + 1);
        let fine = Trust::parse(&long)
            .unwrap_err()
            .rule
            .contains("expected at most");
        assert!(fine);
        let both = one("allow", "Principal", r#"{"AWS": "x"}"#, "");
        assert_eq!(Trust::parse_with_faults(&both).unwrap_err().len(), 2);
    }

    #[test]
    fn permissions_have_no_principal() {
        let text = one("Allow", "Principal", r#"{"AWS": "123456789012"}"#, "");
        let error = Policy::parse(&text).unwrap_err();
        assert!(error.rule.contains("not evaluated here"), "{error}");
    }
}
