//! Role aliases of a credentials file: the names by which devices ask for a role.

use crate::config::credentials::roles::WrittenRole;
use crate::config::document::Section;
use broker_core::auth::RoleAlias;
use broker_core::settings::value::{self, Checked, letters};

/// A role alias of this name. `None` when it does not load.
pub(crate) fn alias(
    section: &mut Section<'_, '_>,
    name: &str,
    roles: &[WrittenRole],
) -> Option<RoleAlias> {
    if let Err(rule) = alias_name(name) {
        section.fault(format!("the name: {rule}"));
    }
    let role = section.text("role", |text| {
        let mut roles = roles.iter();
        let role = roles.find(|written| written.role.name == text);
        role.ok_or_else(|| format!("there is no [role.{text}]"))
    });
    let duration_ms = section.text("duration", |text| {
        value::duration(text, DURATION_MS_MIN..=DURATION_MS_MAX)
    });
    if !section.has("role") {
        section.fault("role needed");
    }
    if section.has_faults() {
        return None;
    }
    let role = &role?.role;
    let duration_s = duration_ms.unwrap_or(DURATION_MS_DEFAULT) / 1000;
    Some(RoleAlias {
        name: name.into(),
        role: role.name.as_str().into(),
        account: role.account.as_str().into(),
        duration_s: u32::try_from(duration_s).ok()?,
    })
}

/// Remarks on an alias that is valid but refuses everybody.
pub(crate) fn remark(alias: &RoleAlias, roles: &[WrittenRole]) -> Option<String> {
    let mut roles = roles.iter();
    let role = roles.find(|written| *written.role.name == *alias.role)?;
    (alias.duration_s > role.role.max_session_s).then(|| {
        format!(
            "has a duration that is longer than max_session of role {}: every request is refused",
            alias.role
        )
    })
}

/// Source: AWS IoT API Reference, `CreateRoleAlias`, `roleAlias`.
fn alias_name(text: &str) -> Checked<()> {
    let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"_=,@-".contains(&byte);
    let rule = "allowed 1 to 128 of the characters A-Z a-z 0-9 _ = , @ -";
    letters(text, 1..=128, is_allowed, rule).map(drop)
}

/// The shortest life of keys. Source: AWS IoT API Reference, `CreateRoleAlias`, `credentialDurationSeconds`; so are the
/// others.
const DURATION_MS_MIN: u64 = 15 * 60 * 1000;

/// The longest.
const DURATION_MS_MAX: u64 = 12 * 60 * 60 * 1000;

/// Of an alias that states none.
const DURATION_MS_DEFAULT: u64 = 60 * 60 * 1000;
