//! The command line.

use std::path::PathBuf;

use crate::Result;
use crate::workload::Workload;

const USAGE: &str = "options: [--threads 1,2] [--only train|predict|products] [--workload NAME] [--rounds N]
         [--python PATH [--torch-compile]]";

pub struct Options {
    pub threads: Vec<usize>,
    pub only: Option<String>,
    pub workload: Option<String>,
    pub rounds: usize,
    pub python: Option<PathBuf>,
    pub torch_compile: bool,
    /// The number of threads, in the process that times. Thread pools take their size from the environment, once.
    pub child: Option<usize>,
}

impl Options {
    pub fn parse(mut arguments: impl Iterator<Item = String>) -> Result<Self> {
        let mut options = Self {
            threads: vec![1, 2],
            only: None,
            workload: None,
            rounds: 7,
            python: None,
            torch_compile: false,
            child: None,
        };
        while let Some(name) = arguments.next() {
            let mut value = || arguments.next().ok_or(format!("{name} needs a value\n{USAGE}"));
            match name.as_str() {
                "--threads" => {
                    options.threads = value()?.split(',').map(str::parse).collect::<Result<_, _>>()?;
                }
                "--only" => options.only = Some(section(value()?)?),
                "--workload" => options.workload = Some(workload(value()?)?),
                "--rounds" => options.rounds = value()?.parse()?,
                "--python" => options.python = Some(value()?.into()),
                "--torch-compile" => options.torch_compile = true,
                "--child" => options.child = Some(value()?.parse()?),
                _ => return Err(format!("{name} is no option\n{USAGE}").into()),
            }
        }
        Ok(options)
    }

    pub fn wants(&self, section: &str) -> bool {
        self.only.as_deref().is_none_or(|only| only == section)
    }
}

fn workload(name: String) -> Result<String> {
    let all = Workload::train().into_iter().chain(Workload::products());
    let names: Vec<_> = all.map(|workload| workload.name).collect();
    if names.contains(&name) {
        return Ok(name);
    }
    Err(format!("{name} is no workload; there are {}\n{USAGE}", names.join(", ")).into())
}

fn section(name: String) -> Result<String> {
    match name.as_str() {
        "train" | "predict" | "products" => Ok(name),
        _ => Err(format!("{name} is no section\n{USAGE}").into()),
    }
}
