//! The figures of providers whose keys are fetched.

/// All providers, in the order of their issuers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ProvidersReport {
    /// Each of them.
    pub providers: Vec<ProviderReport>,
}

/// One provider.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ProviderReport {
    /// Its issuer without `https://`.
    pub issuer: Box<str>,
    /// The number of its keys in force.
    pub keys: usize,
    /// Fetches that brought keys, and those that did not.
    pub fetches: [u64; 2],
    /// When keys were fetched last, in seconds since 1970 UTC.
    pub fetched_s: Option<u64>,
    /// Why the last fetch brought none, if it did not.
    pub error: Option<String>,
}
