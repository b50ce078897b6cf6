//! Checks of `deploy/`, as far as they need neither systemd nor a container runtime: flags and keys that exist,
//! settings that go together, texts that parse.

use broker::config::{Arguments, Command, Cpus, ServeFlags, load_text};
use broker_core::check::Check;
use broker_core::limits::SHARDS_MAX;
use broker_core::settings::Settings;
use clap::Parser;
use serde_json::Value;
use std::collections::BTreeSet;
use std::path::Path;
use yaml_rust2::{Yaml, YamlLoader};

const UNIT: &str = include_str!("../../deploy/heliograph.service");
const CONTAINER: &str = include_str!("../../deploy/Containerfile");
const COMPOSE: &str = include_str!("../../deploy/compose.yaml");
const COMPOSE_CONFIG: &str = include_str!("../../deploy/compose.toml");
const SECCOMP: &str = include_str!("../../deploy/seccomp.json");
const TOOLCHAIN: &str = include_str!("../../rust-toolchain.toml");

/// Seconds that the end may take beyond `[timeouts] drain`: two for a shard that hangs, five to stop.
const END_SECONDS: u64 = 7;

#[test]
fn the_unit_starts_the_broker_with_flags_that_exist() {
    let started = command_line(unit("ExecStart").split(' '));
    let Command::Serve(flags) = started.command else {
        panic!("it serves")
    };
    assert_eq!(
        flags.keys.given("data_dir").map(Path::new),
        Some(&*Path::new("/var/lib").join(unit("StateDirectory"))),
        "the only place that it may write to"
    );
    assert!(flags.keys.given("log_format").is_some());
    assert!(flags.config.is_some());
}

#[test]
fn the_units_limits_go_together() {
    let seconds = |key: &str| unit(key).parse::<u64>().expect("seconds");
    assert!(seconds("TimeoutStopSec") > drain_seconds() + END_SECONDS);
    assert!(
        seconds("WatchdogSec") >= 3,
        "a sign of life comes every second"
    );
    assert!(seconds("LimitNOFILE") >= 1 << 20);
    let store = unit("FileDescriptorStoreMax");
    assert_eq!(unit("Environment"), format!("FDSTORE={store}"));
    assert!(store.parse::<usize>().expect("a number") >= 4 * SHARDS_MAX);
    // An upgrade of the package restarts the service: a stop and a start would lose what the store has.
    let manifest = include_str!("../Cargo.toml");
    let mut unit_lines = manifest
        .lines()
        .filter(|line| line.starts_with("systemd-units"));
    let upgrades = "restart-after-upgrade = true, stop-on-upgrade = false }";
    assert!(
        unit_lines
            .next()
            .is_some_and(|line| line.ends_with(upgrades))
    );
    assert_eq!(unit("Type"), "notify");
    assert_eq!(unit("ExecReload"), "/bin/sh -c 'kill -HUP $MAINPID'");
    assert_eq!(unit("RestartPreventExitStatus"), "2");
    for (key, value) in [
        ("NoNewPrivileges", "yes"),
        ("ProtectSystem", "strict"),
        ("ProtectHome", "yes"),
        ("PrivateTmp", "yes"),
        ("AmbientCapabilities", "CAP_NET_BIND_SERVICE"),
        ("CapabilityBoundingSet", "CAP_NET_BIND_SERVICE"),
    ] {
        assert_eq!(unit(key), value);
    }
    let filters: Vec<_> = values("SystemCallFilter").collect();
    assert_eq!(
        filters[0], "@system-service",
        "which holds @aio, and so io_uring"
    );
    assert!(
        filters
            .iter()
            .all(|filter| !filter.contains("@aio") && !filter.contains("@resources")),
        "neither may be taken away"
    );
}

