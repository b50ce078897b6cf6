//! One plot: lines in an SVG that stretches with the page, its labels beside it in HTML, so that they stay legible at
//! any width.

use super::axis::Axis;
use super::{escape, visible};
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
    /// Appends the plot; nothing if no line has a point.
    pub fn draw(&self, out: &mut String) {
        let known = |line: &Line| line.points.iter().any(|(_, y)| y.is_some());
        if !self.lines.iter().any(known) {
            return;
        }
        let title = escape(self.title);
        // Writing to a string cannot fail.
        let _ = write!(
            out,
            "<figure class=\"card plot\"><figcaption><h3>{title}</h3><p>{}</p></figcaption>",
            escape(self.note)
        );
        self.legend(out);
        let _ = write!(
            out,
            "<div class=\"frame\" tabindex=\"0\" role=\"group\" aria-label=\"{title}: arrow keys read the \
             values\"><div class=\"ys\">"
        );
        let (x_ticks, y_ticks) = (self.x_ticks(), self.y.ticks());
        for tick in &y_ticks {
            let top = 100.0 * (1.0 - self.y.place(*tick));
            let _ = write!(
                out,
                "<span style=\"top:{top:.2}%\">{}</span>",
                (self.say_y)(*tick)
            );
        }
        out.push_str("</div><div class=\"area\">");
        self.drawing(out, &x_ticks, &y_ticks);
        out.push_str("<div class=\"cursor\" hidden></div><div class=\"tip\" hidden></div></div><div class=\"xs\">");
        for (value, words) in &x_ticks {
            let left = 100.0 * self.x.place(*value);
            let edge = match left {
                ..3.0 => " class=\"first\"",
                97.0.. => " class=\"last\"",
                _ => "",
            };
            let _ = write!(
                out,
                "<span{edge} style=\"left:{left:.2}%\">{}</span>",
                escape(words)
            );
        }
        out.push_str("</div>");
        self.readings(out);
        out.push_str("</div></figure>\n");
    }

    fn x_ticks(&self) -> Vec<(f64, String)> {
        if self.x_ticks.is_empty() {
            let ticks = self.x.ticks().into_iter();
            ticks.map(|tick| (tick, (self.say_x)(tick))).collect()
        } else {
            self.x_ticks.clone()
        }
    }

    fn legend(&self, out: &mut String) {
        if self.lines.len() < 2 {
            return;
        }
        out.push_str("<ul class=\"legend\">");
        for line in &self.lines {
            let dashed = if line.stroke == Stroke::Dashed {
                " dashed"
            } else {
                ""
            };
            let (colour, name) = (line.colour % COLOURS, escape(&line.name));
            let _ = write!(
                out,
                "<li><i class=\"key c{colour}{dashed}\"></i>{name}</li>"
            );
        }
        out.push_str("</ul>");
    }

    fn drawing(&self, out: &mut String, x_ticks: &[(f64, String)], y_ticks: &[f64]) {
        let _ = write!(
            out,
            "<svg viewBox=\"0 0 {SIDE} {SIDE}\" preserveAspectRatio=\"none\" role=\"img\" aria-label=\"{}\"><path \
             class=\"grid\" d=\"",
            escape(&self.in_words())
        );
        for tick in y_ticks {
            let _ = write!(out, "M0 {:.1}H{SIDE}", SIDE * (1.0 - self.y.place(*tick)));
        }
        for (tick, _) in x_ticks {
            let _ = write!(out, "M{:.1} 0V{SIDE}", SIDE * self.x.place(*tick));
        }
        out.push_str("\"/>");
        for (from, to) in &self.shades {
            let (left, right) = (SIDE * self.x.place(*from), SIDE * self.x.place(*to));
            let _ = write!(
                out,
                "<path class=\"shade\" d=\"M{left:.1} 0H{right:.1}V{SIDE}H{left:.1}Z\"/>"
            );
        }
        for line in &self.lines {
            let colour = line.colour % COLOURS;
            let path = self.path(line);
            if line.stroke == Stroke::Filled {
                let ground = self.ground(line);
                let _ = write!(out, "<path class=\"ground c{colour}\" d=\"{ground}\"/>");
            }
            let dashed = if line.stroke == Stroke::Dashed {
                " dashed"
            } else {
                ""
            };
            let _ = write!(out, "<path class=\"line c{colour}{dashed}\" d=\"{path}\"/>");
        }
        out.push_str("</svg>");
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
    fn readings(&self, out: &mut String) {
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
        let json = json.replace('<', "\\u003c");
        let _ = write!(out, "<script type=\"application/json\">{json}</script>");
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
        let mut out = String::new();
        Plot {
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
        }
        .draw(&mut out);
        out
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
