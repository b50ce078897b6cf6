//! Collects the licences of the crates that the two programs are built from. Many licences require that their text
//! accompanies the binaries.

use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::error::Error;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::process::Command;

/// Prefixes of the names of licence files, in lower case.
const NAMES: &[&str] = &["license", "licence", "copying", "notice", "unlicense"];

/// Extensions of files that are not licence texts, whatever their names begin with.
const CODE: &[&str] = &["rs", "c", "h", "py", "pl", "sh", "toml", "json", "html"];

/// Licence texts of crates that are published without one, taken from their repositories. For crates under the Apache
/// License, this is only the notice, since [`APACHE`] contains the licence text.
const ADDED: &[(&str, &str)] = &[
    ("asn1-rs-impl", include_str!("../texts/asn1-rs.txt")),
    ("base64-simd", include_str!("../texts/simd.txt")),
    ("buddy-alloc", include_str!("../texts/buddy-alloc.txt")),
    ("glommio", include_str!("../texts/glommio.txt")),
    ("maud", include_str!("../texts/maud.txt")),
    ("maud_macros", include_str!("../texts/maud.txt")),
    ("tonic-prost", include_str!("../texts/tonic.txt")),
    ("vsimd", include_str!("../texts/simd.txt")),
];

/// Text of the licence of Heliograph.
const APACHE: &str = include_str!("../../../../LICENSE");

/// The platform for which the packages are built.
const TARGET: &str = "x86_64-unknown-linux-gnu";

const HEAD: &str = "\
Heliograph is under the Apache License 2.0. It is built from the crates below, each with its licence and repository.
crates.io has the source of each, by its name and version, and none is changed: that is also where the source of those
under the Mozilla Public License is. Of liburing, which is in glommio, the MIT licence is used. Behind the crates are
the texts: first those of the standard library of Rust and of what it links.

";

type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// Licence texts with their owners. An owner is a crate, followed by a folder if the text is not in the root of the
/// crate.
type Owners = BTreeMap<String, BTreeSet<String>>;

/// Returns a single text: a table of all crates with their SPDX expressions, followed by each licence text once,
/// preceded by the names of the crates that contain it.
///
/// # Errors
///
/// Returns an error if cargo cannot list the dependencies, a licence file cannot be read, or a crate has no licence
/// text.
pub(crate) fn text() -> Result<String> {
    let metadata = metadata()?;
    let mut all = HEAD.to_owned();
    let mut texts = Owners::new();
    for package in shipped(&metadata)? {
        let name = format!(
            "{} {}",
            text_of(package, "name")?,
            text_of(package, "version")?
        );
        let expression = package["license"].as_str().unwrap_or("see its text");
        let repository = package["repository"].as_str().unwrap_or("no repository");
        writeln!(all, "{name}: {expression}; {repository}")?;
        texts_of(package, &name, &mut texts)?;
    }
    for (texts, title) in [(standard_library()?, true), (texts, false)] {
        for (licence, owners) in texts {
            let owners: Vec<_> = owners.into_iter().collect();
            let of = if title {
                "The standard library of Rust: "
            } else {
                ""
            };
            let rule = "-".repeat(80);
            write!(all, "\n{rule}\n{of}{}:\n\n{licence}\n", owners.join(", "))?;
        }
    }
    Ok(all)
}

/// Adds the licence texts of a crate: those in its folder or, if it contains none, those in [`ADDED`].
fn texts_of(package: &Value, name: &str, texts: &mut Owners) -> Result<()> {
    let folder = Path::new(text_of(package, "manifest_path")?).parent();
    let folder = folder.ok_or("a manifest without a directory")?;
    let crate_name = text_of(package, "name")?;
    let added = ADDED.iter().find(|(of, _)| *of == crate_name);
    match (crate_texts(folder, folder, name, texts)?, added) {
        (true, None) => {}
        (false, Some((_, text))) => {
            add(texts, text, name);
            if text_of(package, "license")?.contains("Apache-2.0") {
                add(texts, APACHE, name);
            }
        }
        (false, None) => Err(format!(
            "{name} has no licence text in {}: put that of its repository into deploy/packages/documents/texts, and \
             name it in {}",
            folder.display(),
            file!()
        ))?,
        (true, Some(_)) => Err(format!(
            "{name} has a licence text: remove that of {}",
            file!()
        ))?,
    }
    Ok(())
}