#[test]
fn the_image_runs_the_broker_as_a_user_without_rights() {
    let start: Vec<String> = [container("ENTRYPOINT"), container("CMD")]
        .iter()
        .flat_map(|list| strings(&serde_json::from_str(list).expect("the form of a list")))
        .collect();
    let started = command_line(start.iter().map(String::as_str));
    let Command::Serve(flags) = started.command else {
        panic!("it serves")
    };
    assert_eq!(
        flags.keys.given("data_dir").map(Path::new),
        Some(Path::new(&container("VOLUME")))
    );
    assert_eq!(container("USER"), "65532:65532");
    let stages: Vec<_> = CONTAINER
        .lines()
        .filter_map(|line| line.strip_prefix("FROM "))
        .collect();
    assert_eq!(stages, ["${BUILD_BASE} AS build", "${RUN_BASE}"]);
    let bases = ["BUILD_BASE", "RUN_BASE"].map(argument);
    let channel = TOOLCHAIN
        .lines()
        .find_map(|line| line.strip_prefix("channel = \""));
    let channel = channel.expect("a channel").trim_end_matches('"');
    assert_eq!(
        bases[0],
        format!("docker.io/library/rust:{channel}-bookworm")
    );
    for base in bases {
        let (_, tag) = base.rsplit_once(':').expect("a tag");
        assert!(
            tag.starts_with(|c: char| c.is_ascii_digit()),
            "a version, not a moving name: {base}"
        );
    }
    assert!(CONTAINER.contains("cargo build --profile dist --locked -p broker"));
}

#[test]
fn the_compose_file_starts_both_under_their_bounds() {
    let documents = YamlLoader::load_from_str(COMPOSE).expect("YAML");
    let broker = &documents[0]["services"]["broker"];
    let arguments = list(&broker["command"]);
    let started = command_line(
        ["broker"]
            .into_iter()
            .chain(arguments.iter().map(String::as_str)),
    );
    let Command::Serve(flags) = started.command else {
        panic!("it serves")
    };
    let mounted: Vec<String> = list(&broker["volumes"]);
    let target = |name: &str| format!(":{}", flags_path(name, &flags));
    assert!(
        mounted
            .iter()
            .any(|volume| volume.contains(&target("config"))),
        "{mounted:?}"
    );
    assert!(
        mounted
            .iter()
            .any(|volume| volume.ends_with(&target("data-dir"))),
        "{mounted:?}"
    );
    assert_eq!(broker["read_only"].as_bool(), Some(true));
    assert_eq!(list(&broker["cap_drop"]), ["ALL"]);
    let security = list(&broker["security_opt"]);
    assert_eq!(security, ["no-new-privileges:true"], "any seccomp profile");
    let image = concat!("heliograph:", env!("CARGO_PKG_VERSION"));
    assert_eq!(broker["image"].as_str(), Some(image), "that of release.sh");
    assert!(CONTAINER.contains(&format!(
        "podman build -f deploy/Containerfile -t {image} ."
    )));
    let grace = broker["stop_grace_period"]
        .as_str()
        .and_then(|grace| grace.strip_suffix('s'));
    let grace: u64 = grace.expect("seconds").parse().expect("a number");
    assert!(grace > drain_seconds() + END_SECONDS);
    let config = list(&broker["command"])[2].clone();
    let probe = list(&broker["healthcheck"]["test"]).join(" ");
    assert_eq!(
        probe,
        format!("CMD heliograph doctor --ready --config {config}")
    );
}

#[test]
fn the_compose_file_gives_both_one_secret() {
    let documents = YamlLoader::load_from_str(COMPOSE).expect("YAML");
    let services = &documents[0]["services"];
    let (broker, coturn) = (&services["broker"], &services["coturn"]);
    let image = coturn["image"].as_str().expect("an image");
    assert!(
        image
            .rsplit(':')
            .next()
            .is_some_and(|tag| tag.starts_with(|c: char| c.is_ascii_digit())),
        "{image}"
    );
    let arguments = list(&coturn["command"]);
    for flag in [
        "--use-auth-secret",
        "--static-auth-secret=$$(cat /run/secrets/turn)",
    ] {
        assert!(
            arguments.iter().any(|argument| argument == flag),
            "{flag}: {arguments:?}"
        );
    }
    for service in [broker, coturn] {
        assert_eq!(
            list(&service["secrets"]),
            ["turn"],
            "both read the one secret"
        );
    }
}

