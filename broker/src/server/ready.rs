//! The ready line on stdout, and the environment variables for clients of this broker.

use crate::admin_client::DEFAULT_HOST;
use crate::failure::{Failure, Fallible};
use crate::files::{TOKEN_FILE, token, write_shared};
use crate::server::admin::MADE_TOKEN;
use crate::side;
use crate::terminal::{Colour, Screen};
use broker_core::settings::{Auth, Listen, Scheme, Settings};
use serde_json::{Map, Value, json};
use std::fmt::Write as _;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;

/// Writes the listeners' addresses to stdout, and to the ready file if there is one. Called once all listeners accept
/// connections. Opens the try page if requested. Fails if the ready file cannot be written.
pub(crate) fn tell(settings: &Settings, ca: Option<&Path>) -> Fallible<()> {
    if let Some(path) = &settings.ready_file {
        write_shared(path, &format!("{:#}\n", document(settings)), READ_BY_ALL)
            .map_err(|error| Failure::Fatal(format!("--ready-file {}: {error}", path.display())))?;
    }
    let mut out = std::io::stdout().lock();
    // A closed stdout does not stop the process.
    let screen = Screen::stdout();
    let mut text = format!("{}\n", line(settings, ca));
    if settings.dev && screen.is_terminal() {
        text.insert_str(0, &welcome(settings, screen));
    } else if let Some(url) = try_url(settings).filter(|_| screen.is_terminal()) {
        let _ = writeln!(text, "\n  Try it in a browser: {url}\n");
    }
    let told = out.write_all(text.as_bytes()).and_then(|()| out.flush());
    if let Err(error) = told {
        tracing::warn!(%error, "the ready line could not be written");
    }
    open_try(settings);
    Ok(())
}

/// Formats the first lines that a development server prints on a terminal: its name, its addresses, and how to use and
/// stop it.
fn welcome(settings: &Settings, screen: Screen) -> String {
    let admin = settings.admin_url("localhost");
    let listen: Vec<String> = settings.listen.iter().map(ToString::to_string).collect();
    let env = match &admin {
        Some(_) if settings.container => {
            let all = environment(settings);
            all.first()
                .map_or_else(String::new, |(name, endpoint)| format!("{name}={endpoint}"))
        }
        Some(url) if *url != format!("http://{DEFAULT_HOST}") => {
            format!("eval \"$(heliograph env --admin {url})\"")
        }
        Some(_) => "eval \"$(heliograph env)\"".to_owned(),
        None => "no environment: the admin listener is off".to_owned(),
    };
    let checked = match settings.auth {
        Auth::None => "no signature is checked",
        Auth::Sigv4 => "signatures are checked",
    };
    let off = || "off: there is no admin listener".to_owned();
    let lines = [
        (
            "Heliograph",
            format!(
                "{}, a development server: {checked}",
                env!("CARGO_PKG_VERSION")
            ),
        ),
        ("Try it", try_url(settings).unwrap_or_else(off)),
        (
            "Console",
            admin.map_or_else(off, |url| url + &fragment(settings, "/")),
        ),
        ("Endpoints", listen.join(" ")),
        ("Clients", env),
        ("Players", player_url(settings)),
        ("Stop", "Ctrl-C".to_owned()),
    ];
    let line = |(name, text): (&str, String)| {
        let name = screen.paint(Colour::Bold, &format!("{name:<10}"));
        format!("  {name}  {text}\n")
    };
    format!("\n{}\n", lines.map(line).concat())
}

/// Returns the URL for WHEP players, with a placeholder for the channel. Prefers plain HTTP, since players do not trust
/// the CA of a development certificate.
fn player_url(settings: &Settings) -> String {
    if !settings.whep.on {
        return "off: [whep] on = false".to_owned();
    }
    let plain = settings.listen.iter().find(|it| it.scheme == Scheme::Http);
    let listen = plain.or_else(|| settings.listen.first());
    let listen = listen.map(ToString::to_string).unwrap_or_default();
    format!("{listen}{}CHANNEL", codec::whep::PATH)
}

fn try_url(settings: &Settings) -> Option<String> {
    settings.try_url().map(|url| url + &fragment(settings, ""))
}

/// Returns `path` with a URL fragment that contains a container's generated admin token. Returns an empty string if no
/// token is required, or if the operator has configured one.
fn fragment(settings: &Settings, path: &str) -> String {
    let made = settings.data_dir.join(MADE_TOKEN);
    let is_made = settings.container && settings.admin.token_file.as_ref() == Some(&made);
    let token = is_made.then(|| token(&made).ok()).flatten();
    token.map_or_else(String::new, |token| format!("{path}#token={token}"))
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
        "engine": engine(settings),
        "pid": std::process::id(),
        "environment": variables,
    })
}

