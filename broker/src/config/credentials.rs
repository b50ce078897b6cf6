//! The credentials file: principals, roles and policies. All errors are found in one pass; what looks forgotten is a
//! warning.

mod devices;
mod files;
mod providers;
mod roles;

use crate::config::document::{Document, Raw, Section, text};
use crate::config::draft::{ConfigError, Findings, ValuePlace};
use crate::{devices::Devices, files::Stamp};
use broker_core::auth::provider::Provider;
use broker_core::auth::{Credentials, Principal, RoleAlias, Secret};
use broker_core::limits::{PRINCIPALS_MAX, ROLE_ALIASES_MAX, ROLES_MAX};
use broker_core::settings::value::{self, Checked, letters};
use codec::calendar;
use codec::policy::{Action, KeyName, Policy, PolicyError};
use codec::sigv4::CLOCK_TOLERANCE_S_MAX;
use devices::WrittenThings;
pub(crate) use devices::last_line;
#[cfg(test)]
pub(crate) use devices::read_lines;
use files::{Files, SecretFile};
use roles::{WrittenRole, policies_of, policy_names, user_name};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

/// The contents of a credentials file.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// The principals.
    pub credentials: Arc<Credentials>,
    /// The devices that may sign in with certificates, for the listeners.
    pub devices: Option<Arc<Devices>>,
    /// Remarks on what is valid but looks forgotten or careless, a line each; no secrets.
    pub warnings: Vec<String>,
    /// Every file that was read, the credentials file first: when one of them changes, all are to be read again.
    pub files: Vec<PathBuf>,
    /// The same as they were just before they were opened.
    pub(crate) stamps: Vec<Stamp>,
}

/// Reads a credentials file and the files it names, which are relative to its folder. Principals that name no account
/// are of `account_id`; `console` is the provider whose accounts use the console, so that it needs no role.
///
/// # Errors
/// Every fault, with the line and column of its key.
pub fn load_credentials(
    path: &Path,
    account_id: &str,
    console: Option<&str>,
) -> Result<Loaded, ConfigError> {
    let refused = |faults| ConfigError::new(Some(path), faults);
    let mut files = Files::of(path);
    let content = files.read_main().map_err(|fault| refused(vec![fault]))?;
    let mut book = Book::default();
    let read = Document::confidential(&content).read(|top| {
        top.named_tables("policy", |name, section| {
            let policy = policy(section, name, book.policies.len(), &mut files);
            let policy = policy.map(|policy| Arc::new(policy.named(name)));
            book.policies.insert(name.to_owned(), policy);
        });
        top.named_tables("role", |name, section| {
            if let Some(role) = roles::role(section, (name, account_id), &book.policies, &mut files)
            {
                book.roles.push(role);
            }
        });
        top.named_tables("oidc_provider", |issuer, section| {
            let named = (issuer, account_id);
            book.providers
                .extend(providers::provider(section, named, &mut files));
        });
        top.named_tables("role_alias", |name, section| {
            let alias = roles::alias(section, name, &book.roles);
            book.aliases.extend(alias);
        });
        top.section("things", |section| {
            book.things = devices::things(section, &book.policies, &mut files);
        });
        top.tables("principal", |nth, section| {
            let principal = principal(section, account_id, &book, &mut files);
            book.principals
                .extend(principal.map(|written| (nth, written)));
        });
    });
    let mut findings = read.map_err(|findings| refused(findings.faults))?;
    book.check(&mut findings);
    providers::check(&mut book, &mut findings);
    let (paths, stamps) = files.stamped();
    let sha256 = files.sha256();
    let mut warnings = files.warnings;
    warnings.extend(book.warnings(&findings, (path, console)));
    if !findings.faults.is_empty() {
        return Err(refused(findings.faults));
    }
    let principals = book.principals.into_iter();
    let principals = principals.map(|(_, written)| written.principal).collect();
    let roles = book.roles.into_iter().map(|written| written.role);
    let policies = book.policies.into_values().flatten();
    let things = book.things.map(|it| (it.things, it.devices));
    let (things, devices) = things.unzip();
    let credentials = Credentials::new(principals);
    let credentials = credentials.and_then(|some| some.with_roles(roles.collect(), policies));
    let credentials = credentials.map(|some| some.with_providers(book.providers));
    let credentials = credentials.map(|some| some.with_things(book.aliases, things));
    let credentials = credentials.map(|some| match sha256 {
        Some(sha256) => some.of_files(sha256),
        None => some,
    });
    // An entry that is refused here was refused above, with its place.
    let credentials = credentials.map_err(|error| {
        findings.fault("principal", "…", error.to_string());
        refused(findings.faults)
    })?;
    Ok(Loaded {
        credentials: Arc::new(credentials),
        devices: devices.map(Arc::new),
        warnings,
        files: paths,
        stamps,
    })
}

