//! Every kernel with every buffer between two pages that cannot be touched: reading or writing one byte past
//! either end ends the process. Each buffer has pages of its own, so that none hides the overflow of another.

use super::Kernels;
use crate::kernels::gemm::packed4::{self, Packed4};
use crate::kernels::gemm::products::Sweep;
use crate::kernels::gemm::weight_gradient::WeightGradient;
use crate::kernels::matrix::Beta;
use crate::kernels::matrix::panels::{Panels, PanelsMut, panels};
use crate::kernels::matrix::transpose::transposed_stride;
use crate::kernels::ops::activation::{Activation, Derivative};
use crate::kernels::ops::dropout::DropoutRng;
use crate::kernels::ops::loss;
use crate::kernels::ops::loss::{ClassWeights, Loss, Objective, RowLosses};
use crate::kernels::ops::optimizer::{Optimizer, Update};
use crate::kernels::ops::targets::Targets;
use crate::kernels::tests::table::{Activated, NormOperands};
use crate::kernels::tests::{Check, available, on_every_isa};
use crate::simd::isa::Isa;
use crate::simd::lanes::{GROUP, Lanes};
use crate::simd::scalar::Element;
use crate::simd::scalar::elements_mut;

const ROWS: [usize; 11] = [1, 2, 3, 5, 8, 12, 13, 17, 25, 33, 64];
const FEATURES: [usize; 13] = [1, 2, 7, 8, 9, 15, 16, 17, 18, 33, 49, 65, 129];
const LONGEST_SLICE: usize = 515;

/// Which end of the memory a buffer lies against.
#[derive(Clone, Copy, Debug)]
pub(super) enum Side {
    Start,
    End,
}

/// Memory with a page before and a page behind that cannot be touched.
pub(super) struct Fence {
    base: *mut u8,
    page: usize,
    bytes: usize,
}

impl Fence {
    pub(super) fn new(bytes: usize) -> Self {
        // SAFETY: asks for a number, and for memory of its own that nothing else points to.
        unsafe {
            let page = libc::sysconf(libc::_SC_PAGESIZE) as usize;
            let bytes = bytes.next_multiple_of(page);
            let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
            let base = libc::mmap(core::ptr::null_mut(), bytes + 2 * page, libc::PROT_NONE, flags, -1, 0);
            assert_ne!(base, libc::MAP_FAILED);
            let inside = base.cast::<u8>().add(page);
            assert_eq!(libc::mprotect(inside.cast(), bytes, libc::PROT_READ | libc::PROT_WRITE), 0);
            Self { base: base.cast(), page, bytes }
        }
    }

    /// `count` values against one end.
    pub(super) fn slice<V: Copy>(&mut self, count: usize, side: Side, value: V) -> &mut [V] {
        let size = count * size_of::<V>();
        assert!(size <= self.bytes);
        let offset = match side {
            Side::Start => self.page,
            Side::End => self.page + self.bytes - size,
        };
        // SAFETY: the values lie within the pages that can be touched, aligned: pages and sizes are multiples
        // of the alignment. They are borrowed from `self`, and written before they are read.
        unsafe {
            let start = self.base.add(offset).cast::<V>();
            (0..count).for_each(|i| start.add(i).write(value));
            core::slice::from_raw_parts_mut(start, count)
        }
    }

    /// `count` lines whose elements are all a quarter.
    pub(super) fn lines<T: Element>(&mut self, count: usize, side: Side) -> &mut [T::Line] {
        let lines = self.slice(count, side, <T::Line as crate::simd::scalar::Line<T>>::ZERO);
        elements_mut::<T>(lines).fill(T::from_f64(0.25));
        lines
    }
}

impl Drop for Fence {
    fn drop(&mut self) {
        // SAFETY: the memory is this one's own, and no borrow outlives it.
        unsafe { libc::munmap(self.base.cast(), self.bytes + 2 * self.page) };
    }
}

/// A shape, where its buffers lie, and memory for them.
struct Case<'f> {
    rows: usize,
    inputs: usize,
    outputs: usize,
    side: Side,
    fences: &'f mut [Fence; 6],
}

