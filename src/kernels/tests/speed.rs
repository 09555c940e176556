//! Rates of the products, beside the peak of any loop of fused multiply-adds.
//!
//! `cargo test --release --lib speed -- --ignored --nocapture`, on a quiet machine. Rates are in GFLOP/s.

use super::Kernels;
use crate::simd::scalar::Scalar;
use std::hint::black_box;
use std::time::{Duration, Instant};

use crate::engine::parallel::{Divide, Parallelism, Split, Threads, split_point_of};
use crate::engine::partition::{block_panels, max_block_panels};
use crate::engine::plan::{MicroBatchRows, Plan};
use crate::kernels::gemm::blocking::{PREFETCH_DISTANCE, splits_accumulators};
use crate::kernels::gemm::products::Sweep;
use crate::kernels::gemm::register_tile::L2_PANELS;
use crate::kernels::gemm::weight_gradient::WeightGradient;
use crate::kernels::matrix::Beta;
use crate::kernels::matrix::panels::parameter_lines;
use crate::kernels::matrix::panels::{Panels, PanelsMut, panels};
use crate::kernels::matrix::transpose::transposed_lines;
use crate::kernels::ops::activation::{Activation, activate};
use crate::kernels::tests::table::Activated;
use crate::kernels::tests::{Check, available, on_every_isa};
use crate::simd::isa::Isa;
use crate::simd::lanes::LineOf;
use crate::simd::lanes::{GROUP, Lanes};
use crate::simd::math;
use crate::simd::scalar::Element;
use crate::simd::scalar::{Line, elements, elements_mut};

/// Seconds of one call: the best of some runs of a few milliseconds.
fn seconds(mut f: impl FnMut()) -> f64 {
    let start = Instant::now();
    f();
    let calls = (4e-3 / start.elapsed().as_secs_f64().max(1e-9)).ceil() as u32;
    let run = |_| {
        let start = Instant::now();
        (0..calls).for_each(|_| f());
        start.elapsed() / calls
    };
    (0..15).map(run).fold(Duration::MAX, Duration::min).as_secs_f64()
}

/// Operations per second of a loop that does nothing but multiply and add in registers, on each instruction
/// set or one alone.
#[derive(Default)]
struct Peak {
    only: Option<Isa>,
    rates: Vec<(Isa, f64)>,
}

impl<T: Element> Check<T> for Peak {
    fn run<L: Lanes<Element = T>>(&mut self, l: L, isa: Isa) {
        if self.only.is_some_and(|only| only != isa) {
            return;
        }
        // As many sums as hide the latency, or as there are registers for.
        let rate = match L::ACCUMULATORS {
            12.. => peak::<L, 12>(l),
            6.. => peak::<L, 6>(l),
            _ => peak::<L, 3>(l),
        };
        self.rates.push((isa, rate));
    }
}

fn peak<L: Lanes, const SUMS: usize>(l: L) -> f64 {
    let steps = 100_000;
    let [a, b, mut kept] = [0.999, 1e-6, 0.0].map(|x| black_box(filled::<L::Element>(x)));
    let time = seconds(|| {
        l.vectorize(
            #[inline(always)]
            || {
                let (a, b) = (l.load(&a), l.load(&b));
                let mut sums = [b; SUMS];
                for _ in 0..steps {
                    for sum in &mut sums {
                        *sum = l.mul_add(*sum, a, b);
                    }
                }
                for sum in sums {
                    let total = l.add(l.load(&kept), sum);
                    l.store(&mut kept, total);
                }
            },
        );
    });
    black_box(kept);
    (steps * SUMS * 2 * L::Element::LANES) as f64 / time
}

fn filled<T: Element>(x: f64) -> T::Line {
    let mut line = T::Line::ZERO;
    line.as_mut_slice().fill(T::from_f64(x));
    line
}

fn lines<T: Element>(count: usize) -> Vec<T::Line> {
    let mut lines = vec![T::Line::ZERO; count];
    for (i, x) in elements_mut::<T>(&mut lines).iter_mut().enumerate() {
        *x = T::from_f64((i * 7919 % 1000) as f64 / 1000.0 - 0.5);
    }
    lines
}

