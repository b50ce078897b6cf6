//! The credentials file, which contains principals, roles and policies. All errors are reported in one pass. Likely
//! oversights are reported as warnings.

mod devices;
mod files;
mod providers;
mod roles;

use crate::config::document::{Document, Raw, TableReader};
use crate::config::draft::{ConfigError, Findings, ValuePlace};
use crate::devices::{Devices, unix_s};
use crate::files::FileStamp;
use broker_core::auth::provider::Provider;
use broker_core::auth::{Credentials, Principal, Role, RoleAlias, Secret, Things};
use broker_core::limits::{PRINCIPALS_MAX, PROVIDERS_MAX, ROLE_ALIASES_MAX, ROLES_MAX};
use broker_core::settings::value::{self, Checked, letters};
use codec::policy::{Action, KeyName, Policy};
pub(crate) use devices::last_line;
#[cfg(test)]
pub(crate) use devices::read_lines;
use files::{Files, document};
use roles::{KnownPolicies, clock_tolerance_s, policies, user_name};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

/// The contents of a credentials file.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// The principals, roles and policies.
    pub credentials: Arc<Credentials>,
    /// Devices that may authenticate with certificates. Used by the TLS listeners.
    pub devices: Option<Arc<Devices>>,
    /// Warnings about entries that are valid but suspicious, one per line. They contain no secrets.
    pub warnings: Vec<String>,
    /// All files that were read, starting with the credentials file. If any of them changes, all are reloaded.
    pub files: Vec<PathBuf>,
    /// The file stamps of `files`, for detecting changes. Each stamp was taken just before its file was opened.
    pub(crate) stamps: Vec<FileStamp>,
}

/// Reads a credentials file and the files that it names. Paths in the file are relative to its folder. Principals
/// without an account belong to `account_id`. `console` is the OpenID provider of the console's accounts. No role has
/// to trust this provider.
///
/// # Errors
/// Returns all faults, each with the line and column of the key.
pub fn load_credentials(
    path: &Path,
    account_id: &str,
    console: Option<&str>,
) -> Result<Loaded, ConfigError> {
    let refused = |faults| ConfigError::new(Some(path), faults);
    let mut files = Files::of(path);
    let content = files.read_main().map_err(|fault| refused(vec![fault]))?;
    let mut book = CredentialsDraft::default();
    let read = Document::confidential(&content).read(|top| {
        top.named_tables("policy", |name, section| {
            let policy = policy(section, name, book.policies.len(), &mut files);
            let policy = policy.map(|policy| Arc::new(policy.named(name)));
            book.policies.insert(name.to_owned(), policy);
        });
        top.named_tables("role", |name, section| {
            let role = roles::role(section, name, account_id, &book.policies, &mut files);
            book.roles.extend(role);
        });
        top.named_tables("oidc_provider", |issuer, section| {
            let provider = providers::provider(section, issuer, account_id, &mut files);
            book.providers.extend(provider);
        });
        top.named_tables("role_alias", |name, section| {
            book.aliases
                .extend(roles::alias(section, name, &book.roles));
        });
        top.section("things", |section| {
            book.things = devices::things(section, &book.policies, &mut files);
        });
        top.tables("principal", |nth, section| {
            let principal = principal(section, account_id, &book, &mut files);
            book.principals.extend(principal.map(|it| (nth, it)));
        });
    });
    let mut findings = read.map_err(|findings| refused(findings.faults))?;
    book.check(&mut findings);
    providers::check(&mut book, &mut findings);
    if !findings.faults.is_empty() {
        return Err(refused(findings.faults));
    }
    let (paths, stamps) = files.stamped();
    let sha256 = files.sha256();
    let mut warnings = files.warnings;
    warnings.extend(book.warnings(&findings, path, console));
    let (credentials, devices) = book.into_credentials(sha256);
    Ok(Loaded {
        credentials: Arc::new(credentials),
        devices,
        warnings,
        files: paths,
        stamps,
    })
}

#[derive(Default)]
struct CredentialsDraft {
    policies: KnownPolicies,
    roles: Vec<Role>,
    providers: Vec<Provider>,
    aliases: Vec<RoleAlias>,
    things: Option<(Things, Devices)>,
    principals: Vec<(usize, Principal)>,
}

/// Reads a policy that is given inline or in a file. Returns `None` if it is invalid. `others` is the number of
/// policies read so far.
fn policy(
    section: &mut TableReader<'_, '_>,
    name: &str,
    others: usize,
    files: &mut Files,
) -> Option<Policy> {
    section.named(user_name(name));
    let parse = Policy::parse_with_faults;
    let policy = document(section, ["file", "document"], "policy", files, parse);
    if others == POLICIES_MAX {
        section.fault(format!("expected at most {POLICIES_MAX} policies"));
    }
    policy
}

