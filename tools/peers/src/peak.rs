//! The peak of the machine, timed in turns with the implementations: its clock moves with what else it does.

use crate::Result;
use crate::fma::multiply_adds;
use crate::peer::Peer;

/// Operations of each chain in a step: some tenths of a millisecond.
const ITERATIONS: u64 = 100_000;

/// Nothing but fused multiply-adds in registers, on every thread of the pool.
pub struct Peak;

impl Peak {
    /// Floating-point operations of a step; 0 without the instructions.
    pub fn step_flop(&self) -> f64 {
        rayon::broadcast(|_| multiply_adds(ITERATIONS)).into_iter().sum()
    }
}

impl Peer for Peak {
    fn step(&mut self) -> Result<()> {
        self.step_flop();
        Ok(())
    }

    fn result(&mut self) -> Result<Vec<f32>> {
        Ok(Vec::new())
    }
}
