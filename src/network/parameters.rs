//! Parameters in PyTorch's order, copied from the panels that they are kept in and back.

use crate::error::{Argument, Error, check_length};
use crate::network::{Layer, Network};
use crate::simd::scalar::{Element, Line, elements, elements_mut};

impl<T: Element> Network<T> {
    /// Copies all parameters, `W0 b0 W1 b1 ..`, each `W` row-major `[outputs, inputs]`: PyTorch's order. A
    /// layer without biases has no `b`.
    ///
    /// # Errors
    /// [`Error::Length`] unless `to` has [`Network::parameter_count`] elements.
    ///
    /// # Examples
    ///
    /// ```
    /// use fuseprop::{Activation, Network};
    ///
    /// let mut network = Network::<f32>::builder(2).dense(1, Activation::Identity).build()?;
    /// let mut parameters = [0.0; 3]; // W00 W01 b0
    /// network.read_parameters(&mut parameters)?;
    /// assert_eq!(parameters[2], 0.0);
    /// # Ok::<(), fuseprop::Error>(())
    /// ```
    pub fn read_parameters(&self, to: &mut [T]) -> Result<(), Error> {
        check_length(Argument::Parameters, self.parameter_count(), to.len())?;
        read_canonical(&self.layers, &self.parameters, to);
        Ok(())
    }

    /// Overwrites all parameters, in the order of [`Network::read_parameters`].
    ///
    /// # Errors
    /// [`Error::Length`] unless `from` has [`Network::parameter_count`] elements.
    ///
    /// # Examples
    ///
    /// ```
    /// use fuseprop::{Activation, Network};
    ///
    /// let mut network = Network::<f32>::builder(2).dense(1, Activation::Identity).build()?;
    /// network.write_parameters(&[2.0, 3.0, 0.5])?; // W00 W01 b0
    /// assert_eq!(network.predict(&[1.0, 10.0])?, [32.5]);
    /// # Ok::<(), fuseprop::Error>(())
    /// ```
    pub fn write_parameters(&mut self, from: &[T]) -> Result<(), Error> {
        check_length(Argument::Parameters, self.parameter_count(), from.len())?;
        write_canonical(&self.layers, &mut self.parameters, from);
        Ok(())
    }

    /// Copies one layer's weights, row-major `[outputs, inputs]`; of a layer norm, `[features]`.
    ///
    /// # Errors
    /// [`Error::Layer`] for a layer past the last, [`Error::Length`] for a slice of another length.
    ///
    /// # Examples
    ///
    /// ```
    /// use fuseprop::{Activation, Network};
    ///
    /// let mut network = Network::<f32>::builder(2).dense(1, Activation::Identity).build()?;
    /// let mut weights = [0.0; 2];
    /// network.read_weights(0, &mut weights)?;
    /// assert!(weights[0] != 0.0);
    /// # Ok::<(), fuseprop::Error>(())
    /// ```
    pub fn read_weights(&self, layer: usize, to: &mut [T]) -> Result<(), Error> {
        let layer = self.checked_layer(layer)?;
        check_length(Argument::Weights, layer.weight_count(), to.len())?;
        read_weights(&self.parameters[layer.lines()], layer, to);
        Ok(())
    }

    /// Overwrites one layer's weights, row-major `[outputs, inputs]`; of a layer norm, `[features]`.
    ///
    /// # Errors
    /// [`Error::Layer`] for a layer past the last, [`Error::Length`] for a slice of another length.
    ///
    /// # Examples
    ///
    /// ```
    /// use fuseprop::{Activation, Network};
    ///
    /// let mut network = Network::<f32>::builder(2).dense(1, Activation::Identity).build()?;
    /// network.write_weights(0, &[2.0, 3.0])?;
    /// assert_eq!(network.predict(&[1.0, 10.0])?, [32.0]);
    /// # Ok::<(), fuseprop::Error>(())
    /// ```
    pub fn write_weights(&mut self, layer: usize, from: &[T]) -> Result<(), Error> {
        let layer = self.checked_layer(layer)?;
        check_length(Argument::Weights, layer.weight_count(), from.len())?;
        write_weights::<T>(&mut self.parameters[layer.lines()], layer, from);
        Ok(())
    }

    /// Copies one layer's biases, `[outputs]`; of a layer without biases, none.
    ///
    /// # Errors
    /// [`Error::Layer`] for a layer past the last, [`Error::Length`] for a slice of another length.
    ///
    /// # Examples
    ///
    /// ```
    /// use fuseprop::{Activation, Network};
    ///
    /// let mut network = Network::<f32>::builder(2).dense(1, Activation::Identity).build()?;
    /// let mut biases = [1.0];
    /// network.read_biases(0, &mut biases)?;
    /// assert_eq!(biases, [0.0]);
    /// # Ok::<(), fuseprop::Error>(())
    /// ```
    pub fn read_biases(&self, layer: usize, to: &mut [T]) -> Result<(), Error> {
        let layer = self.checked_layer(layer)?;
        check_length(Argument::Biases, layer.bias_count(), to.len())?;
        read_biases(&self.parameters[layer.lines()], layer, to);
        Ok(())
    }

