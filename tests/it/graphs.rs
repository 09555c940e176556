//! Networks that are no chains: against the reference, and in everything that chains can do.

use crate::common::case::Random;
use crate::common::graphs::random_graph;
use crate::common::{gradients, isas, parameters};
use fuseprop::{
    Activation, Argument, Element, Error, Head, HeadLoss, Isa, LayerKind, Loss, Network, Optimizer,
    Parallelism, Reduction, Source, Targets, Trainer, reference,
};

/// As in `networks.rs`: within a few roundings of the largest terms, for at most some hundred operations
/// each.
#[track_caller]
fn assert_close(ours: &[f64], theirs: &[f64], operations: f64, what: &str) {
    assert_eq!(ours.len(), theirs.len(), "{what}");
    let largest = theirs.iter().fold(0.0f64, |largest, value| largest.max(value.abs()));
    for (i, (a, b)) in ours.iter().zip(theirs).enumerate() {
        let bound = operations * f64::EPSILON * (1.0 + largest);
        assert!((a - b).abs() <= bound, "{what}: element {i} is {a}, not {b} (bound {bound:e})");
    }
}

fn numbers(random: &mut Random, count: usize) -> Vec<f64> {
    (0..count).map(|_| random.value()).collect()
}

fn trainer<T: Element>(network: Network<T>, max_batch: usize, parallelism: Parallelism) -> Trainer<T> {
    let builder = Trainer::builder(network).max_batch(max_batch).parallelism(parallelism);
    builder.optimizer(Optimizer::sgd(0.01)).input_gradients().build().unwrap()
}

fn describe<T: Element>(network: &Network<T>) -> String {
    let layer =
        |i| (network.layer(i).unwrap().kind(), network.layer(i).unwrap().outputs(), network.sources(i));
    format!("{} {:?}", network.isa(), (0..network.layer_count()).map(layer).collect::<Vec<_>>())
}

fn compare_with_the_reference(random: &mut Random, isa: Isa, batch: usize) {
    let network = random_graph::<f64>(random, 40, isa);
    let what = describe(&network);
    let (x, targets) =
        (numbers(random, batch * network.inputs()), numbers(random, batch * network.outputs()));
    let mut model = reference::Model::of(&network);
    let features: usize = (0..network.layer_count()).map(|i| network.layer(i).unwrap().inputs()).sum();
    let operations = 8.0 * (batch + features) as f64;
    assert_close(&network.predict(&x).unwrap(), &model.predict(&x, batch), operations, &what);

    let mut trainer = trainer(network, batch, Parallelism::Auto);
    let loss = trainer.compute_gradients(&x, &targets).unwrap();
    let objective = reference::Objective::new(Loss::MeanSquaredError, fuseprop::Reduction::Mean);
    let (expected_loss, expected) = model.loss_and_gradients(&x, Targets::from(&targets), batch, objective);
    assert!((loss - expected_loss).abs() <= operations * f64::EPSILON * (1.0 + expected_loss), "{what}");
    assert_close(&gradients(&trainer), &expected.parameters, operations, &what);
    assert_close(trainer.input_gradients().unwrap(), &expected.inputs, operations, &what);

    // A gradient of the caller's own.
    let d_outputs = &targets;
    let outputs = trainer.forward(&x).unwrap().to_vec();
    assert_close(&outputs, &model.predict(&x, batch), operations, &what);
    trainer.backward(d_outputs).unwrap();
    let backward = model.backward(&x, d_outputs, batch);
    assert_close(&gradients(&trainer), &backward.parameters, operations * batch as f64, &what);
    assert_close(trainer.input_gradients().unwrap(), &backward.inputs, operations * batch as f64, &what);

    trainer.step(&x, &targets).unwrap();
    let moved: Vec<f64> =
        model.parameters().iter().zip(&expected.parameters).map(|(p, d)| p - 0.01 * d).collect();
    model.set_parameters(&moved);
    assert_close(&parameters(trainer.network()), &model.parameters(), operations, &what);
}

#[test]
fn random_graphs_agree_with_the_reference() {
    for isa in isas() {
        let mut random = Random(1);
        for case in 0..200 {
            let batch = if case % 20 == 0 { 600 } else { 1 + random.below(100) };
            compare_with_the_reference(&mut random, isa, batch);
        }
    }
}

