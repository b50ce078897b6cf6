//! Validates a configuration: the configuration file, the flags, and the files that they name. `heliograph serve` and
//! `heliograph check-config` share these checks, so they accept the same configurations. All faults are reported at
//! once.
//!
//! Conditions that depend on the machine are not checked here, such as ports in use, a locked data directory, or the
//! process's limits.

use crate::config::{ConfigError, Draft, Loaded, ValuePlace, load_credentials};
use crate::devices::unix_s;
use crate::etcd_options;
use crate::files::{self, FileFault, token};
use crate::hooks::client::{self, HookFault};
use crate::memory;
use crate::server::cluster;
use crate::side::{self, admin::accounts::client_of};
use crate::tls_files;
use broker_core::auth::provider::KeySource;
use broker_core::settings::{Expired, Ice, IceCredential, Settings, TlsFiles, value};
use codec::sigv4::Stamp;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::time::SystemTime;
use zeroize::Zeroizing;

/// A valid configuration.
#[derive(Clone, Debug)]
pub struct CheckedConfiguration {
    /// The server's settings.
    pub settings: Settings,
    /// SHA-256 of the configuration file in hexadecimal. Empty if there is no file.
    pub sha256: Box<str>,
    /// The contents of the credentials file, if one is configured.
    pub credentials: Option<Loaded>,
    /// Warnings about settings that are valid but probably unintended, one sentence each.
    pub warnings: Vec<String>,
    /// Warnings to log at startup, one sentence each: values that some clients cannot parse, key files that all users
    /// can read, and insufficient memory.
    pub notices: Vec<String>,
}

/// Validates the configuration and the files that it names before the server starts.
///
/// # Errors
/// Returns the same errors as [`check`], except that the settings determine whether an expired certificate is an error.
pub fn check_start(draft: Draft, now: SystemTime) -> Result<CheckedConfiguration, ConfigError> {
    checked(draft, now, |files| files.expired)
}

/// Validates the configuration and the files that it names, for `heliograph check-config`.
///
/// Files must be valid even if they are not used. With `--dev`, only the files in use are checked, because the
/// configuration may have been copied from another machine.
///
/// # Errors
/// Returns all faults: first the configuration's, then the credentials file's.
pub fn check(draft: Draft, now: SystemTime) -> Result<CheckedConfiguration, ConfigError> {
    checked(draft, now, |_| Expired::Refuse)
}

fn checked(
    mut draft: Draft,
    now: SystemTime,
    expired: fn(&TlsFiles) -> Expired,
) -> Result<CheckedConfiguration, ConfigError> {
    let (mut others, mut warnings, mut credentials) = (Vec::new(), Vec::new(), None);
    if let Some(settings) = draft.settings().cloned() {
        if let Some(path) = used_token_file(&settings)
            && let Err(rule) = token(path)
        {
            draft.fault("admin.token_file", path.display(), rule);
        }
        warnings.extend(secret_of_accounts(&settings, &mut draft));
        // A temporary directory's location is chosen at startup.
        if !settings.data_dir_ends
            && let Err(error) = probe(&settings.data_dir)
        {
            let rule = format!("must be a directory that can be created and written: {error}");
            draft.fault("data_dir", settings.data_dir.display(), rule);
        }
        cluster(&settings, &mut draft);
        // If one hook is invalid, no hook is examined further: the invalid hook is missing from the settings, so the
        // indices of later hooks would be wrong.
        let hooks = (!draft.has_faults_of("hook[")).then(|| client::clients(&settings));
        for HookFault { key, path, rule } in hooks.and_then(Result::err).unwrap_or_default() {
            draft.fault(&key, path.display(), rule);
        }
        match tls(&settings, now, expired) {
            Ok(told) => warnings.extend(told),
            Err(faults) => {
                for FileFault { key, path, rule } in faults {
                    draft.fault(key, path.display(), rule);
                }
            }
        }
        match load(&settings) {
            None => {}
            Some(Ok(mut loaded)) => {
                names_of_devices(&settings, &loaded, &mut draft);
                provider_of_accounts(&settings, &loaded, &mut draft);
                loaded.warnings.extend(ended(&loaded, now));
                credentials = Some(loaded);
            }
            Some(Err(error)) => others.extend(of_credentials(&settings, error, &mut draft)),
        }
    }
    let sha256 = draft.sha256.clone();
    let settings = draft.finish(others)?;
    let mut notices = notices(&settings.ice);
    notices.extend(open_files(&settings));
    notices.extend(shortage(&settings, credentials.as_ref()));
    Ok(CheckedConfiguration {
        sha256,
        notices,
        settings,
        credentials,
        warnings,
    })
}

