//! Every fenced block of README.md, deploy/*.md and deploy/testing, run literally and in order in a fresh folder.
//!
//! `deploy/conformance/README.md`, "Blocks of the pages", has the marks and the stand-ins. The programs
//! of `deploy/conformance/pages` make the surroundings: for root a throwaway system over this one.

mod page;

use super::{clients, workspace};
use crate::process::{beside, binary, directory};
use page::{Block, ELSEWHERE, Kind, blocks, pages};
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs::{self, File};
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;
use testkit::ended_within;

/// The longest page has a minute of load; with registries a page installs clients.
const PAGE_WITHIN: Duration = Duration::from_secs(300);

/// As whom blocks run.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Pass {
    User,
    Root,
}

#[test]
fn every_block_is_run_or_marked() {
    let all = all_blocks();
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for block in &all {
        *counts.entry(block.kind.name()).or_default() += 1;
    }
    eprintln!("blocks of the pages: {} {counts:?}", all.len());
    for (page, section, language, count, test) in ELSEWHERE {
        let of_page = all.iter().filter(|block| {
            let is_its = section.is_empty() || block.section == section;
            block.page == page && is_its && matches!(block.kind, Kind::Elsewhere(_))
        });
        assert_eq!(
            of_page.count(),
            count,
            "blocks of {language} in {page} that {test} runs"
        );
        let text = fs::read_to_string(workspace().join(test)).expect(test);
        let name = Path::new(page).file_name().and_then(|name| name.to_str());
        assert!(text.contains(name.expect("a name")), "{test} reads {page}");
    }
    let run = all.iter().filter(|block| block.kind == Kind::Run);
    assert!(run.count() > 10, "{counts:?}");
}

/// The programs of `target/clients`: the commands that follow are run with them.
#[test]
fn packages_of_the_pages_are_the_tested_ones() {
    let read = |path: &str| fs::read_to_string(workspace().join(path)).expect(path);
    let python = read("deploy/conformance/python/requirements.txt");
    let node = read("deploy/conformance/js/package.json");
    let all = all_blocks();
    let network = all.iter().filter(|block| block.kind == Kind::Network);
    let mut pinned = 0;
    for word in network.flat_map(|block| block.text.split_whitespace()) {
        if word.contains("==") {
            assert!(python.lines().any(|line| line == word), "{word}");
            pinned += 1;
        } else if let Some((name, version)) =
            word.rsplit_once('@').filter(|(name, _)| !name.is_empty())
        {
            assert!(
                node.contains(&format!("\"{name}\": \"{version}\"")),
                "{word}"
            );
            pinned += 1;
        }
    }
    assert!(pinned >= 5, "{pinned} versions");
}

#[test]
fn a_block_that_nobody_runs_is_found() {
    let refused = |text: &str| blocks("README.md", text).expect_err(text);
    assert!(refused("```\nls\n```\n").starts_with("README.md:1: nobody runs"));
    assert!(refused("a list:\n\n```toml\na = 1\n```\n").starts_with("README.md:3: nobody runs"));
    assert!(refused("<!-- block: later -->\n```sh\nls\n```\n").contains("expected server, root"));
    let kinds = |text: &str| blocks("README.md", text).expect(text).remove(0).kind;
    assert_eq!(
        kinds("`a.toml`, in two\nlines:\n\n```toml\n```\n"),
        Kind::File("a.toml".into())
    );
    assert_eq!(kinds("<!-- block: root -->\n```sh\n```\n"), Kind::Root);
    assert_eq!(
        kinds("<!-- blocks: service -->\ntext\n```sh\n```\n"),
        Kind::Service
    );
}

/// The pages of the first ten minutes, whose blocks the gate runs.
const FIRST_PAGES: [&str; 2] = ["README.md", "deploy/FIRST-SESSION.md"];

#[test]
#[ignore = "needs the clients that deploy/ci/check.sh installs, and loadgen beside the broker"]
fn readme_as_a_user() {
    as_a_user(|page| FIRST_PAGES.contains(&page));
}

