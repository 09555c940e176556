//! What an error is about.

use core::fmt;

/// What an [`Error`](crate::Error) is about: an argument, a setting, a size, or who has no use for one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Argument {
    /// An activation.
    Activation,
    /// Adagrad.
    Adagrad,
    /// Adam.
    Adam,
    /// Alpha.
    Alpha,
    /// AMSGrad.
    Amsgrad,
    /// The batch size.
    BatchSize,
    /// The first beta.
    Beta1,
    /// The second beta.
    Beta2,
    /// Betas.
    Betas,
    /// The biases.
    Biases,
    /// The binary cross-entropy.
    BinaryCrossEntropy,
    /// The memory of a batch of max_batch rows.
    Buffers,
    /// Centering.
    Centered,
    /// The epochs between checkpoints.
    CheckpointInterval,
    /// The class targets.
    ClassTargets,
    /// A class weight.
    ClassWeight,
    /// The class weights.
    ClassWeights,
    /// The epochs of a cosine schedule.
    CosineEpochs,
    /// The dampening.
    Dampening,
    /// A dense layer.
    DenseLayer,
    /// The dropout rate.
    DropoutRate,
    /// The alpha of an ELU.
    EluAlpha,
    /// The number of epochs.
    Epochs,
    /// Epsilon.
    Epsilon,
    /// The number of features.
    FeatureCount,
    /// The features.
    Features,
    /// A scaler folded in.
    FoldTarget,
    /// The gradient.
    Gradient,
    /// The step of a gradient check.
    GradientCheckStep,
    /// The limit of the gradient norm.
    GradientNormLimit,
    /// The limit of a gradient's elements.
    GradientValueLimit,
    /// The gradients.
    Gradients,
    /// The upper bound of a hard tanh.
    HardTanhMax,
    /// The lower bound of a hard tanh.
    HardTanhMin,
    /// The delta of a Huber loss.
    HuberDelta,
    /// The Huber loss.
    HuberLoss,
    /// A distribution of initial weights.
    Init,
    /// The frequency of the initial weights.
    InitFrequency,
    /// The spread of the initial weights.
    InitSpread,
    /// The initial accumulator.
    InitialAccumulator,
    /// The inputs.
    Inputs,
    /// The L1 penalty.
    L1,
    /// The label smoothing.
    LabelSmoothing,
    /// The learning rate of the last epoch.
    LastLearningRate,
    /// The number of layers.
    LayerCount,
    /// A layer norm.
    LayerNorm,
    /// The slope of a leaky ReLU.
    LeakyReluSlope,
    /// The learning rate.
    LearningRate,
    /// The learning rate decay.
    LearningRateDecay,
    /// The loss.
    Loss,
    /// The lowest learning rate.
    LowestLearningRate,
    /// Max_batch.
    MaxBatch,
    /// The mean of a feature.
    Mean,
    /// The mean absolute error.
    MeanAbsoluteError,
    /// The mean squared error.
    MeanSquaredError,
    /// The momentum.
    Momentum,
    /// Nesterov momentum.
    Nesterov,
    /// This network.
    Network,
    /// A layer without biases.
    NoBiases,
    /// The gradients of the outputs.
    OutputGradients,
    /// A scale of its outputs.
    OutputScale,
    /// The outputs.
    Outputs,
    /// The number of parameters.
    ParameterCount,
    /// The parameters.
    Parameters,
    /// SGD without momentum or with dampening.
    PlainSgd,
    /// The factor of a plateau.
    PlateauFactor,
    /// The product of a plateau's factors.
    PlateauProduct,
    /// A random seed of the system.
    RandomSeed,
    /// RMSprop.
    RmsProp,
    /// A row weight.
    RowWeight,
    /// The row weights.
    RowWeights,
    /// A scaler.
    Scaler,
    /// The scaler's features.
    ScalerFeatures,
    /// The factor of a schedule.
    ScheduleFactor,
    /// SGD.
    Sgd,
    /// The frequency of a sine.
    SineFrequency,
    /// The cross-entropy.
    SoftmaxCrossEntropy,
    /// The standard deviation of a feature.
    Std,
    /// The standard deviations.
    Stds,
    /// The epochs of a step decay.
    StepEpochs,
    /// The targets.
    Targets,
    /// The number of threads.
    ThreadCount,
    /// Threads.
    Threads,
    /// The start of a warm-up.
    WarmUpStart,
    /// The weight decay.
    WeightDecay,
    /// The weights.
    Weights,
}

