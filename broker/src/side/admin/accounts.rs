//! Console accounts, for people whom an OpenID provider authenticates. They can use the console without the admin
//! token.
//!
//! ```text
//!  browser ── /account/sign-in ──► SignIns: state, nonce, verifier ── 303, cookie with the state ──► provider's page
//!     ▲                                                                                                    │
//!     │    provider ◄── code, verifier, secret ── exchange ◄── taken once, by its state ◄── /account/callback
//!     │       └── id token ──► signature, audience, nonce, claim ──► Sessions ── cookie ──► the console
//!     └── 303 to /
//! ```
//! * A sign-in belongs to one browser: the callback must carry the state both in its query and in a cookie. The server
//!   exchanges the code, together with a verifier that no page ever sees.
//! * A session ends after eight hours, when the user signs out, when the process exits, or when a reload changes the
//!   rule that admitted its account.
//! * A session is bound to the origin at which it was opened. A request that changes something must carry this origin
//!   in `Origin`, in addition to the cookie. When a session ends, its event streams are closed.
//! * Redirects never depend on data from the browser: the URL of the provider's page comes from the discovery document,
//!   and the callback, which is at a configured origin or on loopback, redirects to `/`.
//!
//! Sources: OpenID Connect Core 1.0, section 3.1; RFC 7636 (PKCE); RFC 9207 (`iss`); RFC 9700, "Best Current Practice
//! for OAuth 2.0 Security"; RFC 6265bis, section 4.1.3 (cookie names).

use crate::side::admin::access::{AccessRefusal, sole};
use crate::side::admin::account_sessions::{Account, Basis, Sessions, SignIns};
use crate::side::admin::sign_in::{self, BrowserPlace, CookieOf};
use crate::side::{shared_state::Shared, try_sessions::InForce};
use crate::{limits::CONSOLE_EXCHANGES_MAX, providers::Knowledge};
use axum::http::{HeaderMap, Method, header};
use broker_core::auth::provider::Provider;
use broker_core::settings::Oidc;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::{Semaphore, watch};
use zeroize::Zeroizing;

/// The console accounts as configured at startup.
pub struct Console {
    /// The current admission rule.
    pub admission: watch::Receiver<Option<Arc<ConsoleAdmission>>>,
    /// Whether provider URLs may point to loopback.
    pub dev: bool,
}

/// The configured admission rule and the client secret. Replaced on reload.
pub struct ConsoleAdmission {
    /// The rule as configured.
    pub oidc: Oidc,
    /// The content of the client secret file.
    pub secret: Option<Zeroizing<String>>,
}

/// The pending sign-ins and sessions of the console. Clones share them.
#[derive(Clone)]
pub(crate) struct Accounts(pub(crate) Arc<AccountsState>);

pub(crate) struct AccountsState {
    pub(crate) console: Console,
    credentials: InForce,
    pub(crate) known: Knowledge,
    pub(crate) origins: Vec<String>,
    pub(crate) exchanges: Semaphore,
    pub(crate) sign_ins: Shared<SignIns>,
    pub(crate) sessions: Shared<Sessions>,
}

pub(crate) struct Terms {
    pub(crate) basis: Arc<Basis>,
    pub(crate) provider: Arc<Provider>,
    pub(crate) admission: Arc<ConsoleAdmission>,
}

impl Accounts {
    /// Creates the state of the accounts. Returns `None` unless accounts are configured and requests must be signed.
    pub(crate) fn new(
        console: Option<Console>,
        credentials: Option<InForce>,
        known: Option<Knowledge>,
        origins: &[String],
    ) -> Option<Self> {
        Some(Self(Arc::new(AccountsState {
            console: console?,
            credentials: credentials?,
            known: known?,
            origins: origins.to_vec(),
            exchanges: Semaphore::new(CONSOLE_EXCHANGES_MAX),
            sign_ins: Shared::default(),
            sessions: Shared::default(),
        })))
    }

    /// Returns the account that made a request. Fails if the request has no valid session, or if it changes something
    /// but does not come from a page of the session's origin.
    pub(crate) fn admit(
        &self,
        method: &Method,
        headers: &HeaderMap,
        now: Instant,
    ) -> Result<Account, AccessRefusal> {
        let place = BrowserPlace::of(headers, &self.0.origins).ok_or(AccessRefusal::Token)?;
        let session =
            sign_in::find(headers, &place.cookie(CookieOf::Session)).ok_or(AccessRefusal::Token)?;
        let basis = self.terms().map(|terms| terms.basis);
        let account = self.0.sessions.lock().find(session, &place.origin, now);
        let (account, opened_by) = account.ok_or(AccessRefusal::Token)?;
        if basis.as_ref() != Some(&opened_by) {
            return Err(AccessRefusal::Token); // `watch` ends the session and logs its end
        }
        let reads = *method == Method::GET || *method == Method::HEAD;
        if !reads && sole(headers, header::ORIGIN).is_none_or(|from| *from != place.origin) {
            return Err(AccessRefusal::Origin);
        }
        Ok(account)
    }

    /// Ends sessions that have expired or whose account is no longer admitted, and closes their event streams. Runs
    /// forever.
    pub(crate) async fn watch(self) {
        let mut admission = self.0.console.admission.clone();
        let mut credentials = self.0.credentials.clone();
        loop {
            let basis = self.terms().map(|terms| terms.basis);
            let ended = self.0.sessions.lock().sweep(basis, Instant::now());
            for account in ended {
                let Account {
                    issuer, subject, ..
                } = &account;
                tracing::info!(%issuer, subject = sign_in::cut(subject), "a session of the console ended");
            }
            tokio::select! {
                changed = admission.changed() => if changed.is_err() { return },
                changed = credentials.changed() => if changed.is_err() { return },
                () = tokio::time::sleep(SWEEP_EVERY) => {}
            }
        }
    }

    /// Returns the current admission rule, or `None` if its client id is unknown or the credentials file does not
    /// contain its provider.
    pub(crate) fn terms(&self) -> Option<Terms> {
        let admission = self.0.console.admission.borrow().clone()?;
        let credentials = Arc::clone(&self.0.credentials.borrow());
        let oidc = &admission.oidc;
        let provider = credentials.provider(&oidc.provider)?;
        let client_id = client_of(oidc, provider)?;
        let basis = Basis {
            issuer: provider.issuer.clone(),
            client_id: client_id.into(),
            claim: oidc.claim.as_str().into(),
            value: oidc.value.as_str().into(),
        };
        Some(Terms {
            basis: Arc::new(basis),
            provider: Arc::clone(provider),
            admission,
        })
    }
}

pub(crate) fn client_of<'c>(oidc: &'c Oidc, provider: &'c Provider) -> Option<&'c str> {
    match (&oidc.client_id, &*provider.client_ids) {
        (Some(client_id), _) => Some(client_id),
        (None, [sole]) => Some(sole),
        (None, _) => None,
    }
}

const SWEEP_EVERY: Duration = Duration::from_secs(1);
