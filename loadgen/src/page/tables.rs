//! The parts of a report that are tables: every figure side by side, failures, cost, machine, arguments.

use super::sections::cores;
use super::{Run, escape};
use crate::result::rows::{Row, Sense, UNKNOWN, rows};
use crate::result::{Arguments, Cpu, Document, ErrorKind, Memory, words};
use serde_json::Value;
use std::collections::BTreeSet;
use std::fmt::Write;

/// Which figures a comparison holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Extent {
    /// The figures that a reader asks for first.
    Key,
    /// Every one.
    All,
}

/// Figures of all runs side by side; differences to the first run in percent.
pub fn comparison(out: &mut String, runs: &[Run], extent: Extent) {
    let documents: Vec<&Document> = runs.iter().map(|run| &run.document).collect();
    let columns = rows(&documents);
    let caption = match extent {
        Extent::Key => "What a reader asks first; differences are to the first run",
        Extent::All => "As far as they are known",
    };
    table_head(out, caption, runs);
    let mut group = "";
    for (place, first) in columns.first().into_iter().flatten().enumerate() {
        if extent == Extent::Key && !is_key(first) {
            continue;
        }
        if first.group != group {
            group = first.group;
            let span = runs.len() + 1;
            // Writing to a string cannot fail, here and below.
            let _ = write!(
                out,
                "<tr class=\"group\"><th scope=\"rowgroup\" colspan=\"{span}\">{group}</th></tr>"
            );
        }
        let _ = write!(out, "<tr><th scope=\"row\">{}</th>", escape(&first.label));
        for (number, rows) in columns.iter().enumerate() {
            let Some(row) = rows.get(place) else { continue };
            let fault = row.sense == Sense::Zero && row.value.is_some_and(|value| value > 0.0);
            let class = if fault { " class=\"bad\"" } else { "" };
            let run = column_name(runs, number);
            let _ = write!(out, "<td{class}{run}>{}", escape(&row.text));
            if number > 0 {
                let (class, words) = difference(first, row);
                let _ = write!(out, "<small class=\"change{class}\">{words}</small>");
            }
            out.push_str("</td>");
        }
        out.push_str("</tr>");
    }
    out.push_str("</tbody></table>");
}

/// Whether a row is a key figure: of latencies the median and the 99th percentile. Failures by kind have a section of
/// their own.
fn is_key(row: &Row) -> bool {
    match row.group {
        "Latency" => row.label.ends_with(" p50") || row.label.ends_with(" p99"),
        group => group != "Errors",
    }
}

/// The difference of a figure from that of the first run: whether it is good, and its size; empty if there is nothing
/// to say.
fn difference(base: &Row, row: &Row) -> (&'static str, String) {
    let both = base.value.zip(row.value).filter(|(base, _)| *base > 0.0);
    let percent = both.map(|(base, value)| (value / base - 1.0) * 100.0);
    let Some(percent) = percent.filter(|percent| percent.is_finite() && percent.abs() >= 0.5)
    else {
        return ("", String::new());
    };
    let class = match (row.sense, percent > 0.0) {
        (Sense::Plain | Sense::Zero, _) => "",
        (Sense::High, true) | (Sense::Low, false) => " better",
        (Sense::High, false) | (Sense::Low, true) => " worse",
    };
    if percent > 900.0 {
        (class, format!("×{}", words::figure(percent / 100.0 + 1.0)))
    } else {
        (class, format!("{percent:+.0} %"))
    }
}

