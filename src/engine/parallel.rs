//! Threads: runs of pieces of work, divided among the threads of a rayon pool.
//!
//! Work is a run of pieces that can be divided in two ([`Divide`]). It is divided down to its grain by
//! `rayon::join`, which allocates nothing on a worker and lets idle threads steal. A result does not depend
//! on the thread that computes a piece: pieces write to memory of their own, and sums over pieces are
//! computed afterwards in the pieces' order.
//!
//! The only file that names rayon.

use crate::error::{Argument, Error};

/// The threads that a step or a prediction may use. The result has the same bits on all of them.
///
/// # Examples
/// ```
/// use fuseprop::{Activation, Network, Parallelism, Trainer};
///
/// let train = |parallelism| {
///     let network = Network::<f32>::builder(2).dense(8, Activation::Tanh).dense(1, Activation::Identity);
///     let builder = Trainer::builder(network.seed(1).build()?).parallelism(parallelism);
///     let mut trainer = builder.parallel_threshold(0).build()?; // threads share whatever the size
///     trainer.step(&[0.5, 1.0], &[1.0])?;
///     trainer.network().predict(&[0.5, 1.0])
/// };
/// let serial = train(Parallelism::Serial)?;
/// assert_eq!(train(Parallelism::Auto)?, serial);
/// assert_eq!(train(Parallelism::Threads(2))?, serial);
/// # Ok::<(), fuseprop::Error>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Parallelism {
    /// The calling thread alone.
    Serial,
    /// The current rayon pool (the global one outside any) where the work is long enough to pay for waking
    /// it, otherwise the calling thread.
    #[default]
    Auto,
    /// The same with a pool of this number of threads that belongs to the trainer or workspace alone. Without
    /// the `rayon` feature the calling thread does everything.
    Threads(usize),
}

/// A run of pieces of work that can be divided in two.
#[cfg_attr(not(feature = "rayon"), allow(dead_code, reason = "one thread takes all pieces"))]
pub(crate) trait Divide: Sized + Send {
    /// The number of pieces.
    fn pieces(&self) -> usize;
    /// Pieces that are not divided any further.
    fn grain(&self) -> usize {
        1
    }
    /// Where several pieces are divided, so that both parts take about as long.
    fn split_point(&self) -> usize {
        self.pieces() / 2
    }
    /// The first `left` pieces and the others.
    fn divide(self, left: usize) -> (Self, Self);
}

/// The split point nearest to the middle of several pieces of these lengths. Neither part is empty.
pub(crate) fn split_point_of(lengths: impl ExactSizeIterator<Item = usize> + Clone) -> usize {
    let (pieces, all) = (lengths.len(), lengths.clone().sum::<usize>());
    let mut before = 0;
    let is_left = |&length: &usize| {
        let middle = 2 * before + length;
        before += length;
        middle <= all
    };
    lengths.take_while(is_left).count().clamp(1, pieces - 1)
}

/// The split point of pieces that are summed in pairs, then pairs of pairs, on any number of threads.
pub(crate) fn split_point_pow2(pieces: usize) -> usize {
    pieces.next_power_of_two() / 2
}

/// Whether a run of pieces is divided.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Split {
    /// The calling thread does all pieces.
    Whole,
    /// The threads of the current pool share the pieces.
    #[cfg(feature = "rayon")]
    Pieces,
}

impl Split {
    /// The number of threads that share the pieces.
    pub(crate) fn threads(self) -> usize {
        match self {
            Self::Whole => 1,
            #[cfg(feature = "rayon")]
            Self::Pieces => rayon::current_num_threads(),
        }
    }

    /// Calls `f` with runs of pieces, each at most the grain, or with all of them if they are not divided.
    #[inline]
    pub(crate) fn for_each<W: Divide>(self, mut work: W, f: &(impl Fn(&mut W) + Sync + ?Sized)) {
        #[cfg(feature = "rayon")]
        if self == Self::Pieces && work.pieces() > work.grain() {
            let left = work.split_point();
            let (a, b) = work.divide(left);
            rayon::join(|| self.for_each(a, f), || self.for_each(b, f));
            return;
        }
        f(&mut work);
    }
}

