//! The selectors of a Prometheus expression: enough of its grammar to compare rules and dashboards with a scrape.

/// A metric as an expression selects it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Selector {
    pub(crate) name: String,
    /// Each label with the values that the expression names; none where it has a pattern or a variable.
    pub(crate) labels: Vec<(String, Vec<String>)>,
    /// Whether a function for counters takes it.
    pub(crate) as_counter: bool,
}

/// Every metric of an expression, in its order.
pub(crate) fn selectors(expr: &str) -> Vec<Selector> {
    let mut reader = Reader { rest: expr };
    // The function around each open parenthesis; empty for none.
    let mut around: Vec<String> = Vec::new();
    let mut function = String::new();
    let mut found = Vec::new();
    while let Some(first) = reader.peek() {
        match first {
            '(' => {
                reader.skip(1);
                around.push(std::mem::take(&mut function));
            }
            ')' => {
                reader.skip(1);
                assert!(around.pop().is_some(), "parentheses in {expr}");
            }
            '[' => drop(reader.until(']')),
            '"' => drop(reader.quoted()),
            '0'..='9' | '.' => drop(reader.word()),
            'a'..='z' | 'A'..='Z' | '_' | ':' => {
                let word = reader.word();
                if GROUPING.contains(&word.as_str()) {
                    if reader.peek() == Some('(') {
                        reader.until(')');
                    }
                } else if AGGREGATIONS.contains(&word.as_str()) || reader.peek() == Some('(') {
                    function = word;
                } else if !OPERATORS.contains(&word.as_str()) {
                    let labels = reader.labels();
                    let inner = around.last().map_or("", String::as_str);
                    let as_counter = OF_COUNTERS.contains(&inner);
                    found.push(Selector {
                        name: word,
                        labels,
                        as_counter,
                    });
                }
            }
            '+' | '-' | '*' | '/' | '%' | '^' | '=' | '!' | '<' | '>' | ',' | '@' => reader.skip(1),
            other => panic!("{other:?} in {expr}"),
        }
    }
    assert!(around.is_empty(), "parentheses in {expr}");
    found
}

/// The labels of a sample or of a selector, between braces: name, operator, value.
pub(crate) fn matchers(text: &str) -> Vec<(String, String, String)> {
    let mut reader = Reader { rest: text };
    let mut matchers = Vec::new();
    while reader.peek().is_some() {
        let name = reader.word();
        let value_at = reader.rest.find('"').expect("a quoted value");
        let operator = reader.rest[..value_at].trim().to_owned();
        reader.skip(value_at);
        matchers.push((name, operator, reader.quoted()));
        if reader.peek() == Some(',') {
            reader.skip(1);
        }
    }
    matchers
}

struct Reader<'e> {
    rest: &'e str,
}

impl Reader<'_> {
    /// The next character that is no white space.
    fn peek(&mut self) -> Option<char> {
        self.rest = self.rest.trim_start();
        self.rest.chars().next()
    }

    fn skip(&mut self, bytes: usize) {
        self.rest = &self.rest[bytes..];
    }

    /// Letters, digits and what else names and numbers have.
    fn word(&mut self) -> String {
        let part = |c: char| c.is_ascii_alphanumeric() || "_:.".contains(c);
        let end = self.rest.find(|c| !part(c)).unwrap_or(self.rest.len());
        let word = self.rest[..end].to_owned();
        assert!(!word.is_empty(), "a word at {:?}", self.rest);
        self.skip(end);
        word
    }

    /// Up to and with a character.
    fn until(&mut self, end: char) -> String {
        let at = self.rest.find(end).expect("an end");
        let text = self.rest[..at].to_owned();
        self.skip(at + 1);
        text
    }

    /// A text in quotes, none of which it has itself.
    fn quoted(&mut self) -> String {
        self.skip(1);
        self.until('"')
    }

    fn labels(&mut self) -> Vec<(String, Vec<String>)> {
        if self.peek() != Some('{') {
            return Vec::new();
        }
        self.skip(1);
        let mut text = String::new();
        while !self.rest.starts_with('}') {
            let next = self.rest.chars().next().expect("a brace");
            if next == '"' {
                text.push_str(&format!("\"{}\"", self.quoted()));
            } else {
                text.push(next);
                self.skip(next.len_utf8());
            }
        }
        self.skip(1);
        let named = |(name, operator, value): (String, String, String)| {
            let listed = value
                .chars()
                .all(|c| c.is_ascii_alphanumeric() || "_.|".contains(c));
            let values: Vec<String> = match operator.as_str() {
                "=~" | "!~" if listed => value.split('|').map(str::to_owned).collect(),
                "=" | "!=" if !value.starts_with('$') => vec![value],
                _ => Vec::new(),
            };
            (name, values)
        };
        matchers(&text).into_iter().map(named).collect()
    }
}

#[rustfmt::skip] // a list
const GROUPING: [&str; 6] = ["by", "without", "on", "ignoring", "group_left", "group_right"];
const OPERATORS: [&str; 6] = ["and", "or", "unless", "bool", "offset", "atan2"];
const AGGREGATIONS: [&str; 6] = ["sum", "min", "max", "avg", "count", "topk"];
const OF_COUNTERS: [&str; 3] = ["rate", "irate", "increase"];

#[test]
fn names_labels_and_functions_are_read() {
    let found = selectors(
        "histogram_quantile(0.99, sum by (job, le) (rate(a_seconds_bucket{le=\"0.5\", x=~\"$x\"}[5m])))\n > 3 * \
         level:b:sum{o=~\"one|two\"} and on (job) (c{d!=\"} e\"} == 1 < 2e3) or time() - f offset 5m",
    );
    let selector = |name: &str, labels: &[(&str, &[&str])], as_counter| Selector {
        name: name.into(),
        labels: labels
            .iter()
            .map(|(name, values)| ((*name).into(), values.iter().map(|v| (*v).into()).collect()))
            .collect(),
        as_counter,
    };
    let wanted = [
        selector("a_seconds_bucket", &[("le", &["0.5"]), ("x", &[])], true),
        selector("level:b:sum", &[("o", &["one", "two"])], false),
        selector("c", &[("d", &["} e"])], false),
        selector("f", &[], false),
    ];
    assert_eq!(found, wanted);
}