/// Appends the failures by kind with what to do about each.
pub fn errors(out: &mut String, runs: &[Run]) {
    let kinds: BTreeSet<&String> = runs
        .iter()
        .flat_map(|run| run.document.errors.keys())
        .collect();
    out.push_str("<section><h2>Failures</h2><div class=\"card scroll\">");
    if kinds.is_empty() {
        out.push_str("<p class=\"none\">None.</p></div></section>\n");
        return;
    }
    table_head(out, "Failures by kind", runs);
    for kind in kinds {
        let _ = write!(
            out,
            "<tr><th scope=\"row\"><code>{}</code><small>{}</small></th>",
            escape(kind),
            escape(ErrorKind::of(kind).advice())
        );
        for (number, run) in runs.iter().enumerate() {
            let count = run.document.errors.get(kind).copied().unwrap_or_default();
            let class = if count > 0 { " class=\"bad\"" } else { "" };
            let run = column_name(runs, number);
            let _ = write!(out, "<td{class}{run}>{}</td>", words::count(count));
        }
        out.push_str("</tr>");
    }
    out.push_str("</tbody></table></div></section>\n");
}

/// Appends CPU time and memory of both sides.
pub fn costs(out: &mut String, runs: &[Run]) {
    let [run] = runs else {
        return; // of several, all of it is in the comparison
    };
    let document = &run.document;
    out.push_str(
        "<section><h2>CPU and memory</h2><div class=\"card scroll\"><table><caption>Both sides in the measured \
         span</caption><thead><tr>\
         <td></td><th scope=\"col\">service</th><th scope=\"col\">driver</th></tr></thead><tbody>",
    );
    for (name, service, driver) in sides(&document.cpu, &document.memory, document.duration_s) {
        if service.is_some() || driver.is_some() {
            let say = |text: Option<String>| text.unwrap_or_else(|| UNKNOWN.into());
            let (service, driver) = (say(service), say(driver));
            // Writing to a string cannot fail, here and below.
            let _ = write!(
                out,
                "<tr><th scope=\"row\">{name}</th><td>{service}</td><td>{driver}</td></tr>"
            );
        }
    }
    out.push_str("</tbody></table>");
    if document.cpu.server_s.is_none() {
        out.push_str(
            "<p class=\"none\">The service's side is not known: name its process with \
                      <code>--server-pid</code>.</p>",
        );
    }
    let lag = &document.schedule_lag_us;
    if let Some((p99, max)) = lag.p99.zip(lag.max) {
        let (p99, max) = (words::span_us(p99), words::span_us(max));
        let _ = write!(
            out,
            "<p class=\"none\">Starts were behind their schedule by at most {p99} in 99 of 100 cases, and by {max} at \
             worst.</p>"
        );
    }
    out.push_str("</div></section>\n");
}

