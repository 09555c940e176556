//! Random graphs: residual blocks, concatenations, branches and heads, any of them inside another.

use super::case::Random;
use super::every::HIDDEN;
use fuseprop::{Activation, Element, Head, Isa, Network, NetworkBuilder, Source};

/// A network under construction, and what its parts put out.
struct Growing<'r> {
    random: &'r mut Random,
    inputs: usize,
    max_width: usize,
    /// Of each layer.
    outputs: Vec<usize>,
    /// What the next layer reads.
    last: Source,
    /// A layer that only heads may read.
    softmax: Option<Source>,
}

impl Growing<'_> {
    fn features(&self, source: Source) -> usize {
        match source {
            Source::Layer(layer) => self.outputs[layer],
            _ => self.inputs,
        }
    }

    fn width(&mut self) -> usize {
        1 + self.random.below(self.max_width)
    }

    fn activation(&mut self) -> Activation {
        HIDDEN[self.random.below(HIDDEN.len())]
    }

    /// Notes a layer that was appended.
    fn appended<T: Element>(&mut self, builder: NetworkBuilder<T>, outputs: usize) -> NetworkBuilder<T> {
        self.last = Source::Layer(self.outputs.len());
        self.outputs.push(outputs);
        builder
    }

    fn dense<T: Element>(&mut self, builder: NetworkBuilder<T>, outputs: usize) -> NetworkBuilder<T> {
        let (activation, has_bias) = (self.activation(), self.random.below(5) > 0);
        self.appended(builder.dense(outputs, activation).bias(has_bias), outputs)
    }

    fn some_layers<T: Element>(&mut self, builder: NetworkBuilder<T>, depth: usize) -> NetworkBuilder<T> {
        (0..1 + self.random.below(3)).fold(builder, |builder, _| self.some_layer(builder, depth))
    }

    fn some_layer<T: Element>(&mut self, builder: NetworkBuilder<T>, depth: usize) -> NetworkBuilder<T> {
        let (before, features) = (self.last, self.features(self.last));
        // Branches that end in a concatenation are those within a block.
        match self.random.below([5, 6, 3][depth]) {
            // A layer norm of few features may divide by next to nothing, and magnify every rounding.
            1 if features >= 8 => {
                let activation = self.activation();
                let builder = match self.random.below(2) {
                    0 => builder.layer_norm(activation),
                    _ => builder.rms_norm(activation),
                };
                self.appended(builder, features)
            }
            2 => {
                let earlier = self.random.below(self.outputs.len() + 1);
                let earlier = if earlier == 0 { Source::Input } else { Source::Layer(earlier - 1) };
                let earlier = if self.softmax == Some(earlier) { Source::Input } else { earlier };
                let sources = if self.random.below(2) == 0 { [before, earlier] } else { [earlier, before] };
                let outputs = features + self.features(earlier);
                self.appended(builder.concat(sources), outputs)
            }
            3 | 4 => {
                let builder = builder.residual(|block| {
                    let block = self.some_layers(block, depth + 1);
                    self.dense(block, features)
                });
                let builder = if self.random.below(2) == 0 {
                    builder
                } else {
                    let activation = self.activation();
                    builder.activation(activation)
                };
                self.appended(builder, features)
            }
            5 => {
                let mut outputs = 0;
                let builder = self.branches(builder, depth + 1, &mut outputs);
                self.appended(builder, outputs)
            }
            _ => {
                let outputs = self.width();
                self.dense(builder, outputs)
            }
        }
    }

    /// Two branches, which end in a concatenation or in the outputs.
    fn branches<T: Element>(
        &mut self,
        builder: NetworkBuilder<T>,
        depth: usize,
        outputs: &mut usize,
    ) -> NetworkBuilder<T> {
        let (trunk, this) = (self.last, std::cell::RefCell::new(self));
        let ends = std::cell::RefCell::new(Vec::new());
        let branch = |builder: NetworkBuilder<T>| {
            let this = &mut **this.borrow_mut();
            this.last = trunk;
            let builder = this.some_layers(builder, depth);
            ends.borrow_mut().push(this.features(this.last));
            builder
        };
        let softmax = |builder: NetworkBuilder<T>| {
            let this = &mut **this.borrow_mut();
            this.last = trunk;
            let width = 2 + this.width();
            ends.borrow_mut().push(width);
            let builder = this.appended(builder.dense(width, Activation::Softmax), width);
            this.softmax = Some(this.last);
            builder
        };
        // Softmax is for outputs.
        let builder = match depth {
            0 => builder.heads([Head::new(softmax), Head::new(branch), Head::new(branch)]),
            _ => builder.heads([Head::new(branch), Head::new(branch)]),
        };
        *outputs = ends.borrow().iter().sum();
        builder
    }
}

/// A random graph, of layers of at most `max_width` features but for sums of concatenations. Biases and
/// weights of layer norms are not what they start as, which hides mistakes.
pub(crate) fn random_graph<T: Element>(random: &mut Random, max_width: usize, isa: Isa) -> Network<T> {
    let inputs = 1 + random.below(max_width);
    let last = Source::Input;
    let mut growing = Growing { random, inputs, max_width, outputs: Vec::new(), last, softmax: None };
    let builder = growing.some_layers(Network::<T>::builder(inputs).seed(11).isa(isa), 0);
    let builder = match growing.random.below(2) {
        0 => {
            let outputs = growing.width();
            growing.dense(builder, outputs)
        }
        _ => growing.branches(builder, 0, &mut 0),
    };
    let mut network = builder.build().unwrap();
    let mut parameters = vec![T::from_f64(0.0); network.parameter_count()];
    network.read_parameters(&mut parameters).unwrap();
    for parameter in &mut parameters {
        *parameter = T::from_f64(parameter.to_f64() + 0.1 * random.value());
    }
    network.write_parameters(&parameters).unwrap();
    network
}
