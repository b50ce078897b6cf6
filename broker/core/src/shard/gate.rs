//! The signature of a request, checked by the shard that accepted its connection; and the progress of asking open
//! connections again.

use crate::address_shares;
use crate::auth::grant_rates::GrantRates;
use crate::auth::provider::{Keyring, TokenFault, Unverified};
use crate::auth::{
    Authenticator, Caller, Credentials, Grant, InForce, Nonces, Origin, OriginHeaders, RecheckSum,
    SealError, SessionGrant, SessionKeys, SharedSessions, SignIn, Temporary,
};
use crate::limits::{
    RECHECK_CLOSE_MS, RECHECK_LATE_MS, RECHECK_LOOK_MS, RECHECK_WAIT_MS, UNSIGNED_FORM_BYTES_MAX,
};
use crate::session::http::Target;
use crate::shard::evidence::{Evidence, SignatureEvidence, named};
use crate::shard::{sign_in_rates::KeyedRates, start::StartKeys};
use crate::time::{Moment, Now};
use crate::{event::Purpose, machine::Peer, refusal::Refusal, settings::Rate};
use codec::http::{Head, HeadLimits};
use codec::policy::KeyName;
use codec::sigv4::{self, Service};
use std::sync::Arc;

/// The signatures and keys of those who may come in.
///
/// Invariant: temporary credentials that are sealed here are opened by the keys that sealed them.
pub(crate) struct Gate {
    /// Checks signatures; `None` where none is asked for.
    authenticator: Option<Authenticator>,
    /// The caller where no signature is checked.
    anyone: Caller,
    /// Bounds of a request's head.
    head: HeadLimits,
    /// The keys that temporary credentials are sealed with.
    session_keys: Arc<SessionKeys>,
    /// Nonces of session keys.
    nonces: Nonces,
    /// The sessions of open connections.
    sessions: SharedSessions,
    /// Open connections are asked again, since there are other credentials.
    walk: Option<Walk>,
    /// The keys of providers that were fetched.
    keyring: Arc<Keyring>,
    /// Of addresses, for sign-ins that are not signed.
    sign_ins: KeyedRates<address_shares::Origin>,
    /// Of callers, for their calls for temporary credentials that were refused.
    refused_grants: KeyedRates<u64>,
}

impl Gate {
    /// A gate with these keys. `account` is the one of callers whose signature is not checked.
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

    /// Whether requests have to be signed.
    pub(crate) fn asks_for_signatures(&self) -> bool {
        self.authenticator.is_some()
    }

    /// The head of a request that was read before, from its text.
    pub(crate) fn reread<'h>(&self, text: &'h [u8]) -> Option<Head<'h>> {
        Head::parse(text, &self.head).ok()
    }

    /// Refuses what no key and no body could make right, before a body is waited for.
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

    /// The sender of a request: anyone, where no signature is asked for. `head` is the text of a head that was read
    /// before.
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

    /// The caller of an upgrade, and the path that is signed. Nothing follows the head that could be.
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

/// The reason for which a caller's calls are not looked at.
const REFUSED_TOO_OFTEN: &str = "calls of this caller for temporary credentials were refused too often: see why those \
                                 were, and let it stop or pause";

impl Gate {
    /// Makes temporary credentials of a grant, under a nonce of their own.
    ///
    /// # Errors
    /// See [`SealError`].
    pub(crate) fn seal(&mut self, grant: &Grant<'_>) -> Result<Temporary, SealError> {
        let nonce = self.nonces.draw();
        self.session_keys.seal(&nonce, grant)
    }

    /// Makes temporary credentials of a session, under a nonce of their own.
    ///
    /// # Errors
    /// See [`SealError`].
    pub(crate) fn seal_session(
        &mut self,
        grant: &SessionGrant<'_>,
    ) -> Result<Temporary, SealError> {
        let nonce = self.nonces.draw();
        self.session_keys.seal_session(&nonce, grant)
    }

    /// The principals and roles; `None` where no signature is asked for.
    pub(crate) fn credentials(&self) -> Option<&Credentials> {
        self.authenticator.as_ref().map(Authenticator::credentials)
    }

    /// Whether a form of this length may be a sign-in with a provider's token, which is not signed.
    pub(crate) fn takes_unsigned(&self, length: usize) -> bool {
        self.authenticator.is_some() && length <= UNSIGNED_FORM_BYTES_MAX
    }

    /// Counts one more sign-in of an address that is not signed; false when its rate is used up.
    pub(crate) fn may_sign_in(&mut self, peer: Peer, at: Moment) -> bool {
        let origin = address_shares::Origin::of(peer.remote.ip());
        self.sign_ins.take(origin, at.now)
    }

