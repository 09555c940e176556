//! The weight gradient in bf16: `d_W = x^T d_z` and `d_b`, the sum of the rows of `d_z`.

use crate::kernels::gemm::bf16::tile::{Operands, Steps, accumulate};
use crate::kernels::gemm::micro_kernel::{TileOrigin, load_sums, store_sums, with_const};
use crate::kernels::gemm::weight_gradient::FusedSgd;
use crate::kernels::matrix::Beta;
use crate::kernels::matrix::bf16::PairPanels;
use crate::kernels::matrix::panels::{PanelsMut, clear_padding};
use crate::simd::bf16::{Pair, PairLine, PairProducts, PairVisitor, pairs_of_lines};
use crate::simd::lanes::{Arithmetic, Lanes};
use crate::simd::scalar::{Element, Scalar};

/// `d_W (+)= x^T d_z` and `d_b (+)= sum of rows of d_z`, for some panels of outputs, and a step by the result
/// if there is a `fused_sgd`, of whole panels only.
///
/// Padding lanes become 0. What it is added to must be sums of such products, or
/// [whole](PairProducts::whole).
pub(crate) struct WeightGradient<'a, T: Element> {
    /// Panels of `[1 + I, O]`, biases first.
    pub d_w: &'a mut [T::Line],
    /// `[B, I]`.
    pub x: PairPanels<'a>,
    /// `[B, O]`.
    pub d_z: PairPanels<'a>,
    /// The panel of `d_z` that the first of `d_w` belongs to.
    pub first_panel: usize,
    /// Whether `d_w` is overwritten or added to.
    pub beta: Beta,
    pub fused_sgd: Option<FusedSgd<'a, T>>,
}

/// Rounds sums to what others may be [added to](PairProducts::whole).
pub(crate) struct WholeSums<'a, T: Element>(pub &'a mut [T::Line]);

impl<T: Element> PairVisitor<T> for WholeSums<'_, T> {
    #[inline(always)]
    fn visit<P: PairProducts<Lanes: Lanes<Element = T>>>(self, p: P) {
        p.vectorize(
            #[inline(always)]
            || {
                let l = p.lanes();
                for line in self.0 {
                    let whole = p.whole(l.load(line));
                    l.store(line, whole);
                }
            },
        );
    }
}

/// What the biases are multiplied by, in every row.
const ONES: [Pair; 1] = [Pair::ONES];

impl<T: Element> PairVisitor<T> for WeightGradient<'_, T> {
    #[inline(always)]
    fn visit<P: PairProducts<Lanes: Lanes<Element = T>>>(mut self, p: P) {
        p.vectorize(
            #[inline(always)]
            || {
                let stride = 1 + self.x.cols;
                let owned = self.d_w.len() / stride;
                let mut first = 0;
                while first < owned {
                    let np = P::TILES.panels.min(owned - first);
                    with_const!(
                        np,
                        NP if NP <= P::TILES.panels => self.panels::<P, NP>(p, first),
                        1 2 3
                    );
                    first += np;
                }
                if owned > 0 && self.first_panel + owned == self.d_z.panels() {
                    let cols = self.d_z.width(self.d_z.panels() - 1);
                    let lines = &mut self.d_w[(owned - 1) * stride..];
                    clear_padding(p.lanes(), PanelsMut { lines, rows: stride, cols });
                }
            },
        );
    }
}

/// Place of a tile: its first panel of outputs, and its first line in each.
#[derive(Clone, Copy)]
struct Place {
    panel: usize,
    line: usize,
}

impl<T: Element> WeightGradient<'_, T> {
    /// `NP` panels of outputs, from panel `first` of `d_w` on: the biases, then blocks of inputs.
    #[inline(always)]
    fn panels<P, const NP: usize>(&mut self, p: P, first: usize)
    where
        P: PairProducts<Lanes: Lanes<Element = T>>,
    {
        self.tile::<P, 0, 0, 1, NP>(p, &ONES, Place { panel: first, line: 0 });
        let x = self.x;
        for s in 0..x.panels() {
            let (column, width) = (pairs_of_lines(x.panel(s)), x.width(s));
            let (mut i, mut height) = (0, P::TILES.rows);
            while i < width {
                if height > width - i {
                    height /= 2;
                    continue;
                }
                let (a, place) = (&column[i..], Place { panel: first, line: 1 + s * f32::LANES + i });
                with_const!(
                    height,
                    MR if MR <= P::TILES.rows => self.tile::<P, 1, { Pair::PER_LINE }, MR, NP>(p, a, place),
                    1 2 4 8
                );
                i += height;
            }
        }
    }

    /// `MR` lines of `NP` panels.
    #[inline(always)]
    fn tile<P, const ROW: usize, const K: usize, const MR: usize, const NP: usize>(
        &mut self,
        p: P,
        a: &[Pair],
        place: Place,
    ) where
        P: PairProducts<Lanes: Lanes<Element = T>>,
    {
        p.vectorize(
            #[inline(always)]
            || {
                let l = p.lanes();
                let Self { d_w, x, d_z, first_panel, beta, fused_sgd } = self;
                let panel_stride = 1 + x.cols;
                let origin = TileOrigin { row: place.panel * panel_stride + place.line, panel_stride };
                let mut sums = [[l.zero(); NP]; MR];
                if *beta == Beta::One {
                    load_sums(l, &mut sums, d_w, origin);
                }
                let mut b: [&[PairLine]; NP] = [&[]; NP];
                for (n, panel) in b.iter_mut().enumerate() {
                    *panel = d_z.panel(*first_panel + place.panel + n);
                }
                accumulate::<P, ROW, K, MR, NP>(p, &mut sums, Operands { a, b }, Steps::one(d_z.pairs));
                store_sums(l, d_w, origin, &sums);
                if let Some(sgd) = fused_sgd {
                    sgd.step(l, &sums, origin);
                }
            },
        );
    }
}