    /// Overwrites one layer's biases, `[outputs]`; of a layer without biases, none.
    ///
    /// # Errors
    /// [`Error::Layer`] for a layer past the last, [`Error::Length`] for a slice of another length.
    ///
    /// # Examples
    ///
    /// ```
    /// use fuseprop::{Activation, Network};
    ///
    /// let mut network = Network::<f32>::builder(2).dense(1, Activation::Identity).build()?;
    /// network.write_biases(0, &[0.5])?;
    /// assert_eq!(network.predict(&[0.0, 0.0])?, [0.5]);
    /// # Ok::<(), fuseprop::Error>(())
    /// ```
    pub fn write_biases(&mut self, layer: usize, from: &[T]) -> Result<(), Error> {
        let layer = self.checked_layer(layer)?;
        check_length(Argument::Biases, layer.bias_count(), from.len())?;
        write_biases::<T>(&mut self.parameters[layer.lines()], layer, from);
        Ok(())
    }

    /// Overwrites all parameters by the parameters of another network of the same shapes: the same kinds of
    /// layers, sizes and biases. Activations, dropout, scaler and instruction set stay. Allocates
    /// nothing.
    ///
    /// # Errors
    /// [`Error::Shapes`] with the first layer that differs. Nothing has changed then.
    ///
    /// # Examples
    ///
    /// ```
    /// use fuseprop::{Activation, Network};
    ///
    /// let build = |seed| Network::<f32>::builder(2).dense(1, Activation::Tanh).seed(seed).build();
    /// let (online, mut target) = (build(1)?, build(2)?);
    /// target.copy_from(&online)?;
    /// assert_eq!(target.predict(&[0.5, 1.0])?, online.predict(&[0.5, 1.0])?);
    /// # Ok::<(), fuseprop::Error>(())
    /// ```
    pub fn copy_from(&mut self, other: &Self) -> Result<(), Error> {
        self.check_shapes(other)?;
        self.parameters.copy_from_slice(&other.parameters);
        Ok(())
    }

    /// Moves all parameters towards the parameters of another network of the same shapes,
    /// `w = w + tau (w' - w)`: the soft update of target networks in DQN and SAC (Lillicrap et al. 2016,
    /// algorithm 1).
    /// `torch.lerp`. Allocates nothing.
    ///
    /// Computed in `f64` and rounded once; a `tau` of 1 gives the other's parameters, of 0 one's own.
    /// Denormal results count as 0.
    ///
    /// # Errors
    /// [`Error::Setting`] unless `tau` is from 0 to 1, [`Error::Shapes`] with the first layer that differs.
    /// Nothing has changed then.
    ///
    /// # Examples
    ///
    /// ```
    /// use fuseprop::{Activation, Network};
    ///
    /// let build = || Network::<f32>::builder(1).dense(1, Activation::Identity).build();
    /// let (mut online, mut target) = (build()?, build()?);
    /// online.write_parameters(&[1.0, 0.0])?;
    /// target.write_parameters(&[0.0, 2.0])?;
    /// target.lerp_from(&online, 0.25)?;
    /// let mut parameters = [0.0; 2];
    /// target.read_parameters(&mut parameters)?;
    /// assert_eq!(parameters, [0.25, 1.5]);
    /// # Ok::<(), fuseprop::Error>(())
    /// ```
    pub fn lerp_from(&mut self, other: &Self, tau: f64) -> Result<(), Error> {
        if !(0.0..=1.0).contains(&tau) {
            return Err(Error::Setting { argument: Argument::Tau, value: tau });
        }
        self.check_shapes(other)?;
        let others = elements::<T>(&other.parameters);
        for (w, to) in elements_mut::<T>(&mut self.parameters).iter_mut().zip(others) {
            let (from, to) = (w.to_f64(), to.to_f64());
            // From the nearer end, so that both ends are exact.
            let between = if tau < 0.5 { from + tau * (to - from) } else { to - (1.0 - tau) * (to - from) };
            *w = T::from_f64(between).flushed();
        }
        Ok(())
    }

    /// Refuses another network unless its parameters lie as these do.
    fn check_shapes(&self, other: &Self) -> Result<(), Error> {
        let shape = |layer: &Layer| (layer.kind(), layer.inputs(), layer.outputs(), layer.has_bias());
        let (ours, theirs) = (self.layers.iter().map(shape), other.layers.iter().map(shape));
        let same = ours.zip(theirs).take_while(|(ours, theirs)| ours == theirs).count();
        if same == self.layers.len() && same == other.layers.len() {
            return Ok(());
        }
        Err(Error::Shapes { layer: same })
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
    if !layer.kind().has_parameters() {
        return;
    }
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
    if !layer.kind().has_parameters() {
        return;
    }
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
