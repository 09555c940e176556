//! Random networks with a batch, and what the reference makes of them.

use super::every::{HIDDEN, LOSSES, target_columns};
use fuseprop::{
    Activation, Element, Isa, Loss, Network, Optimizer, Parallelism, Precision, Reduction, Scaler, Targets,
    Trainer, reference,
};

/// Whether the derivative jumps somewhere.
pub(crate) fn has_kinks(activation: Activation) -> bool {
    use Activation::{
        Elu, HardSigmoid, HardSwish, HardTanh, LeakyRelu, Relu, Relu6, Selu, SquaredClippedRelu,
    };
    matches!(
        activation,
        HardSwish
            | Relu6
            | Relu
            | LeakyRelu { .. }
            | Elu { .. }
            | Selu
            | HardSigmoid
            | HardTanh { .. }
            | SquaredClippedRelu
    )
}

/// Whether the slope of a loss jumps somewhere.
pub(crate) fn loss_has_kinks(loss: Loss) -> bool {
    matches!(loss, Loss::MeanAbsoluteError | Loss::Huber { .. } | Loss::Quantile { .. } | Loss::Hinge)
}

/// Whether the loss is the softmax's too.
pub(crate) fn is_of_softmax(loss: Loss) -> bool {
    matches!(loss, Loss::SoftmaxCrossEntropy | Loss::KullbackLeibler)
}

/// Whether outputs may be any number, if the loss takes logits: others are refused.
pub(crate) fn are_logits(loss: Loss, last: Activation) -> bool {
    match loss {
        Loss::SoftmaxCrossEntropy | Loss::KullbackLeibler => {
            matches!(last, Activation::Identity | Activation::Softmax | Activation::LeakyRelu { .. })
        }
        Loss::BinaryCrossEntropyWithLogits => {
            matches!(last, Activation::Identity | Activation::Sigmoid | Activation::LeakyRelu { .. })
        }
        Loss::PoissonNll | Loss::GaussianNll { .. } => {
            matches!(last, Activation::Identity | Activation::LeakyRelu { .. })
        }
        _ => true,
    }
}

/// A small generator with a fixed seed for each case.
pub(crate) struct Random(pub u64);

impl Random {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        self.0 >> 33
    }
    pub(crate) fn below(&mut self, n: usize) -> usize {
        self.next() as usize % n
    }
    /// In -1..1.
    pub(crate) fn value(&mut self) -> f64 {
        self.next() as f64 / (1u64 << 30) as f64 - 1.0
    }
}

/// A random network with a batch.
pub(crate) struct Case {
    pub sizes: Vec<usize>,
    pub activations: Vec<Activation>,
    /// Which layers are layer norms.
    pub norms: Vec<bool>,
    pub loss: Loss,
    pub reduction: Reduction,
    pub batch: usize,
    pub x: Vec<f64>,
    pub values: Vec<f64>,
    pub classes: Vec<u32>,
    pub use_classes: bool,
    pub weights: Option<Vec<f64>>,
    pub class_weights: Option<Vec<f64>>,
    pub pos_weight: Option<Vec<f64>>,
    pub label_smoothing: f64,
    /// Of trainers.
    pub precision: Precision,
}

impl Case {
    pub(crate) fn random(random: &mut Random, max_width: usize, batch: usize) -> Self {
        let depth = 1 + random.below(6);
        let sizes: Vec<usize> = (0..=depth).map(|_| 1 + random.below(max_width)).collect();
        let mut activations: Vec<Activation> =
            (0..depth).map(|_| HIDDEN[random.below(HIDDEN.len())]).collect();
        if random.below(3) == 0 {
            activations[depth - 1] = Activation::Softmax;
        }
        // A layer norm of few features may divide by next to nothing, and magnify every rounding.
        let norms: Vec<bool> = (0..depth).map(|l| sizes[l] >= 8 && random.below(4) == 0).collect();
        let mut sizes = sizes;
        for l in 0..depth {
            if norms[l] {
                sizes[l + 1] = sizes[l];
            }
        }
        let mut loss = LOSSES[random.below(LOSSES.len())];
        if matches!(loss, Loss::GaussianNll { .. }) && sizes[depth] % 2 == 1 {
            loss = Loss::SoftmaxCrossEntropy;
        }
        let cross_entropy = loss == Loss::SoftmaxCrossEntropy;
        if sizes[depth] == 1 && (is_of_softmax(loss) || activations[depth - 1] == Activation::Softmax) {
            // There are no probabilities of one class. A last layer norm has eight features and more.
            sizes[depth] = 2;
        }
        if !are_logits(loss, activations[depth - 1]) {
            activations[depth - 1] = Activation::Identity;
        }
        let outputs = sizes[depth];
        // Some weights are 0.
        let mut weights = |n: usize, wanted: bool| {
            let use_weights = random.below(2) == 0 && wanted;
            use_weights.then(|| (0..n).map(|_| (2.0 * random.value()).max(0.0)).collect::<Vec<_>>())
        };
        let (sample_weights, class_weights) = (weights(batch, true), weights(outputs, cross_entropy));
        let pos_weight = weights(outputs, loss == Loss::BinaryCrossEntropyWithLogits);
        let columns = target_columns(loss, outputs);
        let target = |value: f64| match loss {
            Loss::Hinge => 1.0f64.copysign(value),
            _ => value.abs(),
        };
        Self {
            weights: sample_weights,
            class_weights,
            pos_weight,
            label_smoothing: if cross_entropy { 0.15 * random.below(3) as f64 } else { 0.0 },
            x: (0..batch * sizes[0]).map(|_| random.value()).collect(),
            values: (0..batch * columns).map(|_| target(random.value())).collect(),
            classes: (0..batch).map(|_| random.below(outputs) as u32).collect(),
            use_classes: loss == Loss::SoftmaxCrossEntropy && random.below(2) == 0,
            reduction: [Reduction::Mean, Reduction::Sum][random.below(2)],
            sizes,
            activations,
            norms,
            loss,
            batch,
            precision: Precision::F32,
        }
    }

