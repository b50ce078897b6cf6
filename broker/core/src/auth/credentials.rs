//! Parsed credentials file: an immutable snapshot of principals by access key id, roles, providers and things.

use crate::auth::devices::{RoleAlias, Things};
use crate::auth::principal::{Principal, Role};
use crate::auth::sign_in::{SignIn, ThingIdentity};
use crate::auth::{grant_rates::GrantRates, provider::Provider, recheck::Recheck};
use codec::policy::{Decision, Policy, Request};
use std::collections::BTreeMap;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

/// All principals, roles, providers and things. One per process, shared as `Arc<Credentials>`; a reload creates a new
/// one.
///
/// Dropping the last reference takes milliseconds with many principals: after a replacement, keep the old snapshot
/// until all shards have released it, then drop it off the shard threads.
#[derive(Debug, Default)]
pub struct Credentials {
    by_id: BTreeMap<Box<str>, Arc<Principal>>,
    /// Roles by name.
    roles: BTreeMap<Box<str>, Arc<Role>>,
    /// Session policies, by name.
    policies: BTreeMap<Box<str>, Arc<Policy>>,
    /// Providers by issuer.
    providers: BTreeMap<Box<str>, Arc<Provider>>,
    /// Device role aliases by name, each with the hash of its role and trust policy.
    aliases: BTreeMap<Box<str>, (RoleAlias, u64)>,
    /// Registry of devices; `None` if devices may not sign in.
    things: Option<Box<Things>>,
    /// Usage of each account's rate limit for temporary credentials.
    granted: BTreeMap<Box<str>, GrantRates>,
    /// Count of open connections that these credentials would refuse.
    recheck: Recheck,
    /// See [`Self::files`].
    files: Option<[u8; 32]>,
}

impl Credentials {
    /// Indexes principals; if an access key id occurs twice, the last one wins. The file contains at most
    /// [`PRINCIPALS_MAX`](crate::limits::PRINCIPALS_MAX), each with a key id and a name.
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

    /// The accounts of principals and roles, sorted.
    pub fn accounts(&self) -> impl Iterator<Item = &str> {
        self.granted.keys().map(|digits| &**digits)
    }

    /// Adds roles and session policies; if a role name occurs twice, the last one wins.
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

    /// Adds providers; if an issuer occurs twice, the last one wins.
    #[must_use]
    pub fn with_providers(mut self, providers: Vec<Provider>) -> Self {
        for provider in providers {
            self.granted.entry(provider.account.clone()).or_default();
            self.providers
                .insert(provider.issuer.clone(), Arc::new(provider));
        }
        self
    }

    /// The provider with this issuer, given without `https://`.
    #[must_use]
    pub fn provider(&self, issuer: &str) -> Option<&Arc<Provider>> {
        self.providers.get(issuer)
    }

    /// All providers, sorted by issuer.
    pub fn providers(&self) -> impl Iterator<Item = &Arc<Provider>> {
        self.providers.values()
    }

    /// Adds devices and role aliases; if an alias occurs twice, the last one wins. Roles must be added first.
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

    /// SHA-256 of all credentials files, which lets nodes compare their contents; `None` without a file.
    #[must_use]
    pub fn files(&self) -> Option<[u8; 32]> {
        self.files
    }

    /// The role alias with this name.
    #[must_use]
    pub fn alias(&self, name: &str) -> Option<&RoleAlias> {
        self.aliases.get(name).map(|(alias, _)| alias)
    }

    /// Hash of an alias's role and trust policy; when it changes, keys issued through the alias become invalid. Equal
    /// on all nodes of a cluster with the same file.
    #[must_use]
    pub fn alias_grounds(&self, name: &str) -> u64 {
        self.aliases.get(name).map_or(0, |(_, grounds)| *grounds)
    }

    /// All role aliases, sorted by name.
    pub fn aliases(&self) -> impl Iterator<Item = &RoleAlias> {
        self.aliases.values().map(|(alias, _)| alias)
    }

    /// Devices; `None` if they may not sign in.
    #[must_use]
    pub fn things(&self) -> Option<&Things> {
        self.things.as_deref()
    }

    /// The role with this name in the account.
    #[must_use]
    pub fn role(&self, account: &str, name: &str) -> Option<&Arc<Role>> {
        self.roles.get(name).filter(|role| role.account == account)
    }

    /// Whether a role with this name exists.
    #[must_use]
    pub fn has_role(&self, name: &str) -> bool {
        self.roles.contains_key(name)
    }

    /// All roles, sorted by name.
    pub fn roles(&self) -> impl Iterator<Item = &Role> {
        self.roles.values().map(Arc::as_ref)
    }

    /// Whether a sign-in is still accepted. Checked each time its credentials are used.
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

    /// The session policy with this name.
    #[must_use]
    pub fn policy(&self, name: &str) -> Option<&Arc<Policy>> {
        self.policies.get(name)
    }

    /// First unexpired principal of an account, in order of access key id, whose policies allow the request. Principals
    /// with a foreign session token are skipped because the token would be needed as well.
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

    /// Rate limits for temporary credentials of an account, shared by all shards.
    pub(crate) fn grant_rates(&self, account: &str) -> Option<&GrantRates> {
        self.granted.get(account)
    }

    /// Count of open connections that these credentials would refuse.
    #[must_use]
    pub const fn recheck(&self) -> &Recheck {
        &self.recheck
    }

    /// The principal with this access key id.
    #[must_use]
    pub fn find(&self, access_key_id: &str) -> Option<&Arc<Principal>> {
        self.by_id.get(access_key_id)
    }

    /// All principals, sorted by access key id.
    pub fn principals(&self) -> impl Iterator<Item = &Principal> {
        self.by_id.values().map(Arc::as_ref)
    }

    /// Number of principals.
    #[must_use]
    pub fn len(&self) -> usize {
        self.by_id.len()
    }

    /// Whether there are no principals.
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