/// Steps of one graph, with dropout or without: its parameters afterwards.
fn train(network: &Network<f32>, rows: usize, parallelism: Parallelism) -> Vec<u32> {
    let mut random = Random(5);
    let mut values = |count: usize| (0..count).map(|_| random.value() as f32).collect::<Vec<_>>();
    let (x, t) = (values(rows * network.inputs()), values(rows * network.outputs()));
    let builder = Trainer::builder(network.clone()).max_batch(rows).parallelism(parallelism);
    let mut trainer = builder.optimizer(Optimizer::adam(1e-3)).parallel_threshold(0).build().unwrap();
    for _ in 0..3 {
        trainer.step(&x, &t).unwrap();
    }
    let mut parameters = vec![0.0; network.parameter_count()];
    trainer.network().read_parameters(&mut parameters).unwrap();
    parameters.into_iter().map(f32::to_bits).collect()
}

/// Two residual blocks, of which one is in a branch beside the inputs, and two heads.
fn example(isa: Isa, dropout: f64) -> Network<f32> {
    let builder = Network::<f32>::builder(19).isa(isa).seed(3).dense(40, Activation::Tanh);
    let builder = builder.residual(|block| {
        let block = block.layer_norm(Activation::Identity).dropout(dropout).dense(70, Activation::Relu);
        block.dropout(dropout).dense(40, Activation::Identity)
    });
    let builder = builder.dropout(dropout).concat([Source::Input, Source::Layer(4)]);
    let builder = builder.residual(|block| {
        block.heads([
            Head::dense(30, Activation::Silu),
            Head::new(|branch| {
                branch.dense(29, Activation::Gelu).residual(|block| block.dense(29, Activation::Tanh))
            }),
        ])
    });
    let heads = [
        Head::dense(5, Activation::Softmax),
        Head::new(|head| head.dense(9, Activation::Tanh).dense(2, Activation::Identity)),
    ];
    builder.activation(Activation::Relu).heads(heads).build().unwrap()
}

#[test]
fn graphs_have_the_same_bits_on_any_number_of_threads() {
    for isa in isas() {
        for dropout in [0.0, 0.25] {
            let network = example(isa, dropout);
            // Two-phase, and depth-first.
            for rows in [70, 700] {
                let serial = train(&network, rows, Parallelism::Serial);
                for threads in [1, 2, 3, 5, 8] {
                    assert_eq!(
                        train(&network, rows, Parallelism::Threads(threads)),
                        serial,
                        "{isa} {threads}"
                    );
                }
            }
        }
    }
}

#[test]
fn a_row_of_a_graph_has_the_same_bits_wherever_it_stands() {
    for isa in isas() {
        let network = example(isa, 0.0);
        let mut random = Random(7);
        let x: Vec<f32> = (0..130 * 19).map(|_| random.value() as f32).collect();
        let y = network.predict(&x).unwrap();
        for row in [0, 1, 63, 64, 65, 129] {
            let alone = network.predict(&x[row * 19..][..19]).unwrap();
            assert_eq!(alone, y[row * 7..][..7], "{isa}, row {row}");
        }
    }
}

#[test]
fn gradients_of_a_graph_with_dropout_are_differences_of_the_loss() {
    for isa in isas() {
        let builder = Network::<f64>::builder(5).isa(isa).seed(3).dropout(0.2).dense(9, Activation::Tanh);
        let builder = builder
            .dropout(0.3)
            .residual(|block| block.layer_norm(Activation::Tanh).dropout(0.3).dense(9, Activation::Sigmoid));
        let builder = builder.dropout(0.3).concat([Source::Input, Source::Layer(0), Source::Layer(3)]);
        let builder = builder.activation(Activation::Softplus).dropout(0.1);
        let heads = [Head::dense(3, Activation::Softmax), Head::dense(2, Activation::Tanh)];
        let network = builder.heads(heads).build().unwrap();
        let mut random = Random(9);
        let (x, t) = (numbers(&mut random, 30 * 5), numbers(&mut random, 30 * 5));
        let mut trainer = trainer(network, 30, Parallelism::Serial);
        let check = trainer.check_gradients(&x, &t, 1e-4).unwrap();
        assert!(check.error < 1e-8, "{isa}: {check:?}");
    }
}

