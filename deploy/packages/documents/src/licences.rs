//! The licences of the crates that the two programs are built from, with their texts: what "keep the notice" asks for.

use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::error::Error;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::process::Command;

/// Names with which files of licences begin, in lower case.
const NAMES: &[&str] = &["license", "licence", "copying", "notice", "unlicense"];

/// The platform of the packages.
const TARGET: &str = "x86_64-unknown-linux-gnu";

/// One text: a table of crates with their SPDX expressions, then each text that crates bring along, once, behind the
/// names of the crates that have it.
///
/// # Errors
///
/// Cargo cannot tell the dependencies, or a file of a licence cannot be read.
pub(crate) fn text() -> Result<String, Box<dyn Error>> {
    let metadata = metadata()?;
    let mut table = String::new();
    let mut texts: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for package in shipped(&metadata)? {
        let name = format!(
            "{} {}",
            text_of(package, "name")?,
            text_of(package, "version")?
        );
        let expression = package["license"].as_str().unwrap_or("see its text");
        writeln!(table, "{name}: {expression}")?;
        let manifest = text_of(package, "manifest_path")?;
        let folder = Path::new(manifest)
            .parent()
            .ok_or("a manifest without a directory")?;
        for file in files(folder)? {
            texts.entry(file).or_default().insert(name.clone());
        }
    }
    let mut all = format!(
        "Heliograph is under the Apache License 2.0. It is built from these crates:\n\n{table}"
    );
    for (licence, crates) in texts {
        let crates: Vec<_> = crates.into_iter().collect();
        write!(
            all,
            "\n{}\n{}:\n\n{}\n",
            "-".repeat(80),
            crates.join(", "),
            licence.trim_end()
        )?;
    }
    Ok(all)
}

/// The packages of crates.io that the two programs are linked from or built by, in the order of their names.
fn shipped(metadata: &Value) -> Result<Vec<&Value>, Box<dyn Error>> {
    let mut names = BTreeSet::new();
    // One at a time, as they are built: `cargo metadata` has the features of the whole workspace, tests included.
    for program in ["broker", "loadgen"] {
        let tree = cargo(&[
            "tree",
            "--locked",
            "--package",
            program,
            "--edges=normal,build",
            "--target",
            TARGET,
            "--prefix=none",
        ])?;
        names.extend(tree.lines().filter_map(|line| {
            let mut words = line.split(' ');
            Some((
                words.next()?.to_owned(),
                words.next()?.trim_start_matches('v').to_owned(),
            ))
        }));
    }
    let packages = metadata["packages"]
        .as_array()
        .ok_or("cargo metadata has no packages")?;
    let mut shipped = Vec::new();
    for package in packages
        .iter()
        .filter(|package| !package["source"].is_null())
    {
        let name = (
            text_of(package, "name")?.to_owned(),
            text_of(package, "version")?.to_owned(),
        );
        if names.contains(&name) {
            shipped.push(package);
        }
    }
    shipped.sort_by_key(|package| (package["name"].as_str(), package["version"].as_str()));
    Ok(shipped)
}

fn files(folder: &Path) -> Result<Vec<String>, Box<dyn Error>> {
    let mut texts = Vec::new();
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().to_lowercase();
        if NAMES.iter().any(|prefix| name.starts_with(prefix)) && entry.file_type()?.is_file() {
            let bytes = fs::read(entry.path())?;
            texts.push(String::from_utf8_lossy(&bytes).replace("\r\n", "\n"));
        }
    }
    Ok(texts)
}

fn metadata() -> Result<Value, Box<dyn Error>> {
    let filter = format!("--filter-platform={TARGET}");
    let text = cargo(&["metadata", "--format-version=1", "--locked", &filter])?;
    Ok(serde_json::from_str(&text)?)
}

/// The output of a command of cargo.
fn cargo(arguments: &[&str]) -> Result<String, Box<dyn Error>> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo).args(arguments).output()?;
    if !output.status.success() {
        return Err(String::from_utf8_lossy(&output.stderr).into());
    }
    Ok(String::from_utf8(output.stdout)?)
}

fn text_of<'a>(package: &'a Value, key: &str) -> Result<&'a str, String> {
    package[key]
        .as_str()
        .ok_or_else(|| format!("cargo metadata names a package without {key}"))
}
