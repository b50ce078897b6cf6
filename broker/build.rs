//! Facts of the build that `heliograph version` reports: variables for the compiler, of cargo, rustc and git.

use std::path::Path;
use std::process::Command;

fn main() {
    let variable = |name: &str| std::env::var(name).unwrap_or_default();
    if variable("CARGO_CFG_TARGET_OS") != "linux" {
        return println!("cargo::error={ELSEWHERE}");
    }
    let rustc = variable("RUSTC");
    set("TARGET", &variable("TARGET"));
    let profile = profile(&variable("OUT_DIR")).unwrap_or_else(|| variable("PROFILE"));
    set("PROFILE", &profile);
    set(
        "RUSTC",
        &output(&rustc, &["--version"]).unwrap_or_else(|| "rustc".into()),
    );
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rerun-if-changed=Cargo.toml");
    println!("cargo:rerun-if-env-changed={COMMIT}");
    let id = variable(COMMIT);
    assert!(
        id.bytes().all(|byte| byte.is_ascii_hexdigit()),
        "{COMMIT}={id}: expected the hexadecimal id of a commit"
    );
    if !id.is_empty() {
        set("COMMIT", &id);
    } else if profile != "debug" && std::fs::exists("../.git").unwrap_or(false) {
        // Tests are built again and again, for commits that change nothing they are built from.
        checked_out();
    }
}

/// Name of the profile's folder: `debug`, `release`, `dist`. Cargo's variable has only the first two, and names the
/// profile that another one inherits from. The path ends with PROFILE/build/PACKAGE/out.
fn profile(out_dir: &str) -> Option<String> {
    let folder = Path::new(out_dir).ancestors().nth(3)?;
    Some(folder.file_name()?.to_str()?.to_owned())
}

/// Sets the commit that is checked out, and whether files differ from it; nothing without git. A repository in which
/// these sources only lie is not asked: its commits are of something else.
fn checked_out() {
    let Some(folder) = output("git", &["rev-parse", "--absolute-git-dir"]) else {
        return;
    };
    // The log of HEAD has a line for each commit and checkout. What is watched and absent would be built at every call.
    for file in ["HEAD", "logs/HEAD"].map(|name| format!("{folder}/{name}")) {
        if std::fs::exists(&file).unwrap_or(false) {
            println!("cargo:rerun-if-changed={file}");
        }
    }
    // Every folder from which the binary is built.
    for folder in ["src", "core/src", "etcd/src", "link/src", "mailbox/src"] {
        println!("cargo:rerun-if-changed={folder}");
    }
    for folder in ["ring/src", "store/src", "console", "../codec/src"] {
        println!("cargo:rerun-if-changed={folder}");
    }
    println!("cargo:rerun-if-changed=../Cargo.lock");
    let Some(id) = output("git", &["rev-parse", "HEAD"]) else {
        return;
    };
    set("COMMIT", &id);
    let changed = output("git", &["status", "--porcelain", "--untracked-files=no"]);
    set("DIRTY", if changed.is_some() { "true" } else { "false" });
}

fn set(name: &str, value: &str) {
    println!("cargo:rustc-env=HELIOGRAPH_BUILD_{name}={value}");
}

/// The output of a program, unless it fails or prints nothing.
fn output(program: &str, arguments: &[&str]) -> Option<String> {
    let output = Command::new(program).args(arguments).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    let text = text.trim();
    (output.status.success() && !text.is_empty()).then(|| text.to_owned())
}

/// The error of a build for another system.
const ELSEWHERE: &str = "heliograph runs on Linux: in WSL2, or as a container of Docker Desktop; see \"On a Mac or on \
                         Windows\" in deploy/INSTALL.md";

/// The variable that names the commit, whatever git says: for an archive of the sources, a container's build, or a
/// distribution's repository.
const COMMIT: &str = "HELIOGRAPH_COMMIT";
