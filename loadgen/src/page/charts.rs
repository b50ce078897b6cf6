//! Which plots a report has, what their lines are made of, and the drawing of one plot.

use crate::page::axis::Axis;
use crate::page::{Run, visible};
use crate::result::{Document, Interval, Span, Spread, words};
use maud::{Markup, PreEscaped, html};
use std::fmt::Write;

/// All plots that these runs have data for.
pub fn all(runs: &[Run]) -> Markup {
    let figures = OVER_TIME.iter().map(|figure| over_time(runs, figure));
    let over_time: Vec<Markup> = figures.chain([latency_over_time(runs)]).flatten().collect();
    let percentiles = percentiles(runs);
    html! {
        @if !over_time.is_empty() {
            section {
                h2 { "Over time" }
                div.plots { @for plot in over_time { (plot) } }
            }
        }
        @if !percentiles.is_empty() {
            section {
                h2 { "Latency by percentile" }
                div.plots.one[runs.len() == 1] { @for plot in percentiles { (plot) } }
            }
        }
    }
}

/// A count of the interval log, drawn over time.
struct OverTime {
    title: &'static str,
    note: &'static str,
    of: fn(&Interval) -> Option<u64>,
    kind: Kind,
}

enum Kind {
    /// Divided by the interval's length.
    Rate,
    /// Its state at the end.
    Level,
}

const OVER_TIME: [OverTime; 4] = [
    OverTime {
        title: "Sessions",
        note: "completed per second",
        of: |interval| interval.sessions,
        kind: Kind::Rate,
    },
    OverTime {
        title: "Messages",
        note: "arrived per second",
        of: |interval| interval.messages,
        kind: Kind::Rate,
    },
    OverTime {
        title: "Open connections",
        note: "at the end of each interval",
        of: |interval| interval.open,
        kind: Kind::Level,
    },
    OverTime {
        title: "Failures",
        note: "per second",
        of: |interval| interval.errors,
        kind: Kind::Rate,
    },
];

fn over_time(runs: &[Run], figure: &OverTime) -> Option<Markup> {
    let some = |interval: &Interval| (figure.of)(interval).is_some_and(|count| count > 0);
    if !runs
        .iter()
        .any(|run| run.document.intervals.iter().any(some))
    {
        return None;
    }
    let lines = runs.iter().enumerate().map(|(colour, run)| {
        let points = |chunk: &[Interval], span_s: f64| match figure.kind {
            Kind::Rate => {
                let sum = chunk
                    .iter()
                    .map(|interval| (figure.of)(interval))
                    .sum::<Option<u64>>()?;
                Some(sum as f64 / span_s)
            }
            Kind::Level => (figure.of)(chunk.last()?).map(|count| count as f64),
        };
        Line {
            name: run.name.clone(),
            colour,
            stroke: if runs.len() == 1 {
                Stroke::Filled
            } else {
                Stroke::Solid
            },
            points: sampled(&run.document.intervals, points),
        }
    });
    let lines: Vec<Line> = lines.collect();
    let shades = shades(runs);
    Plot {
        title: figure.title,
        note: &with_shades(figure.note, &shades),
        x: time_axis(&lines),
        x_ticks: time_ticks(&lines),
        y: Axis::from_zero(values(&lines)),
        shades,
        say_x: say_time,
        say_y: words::figure,
        lines,
    }
    .draw()
}

