//! What the examples read: files that are missing or malformed are refused by name.

#[allow(dead_code)]
#[path = "../../examples/digits/data.rs"]
mod data;
#[allow(dead_code)]
#[path = "../../examples/image/picture.rs"]
mod picture;
#[allow(dead_code)]
#[path = "../../examples/regression/table.rs"]
mod table;

use std::io::Write;
use std::path::{Path, PathBuf};

use crate::common::TemporaryFolder;

/// Refused, with the file's name in the message.
fn assert_refused<T>(result: Result<T, String>, path: &Path, why: &str) {
    let message = result.err().unwrap_or_else(|| panic!("{} was taken", path.display()));
    let name = path.file_name().unwrap().to_str().unwrap();
    assert!(message.contains(name) && message.contains(why), "{message:?} lacks {name:?} or {why:?}");
}

fn example_data(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/data").join(name)
}

fn gzipped(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

#[test]
fn digits_are_whole_rows_of_pixels_and_a_digit() {
    let digits = data::digits(&example_data("digits.csv.gz")).unwrap();
    assert_eq!((digits.len(), digits.features), (1797, 64));

    let folder = TemporaryFolder::new("digits");
    let row = |pixel: &str, label: &str| format!("{}{label}", format!("{pixel},").repeat(64));
    let table = |row: String| format!("{}label\n{row}\n", "p,".repeat(64));
    let cases = [
        ("empty.csv", String::new(), "no rows"),
        ("short.csv", "p,label\n1,2\n".into(), "row 1"),
        ("words.csv", table(row("x", "1")), "words.csv"),
        ("bright.csv", table(row("17", "1")), "outside"),
        ("negative.csv", table(row("-1", "1")), "outside"),
        ("nan.csv", table(row("NaN", "1")), "outside"),
        ("ten.csv", table(row("1", "10")), "row 1"),
        ("half.csv", table(row("1", "0.5")), "row 1"),
    ];
    for (name, text, why) in cases {
        let path = folder.file(name, text.as_bytes());
        assert_refused(data::digits(&path), &path, why);
    }
    let missing = folder.0.join("missing.csv.gz");
    assert_refused(data::digits(&missing), &missing, "");
    let whole = std::fs::read(example_data("digits.csv.gz")).unwrap();
    let cut = folder.file("cut.csv.gz", &whole[..whole.len() / 2]);
    assert_refused(data::digits(&cut), &cut, "");
    let plain = folder.file("not-zipped.csv.gz", b"p,label\n");
    assert_refused(data::digits(&plain), &plain, "");
}

#[test]
fn idx_files_have_the_sizes_that_they_tell() {
    let folder = TemporaryFolder::new("idx");
    let header = |rank: u8, sizes: &[u32]| {
        let mut bytes = vec![0, 0, 8, rank];
        sizes.iter().for_each(|size| bytes.extend(size.to_be_bytes()));
        bytes
    };
    let with = |mut bytes: Vec<u8>, data: &[u8]| {
        bytes.extend_from_slice(data);
        bytes
    };
    let images = with(header(3, &[2, 2, 3]), &[255; 12]);
    let labels = with(header(1, &[2]), &[3, 9]);
    folder.file("train-images-idx3-ubyte", &images);
    folder.file("train-labels-idx1-ubyte.gz", &gzipped(&labels));
    let set = data::mnist(&folder.0, "train").unwrap();
    assert_eq!((set.features, set.width, &set.labels[..]), (6, 3, &[3, 9][..]));
    assert!(set.x.iter().all(|&pixel| pixel == 1.0));

    let images_path = folder.0.join("train-images-idx3-ubyte");
    for bad in [
        vec![],
        images[..15].to_vec(),
        images[..images.len() - 1].to_vec(),
        with(images.clone(), &[0]),
        with(header(3, &[u32::MAX; 3]), &[0; 12]),
        header(3, &[0, 2, 3]),
        with(header(1, &[12]), &[0; 12]),
    ] {
        std::fs::write(&images_path, &bad).unwrap();
        assert_refused(data::mnist(&folder.0, "train"), &images_path, "");
    }
    std::fs::write(&images_path, &images).unwrap();
    for bad in [with(header(1, &[3]), &[1, 2, 3]), with(header(1, &[2]), &[1, 10])] {
        let path = folder.file("train-labels-idx1-ubyte.gz", &gzipped(&bad));
        assert_refused(data::mnist(&folder.0, "train"), &path, "");
    }
    assert_refused(data::mnist(&folder.0, "t10k"), &folder.0.join("t10k-images-idx3-ubyte"), "no such file");
}

#[test]
fn tables_are_eight_numbers_in_each_row() {
    let table = table::Table::read(&example_data("auto-mpg.csv")).unwrap();
    assert_eq!(table.len(), 392);
    let parts = table.divide(1);
    assert_eq!(parts.iter().map(table::Table::len).sum::<usize>(), 392);

    let folder = TemporaryFolder::new("table");
    let good = "18,8,307,130,3504,12,1970,1\n".repeat(12);
    for (name, text, why) in [
        ("few.csv", "a,b,c,d,e,f,g,h\n18,8,307,130,3504,12,1970,1\n".to_owned(), "fewer"),
        ("word.csv", format!("a,b,c,d,e,f,g,h\n18,8,x,130,3504,12,1970,1\n{good}"), "row 1"),
        ("origin.csv", format!("a,b,c,d,e,f,g,h\n{good}18,8,307,130,3504,12,1970,4\n"), "row 13"),
        ("ragged.csv", format!("a,b,c,d,e,f,g,h\n{good}18,8\n"), ""),
    ] {
        let path = folder.file(name, text.as_bytes());
        assert_refused(table::Table::read(&path), &path, why);
    }
    let missing = folder.0.join("missing.csv");
    assert_refused(table::Table::read(&missing), &missing, "");
}

#[test]
fn pictures_are_read_as_they_were_written() {
    let folder = TemporaryFolder::new("picture");
    let picture = picture::Picture::example(20);
    let path = folder.0.join("picture.png");
    picture.write(&path).unwrap();
    let read = picture::Picture::read(&path).unwrap();
    assert_eq!((read.width, read.height, read.squared_error(&picture)), (20, 20, 0.0));
    // Colours and back, to the byte.
    let again = picture::Picture::of_colours(20, 20, &picture.colours());
    assert_eq!(again.squared_error(&picture), 0.0);

    let whole = std::fs::read(&path).unwrap();
    for (name, bytes) in [("empty.png", &[][..]), ("cut.png", &whole[..60]), ("text.png", b"not a picture")] {
        let path = folder.file(name, bytes);
        assert_refused(picture::Picture::read(&path), &path, "cannot read");
    }
    let missing = folder.0.join("missing.png");
    assert_refused(picture::Picture::read(&missing), &missing, "cannot read");
    let nowhere = folder.0.join("no folder").join("x.png");
    assert_refused(picture.write(&nowhere), &nowhere, "cannot write");
}