#[cfg(feature = "files")]
#[test]
fn graphs_are_saved_and_loaded() {
    use safetensors::SafeTensors;
    let mut random = Random(11);
    for _ in 0..60 {
        let network = random_graph::<f32>(&mut random, 30, Isa::detect());
        let loaded = Network::<f32>::from_bytes(&network.to_bytes().unwrap()).unwrap();
        assert_eq!(
            describe(&loaded).split_once(' ').unwrap().1,
            describe(&network).split_once(' ').unwrap().1
        );
        let x: Vec<f32> = (0..3 * network.inputs()).map(|_| random.value() as f32).collect();
        assert_eq!(network.predict(&x).unwrap(), loaded.predict(&x).unwrap());
        let bits = |network: &Network<f32>| {
            let mut parameters = vec![0.0; network.parameter_count()];
            network.read_parameters(&mut parameters).unwrap();
            parameters.into_iter().map(f32::to_bits).collect::<Vec<_>>()
        };
        assert_eq!(bits(&loaded), bits(&network));
        assert_eq!(loaded.to_bytes().unwrap(), network.to_bytes().unwrap());
    }
    // As the modules of PyTorch that compute the same are named.
    let bytes = example(Isa::Portable, 0.1).to_bytes().unwrap();
    let file = SafeTensors::deserialize(&bytes).unwrap();
    let mut names: Vec<&str> =
        file.names().into_iter().filter_map(|name| name.strip_suffix(".weight")).collect();
    names.sort();
    assert_eq!(
        names,
        [
            "0",
            "2.block.0",
            "2.block.2",
            "2.block.5",
            "5.block.0.heads.0.0",
            "5.block.0.heads.1.0",
            "5.block.0.heads.1.2.block.0",
            "7.heads.0.0",
            "7.heads.1.0",
            "7.heads.1.2",
        ]
    );
    let mut other = example(Isa::Portable, 0.1);
    other.write_parameters(&vec![0.0; other.parameter_count()]).unwrap();
    other.import_bytes(&bytes, fuseprop::TensorNames::Sequential).unwrap();
    assert_eq!(other.predict(&[0.5; 19]).unwrap(), example(Isa::Portable, 0.1).predict(&[0.5; 19]).unwrap());
}

#[cfg(feature = "files")]
#[test]
fn a_checkpoint_of_a_graph_goes_on_bit_for_bit() {
    let path = crate::common::TemporaryFile::new("graph.safetensors");
    let network = example(Isa::detect(), 0.2);
    let builder = Trainer::builder(network.clone()).max_batch(40).optimizer(Optimizer::adam(1e-3));
    let (mut through, mut resumed) = (builder.clone().build().unwrap(), builder.build().unwrap());
    let mut random = Random(13);
    let mut values = |count: usize| (0..count).map(|_| random.value() as f32).collect::<Vec<_>>();
    let (x, t) = (values(40 * 19), values(40 * 7));
    through.step(&x, &t).unwrap();
    through.save_checkpoint(&path.0).unwrap();
    resumed.load_checkpoint(&path.0).unwrap();
    for _ in 0..3 {
        assert_eq!(through.step(&x, &t).unwrap(), resumed.step(&x, &t).unwrap());
    }
    // Of the same layers, but not of the same sources.
    let build = |source| {
        let builder = Network::<f32>::builder(4).dense(4, Activation::Tanh).dense(4, Activation::Tanh);
        builder.concat([source, Source::Layer(1)]).dense(1, Activation::Identity).build().unwrap()
    };
    Trainer::builder(build(Source::Input)).build().unwrap().save_checkpoint(&path.0).unwrap();
    let mut other = Trainer::builder(build(Source::Layer(0))).build().unwrap();
    assert!(matches!(other.load_checkpoint(&path.0), Err(Error::Format { .. })));
}

