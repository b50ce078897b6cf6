//! `heliograph top`: shows a running broker's activity on one screen, refreshed every second.

use crate::admin_client::AdminListener;
use crate::config::TopFlags;
use crate::failure::Failure;
use crate::terminal::{self, Colour, Screen};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcsetattr};
use serde_json::Value;
use std::io::{self, IsTerminal, Read, Write};
use std::sync::mpsc::{self, Receiver};
use std::thread;

/// Refreshes the screen until `q` is pressed or the broker stops. Without a terminal, prints the screen once.
///
/// # Errors
/// Returns [`Failure::Configuration`] for invalid flags or arguments, and [`Failure::Fatal`] if the broker does not
/// answer or stops.
pub fn run(flags: &TopFlags, out: &mut dyn Write, screen: Screen) -> Result<(), Failure> {
    let listener = AdminListener::of(&flags.asked)?;
    if !screen.is_terminal() || !io::stdin().is_terminal() {
        let document = listener.get("/overview")?.map_err(Failure::from)?;
        return terminal::write(out, &State::of(&document).text(Screen::PLAIN, usize::MAX));
    }
    let mut events = listener.events("overview")?;
    let (to, from) = mpsc::channel();
    thread::spawn(move || {
        loop {
            let event = events.next();
            let is_last = event.is_err();
            if to.send(event).is_err() || is_last {
                return;
            }
        }
    });
    let _keys = Keys::take()?;
    terminal::obeyed(out, ENTER)?;
    let ended = draw(&from, out);
    terminal::obeyed(out, LEAVE)?;
    ended
}

fn draw(
    from: &Receiver<Result<(String, Value), Failure>>,
    out: &mut dyn Write,
) -> Result<(), Failure> {
    let mut state = State::default();
    while !is_over() {
        let mut is_new = false;
        while let Ok(event) = from.try_recv() {
            let (name, data) = event?;
            state.take(&name, &data);
            is_new = true;
        }
        if is_new {
            // The terminal may have been resized.
            let screen = Screen::stdout();
            terminal::draw(out, &state.text(screen, screen.rows()))?;
        }
    }
    Ok(())
}

/// Waits briefly for a key press. Returns `true` if the key quits the command, or if the terminal was closed.
fn is_over() -> bool {
    let mut stdin = io::stdin();
    let wait = Timespec {
        tv_sec: 0,
        tv_nsec: WAIT_NS,
    };
    let mut polled = [PollFd::new(&stdin, PollFlags::IN)];
    match poll(&mut polled, Some(&wait)) {
        Ok(0) | Err(_) => false,
        Ok(_) => {
            let mut key = [0];
            match stdin.read(&mut key) {
                Ok(1) => matches!(key, [b'q' | b'Q' | CTRL_C | ESCAPE]),
                Ok(_) | Err(_) => true,
            }
        }
    }
}

/// A guard that disables the terminal's line buffering and echo until it is dropped.
struct Keys(Termios);

impl Keys {
    fn take() -> Result<Self, Failure> {
        let failed = |error| Failure::fatal("the terminal mode cannot be set", &error);
        let before = tcgetattr(io::stdin()).map_err(failed)?;
        let mut keys = before.clone();
        keys.local_modes -= LocalModes::ICANON | LocalModes::ECHO | LocalModes::ISIG;
        tcsetattr(io::stdin(), OptionalActions::Now, &keys).map_err(failed)?;
        Ok(Self(before))
    }
}

impl Drop for Keys {
    fn drop(&mut self) {
        let _ = tcsetattr(io::stdin(), OptionalActions::Now, &self.0);
    }
}

/// Switches to the alternate screen and hides the cursor. [`LEAVE`] undoes both.
const ENTER: &str = "\u{1b}[?1049h\u{1b}[?25l";
const LEAVE: &str = "\u{1b}[?25h\u{1b}[?1049l";
const WAIT_NS: i64 = 200_000_000;
const CTRL_C: u8 = 3;
const ESCAPE: u8 = 27;

// Screen layout: metrics at the top, followed by as many problems as fit on the screen, grouped by cause.

#[derive(Debug, Default)]
struct State {
    node: Value,
    now: Value,
    problems: Vec<Value>,
}

impl State {
    fn of(document: &Value) -> Self {
        let mut state = Self::default();
        state.take("snapshot", document);
        state
    }

    fn take(&mut self, name: &str, data: &Value) {
        if let Some(problems) = data["problems"].as_array() {
            self.problems.clone_from(problems);
        }
        if name == "overview" {
            self.now.clone_from(data);
        } else if data["now"].is_object() {
            (self.node, self.now) = (data["node"].clone(), data["now"].clone());
        }
    }

