//! JSON text of signaling messages: two readers with one result, and the escaping writer.
//!
//! Clients nearly always send one flat object of strings, without escapes but perhaps `\/`. The flat scanner (`scan`)
//! reads that shape, skips what unknown members hold (`skip`), and stops at anything else *before it has changed a
//! byte*; then simd-json (`tape`) decides. So the scanner can only be quicker, never laxer: whatever it accepts,
//! simd-json reads alike, which tests hold over generated and mutated texts.
//!
//! Both find the places of the values of the four known members in the text. Escapes are undone in place, so that these
//! strings are in the text as well.
//!
//! simd-json differs from RFC 8259 in one point: numbers beyond 64 bits and beyond the range of a double are
//! grammatical, and refused.

pub(crate) mod members;
#[cfg(test)]
mod oracle;
mod scan;
mod skip;
pub(crate) mod tape;
pub(crate) mod value;
pub mod write;

use members::Members;
use scan::scan;
use tape::TapeReader;

/// Reads a text: the scanner first, simd-json for what it leaves. `None`: not one JSON object, or nested too deep.
pub(crate) fn read(text: &mut [u8], tape: &mut TapeReader) -> Option<Members> {
    scan(text).or_else(|| tape.members(text))
}
