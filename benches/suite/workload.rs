//! Networks that are trained and run, with their data.

use fuseprop::{
    Isa, Loss, Network, Optimizer, Parallelism, Precision, Reduction, Targets, Trainer, reference,
};

use crate::networks::step_flop;

pub(crate) use crate::networks::{TRAINED as WORKLOADS, TrainedNetwork as Workload};

/// Operations above which a step of the reference takes too long to time.
const REFERENCE_FLOP: u64 = 100_000_000;

/// Operations above which slow instruction sets take too long to time.
const ALL_ISAS_FLOP: u64 = 1_000_000_000;

pub(crate) fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, |cores| cores.get())
}

/// One thread and, if there are more, all.
pub(crate) fn thread_counts() -> Vec<usize> {
    if cores() > 1 { vec![1, cores()] } else { vec![1] }
}

impl Workload {
    pub(crate) fn network(&self, isa: Isa) -> Network<f32> {
        let mut builder = Network::builder(self.sizes[0]).seed(1).isa(isa);
        for (l, &size) in self.sizes.iter().enumerate().skip(1) {
            let last = l + 1 == self.sizes.len();
            builder = builder.dense(size, if last { self.output } else { self.hidden });
        }
        builder.build().expect("the shapes are fixed and right")
    }

    pub(crate) fn trainer(&self, isa: Isa) -> Trainer<f32> {
        self.trainer_by(isa, Optimizer::sgd(1e-3))
    }

    /// On the best instruction set.
    pub(crate) fn trainer_in(&self, precision: Precision) -> Trainer<f32> {
        let builder = Trainer::builder(self.network(Isa::detect())).loss(self.loss).precision(precision);
        let builder = builder.optimizer(Optimizer::sgd(1e-3)).max_batch(self.batch);
        builder.build().expect("the settings are fixed and right")
    }

    pub(crate) fn trainer_by(&self, isa: Isa, optimizer: Optimizer) -> Trainer<f32> {
        Trainer::builder(self.network(isa))
            .loss(self.loss)
            .optimizer(optimizer)
            .max_batch(self.batch)
            .parallelism(Parallelism::Auto)
            .build()
            .expect("the settings are fixed and right")
    }

    /// The same network by plain loops.
    pub(crate) fn model(&self) -> reference::Model {
        reference::Model::of(&self.network(Isa::Portable))
    }

    /// Floating-point operations of a step.
    pub(crate) fn flop(&self) -> u64 {
        step_flop(self.sizes, self.batch)
    }

    /// All instruction sets for short steps, else the best.
    pub(crate) fn isas(&self) -> impl Iterator<Item = Isa> {
        let short = self.flop() < ALL_ISAS_FLOP;
        Isa::available().filter(move |&isa| short || isa == Isa::detect())
    }

    pub(crate) fn suits_reference(&self) -> bool {
        self.flop() < REFERENCE_FLOP
    }

    pub(crate) fn inputs(&self, rows: usize) -> Vec<f32> {
        (0..rows * self.sizes[0]).map(|i| ((i * 2_654_435_761) % 1000) as f32 / 500.0 - 1.0).collect()
    }

    pub(crate) fn outputs(&self) -> usize {
        self.sizes[self.sizes.len() - 1]
    }

    pub(crate) fn data(&self) -> Data {
        let values = self.batch * self.outputs();
        Data {
            x: self.inputs(self.batch),
            values: (0..values).map(|i| ((i * 40_503) % 1000) as f32 / 1000.0).collect(),
            classes: (0..self.batch).map(|i| (i * 7 % self.outputs()) as u32).collect(),
        }
    }

    /// A step of the reference.
    pub(crate) fn reference_step(
        &self,
        model: &mut reference::Model,
        x: &[f64],
        data: &Data,
        values: &[f64],
    ) -> f64 {
        let targets = match self.loss {
            Loss::SoftmaxCrossEntropy => Targets::from(&data.classes),
            _ => Targets::from(values),
        };
        let objective = reference::Objective::new(self.loss, Reduction::Mean);
        model.step(x, targets, self.batch, objective, 1e-3)
    }
}

/// A batch.
pub(crate) struct Data {
    pub x: Vec<f32>,
    pub values: Vec<f32>,
    pub classes: Vec<u32>,
}

impl Data {
    pub(crate) fn targets(&self, loss: Loss) -> Targets<'_, f32> {
        match loss {
            Loss::SoftmaxCrossEntropy => (&self.classes).into(),
            _ => (&self.values).into(),
        }
    }
}

/// Refuses to time results that are not those of the reference.
pub(crate) fn assert_near(name: &str, found: &[f32], expected: &[f64]) {
    assert_eq!(found.len(), expected.len(), "{name}");
    let largest = expected.iter().fold(1e-3, |most: f64, y| most.max(y.abs()));
    for (&found, expected) in found.iter().zip(expected) {
        assert!((f64::from(found) - expected).abs() <= 1e-4 * largest, "{name}: {found}, not {expected}");
    }
}

pub(crate) fn wide(values: &[f32]) -> Vec<f64> {
    values.iter().copied().map(f64::from).collect()
}
