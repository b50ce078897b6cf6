//! `heliograph version`: which build this binary is.

use crate::config::VersionFlags;
use serde_json::json;

/// One line for people, or an object: `version`, `commit`, `dirty` (whether the tree had other changes), `target`,
/// `profile`, `rustc`. Commit and tree are null in a debug build, and in one outside of a git checkout.
#[must_use]
pub fn text(flags: &VersionFlags) -> String {
    let is_dirty = DIRTY.map(|dirty| dirty == "true");
    if flags.json {
        let document = json!({
            "version": VERSION,
            "commit": COMMIT,
            "dirty": is_dirty,
            "target": TARGET,
            "profile": PROFILE,
            "rustc": RUSTC,
        });
        return format!("{document:#}\n");
    }
    let changes = match is_dirty {
        Some(true) => " with changes",
        Some(false) | None => "",
    };
    let commit = COMMIT.map(|id| format!("commit {id}{changes}, "));
    let commit = commit.unwrap_or_default();
    format!("heliograph {VERSION} ({commit}{PROFILE} build for {TARGET}, {RUSTC})\n")
}

const VERSION: &str = env!("CARGO_PKG_VERSION");
const TARGET: &str = env!("HELIOGRAPH_BUILD_TARGET");
const PROFILE: &str = env!("HELIOGRAPH_BUILD_PROFILE");
const RUSTC: &str = env!("HELIOGRAPH_BUILD_RUSTC");
const COMMIT: Option<&str> = option_env!("HELIOGRAPH_BUILD_COMMIT");
const DIRTY: Option<&str> = option_env!("HELIOGRAPH_BUILD_DIRTY");
