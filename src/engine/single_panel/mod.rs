//! Networks of which every layer is one panel wide: a whole step, or a prediction, as one run.
//!
//! Through at most 16 features a layer (8 in `f64`) a few rows are some hundred instructions of arithmetic. A
//! micro-batch, a shard and a parameter block for each would take several times as many to find their
//! operands. Here all of them lie in one buffer, at distances that follow from the number of rows, or in
//! registers if they are a single line. The operations, and the order of every sum, are those of
//! `micro_batch.rs` and `update.rs`, and so are the bits: a result does not show which of both a batch took.
//!
//! | file | |
//! |---|---|
//! | `buffers.rs` | the networks that are small, and their buffers |
//! | `arrangement.rs` | the trait of arrangements of rows in lines, and the operands of a layer |
//! | `line_per_row.rs` | a line for each row |
//! | `group_per_row.rs` | four lanes for each row |
//! | `forward.rs` | the forward pass |
//! | `step.rs` | a step: forward, loss, backward, update |
//! | `prediction.rs` | a prediction |
//!
//! The schedule is written once for both arrangements, [`LinePerRow`] and [`GroupPerRow`], and apart from the
//! one of `micro_batch.rs`. There, each layer decides between dense and norm, between one thread and several,
//! for or against dropout; it prefetches, and finds each operand in a vector of its own; products are calls,
//! as large code must exist once. Here nothing is decided but the activation, products are inlined, and where
//! a block is one line the compiler knows it, which alone takes a step of 2-4-1 from 122 to 103 ns. A
//! prediction of one row through 2-4-1, 30 ns in all, stores nothing between its layers: see
//! [`SinglePanelPrediction::run_line`].

mod arrangement;
mod buffers;
mod forward;
mod group_per_row;
mod line_per_row;
mod prediction;
mod step;

pub(crate) use buffers::SinglePanelBuffers;
pub(crate) use group_per_row::GroupPerRow;
pub(crate) use line_per_row::LinePerRow;
pub(crate) use prediction::SinglePanelPrediction;
pub(crate) use step::SinglePanelStep;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::matrix::Beta;
    use crate::kernels::ops::loss::{ClassWeights, Objective};
    use crate::simd::scalar::Element;
    use crate::{Activation, Loss, Network, Scaler, Trainer};

    /// Whether rows fit in groups, if the network is small.
    fn fits<T: Element>(sizes: &[usize], last: Activation) -> Option<bool> {
        let mut builder = Network::<T>::builder(sizes[0]).seed(1);
        for (l, &size) in sizes.iter().enumerate().skip(1) {
            builder = builder.dense(size, if l + 1 == sizes.len() { last } else { Activation::Tanh });
        }
        SinglePanelBuffers::new(&builder.build().unwrap(), 8).map(|buffers| buffers.groups)
    }

    #[test]
    fn networks_of_one_panel_a_layer_are_small_and_those_of_four_features_fit_in_groups() {
        let (identity, softmax) = (Activation::Identity, Activation::Softmax);
        assert_eq!(fits::<f32>(&[2, 4, 1], identity), Some(true));
        assert_eq!(fits::<f64>(&[2, 4, 1], identity), Some(true));
        assert_eq!(fits::<f32>(&[4, 4], softmax), Some(false));
        assert_eq!(fits::<f32>(&[2, 5, 1], identity), Some(false));
        assert_eq!(fits::<f32>(&[16, 16, 16], softmax), Some(false));
        assert_eq!(fits::<f64>(&[8, 8], identity), Some(false));
        assert_eq!(fits::<f32>(&[17, 4], identity), None);
        assert_eq!(fits::<f32>(&[4, 17, 4], identity), None);
        assert_eq!(fits::<f64>(&[4, 9], identity), None);
    }

    #[test]
    fn networks_with_norms_dropout_or_a_scaler_take_the_general_path() {
        let network = || Network::<f32>::builder(2).seed(1).dense(2, Activation::Tanh);
        let last = |builder: crate::NetworkBuilder<f32>| builder.dense(1, Activation::Tanh).build().unwrap();
        let is_small = |network: &Network<f32>| SinglePanelBuffers::new(network, 8).is_some();
        assert!(is_small(&last(network())));
        assert!(!is_small(&last(network().layer_norm(Activation::Tanh))));
        assert!(!is_small(&last(network().dropout(0.5))));
        assert!(!is_small(&last(network().bias(false))));
        assert!(!is_small(&last(Network::builder(2).dropout(0.5).dense(2, Activation::Tanh))));
        let mut scaled = last(network());
        scaled.set_scaler(Some(Scaler::new(vec![0.0; 2], vec![1.0; 2]).unwrap())).unwrap();
        assert!(!is_small(&scaled));
        let takes_general = |trainer: Trainer<f32>| trainer.executor.single_panel.is_none();
        let builder = || Trainer::builder(last(network()));
        assert!(!takes_general(builder().clip_grad_value(1.0).build().unwrap()));
        assert!(!takes_general(builder().clip_grad_norm(1.0).build().unwrap()));
        assert!(takes_general(builder().check_finite().build().unwrap()));
        assert!(takes_general(builder().layer_stats().build().unwrap()));
        assert!(takes_general(builder().input_gradients().build().unwrap()));
    }

    #[test]
    fn steps_take_groups_for_losses_by_element_without_weights() {
        let network = Network::<f32>::builder(2).dense(2, Activation::Tanh).seed(1).build().unwrap();
        let classes = ClassWeights::new(Loss::MeanSquaredError, 2, None, 0.0).unwrap();
        let mut buffers = SinglePanelBuffers::new(&network, 8).unwrap();
        assert!(buffers.suit(&network, 8) && !buffers.suit(&network, 9));
        let values = crate::Targets::from(&[1.0; 2]);
        let mut suits = |loss, targets| {
            let objective = Objective { loss, scale: 1.0, targets };
            SinglePanelStep {
                buffers: &mut buffers,
                layers: &network.layers,
                parameters: &mut [],
                transposed: &mut [],
                gradients: &mut [],
                moments: [&mut [], &mut [], &mut []],
                classes: &classes,
                x: &[0.0; 2],
                rows: 1,
                objective,
                beta: Beta::Zero,
                update: None,
                requires_finite_loss: false,
            }
            .fits_groups()
        };
        assert!(suits(Loss::MeanSquaredError, values));
        assert!(!suits(Loss::MeanSquaredError, values.weights(&[1.0])));
        assert!(!suits(Loss::MeanSquaredError, values.mask(&[1.0; 2])));
        assert!(!suits(Loss::SoftmaxCrossEntropy, values));
    }
}
