//! One plot: lines in an SVG that stretches with the page, its labels beside it in HTML, so that they stay legible at
//! any width.

use crate::page::axis::Axis;
use crate::page::visible;
use maud::{Markup, PreEscaped, html};
use std::fmt::Write;

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
mod tests {

    use super::*;
    use crate::result::words;

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