/// Each figure of the service and of the driver.
fn sides(
    cpu: &Cpu,
    memory: &Memory,
    duration_s: f64,
) -> [(&'static str, Option<String>, Option<String>); 6] {
    let both = |service: Option<f64>, driver: Option<f64>, say: &dyn Fn(f64) -> String| {
        (service.map(say), driver.map(say))
    };
    let float = |count: Option<u64>| count.map(|count| count as f64);
    let time = both(cpu.server_s, cpu.driver_s, &words::seconds);
    let busy = both(cpu.server_s, cpu.driver_s, &|seconds| {
        cores(seconds, duration_s)
    });
    let message = both(
        cpu.server_us_per_message,
        cpu.driver_us_per_message,
        &words::cost_us,
    );
    let connection = both(
        cpu.server_us_per_connection,
        cpu.driver_us_per_connection,
        &words::cost_us,
    );
    let bytes = both(
        float(memory.server_rss_bytes),
        float(memory.driver_rss_bytes),
        &words::bytes,
    );
    let grown = both(memory.server_bytes_per_connection, None, &words::bytes);
    [
        ("CPU time", time.0, time.1),
        ("in use", busy.0, busy.1),
        ("CPU per message", message.0, message.1),
        ("CPU per connection", connection.0, connection.1),
        ("memory", bytes.0, bytes.1),
        ("memory per connection", grown.0, grown.1),
    ]
}

/// Appends the machines and versions.
pub fn machines(out: &mut String, runs: &[Run]) {
    let all: Vec<Arguments> = runs
        .iter()
        .map(|run| {
            let mut all = run.document.machine.clone();
            let versions = run.document.versions.iter();
            all.extend(versions.map(|(name, value)| (format!("{name} version"), value.clone())));
            all
        })
        .collect();
    out.push_str("<section><h2>Machine and versions</h2><div class=\"card scroll\">");
    names_and_values(
        out,
        "The machine that drove the load, and the programs",
        runs,
        &all,
    );
    out.push_str("</div></section>\n");
}

/// Appends the command line, and all figures of a single run.
pub fn arguments(out: &mut String, runs: &[Run]) {
    let all: Vec<Arguments> = runs
        .iter()
        .map(|run| run.document.arguments.clone())
        .collect();
    out.push_str(
        "<section><h2>Details</h2><details class=\"card scroll\"><summary>Arguments</summary>",
    );
    names_and_values(
        out,
        "As given or by default; what differs is marked",
        runs,
        &all,
    );
    out.push_str("</details>");
    out.push_str("<details class=\"card scroll\"><summary>Every figure</summary>");
    comparison(out, runs, Extent::All);
    out.push_str("</details>");
    out.push_str("</section>\n");
}

fn names_and_values(out: &mut String, caption: &str, runs: &[Run], all: &[Arguments]) {
    table_head(out, caption, runs);
    let names: BTreeSet<&String> = all.iter().flat_map(Arguments::keys).collect();
    for name in names {
        let values: Vec<&Value> = all
            .iter()
            .map(|one| one.get(name).unwrap_or(&Value::Null))
            .collect();
        if values.iter().all(|value| value.is_null()) {
            continue;
        }
        let differs = values.windows(2).any(|pair| pair.first() != pair.last());
        let class = if differs { " class=\"differs\"" } else { "" };
        let _ = write!(
            out,
            "<tr{class}><th scope=\"row\">{}</th>",
            escape(&name.trim_end_matches("_bytes").replace('_', " "))
        );
        for (number, value) in values.into_iter().enumerate() {
            let (run, value) = (column_name(runs, number), escape(&plain(name, value)));
            let _ = write!(out, "<td class=\"text\"{run}>{value}</td>");
        }
        out.push_str("</tr>");
    }
    out.push_str("</tbody></table>");
}

/// The attribute that names a cell's column where columns have no room; empty for a single run, whose figures need no
/// name.
fn column_name(runs: &[Run], number: usize) -> String {
    let run = runs.get(number).filter(|_| runs.len() > 1);
    run.map_or_else(String::new, |run| {
        format!(" data-column=\"{}\"", escape(&run.name))
    })
}

fn table_head(out: &mut String, caption: &str, runs: &[Run]) {
    let class = if runs.len() > 1 {
        " class=\"stack\""
    } else {
        ""
    };
    let _ = write!(out, "<table{class}><caption>{caption}</caption>");
    if runs.len() > 1 {
        out.push_str("<thead><tr><td></td>");
        for (colour, run) in runs.iter().enumerate() {
            let _ = write!(
                out,
                "<th scope=\"col\"><i class=\"key c{colour}\"></i>{}</th>",
                escape(&run.name)
            );
        }
        out.push_str("</tr></thead>");
    }
    out.push_str("<tbody>");
}

/// A value of a command line or of a machine for people.
fn plain(name: &str, value: &Value) -> String {
    match value {
        Value::Null => UNKNOWN.into(),
        Value::Bool(true) => "yes".into(),
        Value::Bool(false) => "no".into(),
        Value::Number(number) if name.ends_with("_bytes") => number
            .as_f64()
            .map_or_else(|| number.to_string(), words::bytes),
        Value::Number(number) => number.to_string(),
        Value::String(text) => text.clone(),
        Value::Array(values) => {
            let words: Vec<String> = values.iter().map(|value| plain(name, value)).collect();
            words.join(", ")
        }
        Value::Object(_) => value.to_string(),
    }
}
