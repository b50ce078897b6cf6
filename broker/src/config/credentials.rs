//! The credentials file: principals and policies. All errors are found in one pass; what looks forgotten is a warning.

use super::credentials_files::{Files, SecretFile};
use super::document::Reader;
use super::error::{ConfigError, ValuePlace};
use super::section::{Raw, Section, text};
use broker_core::auth::{Credentials, Principal, Secret};
use broker_core::limits::PRINCIPALS_MAX;
use broker_core::settings::value::{self, Checked};
use codec::aws::policy::{Policy, PolicyError};
use codec::aws::sigv4::CLOCK_TOLERANCE_S_MAX;
use codec::calendar;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// What a credentials file amounts to.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// The principals.
    pub credentials: Arc<Credentials>,
    /// What is right but looks forgotten or careless, a line each; no secrets.
    pub warnings: Vec<String>,
    /// Every file that was read, the credentials file first: when one of them changes, all are to be read again.
    pub files: Vec<PathBuf>,
}

/// Reads a credentials file and the files it names, which are relative to its folder. Principals that name no account
/// are of `account_id`.
///
/// # Errors
/// Every fault, with the line and column of its key.
pub fn load_credentials(path: &Path, account_id: &str) -> Result<Loaded, ConfigError> {
    let mut files = Files::of(path);
    let content = files
        .read_main()
        .map_err(|fault| ConfigError::new(Some(path), vec![fault]))?;
    let mut reader = Reader::confidential(&content);
    let document = reader.parse();
    if !reader.faults.is_empty() {
        return Err(ConfigError::new(Some(path), reader.faults));
    }
    let mut book = Book::default();
    reader.document(&document, |top| {
        top.named_tables("policy", |name, section| {
            policy(section, name, &mut book, &mut files)
        });
        top.tables("principal", |nth, section| {
            let principal = principal(section, account_id, &book, &mut files);
            book.principals
                .extend(principal.map(|principal| (nth, principal)));
        });
    });
    book.check(&mut reader);
    let mut warnings = std::mem::take(&mut files.warnings);
    book.warn(&reader, path, &mut warnings);
    if !reader.faults.is_empty() {
        return Err(ConfigError::new(Some(path), reader.faults));
    }
    let principals = book
        .principals
        .into_iter()
        .map(|(_, written)| written.principal);
    // What is refused here was refused above, with its place.
    let credentials = Credentials::new(principals.collect()).map_err(|error| {
        let mut last = Reader::confidential("");
        last.fault("principal", "…", error.to_string());
        ConfigError::new(Some(path), last.faults)
    })?;
    Ok(Loaded {
        credentials: Arc::new(credentials),
        warnings,
        files: files.paths,
    })
}

/// What was read so far.
#[derive(Default)]
struct Book {
    /// By name; `None` when it does not load, so that its absence is not reported as well.
    policies: BTreeMap<String, Option<Arc<Policy>>>,
    /// With their places in the list.
    principals: Vec<(usize, Written)>,
}

/// A principal with the names of its policies.
struct Written {
    principal: Principal,
    policies: Vec<String>,
}

fn policy(section: &mut Section<'_, '_, '_>, name: &str, book: &mut Book, files: &mut Files) {
    let (mut from_file, mut written) = (None, None);
    if let Err(rule) = user_name(name) {
        section.fault("{ … }", format!("the name: {rule}"));
    }
    section.text_with_faults("file", &mut from_file, |text| files.policy(text).map(Some));
    section.text_with_faults("document", &mut written, |text| {
        let told = |error: &PolicyError| format!("the document is no policy: {error}");
        let policy = Policy::parse_with_faults(text);
        policy
            .map(Some)
            .map_err(|errors| errors.iter().map(told).collect::<Vec<_>>())
    });
    if section.has("file") == section.has("document") {
        section.fault("{ … }", "allowed with either file or document");
    } else if book.policies.len() == POLICIES_MAX {
        section.fault("{ … }", format!("allowed at most {POLICIES_MAX} policies"));
    }
    let policy = from_file.or(written).map(Arc::new);
    book.policies.insert(name.to_owned(), policy);
}

fn principal(
    section: &mut Section<'_, '_, '_>,
    account_id: &str,
    book: &Book,
    files: &mut Files,
) -> Option<Written> {
    let (mut name, mut account) = (String::new(), account_id.to_owned());
    let (mut access_key_id, mut names) = (String::new(), Vec::new());
    let (mut secret, mut secret_file, mut session_token) = (None, None, None);
    let (mut expires_s, mut tolerance_ms) = (None, 0);
    section.text("name", &mut name, user_name);
    section.text("account", &mut account, value::account_id);
    section.text("access_key_id", &mut access_key_id, key_id);
    section.text("secret_access_key", &mut secret, |text| {
        secret_key(text).map(Some)
    });
    section.text("secret_access_key_file", &mut secret_file, |text| {
        let SecretFile { content, path } = files.secret(text)?;
        let secret = secret_key(&content)
            .map_err(|rule| format!("{}: the content: {rule}", path.display()))?;
        Ok(Some(secret))
    });
    section.text("session_token", &mut session_token, |text| {
        token(text).map(Some)
    });
    section.read("expires", &mut expires_s, |value| moment(value).map(Some));
    section.duration(
        "clock_tolerance",
        &mut tolerance_ms,
        1000..=CLOCK_TOLERANCE_S_MAX * 1000,
    );
    section.read("policies", &mut names, |value| {
        policy_names(value, &book.policies)
    });
    let missing: Vec<_> = ["name", "access_key_id"]
        .into_iter()
        .filter(|key| !section.has(key))
        .collect();
    if !missing.is_empty() {
        section.fault("{ … }", format!("{} needed", missing.join(" and ")));
    }
    if section.has("secret_access_key") == section.has("secret_access_key_file") {
        section.fault(
            "{ … }",
            "allowed with either secret_access_key or secret_access_key_file",
        );
    }
    if !missing.is_empty() || section.has_faults() {
        return None;
    }
    let policies = names
        .iter()
        .filter_map(|name| book.policies.get(name)?.clone());
    let principal = Principal {
        name,
        account,
        access_key_id,
        secret: secret.or(secret_file)?,
        session_token,
        expires_s,
        clock_tolerance_s: (tolerance_ms > 0).then_some(tolerance_ms / 1000),
        policies: policies.collect(),
    };
    Some(Written {
        principal,
        policies: names,
    })
}

