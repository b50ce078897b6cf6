//! People's accounts: what an id token must have to let somebody use the console, beside all that every token must.

use crate::auth::provider::{KeySet, Provider, TokenFault, Unverified};
use aws_lc_rs::constant_time::verify_slices_are_equal;
use std::fmt;

/// The contents that an id token must have.
#[derive(Clone, Copy, Debug)]
pub struct Wanted<'w> {
    /// The client that asked for it.
    pub client_id: &'w str,
    /// The text that the client sent along, which only this sign-in has.
    pub nonce: &'w str,
    /// The claim that decides: a text, or a list of texts.
    pub claim: &'w str,
    /// The value that it must be or have.
    pub value: &'w str,
}

/// Why an id token lets nobody in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AccountFault {
    /// It is no token of the provider for this client.
    Token(TokenFault),
    /// It belongs to another sign-in.
    Nonce,
    /// It is right, but of somebody who is not to be let in: this subject.
    Stranger(Box<str>),
    /// It is of this subject, whose address nobody has checked.
    Unchecked(Box<str>),
}

impl Provider {
    /// Checks an id token of this provider at a moment, in seconds since 1970 UTC, and returns its subject. An `email`
    /// decides only with `email_verified`: with many providers people write there what they like.
    ///
    /// Source: OpenID Connect Core 1.0, section 3.1.3.7, "ID Token Validation", and section 5.1, `email_verified`.
    ///
    /// # Errors
    /// See [`AccountFault`].
    pub fn verify_account(
        &self,
        token: &Unverified<'_>,
        keys: Option<&KeySet>,
        wanted: &Wanted<'_>,
        now_s: u64,
    ) -> Result<Box<str>, AccountFault> {
        let console = Self {
            client_ids: vec![wanted.client_id.into()],
            claims: Vec::new(),
            ..self.clone()
        };
        let verified = console.verify(token, keys, now_s);
        let subject = verified.map_err(AccountFault::Token)?.subject;
        let claims = &token.claims;
        // A party that is the client does not make it the audience.
        let mut audiences = claims.audiences().into_iter().flatten();
        if !audiences.any(|one| *one == *wanted.client_id) {
            return Err(AccountFault::Token(TokenFault::Audience));
        }
        let nonce = claims.text("nonce").unwrap_or_default();
        if verify_slices_are_equal(nonce.as_bytes(), wanted.nonce.as_bytes()).is_err() {
            return Err(AccountFault::Nonce);
        }
        if !claims.has_value(wanted.claim, wanted.value) {
            return Err(AccountFault::Stranger(subject));
        }
        if wanted.claim == "email" && !claims.is_true("email_verified") {
            return Err(AccountFault::Unchecked(subject));
        }
        Ok(subject)
    }
}

impl fmt::Display for AccountFault {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Token(fault) => fault.fmt(out),
            Self::Nonce => out.write_str("the token belongs to another sign-in: its nonce differs"),
            Self::Stranger(_) => out.write_str("the claim has another value"),
            Self::Unchecked(_) => out.write_str("the claim email_verified is not true"),
        }
    }
}
