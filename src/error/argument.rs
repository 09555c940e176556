//! Arguments, settings and sizes that an error names.

use core::fmt;

/// The variants with what messages call them, once.
macro_rules! arguments {
    ($($variant:ident: $text:literal,)+) => {
        /// Subject of an [`Error`](crate::Error): an argument, a setting, a size, or what has no use for one.
        ///
        /// # Examples
        /// ```
        /// use fuseprop::{Activation, Argument, Error, Network};
        ///
        /// let empty = Network::<f32>::builder(3).dense(0, Activation::Tanh).build();
        /// assert_eq!(empty.unwrap_err(), Error::Zero { argument: Argument::FeatureCount });
        /// assert_eq!(Argument::FeatureCount.to_string(), "the number of features");
        /// ```
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        pub enum Argument {
            $(
                #[doc = concat!("In messages: ", $text, ".")]
                $variant,
            )+
        }

        impl fmt::Display for Argument {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(match self {
                    $(Self::$variant => $text,)+
                })
            }
        }
    };
}

arguments! {
    Accumulation: "gradients accumulated by the mean",
    Activation: "an activation",
    Alpha: "alpha",
    BatchSize: "the batch size",
    Beta1: "the first beta",
    Beta2: "the second beta",
    Bf16: "bf16",
    Biases: "the biases",
    BinaryCrossEntropy: "the binary cross-entropy",
    Block: "a block: it appends to the builder that it is given",
    BlockStart: "the start of a block",
    BoundedLogits: "an activation that bounds the logits: use Identity, or the one that the loss computes",
    Buffers: "the memory of a batch of max_batch rows",
    CheckpointInterval: "the epochs between checkpoints",
    ClassMetric: "a metric of classes",
    ClassTargets: "the class targets",
    ClassWeight: "a class weight",
    ClassWeights: "the class weights",
    CosineEpochs: "the length of a cosine schedule",
    CycleDivisor: "a divisor of a cycle",
    CyclePart: "the rising part of a cycle",
    Dampening: "the dampening",
    DenseLayer: "a dense layer",
    DoublePrecision: "f64",
    DropoutRate: "the dropout rate",
    ElementMask: "the element mask",
    EluAlpha: "the alpha of an ELU",
    Epochs: "the number of epochs",
    Epsilon: "epsilon",
    EtaMinus: "the factor by which a step size shrinks",
    EtaPlus: "the factor by which a step size grows",
    FeatureCount: "the number of features",
    Features: "the features",
    Fit: "a fit",
    FoldCount: "the number of folds",
    FoldTarget: "a scaler folded in",
    FurtherLayer: "a further layer",
    GaussianNll: "the Gaussian negative log-likelihood",
    Gradient: "the gradient",
    GradientCheck: "a gradient check",
    GradientCheckStep: "the step of a gradient check",
    GradientNormLimit: "the limit of the gradient norm",
    GradientValueLimit: "the limit of a gradient's elements",
    Gradients: "the gradients",
    HardTanhMax: "the upper bound of a hard tanh",
    HardTanhMin: "the lower bound of a hard tanh",
    HeadCount: "the number of heads",
    HeadLosses: "the losses of heads",
    HeadTargets: "the targets of heads",
    HeadWeight: "the weight of a head",
    Heads: "the heads of a network",
    HingeLoss: "the hinge loss",
    HuberDelta: "the delta of a Huber loss",
    HuberLoss: "the Huber loss",
    Init: "a distribution of initial weights",
    InitFrequency: "the frequency of the initial weights",
    InitSpread: "the spread of the initial weights",
    InitialAccumulator: "the initial accumulator",
    Inputs: "the inputs",
    JoinLayer: "a layer without parameters",
    KullbackLeibler: "the Kullback-Leibler divergence",
    L1: "the L1 penalty",
    LabelSmoothing: "the label smoothing",
    LargestStep: "the largest step size",
    LayerCount: "the number of layers",
    LayerNorm: "a layer norm",
    LeakyReluSlope: "the slope of a leaky ReLU",
    LearningRate: "the learning rate",
    LearningRateDecay: "the learning rate decay",
    LeastVariance: "the least variance of a Gaussian",
    Loss: "the loss",
    LowestLearningRate: "the lowest learning rate",
    MaskElement: "an element of the mask",
    MaxBatch: "max_batch",
    Mean: "the mean of a feature",
    MeanAbsoluteError: "the mean absolute error",
    MeanSquaredError: "the mean squared error",
    MeasuredClass: "the class that is measured",
    Milestone: "a milestone, which is above the one before,",
    MinDelta: "the least difference of a better epoch",
    Momentum: "the momentum",
    MomentumDecay: "the momentum decay",
    Monitor: "a metric of the validation set, as what is monitored,",
    Nesterov: "Nesterov momentum",
    Network: "this network",
    NoBiases: "a layer without biases",
    NoValidation: "a fit without a validation set",
    OddOutputs: "an odd number of outputs: each mean has a variance",
    OtherBuilder: "another builder",
    OutputGradients: "the gradients of the outputs",
    OutputScale: "a scale of its outputs",
    Outputs: "the outputs",
    ParameterCount: "the number of parameters",
    Parameters: "the parameters",
    PlainSgd: "SGD without momentum or with dampening",
    PlateauFactor: "the factor of a plateau",
    PoissonNll: "the Poisson negative log-likelihood",
    PosWeight: "the weight of a positive class",
    PosWeights: "the weights of positive classes",
    Quantile: "the quantile of a loss",
    QuantileLoss: "the quantile loss",
    RandomSeed: "random seed: NetworkBuilder::seed sets one",
    ResidualBlock: "the outputs of a residual block",
    RestartFactor: "the factor of a cosine's length at its restart",
    RowFraction: "a fraction of the rows",
    RowWeight: "a row weight",
    RowWeights: "the row weights",
    Scaler: "a scaler",
    ScalerFeatures: "the scaler's features",
    ScheduleExponent: "the exponent of a polynomial schedule",
    ScheduleFactor: "the factor of a schedule",
    ScheduleLength: "the length of a schedule",
    SchedulePart: "a part of a schedule: set it on the whole",
    ScheduledLearningRate: "a scheduled learning rate",
    SharedHead: "a head that something else reads, or without layers",
    SineFrequency: "the frequency of a sine",
    SingleOutput: "a single output: two classes take two, or one and the binary cross-entropy",
    SmallestStep: "the smallest step size",
    Softmax: "softmax",
    SoftmaxCrossEntropy: "the cross-entropy",
    SourceCount: "the number of sources",
    SquaredGradient: "the running sum of the squared gradient",
    Std: "the standard deviation of a feature",
    Stds: "the standard deviations",
    StepEpochs: "the interval of a step decay",
    TargetCounts: "targets that are counts, at least 0,",
    TargetProbabilities: "targets that are probabilities, from 0 to 1,",
    TargetShares: "targets that are probabilities, at least 0,",
    TargetSigns: "targets that are signs, -1 or 1,",
    TargetValues: "targets that are values",
    Targets: "the targets",
    Tau: "tau",
    ThreadCount: "the number of threads",
    Threads: "threads",
    TotalWeight: "the sum of all weights",
    ValueMetric: "a metric of values",
    WarmUpStart: "the start of a warm-up",
    WarmUpSteps: "a warm-up of steps",
    WeightDecay: "the weight decay",
    Weights: "the weights",
}
