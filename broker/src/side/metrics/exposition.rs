//! The text formats of metrics: Prometheus text 0.0.4, and OpenMetrics 1.0.0 for scrapers that request it.
//!
//! Both formats contain the same samples. The header of a counter includes the suffix `_total` in text 0.0.4, but not
//! in OpenMetrics.

use crate::terminal::plain;
use broker_core::event::Histogram;
use std::fmt::Write;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Format {
    Text,
    OpenMetrics,
}

impl Format {
    /// Chooses the format for an `Accept` header: OpenMetrics if the header gives it at least the weight of the text
    /// format, and the text format otherwise.
    pub(crate) fn accepted(accept: &str) -> Self {
        let (mut open_metrics, mut text) = (0.0_f32, 0.0_f32);
        for range in accept.split(',') {
            let mut parts = range.split(';').map(str::trim);
            let kind = parts.next().unwrap_or_default().to_ascii_lowercase();
            let weight = parts.find_map(|part| part.strip_prefix("q="));
            // A quality value (RFC 9110, section 12.4.2). An invalid one counts as 0.
            let weight = weight.map_or(Some(1.0), |text| text.parse().ok());
            let weight = weight.filter(|it| (0.0..=1.0).contains(it)).unwrap_or(0.0);
            match kind.as_str() {
                "application/openmetrics-text" => open_metrics = open_metrics.max(weight),
                "text/plain" | "text/*" | "*/*" => text = text.max(weight),
                _ => {}
            }
        }
        if open_metrics > 0.0 && open_metrics >= text {
            Self::OpenMetrics
        } else {
            Self::Text
        }
    }

    pub(crate) fn content_type(self) -> &'static str {
        match self {
            Self::Text => "text/plain; version=0.0.4; charset=utf-8",
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
        }
    }
}

/// A metric, with a function that writes the metric's samples from a view `V`.
pub(crate) struct Row<V> {
    pub(crate) name: &'static str,
    pub(crate) help: &'static str,
    pub(crate) kind: Kind,
    pub(crate) samples: fn(&V, &mut Samples<'_>),
}

/// Defines a metrics table for a view. Each metric has a type, a name, a help text and samples. The samples are either
/// a function of the view and [`Samples`], or a shorthand. `[counter x]`, `[gauge x]`, `[edge x]` and `[edge x by
/// label: a b]` are sums over all shards, and `[most x]` is the maximum over all shards.
macro_rules! metrics {
    ($view:ty: $($kind:ident $name:ident $help:literal $samples:tt)*) => {
        &[$(Row::<$view> {
            name: stringify!($name),
            help: $help,
            kind: Kind::$kind,
            samples: metrics!(@ $samples),
        }),*]
    };
    (@ [counter $field:ident]) => { |it, to| to.one(it.sum.counters.$field) };
    (@ [gauge $field:ident]) => { |it, to| to.one(it.sum.$field) };
    (@ [edge $field:ident]) => { |it, to| to.one(it.edges(|edge| edge.$field)) };
    (@ [most $field:ident]) => { |it, to| to.one(it.most(|edge| edge.$field)) };
    (@ [edge $field:ident by $label:ident: $($part:ident)*]) => {
        |it, to| {
            $(to.labelled([(stringify!($label), stringify!($part))], it.edges(|edge| edge.$field.$part));)*
        }
    };
    (@ ($samples:expr)) => { $samples };
}
pub(crate) use metrics;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A number that only increases. The metric's name ends in `_total`.
    Counter,
    /// A number that can increase and decrease.
    Gauge,
    Histogram,
}

#[derive(Clone, Copy, Debug)]
pub(crate) enum Number {
    Whole(u64),
    /// A duration in seconds, or a ratio.
    Real(f64),
}

impl From<u64> for Number {
    fn from(number: u64) -> Self {
        Self::Whole(number)
    }
}

impl From<f64> for Number {
    fn from(number: f64) -> Self {
        Self::Real(number)
    }
}

/// An exemplar: one of the events counted in a histogram bucket, with its labels, its duration in seconds, and the time
/// when it ended, in seconds since 1970.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Example {
    pub(crate) labels: [(&'static str, String); 2],
    pub(crate) seconds: f64,
    pub(crate) at: f64,
}

pub(crate) struct Samples<'t> {
    text: &'t mut String,
    name: &'static str,
    format: Format,
}