fn latency_over_time(runs: &[Run]) -> Option<Markup> {
    let mut lines = Vec::new();
    for (number, run) in runs.iter().enumerate() {
        let most = |of: fn(&Interval) -> Option<u64>| {
            // Of several intervals under one point the worst counts: quantiles cannot be averaged.
            sampled(&run.document.intervals, |chunk, _| {
                Some(chunk.iter().filter_map(of).max()? as f64)
            })
        };
        for (name, of, share) in [
            (
                "p99",
                (|interval| interval.p99_us) as fn(&Interval) -> Option<u64>,
                Stroke::Solid,
            ),
            ("p50", |interval| interval.p50_us, Stroke::Dashed),
        ] {
            lines.push(Line {
                name: if runs.len() == 1 {
                    name.into()
                } else {
                    format!("{} {name}", run.name)
                },
                colour: number,
                stroke: share,
                points: most(of),
            });
        }
    }
    lines.retain(|line| line.points.iter().any(|(_, y)| y.is_some()));
    let shades = shades(runs);
    let note = format!(
        "{}: p50 and p99 of each interval; logarithmic",
        headline(runs)
    );
    Plot {
        title: "Latency",
        note: &with_shades(&note, &shades),
        x: time_axis(&lines),
        x_ticks: time_ticks(&lines),
        y: Axis::decades(values(&lines)),
        shades,
        say_x: say_time,
        say_y: say_us,
        lines,
    }
    .draw()
}

fn with_shades(note: &str, shades: &[(f64, f64)]) -> String {
    if shades.is_empty() {
        note.to_owned()
    } else {
        format!("{note}; {NOTE}")
    }
}

fn headline(runs: &[Run]) -> &'static str {
    let spans = runs
        .iter()
        .filter_map(|run| run.document.latency_us.headline());
    spans
        .map(|(span, _)| span.label())
        .next()
        .unwrap_or("message")
}

/// One run: all spans on one plot. Several: a plot for each span, the runs on it.
fn percentiles(runs: &[Run]) -> Vec<Markup> {
    if let [run] = runs {
        let known = Span::ALL.into_iter().enumerate();
        let lines = known.filter_map(|(colour, span)| {
            let spread = run.document.latency_us.of(span)?;
            Some(curve(span.label(), colour, spread))
        });
        let note = "how many were as fast, kind by kind";
        let plot = percentile_plot("Percentiles", note, lines.collect());
        return plot.into_iter().collect();
    }
    let of_span = |span: Span| {
        let lines = runs.iter().enumerate().filter_map(|(colour, run)| {
            let spread = run.document.latency_us.of(span)?;
            Some(curve(&run.name, colour, spread))
        });
        let title = format!("Percentiles: {}", span.label());
        let note = "how many were as fast, run by run";
        percentile_plot(&title, note, lines.collect())
    };
    Span::ALL.into_iter().filter_map(of_span).collect()
}

/// The histogram as a line over the number of nines: x is -log10(1 - share).
fn curve(name: &str, colour: usize, spread: &Spread) -> Line {
    let nines = (spread.count() as f64).log10().clamp(1.0, NINES_MAX);
    let mut points = Vec::new();
    if spread.histogram().is_some() {
        for step in 0..=CURVE_STEPS {
            let x = nines * f64::from(step) / f64::from(CURVE_STEPS);
            let share = 1.0 - 10_f64.powf(-x);
            points.push((x, spread.quantile(share).map(|us| us.max(1) as f64)));
        }
    } else {
        for share in [0.5, 0.9, 0.99, 0.999_f64] {
            points.push((
                -(1.0 - share).log10(),
                spread.quantile(share).map(|us| us.max(1) as f64),
            ));
        }
    }
    Line {
        name: name.to_owned(),
        colour,
        stroke: Stroke::Solid,
        points,
    }
}

fn percentile_plot(title: &str, note: &str, lines: Vec<Line>) -> Option<Markup> {
    let ends = lines.iter().filter_map(|line| line.points.last());
    let end = ends.map(|(x, _)| *x).fold(1.0, f64::max);
    let ticks = [
        (std::f64::consts::LOG10_2, "50 %"),
        (1.0, "90 %"),
        (2.0, "99 %"),
        (3.0, "99.9 %"),
        (4.0, "99.99 %"),
        (5.0, "99.999 %"),
        (6.0, "99.9999 %"),
    ];
    Plot {
        title,
        note,
        x: Axis::Linear { from: 0.0, to: end },
        x_ticks: ticks
            .iter()
            .filter(|(x, _)| *x <= end + 1e-9)
            .map(|(x, words)| (*x, (*words).to_owned()))
            .collect(),
        y: Axis::decades(values(&lines)),
        shades: Vec::new(),
        say_x: say_share,
        say_y: say_us,
        lines,
    }
    .draw()
}

