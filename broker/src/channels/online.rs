//! The import into a broker that runs, by its admin listener: the files are checked here, and once more there.

use crate::admin_client::AdminListener;
use crate::channels::{Plan, export};
use crate::config::AdminFlags;
use crate::failure::Failure;
use crate::finding::counted;
use broker_core::limits::IMPORTED_MAX;
use broker_core::record::Record;
use std::path::PathBuf;

/// Whether the flags mean a broker that runs.
///
/// # Errors
/// [`Failure::Configuration`]: they have something that only such a one needs.
pub(crate) fn is_meant(asked: &AdminFlags) -> Result<bool, Failure> {
    let others = asked.token_file.is_some() || asked.config.is_some();
    if asked.admin.is_none() && others {
        let rule = "--token-file and --config: allowed with --admin URL, of a broker that runs";
        return Err(Failure::Configuration(rule.into()));
    }
    Ok(asked.admin.is_some())
}

/// Has a broker that runs make the channels of these files, or say what it would do.
pub(crate) fn import(
    files: &[PathBuf],
    asked: &AdminFlags,
    dry_run: bool,
) -> Result<String, Failure> {
    let listener = AdminListener::of(asked)?;
    let plan = Plan::of_files(files)?;
    let records: Vec<Record> = plan.records().cloned().collect();
    let channels = records.len();
    if channels > IMPORTED_MAX {
        return Err(Failure::Configuration(format!(
            "{channels} channels: allowed are {IMPORTED_MAX} while the broker runs, all in one commit: import them in \
             parts, or stop the broker and name its --data-dir"
        )));
    }
    let mut body = Vec::new();
    let written = export::write(&records, &mut body).map(|()| String::from_utf8(body));
    let body = written.ok().and_then(Result::ok).unwrap_or_default();
    let target = if dry_run {
        "/import?dry_run=true"
    } else {
        "/import"
    };
    let answer = listener.post_json(target, &body)?;
    let answer = answer.map_err(|refusal| match refusal.status.as_str() {
        "400" => Failure::Configuration(refusal.why),
        _ => refusal.into(),
    })?;
    let number = |name: &str| answer[name].as_u64().unwrap_or_default();
    let made = counted(
        usize::try_from(number("made")).unwrap_or_default(),
        "channel",
    );
    let (there, host) = (number("there"), &listener.host);
    let verb = if dry_run { "would be made" } else { "made" };
    Ok(format!(
        "http://{host}: {made} {verb}, {there} there already\n"
    ))
}
