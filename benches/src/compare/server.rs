//! Finds, builds, starts and stops the programs under comparison.

use crate::compare::case::{Case, Figure};
use crate::relay::{Identity, KEY_ID, Rival, SECRET};
use clap::ValueEnum;
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};
use serde_json::json;
use std::fs::{self, File};
use std::io::{self, BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

/// A program under comparison.
#[derive(Clone, Debug)]
pub struct Server {
    /// Name of the program as it appears in records.
    pub name: String,
    kind: Kind,
}

#[derive(Clone, Debug)]
enum Kind {
    Broker(Broker),
    Rival(Rival),
    /// node with the package `ws`, which is installed in this directory.
    Node(PathBuf),
}

#[derive(Clone, Debug)]
struct Broker {
    binary: PathBuf,
    shards: u8,
    is_dev: bool,
    is_on_epoll: bool,
}

/// Paths of this workspace's programs.
#[derive(Clone, Debug)]
pub struct Programs {
    /// Path of the broker's binary.
    pub broker: PathBuf,
    /// Path of the load driver's binary.
    pub loadgen: PathBuf,
    rival: PathBuf,
}

impl Programs {
    /// Builds the programs with the release or the debug profile and returns their paths. `target` is the workspace's
    /// target directory.
    ///
    /// # Errors
    /// Returns an error if cargo fails; cargo prints the reason.
    pub fn build(target: &Path, is_release: bool) -> io::Result<Self> {
        let cargo = |command: &str, args: &[&str]| {
            let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
            let status = Command::new(cargo)
                .args([command, "--locked", "--quiet"])
                .args(args)
                .current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
                .status()?;
            let failed = || io::Error::other(format!("cargo {command} {}", args.join(" ")));
            status.success().then_some(()).ok_or_else(failed)
        };
        if is_release {
            // Each package is built separately, as users build it. Building them together would unify their features.
            for (package, binary) in BINARIES {
                cargo(
                    "build",
                    &["--profile", "dist", "-p", package, "--bin", binary],
                )?;
            }
        } else {
            // Building a test of a package also builds the package's programs, the same way as `cargo test` does. The
            // rival is built together with the bench that needs it.
            let tests = [
                "-p", "broker", "-p", "loadgen", "--test", "live", "--test", "load",
            ];
            cargo("test", &[&["--no-run"], &tests[..]].concat())?;
        }
        let folder = target.join(if is_release { "dist" } else { "debug" });
        Ok(Self {
            broker: folder.join("heliograph"),
            loadgen: folder.join("loadgen"),
            rival: folder.join("rival"),
        })
    }
}

impl Server {
    /// Returns the broker as configured in production, but with quotas off.
    #[must_use]
    pub fn broker(name: &str, binary: PathBuf) -> Self {
        Self::of_broker(name, binary, 1, false)
    }

    /// Returns the broker with `--dev`.
    #[must_use]
    pub fn dev(name: &str, binary: PathBuf) -> Self {
        Self::of_broker(name, binary, 1, true)
    }

    /// Returns the broker with two shards on one core.
    #[must_use]
    pub fn two_shards(name: &str, binary: PathBuf) -> Self {
        Self::of_broker(name, binary, 2, false)
    }

    /// Returns the broker with the epoll engine.
    #[must_use]
    pub fn on_epoll(name: &str, binary: PathBuf) -> Self {
        let mut server = Self::of_broker(name, binary, 1, false);
        if let Kind::Broker(broker) = &mut server.kind {
            broker.is_on_epoll = true;
        }
        server
    }

    fn of_broker(name: &str, binary: PathBuf, shards: u8, is_dev: bool) -> Self {
        let broker = Broker {
            binary,
            shards,
            is_dev,
            is_on_epoll: false,
        };
        Self {
            name: name.to_owned(),
            kind: Kind::Broker(broker),
        }
    }

    /// Returns whether channels must be created before clients connect. In production, the broker does not create a
    /// channel when a client connects.
    pub(crate) fn wants_channels(&self) -> bool {
        matches!(&self.kind, Kind::Broker(broker) if !broker.is_dev)
    }

    /// Returns whether the server is measured under a load. Not every server supports TLS, and the floors understand
    /// only messages of one form. A broker with two shards runs only a few of the loads, and a broker with `--dev` only
    /// those whose figure is a cost per message. Of the rivals, only the floors receive signed upgrades. No rival
    /// verifies their signature, and the floors verify nothing under any load.
    #[must_use]
    pub fn takes(&self, case: &Case) -> bool {
        match &self.kind {
            Kind::Broker(broker) if broker.is_dev => case.figure == Figure::PerMessage,
            Kind::Broker(broker) if broker.shards == 1 => true,
            // Only axum is measured with API calls, because the signature check is the same code in every framework.
            Kind::Rival(rival) if case.has_calls() => *rival == Rival::Axum,
            Kind::Node(_) if case.has_calls() => false,
            Kind::Broker(..) => matches!(&*case.name, "pairs" | "fan-in" | "connect"),
            Kind::Rival(_) | Kind::Node(_) if case.is_signed() => {
                Self::is_floor(&self.name) && !case.has_detour()
            }
            // A floor reads messages at fixed offsets, which are different in the messages of sessions.
            Kind::Rival(_) if Self::is_floor(&self.name) && case.has_sessions() => false,
            Kind::Rival(rival) => !case.is_tls || rival.has_tls(),
            Kind::Node(_) => true,
        }
    }

    /// Returns the rivals that can run on this machine: every variant of [`Rival`], and node if both it and the package
    /// `ws` are installed. The tests with real clients install the package in `clients`.
    #[must_use]
    pub fn rivals(clients: &Path) -> Vec<Self> {
        let mut all: Vec<Self> = Rival::value_variants()
            .iter()
            .map(|&rival| Self {
                name: rival.name(),
                kind: Kind::Rival(rival),
            })
            .collect();
        let package = clients.join("js");
        let has_node = Command::new("node").arg("--version").output().is_ok();
        if has_node && package.join("node_modules/ws/package.json").exists() {
            all.push(Self {
                name: "node-ws".to_owned(),
                kind: Kind::Node(package),
            });
        }
        all
    }

    /// Returns whether `name` is the name of a floor, which measures the minimum cost and is not a usable relay.
    #[must_use]
    pub fn is_floor(name: &str) -> bool {
        name.starts_with("floor-")
    }

    /// Starts the server for a load, pinned to `core` if it is given. Empties `directory`, which then holds the
    /// server's files.
    ///
    /// # Errors
    /// Returns an error if the server cannot be started or prints no port.
    pub fn start(
        &self,
        programs: &Programs,
        core: Option<usize>,
        case: &Case,
        directory: &Path,
    ) -> io::Result<Running> {
        let is_tls = case.is_tls;
        if directory.exists() {
            fs::remove_dir_all(directory)?;
        }
        fs::create_dir_all(directory)?;
        let mut command = match &self.kind {
            Kind::Broker(broker) => broker.command(core, case, directory)?,
            Kind::Rival(rival) => {
                let mut command = Command::new(&programs.rival);
                command.arg(rival.name());
                if is_tls {
                    command.arg("--tls");
                }
                command
            }
            Kind::Node(package) => {
                let mut command = Command::new("node");
                let script = concat!(env!("CARGO_MANIFEST_DIR"), "/src/relay/ws.mjs");
                command.arg(script).arg(package);
                if is_tls {
                    let identity = Identity::new();
                    for (name, pem) in [("cert.pem", identity.cert), ("key.pem", identity.key)] {
                        fs::write(directory.join(name), pem)?;
                        command.arg(directory.join(name));
                    }
                }
                command
            }
        };
        command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(File::create(directory.join("log"))?);
        let mut child = on_core(core, || command.spawn())?;
        let mut line = String::new();
        if let Some(out) = child.stdout.take() {
            BufReader::new(out).read_line(&mut line)?;
        }
        let mut running = Running {
            child,
            port: 0,
            tls_port: None,
        };
        running.port =
            port(&line).ok_or_else(|| io::Error::other(format!("{}: said {line:?}", self.name)))?;
        running.tls_port = line
            .find("https")
            .and_then(|start| after_host(&line[start..]));
        Ok(running)
    }
}

impl Broker {
    fn command(&self, core: Option<usize>, case: &Case, directory: &Path) -> io::Result<Command> {
        let mut command = Command::new(self.binary.canonicalize()?);
        // Older builds treat ":memory:" as the name of a file in the working directory.
        command.current_dir(directory);
        command.args(["serve", "--admin", "off"]);
        command.arg("--shards").arg(self.shards.to_string());
        // `--cpus` names the core on which this process starts the broker, so all shards run on that core.
        if let Some(core) = core {
            command.arg("--cpus").arg(core.to_string());
        }
        if self.is_on_epoll {
            command.args(["--engine", "epoll"]);
        }
        let scheme = if case.is_tls { "https" } else { "http" };
        command
            .arg("--listen")
            .arg(format!("{scheme}://127.0.0.1:0"));
        if case.has_detour() {
            command.args(["--listen", "https://127.0.0.1:0"]);
        }
        if self.is_dev {
            command.arg("--dev").arg("--data-dir");
            command.arg(directory.join("data"));
            return Ok(command);
        }
        let config = directory.join("broker.toml");
        fs::write(&config, production(case, directory)?)?;
        command.arg("--config").arg(config);
        Ok(command)
    }
}

/// Returns the broker's configuration: production settings with quotas off. Channels are kept in memory and created
/// anew for each run.
fn production(case: &Case, directory: &Path) -> io::Result<String> {
    let place = |name: &str| directory.join(name).display().to_string();
    let auth = if case.is_signed() { "sigv4" } else { "none" };
    let mut config = json!({ "data_dir": ":memory:", "auth": auth, "quotas": { "off": true } });
    if case.is_signed() {
        config["credentials"] = json!(place("keys.toml"));
        fs::write(place("keys.toml"), credentials())?;
    }
    if case.is_tls || case.has_detour() {
        let identity = Identity::new();
        config["tls"] = json!({ "cert": place("cert.pem"), "key": place("key.pem") });
        fs::write(place("cert.pem"), identity.cert)?;
        fs::write(place("key.pem"), identity.key)?;
    }
    toml::to_string(&config).map_err(io::Error::other)
}

const BINARIES: [(&str, &str); 3] = [
    ("broker", "heliograph"),
    ("loadgen", "loadgen"),
    ("benches", "rival"),
];

/// A running server, which is stopped on drop.
#[derive(Debug)]
pub struct Running {
    child: Child,
    /// Port on which the server listens on 127.0.0.1.
    pub port: u16,
    /// Port on which the broker serves TLS. `None` for other servers, or if TLS is off.
    pub tls_port: Option<u16>,
}

impl Running {
    /// Returns the process id of the server.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // If the process has exited on its own, the driver has already reported that.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Returns the broker's credentials file. Its only key has all permissions.
fn credentials() -> String {
    format!(
        "[[principal]]\nname = \"driver\"\naccess_key_id = \"{KEY_ID}\"\nsecret_access_key = \"{SECRET}\"\n\
         policies = [\"all\"]\n\
         [policy.all]\ndocument = '{{\"Statement\": \
         {{\"Effect\": \"Allow\", \"Action\": \"*\", \"Resource\": \"*\"}}}}'\n"
    )
}

/// Parses the port from the first line that a server prints. Rivals print the port alone; the broker prints its ready
/// line.
fn port(line: &str) -> Option<u16> {
    match line.strip_prefix("ready ") {
        Some(addresses) => after_host(addresses),
        None => line.trim().parse().ok(),
    }
}

fn after_host(addresses: &str) -> Option<u16> {
    let (_, after) = addresses.split_once("://127.0.0.1:")?;
    let digits = after.split(|c: char| !c.is_ascii_digit()).next()?;
    digits.parse().ok()
}

/// Runs `start` on a core. Processes that `start` spawns stay on that core.
///
/// # Errors
/// Returns an error if `start` fails or the kernel rejects the affinity.
pub fn on_core<T>(core: Option<usize>, start: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
    let Some(core) = core else {
        return start();
    };
    let before = sched_getaffinity(None)?;
    let mut one = CpuSet::new();
    one.set(core);
    sched_setaffinity(None, &one)?;
    let started = start();
    sched_setaffinity(None, &before)?;
    started
}

/// Returns the first and the last CPU available to this process. The servers use the first, the driver uses the last.
///
/// # Errors
/// Returns an error if the kernel does not report the CPUs.
pub fn cores() -> io::Result<(usize, usize)> {
    let set = sched_getaffinity(None)?;
    let mut allowed = (0..CpuSet::MAX_CPU).filter(|cpu| set.is_set(*cpu));
    let first = allowed.next().unwrap_or_default();
    Ok((first, allowed.next_back().unwrap_or(first)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_are_read_as_servers_say_them() {
        assert_eq!(port("4711\n"), Some(4711));
        let ready = "ready http://127.0.0.1:45219 admin=off\n";
        assert_eq!(port(ready), Some(45219));
        let ready = "ready https://127.0.0.1:45220 admin=off\n";
        assert_eq!(port(ready), Some(45220));
        assert_eq!(port(""), None);
    }
}