/// The parts of a file that were read so far.
#[derive(Default)]
struct Book {
    /// By name; `None` when it does not load, so that its absence is not reported as well.
    policies: BTreeMap<String, Option<Arc<Policy>>>,
    roles: Vec<WrittenRole>,
    providers: Vec<Provider>,
    aliases: Vec<RoleAlias>,
    things: Option<WrittenThings>,
    /// With their places in the list.
    principals: Vec<(usize, Written)>,
}

/// A principal with the names of its policies.
struct Written {
    principal: Principal,
    policies: Vec<String>,
}

/// The policy of a file or a document; `None` when it does not load. There are `others` already.
fn policy(
    section: &mut Section<'_, '_>,
    name: &str,
    others: usize,
    files: &mut Files,
) -> Option<Policy> {
    if let Err(rule) = user_name(name) {
        section.fault(format!("the name: {rule}"));
    }
    let any_text = |value| text(value, Ok).map_err(|rule| vec![rule]);
    let from_file = section.read_with_faults("file", |value| files.policy(any_text(value)?));
    let written = section.read_with_faults("document", |value| {
        let told = |error: &PolicyError| format!("the document is no policy: {error}");
        let policy = Policy::parse_with_faults(any_text(value)?);
        policy.map_err(|errors| errors.iter().map(told).collect())
    });
    if section.has("file") == section.has("document") {
        section.fault("allowed with either file or document");
    } else if others == POLICIES_MAX {
        section.fault(format!("allowed at most {POLICIES_MAX} policies"));
    }
    from_file.or(written)
}

fn principal(
    section: &mut Section<'_, '_>,
    account_id: &str,
    book: &Book,
    files: &mut Files,
) -> Option<Written> {
    let name = section.text("name", user_name);
    let account = section.text("account", value::account_id);
    let access_key_id = section.text("access_key_id", key_id);
    let secret = section.text("secret_access_key", secret_key);
    let from_file = section.text("secret_access_key_file", |text| {
        let SecretFile { content, path } = files.secret(text)?;
        secret_key(&content).map_err(|rule| format!("{}: the content: {rule}", path.display()))
    });
    let session_token = section.text("session_token", token);
    let expires_s = section.read("expires", moment);
    let tolerance_ms = section.text("clock_tolerance", |text| {
        value::duration(text, 1000..=CLOCK_TOLERANCE_S_MAX * 1000)
    });
    let names = section.read("policies", |value| policy_names(value, &book.policies));
    let names = names.unwrap_or_default();
    let needed = ["name", "access_key_id"].into_iter();
    let missing: Vec<_> = needed.filter(|key| !section.has(key)).collect();
    if !missing.is_empty() {
        section.fault(format!("{} needed", missing.join(" and ")));
    }
    if section.has("secret_access_key") == section.has("secret_access_key_file") {
        section.fault("allowed with either secret_access_key or secret_access_key_file");
    }
    if section.has_faults() {
        return None;
    }
    let policies = policies_of(&names, &book.policies);
    let principal = Principal {
        name: name?,
        account: account.unwrap_or_else(|| account_id.to_owned()),
        access_key_id: access_key_id?,
        secret: secret.or(from_file)?,
        session_token,
        expires_s,
        clock_tolerance_s: tolerance_ms.map(|ms| ms / 1000),
        policies,
    };
    Some(Written {
        principal,
        policies: names,
    })
}

