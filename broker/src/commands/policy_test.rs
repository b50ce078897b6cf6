//! `heliograph policy test`: evaluates the policies in a credentials file for one caller and one action, and reports
//! which statement decided.

use crate::config::{PolicyCommand, PolicyTestFlags, load_credentials};
use crate::edge::turn::calendar;
use crate::terminal;
use crate::{commands::devices, failure::Failure};
use broker_core::auth::provider::Provider;
use broker_core::auth::{
    Caller, Claim, Credentials, Identified, Origin, PolicyQuestion, ResourceTags, Role, RoleAlias,
    SignIn, ThingIdentity, Things, WebIdentity, assume,
};
use broker_core::machine::ShownCertificate;
use codec::sts::{AssumeRole, RoleArn};
use codec::{control::Tag, policy::Decision};
use serde_json::{Value, json};
use std::io::Write;
use std::sync::Arc;
use std::time::SystemTime;

/// Writes the result to `out`, and returns whether the action is allowed.
///
/// # Errors
/// Returns [`Failure::Configuration`] for an invalid credentials file, an unknown name or invalid flags, and
/// [`Failure::Fatal`] if the result cannot be written.
pub fn run(command: &PolicyCommand, out: &mut dyn Write) -> Result<bool, Failure> {
    let PolicyCommand::Test(flags) = command;
    let (loaded, shown) = match &flags.cert {
        Some(path) => {
            let account = &flags.account_id;
            let shown = devices::shown(path, &flags.credentials, account, SystemTime::now())?;
            (shown.0, Some(shown.1))
        }
        None => {
            let loaded = load_credentials(&flags.credentials, &flags.account_id, None);
            let loaded = loaded.map_err(|error| Failure::Configuration(error.to_string()))?;
            (loaded, None)
        }
    };
    let (caller, entry) = asked(flags, &loaded.credentials, shown.as_ref())?;
    let origin = Origin {
        address: flags.source_ip.to_canonical(),
        tls: !flags.plain,
        asked_s: now_s(),
        headers: None,
    };
    let signs_in = entry.map(|(role, sign_in)| {
        let entry = SignInTest {
            credentials: &loaded.credentials,
            role: &role,
            region: &flags.region,
            origin: &origin,
            shown: shown.as_ref(),
        };
        entry.refusal(&sign_in)
    });
    let answer = answer(flags, caller.from_origin(origin), signs_in);
    let text = if flags.json {
        format!("{:#}\n", answer.json(flags))
    } else {
        answer.text()
    };
    terminal::write(out, &text)?;
    Ok(answer.is_allowed())
}

struct TestAnswer {
    who: String,
    may: bool,
    decided_by: Box<str>,
    /// The outcome of the sign-in, if a role is being tested: `Some(None)` if it succeeds, or `Some(Some(reason))` if
    /// it is refused.
    signs_in: Option<Option<String>>,
}

impl TestAnswer {
    fn is_allowed(&self) -> bool {
        self.may && !matches!(self.signs_in, Some(Some(_)))
    }

    const fn word(&self) -> &'static str {
        if self.may { "allowed" } else { "denied" }
    }

    fn text(&self) -> String {
        let signs_in = match &self.signs_in {
            None => String::new(),
            Some(None) => "signs in: allowed\n".to_owned(),
            Some(Some(why)) => format!("signs in: denied: {why}\n"),
        };
        format!("{}: {}\n{signs_in}", self.word(), self.decided_by)
    }

    fn json(&self, flags: &PolicyTestFlags) -> Value {
        json!({
            "decision": self.word(),
            "decided_by": self.decided_by,
            "who": self.who,
            "signs_in": self.signs_in.as_ref().map(|refusal| match refusal {
                None => json!({ "decision": "allowed" }),
                Some(why) => json!({ "decision": "denied", "decided_by": why }),
            }),
            "action": flags.action.as_str(),
            "resource": flags.resource,
        })
    }
}

fn answer(flags: &PolicyTestFlags, caller: Caller, signs_in: Option<Option<String>>) -> TestAnswer {
    let tag = |(key, value): &(String, String)| Tag {
        key: key.as_str().into(),
        value: value.as_str().into(),
    };
    let tags: Vec<Tag> = flags.tag.iter().map(tag).collect();
    let question = PolicyQuestion {
        client_id: flags.client_id.as_deref(),
        resource_tags: ResourceTags::Known(&tags),
        ..PolicyQuestion::new(flags.action, &flags.resource)
    };
    let ruling = caller.decide(&question);
    let decided_by = match ruling.denied {
        Some(_) => caller.ground_of(&ruling),
        None => caller.allowed_by(&question),
    };
    TestAnswer {
        who: caller.arn(),
        may: ruling.denied.is_none(),
        signs_in,
        decided_by: decided_by.unwrap_or_else(|| "everybody may".into()),
    }
}

