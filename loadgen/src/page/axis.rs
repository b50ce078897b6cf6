//! The places of values on a plot, and the values that are written beside it.

/// The layout of values from one edge of a plot to the other.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Axis {
    /// Evenly from `from` to `to`.
    Linear {
        /// At the near edge.
        from: f64,
        /// At the far edge; more than `from`.
        to: f64,
    },
    /// Each decade takes the same room; both ends are above zero.
    Log {
        /// At the near edge.
        from: f64,
        /// At the far edge; more than `from`.
        to: f64,
    },
}

impl Axis {
    /// An even axis from zero to at least the largest of these, its end a round number. Values that are no numbers are
    /// passed over.
    #[must_use]
    pub fn from_zero(values: impl Iterator<Item = f64>) -> Self {
        let most = values.filter(|value| value.is_finite()).fold(0.0, f64::max);
        let most = if most > 0.0 { most } else { 1.0 };
        let step = round_step(most / TICKS_WANTED);
        Self::Linear {
            from: 0.0,
            to: (most * 1.02 / step).ceil() * step,
        }
    }

    /// An axis of decades around all of these that are above zero.
    #[must_use]
    pub fn decades(values: impl Iterator<Item = f64>) -> Self {
        let sound = values.filter(|value| value.is_finite() && *value > 0.0);
        let (least, most) = sound.fold((f64::MAX, 0.0), |(least, most): (f64, f64), value| {
            (least.min(value), most.max(value))
        });
        if most == 0.0 {
            return Self::Log {
                from: 1.0,
                to: 10.0,
            };
        }
        // Ends lie on 1, 2 or 5, so that little room is lost.
        let from = ticks_of_decades(least / 10.0, least * 1.001);
        let to = ticks_of_decades(most, most * 10.0);
        let from = from.last().copied().unwrap_or(least);
        let to = to
            .into_iter()
            .find(|tick| *tick > from)
            .unwrap_or(most * 10.0);
        Self::Log { from, to }
    }

    /// The position of a value, from 0 (near edge) to 1 (far edge); values outside are clamped to the edge.
    #[must_use]
    pub fn place(self, value: f64) -> f64 {
        let place = match self {
            Self::Linear { from, to } => (value - from) / (to - from),
            Self::Log { from, to } => (value.max(from) / from).ln() / (to / from).ln(),
        };
        if place.is_finite() {
            place.clamp(0.0, 1.0)
        } else {
            0.0
        }
    }

    /// The values that are written beside the plot; at most a dozen.
    #[must_use]
    pub fn ticks(self) -> Vec<f64> {
        match self {
            Self::Linear { from, to } => {
                let step = round_step((to - from) / TICKS_WANTED);
                let first = (from / step).ceil();
                let places = (0..12).map(|number| (first + f64::from(number)) * step);
                places
                    .take_while(|tick| *tick <= to * (1.0 + 1e-9))
                    .collect()
            }
            Self::Log { from, to } => {
                let fine = ticks_of_decades(from, to);
                let full = || {
                    fine.iter()
                        .copied()
                        .filter(|tick| is_decade(*tick))
                        .collect::<Vec<_>>()
                };
                match fine.len() {
                    0..=8 => fine,
                    _ if full().len() <= 12 => full(),
                    _ => full().into_iter().step_by(3).collect(),
                }
            }
        }
    }
}

/// 1, 2 or 5 times a power of ten, near this.
fn round_step(rough: f64) -> f64 {
    let decade = 10_f64.powf(rough.log10().floor());
    let digit = rough / decade;
    let round = if digit <= 1.0 {
        1.0
    } else if digit <= 2.0 {
        2.0
    } else if digit <= 5.0 {
        5.0
    } else {
        10.0
    };
    round * decade
}

/// 1, 2 and 5 times the powers of ten between both.
fn ticks_of_decades(from: f64, to: f64) -> Vec<f64> {
    let mut ticks = Vec::new();
    let mut decade = 10_f64.powf(from.log10().floor());
    while decade <= to && ticks.len() < TICKS_MAX {
        let three = [1.0, 2.0, 5.0].map(|digit| digit * decade);
        let near = |tick: &f64| *tick >= from * (1.0 - 1e-9) && *tick <= to * (1.0 + 1e-9);
        ticks.extend(three.into_iter().filter(near));
        decade *= 10.0;
    }
    ticks
}

fn is_decade(value: f64) -> bool {
    let power = value.log10();
    (power - power.round()).abs() < 1e-6
}

/// Lines across a plot.
const TICKS_WANTED: f64 = 5.0;
/// Most ticks of a plot: a double has 600 decades.
const TICKS_MAX: usize = 100;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn even_axes_end_on_round_numbers() {
        for (most, to) in [
            (0.0, 1.0),
            (97.0, 100.0),
            (103.0, 150.0),
            (18_240.0, 20_000.0),
        ] {
            let axis = Axis::from_zero(
                [3.0, most, f64::NAN]
                    .into_iter()
                    .filter(|v| *v <= most || v.is_nan()),
            );
            let Axis::Linear { from, to: end } = axis else {
                panic!()
            };
            assert!(
                (from, (end - to).abs() < to * 0.3) == (0.0, true),
                "{most}: {axis:?}"
            );
            let ticks = axis.ticks();
            assert!((3..=8).contains(&ticks.len()), "{most}: {ticks:?}");
            assert_eq!(ticks.first(), Some(&0.0));
        }
    }

    #[test]
    fn decades_hold_all_values() {
        for values in [
            [1.0, 1.0],
            [3.0, 4_000.0],
            [150.0, 90_000_000.0],
            [0.0, 7.0],
            [f64::NAN, 0.0],
        ] {
            let axis = Axis::decades(values.into_iter());
            let Axis::Log { from, to } = axis else {
                panic!()
            };
            assert!(from > 0.0 && to > from, "{values:?}: {axis:?}");
            let sound = values.into_iter().filter(|v| *v > 0.0);
            assert!(
                sound.clone().all(|v| v >= from * 0.999 && v <= to * 1.001),
                "{values:?}: {axis:?}"
            );
            assert!(
                (2..=12).contains(&axis.ticks().len()),
                "{values:?}: {:?}",
                axis.ticks()
            );
        }
    }

    #[test]
    fn places_stay_on_the_plot() {
        let axis = Axis::Log {
            from: 1.0,
            to: 100.0,
        };
        let places = [0.0, 1.0, 10.0, 1e9, f64::NAN, f64::INFINITY].map(|value| axis.place(value));
        assert_eq!(places, [0.0, 0.0, 0.5, 1.0, 0.0, 0.0]);
    }

    #[test]
    fn absurd_values_end_in_few_ticks() {
        for axis in [
            Axis::decades([1e-300, 1e300].into_iter()),
            Axis::from_zero([1e308].into_iter()),
        ] {
            assert!(axis.ticks().len() <= 40, "{axis:?}");
        }
    }
}
