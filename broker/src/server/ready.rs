//! The one line on stdout.

use crate::failure::Failure;
use crate::files::token::TOKEN_FILE;
use crate::files::write_shared;
use crate::server::environment::{authority, environment};
use crate::side;
use broker_core::settings::{Listen, Scheme, Settings};
use serde_json::{Map, Value, json};
use std::fmt::Write as _;
use std::io::{IsTerminal, Write as _};
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;

/// Reports on stdout that every listener of every shard accepts, and where; then opens the page, if that was asked for.
///
/// # Errors
/// The file of the same content cannot be written.
pub(crate) fn tell(settings: &Settings, ca: Option<&Path>) -> Result<(), Failure> {
    if let Some(path) = &settings.ready_file {
        write_shared(path, &format!("{:#}\n", document(settings)), READ_BY_ALL)
            .map_err(|error| Failure::Fatal(format!("--ready-file {}: {error}", path.display())))?;
    }
    let mut out = std::io::stdout().lock();
    // A closed stdout is the starter's business, not a reason to end.
    let mut text = format!("{}\n", line(settings, ca));
    if let Some(url) = settings.try_url().filter(|_| out.is_terminal()) {
        let _ = writeln!(text, "\n  Try it in a browser: {url}\n");
    }
    let told = out.write_all(text.as_bytes()).and_then(|()| out.flush());
    if let Err(error) = told {
        tracing::warn!(%error, "the ready line could not be written");
    }
    open_try(settings);
    Ok(())
}

fn document(settings: &Settings) -> Value {
    let listen: Vec<String> = settings.listen.iter().map(ToString::to_string).collect();
    let variables = environment(settings).into_iter();
    let mut variables: Map<String, Value> = variables
        .map(|(name, value)| (name.into(), value.into()))
        .collect();
    if let Some(path) = &settings.admin.token_file {
        let whole = std::path::absolute(path).unwrap_or_else(|_| path.clone());
        variables.insert(TOKEN_FILE.into(), whole.display().to_string().into());
    }
    json!({
        "listen": listen,
        "admin": settings.admin.listen.map(|addr| format!("http://{addr}")),
        "ca": authority(settings).map(|path| path.display().to_string()),
        "region": settings.region,
        "pid": std::process::id(),
        "environment": variables,
    })
}

/// Starts the operator's browser with the page to try the service, if that was asked for. Nothing waits for it.
fn open_try(settings: &Settings) {
    let Some(url) = settings.try_url().filter(|_| settings.open_try) else {
        return;
    };
    let open = move || {
        // A program inherits the mask of the thread that starts it: a browser must end on a signal.
        let started = side::unblock_signals().and_then(|()| {
            let mut command = Command::new("xdg-open");
            command.arg(&url).stdin(Stdio::null()).stdout(Stdio::null());
            command.stderr(Stdio::null()).status()
        });
        match started {
            Ok(status) if status.success() => {}
            Ok(status) => tracing::warn!(%url, %status, "xdg-open could not open the page"),
            Err(error) => tracing::warn!(%url, %error, "xdg-open could not be started"),
        }
    };
    if let Err(error) = thread::Builder::new().name("open".into()).spawn(open) {
        tracing::warn!(%error, "no thread for xdg-open");
    }
}

fn line(settings: &Settings, ca: Option<&Path>) -> String {
    let mut line = String::from("ready");
    for Listen { scheme, addr } in &settings.listen {
        let scheme = match scheme {
            Scheme::Http => "http",
            Scheme::Https => "https",
        };
        let _ = write!(line, " {scheme}://{addr}");
    }
    let _ = match settings.admin.listen {
        Some(addr) => write!(line, " admin=http://{addr}"),
        None => write!(line, " admin=off"),
    };
    if let Some(ca) = ca {
        let _ = write!(line, " ca={}", ca.display());
    }
    if let Some(url) = settings.try_url() {
        let _ = write!(line, " try={url}");
    }
    line
}

/// The mode of a file that others need, less what the process's mask takes away.
const READ_BY_ALL: u32 = 0o666;

#[cfg(test)]
mod tests {

    use super::*;
    use broker_core::settings::Profile;
    use std::{fs, io};

    fn write_file(path: &Path, settings: &Settings) -> io::Result<()> {
        write_shared(path, &document(settings).to_string(), READ_BY_ALL)
    }

    #[test]
    fn the_file_is_written_whole_and_follows_no_link() {
        let dir = std::env::temp_dir().join(format!("heliograph-ready-{}", std::process::id()));
        fs::create_dir_all(&dir).unwrap();
        let (file, victim) = (dir.join("ready.json"), dir.join("victim"));
        let mut settings = Settings::new(Profile::Default, true);
        settings.admin.token_file = Some("admin.token".into());
        fs::write(&victim, "precious").unwrap();
        let planted = dir.join(format!("ready.json.{}", std::process::id()));
        std::os::unix::fs::symlink(&victim, &planted).unwrap();
        std::os::unix::fs::symlink(&victim, &file).unwrap();
        write_file(&file, &settings).unwrap();
        assert_eq!(fs::read_to_string(&victim).unwrap(), "precious");
        let written: Value = serde_json::from_slice(&fs::read(&file).unwrap()).unwrap();
        assert_eq!(written["pid"], std::process::id());
        let token = std::env::current_dir().unwrap().join("admin.token");
        assert_eq!(written["environment"][TOKEN_FILE], token.to_str().unwrap());
        assert!(!fs::symlink_metadata(&file).unwrap().is_symlink());
        // A directory in its place: nothing is left behind.
        let taken = dir.join("taken");
        fs::create_dir(&taken).unwrap();
        assert!(write_file(&taken, &settings).is_err());
        assert_eq!(fs::read_dir(&dir).unwrap().count(), 3);
        fs::remove_dir_all(&dir).unwrap();
    }

    #[test]
    fn the_line_is_the_contract() {
        let mut settings = Settings::new(Profile::Default, true);
        assert_eq!(
            line(&settings, Some(Path::new("heliograph-data/dev-ca.pem"))),
            "ready http://127.0.0.1:8080 https://127.0.0.1:8443 admin=http://127.0.0.1:8090 \
             ca=heliograph-data/dev-ca.pem try=http://127.0.0.1:8090/try"
        );
        settings.admin.listen = Some("0.0.0.0:8090".parse().unwrap());
        let ends = |settings: &Settings, end: &str| assert!(line(settings, None).ends_with(end));
        ends(
            &settings,
            " admin=http://0.0.0.0:8090 try=http://localhost:8090/try",
        );
        settings.dev_hosts = vec!["2001:db8::7".into()];
        ends(&settings, " try=http://[2001:db8::7]:8090/try");
        settings.dev = false;
        ends(&settings, " admin=http://0.0.0.0:8090");
        settings.listen = vec![Listen {
            scheme: Scheme::Https,
            addr: "[::1]:1".parse().unwrap(),
        }];
        settings.admin.listen = None;
        assert_eq!(line(&settings, None), "ready https://[::1]:1 admin=off");
    }
}
