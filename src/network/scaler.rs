//! Features brought to mean 0 and standard deviation 1.

use crate::error::{Argument, Error, check_batch, check_length};
use crate::kernels::matrix::panels::panels;
use crate::kernels::ops::activation::Activation;
use crate::network::{Layer, Network, Source};
use crate::simd::scalar::Element;
use crate::simd::scalar::{Line, elements_mut};

/// The mean and the standard deviation of each feature, by which `x` becomes `(x - mean) / std`.
/// scikit-learn's `StandardScaler`.
///
/// A network that holds one applies it to every input, in training and in prediction, and is saved with it.
/// Another may stand for the targets: apply it to them before training, and fold it into the last layer
/// afterwards.
///
/// # Examples
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
    stds: Vec<T>,
}

impl<T: Element> Scaler<T> {
    /// The mean and the standard deviation, `sqrt(sum (x - mean)^2 / rows)`, of each feature of `x`
    /// `[rows, features]`.
    ///
    /// A constant feature has a standard deviation of 1, and so has one that is constant but for roundings:
    /// if the standard deviation is at most `2 epsilon |mean|`, as of values with up to four roundings each,
    /// or below the smallest number of full precision.
    ///
    /// Computed in `f64`, of values divided by a power of two near the largest of their feature, so that no
    /// square overflows or underflows, about a mean that is corrected by the mean of the differences from it
    /// (Chan, Golub and LeVeque 1983).
    ///
    /// # Errors
    /// [`Error::Zero`] for no features, [`Error::Rows`] unless `x` is whole rows, at least one,
    /// [`Error::Value`] with row and column of the first value that is NaN or infinite.
    ///
    /// # Examples
    ///
    /// ```
    /// use fuseprop::Scaler;
    ///
    /// let scaler = Scaler::fit(&[1.0_f32, 0.5, 3.0, 0.5], 2)?;
    /// assert_eq!(scaler.means(), [2.0, 0.5]);
    /// assert_eq!(scaler.stds(), [1.0, 1.0]);
    /// let error = Scaler::fit(&[1.0_f32, 0.5, f32::NAN, 0.5], 2).unwrap_err();
    /// assert_eq!(error.to_string(), "the features hold NaN at row 1, column 0, counted from 0");
    /// # Ok::<(), fuseprop::Error>(())
    /// ```
    pub fn fit(x: &[T], features: usize) -> Result<Self, Error> {
        if features == 0 {
            return Err(Error::Zero { argument: Argument::FeatureCount });
        }
        let rows = check_batch(Argument::Features, x.len(), features, usize::MAX)? as f64;
        if let Some(i) = x.iter().position(|x| !x.to_f64().is_finite()) {
            let (row, column, value) = (i / features, i % features, x[i].to_f64());
            return Err(Error::Value { argument: Argument::Features, row, column, value });
        }
        let units: Vec<f64> = (0..features).map(|i| unit(x.iter().skip(i).step_by(features))).collect();
        let mean_of = |term: &dyn Fn(usize, f64) -> f64| {
            let mut sums = vec![0.0; features];
            for row in x.chunks_exact(features) {
                for (i, (sum, x)) in sums.iter_mut().zip(row).enumerate() {
                    *sum += term(i, x.to_f64() / units[i]);
                }
            }
            sums.into_iter().map(|sum| sum / rows).collect::<Vec<f64>>()
        };
        let rounded = mean_of(&|_, x| x);
        let corrections = mean_of(&|i, x| x - rounded[i]);
        let means: Vec<f64> =
            rounded.iter().zip(&corrections).map(|(mean, correction)| mean + correction).collect();
        let variances = mean_of(&|i, x| (x - means[i]) * (x - means[i]));
        let epsilon = if size_of::<T>() == size_of::<f32>() { f32::EPSILON.into() } else { f64::EPSILON };
        let std = |i: usize| {
            let std = variances[i].sqrt();
            let is_rounding = std <= 2.0 * epsilon * means[i].abs();
            let std = std * units[i];
            if is_rounding || std < T::MIN_NORMAL.to_f64() { 1.0 } else { std }
        };
        Self::new(
            (0..features).map(|i| T::from_f64(means[i] * units[i])).collect(),
            (0..features).map(|i| T::from_f64(std(i))).collect(),
        )
    }