impl Book {
    /// Notes what principals and roles break together.
    fn check(&self, findings: &mut Findings) {
        let count = self.roles.len();
        if count > ROLES_MAX {
            let rule = format!("allowed at most {ROLES_MAX}");
            findings.fault("role", format!("{count} roles"), rule);
        }
        let count = self.aliases.len();
        if count > ROLE_ALIASES_MAX {
            let rule = format!("allowed at most {ROLE_ALIASES_MAX}");
            findings.fault("role_alias", format!("{count} role aliases"), rule);
        }
        let count = self.principals.len();
        if count > PRINCIPALS_MAX {
            let rule = format!("allowed at most {PRINCIPALS_MAX}");
            findings.fault("principal", format!("{count} principals"), rule);
        }
        let (mut names, mut ids) = (BTreeMap::new(), BTreeMap::new());
        for (nth, Written { principal, .. }) in &self.principals {
            for (key, value, seen) in [
                ("name", &principal.name, &mut names),
                ("access_key_id", &principal.access_key_id, &mut ids),
            ] {
                let first = *seen.entry(value).or_insert(nth);
                if first != nth {
                    let key = format!("principal[{nth}].{key}");
                    let rule = format!("allowed once; principal[{first}] has it as well");
                    findings.fault(&key, format!("\"{value}\""), rule);
                }
            }
        }
    }

    /// Remarks on what is valid but looks forgotten.
    fn warnings(&self, findings: &Findings, (path, console): (&Path, Option<&str>)) -> Vec<String> {
        let mut warnings = Vec::new();
        let mut warn = |key: &str, text: String| {
            let place = match findings.place_of(key) {
                ValuePlace::File { line, column } => format!("{}:{line}:{column}", path.display()),
                ValuePlace::Flag(_) | ValuePlace::Default => path.display().to_string(),
            };
            warnings.push(format!("{place}: {text}"));
        };
        if self.principals.is_empty() && self.providers.is_empty() && self.things.is_none() {
            let text = "no [[principal]], [oidc_provider] or [things], so nobody may do anything";
            warn("principal", text.into());
        }
        let mut used = BTreeSet::new();
        for (nth, written) in &self.principals {
            used.extend(&written.policies);
            if written.policies.is_empty() {
                let name = &written.principal.name;
                let text = format!("principal {name} has no policies, so it may do nothing");
                warn(&format!("principal[{nth}]"), text);
            }
        }
        let arns = self.arns_for_trusts();
        for written in &self.roles {
            used.extend(&written.policies);
            let name = &written.role.name;
            for remark in roles::remarks(written, &arns) {
                warn(&format!("role.{name}"), format!("role {name} {remark}"));
            }
        }
        for alias in &self.aliases {
            if let Some(remark) = roles::remark(alias, &self.roles) {
                let name = &alias.name;
                warn(
                    &format!("role_alias.{name}"),
                    format!("role alias {name} {remark}"),
                );
            }
        }
        if let Some(written) = &self.things {
            used.extend(&written.policies);
            for remark in devices::remarks(written, now_s()) {
                warn("things", format!("things {remark}"));
            }
        }
        for name in self.policies.keys().filter(|name| !used.contains(name)) {
            let text = format!("no principal, role or thing has the policy {name}");
            warn(&format!("policy.{name}"), text);
        }
        for (key, text) in providers::remarks(self, console) {
            warn(&key, text);
        }
        for (name, policy) in &self.policies {
            let remarks = policy.iter().flat_map(|policy| policy.remarks());
            let by_others = policy
                .iter()
                .filter_map(|policy| self.tagged_by_others(name, policy));
            for remark in remarks.chain(by_others) {
                warn(
                    &format!("policy.{name}"),
                    format!("policy {name}: {remark}"),
                );
            }
        }
        warnings
    }

