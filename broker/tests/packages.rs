//! The packages that `deploy/release.sh` builds, used as its users do: each test runs a script of `deploy/packages` on
//! the files of `dist/`, which must be there. And rules of release.sh and the pages that hold without them.

use serde_json::Value;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{self, Command, Output};

#[test]
#[ignore = "wants dist/, root and a Debian 12 to install in: deploy/ci/check.sh runs it"]
fn debian_package() {
    passes("deploy/packages/deb/try.sh", 900);
}

#[test]
#[ignore = "wants dist/, pytest and boto3: deploy/ci/check.sh runs it"]
fn wheels() {
    passes("deploy/packages/wheel/try.sh", 300);
}

#[test]
#[ignore = "wants dist/ and npm: deploy/ci/check.sh runs it"]
fn npm_packages() {
    passes("deploy/packages/npm/try.sh", 300);
}

#[test]
#[ignore = "wants dist/, root and bubblewrap: deploy/ci/check.sh runs it"]
fn image() {
    passes("deploy/packages/image/try.sh", 300);
}

#[test]
#[ignore = "wants target/release-tools and kubectl: deploy/ci/check.sh runs it"]
fn kubernetes() {
    passes("deploy/kubernetes/try.sh", 120);
}

#[test]
#[ignore = "wants dist/ and minisign: deploy/ci/check.sh runs it"]
fn signatures() {
    passes("deploy/packages/signed.sh", 120);
}

#[test]
#[ignore = "wants the packaged programs, root and control groups: deploy/ci/check.sh runs it"]
fn small_machine() {
    passes("deploy/ci/small.sh", 300);
}

#[test]
#[ignore = "builds all crates from their sources: deploy/ci/check.sh runs it"]
fn offline() {
    passes("deploy/packages/offline.sh", 1800);
}

#[test]
#[ignore = "wants target/stage and man: deploy/ci/check.sh runs it"]
fn man_pages_have_no_warnings() {
    let pages = files(&root().join("target/stage/man"), "1");
    assert!(pages.len() > 20, "{} pages", pages.len());
    for page in pages {
        let mut man = Command::new("man");
        man.args(["--warnings", "-E", "UTF-8", "-l", "-Tutf8", "-Z"]);
        let output = man.arg(&page).output().expect("man");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(
            output.status.success() && said.is_empty(),
            "{}: {said}",
            page.display()
        );
    }
}

#[test]
#[ignore = "wants target/stage: deploy/ci/check.sh runs it"]
fn the_program_names_the_commit_that_is_checked_out() {
    let mut git = Command::new("git");
    let head = git.args(["rev-parse", "HEAD"]).current_dir(root()).output();
    let Some(head) = head.ok().filter(|head| head.status.success()) else {
        return eprintln!("skipped: no git, or no checkout of it");
    };
    let mut program = Command::new(root().join("target/stage/heliograph"));
    let output = program.args(["version", "--json"]).output();
    let output = output.expect("the program of deploy/release.sh");
    let version: Value = serde_json::from_slice(&output.stdout).expect("one JSON document");
    let head = String::from_utf8_lossy(&head.stdout);
    assert_eq!(version["commit"], head.trim(), "{version}");
}

#[test]
fn an_unknown_part_is_refused_and_the_parts_are_named() {
    let output = script("deploy/release.sh", &["rpm"], 60);
    let said = String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(2), "{said}");
    for word in ["\"rpm\"", "binary", "deb", "--twice"] {
        assert!(said.contains(word), "{said}");
    }
}

#[test]
fn another_platform_is_refused_and_nothing_is_made() {
    let folder = std::env::temp_dir().join(format!("heliograph-uname-{}", process::id()));
    fs::create_dir_all(&folder).expect("a folder");
    let text = folder.join("script");
    fs::write(&text, "#!/bin/sh\necho Linux aarch64\n").expect("a script");
    testkit::install(&text, &folder.join("uname"));
    let path = std::env::var("PATH").expect("a path");
    let release = root().join("deploy/release.sh");
    let mut command = Command::new(release.canonicalize().expect("a path"));
    command.arg("binary");
    command.env("PATH", format!("{}:{path}", folder.display()));
    let output = command.output().expect("a program");
    let said = String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert_eq!(said.lines().count(), 1, "{said}");
    testkit::assert_has(&said, &["aarch64", "on Linux on x86_64"]);
    fs::remove_dir_all(&folder).expect("removed");
}

/// The unscoped name belongs to another project: who types it runs a stranger's program.
#[test]
fn no_page_runs_the_unscoped_package() {
    let mut pages = vec![root().join("README.md"), root().join("CHANGELOG.md")];
    for ending in ["md", "json", "cjs", "mjs", "py", "txt", "sh"] {
        pages.extend(files(&root().join("deploy"), ending));
    }
    assert!(pages.len() > 40, "{} files", pages.len());
    for page in pages {
        let text = fs::read_to_string(&page).expect("a page");
        for command in ["npx", "npm install", "npm i", "npm exec"] {
            let told = format!("{command} {}", "heliograph");
            assert!(!text.contains(&told), "{}: {told}", page.display());
        }
    }
}