/// The threads that a trainer or a workspace works with.
#[derive(Clone, Debug)]
pub(crate) struct Threads {
    parallelism: Parallelism,
    /// Floating-point operations below which the calling thread does all pieces; `usize::MAX` if it always
    /// does.
    threshold: usize,
    #[cfg(feature = "rayon")]
    pool: Option<std::sync::Arc<rayon::ThreadPool>>,
}

impl Threads {
    #[cfg(feature = "rayon")]
    pub(crate) fn new(parallelism: Parallelism) -> Result<Self, Error> {
        let pool = match parallelism {
            Parallelism::Threads(0) => return Err(Error::Zero { argument: Argument::ThreadCount }),
            Parallelism::Threads(n) if n > 1 => {
                let pool = rayon::ThreadPoolBuilder::new().num_threads(n).build();
                Some(std::sync::Arc::new(pool.map_err(|_| Error::System { argument: Argument::Threads })?))
            }
            _ => None,
        };
        Ok(Self { parallelism, threshold: PARALLEL_FLOP, pool })
    }

    #[cfg(not(feature = "rayon"))]
    pub(crate) fn new(parallelism: Parallelism) -> Result<Self, Error> {
        match parallelism {
            Parallelism::Threads(0) => Err(Error::Zero { argument: Argument::ThreadCount }),
            _ => Ok(Self { parallelism, threshold: PARALLEL_FLOP }),
        }
    }

    /// Calls `f` in the pool, if `flop` operations are worth it, otherwise on the calling thread.
    #[cfg(feature = "rayon")]
    pub(crate) fn enter<R: Send>(&self, flop: usize, f: impl FnOnce(Split) -> R + Send) -> R {
        if !self.are_worth(flop) {
            return f(Split::Whole);
        }
        match &self.pool {
            Some(pool) => pool.install(|| f(Split::Pieces)),
            None if self.parallelism == Parallelism::Auto && rayon::current_num_threads() > 1 => {
                // From outside the pool, `join` runs both of its closures on workers: one entry in all.
                rayon::join(|| f(Split::Pieces), || ()).0
            }
            None => f(Split::Whole),
        }
    }

    #[cfg(not(feature = "rayon"))]
    pub(crate) fn enter<R>(&self, _flop: usize, f: impl FnOnce(Split) -> R) -> R {
        f(Split::Whole)
    }

    /// Whether `flop` operations are worth more threads than one.
    fn are_worth(&self, flop: usize) -> bool {
        self.parallelism != Parallelism::Serial && self.threshold != usize::MAX && flop >= self.threshold
    }

    /// The number of threads that would share `flop` operations, if called from this thread.
    pub(crate) fn count(&self, flop: usize) -> usize {
        match self.parallelism {
            _ if !self.are_worth(flop) => 1,
            Parallelism::Serial => 1,
            #[cfg(feature = "rayon")]
            Parallelism::Auto => rayon::current_num_threads(),
            #[cfg(feature = "rayon")]
            Parallelism::Threads(n) => n,
            #[cfg(not(feature = "rayon"))]
            _ => 1,
        }
    }

    /// Whether the caller is one of the threads that share. It then need not wait for another to wake up:
    /// pieces that no other thread takes in time it does itself.
    pub(crate) fn share_with_caller(&self) -> bool {
        #[cfg(feature = "rayon")]
        return self.parallelism == Parallelism::Auto && rayon::current_thread_index().is_some();
        #[cfg(not(feature = "rayon"))]
        return false;
    }

    pub(crate) fn parallelism(&self) -> Parallelism {
        self.parallelism
    }

    pub(crate) fn with_threshold(self, threshold: usize) -> Self {
        Self { threshold, ..self }
    }
}

/// Floating-point operations below which a step stays on the calling thread, unless the caller says
/// otherwise.
///
/// Waking a pool and waiting for it takes 12 to 15 microseconds. Measured, two threads against one, on
/// 64-64-64-64: batch 64 (5 MFLOP, 19 microseconds) 0.88, batch 256 (19 MFLOP) 1.40. So both are even at 7
/// MFLOP.
pub(crate) const PARALLEL_FLOP: usize = 10_000_000;

