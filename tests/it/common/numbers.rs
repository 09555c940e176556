//! Parameters and gradients as vectors, in canonical order.

use fuseprop::{Element, Network, Trainer};

pub(crate) fn parameters<T: Element>(network: &Network<T>) -> Vec<T> {
    let mut parameters = vec![T::default(); network.parameter_count()];
    network.read_parameters(&mut parameters).unwrap();
    parameters
}

pub(crate) fn gradients<T: Element>(trainer: &Trainer<T>) -> Vec<T> {
    let mut gradients = vec![T::default(); trainer.network().parameter_count()];
    trainer.read_gradients(&mut gradients).unwrap();
    gradients
}