#[test]
fn the_compose_files_first_lines_make_every_file_that_it_mounts() {
    let documents = YamlLoader::load_from_str(COMPOSE).expect("YAML");
    let mut mounted = list(&documents[0]["services"]["broker"]["volumes"]);
    let secret = documents[0]["secrets"]["turn"]["file"].as_str();
    mounted.push(secret.expect("a file").into());
    let instructions: String = COMPOSE
        .lines()
        .take_while(|line| line.starts_with('#'))
        .collect();
    let version = env!("CARGO_PKG_VERSION");
    let load = format!("docker load --input dist/heliograph-{version}-image.tar.gz");
    assert!(instructions.contains(&load), "{load}");
    for source in mounted
        .iter()
        .filter_map(|volume| volume.strip_prefix("./"))
    {
        let source = source.split(':').next().expect("a path");
        assert!(
            instructions.contains(&format!("deploy/{source}")),
            "{source}"
        );
    }
    let file = COMPOSE_CONFIG
        .lines()
        .find_map(|line| line.strip_prefix("credentials = \"/etc/heliograph/"));
    let file = file.expect("a file").trim_end_matches('"');
    assert!(instructions.contains(&format!("deploy/{file}")), "{file}");
}

#[test]
fn the_compose_files_configuration_is_one() {
    let secret = std::env::temp_dir().join(format!("heliograph-turn-{}", std::process::id()));
    std::fs::write(&secret, "secret\n").expect("a file");
    assert!(
        COMPOSE_CONFIG.contains("\"/run/secrets/turn\""),
        "where compose puts it"
    );
    let text = COMPOSE_CONFIG.replace("/run/secrets/turn", secret.to_str().expect("UTF-8"));
    let machine = Cpus {
        allowed: vec![0],
        count: 1,
    };
    let file = Path::new("deploy/compose.toml");
    let settings = load_text(file, &text, &ServeFlags::default(), &machine);
    std::fs::remove_file(&secret).expect("removed");
    let settings = settings.unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(
        settings.admin,
        Settings::default().admin,
        "where the health check asks"
    );
    assert!(settings.tls.is_some() && settings.ice.len() == 1);
}

#[test]
fn the_seccomp_profile_allows_what_it_must_and_nothing_of_the_kind_it_is_for() {
    let profile: Value = serde_json::from_str(SECCOMP).expect("JSON");
    assert_eq!(profile["defaultAction"], "SCMP_ACT_ERRNO");
    let mut allowed = BTreeSet::new();
    for rule in profile["syscalls"].as_array().expect("rules") {
        for name in strings(&rule["names"]) {
            if rule["action"] == "SCMP_ACT_ALLOW" {
                assert!(allowed.insert(name.clone()), "{name} occurs twice");
            } else {
                assert_eq!(name.as_str(), "clone3");
                assert_eq!(rule["errnoRet"], Value::from(38));
            }
        }
    }
    for name in SEEN.split_ascii_whitespace() {
        assert!(allowed.contains(name), "{name} is used");
    }
    let dangerous = "add_key bpf chroot delete_module finit_module init_module io_setup kexec_load keyctl memfd_create \
                     mount \
                     move_mount open_by_handle_at perf_event_open personality pivot_root process_vm_readv \
                     process_vm_writev ptrace \
                     reboot setns swapon syslog umount2 unshare userfaultfd";
    for name in dangerous.split_ascii_whitespace() {
        assert!(!allowed.contains(name), "{name} is of no use to a broker");
    }
}

/// Debian 12 has npm 9.2, which ends with "Invalid comparator" at an alias (`npm:NAME@VERSION`) among the overrides.
#[test]
fn the_table_of_checks_is_that_of_the_broker() {
    let page = include_str!("../../deploy/REFUSALS.md");
    let (_, section) = page.split_once("## Checks\n").expect("the section");
    let (_, table) = section.split_once("|---|---|---|\n").expect("a table");
    let rows = table.lines().take_while(|line| line.starts_with('|'));
    let rows: Vec<&str> = rows.collect();
    let wanted = Check::ALL.iter().map(|check| {
        let (id, says, remedy) = (check.id(), check.says(), check.remedy());
        format!("| `{id}` | {says} | {remedy} |")
    });
    let wanted: Vec<String> = wanted.collect();
    for (row, wanted) in rows.iter().zip(&wanted) {
        assert_eq!(row, wanted);
    }
    assert_eq!(rows.len(), wanted.len());
}

