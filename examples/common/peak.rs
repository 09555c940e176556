//! The peak of the machine: fused multiply-adds on registers alone.

use std::hint::black_box;
use std::time::Instant;

/// Chains of dependent operations. Two units of four cycles need 8; AVX2 has 16 registers for these, the
/// factor and the addend.
const CHAINS: usize = 12;
const ITERATIONS: u64 = 4_000_000;
const TRIES: usize = 7;

/// FLOP per second of `threads` threads at once, the best of a few tries. 0 without AVX2 and FMA.
pub(crate) fn peak(threads: usize) -> f64 {
    let mut best = 0.0_f64;
    for _ in 0..TRIES {
        let start = Instant::now();
        let flop: f64 = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..threads).map(|_| scope.spawn(|| multiply_adds(ITERATIONS))).collect();
            threads.into_iter().map(|thread| thread.join().expect("the loop does not panic")).sum()
        });
        best = best.max(flop / start.elapsed().as_secs_f64());
    }
    best
}

/// Multiplies and adds in the widest registers; how many floating-point operations that was.
pub(crate) fn multiply_adds(iterations: u64) -> f64 {
    let lanes = lanes();
    #[cfg(target_arch = "x86_64")]
    match lanes {
        // SAFETY: `lanes` has detected AVX-512.
        16 => black_box(unsafe { avx512(iterations) }),
        // SAFETY: `lanes` has detected AVX2 and FMA.
        8 => black_box(unsafe { avx2(iterations) }),
        _ => 0.0,
    };
    2.0 * (lanes * CHAINS) as f64 * iterations as f64
}

fn lanes() -> usize {
    #[cfg(target_arch = "x86_64")]
    {
        if is_x86_feature_detected!("avx512f") {
            return 16;
        }
        if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") {
            return 8;
        }
    }
    0
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f")]
fn avx512(iterations: u64) -> f32 {
    use std::arch::x86_64::{_mm512_add_ps, _mm512_fmadd_ps, _mm512_reduce_add_ps, _mm512_set1_ps};
    let (factor, addend) = (_mm512_set1_ps(black_box(0.5)), _mm512_set1_ps(black_box(1.0)));
    // Opaque, or equal chains would be computed once.
    let mut chains = black_box([addend; CHAINS]);
    for _ in 0..iterations {
        for chain in &mut chains {
            *chain = _mm512_fmadd_ps(*chain, factor, addend);
        }
    }
    _mm512_reduce_add_ps(chains.into_iter().fold(addend, |sum, chain| _mm512_add_ps(sum, chain)))
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma")]
fn avx2(iterations: u64) -> f32 {
    use std::arch::x86_64::{_mm256_add_ps, _mm256_cvtss_f32, _mm256_fmadd_ps, _mm256_set1_ps};
    let (factor, addend) = (_mm256_set1_ps(black_box(0.5)), _mm256_set1_ps(black_box(1.0)));
    // Opaque, or equal chains would be computed once.
    let mut chains = black_box([addend; CHAINS]);
    for _ in 0..iterations {
        for chain in &mut chains {
            *chain = _mm256_fmadd_ps(*chain, factor, addend);
        }
    }
    _mm256_cvtss_f32(chains.into_iter().fold(addend, |sum, chain| _mm256_add_ps(sum, chain)))
}
