//! PyTorch and JAX, in a Python process that speaks lines: see `python_peers.py`.

use std::cell::RefCell;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::rc::Rc;
use std::time::Duration;

use fuseprop::{Activation, Loss};

use crate::Result;
use crate::peer::{Candidate, Peer};
use crate::workload::{Data, Job, Task, Workload};

const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/python_peers.py");

/// PyTorch and JAX in a process with `threads` threads.
pub struct Python {
    process: Rc<RefCell<Process>>,
    compile: bool,
}

impl Python {
    /// Starts the process; `compile` asks for `torch.compile` too.
    pub fn start(python: &Path, threads: usize, compile: bool) -> Result<Self> {
        Ok(Self { process: Rc::new(RefCell::new(Process::start(python, threads)?)), compile })
    }

    /// A column for each implementation.
    pub fn candidates(&self) -> Vec<Candidate> {
        let names: &[_] = if self.compile { &["torch", "torch-compile", "jax"] } else { &["torch", "jax"] };
        let candidate = |&name| {
            let process = Rc::clone(&self.process);
            Candidate::new(name, move |job| build(&process, name, job).map(Some))
        };
        names.iter().map(candidate).collect()
    }
}

fn build(process: &Rc<RefCell<Process>>, name: &'static str, job: &Job<'_>) -> Result<Box<dyn Peer>> {
    let command = setup(name, job)?;
    process.borrow_mut().send_data(&command, job.data)?;
    let results = match job.task {
        Task::Train { .. } => job.data.parameters.len(),
        _ => job.workload.batch * job.workload.outputs(),
    };
    Ok(Box::new(Remote { process: Rc::clone(process), name, results }))
}

fn setup(name: &str, job: &Job<'_>) -> Result<String> {
    let Workload { sizes, hidden, output, loss, batch, .. } = job.workload;
    let (task, rate) = match job.task {
        Task::Train { learning_rate } => ("train", learning_rate),
        Task::Predict => ("predict", 0.0),
        Task::Product => ("product", 0.0),
    };
    let sizes = sizes.iter().map(usize::to_string).collect::<Vec<_>>().join("-");
    let (hidden, output) = (activation(*hidden)?, activation(*output)?);
    let loss = if *loss == Loss::SoftmaxCrossEntropy { "ce" } else { "mse" };
    Ok(format!("setup {name} {task} {sizes} {hidden} {output} {loss} {batch} {rate}"))
}

fn activation(activation: Activation) -> Result<&'static str> {
    match activation {
        Activation::Identity => Ok("identity"),
        Activation::Relu => Ok("relu"),
        Activation::Tanh => Ok("tanh"),
        Activation::Sigmoid => Ok("sigmoid"),
        other => Err(format!("{other:?} is not benchmarked").into()),
    }
}

struct Remote {
    process: Rc<RefCell<Process>>,
    name: &'static str,
    results: usize,
}

impl Peer for Remote {
    fn step(&mut self) -> Result<()> {
        self.time(1).map(|_| ())
    }

    fn result(&mut self) -> Result<Vec<f32>> {
        self.process.borrow_mut().receive_data(&format!("result {}", self.name), self.results)
    }

    /// By the clock of the process: the pipe is not timed.
    fn time(&mut self, steps: u64) -> Result<Duration> {
        let seconds = self.process.borrow_mut().ask(&format!("run {} {steps}", self.name))?;
        Ok(Duration::from_secs_f64(seconds.parse()?))
    }
}

impl Drop for Remote {
    fn drop(&mut self) {
        // A process that does not answer has said so to whoever asked before.
        let _ = self.process.borrow_mut().ask(&format!("drop {}", self.name));
    }
}

/// One answer, `ok ..` or `error ..`, for each line.
struct Process {
    child: Child,
    questions: ChildStdin,
    answers: BufReader<ChildStdout>,
    /// Numbers too many for a line go through this file, as raw `f32`.
    file: PathBuf,
}

impl Process {
    fn start(python: &Path, threads: usize) -> Result<Self> {
        let mut child = Command::new(python)
            .args([SCRIPT, &threads.to_string()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(|error| format!("{}: {error}", python.display()))?;
        let questions = child.stdin.take().ok_or("python has no input")?;
        let answers = BufReader::new(child.stdout.take().ok_or("python has no output")?);
        let file = std::env::temp_dir().join(format!("fuseprop-peers-{}.f32", std::process::id()));
        let mut process = Self { child, questions, answers, file };
        process.answer()?;
        Ok(process)
    }

    fn send_data(&mut self, command: &str, data: &Data) -> Result<()> {
        let numbers = [&data.parameters, &data.x, &data.targets];
        let bytes: Vec<u8> = numbers.into_iter().flatten().flat_map(|number| number.to_le_bytes()).collect();
        std::fs::write(&self.file, bytes)?;
        self.ask(&format!("{command} {}", self.file.display())).map(|_| ())
    }

    fn receive_data(&mut self, command: &str, count: usize) -> Result<Vec<f32>> {
        self.ask(&format!("{command} {}", self.file.display()))?;
        let bytes = std::fs::read(&self.file)?;
        let (numbers, rest) = bytes.as_chunks::<4>();
        if numbers.len() != count || !rest.is_empty() {
            return Err(format!("{} bytes for {count} numbers", bytes.len()).into());
        }
        Ok(numbers.iter().map(|&number| f32::from_le_bytes(number)).collect())
    }

    fn ask(&mut self, question: &str) -> Result<String> {
        writeln!(self.questions, "{question}")?;
        self.questions.flush()?;
        self.answer()
    }

    fn answer(&mut self) -> Result<String> {
        let mut line = String::new();
        self.answers.read_line(&mut line)?;
        match line.trim_end().split_once(' ').unwrap_or((line.trim_end(), "")) {
            ("ok", answer) => Ok(answer.into()),
            ("error", message) => Err(message.into()),
            _ => Err(format!("python said {line:?}").into()),
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended by itself, and the file may never have been written.
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = std::fs::remove_file(&self.file);
    }
}