impl Samples<'_> {
    /// Writes the only sample of a metric that has no labels.
    pub(crate) fn one(&mut self, number: impl Into<Number>) {
        self.sample("", &[], number.into());
    }

    pub(crate) fn labelled<const N: usize>(
        &mut self,
        labels: [(&str, &str); N],
        number: impl Into<Number>,
    ) {
        self.sample("", &labels, number.into());
    }

    pub(crate) fn each(&mut self, label: &str, values: &[&str], counts: &[u64]) {
        for (value, count) in values.iter().zip(counts) {
            self.labelled([(label, value)], *count);
        }
    }

    pub(crate) fn crossed<const N: usize>(
        &mut self,
        [(row_label, row_values), (label, values)]: [(&str, &[&str]); 2],
        counts: &[[u64; N]],
    ) {
        for (row_value, row) in row_values.iter().zip(counts) {
            for (value, count) in values.iter().zip(row) {
                self.labelled([(row_label, row_value), (label, value)], *count);
            }
        }
    }

    pub(crate) fn histogram(&mut self, histogram: &Histogram) {
        self.histogram_with(histogram, |_| None);
    }

    /// Writes a histogram. `exemplars` are indexed by bucket, and are written only in OpenMetrics.
    pub(crate) fn histogram_with(
        &mut self,
        histogram: &Histogram,
        example: impl Fn(usize) -> Option<Example>,
    ) {
        let mut below = 0;
        for (place, (bound, count)) in histogram.buckets().enumerate() {
            below += count;
            let bound = bound.map_or_else(|| "+Inf".to_owned(), |us| seconds(us).to_string());
            self.sample("_bucket", &[("le", &bound)], below.into());
            if self.format == Format::OpenMetrics
                && let Some(Example {
                    labels,
                    seconds,
                    at,
                }) = example(place)
            {
                self.text.truncate(self.text.trim_end().len());
                let [(one, first), (two, second)] = labels.map(|(name, it)| (name, escaped(&it)));
                let labels = format!("{one}=\"{first}\",{two}=\"{second}\"");
                put(
                    self.text,
                    format_args!(" # {{{labels}}} {seconds} {at:.3}\n"),
                );
            }
        }
        self.sample("_sum", &[], seconds(histogram.sum_us).into());
        self.sample("_count", &[], below.into());
    }

    fn sample(&mut self, suffix: &str, labels: &[(&str, &str)], number: Number) {
        self.text.push_str(self.name);
        self.text.push_str(suffix);
        for (place, (label, value)) in labels.iter().enumerate() {
            let value = escaped(value);
            let before = if place == 0 { '{' } else { ',' };
            put(self.text, format_args!("{before}{label}=\"{value}\""));
        }
        if !labels.is_empty() {
            self.text.push('}');
        }
        match number {
            Number::Whole(number) => put(self.text, format_args!(" {number}\n")),
            Number::Real(number) => put(self.text, format_args!(" {number}\n")),
        }
    }
}

pub(crate) struct Exposition {
    format: Format,
    text: String,
}

impl Exposition {
    pub(crate) fn new(format: Format) -> Self {
        let text = String::with_capacity(TEXT_BYTES);
        Self { format, text }
    }

    /// Writes the metrics of a table, with samples read from `view`. Omits metrics that have no samples, including
    /// their headers.
    pub(crate) fn table<V>(&mut self, rows: &[Row<V>], view: &V) {
        let text = &mut self.text;
        for row in rows {
            let family = match (self.format, row.kind) {
                (Format::OpenMetrics, Kind::Counter) => row.name.trim_end_matches("_total"),
                (Format::Text, _) | (_, Kind::Gauge | Kind::Histogram) => row.name,
            };
            let kind = match row.kind {
                Kind::Counter => "counter",
                Kind::Gauge => "gauge",
                Kind::Histogram => "histogram",
            };
            let help = row.help;
            let begin = text.len();
            put(
                text,
                format_args!("# HELP {family} {help}.\n# TYPE {family} {kind}\n"),
            );
            let samples = text.len();
            let name = row.name;
            let format = self.format;
            (row.samples)(view, &mut Samples { text, name, format });
            if text.len() == samples {
                text.truncate(begin);
            }
        }
    }

    pub(crate) fn finish(mut self) -> String {
        if self.format == Format::OpenMetrics {
            self.text.push_str("# EOF\n");
        }
        self.text
    }
}

/// Appends formatted text. Writing to a `String` never fails.
fn put(text: &mut String, what: std::fmt::Arguments<'_>) {
    let _ = text.write_fmt(what);
}

/// Escapes a label value. The formats define escapes for three characters. Other characters that a terminal would
/// interpret are replaced by their code points.
fn escaped(value: &str) -> String {
    let lines = value.split('\n').map(plain);
    let value = lines.collect::<Vec<_>>().join("\n");
    let value = value.replace('\\', "\\\\").replace('"', "\\\"");
    value.replace('\n', "\\n")
}