/// A role, and the sign-in through which the caller assumes it.
type TestedSignIn = (Arc<Role>, SignIn);

/// Returns the caller to test. If the caller signs in to a role, also returns the role and the sign-in.
fn asked(
    flags: &PolicyTestFlags,
    credentials: &Credentials,
    shown: Option<&ShownCertificate>,
) -> Result<(Caller, Option<TestedSignIn>), Failure> {
    let region = Some(Arc::from(flags.region.as_str()));
    let (of_user, of_role, name) = match flags.who.split_once('/') {
        Some(("user", name)) => (true, false, name),
        Some(("role", name)) => (false, true, name),
        _ => (true, true, &*flags.who),
    };
    let mut principals = credentials.principals().filter(|_| of_user);
    let principal = principals.find(|principal| principal.name == name);
    let principal = principal.and_then(|it| credentials.find(&it.access_key_id));
    let role = credentials.roles().filter(|_| of_role);
    let role = role.into_iter().find(|role| role.name == name);
    let role = role.and_then(|role| credentials.role(&role.account, &role.name));
    let sign_in = sign_in(flags, role, credentials, shown)?;
    let fault = match (principal, role) {
        (Some(_), Some(_)) => format!(
            "a principal and a role have the name {name}: expected user/{name} and role/{name}"
        ),
        (Some(_), None) if sign_in.is_some() => format!(
            "{name} is a principal, which signs by its key: --thing and --claim are of roles"
        ),
        (Some(principal), None) => {
            return Ok((Caller::principal(Arc::clone(principal), region), None));
        }
        (None, Some(role)) => {
            let of = Arc::clone(role);
            let caller = Caller::supposed_session(of, sign_in.clone(), now_s(), region);
            return Ok((caller, sign_in.map(|it| (Arc::clone(role), it))));
        }
        (None, None) => format!("no principal and no role has the name {name}"),
    };
    let file = flags.credentials.display();
    Err(Failure::Configuration(format!("{file}: --as: {fault}")))
}

fn sign_in(
    flags: &PolicyTestFlags,
    role: Option<&Arc<Role>>,
    credentials: &Credentials,
    shown: Option<&ShownCertificate>,
) -> Result<Option<SignIn>, Failure> {
    if let Some(name) = &flags.thing {
        let is_its = |alias: &&RoleAlias| role.is_some_and(|role| *alias.role == *role.name);
        let first = credentials.aliases().find(is_its);
        let alias = flags
            .alias
            .as_deref()
            .or_else(|| first.map(|alias| &*alias.name));
        let things = credentials.things();
        let found = things.map(|things| identities(things, name, shown, now_s()));
        let found = found.and_then(Result::ok).unwrap_or_default();
        let first = found.first();
        return Ok(Some(SignIn::Thing(ThingIdentity {
            certificate: first.map_or([0; 32], |it| *it.certificate),
            numbers: shown.map_or_else(Vec::new, |it| it.numbers.to_vec()),
            name: Some(name.as_str().into()),
            thing_type: first.and_then(|it| it.thing_type).map(Into::into),
            alias: alias.unwrap_or_default().into(),
            grounds: 0, // no keys are issued that could depend on it
            authority: None,
        })));
    }
    let Some((provider, ..)) = flags.claim.first() else {
        return Ok(None);
    };
    if flags.claim.iter().any(|(issuer, ..)| issuer != provider) {
        let rule = "--claim: expected claims of one issuer, whose token it is";
        return Err(Failure::Configuration(rule.into()));
    }
    let mut identity = WebIdentity {
        account: flags.account_id.as_str().into(),
        provider: provider.as_str().into(),
        subject: "".into(),
        audience: sole_client(credentials, provider),
        claims: Vec::new(),
    };
    for (_, name, value) in &flags.claim {
        match name.as_str() {
            "sub" => identity.subject = value.as_str().into(),
            "aud" => identity.audience = value.as_str().into(),
            _ => add_claim(&mut identity.claims, name, value),
        }
    }
    // If the flags do not set a claim that the role's policies test, the claim is treated as absent from the token.
    let named = role.into_iter().flat_map(|role| &role.policies);
    for claim in named.flat_map(|policy| policy.claims()) {
        let name = claim.strip_prefix(&**provider);
        if let Some(name) = name.and_then(|name| name.strip_prefix(':'))
            && !identity.claims.iter().any(|claim| &*claim.name == name)
        {
            identity.claims.push(Claim {
                name: name.into(),
                values: Vec::new(),
            });
        }
    }
    Ok(Some(SignIn::Web(identity)))
}