    pub(crate) fn network<T: Element>(&self, isa: Isa) -> Network<T> {
        let mut builder = Network::<T>::builder(self.sizes[0]).seed(11).isa(isa);
        for ((&size, &activation), &norm) in self.sizes[1..].iter().zip(&self.activations).zip(&self.norms) {
            builder = if norm { builder.layer_norm(activation) } else { builder.dense(size, activation) };
        }
        let mut network = builder.build().unwrap();
        // Biases are 0 and weights of a layer norm 1 at first, which hides mistakes, and sums that are 0
        // exactly.
        let mut random = Random(12);
        for (l, &norm) in self.norms.iter().enumerate() {
            let mut values = |around: f64, spread: f64| -> Vec<T> {
                (0..self.sizes[l + 1]).map(|_| T::from_f64(around + spread * random.value())).collect()
            };
            let spread = if norm { 0.5 } else { 0.1 };
            network.write_biases(l, &values(0.0, spread)).unwrap();
            if norm {
                network.write_weights(l, &values(1.0, spread)).unwrap();
            }
        }
        if self.batch.is_multiple_of(3) {
            let mut values = |around: f64| -> Vec<T> {
                (0..self.sizes[0]).map(|_| T::from_f64(around + 0.5 * random.value())).collect()
            };
            let scaler = Scaler::new(values(0.0), values(1.0)).unwrap();
            network.set_scaler(Some(scaler)).unwrap();
        }
        network
    }

    pub(crate) fn trainer<T: Element>(&self, isa: Isa, parallelism: Parallelism) -> Trainer<T> {
        self.trainer_of(self.network(isa), parallelism)
    }

    pub(crate) fn trainer_of<T: Element>(&self, network: Network<T>, parallelism: Parallelism) -> Trainer<T> {
        let mut builder = Trainer::builder(network);
        if let Some(weights) = &self.class_weights {
            builder = builder.class_weights(weights);
        }
        if let Some(weights) = &self.pos_weight {
            builder = builder.pos_weight(weights);
        }
        builder
            .label_smoothing(self.label_smoothing)
            .loss(self.loss)
            .reduction(self.reduction)
            .optimizer(Optimizer::sgd(0.01))
            .max_batch(self.batch)
            .parallelism(parallelism)
            .precision(self.precision)
            .input_gradients()
            .build()
            .unwrap()
    }

    pub(crate) fn targets(&self) -> Targets<'_, f64> {
        let targets: Targets<'_, f64> =
            if self.use_classes { (&self.classes).into() } else { (&self.values).into() };
        match &self.weights {
            Some(weights) => targets.weights(weights),
            None => targets,
        }
    }

    /// The loss and, in the trainer, its gradient.
    pub(crate) fn compute_gradients(&self, trainer: &mut Trainer<f64>) -> f64 {
        trainer.compute_gradients(&self.x, self.targets()).unwrap()
    }

    /// What the reference is to make small.
    pub(crate) fn objective(&self) -> reference::Objective<'_> {
        let objective = reference::Objective::new(self.loss, self.reduction);
        let objective = objective.label_smoothing(self.label_smoothing);
        let objective = match &self.class_weights {
            Some(weights) => objective.class_weights(weights),
            None => objective,
        };
        match &self.pos_weight {
            Some(weights) => objective.pos_weight(weights),
            None => objective,
        }
    }

    /// The loss and its gradient by the reference.
    pub(crate) fn expected(&self, model: &reference::Model) -> (f64, Vec<f64>) {
        let (loss, gradients) =
            model.loss_and_gradients(&self.x, self.targets(), self.batch, self.objective());
        (loss, gradients.parameters)
    }

    pub(crate) fn describe(&self, isa: Isa) -> String {
        let Self { sizes, activations, norms, loss, batch, precision, .. } = self;
        format!("{isa}, {precision:?}, {sizes:?}, {activations:?}, {norms:?}, {loss:?}, batch {batch}")
    }
}
