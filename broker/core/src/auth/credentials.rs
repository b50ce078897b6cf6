//! The parsed credentials file: principals by access key id, roles, providers and things, as a snapshot that is
//! replaced whole.

use crate::auth::devices::{RoleAlias, Things};
use crate::auth::principal::{Principal, Role};
use crate::auth::sign_in::{SignIn, ThingIdentity};
use crate::auth::{grant_rates::GrantRates, provider::Provider, recheck::Recheck};
use codec::policy::{Decision, Policy, Request};
use std::collections::BTreeMap;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

/// All principals. One per process, shared as `Arc<Credentials>`; a reload creates another.
///
/// The last owner frees it, which takes milliseconds with very many principals: the code that replaces it should keep
/// the old one until the shards have released it, and drop it off the shard threads.
#[derive(Debug, Default)]
pub struct Credentials {
    by_id: BTreeMap<Box<str>, Arc<Principal>>,
    /// By name.
    roles: BTreeMap<Box<str>, Arc<Role>>,
    /// Session policies, by name.
    policies: BTreeMap<Box<str>, Arc<Policy>>,
    /// By issuer.
    providers: BTreeMap<Box<str>, Arc<Provider>>,
    /// Role aliases of devices by name, each with the hash of its role and trust.
    aliases: BTreeMap<Box<str>, (RoleAlias, u64)>,
    /// Devices, if they may sign in.
    things: Option<Box<Things>>,
    /// Used part of each account's rate of temporary credentials.
    granted: BTreeMap<Box<str>, GrantRates>,
    /// Open connections that these credentials refuse.
    recheck: Recheck,
    /// See [`Self::files`].
    files: Option<[u8; 32]>,
}

impl Credentials {
    /// Indexes principals, of which the last of an access key id counts. The file that they are from has at most
    /// [`PRINCIPALS_MAX`](crate::limits::PRINCIPALS_MAX), with a key id and a name each.
    #[must_use]
    pub fn new(principals: Vec<Principal>) -> Self {
        let mut all = Self::default();
        for principal in principals {
            let account = principal.account.as_str().into();
            all.granted.entry(account).or_default();
            let id = principal.access_key_id.as_str().into();
            all.by_id.insert(id, Arc::new(principal));
        }
        all
    }

    /// The accounts of principals and roles, in order.
    pub fn accounts(&self) -> impl Iterator<Item = &str> {
        self.granted.keys().map(|digits| &**digits)
    }

    /// Adds roles, of which the last of a name counts, and session policies.
    #[must_use]
    pub fn with_roles(
        mut self,
        roles: Vec<Role>,
        policies: impl IntoIterator<Item = Arc<Policy>>,
    ) -> Self {
        for role in roles {
            self.granted
                .entry(role.account.as_str().into())
                .or_default();
            self.roles.insert(role.name.as_str().into(), Arc::new(role));
        }
        let policies = policies.into_iter();
        self.policies = policies
            .map(|policy| (policy.name().into(), policy))
            .collect();
        self
    }

    /// Adds providers, of which the last of an issuer counts.
    #[must_use]
    pub fn with_providers(mut self, providers: Vec<Provider>) -> Self {
        for provider in providers {
            self.granted.entry(provider.account.clone()).or_default();
            self.providers
                .insert(provider.issuer.clone(), Arc::new(provider));
        }
        self
    }

    /// The provider of an issuer without `https://`.
    #[must_use]
    pub fn provider(&self, issuer: &str) -> Option<&Arc<Provider>> {
        self.providers.get(issuer)
    }

    /// Every provider, in the order of the issuers.
    pub fn providers(&self) -> impl Iterator<Item = &Arc<Provider>> {
        self.providers.values()
    }

    /// Adds role aliases, of which the last of a name counts, and devices. Roles must be added before.
    #[must_use]
    pub fn with_things(mut self, aliases: Vec<RoleAlias>, things: Option<Things>) -> Self {
        let named = aliases.into_iter().map(|alias| {
            let role = self.role(&alias.account, &alias.role);
            let grounds = grounds(&alias, role.map(Arc::as_ref));
            (alias.name.clone(), (alias, grounds))
        });
        self.aliases = named.collect();
        self.things = things.map(Box::new);
        self
    }

    /// Sets the SHA-256 of the files.
    #[must_use]
    pub fn of_files(self, sha256: Option<[u8; 32]>) -> Self {
        Self {
            files: sha256,
            ..self
        }
    }

