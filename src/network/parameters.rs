//! Parameters in PyTorch's order, copied from the panels that they are kept in and back.

use crate::error::{Argument, Error, check_length};
use crate::network::{Layer, Network};
use crate::simd::scalar::{Element, Line, elements};

impl<T: Element> Network<T> {
    /// Copies all parameters, `W0 b0 W1 b1 ..`, each `W` row-major `[outputs, inputs]`: PyTorch's order. A
    /// layer without biases has no `b`.
    ///
    /// # Errors
    /// [`Error::Length`] unless `to` has [`Network::parameter_count`] elements.
    pub fn read_parameters(&self, to: &mut [T]) -> Result<(), Error> {
        check_length(Argument::Parameters, self.parameter_count(), to.len())?;
        read_canonical(&self.layers, &self.parameters, to);
        Ok(())
    }

    /// Overwrites all parameters, in the order of [`Network::read_parameters`].
    ///
    /// # Errors
    /// [`Error::Length`] unless `from` has [`Network::parameter_count`] elements.
    pub fn write_parameters(&mut self, from: &[T]) -> Result<(), Error> {
        check_length(Argument::Parameters, self.parameter_count(), from.len())?;
        write_canonical(&self.layers, &mut self.parameters, from);
        Ok(())
    }

    /// Copies one layer's weights, row-major `[outputs, inputs]`; of a layer norm, `[features]`.
    ///
    /// # Errors
    /// [`Error::Layer`] or [`Error::Length`].
    pub fn read_weights(&self, layer: usize, to: &mut [T]) -> Result<(), Error> {
        let layer = self.checked_layer(layer)?;
        check_length(Argument::Weights, layer.weight_count(), to.len())?;
        read_weights(&self.parameters[layer.lines()], layer, to);
        Ok(())
    }

    /// Overwrites one layer's weights, row-major `[outputs, inputs]`; of a layer norm, `[features]`.
    ///
    /// # Errors
    /// [`Error::Layer`] or [`Error::Length`].
    pub fn write_weights(&mut self, layer: usize, from: &[T]) -> Result<(), Error> {
        let layer = self.checked_layer(layer)?;
        check_length(Argument::Weights, layer.weight_count(), from.len())?;
        write_weights::<T>(&mut self.parameters[layer.lines()], layer, from);
        Ok(())
    }

    /// Copies one layer's biases, `[outputs]`; of a layer without biases, none.
    ///
    /// # Errors
    /// [`Error::Layer`] or [`Error::Length`].
    pub fn read_biases(&self, layer: usize, to: &mut [T]) -> Result<(), Error> {
        let layer = self.checked_layer(layer)?;
        check_length(Argument::Biases, layer.bias_count(), to.len())?;
        read_biases(&self.parameters[layer.lines()], layer, to);
        Ok(())
    }

    /// Overwrites one layer's biases, `[outputs]`; of a layer without biases, none.
    ///
    /// # Errors
    /// [`Error::Layer`] or [`Error::Length`].
    pub fn write_biases(&mut self, layer: usize, from: &[T]) -> Result<(), Error> {
        let layer = self.checked_layer(layer)?;
        check_length(Argument::Biases, layer.bias_count(), from.len())?;
        write_biases::<T>(&mut self.parameters[layer.lines()], layer, from);
        Ok(())
    }
}

/// The first line of the panel that output `j` lies in.
pub(super) fn panel_start<T: Element>(layer: Layer, j: usize) -> usize {
    j / T::LANES * (1 + layer.columns())
}

fn read_row<T: Element>(lines: &[T::Line], layer: Layer, j: usize, row: &mut [T]) {
    let panel = &elements::<T>(lines)[(panel_start::<T>(layer, j) + 1) * T::LANES..];
    for (w, line) in row.iter_mut().zip(panel.chunks_exact(T::LANES)) {
        *w = line[j % T::LANES];
    }
}

/// Copies one layer's weights, or their gradient, from its panels.
pub(crate) fn read_weights<T: Element>(panels: &[T::Line], layer: Layer, to: &mut [T]) {
    for (j, row) in to.chunks_exact_mut(layer.columns()).enumerate() {
        read_row::<T>(panels, layer, j, row);
    }
}

/// Copies one layer's biases, or their gradient, from its panels.
pub(crate) fn read_biases<T: Element>(panels: &[T::Line], layer: Layer, to: &mut [T]) {
    for (j, bias) in to.iter_mut().enumerate() {
        *bias = panels[panel_start::<T>(layer, j)].as_slice()[j % T::LANES];
    }
}

/// Copies panels of parameters, or of their gradient, into canonical order.
pub(crate) fn read_canonical<T: Element>(layers: &[Layer], lines: &[T::Line], to: &mut [T]) {
    let mut rest = to;
    for &layer in layers {
        let panels = &lines[layer.lines()];
        let (weights, after) = rest.split_at_mut(layer.weight_count());
        let (biases, after) = after.split_at_mut(layer.bias_count());
        read_weights(panels, layer, weights);
        read_biases(panels, layer, biases);
        rest = after;
    }
}

/// The way back of [`read_weights`].
pub(crate) fn write_weights<T: Element>(panels: &mut [T::Line], layer: Layer, from: &[T]) {
    for (j, row) in from.chunks_exact(layer.columns()).enumerate() {
        let lines = &mut panels[panel_start::<T>(layer, j) + 1..];
        for (line, &w) in lines.iter_mut().zip(row) {
            line.as_mut_slice()[j % T::LANES] = w;
        }
    }
    let last = panel_start::<T>(layer, layer.outputs - 1);
    clear_padding::<T>(&mut panels[last + 1..][..layer.columns()], layer);
}

/// Padding of the last panel is 0, unless numbers that are not finite went through it: written parameters are
/// rid of them.
fn clear_padding<T: Element>(lines: &mut [T::Line], layer: Layer) {
    let used = (layer.outputs - 1) % T::LANES + 1;
    lines.iter_mut().for_each(|line| line.as_mut_slice()[used..].fill(T::ZERO));
}

/// The way back of [`read_biases`]. Lines of biases of a layer without them become 0.
pub(crate) fn write_biases<T: Element>(panels: &mut [T::Line], layer: Layer, from: &[T]) {
    if !layer.has_bias() {
        return clear_biases::<T>(panels, layer);
    }
    for (j, &bias) in from.iter().enumerate() {
        panels[panel_start::<T>(layer, j)].as_mut_slice()[j % T::LANES] = bias;
    }
    let last = panel_start::<T>(layer, layer.outputs - 1);
    clear_padding::<T>(&mut panels[last..=last], layer);
}

/// The way back of [`read_canonical`].
pub(crate) fn write_canonical<T: Element>(layers: &[Layer], lines: &mut [T::Line], from: &[T]) {
    let mut rest = from;
    for &layer in layers {
        let panels = &mut lines[layer.lines()];
        let (weights, after) = rest.split_at(layer.weight_count());
        let (biases, after) = after.split_at(layer.bias_count());
        write_weights::<T>(panels, layer, weights);
        write_biases::<T>(panels, layer, biases);
        rest = after;
    }
}

/// The line of biases of each panel becomes 0: what a layer without biases has there.
pub(crate) fn clear_biases<T: Element>(panels: &mut [T::Line], layer: Layer) {
    panels.iter_mut().step_by(1 + layer.columns()).for_each(|line| *line = T::Line::ZERO);
}