/// Rates of the three products of a layer, batch `m`, `k` inputs, `n` outputs, in the micro-batches that a
/// step on one thread has.
fn rates<T: Element>(kernels: &dyn Kernels<T>, m: usize, n: usize, k: usize) -> [f64; 3] {
    let lines_of_layer = parameter_lines::<T>(k, n).unwrap();
    let rows =
        MicroBatchRows::choose::<T>(m, n * k, lines_of_layer, splits_accumulators::<T>(k, n), Some(1)).most;
    let tiles = m.div_ceil(rows);
    let tile = |cols| (0..tiles).map(|_| lines::<T>(rows * panels::<T>(cols))).collect::<Vec<_>>();
    let (x, mut y, mut d_x) = (tile(k), tile(n), tile(k));
    let weights = lines::<T>((1 + k) * panels::<T>(n));
    let transposed = lines::<T>(transposed_lines::<T>(k, n).unwrap());
    let mut d_w = lines::<T>((1 + k) * panels::<T>(n));
    let forward = seconds(|| {
        for (x, y) in x.iter().zip(&mut y) {
            let y = PanelsMut::new(y, rows, n);
            kernels.forward(
                y,
                Panels::new(x, rows, k),
                &weights,
                Activated::alone(Activation::Identity),
                Sweep::Forward,
            );
        }
    });
    let backward = seconds(|| {
        for (y, d_x) in y.iter().zip(&mut d_x) {
            let d_x = PanelsMut::new(d_x, rows, k);
            kernels.backward_data(d_x, Panels::new(y, rows, n), &transposed, None, Sweep::Forward);
        }
    });
    let gradient = seconds(|| {
        let (mut rest, mut first) = (&mut d_w[..], 0);
        while !rest.is_empty() {
            let owned;
            let count = block_panels(panels::<T>(n) - first, usize::MAX);
            (owned, rest) = rest.split_at_mut(count * (1 + k));
            let mut beta = Beta::Zero;
            for (x, y) in x.iter().zip(&y) {
                let (x, d_z) = (Panels::new(x, rows, k), Panels::new(y, rows, n));
                kernels
                    .weight_gradient(WeightGradient { d_w: owned, x, d_z, first_panel: first, beta }, None);
                beta = Beta::One;
            }
            first += count;
        }
    });
    let flop = (2 * tiles * rows * n * k) as f64;
    [forward, backward, gradient].map(|time| flop / time)
}

#[test]
#[ignore = "a measurement: needs a quiet machine"]
fn speed_of_products() {
    for n in [16, 17, 31, 32, 33, 64, 65, 100, 128, 129, 256, 512, 1000, 1024] {
        // For each size anew: the clock moves with what else the machine does.
        on_every_isa!(f32, Peak::default() => peaks);
        print_rates::<f32>(n, &peaks);
    }
}

#[test]
#[ignore = "a measurement: needs a quiet machine"]
fn speed_of_f64_products() {
    for n in [16, 32, 64, 100, 128, 256, 512, 1024] {
        on_every_isa!(f64, Peak::default() => peaks);
        print_rates::<f64>(n, &peaks);
    }
}

/// The products of `n` inputs by `n` outputs on every instruction set.
fn print_rates<T: Element>(n: usize, peaks: &Peak) {
    for (isa, kernels) in available::<T>() {
        let peak = peaks.rates.iter().find(|(other, _)| *other == isa).unwrap().1;
        let rates = rates::<T>(kernels, n.max(64).next_multiple_of(64), n, n);
        let [y, d_x, d_w] = rates.map(|rate| format!("{:6.1} {:4.0} %", rate / 1e9, 100.0 * rate / peak));
        println!("{n:5}, {isa}: forward {y}, backward {d_x}, gradient {d_w} of {:.1}", peak / 1e9);
    }
}

/// Limits of a kernel: the latency of two sigmoids of which one waits for the other, as in one row through
/// two layers, functions that do not wait, lanes added up, and a pass over as many weights as a network has,
/// always in one order and alternately from either end. No pass over a network is as fast as the latter where
/// weights are beyond L2, for each layer waits for the one before.
struct Limits;