/// At most [`POINTS_MAX`] points over time: each stands for one interval or, in a long run, for a few. An interval too
/// short for a rate, as after a stall, is taken together with the next. `value` is given the intervals and how many
/// seconds they span.
fn sampled(
    intervals: &[Interval],
    value: impl Fn(&[Interval], f64) -> Option<f64>,
) -> Vec<(f64, Option<f64>)> {
    let few = intervals.len().div_ceil(POINTS_MAX).max(1);
    let (mut begun_s, mut first) = (0.0, 0);
    let mut points = Vec::new();
    for end in (few..)
        .step_by(few)
        .take_while(|end| *end < intervals.len() + few)
    {
        let Some(chunk) = intervals.get(first..end.min(intervals.len())) else {
            break;
        };
        let Some(last) = chunk.last().filter(|last| last.t_s - begun_s >= SHORTEST_S) else {
            continue;
        };
        if last.t_s.is_finite() {
            points.push((last.t_s, value(chunk, last.t_s - begun_s)));
            begun_s = last.t_s;
        }
        first = end;
    }
    points
}

fn time_axis(lines: &[Line]) -> Axis {
    let ends = lines
        .iter()
        .flat_map(|line| line.points.iter().map(|(x, _)| *x));
    let to = ends.filter(|x| x.is_finite()).fold(1.0, f64::max);
    Axis::Linear { from: 0.0, to }
}

/// Round moments, five or six of them.
fn time_ticks(lines: &[Line]) -> Vec<(f64, String)> {
    let Axis::Linear { to, .. } = time_axis(lines) else {
        return Vec::new();
    };
    let Some(step) = TIME_STEPS_S.into_iter().find(|step| to / step <= 6.0) else {
        return Vec::new(); // longer than a fortnight: the axis' own ticks
    };
    let places = (0..=6).map(|number| f64::from(number) * step);
    places
        .take_while(|tick| *tick <= to * (1.0 + 1e-9))
        .map(|tick| (tick, say_tick(tick, step)))
        .collect()
}

/// `30 s` where all is seconds, `2:30` where there are minutes, `1:30 h` where there are hours.
fn say_tick(tick_s: f64, step_s: f64) -> String {
    let end_s = step_s * 6.0;
    if tick_s == 0.0 {
        "0".into()
    } else if end_s <= 90.0 {
        words::seconds(tick_s)
    } else if end_s <= 3_600.0 * 3.0 {
        format!("{:.0}:{:02.0}", (tick_s / 60.0).floor(), tick_s % 60.0)
    } else {
        format!(
            "{:.0}:{:02.0} h",
            (tick_s / 3_600.0).floor(),
            (tick_s / 60.0).floor() % 60.0
        )
    }
}

fn values(lines: &[Line]) -> impl Iterator<Item = f64> {
    lines
        .iter()
        .flat_map(|line| line.points.iter().filter_map(|(_, y)| *y))
}

fn say_time(t_s: f64) -> String {
    if t_s == 0.0 {
        "0".into()
    } else {
        words::seconds(t_s)
    }
}

fn say_us(us: f64) -> String {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "from a float the cast goes to the nearest bound"
    )]
    let whole = us.round() as u64;
    words::span_us(whole)
}

fn say_share(nines: f64) -> String {
    let percent = 100.0 * (1.0 - 10_f64.powf(-nines));
    let places = if nines < 2.0 { 1 } else { 4 };
    let text = format!("{percent:.places$}");
    let text = text.trim_end_matches('0').trim_end_matches('.');
    format!("{text} %")
}