#[test]
fn what_cannot_be_joined_is_refused_by_name() {
    let start = || Network::<f32>::builder(3).dense(4, Activation::Tanh);
    let dense = |outputs| Head::dense(outputs, Activation::Identity);
    let unused = |argument, with| Error::Unused { argument, with };
    let cases = [
        (
            start().residual(|block| block.dense(5, Activation::Tanh)),
            Error::Length { argument: Argument::ResidualBlock, expected: 4, found: 5 },
        ),
        (start().concat([]), Error::Zero { argument: Argument::SourceCount }),
        (start().concat([Source::Layer(1)]), Error::Layer { layer: 1, layers: 1 }),
        (start().concat([Source::Layer(7), Source::Input]), Error::Layer { layer: 7, layers: 1 }),
        (start().heads([]), Error::Zero { argument: Argument::HeadCount }),
        (
            start().heads([dense(1)]).dense(1, Activation::Tanh),
            unused(Argument::FurtherLayer, Argument::Heads),
        ),
        (start().heads([dense(1)]).heads([dense(1)]), unused(Argument::FurtherLayer, Argument::Heads)),
        (start().heads([dense(0)]), Error::Zero { argument: Argument::FeatureCount }),
        (
            start().residual(|block| block.dropout(0.5).dense(4, Activation::Tanh)),
            unused(Argument::DropoutRate, Argument::BlockStart),
        ),
        (
            start().residual(|block| block.bias(false).dense(4, Activation::Tanh)),
            unused(Argument::Biases, Argument::BlockStart),
        ),
        (start().residual(|block| block).bias(true), unused(Argument::Biases, Argument::JoinLayer)),
        (start().residual(|block| block).epsilon(1e-3), unused(Argument::Epsilon, Argument::JoinLayer)),
        (
            start().residual(|block| block).init(fuseprop::Init::Zeros),
            unused(Argument::Init, Argument::JoinLayer),
        ),
        (
            start().residual(|_| Network::builder(4).dense(4, Activation::Tanh)),
            unused(Argument::OtherBuilder, Argument::Block),
        ),
        (
            start().residual(|block| block.dense(4, Activation::Softmax)),
            Error::Softmax { layer: 1, layers: 3 },
        ),
        (
            start().heads([Head::dense(1, Activation::Softmax)]),
            Error::Combination { argument: Argument::Softmax, with: Argument::SingleOutput },
        ),
        (
            start().heads([Head::new(|head| head.dense(2, Activation::Identity).dropout(0.1))]),
            Error::Dropout { layers: 3 },
        ),
    ];
    for (number, (builder, error)) in cases.into_iter().enumerate() {
        assert_eq!(builder.build().unwrap_err(), error, "case {number}");
    }
}

#[test]
fn a_scaler_is_folded_into_all_layers_that_read_the_inputs() {
    let builder = Network::<f64>::builder(3).seed(1).dense(4, Activation::Tanh);
    let branch = || Head::new(|branch: fuseprop::NetworkBuilder<f64>| branch.dense(2, Activation::Tanh));
    let mut network = builder.heads([branch(), branch()]).build().unwrap();
    let scaler = fuseprop::Scaler::new(vec![0.5, -1.0, 2.0], vec![2.0, 0.5, 3.0]).unwrap();
    network.set_scaler(Some(scaler.clone())).unwrap();
    let x = [0.3, -0.7, 1.9];
    let before = network.predict(&x).unwrap();
    network.fold_scaler().unwrap();
    let after = network.predict(&x).unwrap();
    assert!(before.iter().zip(&after).all(|(a, b)| (a - b).abs() < 1e-14), "{before:?} {after:?}");
    // What reads the inputs without weights takes no scaler.
    let mut network =
        Network::<f64>::builder(3).residual(|block| block.dense(3, Activation::Tanh)).build().unwrap();
    network.set_scaler(Some(scaler)).unwrap();
    let error = Error::Unused { argument: Argument::FoldTarget, with: Argument::JoinLayer };
    assert_eq!(network.fold_scaler(), Err(error));
    assert!(network.scaler().is_some());
}

#[test]
fn a_workspace_of_another_graph_is_refused() {
    let build = |source| {
        let builder = Network::<f32>::builder(4).dense(4, Activation::Tanh).dense(4, Activation::Tanh);
        builder.concat([source, Source::Layer(1)]).dense(1, Activation::Identity).build().unwrap()
    };
    let (a, b) = (build(Source::Input), build(Source::Layer(0)));
    let mut workspace = a.workspace(1).unwrap();
    assert_eq!(b.predict_into(&[0.0; 4], &mut [0.0], &mut workspace), Err(Error::Workspace));
    a.clone().predict_into(&[0.0; 4], &mut [0.0], &mut workspace).unwrap();
    assert_eq!(a.layer(2).unwrap().kind(), LayerKind::Concat);
}

/// A network of three heads: classes, values and probabilities.
fn of_three_heads(isa: Isa) -> Network<f64> {
    let builder = Network::<f64>::builder(5).isa(isa).seed(3).dense(9, Activation::Tanh);
    let builder = builder.residual(|block| block.dense(9, Activation::Silu));
    let heads = [
        Head::dense(4, Activation::Softmax),
        Head::new(|head| head.dense(6, Activation::Gelu).dense(2, Activation::Tanh)),
        Head::dense(3, Activation::Sigmoid),
    ];
    builder.heads(heads).build().unwrap()
}

