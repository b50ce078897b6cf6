//! Bounds of the flight recorder.

use crate::limits::share;

/// Bytes of one note of the flight recorder.
pub const NOTE_BYTES: usize = 32;

/// Notes of one shard's flight recorder, the oldest overwritten: 2 MiB. A session of a viewer takes some 30 of them.
pub const RECORDER_NOTES: usize = 1 << 16;

/// The same of one of this many shards: 32 MiB in all; 1 MiB beyond 128 shards, where letters and buffers take more.
#[must_use]
pub const fn recorder_notes(shards: usize) -> usize {
    if shards > 128 {
        return 128;
    }
    1 << share(1 << 20, shards, RECORDER_NOTES_LEAST, RECORDER_NOTES).ilog2()
}

/// The fewest and the most notes that may be configured: 32 KiB and 128 MiB a shard.
pub const RECORDER_NOTES_LEAST: usize = 1 << 10;
/// See [`RECORDER_NOTES_LEAST`].
pub const RECORDER_NOTES_MOST: usize = 1 << 22;

/// Notes of the flight recorder that a shard looks at in one step of a trace: some 0.1 ms. The next step is a letter of
/// its own, so messages go on in between.
pub const INSPECTED_NOTES_PER_STEP: usize = 16_384;
