//! The file of the admin listener's token: one line. Read by the server, and by subcommands that ask it.

use crate::files::read_text;
use std::path::Path;

/// The variable of the environment that names the file. It is none of those that a broker under test answers with,
/// which any process may answer with that has the port: who takes this one over sends what is in the file.
pub(crate) const TOKEN_FILE: &str = "HELIOGRAPH_ADMIN_TOKEN_FILE";

/// The token of a file.
///
/// # Errors
/// The rule that the file breaks.
pub(crate) fn token(path: &Path) -> Result<String, String> {
    let read = read_text(path, TOKEN_BYTES_MAX)
        .map_err(|error| format!("must be a readable file: {error}"))?;
    let token = read.content.trim();
    if token.len() < TOKEN_MIN || !token.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(format!(
            "must have one line of at least {TOKEN_MIN} printable ASCII characters"
        ));
    }
    Ok(token.to_owned())
}

/// Shortest admin token.
const TOKEN_MIN: usize = 16;

/// Longest file of an admin token.
const TOKEN_BYTES_MAX: usize = 4096;
