//! `heliograph version`: identifies the build.

use crate::config::VersionFlags;
use serde_json::json;
use std::path::Path;

/// Formats the version as a line of text or as a JSON object, depending on the flags. The object contains `version`,
/// `commit`, `dirty` (whether the tree had uncommitted changes), `target`, `profile` and `rustc`. `commit` is null if
/// the commit is unknown. `dirty` is null if the commit is unknown or was specified by `HELIOGRAPH_COMMIT`.
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
    let changes = if is_dirty == Some(true) {
        " with changes"
    } else {
        ""
    };
    let commit = COMMIT.map(|id| format!("commit {id}{changes}, "));
    let commit = commit.unwrap_or_default();
    format!("heliograph {VERSION} ({commit}{PROFILE} build for {TARGET}, {RUSTC})\n")
}

pub(crate) fn log_build(config: Option<&Path>, sha256: &str) {
    let config = config.map(|path| path.display().to_string());
    let sha256 = Some(sha256).filter(|it| !it.is_empty());
    tracing::info!(
        version = VERSION,
        commit = COMMIT_LABEL,
        config,
        sha256,
        "running"
    );
}

pub(crate) fn label() -> String {
    format!("{VERSION}, commit {COMMIT_LABEL}")
}

/// The commit, as used in a metric label and in `/overview`. `unknown` if there is none.
pub(crate) const COMMIT_LABEL: &str = match COMMIT {
    Some(id) => id,
    None => "unknown",
};

const VERSION: &str = env!("CARGO_PKG_VERSION");
const TARGET: &str = env!("HELIOGRAPH_BUILD_TARGET");
const PROFILE: &str = env!("HELIOGRAPH_BUILD_PROFILE");
const RUSTC: &str = env!("HELIOGRAPH_BUILD_RUSTC");

/// The commit that was built: the value of the variable `HELIOGRAPH_COMMIT` or, in a release build, the commit that was
/// checked out. `None` if there is neither.
const COMMIT: Option<&str> = option_env!("HELIOGRAPH_BUILD_COMMIT");
const DIRTY: Option<&str> = option_env!("HELIOGRAPH_BUILD_DIRTY");
