//! The test picture: colour bars, a bouncing square, the wall clock, the frame number, and a drifting texture.
//!
//! Planar YUV 4:2:0, 8 bits, video range (Rec. ITU-R BT.601). The still part is drawn once and copied for each frame; the
//! texture is there to give the encoder something to spend its bits on, as real television does.
//!
//! What it deliberately does not do: know about encoders or clocks; time is an argument.
#![forbid(unsafe_code)]

use super::font::{GLYPH_HEIGHT, GLYPH_WIDTH, glyph};
use crate::time::civil_from_days;

/// One frame: three planes without padding between rows.
#[derive(Clone)]
pub(super) struct Picture {
    pub width: usize,
    pub height: usize,
    pub y: Vec<u8>,
    /// Half the width and half the height, as `v`.
    pub u: Vec<u8>,
    pub v: Vec<u8>,
}

/// Draws frame after frame of one size.
pub(super) struct Painter {
    /// Bars, panel and the name: what never changes.
    still: Picture,
    frame: Picture,
    /// One tile of the texture, [`TILE`] x [`TILE`] luma values.
    tile: Vec<u8>,
}

/// A rectangle in luma pixels; may reach over the edge of the picture.
#[derive(Clone, Copy)]
struct Area {
    left: usize,
    top: usize,
    width: usize,
    height: usize,
}

#[derive(Clone, Copy, PartialEq, Eq)]
struct Colour(u8, u8, u8);

impl Painter {
    /// Width and height even; `name` stands in the upper left corner.
    pub fn new(width: usize, height: usize, name: &str) -> Self {
        let mut still = Picture::new(width, height);
        let scale = text_scale(width);
        for (number, &colour) in BARS.iter().enumerate() {
            let (left, right) = (width * number / BARS.len(), width * (number + 1) / BARS.len());
            still.fill(Area { left, top: 0, width: right - left, height: bars_height(height) }, colour);
        }
        let top = bars_height(height);
        still.fill(Area { left: 0, top, width, height: height - top }, PANEL);
        let margin = 4 * scale;
        still.label(margin, margin, scale, name);
        Painter { frame: still.clone(), still, tile: texture_tile() }
    }
    /// Draws frame number `frame_number` at `unix_us`, microseconds since 1970-01-01 UTC.
    pub fn draw(&mut self, frame_number: u64, unix_us: u64) -> &Picture {
        self.frame.copy_from(&self.still);
        let (width, height) = (self.frame.width, self.frame.height);
        let scale = text_scale(width);

        self.draw_square(frame_number);
        let clock_scale = 2 * scale;
        let clock = clock_text(unix_us);
        let clock_top = bars_height(height) + 4 * scale;
        let clock_left = width.saturating_sub(text_width(&clock, clock_scale)) / 2;
        self.frame.text(clock_left, clock_top, clock_scale, &clock);

        let line = format!("{}  FRAME {frame_number:08}", date_text(unix_us));
        let line_left = width.saturating_sub(text_width(&line, scale)) / 2;
        let line_top = clock_top + (GLYPH_HEIGHT + 2) * clock_scale;
        self.frame.text(line_left, line_top, scale, &line);

        let texture_top = line_top + (GLYPH_HEIGHT + 2) * scale;
        self.draw_texture(frame_number as usize, texture_top);
        self.draw_second(unix_us, texture_top, scale);
        &self.frame
    }

    /// A white square that goes to and fro over the bars: a stutter or a dropped frame shows at once.
    fn draw_square(&mut self, frame_number: u64) {
        let (width, height) = (self.frame.width, bars_height(self.frame.height));
        let side = (height / 5) & !1;
        let place = |room: usize, pixels_per_frame: usize| {
            let way = frame_number as usize * pixels_per_frame % (2 * room.max(1));
            if way < room { way } else { 2 * room - way }
        };
        let step = width.div_ceil(160);
        let (left, top) = (place(width - side, step) & !1, place(height - side, step.div_ceil(2)) & !1);
        self.frame.fill(Area { left, top, width: side, height: side }, WHITE);
        let inset = side / 6;
        let inner = Area { left: left + inset, top: top + inset, width: side - 2 * inset, height: side - 2 * inset };
        self.frame.fill(inner, PANEL);
    }
    fn draw_texture(&mut self, frame_number: usize, top: usize) {
        let width = self.frame.width;
        for row in top.min(self.frame.height)..self.frame.height {
            let line = &mut self.frame.y[row * width..(row + 1) * width];
            let tile_row = &self.tile[(row + frame_number) % TILE * TILE..][..TILE];
            // Whole runs of the tile: a copy of a few kilobytes, not a computation per pixel.
            let mut column = 0;
            while column < width {
                let phase = (column + 3 * frame_number) % TILE;
                let run = (TILE - phase).min(width - column);
                line[column..column + run].copy_from_slice(&tile_row[phase..phase + run]);
                column += run;
            }
        }
    }
    /// A bar that grows over the second, at the upper edge of the texture: a glance tells two players' latency apart.
    fn draw_second(&mut self, unix_us: u64, top: usize, scale: usize) {
        let width = (self.frame.width as u64 * (unix_us % 1_000_000) / 1_000_000) as usize;
        self.frame.fill(Area { left: 0, top, width, height: 2 * scale }, WHITE);
    }
}

