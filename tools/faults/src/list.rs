//! Which faults there are: those that `cargo mutants` lists, numbered from 1 in its order.

use std::path::Path;
use std::process::Command;

use serde_json::Value;

use crate::Result;

/// A place in a file, as compilers count: lines and characters from 1.
pub type Place = (usize, usize);

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Genre {
    FnValue,
    BinaryOperator,
    UnaryOperator,
    MatchArm,
    MatchArmGuard,
    StructField,
}

#[derive(Clone, Debug)]
pub struct Fault {
    pub number: u32,
    pub name: String,
    pub file: String,
    pub genre: Genre,
    /// Where the function ends for [`Genre::FnValue`], else where the replaced text starts.
    pub place: Place,
    pub replacement: String,
}

/// The faults of the crate in a folder.
///
/// # Errors
/// If `cargo mutants` fails, or lists what this does not know.
pub fn faults(root: &Path) -> Result<Vec<Fault>> {
    let output = Command::new("cargo").args(["mutants", "--list", "--json"]).current_dir(root).output()?;
    if !output.status.success() {
        return Err(format!("cargo mutants: {}", String::from_utf8_lossy(&output.stderr)).into());
    }
    let list: Vec<Value> = serde_json::from_slice(&output.stdout)?;
    let read = |(entry, number): (&Value, u32)| {
        read(entry, number).ok_or_else(|| format!("a fault of no known form: {entry}").into())
    };
    list.iter().zip(1..).map(read).collect()
}

fn read(entry: &Value, number: u32) -> Option<Fault> {
    let text = |key: &str| Some(entry[key].as_str()?.to_owned());
    let genre = match entry["genre"].as_str()? {
        "FnValue" => Genre::FnValue,
        "BinaryOperator" => Genre::BinaryOperator,
        "UnaryOperator" => Genre::UnaryOperator,
        "MatchArm" => Genre::MatchArm,
        "MatchArmGuard" => Genre::MatchArmGuard,
        "StructField" => Genre::StructField,
        _ => return None,
    };
    let place = match genre {
        Genre::FnValue => &entry["function"]["span"]["end"],
        _ => &entry["span"]["start"],
    };
    let part = |key: &str| Some(place[key].as_u64()? as usize);
    let place = (part("line")?, part("column")?);
    Some(Fault {
        number,
        name: text("name")?,
        file: text("file")?,
        genre,
        place,
        replacement: text("replacement")?,
    })
}
