//! The numbers of layers: those of the file, with the constants around them multiplied in.
//!
//! Computed in `f64`, and rounded once to the element type.

use crate::error::{Argument, Error};
use crate::files::onnx::constant::Numbers;
use crate::files::onnx::expression::Step;
use crate::files::onnx::lower::{Plan, PlannedLayer, Weights};
use crate::network::scaler::Scaler;
use crate::network::{Layer, LayerKind, Network};
use crate::simd::scalar::Element;

/// A step with its numbers.
pub(super) struct Change {
    kind: ChangeKind,
    /// One for each feature, or for all.
    values: Vec<f64>,
}

#[derive(Clone, Copy)]
enum ChangeKind {
    Add,
    Multiply,
    Divide,
}

impl Change {
    pub(super) fn of(step: &Step) -> Self {
        let (constant, numbers) = (step.constant(), step.constant().numbers());
        let kind = match step {
            Step::Add(_) | Step::Subtract(_) => ChangeKind::Add,
            Step::Multiply(_) => ChangeKind::Multiply,
            Step::Divide(_) | Step::DivideByRoot { .. } => ChangeKind::Divide,
        };
        let value = |value: f64| match step {
            Step::Subtract(_) => -value,
            Step::DivideByRoot { epsilon, .. } => (value + epsilon).sqrt(),
            Step::Add(_) | Step::Multiply(_) | Step::Divide(_) => value,
        };
        Self { kind, values: (0..constant.len()).map(|i| value(numbers.at(i))).collect() }
    }

    fn at(&self, feature: usize) -> f64 {
        self.values[if self.values.len() == 1 { 0 } else { feature }]
    }

    /// What becomes of the weights and the bias of one output, by a change of the output.
    fn after(&self, output: usize, row: &mut [f64], bias: &mut f64) {
        let value = self.at(output);
        match self.kind {
            ChangeKind::Add => *bias += value,
            ChangeKind::Multiply => {
                row.iter_mut().for_each(|w| *w *= value);
                *bias *= value;
            }
            ChangeKind::Divide => {
                row.iter_mut().for_each(|w| *w /= value);
                *bias /= value;
            }
        }
    }

    /// What becomes of them by a change of the inputs.
    fn before(&self, row: &mut [f64], bias: &mut f64) {
        for (i, w) in row.iter_mut().enumerate() {
            match self.kind {
                ChangeKind::Add => *bias += *w * self.at(i),
                ChangeKind::Multiply => *w *= self.at(i),
                ChangeKind::Divide => *w /= self.at(i),
            }
        }
    }
}

/// The scaler of the inputs, `(x - mean) / std`.
#[derive(Clone)]
pub(super) struct Affine {
    means: Vec<f64>,
    stds: Vec<f64>,
}

impl Affine {
    pub(super) fn identity(features: usize) -> Self {
        Self { means: vec![0.0; features], stds: vec![1.0; features] }
    }

    /// With a change of what it gives; nothing if that is no scaler, whose standard deviations are above 0.
    pub(super) fn then(&self, change: &Change) -> Option<Self> {
        let mut scaler = self.clone();
        for (i, (mean, std)) in scaler.means.iter_mut().zip(&mut scaler.stds).enumerate() {
            let value = change.at(i);
            match change.kind {
                ChangeKind::Add => *mean -= value * *std,
                ChangeKind::Multiply => *std /= value,
                ChangeKind::Divide => *std *= value,
            }
            let is_scaler = mean.is_finite() && *std > f64::from(f32::MIN_POSITIVE) && *std < f32::MAX.into();
            if !is_scaler {
                return None;
            }
        }
        Some(scaler)
    }

    fn is_identity(&self) -> bool {
        self.means.iter().all(|&mean| mean == 0.0) && self.stds.iter().all(|&std| std == 1.0)
    }
}

/// Writes the scaler and all parameters of a plan into the network that was built from it.
pub(super) fn write<T: Element>(plan: &Plan, network: &mut Network<T>) -> Result<(), Error> {
    if !plan.scaler.is_identity() {
        let round = |values: &[f64]| values.iter().map(|&value| T::from_f64(value)).collect();
        let scaler = Scaler::new(round(&plan.scaler.means), round(&plan.scaler.stds))?;
        network.set_scaler(Some(scaler))?;
    }
    for (i, planned) in plan.layers.iter().enumerate() {
        let layer = network.checked_layer(i)?;
        if layer.kind().has_parameters() {
            let Parameters { weights, biases } = parameters(planned, &layer);
            network.write_weights(i, &weights)?;
            if layer.has_bias() {
                network.write_biases(i, &biases)?;
            }
        }
    }
    Ok(())
}

struct Parameters<T> {
    weights: Vec<T>,
    biases: Vec<T>,
}

fn parameters<T: Element>(planned: &PlannedLayer, layer: &Layer) -> Parameters<T> {
    let before: Vec<Change> = planned.before.iter().map(Change::of).collect();
    let after: Vec<Change> = planned.after.iter().map(Change::of).collect();
    let file = match &planned.weights {
        Weights::File(constant) => Some(constant.numbers()),
        Weights::None | Weights::Identity => None,
    };
    let (outputs, columns) = (layer.outputs(), layer.columns());
    let mut parameters =
        Parameters { weights: Vec::with_capacity(outputs * columns), biases: Vec::with_capacity(outputs) };
    let mut row = vec![0.0; columns];
    for output in 0..outputs {
        read_row(file.as_ref(), layer, output, &mut row);
        let mut bias = 0.0;
        before.iter().rev().for_each(|change| change.before(&mut row, &mut bias));
        after.iter().for_each(|change| change.after(output, &mut row, &mut bias));
        parameters.weights.extend(row.iter().map(|&w| T::from_f64(w)));
        parameters.biases.push(T::from_f64(bias));
    }
    parameters
}

/// The weights of one output, which in files are a column.
fn read_row(file: Option<&Numbers<'_>>, layer: &Layer, output: usize, row: &mut [f64]) {
    let is_norm = layer.kind() == LayerKind::LayerNorm;
    match file {
        Some(numbers) if is_norm => row[0] = numbers.at(output),
        Some(numbers) => {
            row.iter_mut().enumerate().for_each(|(i, w)| *w = numbers.at(i * layer.outputs() + output));
        }
        None if is_norm => row[0] = 1.0,
        None => {
            row.fill(0.0);
            row[output] = 1.0;
        }
    }
}

/// Refuses a plan with far more parameters than a file of so many bytes can hold: weights that are used again
/// and again.
pub(super) fn check_size(plan: &Plan, file_bytes: usize) -> Result<(), Error> {
    /// Biases of 0, weights of 1, diagonals.
    const IMPLIED: usize = 1 << 17;
    const SMALLEST_NUMBER: usize = 2;
    let of_layer = |layer: &PlannedLayer| match &layer.weights {
        Weights::File(constant) => constant.len().saturating_add(layer.outputs),
        Weights::Identity if layer.kind == LayerKind::Dense => layer.outputs.saturating_pow(2),
        Weights::Identity | Weights::None => layer.outputs,
    };
    let count = plan.layers.iter().fold(0_usize, |sum, layer| sum.saturating_add(of_layer(layer)));
    match count <= file_bytes / SMALLEST_NUMBER + IMPLIED {
        true => Ok(()),
        false => Err(Error::Overflow { argument: Argument::ParameterCount }),
    }
}