/// Round spans between the moments written below a plot.
const TIME_STEPS_S: [f64; 18] = [
    0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 15.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1_800.0, 3_600.0,
    10_800.0, 43_200.0, 259_200.0,
];
/// Points of one line over time: more than a screen has room for.
const POINTS_MAX: usize = 400;
/// A rate over a shorter interval says nothing.
const SHORTEST_S: f64 = 0.1;
/// Points of a percentile curve.
const CURVE_STEPS: u32 = 160;
/// The curve ends at 99.9999 %, or where one value is left.
const NINES_MAX: f64 = 6.0;

// Which stretches of a run say less than the others: until the first sessions can be over, after the last has begun,
// and an interval that was cut short. They are shaded, so that nobody takes them for an outage.

/// The explanation of the shaded ground in a note.
pub(crate) const NOTE: &str = "shaded: sessions start or end";

/// The shaded stretches of these runs, in seconds: where any of them is not at its full load.
fn shades(runs: &[Run]) -> Vec<(f64, f64)> {
    let documents = || runs.iter().map(|run| &run.document);
    let ends = documents().filter_map(|document| document.intervals.last());
    let end = ends.map(|last| last.t_s).fold(0.0, f64::max);
    let full_from = documents().map(full_from).fold(0.0, f64::max);
    let full_to = documents().map(full_to).fold(end, f64::min);
    let all = [(0.0, full_from.min(end)), (full_to.max(0.0), end)];
    let is_seen = |(from, to): &(f64, f64)| to - from > SHADED_SHORTEST_S;
    all.into_iter().filter(is_seen).collect()
}

/// When the first sessions can be over: they trickle their candidates and hold. Before that none is completed.
fn full_from(document: &Document) -> f64 {
    if document.mode != "sessions" {
        return 0.0;
    }
    let number = |name| number(document, name).unwrap_or_default();
    let first_s = number("hold") + number("candidates") * number("trickle") / 1e3;
    // The interval in which they end is a partial one, too.
    if first_s > SHADED_SHORTEST_S {
        first_s.ceil()
    } else {
        0.0
    }
}

/// When the schedule ends, or else the last whole interval.
fn full_to(document: &Document) -> f64 {
    let ends: Vec<f64> = document.intervals.iter().map(|one| one.t_s).collect();
    let Some((last, before)) = ends.split_last() else {
        return f64::MAX;
    };
    let before = before.last().copied().unwrap_or_default();
    let whole = if last - before < WHOLE_S {
        before
    } else {
        *last
    };
    schedule_s(document).map_or(whole, |schedule_s| whole.min(schedule_s))
}

/// The time in which sessions begin, in seconds.
fn schedule_s(document: &Document) -> Option<f64> {
    if document.mode != "sessions" {
        return None;
    }
    let share = match document.arguments.get("arrival")?.as_str()? {
        "ramp" => 0.5,
        "step" => 0.6,
        _ => 1.0,
    };
    number(document, "duration").or_else(|| {
        let (sessions, rate) = (number(document, "sessions")?, number(document, "rate")?);
        Some(sessions / (rate * share)).filter(|span| span.is_finite())
    })
}

fn number(document: &Document, name: &str) -> Option<f64> {
    document.arguments.get(name)?.as_f64()
}

/// A stretch that is shorter is not seen.
const SHADED_SHORTEST_S: f64 = 0.2;
/// An interval that is shorter was cut short.
const WHOLE_S: f64 = 0.9;

// One plot: lines in an SVG that stretches with the page, its labels beside it in HTML, so that they stay legible at
// any width.

/// One plot with its lines.
#[derive(Clone, Debug)]
pub struct Plot<'a> {
    /// The title.
    pub title: &'a str,
    /// In which unit, and how to read it.
    pub note: &'a str,
    /// Left to right.
    pub x: Axis,
    /// Labels below the axis, each with its value; the axis' own ticks by `say_x` if empty.
    pub x_ticks: Vec<(f64, String)>,
    /// Bottom to top.
    pub y: Axis,
    /// Stretches of x that say less than the others; on a shaded ground.
    pub shades: Vec<(f64, f64)>,
    /// A value of x in words.
    pub say_x: fn(f64) -> String,
    /// A value of y in words.
    pub say_y: fn(f64) -> String,
    /// At least one.
    pub lines: Vec<Line>,
}

