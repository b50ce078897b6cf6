//! Parts of the document of a refusal.

use broker_core::check::Check;
use broker_core::journal::{Presented, Refused};
use serde_json::Value;

/// Adds the certificate or the token, and the role; null where there is none.
pub(crate) fn show_sign_in(row: &mut Value, sign_in: Option<&Presented>) {
    let nothing = Presented::default();
    for (name, text) in sign_in.unwrap_or(&nothing).named() {
        row[name] = text.into();
    }
}

/// Why a request was refused; where its time was wrong, how far its clock is off comes first.
pub(crate) fn says(refused: &Refused) -> String {
    let says = refused.check.says();
    let Some(skew) = refused.claims.clock_skew_s else {
        return says.to_owned();
    };
    let off = skew.unsigned_abs();
    if refused.check == Check::UrlExpired {
        format!("Its clock is {off} s slow, or the URL was used again. {says}")
    } else if refused.check == Check::SignatureExpired {
        format!("Its clock is {off} s slow. {says}")
    } else if refused.check == Check::SignatureEarly {
        format!("Its clock is {off} s fast. {says}")
    } else {
        says.to_owned()
    }
}