impl Check<f32> for Limits {
    fn run<L: Lanes<Element = f32>>(&mut self, l: L, isa: Isa) {
        let mut line = black_box(filled::<f32>(0.3));
        let chain = seconds(|| {
            l.vectorize(
                #[inline(always)]
                || {
                    let mut y = l.load(&line);
                    for _ in 0..1000 {
                        y = math::sigmoid(l, y);
                    }
                    l.store(&mut line, y);
                },
            );
        });
        black_box(line);
        println!("{isa}: two sigmoids in a row {:.1} ns", chain * 2.0 / 1000.0 * 1e9);
        let block = black_box(lines::<f32>(64));
        let added = seconds(|| _ = black_box(added_up(l, black_box(&block), 1000))) / 4000.0;
        println!("{isa}: the lanes of 16 lines added up {:.1} ns", added * 1e9);
        let [exp, sigmoid, tanh, gelu] = [
            of_lines(l, math::exp),
            of_lines(l, math::sigmoid),
            of_lines(l, math::tanh),
            of_lines(l, math::gelu),
        ];
        println!(
            "{isa}: 16 exponentials {exp:.2} ns, sigmoids {sigmoid:.2}, tanhs {tanh:.2}, GELUs {gelu:.2}"
        );
        let [sigmoid, tanh, gelu] =
            [Activation::Sigmoid, Activation::Tanh, Activation::Gelu].map(|of| of_a_layer(l, of));
        println!("{isa}: in a layer 16 sigmoids {sigmoid:.2} ns, tanhs {tanh:.2}, GELUs {gelu:.2}");
        let [scalar, wide] = exponentials_of_others();
        println!("16 exponentials of the standard library {scalar:.1} ns, of wide {wide:.1}");
        reading_of_weights(l, isa);
    }
}

/// What it takes to read as many weights as two networks have, in several orders.
fn reading_of_weights<L: Lanes<Element = f32>>(l: L, isa: Isa) {
    for layers in [vec![784, 128, 10], vec![784, 512, 512, 10]] {
        let weights: usize = layers.windows(2).map(|ends| (1 + ends[0]) * panels::<f32>(ends[1])).sum();
        let all = black_box(lines::<f32>(weights));
        let forth = seconds(|| _ = black_box(read(l, black_box(&all[..]).chunks_exact(4))));
        let mut order = Sweep::Forward;
        let alternately = seconds(|| {
            let chunks = black_box(&all[..]).chunks_exact(4);
            black_box(match order {
                Sweep::Forward => read(l, chunks),
                Sweep::Backward => read(l, chunks.rev()),
            });
            order = order.reverse();
        });
        let by_panels = |read: fn(L, &[LineOf<L>], usize) -> LineOf<L>| {
            seconds(|| {
                let mut rest = black_box(&all[..]);
                for ends in layers.windows(2) {
                    let of_layer;
                    (of_layer, rest) = rest.split_at((1 + ends[0]) * panels::<f32>(ends[1]));
                    black_box(read(l, of_layer, 1 + ends[0]));
                }
            })
        };
        let (of_eight, of_four) = (by_panels(read_panels::<L, 8>), by_panels(read_panels::<L, L2_PANELS>));
        let of_two = by_panels(read_panels::<L, 2>);
        let [forth, alternately, of_eight, of_four, of_two] =
            [forth, alternately, of_eight, of_four, of_two].map(|time| format!("{:.1} us", time * 1e6));
        println!(
            "{isa}: the weights of {layers:?} read in {forth}, from either end {alternately}, eight panels \
             at a time {of_eight}, four {of_four}, two {of_two}"
        );
    }
}

/// Nanoseconds of 16 exponentials one by one, and by `wide`, with the instructions that the tests are
/// compiled for, as in
/// [`of_lines`].
fn exponentials_of_others() -> [f64; 2] {
    let (from, mut to) = (black_box(lines::<f32>(128)), lines::<f32>(128));
    let scalar = seconds(|| {
        let pairs = elements_mut::<f32>(&mut to).iter_mut().zip(black_box(elements::<f32>(&from)));
        pairs.for_each(|(to, from)| *to = from.exp());
    });
    let wide = seconds(|| {
        let from = black_box(elements::<f32>(&from)).as_chunks::<16>().0;
        for (to, from) in elements_mut::<f32>(&mut to).as_chunks_mut::<16>().0.iter_mut().zip(from) {
            *to = wide::f32x16::new(*from).exp().to_array();
        }
    });
    black_box(to);
    [scalar, wide].map(|time| time / 128.0 * 1e9)
}