/// One line of a plot.
#[derive(Clone, Debug)]
pub struct Line {
    /// In the legend.
    pub name: String,
    /// Its colour, a number below [`COLOURS`].
    pub colour: usize,
    /// The stroke that it is drawn with.
    pub stroke: Stroke,
    /// From left to right; where y is unknown, the line has a gap.
    pub points: Vec<(f64, Option<f64>)>,
}

/// The stroke of a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stroke {
    /// In full, over a light ground of its colour.
    Filled,
    /// In full.
    Solid,
    /// In dashes.
    Dashed,
}

impl Plot<'_> {
    /// The plot; `None` if no line has a point.
    #[must_use]
    pub fn draw(&self) -> Option<Markup> {
        let known = |line: &Line| line.points.iter().any(|(_, y)| y.is_some());
        if !self.lines.iter().any(known) {
            return None;
        }
        let title = visible(self.title);
        let (x_ticks, y_ticks) = (self.x_ticks(), self.y.ticks());
        Some(html! {
            figure.card.plot {
                figcaption {
                    h3 { (title) }
                    p { (visible(self.note)) }
                }
                (self.legend())
                div.frame tabindex="0" role="group" aria-label={(title) ": arrow keys read the values"} {
                    div.ys {
                        @for tick in &y_ticks {
                            @let top = 100.0 * (1.0 - self.y.place(*tick));
                            span style=(format!("top:{top:.2}%")) { ((self.say_y)(*tick)) }
                        }
                    }
                    div.area {
                        (self.drawing(&x_ticks, &y_ticks))
                        div.cursor hidden {}
                        div.tip hidden {}
                    }
                    div.xs {
                        @for (value, words) in &x_ticks {
                            @let left = 100.0 * self.x.place(*value);
                            @let edge = match left { ..3.0 => Some("first"), 97.0.. => Some("last"), _ => None };
                            span class=[edge] style=(format!("left:{left:.2}%")) { (visible(words)) }
                        }
                    }
                    script type="application/json" { (PreEscaped(self.readings())) }
                }
            }
        })
    }

    fn x_ticks(&self) -> Vec<(f64, String)> {
        if self.x_ticks.is_empty() {
            let ticks = self.x.ticks().into_iter();
            ticks.map(|tick| (tick, (self.say_x)(tick))).collect()
        } else {
            self.x_ticks.clone()
        }
    }

    fn legend(&self) -> Markup {
        html! {
            @if self.lines.len() > 1 {
                ul.legend {
                    @for line in &self.lines {
                        li { i class={"key " (line.class())} {} (visible(&line.name)) }
                    }
                }
            }
        }
    }

    fn drawing(&self, x_ticks: &[(f64, String)], y_ticks: &[f64]) -> Markup {
        let mut grid = String::new();
        for tick in y_ticks {
            // Writing to a string cannot fail, here and below.
            let _ = write!(grid, "M0 {:.1}H{SIDE}", SIDE * (1.0 - self.y.place(*tick)));
        }
        for (tick, _) in x_ticks {
            let _ = write!(grid, "M{:.1} 0V{SIDE}", SIDE * self.x.place(*tick));
        }
        let shade = |(from, to): &(f64, f64)| {
            let (left, right) = (SIDE * self.x.place(*from), SIDE * self.x.place(*to));
            format!("M{left:.1} 0H{right:.1}V{SIDE}H{left:.1}Z")
        };
        html! {
            svg viewBox={"0 0 " (SIDE) " " (SIDE)} preserveAspectRatio="none" role="img"
                aria-label=(visible(&self.in_words())) {
                path.grid d=(grid) {}
                @for span in &self.shades { path.shade d=(shade(span)) {} }
                @for line in &self.lines {
                    @if line.stroke == Stroke::Filled {
                        path class={"ground " (line.class())} d=(self.ground(line)) {}
                    }
                    path class={"line " (line.class())} d=(self.path(line)) {}
                    @let dots = self.dots(line);
                    @if !dots.is_empty() { path class={"dots " (line.class())} d=(dots) {} }
                }
            }
        }
    }

    /// Parts between gaps, each as a path of its own.
    fn path(&self, line: &Line) -> String {
        let mut path = String::new();
        let mut pen_is_down = false;
        for (x, y) in &line.points {
            let Some(y) = y else {
                pen_is_down = false;
                continue;
            };
            let step = if pen_is_down { 'L' } else { 'M' };
            let (left, top) = (SIDE * self.x.place(*x), SIDE * (1.0 - self.y.place(*y)));
            let _ = write!(path, "{step}{left:.1} {top:.1}");
            pen_is_down = true;
        }
        path
    }

    /// Points that have no neighbour: a line through one of them cannot be seen.
    fn dots(&self, line: &Line) -> String {
        let mut path = String::new();
        let parts = line.points.split(|(_, y)| y.is_none());
        for part in parts {
            if let [(x, Some(y))] = part {
                let (left, top) = (SIDE * self.x.place(*x), SIDE * (1.0 - self.y.place(*y)));
                let _ = write!(path, "M{left:.1} {top:.1}h0");
            }
        }
        path
    }

    fn ground(&self, line: &Line) -> String {
        let mut path = String::new();
        let parts = line.points.split(|(_, y)| y.is_none());
        for part in parts.filter(|part| part.len() > 1) {
            let known: Vec<(f64, f64)> =
                part.iter().filter_map(|(x, y)| Some((*x, (*y)?))).collect();
            let (Some(first), Some(last)) = (known.first(), known.last()) else {
                continue;
            };
            let _ = write!(path, "M{:.1} {SIDE}", SIDE * self.x.place(first.0));
            for (x, y) in &known {
                let (left, top) = (SIDE * self.x.place(*x), SIDE * (1.0 - self.y.place(*y)));
                let _ = write!(path, "L{left:.1} {top:.1}");
            }
            let _ = write!(path, "L{:.1} {SIDE}Z", SIDE * self.x.place(last.0));
        }
        path
    }

    /// The range of each line in words, for readers who do not see the plot.
    fn in_words(&self) -> String {
        let mut words = self.title.to_owned();
        for line in &self.lines {
            let values = line.points.iter().filter_map(|(_, y)| *y);
            let (least, most) = values.fold((f64::MAX, f64::MIN), |(least, most), value| {
                (least.min(value), most.max(value))
            });
            if least <= most {
                let (least, most) = ((self.say_y)(least), (self.say_y)(most));
                let _ = write!(words, "; {}: {least} to {most}", line.name);
            }
        }
        words
    }

    /// The readings under the pointer, for the script: for each line its name, colour, and for each point its place and
    /// words.
    fn readings(&self) -> String {
        let lines = self.lines.iter().map(|line| {
            let known = line.points.iter().filter_map(|(x, y)| Some((*x, (*y)?)));
            let points: Vec<_> = known
                .map(|(x, y)| {
                    let place = (self.x.place(x) * 1e4).round() / 1e4;
                    let height = (self.y.place(y) * 1e3).round() / 1e3;
                    serde_json::json!([place, height, (self.say_x)(x), (self.say_y)(y)])
                })
                .collect();
            serde_json::json!({
                "name": visible(&line.name), "colour": line.colour % COLOURS,
                "dashed": line.stroke == Stroke::Dashed, "points": points
            })
        });
        let json = serde_json::Value::from_iter(lines).to_string();
        // Inside a script element only this character can end it.
        json.replace('<', "\\u003c")
    }
}

