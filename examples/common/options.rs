//! What the examples take from the command line, and how they end.

use std::path::PathBuf;
use std::process::ExitCode;

/// The words after the program's name, taken one by one.
pub(crate) struct Options {
    program: &'static str,
    usage: &'static str,
    words: Vec<String>,
}

/// Why an example ends early.
pub(crate) enum Stop {
    /// Help was requested.
    Help,
    /// The command line makes no sense.
    Usage(String),
    /// Something went wrong.
    Failure(String),
}

impl From<fuseprop::Error> for Stop {
    fn from(error: fuseprop::Error) -> Self {
        Self::Failure(error.to_string())
    }
}

impl From<String> for Stop {
    fn from(message: String) -> Self {
        Self::Failure(message)
    }
}

#[allow(dead_code, reason = "each example uses some")]
impl Options {
    pub(crate) fn new(program: &'static str, usage: &'static str) -> Self {
        Self { program, usage, words: std::env::args().skip(1).collect() }
    }

    /// Whether an option that has no value is there.
    pub(crate) fn flag(&mut self, name: &str) -> bool {
        let found = self.words.iter().position(|word| word == name);
        found.inspect(|&i| drop(self.words.remove(i))).is_some()
    }

    /// The value of an option.
    pub(crate) fn value(&mut self, name: &str) -> Result<Option<String>, Stop> {
        let Some(i) = self.words.iter().position(|word| word == name) else { return Ok(None) };
        if i + 1 >= self.words.len() {
            return Err(Stop::Usage(format!("{name} needs a value")));
        }
        self.words.remove(i);
        Ok(Some(self.words.remove(i)))
    }

    pub(crate) fn number(&mut self, name: &str, default: u64) -> Result<u64, Stop> {
        match self.value(name)? {
            Some(word) => word.parse().map_err(|_| Stop::Usage(format!("{name}: {word} is not a number"))),
            None => Ok(default),
        }
    }

    /// The folder of `--out`, made if it is not there.
    pub(crate) fn folder(&mut self, default: &str) -> Result<PathBuf, Stop> {
        Ok(self.value("--out")?.map_or_else(|| default.into(), PathBuf::from))
    }

    /// Refuses words that no option has taken; help comes first.
    pub(crate) fn done(&mut self) -> Result<(), Stop> {
        if self.flag("--help") || self.flag("-h") {
            return Err(Stop::Help);
        }
        self.words.first().map_or(Ok(()), |word| Err(Stop::Usage(format!("{word}?"))))
    }

    /// Says why it ended, and how that looks from outside: 2 for a wrong command line.
    pub(crate) fn end(&self, result: Result<(), Stop>) -> ExitCode {
        match result {
            Ok(()) => ExitCode::SUCCESS,
            Err(Stop::Help) => {
                println!("{}", self.usage);
                ExitCode::SUCCESS
            }
            Err(Stop::Usage(message)) => {
                eprintln!("{}: {message}\n{}", self.program, self.usage);
                ExitCode::from(2)
            }
            Err(Stop::Failure(message)) => {
                eprintln!("{}: {message}", self.program);
                ExitCode::FAILURE
            }
        }
    }
}

/// Makes a folder for what an example writes.
#[allow(dead_code, reason = "some examples write nothing")]
pub(crate) fn make_folder(path: &std::path::Path) -> Result<(), Stop> {
    let failed = |error| Stop::Failure(format!("cannot make the folder {}: {error}", path.display()));
    std::fs::create_dir_all(path).map_err(failed)
}
