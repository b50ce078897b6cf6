//! The parsed credentials file: an immutable snapshot of principals, roles, providers and things.

use crate::auth::devices::{RoleAlias, Things};
use crate::auth::principal::{Principal, Role};
use crate::auth::sign_in::SignIn;
use crate::auth::{grant_rates::GrantRates, provider::Provider, recheck::Recheck};
use codec::policy::{Decision, Policy, Request};
use std::collections::BTreeMap;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

/// All principals, roles, providers and things. The process has one instance, shared as `Arc<Credentials>`. A reload
/// creates a new one.
///
/// Dropping the last reference takes milliseconds if there are many principals. The code that replaces a snapshot
/// therefore keeps it until all shards have released it, and then drops it outside the shard threads.
#[derive(Debug, Default)]
pub struct Credentials {
    by_id: BTreeMap<Box<str>, Arc<Principal>>,
    roles: BTreeMap<Box<str>, Arc<Role>>,
    policies: BTreeMap<Box<str>, Arc<Policy>>,
    providers: BTreeMap<Box<str>, Arc<Provider>>,
    /// The role aliases for devices, by name. Each has a hash of its role and trust policy.
    aliases: BTreeMap<Box<str>, (RoleAlias, u64)>,
    /// The device registry; `None` if devices may not sign in.
    things: Option<Box<Things>>,
    /// Rate limits for issuing temporary credentials, indexed by account.
    granted: BTreeMap<Box<str>, GrantRates>,
    recheck: Recheck,
    files: Option<[u8; 32]>,
}

impl Credentials {
    /// Creates credentials from a list of principals. If an access key id occurs twice, the last one wins. The file
    /// contains at most [`PRINCIPALS_MAX`](crate::limits::PRINCIPALS_MAX) principals.
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

    /// Returns the accounts that own principals, roles or providers, sorted.
    pub fn accounts(&self) -> impl Iterator<Item = &str> {
        self.granted.keys().map(|digits| &**digits)
    }

    /// Adds roles and session policies. If a role name occurs twice, the last one wins.
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

    /// Adds providers. If an issuer occurs twice, the last one wins.
    #[must_use]
    pub fn with_providers(mut self, providers: Vec<Provider>) -> Self {
        for provider in providers {
            self.granted.entry(provider.account.clone()).or_default();
            self.providers
                .insert(provider.issuer.clone(), Arc::new(provider));
        }
        self
    }

    /// Returns the provider with this issuer. The issuer is given without `https://`.
    #[must_use]
    pub fn provider(&self, issuer: &str) -> Option<&Arc<Provider>> {
        self.providers.get(issuer)
    }

    /// Iterates over all providers, sorted by issuer.
    pub fn providers(&self) -> impl Iterator<Item = &Arc<Provider>> {
        self.providers.values()
    }

    /// Adds devices and role aliases. If an alias occurs twice, the last one wins. The roles must already have been
    /// added.
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

    /// Sets the SHA-256 hash of the credentials files.
    #[must_use]
    pub fn of_files(self, sha256: Option<[u8; 32]>) -> Self {
        Self {
            files: sha256,
            ..self
        }
    }

    /// Returns the SHA-256 hash of all credentials files, used by nodes to compare their files; `None` if there is no
    /// file.
    #[must_use]
    pub fn files(&self) -> Option<[u8; 32]> {
        self.files
    }

    /// Returns the role alias with this name.
    #[must_use]
    pub fn alias(&self, name: &str) -> Option<&RoleAlias> {
        self.aliases.get(name).map(|(alias, _)| alias)
    }

    /// Returns the hash of an alias's role and trust policy. Nodes with the same file compute the same hash. When it
    /// changes, keys issued through the alias become invalid.
    #[must_use]
    pub fn alias_grounds(&self, name: &str) -> u64 {
        self.aliases.get(name).map_or(0, |(_, grounds)| *grounds)
    }

    /// Iterates over all role aliases, sorted by name.
    pub fn aliases(&self) -> impl Iterator<Item = &RoleAlias> {
        self.aliases.values().map(|(alias, _)| alias)
    }

    /// Returns the device registry; `None` if devices may not sign in.
    #[must_use]
    pub fn things(&self) -> Option<&Things> {
        self.things.as_deref()
    }

    /// Returns the role with this name in the account.
    #[must_use]
    pub fn role(&self, account: &str, name: &str) -> Option<&Arc<Role>> {
        self.roles.get(name).filter(|role| role.account == account)
    }

    /// Returns `true` if a role with this name exists.
    #[must_use]
    pub fn has_role(&self, name: &str) -> bool {
        self.roles.contains_key(name)
    }

    /// Iterates over all roles, sorted by name.
    pub fn roles(&self) -> impl Iterator<Item = &Role> {
        self.roles.values().map(Arc::as_ref)
    }

    /// Returns `true` if a sign-in is still valid. Called whenever credentials obtained by the sign-in are used.
    #[must_use]
    pub fn knows(&self, sign_in: &SignIn) -> bool {
        match sign_in {
            SignIn::Web(identity) => {
                let provider = self.provider(&identity.provider);
                provider.is_some_and(|provider| provider.knows(identity))
            }
            SignIn::Thing(identity) => {
                let alias = self.aliases.get(&identity.alias);
                alias.is_some_and(|(_, grounds)| *grounds == identity.grounds)
                    && self.things().is_some_and(|things| things.knows(identity))
            }
        }
    }

    /// Returns the session policy with this name.
    #[must_use]
    pub fn policy(&self, name: &str) -> Option<&Arc<Policy>> {
        self.policies.get(name)
    }

    /// Returns the account's first unexpired principal (by access key id) whose policies allow the request. Principals
    /// with a session token are skipped, because the request would have to carry their token.
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

    pub(crate) fn grant_rates(&self, account: &str) -> Option<&GrantRates> {
        self.granted.get(account)
    }

    /// Returns the counters of open connections that these credentials would refuse.
    #[must_use]
    pub const fn recheck(&self) -> &Recheck {
        &self.recheck
    }

    /// Returns the principal with this access key id.
    #[must_use]
    pub fn find(&self, access_key_id: &str) -> Option<&Arc<Principal>> {
        self.by_id.get(access_key_id)
    }

    /// Iterates over all principals, sorted by access key id.
    pub fn principals(&self) -> impl Iterator<Item = &Principal> {
        self.by_id.values().map(Arc::as_ref)
    }

    /// Returns the number of principals.
    #[must_use]
    pub fn len(&self) -> usize {
        self.by_id.len()
    }

    /// Returns `true` if there are no principals.
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
