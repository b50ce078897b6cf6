//! All texts of the workspace: sources, scripts, configuration and Markdown.

use std::fs;
use std::path::{Path, PathBuf};

/// One file.
pub(crate) struct Page {
    /// From the workspace's root, with `/`.
    pub(crate) path: String,
    pub(crate) text: String,
}

impl Page {
    /// The lines with their numbers.
    pub(crate) fn lines(&self) -> impl Iterator<Item = (usize, &str)> {
        self.text
            .lines()
            .enumerate()
            .map(|(index, line)| (index + 1, line))
    }

    pub(crate) fn is_markdown(&self) -> bool {
        self.ends_with("md")
    }

    pub(crate) fn ends_with(&self, extension: &str) -> bool {
        Path::new(&self.path)
            .extension()
            .is_some_and(|end| end == extension)
    }
}

/// The workspace's root.
pub(crate) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// Every text of the tree, in the order of the paths.
pub(crate) fn pages() -> Vec<Page> {
    let root = root();
    let mut open = vec![PathBuf::new()];
    let mut pages = Vec::new();
    while let Some(folder) = open.pop() {
        let entries = fs::read_dir(root.join(&folder)).expect("a readable folder");
        for entry in entries {
            let entry = entry.expect("a readable entry");
            let name = entry.file_name().to_string_lossy().into_owned();
            let path = folder.join(&name);
            if entry.path().is_dir() {
                let others =
                    OTHERS.contains(&name.as_str()) && !path.iter().any(|one| one == "src");
                if !others && !name.starts_with('.') {
                    open.push(path);
                }
            } else if TEXTS.contains(&extension(&path)) {
                let text = fs::read_to_string(entry.path()).expect("a readable text");
                let path = path.to_string_lossy().replace('\\', "/");
                pages.push(Page { path, text });
            }
        }
    }
    pages.sort_by(|a, b| a.path.cmp(&b.path));
    assert!(pages.len() > 300, "only {} texts in {root:?}", pages.len());
    pages
}

fn extension(path: &Path) -> &str {
    path.extension()
        .and_then(|end| end.to_str())
        .unwrap_or_default()
}

const TEXTS: [&str; 10] = [
    "rs", "md", "toml", "sh", "py", "mjs", "yaml", "yml", "service", "css",
];

/// Folders outside sources that are not of this project, or hold what a run leaves behind.
const OTHERS: [&str; 4] = ["target", "node_modules", "heliograph-data", "__pycache__"];
