//! gemm: the products of candle and of burn's `Flex`, here with AVX-512.

use gemm::Parallelism;

use crate::Result;
use crate::peer::Peer;
use crate::workload::{Job, Task, transpose};

pub fn build(job: &Job<'_>) -> Result<Option<Box<dyn Peer>>> {
    if job.task != Task::Product {
        return Ok(None);
    }
    let n = job.workload.batch;
    let b = transpose(&job.data.parameters[..n * n], n, n);
    let parallelism = match rayon::current_num_threads() {
        1 => Parallelism::None,
        threads => Parallelism::Rayon(threads),
    };
    Ok(Some(Box::new(Product { n, a: job.data.x.clone(), b, c: vec![f32::NAN; n * n], parallelism })))
}

struct Product {
    n: usize,
    a: Vec<f32>,
    b: Vec<f32>,
    c: Vec<f32>,
    parallelism: Parallelism,
}

impl Peer for Product {
    fn step(&mut self) -> Result<()> {
        let (n, row) = (self.n, self.n as isize);
        let (a, b, c) = (self.a.as_ptr(), self.b.as_ptr(), self.c.as_mut_ptr());
        let (read_c, alpha, beta, conjugate) = (false, 0.0, 1.0, false);
        // SAFETY: all three are `n` rows of `n`, as `build` has made them.
        unsafe {
            gemm::gemm(
                n,
                n,
                n,
                c,
                1,
                row,
                read_c,
                a,
                1,
                row,
                b,
                1,
                row,
                alpha,
                beta,
                conjugate,
                conjugate,
                conjugate,
                self.parallelism,
            );
        }
        Ok(())
    }

    fn result(&mut self) -> Result<Vec<f32>> {
        Ok(self.c.clone())
    }
}