    /// A scaler of given means and standard deviations.
    ///
    /// # Errors
    /// [`Error::Zero`] for no features, [`Error::Length`] unless there are as many standard deviations as
    /// means, [`Error::Setting`] for a mean that is not finite or a standard deviation that is not finite and
    /// above 0.
    ///
    /// # Examples
    ///
    /// ```
    /// use fuseprop::Scaler;
    ///
    /// let scaler = Scaler::new(vec![0.5_f32], vec![2.0])?;
    /// assert_eq!((scaler.means(), scaler.stds()), (&[0.5][..], &[2.0][..]));
    /// # Ok::<(), fuseprop::Error>(())
    /// ```
    pub fn new(means: Vec<T>, stds: Vec<T>) -> Result<Self, Error> {
        if means.is_empty() {
            return Err(Error::Zero { argument: Argument::FeatureCount });
        }
        check_length(Argument::Stds, means.len(), stds.len())?;
        if let Some(mean) = means.iter().find(|mean| !mean.to_f64().is_finite()) {
            return Err(Error::Setting { argument: Argument::Mean, value: mean.to_f64() });
        }
        let right = |std: &T| std.to_f64().is_finite() && *std > T::ZERO;
        match stds.iter().find(|std| !right(std)) {
            Some(wrong) => Err(Error::Setting { argument: Argument::Std, value: wrong.to_f64() }),
            None => Ok(Self { means, stds }),
        }
    }

    /// The mean of each feature.
    ///
    /// # Examples
    ///
    /// ```
    /// use fuseprop::Scaler;
    ///
    /// assert_eq!(Scaler::fit(&[1.0_f32, 10.0, 3.0, 30.0], 2)?.means(), [2.0, 20.0]);
    /// # Ok::<(), fuseprop::Error>(())
    /// ```
    #[must_use]
    pub fn means(&self) -> &[T] {
        &self.means
    }

    /// The standard deviation of each feature.
    ///
    /// # Examples
    ///
    /// ```
    /// use fuseprop::Scaler;
    ///
    /// assert_eq!(Scaler::fit(&[1.0_f32, 10.0, 3.0, 30.0], 2)?.stds(), [1.0, 10.0]);
    /// # Ok::<(), fuseprop::Error>(())
    /// ```
    #[must_use]
    pub fn stds(&self) -> &[T] {
        &self.stds
    }

    /// `x = (x - mean) / std` in every row of `x` `[rows, features]`.
    ///
    /// # Errors
    /// [`Error::Rows`] unless `x` is whole rows.
    ///
    /// # Examples
    ///
    /// ```
    /// use fuseprop::Scaler;
    ///
    /// let mut x = [4.5_f32, 0.5];
    /// Scaler::new(vec![0.5], vec![2.0])?.apply(&mut x)?;
    /// assert_eq!(x, [2.0, 0.0]);
    /// # Ok::<(), fuseprop::Error>(())
    /// ```
    pub fn apply(&self, x: &mut [T]) -> Result<(), Error> {
        self.map(x, |x, mean, std| (x - mean) / std)
    }

    /// `x = x std + mean` in every row of `x` `[rows, features]`.
    ///
    /// # Errors
    /// [`Error::Rows`] unless `x` is whole rows.
    ///
    /// # Examples
    ///
    /// ```
    /// use fuseprop::Scaler;
    ///
    /// let mut x = [2.0_f32, 0.0];
    /// Scaler::new(vec![0.5], vec![2.0])?.inverse(&mut x)?;
    /// assert_eq!(x, [4.5, 0.5]);
    /// # Ok::<(), fuseprop::Error>(())
    /// ```
    pub fn inverse(&self, x: &mut [T]) -> Result<(), Error> {
        self.map(x, |x, mean, std| x * std + mean)
    }

    fn map(&self, x: &mut [T], f: impl Fn(f64, f64, f64) -> f64) -> Result<(), Error> {
        let features = self.means.len();
        if !x.len().is_multiple_of(features) {
            return Err(Error::Rows { argument: Argument::Features, row: features, found: x.len() });
        }
        for row in x.chunks_exact_mut(features) {
            for ((x, mean), std) in row.iter_mut().zip(&self.means).zip(&self.stds) {
                *x = T::from_f64(f(x.to_f64(), mean.to_f64(), std.to_f64()));
            }
        }
        Ok(())
    }
}

/// The power of two by which the largest magnitude of some values is from 1 to 2, or below if they are
/// denormal.
fn unit<'a, T: Element>(values: impl Iterator<Item = &'a T>) -> f64 {
    let largest = values.fold(0.0_f64, |largest, value| largest.max(value.to_f64().abs()));
    // The number without its fraction.
    f64::from_bits(largest.max(f64::MIN_POSITIVE).to_bits() & f64::INFINITY.to_bits())
}

