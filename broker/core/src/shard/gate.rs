//! Authenticates requests on the shard that accepted the connection, and issues temporary credentials. Also tracks the
//! recheck of open connections.

use crate::address_shares;
use crate::auth::grant_rates::GrantRates;
use crate::auth::provider::{Keyring, TokenFault, Unverified};
use crate::auth::{
    Authenticator, Caller, Credentials, Grant, GrantHolder, GrantRoot, InForce, Nonces, Origin,
    OriginHeaders, RecheckSum, Root, SealError, SessionKeys, SharedSessions, SignIn, Temporary,
};
use crate::limits::{
    RECHECK_CLOSE_MS, RECHECK_LATE_MS, RECHECK_LOOK_MS, RECHECK_WAIT_MS, UNSIGNED_FORM_BYTES_MAX,
};
use crate::session::http::Target;
use crate::shard::evidence::SignatureEvidence;
use crate::shard::{sign_in_rates::KeyedRates, start::StartKeys};
use crate::time::{Moment, Now};
use crate::{machine::Peer, refusal::Refusal, settings::Rate};
use codec::http::{Head, HeadLimits};
use codec::policy::KeyName;
use codec::sigv4::{self, Service};
use std::sync::Arc;

/// A shard's authentication state: signature checks, session keys, provider keys and rate limits.
///
/// Invariant: the keys that seal temporary credentials on this shard also open them.
pub(crate) struct Gate {
    /// Checks signatures. `None` if signatures are not checked.
    authenticator: Option<Authenticator>,
    /// The caller to which every request is attributed if signatures are not checked.
    anyone: Caller,
    /// The limits on a request head.
    head: HeadLimits,
    /// The keys that seal temporary credentials.
    session_keys: Arc<SessionKeys>,
    /// The source of nonces for sealing temporary credentials.
    nonces: Nonces,
    /// The temporary sessions used by open connections, shared with the other shards.
    sessions: SharedSessions,
    /// Progress of the recheck of open connections that follows a credentials reload.
    walk: Option<Walk>,
    /// Public keys fetched from OpenID providers.
    keyring: Arc<Keyring>,
    /// Per-address rate limits on unsigned sign-ins.
    sign_ins: KeyedRates<address_shares::Origin>,
    /// Per-caller rate limits on refused requests for temporary credentials.
    refused_grants: KeyedRates<u64>,
}

impl Gate {
    /// Creates a gate with these keys. `account` is the account of all callers if signatures are not checked.
    pub(crate) fn new(keys: StartKeys, account: &str, head: HeadLimits) -> Self {
        let StartKeys {
            authenticator,
            session_keys,
            nonces,
        } = keys;
        Self {
            authenticator,
            anyone: Caller::anyone(account),
            head,
            session_keys,
            nonces,
            sessions: SharedSessions::default(),
            walk: None,
            keyring: Arc::default(),
            sign_ins: KeyedRates::of_sign_ins(),
            refused_grants: KeyedRates::of_refused_grants(),
        }
    }

    /// Parses a request head again from its stored text.
    pub(crate) fn reread<'h>(&self, text: &'h [u8]) -> Option<Head<'h>> {
        Head::parse(text, &self.head).ok()
    }

    /// Refuses a request before its body is read, if the head alone is reason enough.
    pub(crate) fn precheck(
        &mut self,
        head: &Head<'_>,
        target: Target,
        at: Moment,
    ) -> Result<(), Refusal> {
        match &mut self.authenticator {
            Some(authenticator) => authenticator.precheck(head, service(target), at.wall.0 / 1000),
            None => Ok(()),
        }
    }

    /// Returns the caller that signed a request, or the anonymous caller if signatures are not checked. `head` is the
    /// text of the request head, which has already been parsed once.
    pub(crate) fn authenticate(
        &mut self,
        head: Option<&[u8]>,
        body: &[u8],
        (target, peer): (Target, Peer),
        at: Moment,
    ) -> Result<Caller, Refusal> {
        let Some(authenticator) = &mut self.authenticator else {
            return Ok(self.anyone.clone());
        };
        let head = head.and_then(|text| Head::parse(text, &self.head).ok());
        let head = head.ok_or(sigv4::Refusal::Missing)?;
        let caller = authenticator.check(&head, body, service(target), at.wall.0 / 1000)?;
        Ok(with_origin(caller, &head, peer, at))
    }

    /// Returns the caller that signed a player's token. The signature does not cover the request body.
    pub(crate) fn authenticate_player(
        &mut self,
        head: &Head<'_>,
        peer: Peer,
        at: Moment,
    ) -> Result<Caller, Refusal> {
        let Some(authenticator) = &mut self.authenticator else {
            return Ok(self.anyone.clone());
        };
        let caller = authenticator.check_whep(head, at.wall.0 / 1000)?;
        Ok(with_origin(caller, head, peer, at))
    }

    /// Returns the caller that signed an upgrade, and the path that was signed.
    pub(crate) fn authenticate_upgrade<'a>(
        &'a mut self,
        head: &'a Head<'a>,
        peer: Peer,
        at: Moment,
    ) -> Result<(Caller, &'a str), Refusal> {
        match &mut self.authenticator {
            Some(authenticator) => {
                let (caller, path) = authenticator.check_upgrade(head, at.wall.0 / 1000)?;
                Ok((with_origin(caller, head, peer, at), path))
            }
            None => Ok((self.anyone.clone(), head.path())),
        }
    }
}

