//! The console in headless Chromium, signed in with an account. Run by `client_browser`.

use super::browser::Console;
use crate::client_browser::{node, screenshots};
use crate::clients::alone;
use serde_json::json;

/// Signs in, looks around, changes something, signs out; then as somebody who is not let in.
pub(crate) fn signs_in() {
    let console = Console::start(&json!({}));
    console.welcomes(&json!({}));
    run_script("welcome", &console);
    console.welcomes(&json!({"groups": ["staff"], "sub": "<b>eve</b>"}));
    run_script("stranger", &console);
    console.end();
}

fn run_script(who: &str, console: &Console) {
    let mut command = node("console/account.mjs");
    let admin = format!("http://localhost:{}", console.address().port());
    command
        .env("HELIOGRAPH_ADMIN", admin)
        .env("HELIOGRAPH_WHO", who)
        .env("HELIOGRAPH_PROVIDER", &console.provider.issuer)
        .env("HELIOGRAPH_SCREENSHOTS", screenshots());
    alone(command);
}
