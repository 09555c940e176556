//! matrixmultiply: `sgemm` in the manner of BLIS.

use crate::Result;
use crate::peer::Peer;
use crate::workload::{Job, Task, transpose};

pub fn build(job: &Job<'_>) -> Result<Option<Box<dyn Peer>>> {
    if job.task != Task::Product {
        return Ok(None);
    }
    let n = job.workload.batch;
    let b = transpose(&job.data.parameters[..n * n], n, n);
    Ok(Some(Box::new(Product { n, a: job.data.x.clone(), b, c: vec![f32::NAN; n * n] })))
}

struct Product {
    n: usize,
    a: Vec<f32>,
    b: Vec<f32>,
    c: Vec<f32>,
}

impl Peer for Product {
    fn step(&mut self) -> Result<()> {
        let (n, row) = (self.n, self.n as isize);
        let (a, b, c) = (self.a.as_ptr(), self.b.as_ptr(), self.c.as_mut_ptr());
        // SAFETY: all three are `n` rows of `n`, as `build` has made them.
        unsafe { matrixmultiply::sgemm(n, n, n, 1.0, a, row, 1, b, row, 1, 0.0, c, row, 1) };
        Ok(())
    }

    fn result(&mut self) -> Result<Vec<f32>> {
        Ok(self.c.clone())
    }
}