impl Book {
    /// Notes what principals break together.
    fn check(&self, reader: &mut Reader<'_>) {
        if self.principals.len() > PRINCIPALS_MAX {
            let count = format!("{} principals", self.principals.len());
            reader.fault(
                "principal",
                count,
                format!("allowed at most {PRINCIPALS_MAX}"),
            );
        }
        let (mut names, mut ids) = (BTreeMap::new(), BTreeMap::new());
        for (nth, Written { principal, .. }) in &self.principals {
            for (key, value, seen) in [
                ("name", &principal.name, &mut names),
                ("access_key_id", &principal.access_key_id, &mut ids),
            ] {
                let first = *seen.entry(value).or_insert(nth);
                if first != nth {
                    let rule = format!("allowed once; principal[{first}] has it as well");
                    reader.fault(
                        &format!("principal[{nth}].{key}"),
                        format!("\"{value}\""),
                        rule,
                    );
                }
            }
        }
    }

    /// Notes what is right but looks forgotten.
    fn warn(&self, reader: &Reader<'_>, path: &Path, warnings: &mut Vec<String>) {
        let mut warn = |key: &str, text: String| {
            let place = match reader.place_of(key) {
                ValuePlace::File { line, column } => format!("{}:{line}:{column}", path.display()),
                ValuePlace::Flag(_) | ValuePlace::Default => path.display().to_string(),
            };
            warnings.push(format!("{place}: {text}"));
        };
        if self.principals.is_empty() {
            warn(
                "principal",
                "no [[principal]], so nobody may do anything".into(),
            );
        }
        let mut used = BTreeSet::new();
        for (
            nth,
            Written {
                principal,
                policies,
            },
        ) in &self.principals
        {
            used.extend(policies);
            if policies.is_empty() {
                let name = &principal.name;
                warn(
                    &format!("principal[{nth}]"),
                    format!("principal {name} has no policies, so it may do nothing"),
                );
            }
        }
        for name in self.policies.keys().filter(|name| !used.contains(name)) {
            warn(
                &format!("policy.{name}"),
                format!("no principal has the policy {name}"),
            );
        }
    }
}

/// The names of a principal's policies, each of which there is; none is allowed.
fn policy_names(
    value: &Raw<'_>,
    known: &BTreeMap<String, Option<Arc<Policy>>>,
) -> Checked<Vec<String>> {
    let rule = || format!("allowed a list of up to {POLICIES_PER_PRINCIPAL_MAX} policy names");
    let entries = value.as_array().ok_or_else(rule)?;
    if entries.len() > POLICIES_PER_PRINCIPAL_MAX {
        return Err(rule());
    }
    let mut names = Vec::new();
    for entry in entries {
        let name = text(entry.get_ref(), |text| Ok(text.to_owned())).map_err(|_| rule())?;
        if !known.contains_key(&name) {
            let some: Vec<_> = known
                .keys()
                .take(NAMES_TOLD_MAX)
                .map(String::as_str)
                .collect();
            let more = if known.len() > some.len() {
                ", …"
            } else {
                ""
            };
            return Err(match some.join(", ") {
                none if none.is_empty() => format!("there is no [policy.{name}], nor any other"),
                some => format!("there is no [policy.{name}], allowed {some}{more}"),
            });
        }
        names.push(name);
    }
    Ok(names)
}

/// A name of an IAM user. Source: IAM API Reference, `userNameType`.
fn user_name(text: &str) -> Checked<String> {
    let letter = |byte: u8| byte.is_ascii_alphanumeric() || b"_+=,.@-".contains(&byte);
    if (1..=64).contains(&text.len()) && text.bytes().all(letter) {
        return Ok(text.into());
    }
    Err("allowed 1 to 64 of the characters A-Z a-z 0-9 _ + = , . @ -".into())
}

/// An access key id. Source: IAM API Reference, `accessKeyIdType`, except its least length of 16: ids of tests are
/// shorter.
fn key_id(text: &str) -> Checked<String> {
    let letter = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    if (1..=128).contains(&text.len()) && text.bytes().all(letter) {
        return Ok(text.into());
    }
    Err("allowed 1 to 128 of the characters A-Z a-z 0-9 _".into())
}

/// A secret. AWS makes them 40 characters long; what is much shorter can be guessed from one signature.
fn secret_key(text: &str) -> Checked<Secret> {
    if (16..=128).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Ok(text.into());
    }
    Err("allowed 16 to 128 visible ASCII characters".into())
}

fn token(text: &str) -> Checked<Secret> {
    if (1..=4096).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Ok(text.into());
    }
    Err("allowed 1 to 4096 visible ASCII characters".into())
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

/// Most policies of one principal; IAM has 10 to 20. Each is asked for each request.
const POLICIES_PER_PRINCIPAL_MAX: usize = 20;

/// Most names that a fault lists.
const NAMES_TOLD_MAX: usize = 10;

#[cfg(test)]
mod tests;