fn add(texts: &mut Owners, text: &str, owner: &str) {
    let text = text.replace("\r\n", "\n");
    let owners = texts.entry(text.trim().to_owned()).or_default();
    owners.insert(owner.to_owned());
}

/// Adds the licence texts in a folder of a crate and in its subfolders, which may contain third-party code. Returns
/// whether the folder itself contains a licence text.
fn crate_texts(root: &Path, at: &Path, name: &str, texts: &mut Owners) -> Result<bool> {
    let mut own = false;
    for entry in fs::read_dir(at)? {
        let path = entry?.path();
        if path.is_dir() && !path.is_symlink() {
            crate_texts(root, &path, name, texts)?;
            continue;
        }
        let file = path.file_name().unwrap_or_default();
        let file = file.to_string_lossy().to_lowercase();
        let ending = path.extension().unwrap_or_default().to_string_lossy();
        if !NAMES.iter().any(|prefix| file.starts_with(prefix)) || CODE.contains(&&*ending) {
            continue;
        }
        own = true;
        let text = String::from_utf8_lossy(&fs::read(&path)?).into_owned();
        let below = at.strip_prefix(root)?.display().to_string();
        let owner = if below.is_empty() {
            name.to_owned()
        } else {
            format!("{name} ({below})")
        };
        add(texts, &text, &owner);
    }
    Ok(own)
}

/// Returns the licence texts of the standard library, from the compiler's installation. They include those of LLVM's
/// runtime libraries and of the crates that the library is built from.
fn standard_library() -> Result<Owners> {
    let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let sysroot = output(Command::new(rustc).args(["--print", "sysroot"]))?;
    let folder = Path::new(sysroot.trim()).join("share/doc/rust");
    let read = |name: &str| {
        let path = folder.join(name);
        fs::read_to_string(&path).map_err(|error| format!("{}: {error}", path.display()))
    };
    let mut texts = Owners::new();
    for licence in [
        "Apache-2.0",
        "BSD-2-Clause",
        "LLVM-exception",
        "MIT",
        "Unicode-3.0",
    ] {
        add(
            &mut texts,
            &read(&format!("licenses/{licence}.txt"))?,
            licence,
        );
    }
    let page = read("COPYRIGHT-library.html")?;
    let mut crates = page.split("<h3>").skip(1).peekable();
    crates
        .peek()
        .ok_or("COPYRIGHT-library.html names no crates")?;
    for part in crates {
        let (name, rest) = part
            .split_once("</h3>")
            .ok_or("a heading without its end")?;
        let name = name.trim_start_matches(|c: char| !c.is_ascii_alphanumeric());
        for text in rest.split("<pre>").skip(1) {
            let text = text.split("</pre>").next().unwrap_or_default();
            let mut text = text.to_owned();
            for (entity, character) in ENTITIES {
                text = text.replace(entity, character);
            }
            add(&mut texts, &text, name);
        }
    }
    Ok(texts)
}

/// HTML entities in `COPYRIGHT-library.html`, and the characters that they stand for. The ampersand is last, so that
/// nothing is unescaped twice.
const ENTITIES: &[(&str, &str)] = &[
    ("&#34;", "\""),
    ("&#39;", "'"),
    ("&#60;", "<"),
    ("&#62;", ">"),
    ("&#38;", "&"),
];

/// Returns the packages from crates.io that the two programs are built from, including build dependencies, sorted by
/// name.
fn shipped(metadata: &Value) -> Result<Vec<&Value>> {
    let mut names = BTreeSet::new();
    // One program at a time, as they are built. `cargo metadata` enables the features of the whole workspace, including
    // those of tests.
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

fn metadata() -> Result<Value> {
    let filter = format!("--filter-platform={TARGET}");
    let text = cargo(&["metadata", "--format-version=1", "--locked", &filter])?;
    Ok(serde_json::from_str(&text)?)
}

/// Runs a cargo command and returns its output.
fn cargo(arguments: &[&str]) -> Result<String> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    output(Command::new(cargo).args(arguments))
}

fn output(command: &mut Command) -> Result<String> {
    let output = command.output()?;
    if !output.status.success() {
        return Err(String::from_utf8_lossy(&output.stderr).into());
    }
    Ok(String::from_utf8(output.stdout)?)
}

fn text_of<'a>(package: &'a Value, key: &str) -> std::result::Result<&'a str, String> {
    package[key]
        .as_str()
        .ok_or_else(|| format!("cargo metadata names a package without {key}"))
}