impl Picture {
    fn new(width: usize, height: usize) -> Self {
        let chroma = width / 2 * (height / 2);
        Picture { width, height, y: vec![16; width * height], u: vec![128; chroma], v: vec![128; chroma] }
    }
    fn copy_from(&mut self, other: &Picture) {
        self.y.copy_from_slice(&other.y);
        self.u.copy_from_slice(&other.u);
        self.v.copy_from_slice(&other.v);
    }
    fn fill(&mut self, area: Area, colour: Colour) {
        fill_plane(&mut self.y, self.width, area, colour.0);
        let half = Area {
            left: area.left / 2,
            top: area.top / 2,
            width: area.width.div_ceil(2),
            height: area.height.div_ceil(2),
        };
        fill_plane(&mut self.u, self.width / 2, half, colour.1);
        fill_plane(&mut self.v, self.width / 2, half, colour.2);
    }
    /// Text on a dark box of its own.
    fn label(&mut self, left: usize, top: usize, scale: usize, text: &str) {
        let (width, height) = (text_width(text, scale) + 3 * scale, (GLYPH_HEIGHT + 4) * scale);
        self.fill(Area { left: left & !1, top: top & !1, width, height }, PANEL);
        self.text(left + 2 * scale, top + 2 * scale, scale, text);
    }
    /// White text on whatever is there: only luma is drawn, so the ground should be grey.
    fn text(&mut self, left: usize, top: usize, scale: usize, text: &str) {
        for (number, character) in text.chars().enumerate() {
            let cell = left + number * (GLYPH_WIDTH + 1) * scale;
            for (row, bits) in glyph(character).into_iter().enumerate() {
                for column in (0..GLYPH_WIDTH).filter(|column| bits >> (GLYPH_WIDTH - 1 - column) & 1 == 1) {
                    let area =
                        Area { left: cell + column * scale, top: top + row * scale, width: scale, height: scale };
                    fill_plane(&mut self.y, self.width, area, WHITE.0);
                }
            }
        }
    }
}

fn fill_plane(plane: &mut [u8], stride: usize, area: Area, value: u8) {
    let (left, right) = (area.left.min(stride), (area.left + area.width).min(stride));
    for row in plane.chunks_exact_mut(stride).skip(area.top).take(area.height) {
        row[left..right].fill(value);
    }
}

/// Pixels per font pixel, so that the clock at twice this size fills about two thirds of the width.
fn text_scale(width: usize) -> usize {
    (width / 213).max(1)
}

fn text_width(text: &str, scale: usize) -> usize {
    text.chars().count() * (GLYPH_WIDTH + 1) * scale
}

fn bars_height(height: usize) -> usize {
    (height * 11 / 20) & !1
}

/// `HH:MM:SS.mmm`, UTC.
fn clock_text(unix_us: u64) -> String {
    let ms = unix_us / 1_000;
    format!("{:02}:{:02}:{:02}.{:03}", ms / 3_600_000 % 24, ms / 60_000 % 60, ms / 1_000 % 60, ms % 1_000)
}

/// `YYYY-MM-DD UTC`.
fn date_text(unix_us: u64) -> String {
    let (year, month, day) = civil_from_days(unix_us / 86_400_000_000);
    format!("{year:04}-{month:02}-{day:02} UTC")
}

/// A tile that repeats without a seam: two waves and a fixed noise (a linear congruential generator).
fn texture_tile() -> Vec<u8> {
    let mut noise = 1_u32;
    let turn = std::f32::consts::TAU / TILE as f32;
    let mut value = |at: usize| {
        noise = noise.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        let (column, row) = ((at % TILE) as f32, (at / TILE) as f32);
        let wave = (column * turn * 2.0).sin() * (row * turn).cos() * 45.0;
        (90.0 + wave + (noise >> 24) as f32 / TEXTURE_NOISE) as u8
    };
    (0..TILE * TILE).map(&mut value).collect()
}

/// Side of the texture's tile, pixels.
const TILE: usize = 256;
/// The noise's range is 256 divided by this.
const TEXTURE_NOISE: f32 = 6.0;
const PANEL: Colour = Colour(20, 128, 128);
const WHITE: Colour = Colour(235, 128, 128);
/// 75% bars of BT.601: grey, yellow, cyan, green, magenta, red, blue.
const BARS: [Colour; 7] = [
    Colour(180, 128, 128),
    Colour(162, 44, 142),
    Colour(131, 156, 44),
    Colour(112, 72, 58),
    Colour(84, 184, 198),
    Colour(65, 100, 212),
    Colour(35, 212, 114),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clock_and_date_read_right() {
        let unix_us = 1_709_210_096_789_000; // date -u -d @1709210096: a leap day
        assert_eq!(clock_text(unix_us), "12:34:56.789");
        assert_eq!(date_text(unix_us), "2024-02-29 UTC");
        assert_eq!(date_text(0), "1970-01-01 UTC");
        assert_eq!(date_text(1_767_225_599_999_999), "2025-12-31 UTC");
    }

    #[test]
    fn draws_at_every_size_without_leaving_the_planes() {
        for (width, height) in [(160, 90), (176, 144), (640, 360), (722, 406), (1920, 1080)] {
            let mut painter = Painter::new(width, height, "A NAME THAT IS LONGER THAN A SMALL PICTURE IS WIDE");
            for frame_number in [0, 1, 1_000, 99_999_999] {
                let picture = painter.draw(frame_number, 1_709_210_096_789_000);
                assert_eq!(picture.y.len(), width * height);
                assert!(picture.y.iter().all(|luma| (16..=235).contains(luma)));
            }
        }
    }

    #[test]
    fn two_frames_differ_in_square_clock_and_number() {
        let mut painter = Painter::new(640, 360, "X");
        let first = painter.draw(1, 1_709_210_096_000_000).clone();
        let second = painter.draw(2, 1_709_210_096_040_000);
        let differs = |top: usize, bottom: usize| first.y[640 * top..640 * bottom] != second.y[640 * top..640 * bottom];
        assert!(differs(0, 198) && differs(200, 260) && differs(270, 300));
    }
}
