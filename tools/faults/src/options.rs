//! The command line.

use crate::Result;
use crate::list::Fault;

const USAGE: &str = "options: [--jobs N] [--resume] [--file src/loss.rs] [--fault 17] [--build-only]";

pub struct Options {
    /// Tests that run at once.
    pub jobs: usize,
    /// Whether to try only faults that have no outcome yet.
    pub resume: bool,
    pub file: Option<String>,
    pub fault: Option<u32>,
    /// Whether to end before the first test.
    pub build_only: bool,
}

impl Options {
    pub fn parse(mut arguments: impl Iterator<Item = String>) -> Result<Self> {
        let mut options = Self { jobs: 2, resume: false, file: None, fault: None, build_only: false };
        while let Some(name) = arguments.next() {
            let mut value = || arguments.next().ok_or(format!("{name} needs a value\n{USAGE}"));
            match name.as_str() {
                "--jobs" => options.jobs = value()?.parse()?,
                "--resume" => options.resume = true,
                "--file" => options.file = Some(value()?),
                "--fault" => options.fault = Some(value()?.parse()?),
                "--build-only" => options.build_only = true,
                _ => return Err(format!("{name} is no option\n{USAGE}").into()),
            }
        }
        Ok(options)
    }

    /// Whether the outcomes of the last run are kept: a part of the faults says nothing about the others.
    pub fn keeps_outcomes(&self) -> bool {
        self.resume || self.file.is_some() || self.fault.is_some()
    }

    pub fn wants(&self, fault: &Fault) -> bool {
        self.file.as_ref().is_none_or(|file| *file == fault.file)
            && self.fault.is_none_or(|number| number == fault.number)
    }
}