impl Case<'_> {
    fn run<T: Element>(&mut self, kernels: &'static dyn Kernels<T>) {
        self.packing(kernels);
        self.products(kernels);
        self.norms(kernels);
        self.losses(kernels);
        self.updates(kernels);
    }

    fn packing<T: Element>(&mut self, kernels: &'static dyn Kernels<T>) {
        let Self { rows, inputs, side, .. } = *self;
        let [a, b, c, d, ..] = &mut *self.fences;
        let x = a.slice(rows * inputs, side, T::from_f64(0.5));
        let lines = b.lines::<T>(rows * panels::<T>(inputs), side);
        kernels.pack(PanelsMut::new(lines, rows, inputs), x);
        let means = c.lines::<T>(panels::<T>(inputs), side);
        let deviations = d.lines::<T>(panels::<T>(inputs), side);
        kernels.scale(PanelsMut::new(lines, rows, inputs), Some(means), deviations);
        let dropout_rng = DropoutRng::new(1, 1);
        kernels.dropout(PanelsMut::new(lines, rows, inputs), dropout_rng.mask(0, 0.5));
        kernels.unpack(x, Panels::new(lines, rows, inputs));
    }

    fn products<T: Element>(&mut self, kernels: &'static dyn Kernels<T>) {
        let Self { rows, inputs, outputs, side, .. } = *self;
        let [a, b, c, d, e, ..] = &mut *self.fences;
        let (pi, po) = (panels::<T>(inputs), panels::<T>(outputs));
        let x = a.lines::<T>(rows * pi, side);
        let y = b.lines::<T>(rows * po, side);
        let weights = c.lines::<T>((1 + inputs) * po, side);
        let sums = d.lines::<T>(rows * po, side);
        let orders = [Sweep::Forward, Sweep::Backward];
        for (activation, order) in [Activation::Gelu, Activation::Softmax].into_iter().zip(orders) {
            let (to, x) = (PanelsMut::new(y, rows, outputs), Panels::new(x, rows, inputs));
            kernels.forward(to, x, weights, Activated { activation, pre_activation: sums }, order);
            let d = PanelsMut::new(sums, rows, outputs);
            kernels.output_gradient(d, Panels::new(y, rows, outputs), activation);
        }
        for beta in [Beta::Zero, Beta::One] {
            let (x, d_z) = (Panels::new(x, rows, inputs), Panels::new(y, rows, outputs));
            kernels.weight_gradient(WeightGradient { d_w: weights, x, d_z, first_panel: 0, beta }, None);
        }
        let stride = transposed_stride::<T>(inputs);
        let transposed = e.lines::<T>(po * stride, side);
        for p in 0..po {
            let panel = &weights[p * (1 + inputs) + 1..][..inputs];
            kernels.transpose(&mut transposed[p * stride..][..pi * T::LANES], panel, outputs - p * T::LANES);
        }
        let (d_x, below) = (
            d.lines::<T>(rows * pi, side),
            Some(Derivative { from: Panels::new(x, rows, inputs), activation: Activation::Tanh }),
        );
        let d_z = Panels::new(y, rows, outputs);
        for order in orders {
            kernels.backward_data(PanelsMut::new(d_x, rows, inputs), d_z, transposed, below, order);
        }
    }

    fn norms<T: Element>(&mut self, kernels: &'static dyn Kernels<T>) {
        let Self { rows, inputs, side, .. } = *self;
        let [a, b, c, d, e, f] = &mut *self.fences;
        let count = rows * panels::<T>(inputs);
        let (x, y) = (a.lines::<T>(count, side), b.lines::<T>(count, side));
        let weights = c.lines::<T>(2 * panels::<T>(inputs), side);
        let (statistics, sums) = (d.lines::<T>(2 * rows, side), e.lines::<T>(count, side));
        let x = Panels::new(x, rows, inputs);
        kernels.norm_forward(
            PanelsMut::new(y, rows, inputs),
            x,
            weights,
            statistics,
            Activated { activation: Activation::Silu, pre_activation: sums },
        );
        let (d_x, d_z) = (f.lines::<T>(count, side), Panels::new(y, rows, inputs));
        let below = Some(Derivative { from: Panels::new(sums, rows, inputs), activation: Activation::Silu });
        let operands = NormOperands { x, d_z, statistics };
        let to = PanelsMut::new(d_x, rows, inputs);
        kernels.norm_backward_data(to, operands, weights, below);
        for beta in [Beta::Zero, Beta::One] {
            kernels.norm_weight_gradient(weights, operands, 0, beta);
        }
    }

    fn losses<T: Element>(&mut self, kernels: &'static dyn Kernels<T>) {
        let Self { rows, outputs, side, .. } = *self;
        let [a, b, c, d, e, f] = &mut *self.fences;
        let count = rows * panels::<T>(outputs);
        let (y, gradient) = (a.lines::<T>(count, side), b.lines::<T>(count, side));
        let values = c.slice(rows * outputs, side, T::from_f64(0.5));
        let targets = d.slice(rows, side, outputs as u32 - 1);
        let weights = e.slice(rows, side, T::from_f64(2.0));
        let of_rows = f.slice(rows, side, f64::NAN);
        let with_classes = (Loss::SoftmaxCrossEntropy, Targets::from(&*targets));
        let with_values = Loss::BY_ELEMENT.into_iter().chain(Loss::BY_ROW);
        for (loss, targets) in with_values.map(|loss| (loss, Targets::from(&*values))).chain([with_classes]) {
            let smoothing = if loss == Loss::SoftmaxCrossEntropy { 0.1 } else { 0.0 };
            let classes = ClassWeights::new(loss, outputs, None, smoothing).unwrap();
            let objective = Objective { loss, scale: 1.0, targets: targets.weights(weights) };
            let to = RowLosses { d_y: PanelsMut::new(gradient, rows, outputs), losses: &mut *of_rows };
            kernels.loss(to, Panels::new(y, rows, outputs), &objective, &classes);
            assert!(of_rows.iter().all(|loss| loss.is_finite()));
        }
    }

    fn updates<T: Element>(&mut self, kernels: &'static dyn Kernels<T>) {
        let Self { inputs, outputs, side, .. } = *self;
        let [a, b, c, d, e, ..] = &mut *self.fences;
        let count = (1 + inputs) * panels::<T>(outputs);
        let (parameters, gradients) = (a.lines::<T>(count, side), b.lines::<T>(count, side));
        let [m, v, s] = [c, d, e].map(|fence| fence.lines::<T>(count, side));
        for optimizer in Optimizer::every() {
            let update = Update { optimizer, step: 2, scale: 0.5, limit: 0.1 };
            kernels.update(parameters, gradients, [&mut *m, &mut *v, &mut *s], &update);
        }
        kernels.add(parameters, gradients);
        assert!(kernels.sum_of_squares(parameters) > 0.0);
    }
}

