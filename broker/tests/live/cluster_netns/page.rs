//! `deploy/CLUSTER.md`, "Three nodes on one machine": its commands are run as they are there, where only loopback is,
//! and do what it says.

use super::network::is_allowed;
use crate::clients::clients;
use crate::cluster_etcd::server;
use crate::process::{beside, binary, directory};
use std::fs::{self, File};
use std::os::unix::fs::symlink;
use std::process::{Command, Stdio};
use std::time::Duration;
use testkit::ended_within;

const PAGE: &str = include_str!("../../../../deploy/CLUSTER.md");

#[test]
#[ignore = "needs etcd, root and the clients that deploy/ci/check.sh installs, loadgen beside the broker and the cargo \
            feature `cluster`"]
fn three_nodes_by_copy_and_paste() {
    if !server::is_installed() || !is_allowed() {
        return;
    }
    let [brings_up, makes, kills, drains] = run(&blocks());

    assert_eq!(
        brings_up.matches("limits      payload").count(),
        3,
        "{brings_up}"
    );
    let nodes = ["n1", "n2", "n3"].map(|node| row(&brings_up, node));
    assert!(
        nodes.iter().all(|row| row.contains("here    0.")),
        "{brings_up}"
    );

    let arns = makes.lines().filter(|line| line.contains("\"ChannelARN\""));
    let mut arns: Vec<&str> = arns.map(|line| line.trim().trim_end_matches(',')).collect();
    assert_eq!(arns.len(), 3, "{makes}");
    arns.dedup();
    assert!(
        arns.len() == 1 && arns[0].contains("channel/cam1/"),
        "{makes}"
    );

    let n3 = row(&kills, "n3");
    assert!(n3.contains("here    no") && n3.ends_with(" 0"), "{kills}");
    for row in ["channels cut off", "channels that met again"] {
        assert!(kills.contains(row), "{row}: {kills}");
    }
    assert!(kills.contains(arns[0]), "{kills}");

    let (n1, n2) = (row(&drains, "n1"), row(&drains, "n2"));
    assert!(n1.ends_with(" 4096"), "{drains}");
    assert!(n2.contains("away    no") && n2.ends_with(" 0"), "{drains}");
    assert!(drains.contains("copy: 1 channels"), "{drains}");
}

/// The commands of the section, without the one that builds the programs.
fn blocks() -> [String; 4] {
    let (_, section) = PAGE
        .split_once("\n## Three nodes on one machine\n")
        .expect("the section");
    let (section, _) = section.split_once("\n## ").expect("another one follows");
    let blocks = section.split("```sh\n").skip(1);
    let blocks = blocks.map(|block| {
        let (block, _) = block.split_once("```").expect("it ends");
        let lines = block
            .lines()
            .filter(|line| !line.starts_with("cargo build "));
        lines.map(|line| format!("{line}\n")).collect()
    });
    let blocks: Vec<String> = blocks.collect();
    blocks.try_into().expect("four")
}

/// Runs them one after the other, in one shell, where only loopback is; each must succeed. Returns what each printed.
fn run(blocks: &[String; 4]) -> [String; 4] {
    let directory = directory();
    let release = directory.join("target/release");
    fs::create_dir_all(&release).expect("a directory under target/");
    for (program, name) in [(binary(), "heliograph"), (beside("loadgen"), "loadgen")] {
        symlink(program, release.join(name)).expect("a link under target/");
    }
    let path = clients().join("python/bin");
    let path = format!(
        "{}:{}",
        path.display(),
        std::env::var("PATH").expect("a path")
    );
    let blocks: String = blocks
        .iter()
        .map(|block| format!("echo '{NEXT}'\n{block}"))
        .collect();
    let script = format!("set -e\nip link set lo up\n{blocks}kill $(cat n1.pid); kill %1; wait\n");
    let output = directory.join("output");
    let file = File::create(&output).expect("a file under target/");
    #[rustfmt::skip] // a list
    let mut child = Command::new("setpriv")
        .args(["--pdeathsig", "KILL", "unshare", "--net", "--pid", "--fork", "--kill-child"])
        .args(["bash", "-c", &script])
        .env("PATH", path)
        .env("HOME", &directory)
        .current_dir(&directory)
        .stdin(Stdio::null())
        .stdout(file.try_clone().expect("a file"))
        .stderr(file)
        .spawn()
        .expect("setpriv, unshare and bash");
    let ended = ended_within(&mut child, Duration::from_secs(240));
    let output = fs::read_to_string(output).expect("a text");
    assert!(
        ended.is_some_and(|ended| ended.success()),
        "{ended:?}: {output}"
    );
    let parts: Vec<String> = output.split(NEXT).skip(1).map(str::to_owned).collect();
    parts.try_into().expect("a part of each")
}

/// The row of a node in the table of `cluster status`.
fn row<'o>(output: &'o str, node: &str) -> &'o str {
    let mut rows = output.lines().filter(|line| line.starts_with(node));
    rows.next()
        .unwrap_or_else(|| panic!("no {node} in {output}"))
}

/// Between what two blocks print.
const NEXT: &str = "--- the next block";