/// Tells operators why a caller's requests are refused without being parsed.
const REFUSED_TOO_OFTEN: &str = "calls of this caller for temporary credentials were refused too often: find out \
                                 why, and let it stop or pause";

impl Gate {
    /// Issues temporary credentials to an authenticated caller. They expire no later than the principal from which the
    /// caller's credentials are derived.
    ///
    /// # Errors
    /// Fails as described in [`SealError`].
    pub(crate) fn issue(
        &mut self,
        caller: &Caller,
        holder: GrantHolder,
        now_s: u64,
        until_s: u64,
    ) -> Result<Temporary, SealError> {
        let root = caller.root();
        let ends_s = root.as_ref().and_then(Root::expires_s);
        let (root, secret) = match &root {
            Some(root) => root.granting(),
            None => (
                GrantRoot::Key {
                    access_key_id: "".into(),
                },
                "",
            ),
        };
        let grant = Grant {
            root,
            holder,
            issued_s: Some(now_s),
            expires_s: until_s.min(ends_s.unwrap_or(u64::MAX)),
        };
        let nonce = self.nonces.draw();
        self.session_keys.seal(&nonce, &grant, secret)
    }

    /// Returns the current principals and roles, or `None` if signatures are not checked.
    pub(crate) fn credentials(&self) -> Option<&Credentials> {
        self.authenticator.as_ref().map(Authenticator::credentials)
    }

    /// Returns whether to accept an unsigned form of this length. Such a form may be a sign-in with a provider's token.
    pub(crate) fn takes_unsigned(&self, length: usize) -> bool {
        self.authenticator.is_some() && length <= UNSIGNED_FORM_BYTES_MAX
    }

    /// Counts an unsigned sign-in from an address. Returns `false` if the address has exceeded its rate limit.
    pub(crate) fn may_sign_in(&mut self, peer: Peer, at: Moment) -> bool {
        let origin = address_shares::Origin::of(peer.remote.ip());
        self.sign_ins.take(origin, at.now)
    }

    /// Verifies an OpenID provider's token and returns the caller. If signatures are not checked, neither is the token.
    ///
    /// # Errors
    /// Fails as described in [`TokenFault`].
    pub(crate) fn identify(
        &self,
        token: &Unverified<'_>,
        peer: Peer,
        at: Moment,
    ) -> Result<Caller, TokenFault> {
        let Some(authenticator) = &self.authenticator else {
            return Ok(self.anyone.clone());
        };
        let (credentials, now_s) = (authenticator.credentials(), at.wall.0 / 1000);
        let provider = token
            .issuer()
            .and_then(|issuer| credentials.provider(issuer));
        let provider = provider.ok_or(TokenFault::Issuer)?;
        let keys = self.keyring.keys_of(provider);
        let verified = provider.verify(token, keys, now_s);
        let identity = verified.inspect_err(|fault| {
            if fault.asks_for_keys() {
                self.keyring.wish(provider);
            }
        })?;
        let region = authenticator.region().cloned();
        let caller = Caller::signing_in(SignIn::Web(identity), &provider.account, region);
        Ok(caller.from_origin(Origin::of(peer, now_s)))
    }