fn sole_client(credentials: &Credentials, issuer: &str) -> Box<str> {
    match credentials.provider(issuer).map(|it| &*it.client_ids) {
        Some([sole]) => sole.clone(),
        Some(_) | None => "".into(),
    }
}

fn add_claim(claims: &mut Vec<Claim>, name: &str, value: &str) {
    match claims.iter_mut().find(|claim| &*claim.name == name) {
        Some(claim) => claim.values.push(value.into()),
        None => claims.push(Claim {
            name: name.into(),
            values: vec![value.into()],
        }),
    }
}

fn now_s() -> u64 {
    calendar().0 / 1000
}

// Decides whether a role is granted. The policies of the provider or thing are evaluated first, then the role's trust
// policy.

pub(crate) struct SignInTest<'a> {
    pub(crate) credentials: &'a Credentials,
    pub(crate) role: &'a Role,
    pub(crate) region: &'a str,
    pub(crate) origin: &'a Origin,
    pub(crate) shown: Option<&'a ShownCertificate>,
}

/// Returns the identity of a thing that presents the certificate `shown`. Without `shown`, returns an identity for each
/// certificate that is valid for the thing.
fn identities<'a>(
    things: &'a Things,
    name: &'a str,
    shown: Option<&'a ShownCertificate>,
    now_s: u64,
) -> Result<Vec<Identified<'a>>, String> {
    let found = match shown {
        Some(shown) => things.identify(shown, Some(name), now_s).map(|it| vec![it]),
        None => things.supposed(name),
    };
    found.map_err(|refusal| refusal.to_string())
}

impl SignInTest<'_> {
    pub(crate) fn refusal(&self, sign_in: &SignIn) -> Option<String> {
        let refused = match sign_in {
            SignIn::Thing(thing) => self.of_thing(thing),
            SignIn::Web(identity) => self.of_token(identity),
        };
        refused.or_else(|| self.of_trust(sign_in))
    }

    fn of_thing(&self, thing: &ThingIdentity) -> Option<String> {
        let Some(things) = self.credentials.things() else {
            return Some("the file has no [things]".to_owned());
        };
        let Some(alias) = self.credentials.alias(&thing.alias) else {
            return Some(match &*thing.alias {
                "" => format!("no role alias is of role {}", self.role.name),
                name => format!("there is no [role_alias.{name}]"),
            });
        };
        if *alias.role != *self.role.name {
            return Some(format!(
                "role alias {} is of role {}",
                alias.name, alias.role
            ));
        }
        let name = thing.name.as_deref().unwrap_or_default();
        self.of_policies(things, name, &alias.arn(self.region))
    }

    fn of_policies(&self, things: &Things, name: &str, arn: &str) -> Option<String> {
        let found = match identities(things, name, self.shown, self.origin.asked_s) {
            Ok(found) => found,
            Err(why) => return Some(why),
        };
        let from = (self.origin.address, self.origin.asked_s);
        let refused = found.iter().filter_map(|thing| {
            let (decision, why) = thing.may_use(arn, from, &mut 0);
            (decision != Decision::Allow).then_some(why)
        });
        let refused: Vec<String> = refused.collect();
        let why = refused.first()?;
        Some(if refused.len() == found.len() {
            why.clone()
        } else {
            format!("{why}; another certificate of the thing may: ask with --cert FILE")
        })
    }

    fn of_token(&self, identity: &WebIdentity) -> Option<String> {
        let Some(provider) = self.credentials.provider(&identity.provider) else {
            return Some(format!(
                "there is no [oidc_provider.\"{}\"]",
                identity.provider
            ));
        };
        let Provider { client_ids, .. } = &**provider;
        let is_known = client_ids.contains(&identity.audience);
        (!is_known).then(|| format!("{:?} is not a client id of the provider", identity.audience))
    }

    fn of_trust(&self, sign_in: &SignIn) -> Option<String> {
        let Role { account, .. } = self.role;
        let request = AssumeRole::new(RoleArn::parse(&self.role.arn())?, "policy-test");
        let region = Some(Arc::from(self.region));
        let caller = Caller::signing_in(sign_in.clone(), account, region);
        let caller = caller.from_origin(self.origin.clone());
        let refused = assume(&caller, self.credentials, &request, &mut 0).err()?;
        refused.reason().map(str::to_owned)
    }
}

#[cfg(test)]
mod tests;