fn head_losses() -> [HeadLoss; 3] {
    [
        HeadLoss::new(Loss::SoftmaxCrossEntropy).label_smoothing(0.1).class_weights(&[1.0, 2.0, 0.5, 3.0]),
        HeadLoss::new(Loss::Huber { delta: 0.4 }).weight(0.25),
        HeadLoss::new(Loss::BinaryCrossEntropyWithLogits).weight(2.0),
    ]
}

#[test]
fn each_head_has_a_loss_of_its_own() {
    const ROWS: usize = 150;
    for (isa, reduction) in
        isas().into_iter().flat_map(|isa| [Reduction::Mean, Reduction::Sum].map(|r| (isa, r)))
    {
        let network = of_three_heads(isa);
        let mut random = Random(21);
        let x = numbers(&mut random, ROWS * 5);
        let classes: Vec<u32> = (0..ROWS).map(|_| random.below(4) as u32).collect();
        let values = numbers(&mut random, ROWS * 2);
        let probabilities: Vec<f64> = numbers(&mut random, ROWS * 3).into_iter().map(f64::abs).collect();
        let weights: Vec<f64> = (0..ROWS).map(|row| (row % 3) as f64).collect();
        let targets = [
            Targets::from(&classes).weights(&weights),
            Targets::from(&values),
            Targets::from(&probabilities),
        ];
        // The same heads, each in a network whose other heads are cut off: gradients are sums.
        let model = reference::Model::of(&network);
        let mut expected = (0.0, vec![0.0; network.parameter_count()]);
        let columns = [(0, 4), (4, 2), (6, 3)];
        for (head, (first, count)) in columns.into_iter().enumerate() {
            let (loss, weight) = [
                (Loss::SoftmaxCrossEntropy, 1.0),
                (Loss::Huber { delta: 0.4 }, 0.25),
                (Loss::BinaryCrossEntropyWithLogits, 2.0),
            ][head];
            let objective = reference::Objective::new(loss, reduction);
            let class_weights = [1.0, 2.0, 0.5, 3.0];
            let objective = match head {
                0 => objective.label_smoothing(0.1).class_weights(&class_weights),
                _ => objective,
            };
            // Logits of the two that take them.
            let mut logits = model.clone();
            let layer = [3, 5, 6][head];
            if head != 1 {
                logits.layers[layer].activation = Activation::Identity;
            }
            let outputs = logits.predict(&x, ROWS);
            let of_head: Vec<f64> =
                outputs.chunks_exact(9).flat_map(|row| row[first..first + count].to_vec()).collect();
            let (value, d) = reference::loss(objective, &of_head, targets[head], count);
            let mut d_outputs = vec![0.0; ROWS * 9];
            for (i, d) in d.iter().enumerate() {
                d_outputs[i / count * 9 + first + i % count] = weight * d;
            }
            expected.0 += weight * value;
            let gradients = logits.backward(&x, &d_outputs, ROWS).parameters;
            expected.1.iter_mut().zip(gradients).for_each(|(sum, d)| *sum += d);
        }
        let builder = Trainer::builder(network).head_losses(head_losses()).reduction(reduction);
        let mut trainer = builder.max_batch(ROWS).optimizer(Optimizer::sgd(0.01)).build().unwrap();
        let what = format!("{isa}, {reduction:?}");
        let loss = trainer.compute_gradients(&x, Targets::heads(&targets)).unwrap();
        assert!((loss - expected.0).abs() < 1e-12 * expected.0, "{what}: {loss}, not {}", expected.0);
        assert_close(&gradients(&trainer), &expected.1, 4.0 * ROWS as f64, &what);
        let evaluation = trainer.evaluate(&x, Targets::heads(&targets)).unwrap();
        assert!((evaluation.loss - loss).abs() < 1e-12 * loss, "{what}");
        // A step makes it smaller.
        let before = trainer.step(&x, Targets::heads(&targets)).unwrap();
        assert!(trainer.step(&x, Targets::heads(&targets)).unwrap() < before, "{what}");
    }
}