/// A scaler as the kernels read it, a line for each panel. Padding is left as it is: minus 0, divided by 1.
#[derive(Clone, Debug)]
pub(crate) struct Scaling<T: Element> {
    pub(crate) scaler: Scaler<T>,
    pub(crate) means: Vec<T::Line>,
    pub(crate) stds: Vec<T::Line>,
}

impl<T: Element> Scaling<T> {
    fn new(scaler: Scaler<T>) -> Self {
        let lines = || vec![T::Line::ZERO; panels::<T>(scaler.means.len())];
        let (means, stds) = (lines(), lines());
        let mut scaling = Self { scaler, means, stds };
        scaling.fill_lines();
        scaling
    }

    /// Takes another scaler of as many features, into the same lines.
    fn set(&mut self, scaler: Scaler<T>) {
        self.scaler = scaler;
        self.fill_lines();
    }

    fn fill_lines(&mut self) {
        let fill = |lines: &mut [T::Line], values: &[T], padding: f64| {
            let (elements, rest) = elements_mut::<T>(lines).split_at_mut(values.len());
            elements.copy_from_slice(values);
            rest.fill(T::from_f64(padding));
        };
        fill(&mut self.means, &self.scaler.means, 0.0);
        fill(&mut self.stds, &self.scaler.stds, 1.0);
    }
}

impl<T: Element> Network<T> {
    /// The scaler that every input goes through first, if there is one.
    ///
    /// # Examples
    ///
    /// ```
    /// use fuseprop::{Activation, Network, Scaler};
    ///
    /// let mut network = Network::<f32>::builder(1).dense(1, Activation::Identity).build()?;
    /// assert!(network.scaler().is_none());
    /// network.set_scaler(Some(Scaler::new(vec![0.5], vec![2.0])?))?;
    /// assert_eq!(network.scaler().unwrap().means(), [0.5]);
    /// # Ok::<(), fuseprop::Error>(())
    /// ```
    #[must_use]
    pub fn scaler(&self) -> Option<&Scaler<T>> {
        self.scaling.as_ref().map(|scaling| &scaling.scaler)
    }

    /// Sets or removes the scaler that every input goes through first. Allocates nothing where it takes the
    /// place of another.
    ///
    /// # Errors
    /// [`Error::Length`] unless it has as many features as the network has inputs.
    ///
    /// # Examples
    ///
    /// ```
    /// use fuseprop::{Activation, Network, Scaler};
    ///
    /// let mut network = Network::<f32>::builder(1).dense(1, Activation::Identity).build()?;
    /// network.write_parameters(&[1.0, 0.0])?; // the identity
    /// network.set_scaler(Some(Scaler::new(vec![0.5], vec![2.0])?))?;
    /// assert_eq!(network.predict(&[4.5])?, [2.0]);
    /// # Ok::<(), fuseprop::Error>(())
    /// ```
    pub fn set_scaler(&mut self, scaler: Option<Scaler<T>>) -> Result<(), Error> {
        if let Some(scaler) = &scaler {
            check_length(Argument::ScalerFeatures, self.inputs(), scaler.means.len())?;
        }
        match (&mut self.scaling, scaler) {
            (Some(scaling), Some(scaler)) => scaling.set(scaler),
            (scaling, scaler) => *scaling = scaler.map(Scaling::new),
        }
        Ok(())
    }

