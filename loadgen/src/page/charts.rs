//! Which plots a report has, and what their lines are made of.

use crate::page::Run;
use crate::page::axis::Axis;
use crate::page::plot::{Line, Plot, Stroke};
use crate::page::shades::{NOTE, shades};
use crate::result::{Interval, Span, Spread, words};
use maud::{Markup, html};

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

#[cfg(test)]
mod tests;