#[test]
#[ignore = "needs the clients that deploy/ci/check.sh installs, and loadgen beside the broker"]
fn other_pages_as_a_user() {
    as_a_user(|page| !FIRST_PAGES.contains(&page));
}

#[test]
#[ignore = "needs the clients that deploy/ci/check.sh installs, and root"]
fn other_pages_as_root() {
    as_root(|page| !FIRST_PAGES.contains(&page));
}

/// Blocks that need no right and no network, as an ordinary user; of root's this drops to one.
fn as_a_user(is_wanted: impl Fn(&str) -> bool) {
    let all = all_blocks();
    thread::scope(|scope| {
        for page in pages().into_iter().filter(|page| is_wanted(page)) {
            let blocks: Vec<&Block> = all.iter().filter(|block| block.page == page).collect();
            let running = scope.spawn(move || run(&page, &blocks, Pass::User));
            // In one network they take turns: they have the same ports.
            if with_network() {
                running.join().expect("its blocks");
            }
        }
    });
}

/// Pages up to their last block for root, as root in a throwaway system: those that install nothing, behind an
/// installation.
fn as_root(is_wanted: impl Fn(&str) -> bool) {
    if !is_root() {
        eprintln!("skipped: only root can have a throwaway system");
        return;
    }
    let all = all_blocks();
    let is_privileged = |block: &&Block| matches!(block.kind, Kind::Root | Kind::Service);
    for page in pages().into_iter().filter(|page| is_wanted(page)) {
        let mut blocks: Vec<&Block> = all.iter().filter(|block| block.page == page).collect();
        while blocks.pop_if(|last| !is_privileged(last)).is_some() {}
        if !blocks.iter().any(|block| block.kind == Kind::Root) {
            let installation = |block: &&Block| {
                block.page == "deploy/INSTALL.md" && block.section == "Installation"
            };
            let mut before: Vec<&Block> = all.iter().filter(installation).collect();
            before.append(&mut blocks);
            blocks = before;
        }
        if blocks.iter().any(|block| block.page == page) {
            run(&page, &blocks, Pass::Root);
        }
    }
}

fn all_blocks() -> Vec<Block> {
    let of = |page: &String| {
        let text = fs::read_to_string(workspace().join(page)).expect("a page");
        blocks(page, &text).unwrap_or_else(|fault| panic!("{fault}"))
    };
    pages().iter().flat_map(of).collect()
}

/// Runs the blocks of a page that are for this pass, in one shell and a fresh folder; each must succeed.
fn run(page: &str, blocks: &[&Block], pass: Pass) {
    let (mut script, mut count) = ("set -e\n. \"$PAGES/page.sh\"\n".to_owned(), 0);
    for block in blocks {
        if let Some(commands) = commands(block, pass) {
            let _ = writeln!(script, "block '{}'\n{commands}", block.place());
            count += 1;
        }
    }
    script.push_str("leave\n");
    if count == 0 {
        return;
    }
    let stage = directory();
    furnish(&stage);
    fs::write(stage.join("script"), script).expect("a file under target/");
    let Some(output) = surrounded(&stage, pass) else {
        return;
    };
    for block in blocks.iter().filter(|block| block.kind == Kind::Printed) {
        for line in block.text.lines() {
            assert!(
                is_printed(line, &output),
                "{} {line:?} is not in\n{output}",
                block.place()
            );
        }
    }
    let name = if pass == Pass::Root { "root" } else { "a user" };
    eprintln!("{page}: {count} of {} blocks as {name}", blocks.len());
}

/// The text that the shell gets for a block; nothing for one that is not of this pass.
fn commands(block: &Block, pass: Pass) -> Option<String> {
    let Block { text, .. } = block;
    let quoted = |before: &str| format!("{before} <<'END-OF-BLOCK'\n{text}END-OF-BLOCK");
    match &block.kind {
        Kind::Run => Some(text.clone()),
        Kind::Server => (pass == Pass::User).then(|| quoted("serve")),
        Kind::File(name) => Some(quoted(&format!("write '{name}'"))),
        Kind::Root => (pass == Pass::Root).then(|| text.clone()),
        Kind::Service => (pass == Pass::Root).then(|| format!("diagnose\n{text}")),
        Kind::Network => with_network().then(|| text.clone()),
        // A block behind an installation wants the files that were shown before.
        Kind::Elsewhere(Some(name)) if with_network() => Some(quoted(&format!("write '{name}'"))),
        Kind::Elsewhere(_) | Kind::Printed | Kind::Domain | Kind::Output => None,
    }
}