/// Opens the try page in the operator's browser, if requested. Does not wait for the browser.
fn open_try(settings: &Settings) {
    let Some(url) = try_url(settings).filter(|_| settings.open_try) else {
        return;
    };
    let open = move || {
        // A program inherits the signal mask of the thread that spawns it, and signals must not stay blocked in the
        // browser.
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
        tracing::warn!(%error, "the thread for xdg-open could not be started");
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
    if let Some(url) = try_url(settings) {
        let _ = write!(line, " try={url}");
    }
    let _ = write!(line, " engine={}", engine(settings));
    line
}

fn engine(settings: &Settings) -> &'static str {
    settings.engine.into()
}

/// Mode of a world-readable file, before the umask.
const READ_BY_ALL: u32 = 0o666;

// The clients' environment: variables read by the AWS SDKs, the CLI and the C SDK.

pub(crate) const NAMES: [&str; 12] = [
    "AWS_ENDPOINT_URL_KINESIS_VIDEO",
    "AWS_ENDPOINT_URL_KINESIS_VIDEO_SIGNALING",
    "AWS_ENDPOINT_URL_STS",
    "AWS_REGION",
    "AWS_DEFAULT_REGION",
    "AWS_ACCESS_KEY_ID",
    "AWS_SECRET_ACCESS_KEY",
    "AWS_CA_BUNDLE",
    "NODE_EXTRA_CA_CERTS",
    "AWS_KVS_CACERT_PATH",
    "CONTROL_PLANE_URI",
    "HELIOGRAPH_ADMIN",
];

/// Returns the environment variables by name. Like discovery, they contain the TLS listener's endpoint. If there is no
/// TLS listener, or with `--plain`, they contain the plain listener's endpoint.
#[must_use]
pub(crate) fn environment(settings: &Settings) -> Vec<(&'static str, String)> {
    let Some(listen) = listener(settings) else {
        return Vec::new();
    };
    let port = listen.addr.port();
    let secure = listen.scheme == Scheme::Https;
    let scheme = if secure { "https" } else { "http" };
    let local = listen.addr.ip().is_loopback() && secure;
    let endpoint = if local || settings.container {
        format!("{scheme}://localhost:{port}")
    } else {
        format!("{scheme}://{}", listen.addr)
    };
    let mut variables = vec![
        ("AWS_ENDPOINT_URL_KINESIS_VIDEO", endpoint.clone()),
        ("AWS_ENDPOINT_URL_KINESIS_VIDEO_SIGNALING", endpoint.clone()),
        ("AWS_REGION", settings.region.clone()),
        ("AWS_DEFAULT_REGION", settings.region.clone()),
    ];
    match settings.auth {
        Auth::None => {
            variables.push(("AWS_ACCESS_KEY_ID", "test".into()));
            variables.push(("AWS_SECRET_ACCESS_KEY", "test".into()));
        }
        // The variables contain no keys, since only the operator knows the clients' keys. This broker issues federation
        // tokens for them.
        Auth::Sigv4 => variables.push(("AWS_ENDPOINT_URL_STS", endpoint)),
    }
    if let Some(ca) = authority(settings).filter(|_| secure) {
        let ca = ca.display().to_string();
        variables.push(("AWS_CA_BUNDLE", ca.clone()));
        variables.push(("NODE_EXTRA_CA_CERTS", ca.clone()));
        variables.push(("AWS_KVS_CACERT_PATH", ca));
    }
    if secure && port == 443 {
        // The C SDK connects only to port 443.
        variables.push(("CONTROL_PLANE_URI", "https://localhost".into()));
    }
    if let Some(admin) = settings.admin_url("localhost") {
        variables.push(("HELIOGRAPH_ADMIN", admin));
    }
    variables
}

/// Returns the absolute path of the CA certificate that issued the development certificate, if any TLS listener uses
/// the development certificate.
pub(crate) fn authority(settings: &Settings) -> Option<PathBuf> {
    let https = |listen: &Listen| listen.scheme == Scheme::Https;
    let generated = settings.tls.is_none() && settings.listen.iter().any(https);
    let path = settings.data_dir.join(crate::dev_certificate::AUTHORITY);
    generated.then(|| std::path::absolute(&path).unwrap_or(path))
}

fn listener(settings: &Settings) -> Option<Listen> {
    let mut all = settings.listen.iter().copied();
    let wanted = if settings.plain {
        Scheme::Http
    } else {
        Scheme::Https
    };
    let found = all.find(|listen| listen.scheme == wanted);
    found.or_else(|| settings.listen.first().copied())
}

#[cfg(test)]
mod tests {
    use super::*;
    use broker_core::settings::{EngineChoice, Profile};
    use std::{fs, io};

    fn write_file(path: &Path, settings: &Settings) -> io::Result<()> {
        write_shared(path, &document(settings).to_string(), READ_BY_ALL)
    }

