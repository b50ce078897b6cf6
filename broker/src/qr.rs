//! QR codes for terminals and web pages.

use qrcode::{Color, EcLevel, QrCode};
use std::fmt::Write as _;

#[derive(Clone, Debug)]
pub(crate) struct Qr {
    side: usize,
    /// The modules in row-major order. `true` means dark.
    dark: Vec<bool>,
}

impl Qr {
    pub(crate) fn new(text: &str) -> Option<Self> {
        let code = QrCode::with_error_correction_level(text, EcLevel::M).ok()?;
        let dark = code.to_colors().into_iter();
        Some(Self {
            side: code.width(),
            dark: dark.map(|color| color == Color::Dark).collect(),
        })
    }

    /// Returns the number of modules per side of [`Self::path`], including the light border that readers require.
    pub(crate) fn size(&self) -> usize {
        self.side + 2 * BORDER
    }

    pub(crate) fn path(&self) -> String {
        let mut path = String::new();
        for (y, row) in self.dark.chunks(self.side).enumerate() {
            let mut x = 0;
            for run in row.chunk_by(|one, other| one == other) {
                if run.first() == Some(&true) {
                    let _ = write!(
                        path,
                        "M{} {}h{}v1h-{}z",
                        x + BORDER,
                        y + BORDER,
                        run.len(),
                        run.len()
                    );
                }
                x += run.len();
            }
        }
        path
    }

    pub(crate) fn terminal(&self) -> String {
        let mut text = String::new();
        let (low, high) = (TERMINAL_BORDER, self.side + TERMINAL_BORDER);
        let dark = |x: usize, y: usize| {
            let inside = (low..high).contains(&x) && (low..high).contains(&y);
            inside && self.dark.get((y - low) * self.side + x - low) == Some(&true)
        };
        let side = self.side + 2 * TERMINAL_BORDER;
        for y in (0..side).step_by(2) {
            text.push_str(BLACK_ON_WHITE);
            for x in 0..side {
                text.push(match (dark(x, y), dark(x, y + 1)) {
                    (false, false) => ' ',
                    (false, true) => '▄',
                    (true, false) => '▀',
                    (true, true) => '█',
                });
            }
            text.push_str(AS_BEFORE);
            text.push('\n');
        }
        text
    }
}

/// Width of the quiet zone in modules (ISO/IEC 18004, section 6.3.8).
const BORDER: usize = 4;
/// Width of the quiet zone on a terminal, in modules. The standard requires four, but with three, a URL's code takes
/// only 39 columns.
const TERMINAL_BORDER: usize = 3;
/// Control sequence for black text on bright white (Select Graphic Rendition, ECMA-48, section 8.3.117).
const BLACK_ON_WHITE: &str = "\x1b[30;107m";
const AS_BEFORE: &str = "\x1b[0m";

#[cfg(test)]
mod tests {
    use super::*;

    const LONGEST: &str = "https://192.168.177.201:58443/pair/ABCDEFGHIJKLMNOPQRSTUVWXYZ";

    #[test]
    fn the_code_of_a_url_fits_into_forty_columns() {
        let lines = Qr::new(LONGEST).unwrap().terminal();
        for line in lines.lines() {
            let shown = line.strip_prefix(BLACK_ON_WHITE).unwrap();
            let shown = shown.strip_suffix(AS_BEFORE).unwrap();
            assert!(shown.chars().count() <= 40, "{shown}");
        }
        let top = lines.lines().nth(1).unwrap();
        assert!(top.contains("   ▄▄▄▄▄▄▄ "), "a finder pattern: {lines}");
    }

    #[test]
    fn the_drawing_has_every_dark_module_once() {
        let code = Qr::new(LONGEST).unwrap();
        let runs = code.path();
        let run = |run: &str| {
            run.split_once("h-")?
                .1
                .strip_suffix('z')?
                .parse::<usize>()
                .ok()
        };
        let drawn: usize = runs.split('M').filter_map(run).sum();
        assert_eq!(drawn, code.dark.iter().filter(|dark| **dark).count());
        assert!(runs.starts_with("M4 4h7v1h-7z"), "{runs}");
        assert_eq!(code.size(), code.side + 8);
        assert!(Qr::new(&"x".repeat(4000)).is_none());
    }
}