/// Nanoseconds that a function of a line takes, in a loop over 16 KiB.
fn of_lines<L: Lanes<Element = f32>>(l: L, function: impl Fn(L, L::Vector) -> L::Vector) -> f64 {
    let (from, mut to) = (black_box(lines::<f32>(128)), lines::<f32>(128));
    let all = seconds(|| {
        l.vectorize(
            #[inline(always)]
            || {
                for (to, from) in to.iter_mut().zip(black_box(&from)) {
                    l.store(to, function(l, l.load(from)));
                }
            },
        );
    });
    black_box(to);
    all / 128.0 * 1e9
}

/// The same of an activation as a layer computes it, in place, some lines interleaved, over 8 KiB. Its
/// operand is renewed now and then, lest it fade away.
fn of_a_layer<L: Lanes<Element = f32>>(l: L, activation: Activation) -> f64 {
    const TIMES: usize = 12;
    let (from, mut to) = (black_box(lines::<f32>(128)), lines::<f32>(128));
    let all = seconds(|| {
        l.vectorize(
            #[inline(always)]
            || {
                to.copy_from_slice(black_box(&from));
                for _ in 0..TIMES {
                    activate(l, black_box(&mut to), activation);
                }
            },
        );
    });
    all / (128 * TIMES) as f64 * 1e9
}

/// The lanes of each line added up, four lines at a time, again and again: what a column of a last panel
/// takes at least beside its multiply-adds.
fn added_up<L: Lanes<Element = f32>>(l: L, lines: &[LineOf<L>], times: usize) -> [LineOf<L>; 4] {
    let mut kept = [filled::<f32>(0.0); 4];
    l.vectorize(
        #[inline(always)]
        || {
            for _ in 0..times {
                for lines in black_box(lines).chunks_exact(4 * GROUP) {
                    for (kept, lines) in kept.iter_mut().zip(lines.chunks_exact(GROUP)) {
                        let [a, b] = [l.load(&lines[0]), l.load(&lines[1])];
                        let [c, d] = [l.load(&lines[2]), l.load(&lines[3])];
                        let sum = l.add(l.load(kept), l.reduce_sum4([a, b, c, d]));
                        l.store(kept, sum);
                    }
                }
            }
        },
    );
    kept
}

/// The sum of some lines, four at a time.
fn read<'a, L: Lanes<Element = f32>>(l: L, chunks: impl Iterator<Item = &'a [LineOf<L>]>) -> LineOf<L> {
    let mut kept = filled::<f32>(0.0);
    l.vectorize(
        #[inline(always)]
        || {
            let mut sums = [l.zero(); 4];
            for lines in chunks {
                for (sum, line) in sums.iter_mut().zip(lines) {
                    *sum = l.add(*sum, l.load(line));
                }
            }
            let [a, b, c, d] = sums;
            l.store(&mut kept, l.add(l.add(a, b), l.add(c, d)));
        },
    );
    kept
}

/// The sum of the lines of a layer's whole blocks of `STREAMS` panels, line by line, each prefetched
/// [`PREFETCH_DISTANCE`] lines before: so a row reads weights that exceed L2 with AVX-512, [`L2_PANELS`] at a
/// time.
fn read_panels<L: Lanes<Element = f32>, const STREAMS: usize>(
    l: L,
    weights: &[LineOf<L>],
    panel: usize,
) -> LineOf<L> {
    let mut kept = filled::<f32>(0.0);
    l.vectorize(
        #[inline(always)]
        || {
            let mut sums = [l.zero(); STREAMS];
            for block in weights.chunks_exact(panel * STREAMS) {
                for k in 0..panel {
                    for (p, sum) in sums.iter_mut().enumerate() {
                        l.prefetch(block, p * panel + k + PREFETCH_DISTANCE);
                        *sum = l.add(*sum, l.load(&block[p * panel + k]));
                    }
                }
            }
            let total = sums.into_iter().fold(l.zero(), |total, sum| l.add(total, sum));
            l.store(&mut kept, total);
        },
    );
    kept
}

#[test]
#[ignore = "a measurement: needs a quiet machine"]
fn speed_limits() {
    on_every_isa!(f32, Limits => _limits);
}

/// The buffers of a dense network, and of a batch in micro-batches.
struct Step {
    sizes: Vec<usize>,
    rows: usize,
    plan: Plan,
    weights: Vec<Vec<Line32>>,
    transposed: Vec<Vec<Line32>>,
    gradients: Vec<Vec<Line32>>,
    tiles: Vec<MicroBatch>,
    order: Sweep,
    /// Maximum panels of a gradient that one thread owns.
    most_owned: Vec<usize>,
}