fn principal(
    section: &mut TableReader<'_, '_>,
    account_id: &str,
    book: &CredentialsDraft,
    files: &mut Files,
) -> Option<Principal> {
    let name = section.text("name", user_name);
    let account = section.text("account", value::account_id);
    let access_key_id = section.text("access_key_id", key_id);
    let secret = section.text("secret_access_key", secret_key);
    let from_file = section.text("secret_access_key_file", |text| {
        let (content, path) = files.secret(text)?;
        secret_key(&content).map_err(|rule| format!("{}: the content: {rule}", path.display()))
    });
    let session_token = section.text("session_token", token);
    let expires_s = section.read("expires", moment);
    let clock_tolerance_s = clock_tolerance_s(section);
    let policies = section.read("policies", |value| policies(value, &book.policies));
    let needed = ["name", "access_key_id"].into_iter();
    let missing: Vec<_> = needed.filter(|key| !section.has(key)).collect();
    if !missing.is_empty() {
        section.fault(format!("{} needed", missing.join(" and ")));
    }
    section.either("secret_access_key", "secret_access_key_file");
    if section.has_faults() {
        return None;
    }
    Some(Principal {
        name: name?,
        account: account.unwrap_or_else(|| account_id.to_owned()),
        access_key_id: access_key_id?,
        secret: secret.or(from_file)?,
        session_token,
        expires_s,
        clock_tolerance_s,
        policies: policies.unwrap_or_default(),
    })
}

impl CredentialsDraft {
    fn check(&self, findings: &mut Findings) {
        let (principals, roles) = (self.principals.len(), self.roles.len());
        let (providers, aliases) = (self.providers.len(), self.aliases.len());
        findings.at_most("role", roles, ROLES_MAX, "roles");
        findings.at_most("oidc_provider", providers, PROVIDERS_MAX, "providers");
        findings.at_most("role_alias", aliases, ROLE_ALIASES_MAX, "role aliases");
        findings.at_most("principal", principals, PRINCIPALS_MAX, "principals");
        let (mut names, mut ids) = (BTreeMap::new(), BTreeMap::new());
        for (nth, principal) in &self.principals {
            for (key, value, seen) in [
                ("name", &principal.name, &mut names),
                ("access_key_id", &principal.access_key_id, &mut ids),
            ] {
                let first = *seen.entry(value).or_insert(nth);
                if first != nth {
                    let key = format!("principal[{nth}].{key}");
                    let rule = format!("expected once; principal[{first}] has it as well");
                    findings.fault(&key, format!("\"{value}\""), rule);
                }
            }
        }
    }

    fn warnings(&self, findings: &Findings, path: &Path, console: Option<&str>) -> Vec<String> {
        let mut remarks = Vec::new();
        let mut remark = |key: String, text: String| remarks.push((key, text));
        if self.principals.is_empty() && self.providers.is_empty() && self.things.is_none() {
            let text = "no [[principal]], [oidc_provider] or [things]: every request is refused";
            remark("principal".into(), text.into());
        }
        for (nth, Principal { name, policies, .. }) in &self.principals {
            if policies.is_empty() {
                let text = format!("principal {name} has no policies: its requests are denied");
                remark(format!("principal[{nth}]"), text);
            }
        }
        let principals = self.principals.iter().map(|(_, it)| it.arn());
        let arns: BTreeSet<_> = principals.chain(self.roles.iter().map(Role::arn)).collect();
        for role in &self.roles {
            for text in roles::remarks(role, &arns) {
                remark(
                    format!("role.{}", role.name),
                    format!("role {} {text}", role.name),
                );
            }
        }
        for alias in &self.aliases {
            if let Some(text) = roles::remark(alias, &self.roles) {
                let text = format!("role alias {} {text}", alias.name);
                remark(format!("role_alias.{}", alias.name), text);
            }
        }
        if let Some((things, devices)) = &self.things {
            for text in devices::remarks(things, devices, unix_s(SystemTime::now())) {
                remark("things".into(), format!("things {text}"));
            }
        }
        let used: BTreeSet<_> = self.policies_in_use().map(|policy| policy.name()).collect();
        for name in self.policies.keys().filter(|name| !used.contains(&***name)) {
            let text = format!("policy {name} is not used by any principal, role or thing");
            remark(format!("policy.{name}"), text);
        }
        providers::remarks(self, console, &mut remark);
        for policy in self.policies.values().flatten() {
            let name = policy.name();
            let of_tags = self.tagged_by_others(policy);
            for text in policy.remarks().into_iter().chain(of_tags) {
                remark(format!("policy.{name}"), format!("policy {name}: {text}"));
            }
        }
        let placed = |(key, text): (String, String)| match findings.place_of(&key) {
            ValuePlace::File { line, column } => {
                format!("{}:{line}:{column}: {text}", path.display())
            }
            ValuePlace::Flag(_) | ValuePlace::Default => format!("{}: {text}", path.display()),
        };
        remarks.into_iter().map(placed).collect()
    }