    /// Checks whether temporary credentials may be issued to a caller now. One rate limit applies to the account's
    /// calls, and another to the caller's refused calls. `hash` is the caller's hash.
    ///
    /// # Errors
    /// Returns an explanation for operators, which is empty if the account has exceeded its rate limit.
    pub(crate) fn may_grant(
        &self,
        caller: &Caller,
        hash: u64,
        rate: Rate,
        at: Moment,
    ) -> Result<(), &'static str> {
        if !self.refused_grants.has(&hash, at.now) {
            return Err(REFUSED_TOO_OFTEN);
        }
        let rates = self.grant_rates(caller);
        let has = rates.is_none_or(|rates| rates.has(hash, rate, at.now));
        if has { Ok(()) } else { Err("") }
    }

    /// Counts that temporary credentials were issued to a caller.
    pub(crate) fn count_grant(&self, caller: &Caller, hash: u64, rate: Rate, now: Now) {
        if let Some(rates) = self.grant_rates(caller) {
            rates.take(hash, rate, now);
        }
    }

    /// Counts a refused call for temporary credentials.
    pub(crate) fn count_refused_grant(&mut self, hash: u64, now: Now) {
        self.refused_grants.take(hash, now);
    }

    fn grant_rates(&self, caller: &Caller) -> Option<&GrantRates> {
        self.credentials()?.grant_rates(caller.account())
    }

    /// Returns the number of bytes hashed since startup to check signatures.
    pub(crate) fn hashed_bytes(&self) -> u64 {
        let authenticator = self.authenticator.as_ref();
        authenticator.map_or(0, Authenticator::hashed_bytes)
    }

    /// Returns the strings that the last signature check compared.
    pub(crate) fn signature(&self) -> Option<SignatureEvidence<'_>> {
        let authenticator = self.authenticator.as_ref()?;
        let (canonical_request, string_to_sign) = authenticator.compared();
        Some(SignatureEvidence {
            authenticator,
            canonical_request,
            string_to_sign,
        })
    }

    /// Replaces the credentials. Returns `false` if signatures are not checked. If `asks_again` is set, open
    /// connections are rechecked.
    pub(crate) fn replace_credentials(
        &mut self,
        credentials: Arc<Credentials>,
        asks_again: bool,
        now: Now,
    ) -> bool {
        let Some(authenticator) = &mut self.authenticator else {
            return false;
        };
        authenticator.replace_credentials(credentials);
        self.sessions.clear();
        self.walk = asks_again.then(|| Walk::begin(now));
        true
    }

    /// Returns the current credentials for rechecking callers, or `None` if signatures are not checked.
    pub(crate) fn in_force(&mut self, at: Moment) -> Option<InForce<'_>> {
        let authenticator = self.authenticator.as_ref()?;
        Some(InForce {
            credentials: authenticator.credentials(),
            sessions: &mut self.sessions,
            region: authenticator.region().cloned(),
            now_s: at.wall.0 / 1000,
        })
    }

    /// Returns the recheck in progress, if any.
    pub(crate) fn walk(&mut self) -> Option<&mut Walk> {
        self.walk.as_mut()
    }

    /// Returns when the next step of the recheck is due.
    pub(crate) fn next_walk(&self) -> Option<Now> {
        self.walk.as_ref().and_then(Walk::next_due)
    }

    /// Replaces the OpenID providers' keys.
    pub(crate) fn replace_keyring(&mut self, keyring: Arc<Keyring>) {
        self.keyring = keyring;
    }

    /// Checks the invariants that hold between inputs.
    ///
    /// # Panics
    /// Panics if an invariant is violated.
    pub(crate) fn invariants(&self) {
        let opens = |authenticator: &Authenticator| authenticator.opens_with(&self.session_keys);
        assert!(
            self.authenticator.as_ref().is_none_or(opens),
            "temporary credentials are opened by other keys than sealed them"
        );
    }
}

/// Adds the request's origin to the caller. Headers are copied only if the caller's policies test them.
fn with_origin(caller: Caller, head: &Head<'_>, peer: Peer, at: Moment) -> Caller {
    let names_headers = caller.reads(KeyName::UserAgent) || caller.reads(KeyName::Referer);
    let headers = names_headers.then(|| {
        let header = |name| head.header(name).map(Into::into);
        Arc::new(OriginHeaders {
            user_agent: header("user-agent"),
            referer: header("referer"),
        })
    });
    let origin = Origin::of(peer, at.wall.0 / 1000);
    caller.from_origin(Origin { headers, ..origin })
}

fn service(target: Target) -> Service {
    match target {
        Target::Api(_) | Target::Whep => Service::KinesisVideo,
        Target::Sts => Service::Sts,
    }
}