#[test]
fn the_clients_packages_are_read_by_debians_npm() {
    for folder in ["js", "browser"] {
        let path = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("../deploy/conformance")
            .join(folder);
        let read = |name: &str| -> Value {
            let text = std::fs::read_to_string(path.join(name)).expect("a file");
            serde_json::from_str(&text).expect("JSON")
        };
        let overrides = read("package.json")["overrides"].to_string();
        assert!(!overrides.contains("npm:"), "{folder}: {overrides}");
        let lock = read("package-lock.json");
        for (name, package) in lock["packages"].as_object().expect("packages") {
            assert!(package.get("resolved").is_none(), "{name} has an address");
            assert!(
                name.is_empty() || package["integrity"].is_string(),
                "{name} has no checksum"
            );
        }
    }
}

/// System calls that `strace -f -c` saw in a start, calls, connections over TLS, a scrape, a reload and a drain, except
/// clone3.
const SEEN: &str = "accept4 access arch_prctl bind brk close epoll_create1 epoll_ctl epoll_wait eventfd2 execve fcntl \
                    flock fsync futex \
                    getdents64 getpeername getpid getrandom getrusage getsockname gettid io_uring_enter \
                    io_uring_register \
                    io_uring_setup ioctl listen lseek madvise membarrier mkdir mmap mprotect munmap newfstatat open \
                    openat poll prctl \
                    pread64 prlimit64 read recvfrom rename rseq rt_sigaction rt_sigprocmask rt_sigreturn \
                    sched_getaffinity \
                    sched_setaffinity sched_yield sendto set_robust_list set_tid_address setsockopt shutdown \
                    sigaltstack socket \
                    socketpair statx sysinfo unlink write writev";

fn command_line<'a>(words: impl Iterator<Item = &'a str>) -> Arguments {
    Arguments::try_parse_from(words).unwrap_or_else(|error| panic!("{error}"))
}

fn drain_seconds() -> u64 {
    Settings::default().timeouts.drain_ms / 1000
}

/// The values of a key of the unit, in order.
fn values(key: &str) -> impl Iterator<Item = &'static str> {
    UNIT.lines()
        .filter_map(move |line| line.strip_prefix(key)?.strip_prefix('='))
}

/// The one value of a key of the unit.
fn unit(key: &str) -> &'static str {
    let found: Vec<_> = values(key).collect();
    assert_eq!(found.len(), 1, "{key} occurs once");
    found[0]
}

/// The arguments of the last such instruction of the Containerfile.
fn container(instruction: &str) -> String {
    let last = CONTAINER
        .lines()
        .rev()
        .find_map(|line| line.strip_prefix(instruction)?.strip_prefix(' '));
    last.unwrap_or_else(|| panic!("no {instruction}"))
        .to_owned()
}

/// The default of a build argument of the Containerfile.
fn argument(name: &str) -> &'static str {
    let value = CONTAINER.lines().find_map(|line| {
        line.strip_prefix("ARG ")?
            .strip_prefix(name)?
            .strip_prefix('=')
    });
    value.unwrap_or_else(|| panic!("no {name}"))
}

fn strings(list: &Value) -> Vec<String> {
    let list = list.as_array().expect("a list");
    list.iter()
        .map(|one| one.as_str().expect("a text").to_owned())
        .collect()
}

fn list(yaml: &Yaml) -> Vec<String> {
    let list = yaml.as_vec().unwrap_or_else(|| panic!("a list: {yaml:?}"));
    list.iter()
        .map(|one| one.as_str().expect("a text").to_owned())
        .collect()
}

fn flags_path(name: &str, flags: &broker::config::ServeFlags) -> String {
    let path = match name {
        "config" => flags.config.as_deref(),
        _ => flags.keys.given("data_dir").map(Path::new),
    };
    path.expect("given").display().to_string()
}
