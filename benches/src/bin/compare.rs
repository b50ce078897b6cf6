//! Compares two records of `cargo bench -p benches --bench relay`, or prints a single record. Usage: `compare
//! BEFORE.json AFTER.json`, or `compare RECORD.json`.

use benches::compare::record::Record;
use benches::compare::table::{Change, Table};
use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;

fn main() -> ExitCode {
    let files: Vec<String> = std::env::args().skip(1).collect();
    match shown(&files) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(io::stderr(), "compare: {error}");
            ExitCode::FAILURE
        }
    }
}

fn shown(files: &[String]) -> io::Result<()> {
    let read = |file: &String| Record::read(Path::new(file));
    let mut out = io::stdout();
    match files {
        [one] => write!(out, "{}", Table(&read(one)?)),
        [before, after] => {
            let (before, after) = (&read(before)?, &read(after)?);
            write!(out, "{}", Change { before, after })
        }
        _ => Err(io::Error::other("expected one or two files")),
    }
}
