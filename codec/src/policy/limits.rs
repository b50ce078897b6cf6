//! Limits of policy documents.

/// Maximum length of a document in bytes. IAM's own limits (2,048 to 10,240 characters without white space) are lower.
pub const POLICY_BYTES_MAX: usize = 64 * 1024;

/// Maximum length of a session policy in bytes. Source: STS API Reference, `Policy`: *Maximum length of 2048*.
pub const SESSION_POLICY_BYTES_MAX: usize = 2048;

/// Maximum length of a trust document in bytes. IAM's limits (2,048 to 4,096 characters without white space) are lower.
pub const TRUST_BYTES_MAX: usize = 16 * 1024;

/// Maximum number of statements in a document.
pub const STATEMENTS_MAX: usize = 256;

/// Maximum number of entries in one of a statement's lists (actions, resources, or values of a condition).
pub const ENTRIES_MAX: usize = 512;

/// Maximum length of a single pattern in bytes: twice the maximum length of a channel ARN.
pub const PATTERN_BYTES_MAX: usize = 2048;

/// Maximum number of variables in a document.
pub const VARIABLES_MAX: usize = 1024;

/// Maximum number of variables in a session policy. Expanding a variable takes time proportional to the length of its
/// value.
pub const SESSION_VARIABLES_MAX: usize = 32;

/// Maximum number of errors reported for one document.
pub const FAULTS_MAX: usize = 20;