    fn text(&self, screen: Screen, rows: usize) -> String {
        let mut lines = self.figures(screen);
        lines.push(String::new());
        let open = self.problems.iter().filter(|row| is_open(row)).count();
        lines.push(match open {
            0 => screen.paint(Colour::Green, "No problems."),
            count => screen.paint(Colour::Bold, &terminal::counted(count, "problem")),
        });
        for row in &self.problems {
            let line = screen.cut(&problem(row));
            lines.push(match (is_open(row), row["look"] == "bad") {
                (true, true) => screen.paint(Colour::Red, &line),
                (true, false) => screen.paint(Colour::Yellow, &line),
                (false, _) => line,
            });
        }
        lines.truncate(rows.saturating_sub(1).max(1));
        lines.join("\n") + "\n"
    }

    fn figures(&self, screen: Screen) -> Vec<String> {
        let now = &self.now;
        let connections = &now["connections"];
        let count = |name: &str| connections[name].as_u64().unwrap_or_default();
        let title = format!(
            "heliograph {}  {}{}",
            terminal::member(&self.node["version"]).unwrap_or_default(),
            terminal::member(&now["status"]).unwrap_or_default(),
            if screen.is_terminal() {
                "  (q ends)"
            } else {
                ""
            },
        );
        let quantiles = |name: &str, unit: f64| {
            let of = |share: &str| match now[name][share].as_f64() {
                Some(value) => format!("{:.2} ms", value / unit),
                None => "-".to_owned(),
            };
            format!("p50 {}, p99 {}", of("p50"), of("p99"))
        };
        let rows = [
            (
                "Connections",
                fitting(
                    "",
                    [
                        ("masters", "master"),
                        ("viewers", "viewer"),
                        ("superseded", "superseded"),
                        ("HTTP", "http"),
                        ("handshakes", "handshake"),
                    ]
                    .map(|(word, name)| format!("{word} {}", count(name))),
                ),
            ),
            (
                "Messages",
                format!(
                    "{:.1} a second, {} queued for absent peers",
                    now["messagesPerSecond"].as_f64().unwrap_or_default(),
                    now["pendingMessages"].as_u64().unwrap_or_default()
                ),
            ),
            ("Delivery", quantiles("deliveryUs", 1e3)),
            ("Set-up", quantiles("setupMs", 1.0)),
            ("Refusals", refusals(&now["refusedPerSecond"])),
            ("Shards", shards(&now["shards"])),
        ];
        let row = |(name, text): (&str, String)| {
            let name = screen.paint(Colour::Bold, &format!("{name:<12}"));
            // The line is truncated before it is colored, with spaces in place of the name, since color sequences would
            // count as columns.
            let text = screen.cut(&format!("{:<13}{text}", ""));
            format!("{name} {}", text.trim_start())
        };
        let title = screen.paint(Colour::Bold, &screen.cut(&title));
        [title, String::new()]
            .into_iter()
            .chain(rows.map(row))
            .collect()
    }
}

fn is_open(row: &Value) -> bool {
    row["ended"].is_null() && row["known"].is_null()
}

fn problem(row: &Value) -> String {
    let part = |name: &str| terminal::member(&row[name]).unwrap_or_default();
    let clock = |name: &str| part(name).get(11..16).unwrap_or("-").to_owned();
    let mut line = match (row["ended"].is_null(), row["known"].is_null()) {
        (false, _) => format!("ended {}  {}", clock("ended"), part("title")),
        (true, false) => format!("known {}  {}", clock("first"), part("title")),
        (true, true) => format!("{}  {}", clock("first"), part("title")),
    };
    let channels = row["channels"].as_u64().unwrap_or_default();
    if channels > 1 {
        line += &format!(", {channels} channels");
    }
    line += &format!("  {}", part("says"));
    if line.chars().count() > COLUMNS {
        line = line.chars().take(COLUMNS - 1).chain(['…']).collect();
    }
    line
}

fn refusals(by_check: &Value) -> String {
    let rates = by_check.as_object().into_iter().flatten();
    let mut rates: Vec<(f64, &String)> = rates
        .filter_map(|(check, rate)| Some((rate.as_f64()?, check)))
        .collect();
    rates.sort_by(|one, other| other.0.total_cmp(&one.0));
    let sum: f64 = rates.iter().map(|(rate, _)| rate).sum::<f64>().max(0.0);
    let shown = rates
        .iter()
        .map(|(rate, check)| format!("{} {rate:.1}", terminal::plain(check)));
    match rates.is_empty() {
        true => "none".to_owned(),
        false => fitting(&format!("{sum:.1} a second: "), shown),
    }
}

/// Formats the load of each shard or, for a shard that does not respond, how long ago it stopped responding. If there
/// are many shards, the ones in the worst state come first.
fn shards(rows: &Value) -> String {
    let load = |row: &Value| {
        let silent = row["silentSeconds"].is_number();
        (if silent { f64::INFINITY } else { 0.0 }) + row["busy"].as_f64().unwrap_or_default()
    };
    let mut rows: Vec<&Value> = rows.as_array().into_iter().flatten().collect();
    if rows.len() > FEW_SHARDS {
        rows.sort_by(|one, other| load(other).total_cmp(&load(one)));
    }
    let shown = rows
        .into_iter()
        .map(|row| match row["silentSeconds"].as_f64() {
            Some(seconds) => format!("{} silent for {seconds:.0} s", row["shard"]),
            None => format!("{} busy {:.0} %", row["shard"], 100.0 * load(row)),
        });
    fitting("", shown)
}