fn notices(servers: &[Ice]) -> Vec<String> {
    let mut notices = Vec::new();
    for (
        nth,
        Ice {
            urls, credential, ..
        },
    ) in servers.iter().enumerate()
    {
        let told = |url: &String| {
            let notice = value::ice_url_notice(url)?;
            Some(format!("ice[{nth}].urls = {url}: {notice}"))
        };
        notices.extend(urls.iter().filter_map(told));
        if matches!(credential, IceCredential::Fixed { username, .. } if !username.contains(':')) {
            notices.push(format!(
                "ice[{nth}].username has no `:`, and GStreamer's awskvswebrtcsink exits without one: with `secret` \
                 every client gets a name that has one"
            ));
        }
    }
    notices
}

/// Returns warnings about key and token files that all users of this machine can read. Other secret files are checked
/// when they are read.
fn open_files(settings: &Settings) -> Vec<String> {
    let keys = settings.tls.iter().flat_map(|files| &files.key);
    let keys = keys.chain(&settings.cluster.etcd.key);
    let paths = keys.chain(used_token_file(settings));
    let open = paths.filter(|path| files::is_open_to_others(path));
    open.map(|path| files::open_notice(path)).collect()
}

/// Returns a warning if the process may use more memory than its cgroup allows.
fn shortage(settings: &Settings, credentials: Option<&Loaded>) -> Option<String> {
    let connections = settings.limits.connections.min(side::open_files_hard());
    let terms = memory::terms(settings, credentials.map(|loaded| &*loaded.credentials));
    memory::shortage(memory::group_limit(), &terms, connections).filter(|_| !settings.dev)
}

/// Returns the token file to validate. With `--dev`, the token file is ignored if there is no admin listener, because
/// the configuration may have been copied from another machine.
pub(crate) fn used_token_file(settings: &Settings) -> Option<&PathBuf> {
    let path = settings.admin.token_file.as_ref();
    path.filter(|_| settings.admin.listen.is_some() || !settings.dev)
}

/// Reads the secret of the console's OpenID client. Returns a warning if all users can read the file.
fn secret_of_accounts(settings: &Settings, draft: &mut Draft) -> Option<String> {
    let path = settings.admin.oidc.as_ref()?.client_secret_file.as_ref()?;
    match secret_of_client(path) {
        Ok((_, false)) => None,
        Ok((_, true)) => Some(files::open_notice(path)),
        Err(rule) => {
            draft.fault("admin.oidc.client_secret_file", path.display(), rule);
            None
        }
    }
}

/// Reads a client secret, and returns whether all users can read its file. The error states which rule the file breaks.
pub(crate) fn secret_of_client(path: &Path) -> Result<(Zeroizing<String>, bool), String> {
    let read = files::read_regular_text(path, SECRET_BYTES_MAX)
        .map_err(|error| format!("must be a readable file: {error}"))?;
    let secret = Zeroizing::new(read.content.trim().to_owned());
    if secret.is_empty() || !secret.bytes().all(|byte| (b' '..=b'~').contains(&byte)) {
        return Err("must have one line of printable ASCII characters".into());
    }
    Ok((secret, read.is_open_to_others()))
}

/// Records a fault if the credentials file lacks the provider that console accounts use, or if that provider is not
/// suitable for accounts.
fn provider_of_accounts(settings: &Settings, loaded: &Loaded, draft: &mut Draft) {
    let Some(oidc) = &settings.admin.oidc else {
        return;
    };
    match loaded.credentials.provider(&oidc.provider) {
        None => draft.fault(
            "admin.oidc.provider",
            &oidc.provider,
            "expected the issuer of an [oidc_provider] of the credentials file, without https://",
        ),
        Some(provider) if matches!(provider.keys, KeySource::File(_)) => draft.fault(
            "admin.oidc.provider",
            &oidc.provider,
            "expected a provider without jwks_file: its discovery document says where people sign in",
        ),
        Some(provider) if client_of(oidc, provider).is_none() => draft.fault(
            "admin.oidc.client_id",
            "",
            "expected the client that the console is: the provider has several client_ids",
        ),
        Some(_) => {}
    }
}

const SECRET_BYTES_MAX: usize = 4096;

/// Checks that a directory can be created and written to, by creating a temporary file in its nearest existing
/// ancestor.
fn probe(data_dir: &Path) -> io::Result<()> {
    let mut place = data_dir;
    loop {
        match fs::metadata(if place.as_os_str().is_empty() {
            Path::new(".")
        } else {
            place
        }) {
            Ok(about) if about.is_dir() => break,
            Ok(_) => return Err(io::ErrorKind::NotADirectory.into()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                // A dangling link occupies the path, so no directory can be created there.
                if fs::symlink_metadata(place).is_ok() {
                    return Err(error);
                }
                place = place.parent().ok_or(error)?;
            }
            Err(error) => return Err(error),
        }
    }
    let name = format!(".heliograph-probe-{}", std::process::id());
    let file = place.join(name);
    File::options().create_new(true).write(true).open(&file)?;
    fs::remove_file(&file)
}

