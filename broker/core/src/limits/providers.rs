//! Bounds of OpenID providers, and of those who sign in with their tokens.

/// OpenID providers of a credentials file: more is refused at loading.
pub const PROVIDERS_MAX: usize = 64;

/// Client ids of one provider. Source: IAM User Guide, "IAM and AWS STS quotas", *OIDC client IDs*: 100.
pub const CLIENT_IDS_MAX: usize = 100;

/// Bytes of a provider's keys as it publishes them, and of its discovery document.
pub const KEY_SET_BYTES_MAX: usize = 64 * 1024;

/// Keys of one provider.
pub const KEYS_OF_PROVIDER_MAX: usize = 100;

/// Bytes of a provider's token. Source: STS API Reference, "AssumeRoleWithWebIdentity", `WebIdentityToken`.
pub const WEB_TOKEN_BYTES_MAX: usize = 20_000;

/// Bytes of the values of claims that one session keeps: they are part of its token.
pub const WEB_CLAIMS_BYTES_MAX: usize = 1024;

/// Bytes of a form that is not signed: a provider's token and a session policy fit.
pub const UNSIGNED_FORM_BYTES_MAX: usize = 32 * 1024;

/// Unsigned sign-ins of one address a second: each costs a signature check.
pub const SIGN_INS_PER_SECOND: u32 = 20;

/// Those that it may make at once.
pub const SIGN_INS_BURST: u32 = 100;

/// Addresses whose unsigned sign-ins a shard counts one by one, 40 bytes each; all others share one rate.
pub const SIGN_IN_ADDRESSES_MAX: usize = 4096;

/// Names of claims that policies and trusts of a file ask for of one provider.
pub const CLAIM_NAMES_MAX: usize = 32;
