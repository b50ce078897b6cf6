//! The bounds of a document.

/// Longest document in bytes. Source: ours; IAM's own bounds (2,048 to 10,240 without blanks) lie below.
pub const POLICY_BYTES_MAX: usize = 64 * 1024;

/// Longest document of GetFederationToken in bytes. Source: STS API Reference, `Policy`: *Maximum length of 2048*.
pub const SESSION_POLICY_BYTES_MAX: usize = 2048;

/// Longest trust document in bytes. Source: ours; IAM's own bound (2,048 to 4,096 without blanks) lies below.
pub const TRUST_BYTES_MAX: usize = 16 * 1024;

/// Most statements of a document.
pub const STATEMENTS_MAX: usize = 256;

/// Most entries of one list of a statement: actions, resources, values of a condition.
pub const ENTRIES_MAX: usize = 512;

/// Longest single pattern in bytes: twice a channel ARN.
pub const PATTERN_BYTES_MAX: usize = 2048;

/// Most variables of a document.
pub const VARIABLES_MAX: usize = 1024;

/// Most variables of a document of GetFederationToken: each may be as long as its value, and take as much work.
pub const SESSION_VARIABLES_MAX: usize = 32;

/// Most faults that are reported of one document.
pub const FAULTS_MAX: usize = 20;