fn sweep<T: Element>() -> usize {
    let mut fences = core::array::from_fn(|_| Fence::new(1 << 20));
    let mut cases = 0;
    for (_, kernels) in available::<T>() {
        for side in [Side::Start, Side::End] {
            for rows in ROWS {
                for inputs in FEATURES {
                    for outputs in FEATURES {
                        Case { rows, inputs, outputs, side, fences: &mut fences }.run(kernels);
                        cases += 1;
                    }
                }
            }
            for len in 0..=LONGEST_SLICE {
                for activation in [
                    Activation::Relu,
                    Activation::Gelu,
                    Activation::Sine { frequency: 2.0 },
                    Activation::Softmax,
                ] {
                    kernels.activate(fences[0].slice(len, side, T::from_f64(0.5)), activation);
                    cases += 1;
                }
            }
        }
    }
    cases
}

#[test]
fn no_kernel_touches_memory_past_its_buffers() {
    let cases = sweep::<f32>() + sweep::<f64>();
    println!("RESULT guard_pages cases={cases}");
}

/// Rows in groups, for up to four lines of them.
struct GroupCases(usize);

impl<T: Element> Check<T> for GroupCases {
    fn run<L: Lanes<Element = T>>(&mut self, l: L, _: Isa) {
        let mut fences: [Fence; 4] = core::array::from_fn(|_| Fence::new(1 << 12));
        for side in [Side::Start, Side::End] {
            for rows in 1..=T::LANES {
                for cols in 1..=GROUP {
                    group_case(l, &mut fences, side, rows, cols);
                    self.0 += 1;
                }
            }
        }
    }
}

fn group_case<L: Lanes>(l: L, fences: &mut [Fence; 4], side: Side, rows: usize, cols: usize) {
    let count = packed4::lines::<L::Element>(rows);
    let [a, b, c, d] = fences;
    let x = a.slice(rows * cols, side, L::Element::from_f64(0.5));
    let [lines, sums] = [b, c].map(|fence| fence.lines::<L::Element>(count, side));
    let weights = d.lines::<L::Element>(1 + cols, side);
    l.vectorize(|| {
        packed4::pack(l, lines, x, rows, cols);
        packed4::product(l, sums, lines, &weights[1..], Some(&weights[0]));
        let (x_packed, d_packed) = (Packed4 { lines, rows, cols }, Packed4 { lines: sums, rows, cols });
        packed4::weight_gradient(l, weights, x_packed, d_packed, Beta::Zero);
        let (loss, targets) = (Loss::MeanSquaredError, Targets::from(&*x));
        let objective = Objective { loss, scale: 1.0, targets };
        assert!(loss::evaluate_packed4(l, sums, lines, &objective, rows, cols) >= 0.0);
        packed4::unpack(l, x, Packed4 { lines, rows, cols });
    });
}

#[test]
fn no_operation_on_groups_touches_memory_past_its_buffers() {
    on_every_isa!(f32, GroupCases(0) => single);
    on_every_isa!(f64, GroupCases(0) => double);
    println!("RESULT guard_pages_of_groups cases={}", single.0 + double.0);
}

/// The fence itself works: run as a child of the test below, which expects it to be killed.
#[test]
#[ignore = "ends the process"]
fn touching_a_fence() {
    let fence = Fence::new(4096);
    // SAFETY: the page behind belongs to the mapping, so the pointer stays within it. Nothing is read: the
    // system ends the process, which is what this one is for.
    let past = unsafe { fence.base.add(fence.page + fence.bytes).read_volatile() };
    println!("past the fence: {past}");
}

#[test]
fn a_read_past_a_fence_ends_the_process() {
    let name = "kernels::tests::guard_pages::touching_a_fence";
    let child = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--ignored", "--exact", name])
        .output()
        .unwrap();
    // By a signal, or by a sanitizer that has caught it; in any case before it could print what it read.
    let printed = String::from_utf8_lossy(&child.stdout);
    assert!(!child.status.success() && !printed.contains("past the fence"), "{:?}: {printed}", child.status);
}
