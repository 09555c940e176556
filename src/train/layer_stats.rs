//! What a step did to each layer, in norms: whether gradients vanish or explode on their way down.

use crate::engine::batch::PassKind;
use crate::engine::squared_norm::SquaredNorm;
use crate::error::Error;
use crate::kernels::ops::loss::ClassWeights;
use crate::simd::scalar::Element;
use crate::train::executor::Executor;
use crate::train::trainer::Trainer;

/// The norms of one layer in the last step.
///
/// # Examples
/// ```
/// use fuseprop::{Activation, Network, Trainer};
///
/// let mut network = Network::<f32>::builder(2).dense(1, Activation::Identity).build()?;
/// network.write_parameters(&[3.0, 4.0, 0.0])?;
/// let mut trainer = Trainer::builder(network).layer_stats().build()?;
/// trainer.compute_gradients(&[1.0, 0.0], &[1.0])?; // an output of 3, and a gradient of 4, 0 and 4
/// let layer = trainer.layer_stats()?.next().unwrap();
/// assert_eq!((layer.activations, layer.parameters), (3.0, 5.0));
/// assert_eq!(layer.gradient, 32_f64.sqrt());
/// # Ok::<(), fuseprop::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub struct LayerStats {
    /// The root mean square of its outputs, before dropout: of the last layer the logits, for a loss that
    /// takes them.
    pub activations: f64,
    /// The Euclidean norm of the gradient of its parameters, before clipping.
    pub gradient: f64,
    /// The Euclidean norm of its parameters as they are now.
    pub parameters: f64,
}

impl<T: Element> Trainer<T> {
    /// The norms of each layer, first to last, of the last [`Trainer::step`], [`Trainer::compute_gradients`]
    /// or pair of [`Trainer::forward`] and [`Trainer::backward`]. All sums are in `f64`; rows of weight 0 are
    /// not among them.
    ///
    /// # Errors
    /// [`Error::NoLayerStats`] unless [`TrainerBuilder::layer_stats`](crate::TrainerBuilder::layer_stats)
    /// requested them.
    ///
    /// # Examples
    /// ```
    /// use fuseprop::{Activation, Network, Trainer};
    ///
    /// let mut builder = Network::<f32>::builder(4);
    /// for _ in 0..12 {
    ///     builder = builder.dense(4, Activation::Sigmoid);
    /// }
    /// let mut trainer = Trainer::builder(builder.seed(1).build()?).layer_stats().build()?;
    /// trainer.step(&[0.5; 4], &[0.0; 4])?;
    /// let gradients: Vec<f64> = trainer.layer_stats()?.map(|layer| layer.gradient).collect();
    /// assert!(gradients[0] < 1e-4 * gradients[11]); // they vanish
    /// # Ok::<(), fuseprop::Error>(())
    /// ```
    pub fn layer_stats(&self) -> Result<impl Iterator<Item = LayerStats> + '_, Error> {
        if !self.executor.keeps_layer_stats {
            return Err(Error::NoLayerStats);
        }
        Ok((0..self.network.layers.len()).map(|layer| self.stats_of(layer)))
    }

    fn stats_of(&self, l: usize) -> LayerStats {
        let Executor { partition, squares, shards, layer_stats_rows, .. } = &self.executor;
        let layer = self.network.layers[l];
        let layer_of_panel =
            partition.blocks.iter().flat_map(|block| core::iter::repeat_n(block.layer, block.panels));
        let panels = layer_of_panel.zip(squares);
        let gradient = panels.filter(|&(layer, _)| layer == l).map(|(_, &square)| square);
        let outputs = (layer_stats_rows * layer.outputs()).max(1) as f64;
        let activations = shards.iter().map(|shard| shard.squares[l]);
        LayerStats {
            activations: SquaredNorm::sum(activations).root_mean(outputs),
            gradient: SquaredNorm::sum(gradient).norm(),
            parameters: self.executor.squared_norm(self.network.layer_lines(l)).norm(),
        }
    }
}

impl<T: Element> Executor<T> {
    /// Starts the norms of a batch, over its rows that are read, unless the pass has none.
    pub(super) fn start_layer_stats(
        &mut self,
        rows: usize,
        pass: PassKind<'_, T>,
        classes: &ClassWeights<T>,
        outputs: usize,
    ) {
        let unread = match pass {
            PassKind::Forward | PassKind::TrainHeads(_) => None,
            PassKind::Train(objective) => objective.unread(classes, outputs),
            PassKind::Evaluate(_) | PassKind::EvaluateHeads(_) | PassKind::Backward(_) => return,
        };
        if self.keeps_layer_stats {
            let is_read = |row: &usize| !unread.is_some_and(|unread| unread.contains(*row));
            self.layer_stats_rows = (0..rows).filter(is_read).count();
            self.shards.iter_mut().for_each(|shard| shard.squares.fill(SquaredNorm::ZERO));
        }
    }
}
