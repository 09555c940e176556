//! Pictures: made, read and written.

use std::fs::File;
use std::io::{BufReader, BufWriter};
use std::path::Path;

/// Most pixels of a picture that is read: every one is a row of a prediction.
const MAX_PIXELS: usize = 4 << 20;

/// Eight bits of red, green and blue for each pixel.
pub(super) struct Picture {
    pub width: usize,
    pub height: usize,
    pixels: Vec<u8>,
}

impl Picture {
    /// Three lit spheres over a plane of tiles, one of them striped: edges, gradients and fine detail.
    pub(super) fn example(size: usize) -> Self {
        let at = |i: usize| (i as f32 + 0.5) / size as f32 * 2.0 - 1.0;
        let pixel = |index: usize| scene(at(index % size), at(index / size)).map(to_byte);
        Self { width: size, height: size, pixels: (0..size * size).flat_map(pixel).collect() }
    }

    pub(super) fn read(path: &Path) -> Result<Self, String> {
        let failed = |error: &dyn std::fmt::Display| format!("cannot read {}: {error}", path.display());
        let file = File::open(path).map_err(|error| failed(&error))?;
        let mut decoder = png::Decoder::new(BufReader::new(file));
        decoder.set_transformations(png::Transformations::normalize_to_color8());
        let mut reader = decoder.read_info().map_err(|error| failed(&error))?;
        let (width, height) = (reader.info().width as usize, reader.info().height as usize);
        if width.saturating_mul(height) > MAX_PIXELS {
            return Err(failed(&format!("{width} x {height} pixels are more than {MAX_PIXELS}")));
        }
        let mut bytes = vec![0; reader.output_buffer_size()];
        let info = reader.next_frame(&mut bytes).map_err(|error| failed(&error))?;
        let samples = info.color_type.samples();
        let colour = |pixel: &[u8]| if samples < 3 { [pixel[0]; 3] } else { [pixel[0], pixel[1], pixel[2]] };
        let pixels = bytes[..info.buffer_size()].chunks_exact(samples).flat_map(colour).collect();
        Ok(Self { width, height, pixels })
    }

    pub(super) fn write(&self, path: &Path) -> Result<(), String> {
        let failed = |error: &dyn std::fmt::Display| format!("cannot write {}: {error}", path.display());
        let file = File::create(path).map_err(|error| failed(&error))?;
        let mut encoder = png::Encoder::new(BufWriter::new(file), self.width as u32, self.height as u32);
        encoder.set_color(png::ColorType::Rgb);
        encoder.set_depth(png::BitDepth::Eight);
        let mut writer = encoder.write_header().map_err(|error| failed(&error))?;
        writer.write_image_data(&self.pixels).and_then(|()| writer.finish()).map_err(|error| failed(&error))
    }

    /// `[pixels, 2]`, from -1 to 1 along the longer side.
    pub(super) fn coordinates(&self) -> Vec<f32> {
        let scale = 2.0 / self.width.max(self.height) as f32;
        let at = |i: usize, size: usize| (i as f32 + 0.5 - size as f32 / 2.0) * scale;
        let pixel = |i: usize| [at(i % self.width, self.width), at(i / self.width, self.height)];
        (0..self.width * self.height).flat_map(pixel).collect()
    }

    /// `[pixels, 3]`, from -1 to 1.
    pub(super) fn colours(&self) -> Vec<f32> {
        self.pixels.iter().map(|&byte| f32::from(byte) / 127.5 - 1.0).collect()
    }

    pub(super) fn of_colours(width: usize, height: usize, colours: &[f32]) -> Self {
        Self { width, height, pixels: colours.iter().map(|colour| to_byte(0.5 * (colour + 1.0))).collect() }
    }

    /// The mean over all colours, on a scale from -1 to 1.
    pub(super) fn squared_error(&self, other: &Self) -> f64 {
        let square = |(a, b): (&u8, &u8)| ((f64::from(*a) - f64::from(*b)) / 127.5).powi(2);
        self.pixels.iter().zip(&other.pixels).map(square).sum::<f64>() / self.pixels.len() as f64
    }
}

fn to_byte(value: f32) -> u8 {
    (value.clamp(0.0, 1.0) * 255.0).round() as u8
}

/// The colour at a point; `y` grows downwards.
fn scene(x: f32, y: f32) -> [f32; 3] {
    let spheres = [
        (-0.42, 0.10, 0.38, [0.85, 0.25, 0.20]),
        (0.38, -0.05, 0.46, [0.20, 0.45, 0.80]),
        (0.02, 0.52, 0.24, [0.95, 0.80, 0.25]),
    ];
    let mut colour = if y < -0.1 { sky(y) } else { tiles(x, y) };
    for (cx, cy, radius, tint) in spheres {
        let (dx, dy) = ((x - cx) / radius, (y - cy) / radius);
        let depth = 1.0 - dx * dx - dy * dy;
        if depth > 0.0 {
            colour = lit(dx, dy, depth.sqrt(), tint);
        }
    }
    colour
}

fn sky(y: f32) -> [f32; 3] {
    let up = (-0.1 - y) / 0.9;
    [0.95 - 0.6 * up, 0.93 - 0.4 * up, 0.90 - 0.1 * up]
}

fn tiles(x: f32, y: f32) -> [f32; 3] {
    let distance = 0.35 / (y + 0.25);
    let dark = ((x * distance * 6.0).floor() + (distance * 9.0).floor()).rem_euclid(2.0) < 1.0;
    if dark { [0.22, 0.20, 0.25] } else { [0.80, 0.78, 0.72] }
}

/// A point of a sphere, by the direction that it faces: diffuse light, a highlight, and stripes on the blue
/// one.
fn lit(dx: f32, dy: f32, dz: f32, tint: [f32; 3]) -> [f32; 3] {
    let light = (-0.5 * dx - 0.6 * dy + 0.62 * dz).max(0.0);
    let striped = tint[2] > 0.5 && (14.0 * (dy + 0.3 * dx)).sin() > 0.0;
    let base = if striped { [0.92, 0.92, 0.95] } else { tint };
    let highlight = light.powi(40);
    base.map(|colour| colour * (0.18 + 0.82 * light) + 0.7 * highlight)
}

/// A small generator (Steele, Lea and Flood 2014).
pub(super) struct SplitMix(pub u64);

impl SplitMix {
    /// Uniform in `0..n`, nearly.
    pub(super) fn below(&mut self, n: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((u128::from(z ^ (z >> 31)) * n as u128) >> 64) as usize
    }
}