impl Line {
    /// Its colour and stroke, as the style sheet names them.
    fn class(&self) -> String {
        let dashed = if self.stroke == Stroke::Dashed {
            " dashed"
        } else {
            ""
        };
        format!("c{}{dashed}", self.colour % COLOURS)
    }
}

/// Colours of lines in the style sheet: `c0` to `c7`.
pub const COLOURS: usize = 8;
/// Width and height of a drawing in its own unit; the page stretches it.
const SIDE: f64 = 1000.0;

#[cfg(test)]
mod shades_tests {
    use super::*;
    use crate::result::{Arguments, Interval};
    use serde_json::json;

    fn run(mode: &str, arguments: &serde_json::Value, ends: &[f64]) -> Run {
        let arguments: Arguments = serde_json::from_value(arguments.clone()).unwrap();
        let mut document = Document::new(mode, "t", arguments, String::new());
        let interval = |t_s: &f64| Interval {
            t_s: *t_s,
            ..Interval::default()
        };
        document.intervals = ends.iter().map(interval).collect();
        Run {
            name: mode.into(),
            document,
        }
    }

    #[test]
    fn beginning_and_end_are_shaded() {
        let ends: Vec<f64> = (1..=14).map(f64::from).collect();
        let sessions = json!({"arrival": "poisson", "duration": 10, "hold": 2, "candidates": 4, "trickle": 50});
        let held = run("sessions", &sessions, &ends);
        let both = [(0.0, 3.0), (10.0, 14.0)];
        assert_eq!(shades(std::slice::from_ref(&held)), both);
        let steady = json!({"arrival": "ramp", "sessions": 50, "rate": 10.0});
        let short = run("sessions", &steady, &ends[..10]);
        assert_eq!(shades(&[short]), []);
        assert_eq!(shades(&[run("storm", &sessions, &ends)]), []);
        // An interval that was cut short; and side by side, what any of them has.
        let cut = run("relay", &json!({}), &[1.0, 2.0, 2.5]);
        assert_eq!(shades(std::slice::from_ref(&cut)), [(2.0, 2.5)]);
        assert_eq!(shades(&[held, cut]), [(0.0, 3.0), (2.0, 14.0)]);
        assert_eq!(shades(&[run("idle", &json!({}), &[])]), []);
    }
}