impl fmt::Display for Argument {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Activation => "an activation",
            Self::Adagrad => "Adagrad",
            Self::Adam => "Adam",
            Self::Alpha => "alpha",
            Self::Amsgrad => "AMSGrad",
            Self::BatchSize => "the batch size",
            Self::Beta1 => "the first beta",
            Self::Beta2 => "the second beta",
            Self::Betas => "betas",
            Self::Biases => "the biases",
            Self::BinaryCrossEntropy => "the binary cross-entropy",
            Self::Buffers => "the memory of a batch of max_batch rows",
            Self::Centered => "centering",
            Self::CheckpointInterval => "the epochs between checkpoints",
            Self::ClassTargets => "the class targets",
            Self::ClassWeight => "a class weight",
            Self::ClassWeights => "the class weights",
            Self::CosineEpochs => "the epochs of a cosine schedule",
            Self::Dampening => "the dampening",
            Self::DenseLayer => "a dense layer",
            Self::DropoutRate => "the dropout rate",
            Self::EluAlpha => "the alpha of an ELU",
            Self::Epochs => "the number of epochs",
            Self::Epsilon => "epsilon",
            Self::FeatureCount => "the number of features",
            Self::Features => "the features",
            Self::FoldTarget => "a scaler folded in",
            Self::Gradient => "the gradient",
            Self::GradientCheckStep => "the step of a gradient check",
            Self::GradientNormLimit => "the limit of the gradient norm",
            Self::GradientValueLimit => "the limit of a gradient's elements",
            Self::Gradients => "the gradients",
            Self::HardTanhMax => "the upper bound of a hard tanh",
            Self::HardTanhMin => "the lower bound of a hard tanh",
            Self::HuberDelta => "the delta of a Huber loss",
            Self::HuberLoss => "the Huber loss",
            Self::Init => "a distribution of initial weights",
            Self::InitFrequency => "the frequency of the initial weights",
            Self::InitSpread => "the spread of the initial weights",
            Self::InitialAccumulator => "the initial accumulator",
            Self::Inputs => "the inputs",
            Self::L1 => "the L1 penalty",
            Self::LabelSmoothing => "the label smoothing",
            Self::LastLearningRate => "the learning rate of the last epoch",
            Self::LayerCount => "the number of layers",
            Self::LayerNorm => "a layer norm",
            Self::LeakyReluSlope => "the slope of a leaky ReLU",
            Self::LearningRate => "the learning rate",
            Self::LearningRateDecay => "the learning rate decay",
            Self::Loss => "the loss",
            Self::LowestLearningRate => "the lowest learning rate",
            Self::MaxBatch => "max_batch",
            Self::Mean => "the mean of a feature",
            Self::MeanAbsoluteError => "the mean absolute error",
            Self::MeanSquaredError => "the mean squared error",
            Self::Momentum => "the momentum",
            Self::Nesterov => "Nesterov momentum",
            Self::Network => "this network",
            Self::NoBiases => "a layer without biases",
            Self::OutputGradients => "the gradients of the outputs",
            Self::OutputScale => "a scale of its outputs",
            Self::Outputs => "the outputs",
            Self::ParameterCount => "the number of parameters",
            Self::Parameters => "the parameters",
            Self::PlainSgd => "SGD without momentum or with dampening",
            Self::PlateauFactor => "the factor of a plateau",
            Self::PlateauProduct => "the product of a plateau's factors",
            Self::RandomSeed => "random seed",
            Self::RmsProp => "RMSprop",
            Self::RowWeight => "a row weight",
            Self::RowWeights => "the row weights",
            Self::Scaler => "a scaler",
            Self::ScalerFeatures => "the scaler's features",
            Self::ScheduleFactor => "the factor of a schedule",
            Self::Sgd => "SGD",
            Self::SineFrequency => "the frequency of a sine",
            Self::SoftmaxCrossEntropy => "the cross-entropy",
            Self::Std => "the standard deviation of a feature",
            Self::Stds => "the standard deviations",
            Self::StepEpochs => "the epochs of a step decay",
            Self::Targets => "the targets",
            Self::ThreadCount => "the number of threads",
            Self::Threads => "threads",
            Self::WarmUpStart => "the start of a warm-up",
            Self::WeightDecay => "the weight decay",
            Self::Weights => "the weights",
        })
    }
}