    /// The ARNs of all principals and roles; none is made where there are no roles.
    fn arns_for_trusts(&self) -> BTreeSet<String> {
        if self.roles.is_empty() {
            return BTreeSet::new();
        }
        let principals = self.principals.iter();
        let principals = principals.map(|(_, written)| written.principal.arn());
        let roles = self.roles.iter().map(|written| written.role.arn());
        principals.chain(roles).collect()
    }

    /// A remark on a policy whose rights hang on tags of channels that others may set: principals or roles without it,
    /// of the account of one that has it.
    fn tagged_by_others(&self, name: &str, policy: &Policy) -> Option<String> {
        let may_tag = |policy: &Arc<Policy>| {
            let mut allowed = policy.allowed_somewhere();
            allowed.any(|action| matches!(action, Action::TagResource | Action::UntagResource))
        };
        if !policy.reads(KeyName::ResourceTag) {
            return None;
        }
        let principals = self.principals.iter().map(|(_, written)| {
            let principal = &written.principal;
            (
                &principal.account,
                &principal.name,
                &written.policies,
                &principal.policies,
            )
        });
        let roles = self.roles.iter().map(|written| {
            let role = &written.role;
            (&role.account, &role.name, &written.policies, &role.policies)
        });
        let (having, others): (Vec<_>, Vec<_>) = principals
            .chain(roles)
            .partition(|(_, _, names, _)| names.iter().any(|own| own == name));
        let (_, other, ..) = others.iter().find(|(account, _, _, policies)| {
            let shares_account = having.iter().any(|(own, ..)| own == account);
            shares_account && policies.iter().any(may_tag)
        })?;
        Some(format!(
            "its rights hang on tags of channels (aws:ResourceTag), which {other} may set"
        ))
    }
}

/// Seconds since 1970, for remarks on what ends.
fn now_s() -> u64 {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    now.map_or(0, |since| since.as_secs())
}

/// An access key id. Source: IAM API Reference, `accessKeyIdType`, except its least length of 16: ids of tests are
/// shorter.
fn key_id(text: &str) -> Checked<String> {
    let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    let rule = "allowed 1 to 128 of the characters A-Z a-z 0-9 _";
    letters(text, 1..=128, is_allowed, rule).map(str::to_owned)
}

/// A secret. AWS makes them 40 characters long; what is much shorter can be guessed from one signature.
fn secret_key(text: &str) -> Checked<Secret> {
    let is_visible = |byte: u8| byte.is_ascii_graphic();
    let rule = "allowed 16 to 128 visible ASCII characters";
    letters(text, 16..=128, is_visible, rule).map(Secret::from)
}

fn token(text: &str) -> Checked<Secret> {
    let is_visible = |byte: u8| byte.is_ascii_graphic();
    let rule = "allowed 1 to 4096 visible ASCII characters";
    letters(text, 1..=4096, is_visible, rule).map(Secret::from)
}

/// A date and time with its offset, in seconds since 1970 UTC.
fn moment(value: &Raw<'_>) -> Checked<u64> {
    let rule =
        || "allowed a date and time with its offset, such as 2027-01-01T00:00:00Z".to_owned();
    let written = value.as_datetime().ok_or_else(rule)?;
    let (Some(date), Some(time), Some(offset)) = (written.date, written.time, written.offset)
    else {
        return Err(rule());
    };
    let minutes = match offset {
        toml::value::Offset::Z => 0,
        toml::value::Offset::Custom { minutes } => i64::from(minutes),
    };
    let days = calendar::days(date.year.into(), date.month.into(), date.day.into());
    let minutes = days * 24 * 60 + i64::from(time.hour) * 60 + i64::from(time.minute) - minutes;
    let seconds = minutes * 60 + i64::from(time.second.unwrap_or(0));
    u64::try_from(seconds).map_err(|_| rule())
}

/// Most policies of a file.
const POLICIES_MAX: usize = 4096;

#[cfg(test)]
mod tests;
