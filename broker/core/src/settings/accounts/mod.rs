//! People's accounts of an OpenID provider, with which they use the console: `[admin.oidc]`.

use std::path::PathBuf;

/// The accounts that may use the console. What is secret stays in its file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Oidc {
    /// The issuer of a provider of the credentials file, without `https://`.
    pub provider: String,
    /// The claim of an id token that decides: a text, or a list of texts.
    pub claim: String,
    /// The value that the claim must be, or have in its list.
    pub value: String,
    /// The client that the console is to the provider; `None`: the only one that the credentials file names.
    pub client_id: Option<String>,
    /// A file with that client's secret; without, it is a public client.
    pub client_secret_file: Option<PathBuf>,
    /// The scopes that are asked for; empty for [`SCOPES`](Self::SCOPES).
    pub scopes: Vec<String>,
}

impl Oidc {
    /// The scopes that are asked for unless others are written. Source: OpenID Connect Core 1.0, section 5.4.
    pub const SCOPES: [&'static str; 3] = ["openid", "email", "profile"];

    /// Whether it says whom to let in.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        ![&self.provider, &self.claim, &self.value]
            .iter()
            .any(|text| text.is_empty())
    }

    /// The scopes as a request has them.
    #[must_use]
    pub fn scope(&self) -> String {
        if self.scopes.is_empty() {
            Self::SCOPES.join(" ")
        } else {
            self.scopes.join(" ")
        }
    }
}
