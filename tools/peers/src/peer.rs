//! What every implementation does.

use std::time::{Duration, Instant};

use crate::Result;
use crate::workload::Job;

/// One implementation of one job.
pub trait Peer {
    /// One training step, prediction or product.
    fn step(&mut self) -> Result<()>;

    /// What is compared: all parameters, `W0 b0 W1 b1 ..` with each `W` `[outputs, inputs]`, if the job is to
    /// train; the outputs or the product of the last step otherwise.
    fn result(&mut self) -> Result<Vec<f32>>;

    /// The time that `steps` steps take.
    fn time(&mut self, steps: u64) -> Result<Duration> {
        let start = Instant::now();
        for _ in 0..steps {
            self.step()?;
        }
        Ok(start.elapsed())
    }
}

/// Builds the peer of a job, or nothing if it does not do such jobs.
pub type Build = Box<dyn Fn(&Job<'_>) -> Result<Option<Box<dyn Peer>>>>;

/// A column of the tables.
pub struct Candidate {
    pub name: &'static str,
    pub build: Build,
}

impl Candidate {
    pub fn new(
        name: &'static str,
        build: impl Fn(&Job<'_>) -> Result<Option<Box<dyn Peer>>> + 'static,
    ) -> Self {
        Self { name, build: Box::new(build) }
    }
}