#[expect(
    clippy::cast_precision_loss,
    reason = "microseconds beyond 2^53 are centuries"
)]
pub(crate) fn seconds(microseconds: u64) -> f64 {
    microseconds as f64 / 1e6
}

/// Initial capacity of a response in bytes, slightly more than the usual length.
const TEXT_BYTES: usize = 64 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    const ROWS: &[Row<u64>] = metrics! { u64:
        Counter things_total "Things" (|view, to| to.labelled([("a", "1\r\u{1b}[2J"), ("b", "x\\\"\ny")], *view))
        Gauge level "The level" (|_, to| to.one(0.25))
        Histogram took_seconds "How long" (|view, to| {
            let mut histogram = Histogram::default();
            histogram.observe(3, *view);
            to.histogram(&histogram);
        })
    };

    fn exposition(format: Format) -> String {
        let mut text = Exposition::new(format);
        text.table(ROWS, &2);
        text.finish()
    }

    #[test]
    fn both_formats_have_the_same_samples_and_their_own_headers() {
        let text = exposition(Format::Text);
        let open = exposition(Format::OpenMetrics);
        assert!(text.starts_with("# HELP things_total Things.\n# TYPE things_total counter\n"));
        assert!(open.starts_with("# HELP things Things.\n# TYPE things counter\nthings_total{"));
        let samples = |text: &str| -> Vec<String> {
            let lines = text.lines().filter(|line| !line.starts_with('#'));
            lines.map(str::to_owned).collect()
        };
        assert_eq!(samples(&text), samples(&open));
        for line in [
            "things_total{a=\"1\\\\r\\\\u{1b}[2J\",b=\"x\\\\\\\"\\ny\"} 2",
            "level 0.25",
            "took_seconds_bucket{le=\"0.000002\"} 0",
            "took_seconds_bucket{le=\"0.000004\"} 2",
            "took_seconds_bucket{le=\"67.108864\"} 2",
            "took_seconds_bucket{le=\"+Inf\"} 2",
            "took_seconds_sum 0.000006",
            "took_seconds_count 2",
        ] {
            assert!(
                samples(&text).iter().any(|one| one == line),
                "{line}\n{text}"
            );
        }
        assert!(open.ends_with("\n# EOF\n") && !text.contains("EOF"));
    }

    #[test]
    fn exemplars_are_of_open_metrics_alone() {
        let example = Example {
            labels: [("shard", "1".into()), ("connection", "7".into())],
            seconds: 1.5,
            at: 1_700_000_000.25,
        };
        let rows: &[Row<Example>] = metrics! { Example:
            Histogram took_seconds "How long" (|example, to| {
                let mut histogram = Histogram::default();
                histogram.observe(1_500_000, 1);
                to.histogram_with(&histogram, |place| (place == 20).then(|| example.clone()));
            })
        };
        let text = |format| {
            let mut text = Exposition::new(format);
            text.table(rows, &example);
            text.finish()
        };
        let line = "\ntook_seconds_bucket{le=\"2.097152\"} 1";
        let more = " # {shard=\"1\",connection=\"7\"} 1.5 1700000000.250\n";
        assert!(text(Format::OpenMetrics).contains(&format!("{line}{more}took")));
        assert!(text(Format::Text).contains(&format!("{line}\ntook")));
        assert_eq!(text(Format::OpenMetrics).matches(" # ").count(), 1);
    }

    #[test]
    fn the_format_is_what_the_scraper_prefers() {
        let prometheus = "application/openmetrics-text;version=1.0.0;q=0.5,application/openmetrics-text;\
                          version=0.0.1;q=0.4,text/plain;version=0.0.4;q=0.3,*/*;q=0.2";
        for (accept, format) in [
            ("", Format::Text),
            ("*/*", Format::Text),
            ("text/html,application/xml;q=0.9,*/*;q=0.8", Format::Text),
            ("text/plain", Format::Text),
            (prometheus, Format::OpenMetrics),
            ("Application/OpenMetrics-Text", Format::OpenMetrics),
            ("application/openmetrics-text;q=0", Format::Text),
            (
                "application/openmetrics-text;q=0.3, text/plain;q=0.301",
                Format::Text,
            ),
            ("application/openmetrics-text;q=x", Format::Text),
            (";;,q=1,,", Format::Text),
        ] {
            assert_eq!(Format::accepted(accept), format, "{accept}");
        }
    }
}