    #[test]
    fn a_terminal_is_welcomed_by_seven_lines() {
        let mut settings = Settings::new(Profile::Default, true);
        let text = welcome(&settings, Screen::PLAIN);
        let lines: Vec<&str> = text.trim().lines().collect();
        assert_eq!(lines.len(), 7, "{text}");
        for (line, part) in lines.iter().zip([
            "no signature is checked",
            "http://127.0.0.1:8090/try",
            "http://127.0.0.1:8090",
            "http://127.0.0.1:8080 https://127.0.0.1:8443",
            "eval \"$(heliograph env)\"",
            "http://127.0.0.1:8080/whep/CHANNEL",
            "Ctrl-C",
        ]) {
            assert!(line.ends_with(part), "{line}");
        }
        settings.admin.listen = Some(([127, 0, 0, 1], 9).into());
        let text = welcome(&settings, Screen::PLAIN);
        assert!(
            text.contains("heliograph env --admin http://127.0.0.1:9)"),
            "{text}"
        );
        settings.admin.listen = None;
        assert_eq!(welcome(&settings, Screen::PLAIN).matches("off").count(), 3);
    }

    #[test]
    fn the_file_is_written_whole_and_follows_no_link() {
        let dir = testkit::Directory::temporary();
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
        // If there is a directory with the name of the file, the write fails and leaves nothing behind.
        let taken = dir.join("taken");
        fs::create_dir(&taken).unwrap();
        assert!(write_file(&taken, &settings).is_err());
        assert_eq!(fs::read_dir(&dir).unwrap().count(), 3);
    }

    #[test]
    fn the_line_is_the_contract() {
        let mut settings = Settings::new(Profile::Default, true);
        settings.engine = EngineChoice::Epoll;
        assert_eq!(
            line(&settings, Some(Path::new("heliograph-data/dev-ca.pem"))),
            "ready http://127.0.0.1:8080 https://127.0.0.1:8443 admin=http://127.0.0.1:8090 \
             ca=heliograph-data/dev-ca.pem try=http://127.0.0.1:8090/try engine=epoll"
        );
        settings.admin.listen = Some("0.0.0.0:8090".parse().unwrap());
        let ends = |settings: &Settings, end: &str| {
            assert!(line(settings, None).ends_with(&format!("{end} engine=epoll")));
        };
        ends(
            &settings,
            " admin=http://0.0.0.0:8090 try=http://localhost:8090/try",
        );
        settings.container = true;
        settings.admin.token_file = Some("operators.token".into());
        ends(&settings, " try=http://localhost:8090/try");
        settings.container = false;
        settings.dev_hosts = vec!["2001:db8::7".into()];
        ends(&settings, " try=http://[2001:db8::7]:8090/try");
        settings.dev = false;
        ends(&settings, " admin=http://0.0.0.0:8090");
        settings.listen = vec![Listen {
            scheme: Scheme::Https,
            addr: "[::1]:1".parse().unwrap(),
        }];
        settings.admin.listen = None;
        assert_eq!(
            line(&settings, None),
            "ready https://[::1]:1 admin=off engine=epoll"
        );
    }
}

#[cfg(test)]
mod environment_tests {
    use super::*;
    use broker_core::settings::Profile;

    fn value(settings: &Settings, name: &str) -> Option<String> {
        let all = environment(settings);
        all.into_iter()
            .find(|(other, _)| *other == name)
            .map(|(_, value)| value)
    }

    #[test]
    fn every_variable_has_a_name_that_clients_take_over() {
        let mut settings = Settings::new(Profile::Default, true);
        settings.listen[1].addr.set_port(443);
        let mut found: Vec<&str> = Vec::new();
        for auth in [Auth::None, Auth::Sigv4] {
            settings.auth = auth;
            found.extend(environment(&settings).into_iter().map(|(name, _)| name));
        }
        found.sort_unstable();
        found.dedup();
        let mut names = NAMES;
        names.sort_unstable();
        assert_eq!(found, names);
    }

    #[test]
    fn endpoints_and_trust_follow_the_listeners() {
        let mut settings = Settings::new(Profile::Default, true);
        let endpoint = "AWS_ENDPOINT_URL_KINESIS_VIDEO";
        assert_eq!(
            value(&settings, endpoint).as_deref(),
            Some("https://localhost:8443")
        );
        let ca = value(&settings, "AWS_CA_BUNDLE").unwrap();
        assert!(
            ca.starts_with('/') && ca.ends_with("heliograph-data/dev-ca.pem"),
            "{ca}"
        );
        assert_eq!(value(&settings, "NODE_EXTRA_CA_CERTS"), Some(ca));
        assert_eq!(
            value(&settings, "AWS_ACCESS_KEY_ID").as_deref(),
            Some("test")
        );
        assert_eq!(value(&settings, "AWS_ENDPOINT_URL_STS"), None);
        settings.plain = true;
        assert_eq!(
            value(&settings, endpoint).as_deref(),
            Some("http://127.0.0.1:8080")
        );
        assert_eq!(value(&settings, "AWS_CA_BUNDLE"), None);
        settings.auth = Auth::Sigv4;
        assert_eq!(value(&settings, "AWS_ACCESS_KEY_ID"), None);
        assert_eq!(
            value(&settings, "AWS_ENDPOINT_URL_STS").as_deref(),
            Some("http://127.0.0.1:8080")
        );
    }
}
