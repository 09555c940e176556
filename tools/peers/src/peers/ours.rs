//! fuseprop itself.

use fuseprop::{Network, Optimizer, Trainer, Workspace};

use crate::Result;
use crate::peer::Peer;
use crate::workload::{Data, Job, Task, Workload, network};

/// fuseprop's peer of any job. A product is the forward pass of one layer: it packs `x` and unpacks `y` each
/// time; the weights were packed when they were written.
pub fn build(job: &Job<'_>) -> Result<Option<Box<dyn Peer>>> {
    let network = network(job.workload, &job.data.parameters)?;
    let peer: Box<dyn Peer> = match job.task {
        Task::Train { learning_rate } => Box::new(Training {
            trainer: trainer(network, job.workload, learning_rate)?,
            x: job.data.x.clone(),
            targets: job.data.targets.clone(),
            classes: job.data.classes.clone(),
        }),
        Task::Predict | Task::Product => Box::new(Prediction {
            workspace: network.workspace(job.workload.batch)?,
            network,
            x: job.data.x.clone(),
            y: vec![f32::NAN; job.workload.batch * job.workload.outputs()],
        }),
    };
    Ok(Some(peer))
}

struct Training {
    trainer: Trainer<f32>,
    x: Vec<f32>,
    targets: Vec<f32>,
    classes: Vec<u32>,
}

impl Peer for Training {
    fn step(&mut self) -> Result<()> {
        if self.classes.is_empty() {
            self.trainer.step(&self.x, &self.targets)?;
        } else {
            self.trainer.step(&self.x, &self.classes)?;
        }
        Ok(())
    }

    fn result(&mut self) -> Result<Vec<f32>> {
        parameters(self.trainer.network())
    }
}

struct Prediction {
    network: Network<f32>,
    workspace: Workspace<f32>,
    x: Vec<f32>,
    y: Vec<f32>,
}

impl Peer for Prediction {
    fn step(&mut self) -> Result<()> {
        Ok(self.network.predict_into(&self.x, &mut self.y, &mut self.workspace)?)
    }

    fn result(&mut self) -> Result<Vec<f32>> {
        Ok(self.y.clone())
    }
}

/// The largest element of the gradient at the initial parameters.
pub fn largest_gradient(workload: &Workload, data: &Data) -> Result<f64> {
    let mut trainer = trainer(network(workload, &data.parameters)?, workload, 0.0)?;
    trainer.compute_gradients(&data.x, data.targets())?;
    Ok(trainer.gradients().iter().fold(0.0, |max: f32, d| max.max(d.abs())).into())
}

fn trainer(network: Network<f32>, workload: &Workload, learning_rate: f64) -> Result<Trainer<f32>> {
    let builder = Trainer::builder(network).loss(workload.loss).max_batch(workload.batch);
    Ok(builder.optimizer(Optimizer::sgd(learning_rate)).build()?)
}

fn parameters(network: &Network<f32>) -> Result<Vec<f32>> {
    let mut parameters = vec![f32::NAN; network.parameter_count()];
    network.read_parameters(&mut parameters)?;
    Ok(parameters)
}