// The recheck of all open connections after the credentials have changed.
//
// ```text
//  credentials ─► Counting ─► Summing ──────────────► Marking ─► over
//                 each is     until all shards have   refused connections are
//                 checked     counted, and 10 s if    closed within the 5 s
//                             more than half refused
// ```
// A connection scheduled to close is checked once more at that time, against the credentials in force by then.

/// A recheck of all open connections.
#[derive(Debug)]
pub(crate) struct Walk {
    began: Now,
    pub(crate) stage: WalkStage,
}

/// The stage of a recheck.
#[derive(Clone, Copy, Debug)]
pub(crate) enum WalkStage {
    /// Checks connections, starting at this table position. The second field contains the counts so far.
    Counting(usize, RecheckSum),
    /// Waits for the other shards' counts, or for new credentials. The next check takes place at this time at the
    /// earliest. The flag is set once all shards' counts are known.
    Summing(Now, bool),
    /// Schedules the closing of the connections that are no longer authorized, starting at this table position. All of
    /// them are closed by this time.
    Marking(usize, Now),
    Over,
}

impl Walk {
    /// Creates a recheck that starts at the first connection.
    pub(crate) fn begin(began: Now) -> Self {
        let none = RecheckSum {
            connections: 0,
            forbidden: 0,
        };
        Self {
            began,
            stage: WalkStage::Counting(0, none),
        }
    }

    /// Returns when the next step of the recheck is due.
    pub(crate) fn next_due(&self) -> Option<Now> {
        match self.stage {
            WalkStage::Counting(..) | WalkStage::Marking(..) => Some(Now(0)),
            WalkStage::Summing(until, _) => Some(until),
            WalkStage::Over => None,
        }
    }

    /// Schedules the next attempt to add up all shards' counts.
    pub(crate) fn looks_again(&mut self, now: Now) {
        self.stage = WalkStage::Summing(now.after(RECHECK_LOOK_MS), false);
    }

    /// Waits for new credentials, because the current ones would close more than half of the connections.
    pub(crate) fn waits(&mut self) {
        self.stage = WalkStage::Summing(self.began.after(RECHECK_WAIT_MS), true);
    }

    /// Starts to schedule the closing of connections that are no longer authorized. `waited` tells whether the recheck
    /// has waited for new credentials.
    pub(crate) fn marks(&mut self, waited: bool) {
        let from = if waited { RECHECK_WAIT_MS } else { 0 };
        let by = self.began.after(from + RECHECK_CLOSE_MS);
        self.stage = WalkStage::Marking(0, by);
    }

    /// Returns whether other shards may still hand over connections that were accepted under the previous credentials.
    pub(crate) fn is_recent(&self, now: Now) -> bool {
        now.since(self.began) < RECHECK_LATE_MS
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::fixtures::principal;
    use crate::auth::{Principal, SignatureRules};
    use crate::id::ShardId;

    fn gate(opens: &Arc<SessionKeys>, seals: &Arc<SessionKeys>) -> Gate {
        let rules = SignatureRules {
            region: None,
            clock_tolerance_s: 300,
            strict: false,
        };
        let credentials = Arc::new(Credentials::new(Vec::new()));
        let authenticator = Authenticator::new(rules, credentials, Arc::clone(opens));
        let keys = StartKeys {
            authenticator: Some(authenticator),
            ..StartKeys::bare(ShardId(0), Arc::clone(seals))
        };
        Gate::new(keys, "123456789012", HeadLimits::default())
    }

    #[test]
    fn the_keys_that_seal_are_those_that_open() {
        let keys = Arc::new(SessionKeys::new(&[0; 32], None));
        gate(&keys, &keys).invariants();
    }

    #[test]
    fn issued_keys_end_with_the_principal_at_their_root() {
        let keys = Arc::new(SessionKeys::new(&[0; 32], None));
        let mut gate = gate(&keys, &keys);
        let mut end_of = |caller: &Caller| {
            let issued = gate.issue(caller, GrantHolder::User, 10, 100);
            issued.unwrap().expires_s
        };
        let brief = Principal {
            expires_s: Some(50),
            ..principal("brief", &[])
        };
        assert_eq!(end_of(&Caller::principal(Arc::new(brief), None)), 50);
        assert_eq!(end_of(&Caller::anyone("123456789012")), 100);
    }

    #[test]
    #[should_panic = "opened by other keys"]
    fn other_keys_are_noticed() {
        let keys = |seed| Arc::new(SessionKeys::new(&[seed; 32], None));
        gate(&keys(0), &keys(1)).invariants();
    }
}
