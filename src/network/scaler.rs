//! Features of one size: what is taken from each, and what it is divided by.

use crate::error::Argument;
use crate::error::{Error, check_length};
use crate::kernels::matrix::panels::panels;
use crate::kernels::ops::activation::Activation;
use crate::network::{Layer, LayerKind, Network};
use crate::simd::scalar::Element;
use crate::simd::scalar::{Line, elements_mut};

/// The mean and the deviation of each feature: `(x - mean) / deviation`.
///
/// A network that holds one applies it to every input, in training and in prediction, and is saved with it.
/// Another may stand for the targets: apply it to them before training, and fold it into the last layer
/// afterwards.
///
/// ```
/// use fuseprop::{Activation, Network, Scaler};
///
/// let x = [1.0_f32, 100.0, 3.0, 300.0];
/// let mut network = Network::<f32>::builder(2).dense(1, Activation::Identity).build()?;
/// network.set_scaler(Some(Scaler::fit(&x, 2)?))?;
/// assert_eq!(network.scaler().unwrap().means(), [2.0, 200.0]);
/// # Ok::<(), fuseprop::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Scaler<T> {
    means: Vec<T>,
    deviations: Vec<T>,
}

impl<T: Element> Scaler<T> {
    /// The mean and the standard deviation, `sqrt(sum (x - mean)^2 / rows)`, of each feature of `x`
    /// `[rows, features]`, computed in `f64`. A feature that never changes has a deviation of 1.
    ///
    /// # Errors
    /// [`Error::Zero`] for no features, [`Error::Rows`] unless `x` is whole rows, at least one,
    /// [`Error::Setting`] for values that are not finite.
    pub fn fit(x: &[T], features: usize) -> Result<Self, Error> {
        if features == 0 {
            return Err(Error::Zero { argument: Argument::FeatureCount });
        }
        if x.is_empty() || !x.len().is_multiple_of(features) {
            return Err(Error::Rows { argument: Argument::Inputs, row: features, found: x.len() });
        }
        let rows = (x.len() / features) as f64;
        let mean_of = |term: &dyn Fn(usize, f64) -> f64| {
            let mut sums = vec![0.0; features];
            for row in x.chunks_exact(features) {
                for (i, (sum, x)) in sums.iter_mut().zip(row).enumerate() {
                    *sum += term(i, x.to_f64());
                }
            }
            sums.into_iter().map(|sum| sum / rows).collect::<Vec<f64>>()
        };
        let means = mean_of(&|_, x| x);
        let variances = mean_of(&|i, x| (x - means[i]) * (x - means[i]));
        let is_constant = |i: usize| x.iter().skip(i).step_by(features).all(|value| *value == x[i]);
        let deviation = |(i, variance): (usize, &f64)| {
            // A mean is rounded: the variance of a constant need not be 0. In the element type it may be 0
            // too.
            let deviation = T::from_f64(variance.sqrt());
            if is_constant(i) || deviation == T::ZERO { T::from_f64(1.0) } else { deviation }
        };
        Self::new(
            means.iter().map(|&mean| T::from_f64(mean)).collect(),
            variances.iter().enumerate().map(deviation).collect(),
        )
    }

    /// Means and deviations of one's own.
    ///
    /// # Errors
    /// [`Error::Zero`] for no features, [`Error::Length`] unless there are as many of both,
    /// [`Error::Setting`] for a mean that is not finite or a deviation that is not finite and above 0.
    pub fn new(means: Vec<T>, deviations: Vec<T>) -> Result<Self, Error> {
        if means.is_empty() {
            return Err(Error::Zero { argument: Argument::FeatureCount });
        }
        check_length(Argument::Stds, means.len(), deviations.len())?;
        if let Some(mean) = means.iter().find(|mean| !mean.to_f64().is_finite()) {
            return Err(Error::Setting { argument: Argument::Mean, value: mean.to_f64() });
        }
        let right = |deviation: &T| deviation.to_f64().is_finite() && *deviation > T::ZERO;
        match deviations.iter().find(|deviation| !right(deviation)) {
            Some(wrong) => Err(Error::Setting { argument: Argument::Std, value: wrong.to_f64() }),
            None => Ok(Self { means, deviations }),
        }
    }

    /// What is taken from each feature.
    #[must_use]
    pub fn means(&self) -> &[T] {
        &self.means
    }

    /// What each feature is divided by then.
    #[must_use]
    pub fn stds(&self) -> &[T] {
        &self.deviations
    }

    /// `x = (x - mean) / deviation` in every row of `x` `[rows, features]`.
    ///
    /// # Errors
    /// [`Error::Rows`] unless `x` is whole rows.
    pub fn apply(&self, x: &mut [T]) -> Result<(), Error> {
        self.map(x, |x, mean, deviation| (x - mean) / deviation)
    }

    /// `x = x deviation + mean` in every row of `x` `[rows, features]`.
    ///
    /// # Errors
    /// [`Error::Rows`] unless `x` is whole rows.
    pub fn inverse(&self, x: &mut [T]) -> Result<(), Error> {
        self.map(x, |x, mean, deviation| x * deviation + mean)
    }