fn cluster(settings: &Settings, draft: &mut Draft) {
    let cluster = &settings.cluster;
    if let Some(path) = &cluster.secret_file
        && let Err(rule) = cluster::secret(path)
    {
        draft.fault("cluster.secret_file", path.display(), rule);
    }
    if let (Some(path), Some(node)) = (&cluster.map_file, &cluster.node)
        && let Err(rule) = cluster::map(path, node)
    {
        draft.fault("cluster.map_file", path.display(), rule);
    }
    if cluster.etcd.is_on() {
        let faults = etcd_options::options(&cluster.etcd).err();
        for fault in faults.unwrap_or_default() {
            draft.fault(fault.key, fault.path.display(), fault.rule);
        }
    }
}

fn tls(
    settings: &Settings,
    now: SystemTime,
    expired: fn(&TlsFiles) -> Expired,
) -> Result<Vec<String>, Vec<FileFault>> {
    let used = settings
        .port(broker_core::settings::Scheme::Https)
        .is_some();
    match &settings.tls {
        Some(files) if used || !settings.dev => tls_files::check(files, now, expired(files)),
        Some(_) | None => Ok(Vec::new()),
    }
}

/// Records a fault for each endpoint whose host is also a server name for which the broker requests device
/// certificates.
fn names_of_devices(settings: &Settings, loaded: &Loaded, draft: &mut Draft) {
    let advertise = &settings.advertise;
    let endpoints = [
        ("advertise.domain", &advertise.domain),
        ("advertise.wss", &advertise.wss),
        ("advertise.https", &advertise.https),
    ];
    let hosts = loaded.devices.iter().flat_map(|devices| &devices.hosts);
    for host in hosts {
        for (key, endpoint) in endpoints {
            let Some(endpoint) = endpoint else { continue };
            let name = endpoint.rsplit("//").next().unwrap_or_default();
            let name = name.split(':').next().unwrap_or_default();
            if name.eq_ignore_ascii_case(host) {
                let rule = format!(
                    "must differ from the names of [things] hosts of the credentials file: {host} requests \
                     certificates and serves only devices"
                );
                draft.fault(key, endpoint, rule);
            }
        }
    }
}

fn load(settings: &Settings) -> Option<Result<Loaded, ConfigError>> {
    let used = settings.auth == broker_core::settings::Auth::Sigv4;
    let path = settings.credentials.as_ref();
    let path = path.filter(|_| used || !settings.dev)?;
    let console = settings.admin.oidc.as_ref().map(|it| &*it.provider);
    Some(load_credentials(path, &settings.account_id, console))
}

fn ended(loaded: &Loaded, now: SystemTime) -> Vec<String> {
    let now_s = unix_s(now);
    let principals = loaded.credentials.principals();
    let ended = principals.filter_map(|principal| {
        let end = principal.expires_s.filter(|end| *end <= now_s)?;
        let (name, end) = (&principal.name, Stamp::from_epoch(end));
        Some(format!(
            "the key of principal {name} expired {end}: requests with it are refused; give it a later `expires`, or \
             remove the principal"
        ))
    });
    ended.collect()
}

/// Handles a credentials error. If the credentials file cannot be read, records this as a fault of the key that names
/// the file. Returns any other error.
fn of_credentials(settings: &Settings, of: ConfigError, draft: &mut Draft) -> Option<ConfigError> {
    let path = settings.credentials.as_ref()?.display().to_string();
    let whole = match of.faults() {
        [fault] if fault.key.is_empty() && fault.place == ValuePlace::Default => &fault.rule,
        [] | [_, ..] => return Some(of),
    };
    let rule = whole.strip_prefix(&format!("{path}: ")).unwrap_or(whole);
    let rule = match rule.strip_prefix("cannot be read: ") {
        Some(error) => format!("must be a readable file: {error}"),
        None => rule.to_owned(),
    };
    draft.fault("credentials", path, rule);
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use broker_core::settings::TlsFiles;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn keys_and_tokens_that_everybody_may_read_are_named() {
        let folder = testkit::Directory::temporary();
        let file = |name: &str, mode: u32| {
            let path = folder.join(name);
            fs::write(&path, "secret").unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            path
        };
        let mut settings = Settings {
            tls: Some(TlsFiles {
                cert: vec![file("cert", 0o644), file("rsa.cert", 0o644)],
                key: vec![file("open.key", 0o644), file("group.key", 0o640)],
                client_ca: None,
                expired: Expired::Serve,
            }),
            ..Settings::default()
        };
        settings.cluster.etcd.key = Some(file("written.key", 0o602));
        settings.admin.token_file = Some(file("token", 0o604));
        let open = open_files(&settings);
        let names: Vec<_> = ["open.key", "written.key", "token"]
            .map(|name| files::open_notice(&folder.join(name)))
            .into();
        assert_eq!(open, names);
    }
}