    /// Checks a provider's token. Where no signature is asked for, neither is this one.
    ///
    /// # Errors
    /// See [`WebFault`].
    pub(crate) fn identify(&self, token: &str, peer: Peer, at: Moment) -> Result<Caller, WebFault> {
        let read = Unverified::read(token).map_err(|fault| WebFault {
            fault,
            claimed: None,
        })?;
        let Some(authenticator) = &self.authenticator else {
            return Ok(self.anyone.clone());
        };
        let credentials = authenticator.credentials();
        let provider = read
            .issuer()
            .and_then(|issuer| credentials.provider(issuer));
        let claimed = || {
            Some(ClaimedToken {
                issuer: named(read.claimed_issuer()),
                subject: read.subject().map(named),
            })
        };
        let provider = provider.ok_or_else(|| WebFault {
            fault: TokenFault::Issuer,
            claimed: claimed(),
        })?;
        let keys = self.keyring.keys_of(provider);
        let verified = provider.verify(&read, keys, at.wall.0 / 1000);
        let identity = verified.map_err(|fault| {
            if fault.asks_for_keys() {
                self.keyring.wish(provider);
            }
            WebFault {
                fault,
                claimed: claimed(),
            }
        })?;
        let account = identity.account.clone();
        let region = authenticator.region().cloned();
        let caller = Caller::signing_in(SignIn::Web(identity), &account, region);
        Ok(caller.from_origin(Origin {
            address: peer.remote.ip().to_canonical(),
            tls: peer.tls,
            asked_s: at.wall.0 / 1000,
            headers: None,
        }))
    }

    /// Whether a caller of this hash may be given temporary credentials, as far as the rate of its account and that of
    /// its own refused calls go.
    ///
    /// # Errors
    /// Why not, for operators; empty: the account's rate is used up.
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

    /// Counts temporary credentials that a caller was given.
    pub(crate) fn count_grant(&self, caller: &Caller, hash: u64, rate: Rate, at: Moment) {
        if let Some(rates) = self.grant_rates(caller) {
            rates.take(hash, rate, at.now);
        }
    }

    /// Counts a call of a caller for temporary credentials that was refused.
    pub(crate) fn count_refused_grant(&mut self, hash: u64, at: Moment) {
        self.refused_grants.take(hash, at.now);
    }

    fn grant_rates(&self, caller: &Caller) -> Option<&GrantRates> {
        self.credentials()?.grant_rates(caller.account())
    }

    /// Bytes that were hashed to check signatures.
    pub(crate) fn hashed_bytes(&self) -> u64 {
        let authenticator = self.authenticator.as_ref();
        authenticator.map_or(0, Authenticator::hashed_bytes)
    }

    /// The evidence of a request whose signature was just found wrong.
    pub(crate) fn evidence<'a>(
        &'a self,
        purpose: Purpose,
        head: Option<&'a Head<'a>>,
    ) -> Evidence<'a> {
        let signature = self.authenticator.as_ref().map(|authenticator| {
            let (canonical_request, string_to_sign) = authenticator.compared();
            SignatureEvidence {
                authenticator,
                canonical_request,
                string_to_sign,
            }
        });
        Evidence {
            head,
            signature,
            ..Evidence::of(purpose)
        }
    }

    /// From here on these are the principals; false where no signature is checked. Connections stay what they are,
    /// until they are asked again where they are.
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

    /// The credentials in force, by which callers are found again; `None` where no signature is asked for.
    pub(crate) fn in_force(&mut self, at: Moment) -> Option<InForce<'_>> {
        let authenticator = self.authenticator.as_ref()?;
        Some(InForce {
            credentials: authenticator.credentials(),
            sessions: &mut self.sessions,
            region: authenticator.region().cloned(),
            now_s: at.wall.0 / 1000,
        })
    }

    /// The walk over open connections that is under way.
    pub(crate) fn walk(&mut self) -> Option<&mut Walk> {
        self.walk.as_mut()
    }

    /// The next step of that walk is due then.
    pub(crate) fn next_walk(&self) -> Option<Now> {
        self.walk.as_ref().and_then(Walk::next_due)
    }

    /// From here on these are the keys of providers.
    pub(crate) fn replace_keyring(&mut self, keyring: Arc<Keyring>) {
        self.keyring = keyring;
    }

    /// Checks what holds between two inputs.
    ///
    /// # Panics
    /// When it does not.
    pub(crate) fn invariants(&self) {
        let opens = |authenticator: &Authenticator| authenticator.opens_with(&self.session_keys);
        assert!(
            self.authenticator.as_ref().is_none_or(opens),
            "temporary credentials are opened by other keys than sealed them"
        );
    }
}

