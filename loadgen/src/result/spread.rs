//! A latency distribution: a few quantiles for the reader, and the full histogram.

use flate2::read::ZlibDecoder;
use hdrhistogram::Histogram;
use hdrhistogram::serialization::{Deserializer, Serializer, V2DeflateSerializer};
use serde::{Deserialize, Serialize};
use std::io::Read;

/// The distribution of one kind of latency, in microseconds. Contains at least one value.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(into = "SpreadFigures", try_from = "SpreadFigures")]
pub struct Spread {
    figures: SpreadFigures,
    histogram: Option<Histogram<u64>>,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
struct SpreadFigures {
    count: u64,
    p50: Option<u64>,
    p90: Option<u64>,
    p99: Option<u64>,
    p999: Option<u64>,
    max: u64,
    hdr: Option<String>,
}

impl Spread {
    /// Computes the distribution from a histogram in microseconds. Returns `None` if the histogram is empty.
    #[must_use]
    pub fn of(histogram: &Histogram<u64>) -> Option<Self> {
        if histogram.is_empty() {
            return None;
        }
        let at = |quantile| Some(histogram.value_at_quantile(quantile));
        Some(Self {
            figures: SpreadFigures {
                count: histogram.len(),
                p50: at(0.5),
                p90: at(0.9),
                p99: at(0.99),
                p999: at(0.999),
                max: histogram.max(),
                hdr: encode(histogram),
            },
            histogram: Some(histogram.clone()),
        })
    }

    /// Returns the number of values.
    #[must_use]
    pub const fn count(&self) -> u64 {
        self.figures.count
    }

    /// Returns the maximum value, in microseconds.
    #[must_use]
    pub const fn max(&self) -> u64 {
        self.figures.max
    }

    /// Returns the latency at the quantile `share`, in microseconds. Without a histogram, only the quantiles stored in
    /// the results file are known.
    #[must_use]
    pub fn quantile(&self, share: f64) -> Option<u64> {
        if let Some(histogram) = &self.histogram {
            return Some(histogram.value_at_quantile(share));
        }
        let known = [
            (0.5, self.figures.p50),
            (0.9, self.figures.p90),
            (0.99, self.figures.p99),
            (0.999, self.figures.p999),
            (1.0, Some(self.figures.max)),
        ];
        let same = known.iter().find(|(of, _)| (of - share).abs() < 1e-9);
        same.and_then(|(_, value)| *value)
    }

    /// Returns the histogram, which is in microseconds.
    #[must_use]
    pub const fn histogram(&self) -> Option<&Histogram<u64>> {
        self.histogram.as_ref()
    }

    /// Returns the histogram as base64-encoded HDR V2 deflate.
    #[must_use]
    pub fn hdr(&self) -> Option<String> {
        self.figures.hdr.clone()
    }

    /// Adds the values of another part. If each part has a histogram, the result is exact. Otherwise, only the count
    /// and the maximum are known.
    #[must_use]
    pub fn plus(&self, other: &Self) -> Self {
        let both = self.histogram.as_ref().zip(other.histogram.as_ref());
        let sum = both.and_then(|(one, other)| Self::of(&sum_of(one, other)?));
        sum.unwrap_or_else(|| Self {
            figures: SpreadFigures {
                count: self.count().saturating_add(other.count()),
                max: self.max().max(other.max()),
                ..SpreadFigures::default()
            },
            histogram: None,
        })
    }
}

impl From<Spread> for SpreadFigures {
    fn from(spread: Spread) -> Self {
        spread.figures
    }
}

impl TryFrom<SpreadFigures> for Spread {
    type Error = String;

