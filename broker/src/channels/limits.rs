//! Bounds of an import. Beyond one of them nothing is imported, and the fault names it.

/// Bytes of one file: a million channels as the AWS CLI prints them, some 500 bytes each. It is held in memory whole.
pub(crate) const FILE_BYTES_MAX: usize = 512 << 20;

/// Channels of all files of an import together: those that one node was measured with. Some 400 bytes each in memory,
/// and their tags.
pub(crate) const CHANNELS_MAX: usize = 1_000_000;

/// Faults that are shown; of further ones only the number.
pub(crate) const FAULTS_SHOWN_MAX: usize = 100;