type Line32 = <f32 as Scalar>::Line;

/// The rows of a micro-batch as they come in, and each layer's outputs; and the gradients of them.
type MicroBatch = [Vec<Vec<Line32>>; 2];

impl Step {
    /// Cut into micro-batches as `threads` threads do, of at most `max_batch` rows.
    fn new(sizes: &[usize], max_batch: usize, batch: usize, threads: usize) -> Self {
        let of_layers = |count: fn(usize, usize) -> Option<usize>| -> Vec<Vec<Line32>> {
            sizes.windows(2).map(|ends| lines::<f32>(count(ends[0], ends[1]).unwrap())).collect()
        };
        let weights = sizes.windows(2).map(|ends| (1 + ends[0]) * ends[1]).sum();
        let parameters = of_layers(parameter_lines::<f32>);
        let count = parameters.iter().map(Vec::len).sum();
        let micro_batch_rows = MicroBatchRows::choose::<f32>(max_batch, weights, count, false, Some(threads));
        let rows = micro_batch_rows.most;
        let tile =
            |_| -> Vec<_> { sizes.iter().map(|&size| lines::<f32>(rows * panels::<f32>(size))).collect() };
        Self {
            sizes: sizes.to_vec(),
            rows,
            plan: Plan::choose::<f32>(max_batch, micro_batch_rows.least, count),
            weights: parameters,
            transposed: of_layers(transposed_lines::<f32>),
            gradients: of_layers(parameter_lines::<f32>),
            tiles: (0..batch / rows).map(|t| [tile(t), tile(t)]).collect(),
            order: Sweep::Forward,
            most_owned: sizes.iter().map(|inputs| max_block_panels(count, 1 + inputs, threads)).collect(),
        }
    }

    fn flop(&self) -> f64 {
        let of_layer = |l: usize| (2 + usize::from(l > 0)) * self.sizes[l] * self.sizes[l + 1];
        (2 * self.rows * self.tiles.len() * (0..self.sizes.len() - 1).map(of_layer).sum::<usize>()) as f64
    }

    /// Every product of a step, in its order, and nothing else.
    fn products(&mut self, kernels: &dyn Kernels<f32>, split: Split) {
        self.order = self.order.reverse();
        let mut tiles = core::mem::take(&mut self.tiles);
        let mut gradients = core::mem::take(&mut self.gradients);
        let count = if self.plan == Plan::TwoPhase { tiles.len() } else { 1 };
        for tiles in tiles.chunks_mut(count) {
            split.for_each(Pieces(tiles, |_| 1), &|tiles| {
                tiles.0.iter_mut().for_each(|tile| self.passes(kernels, tile));
            });
            split.for_each(Pieces(&mut self.owned(&mut gradients), |owned| owned.lines.len()), &|owned| {
                owned.0.iter_mut().for_each(|owned| self.gradient(kernels, tiles, owned));
            });
        }
        (self.tiles, self.gradients) = (tiles, gradients);
    }

    /// Both passes of a tile.
    fn passes(&self, kernels: &dyn Kernels<f32>, [y, d]: &mut MicroBatch) {
        let (sizes, rows, layers) = (&self.sizes, self.rows, self.weights.len());
        for l in 0..layers {
            let (x, y) = y.split_at_mut(l + 1);
            let to = PanelsMut::new(&mut y[0], rows, sizes[l + 1]);
            let identity = Activated::alone(Activation::Identity);
            kernels.forward(to, Panels::new(&x[l], rows, sizes[l]), &self.weights[l], identity, self.order);
        }
        for l in (1..layers).rev() {
            let (d_x, d_z) = d.split_at_mut(l + 1);
            let to = PanelsMut::new(&mut d_x[l], rows, sizes[l]);
            let d_z = Panels::new(&d_z[0], rows, sizes[l + 1]);
            kernels.backward_data(to, d_z, &self.transposed[l], None, self.order);
        }
    }