/// Floating-point operations that the update of a parameter counts as, if there is no pass before it: what
/// takes time is to read and write it, with its gradient, its moments and its transposed copy. Measured, Adam
/// on one thread and two: 60,000 parameters 13.5 and 7.4 microseconds, 100,000 18.7 and 10.3, 670,000 136 and
/// 71, 3.1 million 1,547 and 908.
pub(crate) const UPDATE_FLOP: usize = 32;

/// Rows that the rows of a batch count as against a threshold, at least 8: what takes time is to read the
/// weights. Measured, 784-512-512-10 on one thread: one row 52 microseconds, two 55, four 58, eight 81,
/// sixteen 149.
pub(crate) fn counted_rows(rows: usize) -> usize {
    rows.max(8)
}

#[cfg(test)]
#[cfg(feature = "rayon")]
pub(crate) mod tests {
    use core::ops::Range;
    use std::sync::Mutex;

    use super::*;

    /// The keys of the parts that work is divided into, in ascending order.
    pub(crate) fn parts<W: Divide, K: Ord + Send>(
        split: Split,
        work: W,
        key: impl Fn(&W) -> K + Sync,
    ) -> Vec<K> {
        let parts = Mutex::new(Vec::new());
        split.for_each(work, &|part| parts.lock().unwrap().push(key(part)));
        let mut parts = parts.into_inner().unwrap();
        parts.sort();
        parts
    }

    struct Run(Range<usize>);

    impl Divide for Run {
        fn pieces(&self) -> usize {
            self.0.len()
        }

        fn divide(self, left: usize) -> (Self, Self) {
            let split = self.0.start + left;
            (Self(self.0.start..split), Self(split..self.0.end))
        }
    }

    #[test]
    fn work_stays_whole_or_is_divided_down_to_single_pieces() {
        for pieces in [1, 2, 5, 64] {
            let of = |split| parts(split, Run(0..pieces), |run| (run.0.start, run.0.end));
            assert_eq!(of(Split::Whole), [(0, pieces)]);
            assert_eq!(of(Split::Pieces), (0..pieces).map(|i| (i, i + 1)).collect::<Vec<_>>());
        }
    }

    #[test]
    fn work_is_shared_from_the_threshold_on_where_there_are_threads() {
        // The threads of the pool that calls; the threads that share, if any do.
        let cases = [
            (Parallelism::Serial, 2, None),
            (Parallelism::Auto, 1, None),
            (Parallelism::Auto, 2, Some(2)),
            (Parallelism::Auto, 3, Some(3)),
            (Parallelism::Threads(1), 2, None),
            (Parallelism::Threads(3), 2, Some(3)),
        ];
        for (parallelism, around, shared) in cases {
            let threads = Threads::new(parallelism).unwrap().with_threshold(100);
            let pool = rayon::ThreadPoolBuilder::new().num_threads(around).build().unwrap();
            let enter = |flop| {
                pool.install(|| {
                    let caller = std::thread::current().id();
                    threads.enter(flop, |split| {
                        (split, rayon::current_num_threads(), std::thread::current().id() == caller)
                    })
                })
            };
            let alone = (Split::Whole, around, true);
            // Within the pool around it the caller is one of those that share.
            let shared = shared.map(|count| (Split::Pieces, count, parallelism == Parallelism::Auto));
            assert_eq!(enter(99), alone, "{parallelism:?} in {around}");
            assert_eq!(enter(100), shared.unwrap_or(alone), "{parallelism:?} in {around}");
            assert_eq!(enter(usize::MAX), shared.unwrap_or(alone), "{parallelism:?} in {around}");
            let never = threads.clone().with_threshold(usize::MAX);
            assert_eq!(never.enter(usize::MAX, |split| split), Split::Whole, "{parallelism:?} in {around}");
            assert_eq!(never.count(usize::MAX), 1, "{parallelism:?} in {around}");
        }
    }

    #[test]
    fn a_caller_is_one_of_those_that_share_in_the_pool_that_is_taken_up() {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(2).build().unwrap();
        for (parallelism, within) in
            [(Parallelism::Serial, false), (Parallelism::Auto, true), (Parallelism::Threads(2), false)]
        {
            let threads = Threads::new(parallelism).unwrap();
            assert!(!threads.share_with_caller(), "{parallelism:?}");
            assert_eq!(pool.install(|| threads.share_with_caller()), within, "{parallelism:?}");
        }
    }
}
