//! A code as a picture, for cameras.

use anyhow::Context;
use qrcode::{
    EcLevel, QrCode,
    render::{svg, unicode::Dense1x2},
};

/// Black on white, whatever the terminal's own colours are: many cameras read no other way. They are
/// taken from the part of the palette of 256 that themes leave alone.
const BLACK_ON_WHITE: &str = "\x1b[38;5;16;48;5;231m";
const AS_BEFORE: &str = "\x1b[0m";
/// The side of a module in an SVG, in pixels.
const MODULE: u32 = 8;

/// A QR code.
pub(crate) struct Picture(QrCode);

impl Picture {
    pub(crate) fn of(text: &str) -> anyhow::Result<Self> {
        // A quarter of it may be stained or folded.
        let code = QrCode::with_error_correction_level(text, EcLevel::M);
        Ok(Self(code.context("the code is too long for a picture")?))
    }

    /// As lines of half blocks: two modules, one above the other, for each character.
    pub(crate) fn in_terminal(&self) -> String {
        let picture = self.0.render::<Dense1x2>().build();
        let line = |line| format!("{BLACK_ON_WHITE}{line}{AS_BEFORE}\n");
        picture.lines().map(line).collect()
    }

    /// As a file to print.
    pub(crate) fn svg(&self) -> String {
        self.0.render::<svg::Color<'_>>().module_dimensions(MODULE, MODULE).build() + "\n"
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The modules of a picture in a terminal, with its margin: whether each is dark.
    fn modules(picture: &str) -> Vec<Vec<bool>> {
        let mut rows = Vec::new();
        for line in picture.lines() {
            let line = line.strip_prefix(BLACK_ON_WHITE).unwrap().strip_suffix(AS_BEFORE).unwrap();
            for half in [&['▀', '█'], &['▄', '█']] {
                rows.push(line.chars().map(|c| half.contains(&c)).collect());
            }
        }
        rows
    }

    #[test]
    fn a_terminal_shows_the_modules_of_the_code_dark_on_light_and_a_margin_around_it() {
        let picture = Picture::of("olmcast-device:1:AAAA").unwrap();
        let shown = modules(&picture.in_terminal());
        let width = picture.0.width();
        let margin = 4;
        let colors = picture.0.to_colors();
        for (y, row) in shown.iter().enumerate() {
            assert_eq!(row.len(), width + 2 * margin);
            for (x, dark) in row.iter().enumerate() {
                let inside = |at: usize| (margin..margin + width).contains(&at);
                let expected = inside(x)
                    && inside(y)
                    && colors[(y - margin) * width + x - margin] == qrcode::Color::Dark;
                assert_eq!(*dark, expected, "{x}, {y}");
            }
        }
        // The half row that is left over belongs to the margin.
        assert_eq!(shown.len(), (width + 2 * margin).next_multiple_of(2));
    }

    #[test]
    fn an_svg_has_as_many_dark_modules() {
        let picture = Picture::of("olmcast-device:1:AAAA").unwrap();
        let svg = picture.svg();
        let dark = picture.0.to_colors().iter().filter(|c| **c == qrcode::Color::Dark).count();
        assert_eq!(svg.matches(&format!("h{MODULE}v{MODULE}H")).count(), dark);
        assert!(svg.contains("fill=\"#000\"") && svg.contains("fill=\"#fff\""), "{svg}");
        assert!(svg.ends_with("</svg>\n"));
    }
}