    /// The gradients, as they are owned.
    fn owned<'a>(&self, gradients: &'a mut [Vec<Line32>]) -> Vec<OwnedPanels<'a>> {
        let mut all = Vec::new();
        for (layer, gradient) in gradients.iter_mut().enumerate() {
            let (mut rest, mut first) = (&mut gradient[..], 0);
            while !rest.is_empty() {
                let left = panels::<f32>(self.sizes[layer + 1]) - first;
                let count = block_panels(left, self.most_owned[layer]);
                let lines;
                (lines, rest) = rest.split_at_mut(count * (1 + self.sizes[layer]));
                all.push(OwnedPanels { layer, first, lines });
                first += count;
            }
        }
        all
    }

    /// The gradient of some panels, over all tiles.
    fn gradient(&self, kernels: &dyn Kernels<f32>, tiles: &[MicroBatch], owned: &mut OwnedPanels<'_>) {
        let mut beta = Beta::Zero;
        for [y, d] in tiles {
            let x = Panels::new(&y[owned.layer], self.rows, self.sizes[owned.layer]);
            let d_z = Panels::new(&d[owned.layer + 1], self.rows, self.sizes[owned.layer + 1]);
            kernels.weight_gradient(
                WeightGradient { d_w: owned.lines, x, d_z, first_panel: owned.first, beta },
                None,
            );
            beta = Beta::One;
        }
    }
}

/// Panels of a layer's gradient, from one on.
struct OwnedPanels<'a> {
    layer: usize,
    first: usize,
    lines: &'a mut [Line32],
}

/// A run of pieces of work, and how long each is.
struct Pieces<'a, P>(&'a mut [P], fn(&P) -> usize);

impl<P: Send> Divide for Pieces<'_, P> {
    fn pieces(&self) -> usize {
        self.0.len()
    }

    fn split_point(&self) -> usize {
        split_point_of(self.0.iter().map(self.1))
    }

    fn divide(self, left: usize) -> (Self, Self) {
        let (left, right) = self.0.split_at_mut(left);
        (Self(left, self.1), Self(right, self.1))
    }
}

/// Operations per second of a loop in registers on each of `threads` threads at the same time.
fn peak_of_threads(isa: Isa, threads: usize) -> f64 {
    let all_are_there = std::sync::Barrier::new(threads);
    let one = || {
        all_are_there.wait();
        on_every_isa!(f32, Peak { only: Some(isa), rates: Vec::new() } => peak);
        peak.rates[0].1
    };
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..threads).map(|_| scope.spawn(one)).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).sum()
    })
}

/// The share of the peak that a step would have if it were its products alone. On one thread no step of such
/// products has more; on all of them, where rows and parameters are shared out, none has more than now and
/// then.
#[test]
#[ignore = "a measurement: needs a quiet machine"]
fn speed_of_steps() {
    // Of long batches some rows are enough.
    let steps: [(&str, &[usize], usize, usize); 6] = [
        ("mnist128", &[784, 128, 10], 64, 64),
        ("mnist512", &[784, 512, 512, 10], 256, 256),
        ("sq1024", &[1024; 4], 1024, 1024),
        ("wide", &[1024, 4096, 4096, 1024], 512, 512),
        ("narrow64", &[32, 64, 64, 64, 64, 3], 65_536, 1024),
        ("narrow128", &[64, 128, 128, 128, 128, 16], 32_768, 1024),
    ];
    let (isa, kernels) = available::<f32>().pop().unwrap();
    let all = Threads::new(Parallelism::Auto).unwrap().count(usize::MAX);
    let counts = if all > 1 { vec![1, all] } else { vec![1] };
    for (name, sizes, max_batch, batch) in steps {
        for &threads in &counts {
            let mut step = Step::new(sizes, max_batch, batch, threads);
            if threads > 1 && step.plan != Plan::TwoPhase {
                continue;
            }
            let parallelism = if threads > 1 { Parallelism::Auto } else { Parallelism::Serial };
            let pool = Threads::new(parallelism).unwrap();
            // Alternately, for the clock moves with what else the machine does.
            let run = |_| {
                let rate =
                    step.flop() / pool.enter(usize::MAX, |split| seconds(|| step.products(kernels, split)));
                rate / peak_of_threads(isa, threads)
            };
            let mut shares: Vec<f64> = (0..7).map(run).collect();
            shares.sort_by(f64::total_cmp);
            let [least, median, most] = [0, 3, 6].map(|i| 100.0 * shares[i]);
            println!(
                "{name}, {isa}, {threads} threads: products alone {median:.1} % of the peak ({least:.1} to \
                 {most:.1})"
            );
        }
    }
}