/// The lines of README.md, "Install": those of the wheel and of the Debian package are run by their scripts, which take
/// them from the page.
#[test]
fn the_page_installs_the_files_that_are_built() {
    let page = fs::read_to_string(root().join("README.md")).expect("README.md");
    let version = env!("CARGO_PKG_VERSION");
    for line in [
        format!("pip install ./heliograph-{version}-py3-none-manylinux_2_28_x86_64.whl"),
        format!("sudo apt-get install ./heliograph_{version}_amd64.deb"),
        format!("docker load --input heliograph-{version}-image.tar.gz"),
    ] {
        assert!(page.lines().any(|has| has == line), "{line}");
    }
}

/// Another system builds nothing but the build scripts.
#[test]
fn a_build_for_another_system_ends_with_a_sentence_that_names_its_section() {
    let page = fs::read_to_string(root().join("deploy/INSTALL.md")).expect("INSTALL.md");
    assert!(page.contains("\n## On a Mac or on Windows\n"));
    let folder = std::env::temp_dir().join(format!("heliograph-build-{}", process::id()));
    fs::create_dir_all(&folder).expect("a folder");
    for package in ["broker", "loadgen"] {
        let of = |file: &str| root().join(package).join(file);
        let manifest = fs::read_to_string(of("Cargo.toml")).expect("a manifest");
        let gated = "\n[target.'cfg(target_os = \"linux\")'.dependencies]\n";
        assert!(manifest.contains(gated) && !manifest.contains("\n[dependencies]\n"));
        let script = folder.join(package);
        let mut rustc = Command::new("rustc");
        rustc.args(["--edition", "2024", "-o"]).arg(&script);
        assert!(
            rustc
                .arg(of("build.rs"))
                .status()
                .is_ok_and(|it| it.success())
        );
        let output = Command::new(&script)
            .env("CARGO_CFG_TARGET_OS", "macos")
            .output();
        let said = String::from_utf8(output.expect("it runs").stdout).expect("text");
        let error = said.lines().next().unwrap_or_default();
        assert!(error.starts_with("cargo::error="), "{said}");
        assert!(
            error.contains("\"On a Mac or on Windows\" in deploy/INSTALL.md"),
            "{said}"
        );
    }
    fs::remove_dir_all(&folder).expect("removed");
}

/// A fake git stands for the one that would be asked. Sources that lie in another repository have no commit of it.
#[test]
fn the_commit_is_of_the_variable_or_of_the_sources_own_repository() {
    let folder = std::env::temp_dir().join(format!("heliograph-commit-{}", process::id()));
    let (package, script) = (folder.join("sources/broker"), folder.join("script"));
    fs::create_dir_all(&package).expect("a folder");
    fs::create_dir_all(folder.join(".git")).expect("a folder");
    let mut rustc = Command::new("rustc");
    rustc.args(["--edition", "2024", "-o"]).arg(&script);
    let built = rustc.arg(root().join("broker/build.rs")).status();
    assert!(built.is_ok_and(|it| it.success()));
    let text = folder.join("text");
    fs::write(&text, "#!/bin/sh\necho abcd\n").expect("a script");
    testkit::install(&text, &folder.join("git"));
    let path = format!(
        "{}:{}",
        folder.display(),
        std::env::var("PATH").expect("a path")
    );
    let commit = |profile: &str, variable: &str| {
        let mut command = Command::new(&script);
        command.current_dir(&package).env("PATH", &path);
        command.env("OUT_DIR", format!("/t/{profile}/build/p/out"));
        command.env("HELIOGRAPH_COMMIT", variable);
        let command = command.envs([("CARGO_CFG_TARGET_OS", "linux"), ("RUSTC", "rustc")]);
        let output = command.output().expect("it runs");
        let said = String::from_utf8(output.stdout).expect("text");
        let mut lines = said.lines();
        lines.find_map(|line| Some(line.split_once("_BUILD_COMMIT=")?.1.to_owned()))
    };
    assert_eq!(commit("release", ""), None, "of a repository above");
    fs::create_dir_all(folder.join("sources/.git")).expect("a folder");
    assert_eq!(commit("release", "").as_deref(), Some("abcd"));
    assert_eq!(commit("release", "1234").as_deref(), Some("1234"));
    assert_eq!(commit("debug", ""), None, "without git");
    assert_eq!(commit("debug", "1234").as_deref(), Some("1234"));
    fs::remove_dir_all(&folder).expect("removed");
}

/// The script ends well within these seconds.
fn passes(script: &str, seconds: u32) {
    let output = self::script(script, &[], seconds);
    let said = String::from_utf8_lossy(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success(),
        "{script}: {}\n{said}\n{errors}",
        output.status
    );
    let looked = said.contains("seen: ") || said.starts_with("skipped: ");
    assert!(looked, "{script} looked at nothing: {said}");
    eprintln!("{said}");
}

fn script(path: &str, arguments: &[&str], seconds: u32) -> Output {
    let mut command = Command::new("timeout");
    command.args(["--kill-after=10", &seconds.to_string(), "bash", path]);
    let command = command.args(arguments).current_dir(root());
    command.output().expect("timeout and bash")
}

/// Every file below a folder whose name has this ending; not what was installed or built there.
fn files(folder: &Path, ending: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.is_dir() && !path.ends_with("node_modules") {
            found.extend(files(&path, ending));
        } else if path.extension().is_some_and(|is| is == ending) {
            found.push(path);
        }
    }
    found
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}