    /// SHA-256 of all files read, equal on two nodes with equal files; `None` without a file.
    #[must_use]
    pub fn files(&self) -> Option<[u8; 32]> {
        self.files
    }

    /// The role alias of a name.
    #[must_use]
    pub fn alias(&self, name: &str) -> Option<&RoleAlias> {
        self.aliases.get(name).map(|(alias, _)| alias)
    }

    /// Hash of an alias's role and its trust: keys that a device got by the alias end when it changes. Equal on all
    /// nodes of a cluster with the same file.
    #[must_use]
    pub fn alias_grounds(&self, name: &str) -> u64 {
        self.aliases.get(name).map_or(0, |(_, grounds)| *grounds)
    }

    /// Every role alias, in the order of the names.
    pub fn aliases(&self) -> impl Iterator<Item = &RoleAlias> {
        self.aliases.values().map(|(alias, _)| alias)
    }

    /// Devices, if they may sign in.
    #[must_use]
    pub fn things(&self) -> Option<&Things> {
        self.things.as_deref()
    }

    /// The role of an account and a name.
    #[must_use]
    pub fn role(&self, account: &str, name: &str) -> Option<&Arc<Role>> {
        self.roles.get(name).filter(|role| role.account == account)
    }

    /// Whether a role of this name exists.
    #[must_use]
    pub fn has_role(&self, name: &str) -> bool {
        self.roles.contains_key(name)
    }

    /// Every role, in the order of the names.
    pub fn roles(&self) -> impl Iterator<Item = &Role> {
        self.roles.values().map(Arc::as_ref)
    }

    /// Whether a sign-in is still accepted: checked at each use of its credentials.
    #[must_use]
    pub fn knows(&self, sign_in: &SignIn) -> bool {
        match sign_in {
            SignIn::Web(identity) => {
                let provider = self.provider(&identity.provider);
                provider.is_some_and(|provider| provider.knows(identity))
            }
            SignIn::Thing(identity) => self.knows_thing(identity),
        }
    }

    fn knows_thing(&self, identity: &ThingIdentity) -> bool {
        let mut things = self.things().into_iter();
        let alias = self.aliases.get(&identity.alias);
        alias.is_some_and(|(_, grounds)| *grounds == identity.grounds)
            && things.any(|things| things.knows(identity))
    }

    /// The policy of a name.
    #[must_use]
    pub fn policy(&self, name: &str) -> Option<&Arc<Policy>> {
        self.policies.get(name)
    }

    /// First principal of an account, by access key id, that may do this and has not expired. Principals with a foreign
    /// session token are skipped: that token would be needed too.
    #[must_use]
    pub fn first_allowed(
        &self,
        account: &str,
        request: &Request<'_>,
        now_s: u64,
    ) -> Option<&Arc<Principal>> {
        self.by_id.values().find(|principal| {
            principal.account == account
                && principal.session_token.is_none()
                && principal.expires_s.is_none_or(|end| end > now_s)
                && principal.decide(request, &mut 0) == Decision::Allow
        })
    }

    /// Rates of temporary credentials of an account, shared by all shards.
    pub(crate) fn grant_rates(&self, account: &str) -> Option<&GrantRates> {
        self.granted.get(account)
    }

    /// Open connections that these credentials refuse.
    #[must_use]
    pub const fn recheck(&self) -> &Recheck {
        &self.recheck
    }

    /// The principal of an access key id.
    #[must_use]
    pub fn find(&self, access_key_id: &str) -> Option<&Arc<Principal>> {
        self.by_id.get(access_key_id)
    }

    /// Every principal, in the order of the access key ids.
    pub fn principals(&self) -> impl Iterator<Item = &Principal> {
        self.by_id.values().map(Arc::as_ref)
    }

    /// The number of principals.
    #[must_use]
    pub fn len(&self) -> usize {
        self.by_id.len()
    }

    /// Whether there is no principal.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.by_id.is_empty()
    }
}

#[expect(
    deprecated,
    reason = "the hash of hash maps may change between versions of Rust; this one is SipHash-2-4 forever"
)]
fn grounds(alias: &RoleAlias, role: Option<&Role>) -> u64 {
    let mut hasher = std::hash::SipHasher::new();
    let trust = role.map(|role| &role.trust);
    (&alias.account, &alias.role, trust).hash(&mut hasher);
    hasher.finish()
}