    fn policies_in_use(&self) -> impl Iterator<Item = &Arc<Policy>> {
        let principals = self.principals.iter().flat_map(|(_, it)| &it.policies);
        let roles = self.roles.iter().flat_map(|role| &role.policies);
        let things = self.things.iter().flat_map(|(things, _)| {
            let authorities = things.authorities.iter().flat_map(|it| &it.policies);
            let own = things.policies.iter().chain(things.registry.policies());
            own.chain(authorities)
        });
        principals.chain(roles).chain(things)
    }

    /// Returns a warning if a policy depends on channel tags that the account's other principals or roles can change.
    fn tagged_by_others(&self, policy: &Arc<Policy>) -> Option<String> {
        let may_tag = |policy: &Arc<Policy>| {
            let mut allowed = policy.allowed_somewhere();
            allowed.any(|action| matches!(action, Action::TagResource | Action::UntagResource))
        };
        if !policy.reads(KeyName::ResourceTag) {
            return None;
        }
        let principals = self.principals.iter();
        let principals = principals.map(|(_, it)| (&it.account, &it.name, &it.policies));
        let roles = self.roles.iter();
        let roles = roles.map(|role| (&role.account, &role.name, &role.policies));
        let (having, others): (Vec<_>, Vec<_>) = principals
            .chain(roles)
            .partition(|(_, _, policies)| policies.contains(policy));
        let (_, other, _) = others.iter().find(|(account, _, policies)| {
            let shares_account = having.iter().any(|(own, ..)| own == account);
            shares_account && policies.iter().any(may_tag)
        })?;
        Some(format!(
            "its permissions depend on tags of channels (aws:ResourceTag), which {other} may set"
        ))
    }

    fn into_credentials(self, sha256: Option<[u8; 32]>) -> (Credentials, Option<Arc<Devices>>) {
        let principals = self.principals.into_iter().map(|(_, it)| it).collect();
        let policies = self.policies.into_values().flatten();
        let (things, devices) = self.things.unzip();
        let credentials = Credentials::new(principals)
            .with_roles(self.roles, policies)
            .with_providers(self.providers)
            .with_things(self.aliases, things)
            .of_files(sha256);
        (credentials, devices.map(Arc::new))
    }
}

/// Parses an access key id. Source: IAM API Reference, `accessKeyIdType`. The minimum length of 16 given there is not
/// enforced, since ids used in tests are shorter.
fn key_id(text: &str) -> Checked<String> {
    let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    let rule = "expected 1 to 128 of the characters A-Z a-z 0-9 _";
    letters(text, 1..=128, is_allowed, rule).map(str::to_owned)
}

/// Parses a secret. AWS secrets have 40 characters. A much shorter secret could be guessed from a single signature.
fn secret_key(text: &str) -> Checked<Secret> {
    let is_visible = |byte: u8| byte.is_ascii_graphic();
    let rule = "expected 16 to 128 visible ASCII characters";
    letters(text, 16..=128, is_visible, rule).map(Secret::from)
}

fn token(text: &str) -> Checked<Secret> {
    let is_visible = |byte: u8| byte.is_ascii_graphic();
    let rule = "expected 1 to 4096 visible ASCII characters";
    letters(text, 1..=4096, is_visible, rule).map(Secret::from)
}

fn moment(value: &Raw<'_>) -> Checked<u64> {
    let rule =
        || "expected a date and time with its offset, such as 2027-01-01T00:00:00Z".to_owned();
    let written = value.as_datetime().ok_or_else(rule)?;
    let (Some(date), Some(time), Some(offset)) = (written.date, written.time, written.offset)
    else {
        return Err(rule());
    };
    let minutes = match offset {
        toml::value::Offset::Z => 0,
        toml::value::Offset::Custom { minutes } => i64::from(minutes),
    };
    let days = codec::calendar::days(date.year.into(), date.month.into(), date.day.into());
    let minutes = days * 24 * 60 + i64::from(time.hour) * 60 + i64::from(time.minute) - minutes;
    let seconds = minutes * 60 + i64::from(time.second.unwrap_or(0));
    u64::try_from(seconds).map_err(|_| rule())
}

const POLICIES_MAX: usize = 4096;

#[cfg(test)]
mod tests;
