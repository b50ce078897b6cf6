//! Writes criterion's results as CSV, with the columns `module,case,library,ns_per_op`.
//!
//! Usage: `cargo run -p benches --bin record [DIRECTORY]`. `DIRECTORY` is criterion's output directory and defaults to
//! `target/criterion`. An operation is one message, head or text, however many of them an iteration handles. The time
//! is the median that criterion reports. Results of earlier runs are included unless the directory was removed before
//! the run.

use serde_json::Value;
use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

fn main() -> io::Result<()> {
    let target =
        std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| "target".into(), PathBuf::from);
    let directory = std::env::args_os()
        .nth(1)
        .map_or_else(|| target.join("criterion"), PathBuf::from);
    let mut lines = Vec::new();
    for group in subdirectories(&directory)? {
        for library in subdirectories(&group)? {
            lines.extend(line(&library.join("new")));
        }
    }
    lines.sort();
    let mut out = io::stdout().lock();
    writeln!(out, "module,case,library,ns_per_op")?;
    for line in lines {
        writeln!(out, "{line}")?;
    }
    Ok(())
}

fn subdirectories(directory: &Path) -> io::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory)? {
        let path = entry?.path();
        if path.is_dir() {
            found.push(path);
        }
    }
    Ok(found)
}

fn line(directory: &Path) -> Option<String> {
    let benchmark = json(&directory.join("benchmark.json"))?;
    let estimates = json(&directory.join("estimates.json"))?;
    let (module, case) = benchmark["group_id"].as_str()?.split_once('/')?;
    let library = benchmark["function_id"].as_str()?;
    let operations = benchmark["throughput"]["ElementsAndBytes"]["elements"].as_f64()?;
    let time = estimates["median"]["point_estimate"].as_f64()? / operations;
    Some(format!("{module},{case},{library},{time:.1}"))
}

fn json(path: &Path) -> Option<Value> {
    serde_json::from_slice(&fs::read(path).ok()?).ok()
}
