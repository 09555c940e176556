//! Labelled pictures: the digits in the repository, or a folder of MNIST-format files.

use std::fs::File;
use std::io::{BufReader, Read};
use std::path::{Path, PathBuf};

use flate2::read::MultiGzDecoder;

/// Pictures `[len, features]` with values from 0 to 1, and their labels.
#[derive(Debug, Default)]
pub(super) struct Set {
    pub features: usize,
    /// Pixels in a line of a picture.
    pub width: usize,
    pub x: Vec<f32>,
    pub labels: Vec<u32>,
}

impl Set {
    pub(super) fn len(&self) -> usize {
        self.labels.len()
    }

    pub(super) fn row(&self, r: usize) -> &[f32] {
        &self.x[r * self.features..][..self.features]
    }

    /// Appends picture `r` to `x`, moved right by `dx` and down by `dy` pixels, black where it uncovers the
    /// border. Between pixels the four neighbours are mixed (bilinear interpolation).
    pub(super) fn extend_shifted(&self, x: &mut Vec<f32>, r: usize, dx: f32, dy: f32) {
        let (row, width, height) = (self.row(r), self.width as isize, (self.features / self.width) as isize);
        let pixel = |line: isize, column: isize| {
            let inside = (0..height).contains(&line) && (0..width).contains(&column);
            if inside { row[(line * width + column) as usize] } else { 0.0 }
        };
        let (left, up) = ((-dx).floor(), (-dy).floor());
        let (right_share, down_share) = (-dx - left, -dy - up);
        let mix = |a: f32, b: f32, share: f32| a + (b - a) * share;
        for line in (0..height).map(|line| line + up as isize) {
            for column in (0..width).map(|column| column + left as isize) {
                let above = mix(pixel(line, column), pixel(line, column + 1), right_share);
                let below = mix(pixel(line + 1, column), pixel(line + 1, column + 1), right_share);
                x.push(mix(above, below, down_share));
            }
        }
    }

    fn push(&mut self, x: &[f32], label: u32) {
        self.x.extend_from_slice(x);
        self.labels.push(label);
    }
}

/// The pixels and the label of one line, and the largest pixel value.
const DIGITS_PIXELS: usize = 64;
const DIGITS_WIDTH: usize = 8;
const DIGITS_WHITE: f32 = 16.0;

/// The 8x8 digits: every row of the table, in its order.
pub(super) fn digits(path: &Path) -> Result<Set, String> {
    let named = |what: &dyn std::fmt::Display| format!("{}: {what}", path.display());
    let mut table = csv::Reader::from_reader(open(path)?);
    let mut set = Set { features: DIGITS_PIXELS, width: DIGITS_WIDTH, ..Set::default() };
    for (line, record) in table.deserialize::<Vec<f32>>().enumerate() {
        let record = record.map_err(|error| named(&error))?;
        match record.split_last() {
            Some((&label, pixels)) if pixels.len() == DIGITS_PIXELS && is_digit(label) => {
                let pixels: Vec<f32> = pixels.iter().map(|pixel| pixel / DIGITS_WHITE).collect();
                if pixels.iter().any(|pixel| !(0.0..=1.0).contains(pixel)) {
                    return Err(named(&format!("row {} has a pixel outside 0..=16", line + 1)));
                }
                set.push(&pixels, label as u32);
            }
            _ => return Err(named(&format!("row {} is not 64 pixels and a digit", line + 1))),
        }
    }
    if set.len() == 0 { Err(named(&"no rows")) } else { Ok(set) }
}

fn is_digit(label: f32) -> bool {
    (0.0..=9.0).contains(&label) && label.fract() == 0.0
}

/// One set of a folder of MNIST-format files: `prefix` is `train` or `t10k`.
pub(super) fn mnist(folder: &Path, prefix: &str) -> Result<Set, String> {
    let images_path = find(folder, &format!("{prefix}-images-idx3-ubyte"))?;
    let labels_path = find(folder, &format!("{prefix}-labels-idx1-ubyte"))?;
    let (sizes, pixels) = idx(&images_path, 3)?;
    let (counts, labels) = idx(&labels_path, 1)?;
    if sizes[0] != counts[0] {
        return Err(format!(
            "{}: {} labels for the {} images of {}",
            labels_path.display(),
            counts[0],
            sizes[0],
            images_path.display()
        ));
    }
    if let Some(label) = labels.iter().find(|&&label| label > 9) {
        return Err(format!("{}: label {label} is not a digit", labels_path.display()));
    }
    Ok(Set {
        features: sizes[1] * sizes[2],
        width: sizes[2],
        x: pixels.into_iter().map(|pixel| f32::from(pixel) / 255.0).collect(),
        labels: labels.into_iter().map(u32::from).collect(),
    })
}

/// The file of that name, gzipped or not.
fn find(folder: &Path, name: &str) -> Result<PathBuf, String> {
    let plain = folder.join(name);
    let zipped = folder.join(format!("{name}.gz"));
    match (plain.is_file(), zipped.is_file()) {
        (true, _) => Ok(plain),
        (false, true) => Ok(zipped),
        _ => Err(format!("{}: no such file, nor with .gz", plain.display())),
    }
}

/// The dimensions and the bytes of an IDX file: a magic number `[0, 0, 8, rank]`, then `rank` sizes of four
/// bytes, big-endian, then the bytes.
fn idx(path: &Path, rank: u8) -> Result<(Vec<usize>, Vec<u8>), String> {
    let named = |what: String| format!("{}: {what}", path.display());
    let mut bytes = Vec::new();
    open(path)?.read_to_end(&mut bytes).map_err(|error| named(error.to_string()))?;
    let header = 4 + 4 * usize::from(rank);
    if bytes.len() < header || bytes[..4] != [0, 0, 8, rank] {
        return Err(named(format!("not an IDX file of bytes with {rank} dimensions")));
    }
    let sizes = bytes[4..header]
        .chunks_exact(4)
        .map(|size| size.iter().fold(0usize, |value, &byte| value << 8 | usize::from(byte)));
    let sizes: Vec<usize> = sizes.collect();
    let expected = sizes.iter().try_fold(1usize, |product, &size| product.checked_mul(size));
    let found = bytes.len() - header;
    if expected == Some(0) || expected != Some(found) {
        return Err(named(format!("sizes {sizes:?} do not fit its {found} bytes of data")));
    }
    Ok((sizes, bytes.split_off(header)))
}

/// A file's contents, unzipped if its name says that it is zipped.
fn open(path: &Path) -> Result<Box<dyn Read>, String> {
    let file = File::open(path).map_err(|error| format!("{}: {error}", path.display()))?;
    let file = BufReader::new(file);
    if path.extension().is_some_and(|extension| extension == "gz") {
        Ok(Box::new(MultiGzDecoder::new(file)))
    } else {
        Ok(Box::new(file))
    }
}