    /// If there is a histogram, recomputes the figures from it, so that inconsistent figures in a file have no effect.
    fn try_from(figures: SpreadFigures) -> Result<Self, Self::Error> {
        let Some(text) = &figures.hdr else {
            return Ok(Self {
                figures,
                histogram: None,
            });
        };
        let histogram = decode(text)?;
        Self::of(&histogram).ok_or_else(|| "hdr: a histogram without a value".into())
    }
}

pub(crate) fn both(one: &Option<String>, other: &Option<String>) -> Option<Histogram<u64>> {
    let [one, other] = [one, other].map(|text| decode(text.as_deref()?).ok());
    sum_of(&one?, &other?)
}

fn sum_of(one: &Histogram<u64>, other: &Histogram<u64>) -> Option<Histogram<u64>> {
    let (finer, coarser) = if one.sigfig() >= other.sigfig() {
        (one, other)
    } else {
        (other, one)
    };
    let mut sum = finer.clone();
    sum.auto(true);
    sum.add(coarser).ok()?;
    Some(sum)
}

pub(crate) fn encode(histogram: &Histogram<u64>) -> Option<String> {
    let mut bytes = Vec::new();
    let mut serializer = V2DeflateSerializer::new();
    serializer.serialize(histogram, &mut bytes).ok()?;
    let mut text = Vec::new();
    codec::base64::encode(&mut text, &bytes);
    String::from_utf8(text).ok()
}

/// Decodes a histogram from base64-encoded HDR V2 deflate. The library's own decoder is not used, because it trusts the
/// encoded length and would reserve up to 4 GiB. The error is shown to the operator.
pub(crate) fn decode(text: &str) -> Result<Histogram<u64>, String> {
    let wrong =
        |what: &str| format!("hdr: {what}; expected a histogram as HDR V2 deflate in base64");
    let bytes = codec::base64::decode(text.as_bytes()).ok_or_else(|| wrong("not base64"))?;
    let (&cookie, rest) = bytes
        .split_first_chunk()
        .ok_or_else(|| wrong("too short"))?;
    let (&length, deflated) = rest.split_first_chunk().ok_or_else(|| wrong("too short"))?;
    if u32::from_be_bytes(cookie) != DEFLATE_COOKIE
        || u32::from_be_bytes(length) as usize != deflated.len()
    {
        return Err(wrong("another format"));
    }
    let mut plain = Vec::new();
    ZlibDecoder::new(deflated)
        .take(PLAIN_BYTES_MAX + 1)
        .read_to_end(&mut plain)
        .map_err(|_| wrong("damaged"))?;
    if plain.len() as u64 > PLAIN_BYTES_MAX {
        return Err(wrong("too large"));
    }
    check_header(&plain).ok_or_else(|| wrong("an invalid header"))?;
    Deserializer::new()
        .deserialize(&mut plain.as_slice())
        .map_err(|error| wrong(&error.to_string()))
}

/// Checks that a V2 histogram header is consistent and within bounds. The header has these big-endian fields: cookie,
/// length of the counts, offset, digits, lowest and highest value, ratio.
fn check_header(plain: &[u8]) -> Option<()> {
    let (header, counts) = plain.split_first_chunk::<HEADER_BYTES>()?;
    let word = |at: usize| Some(u32::from_be_bytes(header.get(at..at + 4)?.try_into().ok()?));
    let long = |at: usize| Some(u64::from_be_bytes(header.get(at..at + 8)?.try_into().ok()?));
    let length = usize::try_from(word(4)?).ok()?;
    let (digits, low, high) = (word(12)?, long(16)?, long(24)?);
    let sound = length == counts.len() && digits <= DIGITS_MAX && low == 1 && high <= VALUE_MAX;
    sound.then_some(())
}

const DEFLATE_COOKIE: u32 = 0x1c84_9314;
const HEADER_BYTES: usize = 40;
/// Maximum number of significant digits. With this many, and values up to [`VALUE_MAX`], a histogram has at most 29,000
/// counts.
const DIGITS_MAX: u32 = 3;
/// Maximum value, in microseconds. About 51 days.
const VALUE_MAX: u64 = 1 << 42;
/// Maximum size of an uncompressed histogram, in bytes. A count takes at most 9 bytes.
const PLAIN_BYTES_MAX: u64 = 1 << 20;

#[cfg(test)]
pub(crate) fn histogram(values: impl IntoIterator<Item = u64>) -> Histogram<u64> {
    let mut histogram = Histogram::new_with_bounds(1, 3_600_000_000, 3).expect("constants");
    let values = values.into_iter();
    values.for_each(|value| histogram.saturating_record(value));
    histogram
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn without_a_value_there_is_no_spread() {
        assert!(Spread::of(&histogram([])).is_none());
        let one = Spread::of(&histogram([7])).unwrap();
        assert_eq!((one.count(), one.max(), one.quantile(0.5)), (1, 7, Some(7)));
    }

    #[test]
    fn figures_come_from_the_histogram() {
        let spread = Spread::of(&histogram([1, 2, 3])).unwrap();
        let mut json = serde_json::to_value(&spread).unwrap();
        json["p99"] = 1_000_000.into();
        let read: Spread = serde_json::from_value(json.clone()).unwrap();
        assert_eq!(read, spread);
        json["hdr"] = serde_json::Value::Null;
        let read: Spread = serde_json::from_value(json).unwrap();
        assert_eq!(read.quantile(0.99), Some(1_000_000));
        assert_eq!(read.quantile(0.42), None);
        let sum = read.plus(&spread);
        assert_eq!((sum.count(), sum.max(), sum.quantile(0.99)), (6, 3, None));
    }

    #[test]
    fn damaged_histograms_are_refused() {
        let good = encode(&histogram([5, 500, 50_000])).unwrap();
        assert!(decode(&good).is_ok());
        let bytes = codec::base64::decode(good.as_bytes()).unwrap();
        for end in 0..bytes.len() {
            let mut text = Vec::new();
            codec::base64::encode(&mut text, &bytes[..end]);
            let fine = decode(std::str::from_utf8(&text).unwrap()).is_err();
            assert!(fine, "{end}");
        }
        assert!(decode("not base64!").is_err());
    }

    /// Returns a deflated histogram whose header contains these values.
    fn claiming(length: u32, digits: u32, high: u64) -> String {
        use flate2::write::ZlibEncoder;
        use std::io::Write;
        let mut plain = 0x1c84_9313_u32.to_be_bytes().to_vec();
        plain.extend(length.to_be_bytes());
        plain.extend(0_u32.to_be_bytes());
        plain.extend(digits.to_be_bytes());
        plain.extend(1_u64.to_be_bytes());
        plain.extend(high.to_be_bytes());
        plain.extend(1_f64.to_be_bytes());
        plain.push(2); // one value of 0
        let mut encoder = ZlibEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(&plain).unwrap();
        let deflated = encoder.finish().unwrap();
        let mut bytes = DEFLATE_COOKIE.to_be_bytes().to_vec();
        bytes.extend(u32::try_from(deflated.len()).unwrap().to_be_bytes());
        bytes.extend(deflated);
        let mut text = Vec::new();
        codec::base64::encode(&mut text, &bytes);
        String::from_utf8(text).unwrap()
    }

    #[test]
    fn claims_of_size_are_checked_before_memory_is_taken() {
        assert!(decode(&claiming(1, 3, 3_600_000_000)).is_ok());
        for (length, digits, high) in [
            (u32::MAX, 3, 3_600_000_000),
            (1, 5, 3_600_000_000),
            (1, 3, u64::MAX),
            (1, u32::MAX, 3_600_000_000),
        ] {
            let fine = decode(&claiming(length, digits, high)).is_err();
            assert!(fine, "{length} {digits} {high}");
        }
    }

    proptest! {
        #[test]
        fn parts_add_up_to_the_whole(values in proptest::collection::vec((0_u64..10_000_000_000, 0_usize..3), 1..200)) {
            let all: Vec<u64> = values.iter().map(|(value, _)| *value).collect();
            let whole = Spread::of(&histogram(all)).unwrap();
            let parts = (0..3).filter_map(|part| {
                let own: Vec<u64> = values.iter().filter(|(_, to)| *to == part).map(|(value, _)| *value).collect();
                Spread::of(&histogram(own))
            });
            let sum = parts.reduce(|one, other| one.plus(&other)).unwrap();
            prop_assert_eq!(sum.histogram(), whole.histogram());
            for share in [0.5, 0.9, 0.99, 0.999, 1.0] {
                prop_assert_eq!(sum.quantile(share), whole.quantile(share));
            }
        }

        #[test]
        fn no_text_breaks_the_reader(text in "[A-Za-z0-9+/]{0,80}={0,2}") {
            let _ = decode(&text);
        }
    }
}