    fn map(&self, x: &mut [T], f: impl Fn(f64, f64, f64) -> f64) -> Result<(), Error> {
        let features = self.means.len();
        if !x.len().is_multiple_of(features) {
            return Err(Error::Rows { argument: Argument::Features, row: features, found: x.len() });
        }
        for row in x.chunks_exact_mut(features) {
            for ((x, mean), deviation) in row.iter_mut().zip(&self.means).zip(&self.deviations) {
                *x = T::from_f64(f(x.to_f64(), mean.to_f64(), deviation.to_f64()));
            }
        }
        Ok(())
    }
}

/// A scaler as the kernels read it, a line for each panel. Padding is left as it is: minus 0, divided by 1.
#[derive(Clone, Debug)]
pub(crate) struct Scaling<T: Element> {
    pub(crate) scaler: Scaler<T>,
    pub(crate) means: Vec<T::Line>,
    pub(crate) deviations: Vec<T::Line>,
}

impl<T: Element> Scaling<T> {
    fn new(scaler: Scaler<T>) -> Self {
        let lines = |values: &[T], padding: f64| {
            let mut lines = vec![T::Line::ZERO; panels::<T>(values.len())];
            let elements = elements_mut::<T>(&mut lines);
            elements.fill(T::from_f64(padding));
            elements[..values.len()].copy_from_slice(values);
            lines
        };
        let (means, deviations) = (lines(&scaler.means, 0.0), lines(&scaler.deviations, 1.0));
        Self { scaler, means, deviations }
    }
}

impl<T: Element> Network<T> {
    /// What every input goes through first, if anything.
    #[must_use]
    pub fn scaler(&self) -> Option<&Scaler<T>> {
        self.scaling.as_ref().map(|scaling| &scaling.scaler)
    }

    /// Lets every input go through a scaler first, or through none.
    ///
    /// # Errors
    /// [`Error::Length`] unless it has as many features as the network has inputs.
    pub fn set_scaler(&mut self, scaler: Option<Scaler<T>>) -> Result<(), Error> {
        if let Some(scaler) = &scaler {
            check_length(Argument::ScalerFeatures, self.inputs(), scaler.means.len())?;
        }
        self.scaling = scaler.map(Scaling::new);
        Ok(())
    }

    /// Works the scaler of the inputs into the first layer, `W = W / deviation`,
    /// `b = b - W mean / deviation`, and does without it from then on: for machines that know nothing of it.
    ///
    /// # Errors
    /// [`Error::Unused`] if there is no scaler, or the first layer is not dense or has no biases. Nothing has
    /// changed then.
    pub fn fold_scaler(&mut self) -> Result<(), Error> {
        let layer = self.layers[0];
        if layer.kind() != LayerKind::Dense {
            return Err(Error::Unused { argument: Argument::FoldTarget, with: Argument::LayerNorm });
        }
        check_bias(layer)?;
        let Some(Scaling { scaler, .. }) = self.scaling.take() else {
            return Err(Error::Unused { argument: Argument::Scaler, with: Argument::Network });
        };
        let mut weights = vec![T::ZERO; layer.inputs() * layer.outputs()];
        let mut biases = vec![T::ZERO; layer.outputs()];
        self.read_weights(0, &mut weights)?;
        self.read_biases(0, &mut biases)?;
        for (row, bias) in weights.chunks_exact_mut(layer.inputs()).zip(&mut biases) {
            let mut shift = 0.0;
            for ((w, mean), deviation) in row.iter_mut().zip(&scaler.means).zip(&scaler.deviations) {
                let scaled = w.to_f64() / deviation.to_f64();
                shift += scaled * mean.to_f64();
                *w = T::from_f64(scaled);
            }
            *bias = T::from_f64(bias.to_f64() - shift);
        }
        self.write_weights(0, &weights)?;
        self.write_biases(0, &biases)
    }

    /// Works the way back of a scaler of the targets into the last layer, `W = deviation W`,
    /// `b = deviation b + mean`, so that outputs are in the targets' own units.
    ///
    /// # Errors
    /// [`Error::Length`] unless the scaler has as many features as the network has outputs, [`Error::Unused`]
    /// unless the last activation is [`Activation::Identity`] and the last layer has biases. Nothing has
    /// changed then.
    pub fn fold_output_scaler(&mut self, scaler: &Scaler<T>) -> Result<(), Error> {
        let (l, layer) = (self.layer_count() - 1, self.last());
        check_length(Argument::ScalerFeatures, layer.outputs(), scaler.means.len())?;
        if layer.activation() != Activation::Identity {
            return Err(Error::Unused { argument: Argument::OutputScale, with: Argument::Activation });
        }
        check_bias(layer)?;
        let mut weights = vec![T::ZERO; layer.weight_count()];
        let mut biases = vec![T::ZERO; layer.outputs()];
        self.read_weights(l, &mut weights)?;
        self.read_biases(l, &mut biases)?;
        let scales = scaler.means.iter().zip(&scaler.deviations);
        for ((row, bias), (mean, deviation)) in
            weights.chunks_exact_mut(layer.columns()).zip(&mut biases).zip(scales)
        {
            let scale = |w: T| w.to_f64() * deviation.to_f64();
            row.iter_mut().for_each(|w| *w = T::from_f64(scale(*w)));
            *bias = T::from_f64(scale(*bias) + mean.to_f64());
        }
        self.write_weights(l, &weights)?;
        self.write_biases(l, &biases)
    }
}

/// Means go into biases.
fn check_bias(layer: Layer) -> Result<(), Error> {
    if layer.has_bias() {
        return Ok(());
    }
    Err(Error::Unused { argument: Argument::FoldTarget, with: Argument::NoBiases })
}