/// Appends as many parts to `begin` as fit on one line, followed by an ellipsis if some are left out.
fn fitting(begin: &str, parts: impl IntoIterator<Item = String>) -> String {
    let mut line = begin.to_owned();
    for (place, part) in parts.into_iter().enumerate() {
        let comma = if place == 0 { "" } else { ", " };
        let width = NAME_COLUMNS + line.chars().count() + comma.len() + part.chars().count();
        if width + ", …".chars().count() > COLUMNS {
            return line + comma + "…";
        }
        line = line + comma + &part;
    }
    line
}

const FEW_SHARDS: usize = 4;
const NAME_COLUMNS: usize = 13;
const COLUMNS: usize = 80;

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn state() -> State {
        State::of(&json!({
            "node": { "version": "0.1.0" },
            "now": {
                "status": "ok",
                "connections": { "master": 12, "viewer": 40, "superseded": 1, "http": 3, "handshake": 0 },
                "messagesPerSecond": 1234.54, "pendingMessages": 7, "deliveryUs": { "p50": 120.0, "p99": null },
                "setupMs": { "p50": 62.0, "p99": 140.5 },
                "refusedPerSecond": { "unknown_key": 2.0, "draining": 10.0 },
                "shards": [{ "shard": 0, "busy": 0.25, "silentSeconds": null }, { "shard": 1, "silentSeconds": 14.2 }],
            },
            "problems": [
                { "title": "Key AK\u{1b}[2J: signature mismatch", "first": "2026-01-02T07:27:05.123Z", "ended": null,
                  "known": null, "look": "bad", "channels": 30, "says": "x".repeat(80) },
                { "title": "Certificate", "first": "2026-01-02T07:28:05.123Z", "ended": null,
                  "known": { "why": "soon" }, "look": "warn", "channels": 0, "says": "It expires in 9 days." },
                { "title": "Shard 1: shard silent", "first": "2026-01-02T07:28:05.123Z",
                  "ended": "2026-01-02T07:33:00.000Z", "known": null, "look": "bad", "channels": 0,
                  "says": "It hangs." },
            ],
        }))
    }

    #[test]
    fn a_screen_has_the_figures_and_the_channels_in_trouble() {
        let text = state().text(Screen::PLAIN, usize::MAX);
        assert_eq!(
            text,
            "heliograph 0.1.0  ok\n\
             \n\
             Connections  masters 12, viewers 40, superseded 1, HTTP 3, handshakes 0\n\
             Messages     1234.5 a second, 7 queued for absent peers\n\
             Delivery     p50 0.12 ms, p99 -\n\
             Set-up       p50 62.00 ms, p99 140.50 ms\n\
             Refusals     12.0 a second: draining 10.0, unknown_key 2.0\n\
             Shards       0 busy 25 %, 1 silent for 14 s\n\
             \n\
             1 problem\n\
             07:27  Key AK\\u{1b}[2J: signature mismatch, 30 channels  xxxxxxxxxxxxxxxxxxxxxx…\n\
             known 07:28  Certificate  It expires in 9 days.\n\
             ended 07:33  Shard 1: shard silent  It hangs.\n"
        );
        assert_eq!(state().text(Screen::PLAIN, 4).lines().count(), 3);
    }

    #[test]
    fn a_large_broker_fits_80_columns() {
        let mut state = state();
        let connections = &mut state.now["connections"];
        for name in ["master", "viewer", "superseded", "http", "handshake"] {
            connections[name] = 16_777_216.into();
        }
        let rates = (0..9).map(|check| (format!("signature_mismatch_{check}"), json!(check)));
        state.now["refusedPerSecond"] = rates.collect();
        let shard = |shard| json!({ "shard": shard, "busy": f64::from(shard) / 64.0, "silentSeconds": null });
        state.now["shards"] = (0..64).map(shard).collect();
        state.now["shards"][3]["silentSeconds"] = json!(14);
        let text = state.text(Screen::PLAIN, usize::MAX);
        let wide = text.lines().find(|line| line.chars().count() > COLUMNS);
        assert_eq!(wide, None);
        #[rustfmt::skip] // a list
        let cases = ["36.0 a second: signature_mismatch_8 8.0, ", "3 silent for 14 s, 63 busy 98 %, ", "…\n"];
        for part in cases {
            assert!(text.contains(part), "{part} {text}");
        }
    }

    #[test]
    fn events_change_what_they_are_about() {
        let mut state = state();
        state.take("overview", &json!({ "status": "draining", "problems": [] }));
        state.take("skipped", &json!({ "count": 3 }));
        let text = state.text(Screen::PLAIN, usize::MAX);
        assert!(text.starts_with("heliograph 0.1.0  draining\n"), "{text}");
        assert!(text.contains("Refusals     none\n"), "{text}");
        assert!(text.ends_with("No problems.\n"), "{text}");
    }
}