#[cfg(test)]
mod plot_tests {
    use super::*;

    fn plot(points: Vec<(f64, Option<f64>)>) -> String {
        let plot = Plot {
            title: "T",
            note: "",
            x: Axis::Linear {
                from: 0.0,
                to: 10.0,
            },
            x_ticks: Vec::new(),
            y: Axis::Linear {
                from: 0.0,
                to: 100.0,
            },
            shades: vec![(0.0, 2.5)],
            say_x: words::seconds,
            say_y: words::figure,
            lines: vec![Line {
                name: "</script><b>".into(),
                colour: 9,
                stroke: Stroke::Filled,
                points,
            }],
        };
        plot.draw().map_or_else(String::new, String::from)
    }

    #[test]
    fn lines_have_gaps_where_nothing_is_known() {
        let svg = plot(vec![
            (0.0, Some(0.0)),
            (5.0, Some(50.0)),
            (6.0, None),
            (10.0, Some(100.0)),
        ]);
        assert!(
            svg.contains("d=\"M0.0 1000.0L500.0 500.0M1000.0 0.0\""),
            "{svg}"
        );
        assert!(svg.contains("class=\"line c1\""), "{svg}");
        let shade = "class=\"shade\" d=\"M0.0 0H250.0V1000H0.0Z\"";
        assert!(svg.contains(shade), "{svg}");
    }

    #[test]
    fn a_plot_of_nothing_is_not_drawn() {
        assert_eq!(plot(vec![]), "");
        assert_eq!(plot(vec![(1.0, None)]), "");
    }

    #[test]
    fn names_stay_text() {
        let svg = plot(vec![(1.0, Some(1.0))]);
        assert!(!svg.contains("<b>"), "{svg}");
        assert_eq!(svg.matches("</script>").count(), 1, "{svg}");
    }

    #[test]
    fn values_that_are_no_numbers_break_nothing() {
        let svg = plot(vec![(f64::NAN, Some(f64::INFINITY)), (1.0, Some(-5.0))]);
        assert!(!svg.contains("NaN") && !svg.contains("inf"), "{svg}");
    }
}

#[cfg(test)]
mod tests;