    /// Folds the scaler of the inputs into the layers that read them, `W = W / std`, `b = b - W mean / std`,
    /// and removes it: for programs that know no scaler. In a chain that is the first layer.
    ///
    /// # Errors
    /// [`Error::Unused`] if there is no scaler, or a layer that reads the inputs is not dense or has no
    /// biases. Nothing has changed then.
    ///
    /// # Examples
    ///
    /// ```
    /// use fuseprop::{Activation, Network, Scaler};
    ///
    /// let mut network = Network::<f32>::builder(1).dense(1, Activation::Identity).build()?;
    /// network.write_parameters(&[1.0, 0.0])?;
    /// network.set_scaler(Some(Scaler::new(vec![0.5], vec![2.0])?))?;
    /// network.fold_scaler()?;
    /// let mut parameters = [0.0; 2];
    /// network.read_parameters(&mut parameters)?;
    /// assert_eq!(parameters, [0.5, -0.25]);
    /// # Ok::<(), fuseprop::Error>(())
    /// ```
    pub fn fold_scaler(&mut self) -> Result<(), Error> {
        let reads_inputs = |&i: &usize| self.layers.edges(i).iter().any(|edge| edge.source == Source::Input);
        let readers: Vec<usize> = (0..self.layers.len()).filter(reads_inputs).collect();
        readers.iter().try_for_each(|&i| check_fold(self.layers[i]))?;
        let Some(Scaling { scaler, .. }) = self.scaling.take() else {
            return Err(Error::Unused { argument: Argument::Scaler, with: Argument::Network });
        };
        for i in readers {
            self.map_rows(i, |_, row, bias| {
                let mut shift = 0.0;
                for ((w, mean), std) in row.iter_mut().zip(&scaler.means).zip(&scaler.stds) {
                    let scaled = w.to_f64() / std.to_f64();
                    shift += scaled * mean.to_f64();
                    *w = T::from_f64(scaled);
                }
                *bias = T::from_f64(bias.to_f64() - shift);
            })?;
        }
        Ok(())
    }

    /// Rewrites the weights and the bias of each output of a layer.
    fn map_rows(&mut self, l: usize, mut f: impl FnMut(usize, &mut [T], &mut T)) -> Result<(), Error> {
        let layer = self.checked_layer(l)?;
        let mut weights = vec![T::ZERO; layer.weight_count()];
        let mut biases = vec![T::ZERO; layer.outputs()];
        self.read_weights(l, &mut weights)?;
        self.read_biases(l, &mut biases)?;
        let rows = weights.chunks_exact_mut(layer.columns()).zip(&mut biases);
        rows.enumerate().for_each(|(output, (row, bias))| f(output, row, bias));
        self.write_weights(l, &weights)?;
        self.write_biases(l, &biases)
    }

    /// Folds the inverse of a scaler of the targets into the last layer, `W = std W`,
    /// `b = std b + mean`, so that outputs have the targets' units.
    ///
    /// # Errors
    /// [`Error::Length`] unless the scaler has as many features as the network has outputs, [`Error::Unused`]
    /// unless the last activation is [`Activation::Identity`] and the last layer has biases; of several heads
    /// none can take a scaler. Nothing has changed then.
    ///
    /// # Examples
    ///
    /// ```
    /// use fuseprop::{Activation, Network, Scaler};
    ///
    /// let mut network = Network::<f32>::builder(1).dense(1, Activation::Identity).build()?;
    /// network.write_parameters(&[1.0, 0.0])?;
    /// network.fold_output_scaler(&Scaler::new(vec![0.5], vec![2.0])?)?;
    /// assert_eq!(network.predict(&[3.0])?, [6.5]);
    /// # Ok::<(), fuseprop::Error>(())
    /// ```
    pub fn fold_output_scaler(&mut self, scaler: &Scaler<T>) -> Result<(), Error> {
        let (l, layer) = (self.layer_count() - 1, self.last());
        check_length(Argument::ScalerFeatures, layer.outputs(), scaler.means.len())?;
        if layer.activation() != Activation::Identity {
            return Err(Error::Unused { argument: Argument::OutputScale, with: Argument::Activation });
        }
        check_join(layer)?;
        check_bias(layer)?;
        self.map_rows(l, |output, row, bias| {
            let (mean, std) = (scaler.means[output].to_f64(), scaler.stds[output].to_f64());
            row.iter_mut().for_each(|w| *w = T::from_f64(w.to_f64() * std));
            *bias = T::from_f64(bias.to_f64() * std + mean);
        })
    }
}

/// The inputs' scaler goes into the weights and biases of dense layers.
fn check_fold(layer: Layer) -> Result<(), Error> {
    check_join(layer)?;
    if layer.kind().has_epsilon() {
        return Err(Error::Unused { argument: Argument::FoldTarget, with: Argument::LayerNorm });
    }
    check_bias(layer)
}

/// A layer without parameters takes none.
fn check_join(layer: Layer) -> Result<(), Error> {
    match layer.kind().has_parameters() {
        true => Ok(()),
        false => Err(Error::Unused { argument: Argument::FoldTarget, with: Argument::JoinLayer }),
    }
}

/// Means go into biases.
fn check_bias(layer: Layer) -> Result<(), Error> {
    if layer.has_bias() {
        return Ok(());
    }
    Err(Error::Unused { argument: Argument::FoldTarget, with: Argument::NoBiases })
}