#[test]
fn losses_that_do_not_fit_the_heads_are_refused() {
    let build =
        |losses: Vec<HeadLoss>| Trainer::builder(of_three_heads(Isa::Portable)).head_losses(losses).build();
    let three = head_losses().to_vec();
    let count = Error::Length { argument: Argument::HeadLosses, expected: 3, found: 2 };
    assert_eq!(build(three[..2].to_vec()).unwrap_err(), count);
    let mut negative = three.clone();
    negative[1] = negative[1].clone().weight(-1.0);
    assert_eq!(build(negative).unwrap_err(), Error::Setting { argument: Argument::HeadWeight, value: -1.0 });
    // Logits cannot be bounded.
    let swapped = vec![three[1].clone(), three[0].clone(), three[2].clone()];
    assert!(matches!(
        build(swapped),
        Err(Error::Unused { .. } | Error::Combination { .. } | Error::Length { .. })
    ));
    let chain = Network::<f64>::builder(2).dense(1, Activation::Identity).build().unwrap();
    let unused = Error::Unused { argument: Argument::HeadLosses, with: Argument::Network };
    assert_eq!(Trainer::builder(chain.clone()).head_losses(three.clone()).build().unwrap_err(), unused);
    // A head that another reads.
    let builder = Network::<f64>::builder(2).dense(3, Activation::Tanh);
    let shared = builder.heads([
        Head::dense(2, Activation::Identity),
        Head::new(|head| head.concat([Source::Layer(1)]).dense(1, Activation::Identity)),
    ]);
    let two = [HeadLoss::new(Loss::MeanSquaredError), HeadLoss::new(Loss::MeanSquaredError)];
    assert_eq!(
        Trainer::builder(shared.build().unwrap()).head_losses(two).build().unwrap_err(),
        Error::Combination { argument: Argument::HeadLosses, with: Argument::SharedHead }
    );

    let mut trainer = build(three).unwrap();
    let (x, classes, values, probabilities) = ([0.5; 5], [1_u32], [0.5, 0.25], [0.0, 1.0, 0.5]);
    let targets = [Targets::from(&classes), Targets::from(&values), Targets::from(&probabilities)];
    trainer.step(&x, Targets::heads(&targets)).unwrap();
    let missing = |found| Error::Length { argument: Argument::HeadTargets, expected: 3, found };
    assert_eq!(trainer.step(&x, &[0.5; 9]), Err(missing(0)));
    assert_eq!(trainer.step(&x, Targets::heads(&targets[1..])), Err(missing(2)));
    assert_eq!(
        trainer.accumulate_gradients(&x, Targets::heads(&targets)),
        Err(Error::Combination { argument: Argument::HeadLosses, with: Argument::Accumulation })
    );
    let data = fuseprop::Dataset::new(&x, Targets::heads(&targets));
    let fitted = trainer.fit(data, &fuseprop::FitOptions::new(1, 1), crate::common::go_on);
    assert_eq!(
        fitted.unwrap_err(),
        Error::Combination { argument: Argument::HeadLosses, with: Argument::Fit }
    );
    let mut single = Trainer::builder(chain).build().unwrap();
    assert_eq!(
        single.step(&[0.5; 2], Targets::heads(&targets)),
        Err(Error::Unused { argument: Argument::HeadTargets, with: Argument::MeanSquaredError })
    );
}

#[test]
fn losses_of_heads_have_the_same_bits_on_any_number_of_threads() {
    for isa in isas() {
        // Two-phase, and depth-first.
        for rows in [70, 700] {
            let train = |parallelism| {
                let mut random = Random(5);
                let x = numbers(&mut random, rows * 5);
                let classes: Vec<u32> = (0..rows).map(|_| random.below(4) as u32).collect();
                let (values, mut probabilities) =
                    (numbers(&mut random, rows * 2), numbers(&mut random, rows * 3));
                probabilities.iter_mut().for_each(|p| *p = p.abs());
                let targets =
                    [Targets::from(&classes), Targets::from(&values), Targets::from(&probabilities)];
                let builder = Trainer::builder(of_three_heads(isa)).head_losses(head_losses());
                let builder = builder.max_batch(rows).parallelism(parallelism).parallel_threshold(0);
                let mut trainer = builder.optimizer(Optimizer::adam(1e-3)).build().unwrap();
                let losses: Vec<u64> =
                    (0..3).map(|_| trainer.step(&x, Targets::heads(&targets)).unwrap().to_bits()).collect();
                let check = trainer.check_gradients(
                    &x[..50],
                    Targets::heads(&[
                        Targets::from(&classes[..10]),
                        Targets::from(&values[..20]),
                        Targets::from(&probabilities[..30]),
                    ]),
                    1e-4,
                );
                assert!(check.as_ref().is_ok_and(|check| check.error < 1e-8), "{isa}: {check:?}");
                (losses, parameters(trainer.network()))
            };
            let serial = train(Parallelism::Serial);
            for threads in [2, 3, 5] {
                assert_eq!(train(Parallelism::Threads(threads)), serial, "{isa}, {threads} threads");
            }
        }
    }
}