/// Why a provider's token is not accepted.
#[derive(Debug)]
pub(crate) struct WebFault {
    pub(crate) fault: TokenFault,
    /// The token's own words, for which nobody vouches.
    pub(crate) claimed: Option<ClaimedToken>,
}

/// A token by its own words.
#[derive(Debug)]
pub(crate) struct ClaimedToken {
    /// Issuer.
    pub(crate) issuer: Box<str>,
    /// Subject.
    pub(crate) subject: Option<Box<str>>,
}

impl ClaimedToken {
    /// The issuer as providers are named: without `https://`.
    pub(crate) fn provider(&self) -> &str {
        let bare = self.issuer.strip_prefix("https://");
        bare.unwrap_or(&self.issuer)
    }
}

/// The caller with the origin of its request. Headers are copied for those whose policies name them.
fn with_origin(caller: Caller, head: &Head<'_>, peer: Peer, at: Moment) -> Caller {
    let names_headers = caller.reads(KeyName::UserAgent) || caller.reads(KeyName::Referer);
    let headers = names_headers.then(|| {
        let header = |name| head.header(name).map(Into::into);
        Arc::new(OriginHeaders {
            user_agent: header("user-agent"),
            referer: header("referer"),
        })
    });
    caller.from_origin(Origin {
        address: peer.remote.ip().to_canonical(),
        tls: peer.tls,
        asked_s: at.wall.0 / 1000,
        headers,
    })
}

fn service(target: Target) -> Service {
    match target {
        Target::Api(_) => Service::KinesisVideo,
        Target::Sts => Service::Sts,
    }
}

// The progress of asking all open connections again, after other credentials came.
//
// ```text
//  credentials ─► Counting ─► Summing ──────────────► Marking ─► over
//                 each is     until all shards have   those that are refused get
//                 asked       counted, and 10 s when  an end within the 5 s
//                             it is more than half
// ```
// A connection that has such an end is asked once more when that comes, by the credentials of then.

/// One walk over all open connections.
#[derive(Debug)]
pub(crate) struct Walk {
    began: Now,
    pub(crate) stage: Stage,
}

/// The stages of a walk.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Stage {
    /// Each connection is asked, from this place on; with the sums so far.
    Counting(usize, RecheckSum),
    /// The other shards are waited for, or other credentials: until this moment at least. Whether the sums are known.
    Summing(Now, bool),
    /// Marking sessions that are refused, from this place on, to end by this moment.
    Marking(usize, Now),
    /// Nothing is left to do.
    Over,
}

impl Walk {
    /// Begins with the first connection.
    pub(crate) fn begin(began: Now) -> Self {
        let none = RecheckSum {
            connections: 0,
            forbidden: 0,
        };
        Self {
            began,
            stage: Stage::Counting(0, none),
        }
    }

    /// When its next step is due.
    pub(crate) fn next_due(&self) -> Option<Now> {
        match self.stage {
            Stage::Counting(..) | Stage::Marking(..) => Some(Now(0)),
            Stage::Summing(until, _) => Some(until),
            Stage::Over => None,
        }
    }

    /// Another look at the sums is due.
    pub(crate) fn looks_again(&mut self, now: Now) {
        self.stage = Stage::Summing(now.after(RECHECK_LOOK_MS), false);
    }

    /// More than half are refused: others may come for a time.
    pub(crate) fn waits(&mut self) {
        self.stage = Stage::Summing(self.began.after(RECHECK_WAIT_MS), true);
    }

    /// Marks sessions that are refused with their ends. `waited`: others could have come until now.
    pub(crate) fn marks(&mut self, waited: bool) {
        let from = if waited { RECHECK_WAIT_MS } else { 0 };
        let by = self.began.after(from + RECHECK_CLOSE_MS);
        self.stage = Stage::Marking(0, by);
    }

    /// Ends the recheck.
    pub(crate) fn end(&mut self) {
        self.stage = Stage::Over;
    }

    /// Whether a connection may still come that was let in by the credentials of before: it was on its way between two
    /// shards.
    pub(crate) fn is_recent(&self, now: Now) -> bool {
        now.since(self.began) < RECHECK_LATE_MS
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::SignatureRules;
    use crate::id::ShardId;

    fn gate(opens: &Arc<SessionKeys>, seals: &Arc<SessionKeys>) -> Gate {
        let rules = SignatureRules {
            region: None,
            clock_tolerance_s: 300,
            strict: false,
        };
        let credentials = Arc::new(Credentials::new(Vec::new()).unwrap());
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
    #[should_panic = "opened by other keys"]
    fn other_keys_are_noticed() {
        let keys = |seed| Arc::new(SessionKeys::new(&[seed; 32], None));
        gate(&keys(0), &keys(1)).invariants();
    }
}
