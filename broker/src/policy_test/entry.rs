//! Whether somebody gets a session of a role: by the provider or the thing's policies first, then by the role's trust.

use broker_core::auth::provider::Provider;
use broker_core::auth::{
    Caller, Credentials, Identified, Origin, Role, RoleFault, SignIn, ThingIdentity, Things,
    WebIdentity, assume,
};
use broker_core::machine::ShownCertificate;
use codec::policy::Decision;
use codec::sts::{AssumeRole, RoleArn};
use std::sync::Arc;

/// Somebody who asks for a session of a role.
pub(crate) struct Entry<'a> {
    pub(crate) credentials: &'a Credentials,
    pub(crate) role: &'a Role,
    pub(crate) region: &'a str,
    pub(crate) origin: &'a Origin,
    /// The certificate of a thing, if one is asked about.
    pub(crate) shown: Option<&'a ShownCertificate>,
}

/// A thing by the certificate that is asked about, or by each that may stand for it.
pub(crate) fn identities<'a>(
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

impl Entry<'_> {
    /// The reason for which it gets none; `None`: it gets one.
    pub(crate) fn refusal(&self, sign_in: &SignIn) -> Option<String> {
        let refused = match sign_in {
            SignIn::Thing(thing) => self.of_thing(thing),
            SignIn::Web(identity) => self.of_token(identity),
        };
        refused.or_else(|| self.of_trust(sign_in))
    }

    /// The registry and the IoT policies of `[things]`.
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

    /// The provider and the client of a token.
    fn of_token(&self, identity: &WebIdentity) -> Option<String> {
        let Some(provider) = self.credentials.provider(&identity.provider) else {
            return Some(format!(
                "there is no [oidc_provider.\"{}\"]",
                identity.provider
            ));
        };
        let Provider { client_ids, .. } = &**provider;
        let is_known = client_ids.contains(&identity.audience);
        (!is_known).then(|| format!("{:?} is no client id of the provider", identity.audience))
    }

    fn of_trust(&self, sign_in: &SignIn) -> Option<String> {
        let Role { account, .. } = self.role;
        let request = AssumeRole::new(RoleArn::parse(&self.role.arn())?, "policy-test");
        let region = Some(Arc::from(self.region));
        let caller = Caller::signing_in(sign_in.clone(), account, region);
        let caller = caller.from_origin(self.origin.clone());
        match assume(&caller, self.credentials, &request, &mut 0) {
            Ok(_) => None,
            Err(RoleFault::Denied(denial)) => denial.ground.map(Into::into),
            Err(RoleFault::Invalid(why)) => Some(why.to_owned()),
            Err(RoleFault::Duration { ground, .. }) => Some(ground),
            Err(RoleFault::TooLong) => Some("the session is too long".to_owned()),
        }
    }
}
