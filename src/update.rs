//! Who owns which parameters: their gradient is summed, the optimizer applied and the transposed copy
//! renewed by one task, in one pass.

use core::ops::Range;

use crate::element::Element;
use crate::kernels::blocking::{OWNED_PANELS, transposed_lines};
use crate::kernels::lanes::Line;
use crate::kernels::pack::{panels, transpose_panel};
use crate::network::Network;
use crate::optimizer::MAX_MOMENTS;
use crate::parallel::Divide;

/// Some adjacent panels of one layer's outputs: the unit of ownership.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Group {
    pub(crate) layer: usize,
    pub(crate) first_panel: usize,
    /// Where the group's lines start among the network's parameters, and how many they are.
    first_line: usize,
    lines: usize,
    /// Lines of the group in the transposed copy: none if no backward pass reads it.
    transposed: usize,
    inputs: usize,
    /// Columns of the group's panels that are outputs, not padding.
    outputs: usize,
}

impl Group {
    /// The group's lines among the network's parameters.
    pub(crate) fn lines(&self) -> Range<usize> {
        self.first_line..self.first_line + self.lines
    }
}

/// The transposed weights that backward passes read, and who owns which part of them.
#[derive(Clone, Debug)]
pub(crate) struct Transposed<T: Element> {
    pub(crate) lines: Vec<T::Line>,
    pub(crate) groups: Vec<Group>,
    /// Where each layer's lines lie.
    layers: Vec<Range<usize>>,
}

impl<T: Element> Transposed<T> {
    /// Transposes the layers from `first` on: those whose input gradient is needed.
    pub(crate) fn new(network: &Network<T>, first: usize) -> Self {
        let mut transposed = Self { lines: Vec::new(), groups: Vec::new(), layers: Vec::new() };
        let mut end = 0;
        for (l, layer) in network.layers.iter().enumerate() {
            let start = end;
            let stride = 1 + layer.inputs();
            let count = panels::<T>(layer.outputs());
            for first_panel in (0..count).step_by(OWNED_PANELS) {
                let owned = OWNED_PANELS.min(count - first_panel);
                let per_panel = if l < first { 0 } else { panels::<T>(layer.inputs()) * T::LANES };
                transposed.groups.push(Group {
                    layer: l,
                    first_panel,
                    first_line: layer.first_line + first_panel * stride,
                    lines: owned * stride,
                    transposed: owned * per_panel,
                    inputs: layer.inputs(),
                    outputs: layer.outputs() - first_panel * T::LANES,
                });
                end += owned * per_panel;
            }
            debug_assert!(
                l < first || Some(end - start) == transposed_lines::<T>(layer.inputs(), layer.outputs())
            );
            transposed.layers.push(start..end);
        }
        transposed.lines = vec![T::Line::ZERO; end];
        transposed.renew(network);
        transposed
    }

    /// Transposes the parameters as they are now.
    pub(crate) fn renew(&mut self, network: &Network<T>) {
        let mut rest = &mut self.lines[..];
        for group in &self.groups {
            let lines;
            (lines, rest) = rest.split_at_mut(group.transposed);
            renew::<T>(group, lines, &network.parameters[group.lines()]);
        }
    }

    /// The transposed weights of one layer.
    pub(crate) fn layer(&self, l: usize) -> &[T::Line] {
        &self.lines[self.layers[l].clone()]
    }
}

/// Copies a group's weights to their place in the transposed copy.
pub(crate) fn renew<T: Element>(group: &Group, to: &mut [T::Line], parameters: &[T::Line]) {
    if to.is_empty() {
        return;
    }
    let blocks = panels::<T>(group.inputs) * T::LANES;
    let weights = parameters.chunks_exact(1 + group.inputs);
    for (p, (to, panel)) in to.chunks_exact_mut(blocks).zip(weights).enumerate() {
        transpose_panel::<T>(to, &panel[1..], group.outputs - p * T::LANES);
    }
}

/// A run of groups with all that belongs to them.
pub(crate) struct Owned<'a, T: Element> {
    pub(crate) groups: &'a [Group],
    pub(crate) lines: Lines<'a, T>,
    /// The squared norm of each group's gradient.
    pub(crate) squares: &'a mut [f64],
}

/// The lines that belong to some adjacent groups.
pub(crate) struct Lines<'a, T: Element> {
    pub(crate) parameters: &'a mut [T::Line],
    pub(crate) gradients: &'a mut [T::Line],
    /// What the optimizer keeps beside each parameter; those that it does not need are empty.
    pub(crate) moments: [&'a mut [T::Line]; MAX_MOMENTS],
    pub(crate) transposed: &'a mut [T::Line],
}

impl<T: Element> Lines<'_, T> {
    /// The first so many lines, of them all and of the transposed, and the others.
    #[inline(always)]
    fn split(self, lines: usize, transposed: usize) -> (Self, Self) {
        let (parameters, parameters_right) = self.parameters.split_at_mut(lines);
        let (gradients, gradients_right) = self.gradients.split_at_mut(lines);
        let (transposed, transposed_right) = self.transposed.split_at_mut(transposed);
        let [a, b, c] = self.moments.map(
            #[inline(always)]
            |moment| moment.split_at_mut(lines.min(moment.len())),
        );
        (
            Self { parameters, gradients, moments: [a.0, b.0, c.0], transposed },
            Self {
                parameters: parameters_right,
                gradients: gradients_right,
                moments: [a.1, b.1, c.1],
                transposed: transposed_right,
            },
        )
    }
}

impl<T: Element> Divide for Owned<'_, T> {
    fn pieces(&self) -> usize {
        self.groups.len()
    }

    fn divide(self, left: usize) -> (Self, Self) {
        let (groups, groups_right) = self.groups.split_at(left);
        let (squares, squares_right) = self.squares.split_at_mut(left);
        let lines = groups.iter().map(|group| group.lines).sum();
        let transposed = groups.iter().map(|group| group.transposed).sum();
        let (lines, lines_right) = self.lines.split(lines, transposed);
        (
            Self { groups, lines, squares },
            Self { groups: groups_right, lines: lines_right, squares: squares_right },
        )
    }
}

impl<T: Element> Owned<'_, T> {
    /// Calls `f` with each group, its lines, and where its squared norm goes.
    pub(crate) fn each(self, f: impl Fn(&Group, Lines<'_, T>, &mut f64)) {
        let mut rest = self.lines;
        for (group, square) in self.groups.iter().zip(self.squares) {
            let of_group;
            (of_group, rest) = rest.split(group.lines, group.transposed);
            f(group, of_group, square);
        }
    }
}