/// Whether the line is in the output, where `…` is any text.
fn is_printed(line: &str, output: &str) -> bool {
    output.lines().any(|printed| {
        let mut rest = Some(printed);
        for part in line.split('…') {
            rest = rest
                .and_then(|rest| rest.split_once(part))
                .map(|(_, rest)| rest);
        }
        rest.is_some()
    })
}

/// Makes what a reader has: a clone whose programs are built, and the clients.
fn furnish(stage: &Path) {
    let (clone, bin) = (stage.join("clone"), stage.join("bin"));
    for folder in ["clone/target/release", "clone/loadgen", "bin", "home"] {
        fs::create_dir_all(stage.join(folder)).expect("a folder under target/");
    }
    #[rustfmt::skip] // a table, a case per row
    let links = [
        (binary(), clone.join("target/release/heliograph")),
        (beside("loadgen"), clone.join("target/release/loadgen")),
        (clients().join("python/bin/aws"), bin.join("aws")),
        (clients().join("js/node_modules"), clone.join("node_modules")),
    ];
    for (original, link) in links {
        assert!(original.exists(), "{} is not there", original.display());
        symlink(original, link).expect("a link under target/");
    }
    let copied = Command::new("cp")
        .arg("-r")
        .args(["deploy", "loadgen/scenarios"].map(|folder| workspace().join(folder)))
        .arg(&clone)
        .status();
    assert!(copied.is_ok_and(|status| status.success()), "cp");
    fs::rename(clone.join("scenarios"), clone.join("loadgen/scenarios")).expect("a folder");
}

/// Runs the script of a stage; returns what it printed. Nothing where namespaces are not allowed, which is said.
fn surrounded(stage: &Path, pass: Pass) -> Option<String> {
    let pages = workspace().join("deploy/conformance/pages");
    #[rustfmt::skip] // a list
    let mut words = vec!["--pdeathsig", "KILL", "unshare", "--pid", "--fork", "--kill-child"];
    words.extend(if is_root() {
        vec!["--mount", "--propagation", "private"]
    } else {
        vec!["--user", "--map-current-user", "--keep-caps"]
    });
    if !with_network() {
        words.push("--net");
    }
    let allowed = Command::new("setpriv").args(&words).arg("true").output();
    if !allowed.is_ok_and(|output| output.status.success()) {
        eprintln!("skipped: namespaces are not allowed here");
        return None;
    }
    let path = stage.join("output");
    let file = File::create(&path).expect("a file under target/");
    let mut child = Command::new("setpriv")
        .args(&words)
        .arg("bash")
        .arg(pages.join("stage.sh"))
        .arg(stage)
        .arg(if pass == Pass::Root { "root" } else { "user" })
        .env("PAGES", &pages)
        .stdin(Stdio::null())
        .stdout(file.try_clone().expect("a second handle"))
        .stderr(file)
        .spawn()
        .expect("setpriv, unshare and bash");
    let ended = ended_within(&mut child, PAGE_WITHIN);
    let output = fs::read_to_string(path).expect("a text");
    assert!(
        ended.is_some_and(|ended| ended.success()),
        "{ended:?}:\n{output}"
    );
    Some(output)
}

/// Whether blocks that need a registry run as well, in this machine's network: `deploy/ci/blocks.sh --all`.
fn with_network() -> bool {
    std::env::var_os("HELIOGRAPH_BLOCKS").is_some_and(|blocks| blocks == "all")
}

fn is_root() -> bool {
    fs::metadata("/proc/self").is_ok_and(|process| process.uid() == 0)
}
