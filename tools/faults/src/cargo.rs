//! How the copy is compiled: with the profile, features and tests that `cargo mutants` is told to take.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::Result;

pub struct Cargo {
    /// The copy.
    pub folder: PathBuf,
    target: PathBuf,
    profile: String,
    test_arguments: Vec<String>,
}

/// A program of tests.
#[derive(Clone, Debug)]
pub struct Program {
    pub name: String,
    pub path: PathBuf,
}

impl Cargo {
    /// For a copy in the scratch folder, with the settings of the repository.
    pub fn new(root: &Path, scratch: &Path) -> Result<Self> {
        let text = std::fs::read_to_string(root.join(".cargo/mutants.toml"))?;
        let settings: toml::Table = text.parse()?;
        let arguments = settings.get("additional_cargo_test_args").and_then(toml::Value::as_array);
        let arguments = arguments.into_iter().flatten().filter_map(|argument| argument.as_str());
        let profile = settings.get("profile").and_then(toml::Value::as_str).unwrap_or("dev");
        Ok(Self {
            folder: scratch.join("tree"),
            target: scratch.join("build"),
            profile: profile.to_owned(),
            test_arguments: arguments.map(str::to_owned).collect(),
        })
    }

    /// What the compiler has against the library.
    pub fn errors(&self) -> Result<Vec<Value>> {
        let messages = self.messages(&["check".to_owned(), "--lib".to_owned()])?;
        let errors = messages.into_iter().filter(|message| message["reason"] == "compiler-message");
        let errors = errors.map(|mut message| message["message"].take());
        // The last error only counts the others.
        Ok(errors
            .filter(|error| error["level"] == "error" && error["spans"] != Value::Array(vec![]))
            .collect())
    }

    /// Compiles the programs of tests.
    pub fn programs(&self) -> Result<Vec<Program>> {
        let arguments = ["test".to_owned(), "--no-run".to_owned()];
        let messages = self.messages(&[&arguments[..], &self.test_arguments].concat())?;
        let programs: Vec<Program> = messages.iter().filter_map(program).collect();
        let ended = messages.last().is_some_and(|message| message["success"] == true);
        if ended && !programs.is_empty() { Ok(programs) } else { Err("the tests do not compile".into()) }
    }

    fn messages(&self, arguments: &[String]) -> Result<Vec<Value>> {
        let mut cargo = Command::new("cargo");
        cargo.args(arguments).args(["--profile", &self.profile, "--message-format", "json"]);
        // The run takes far longer than the build; the library's crates alone are worth the compiler's time.
        cargo.args(["--config", &format!("profile.{}.package.fuseprop.opt-level=3", self.profile)]);
        cargo.current_dir(&self.folder).env("CARGO_TARGET_DIR", &self.target);
        let output = cargo.stderr(Stdio::inherit()).output()?;
        let text = String::from_utf8(output.stdout)?;
        let messages = text.lines().filter(|line| line.starts_with('{')).map(serde_json::from_str);
        Ok(messages.collect::<std::result::Result<_, _>>()?)
    }
}

fn program(message: &Value) -> Option<Program> {
    let path = message["executable"].as_str().filter(|_| message["profile"]["test"] == true)?;
    let kind = message["target"]["kind"][0].as_str()?;
    let name = if kind == "test" { message["target"]["name"].as_str()? } else { "lib" };
    Some(Program { name: name.to_owned(), path: path.into() })
}
