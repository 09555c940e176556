//! What training leaves out: how much, where, and that it follows from seed, pass, layer and element alone.

use crate::common::isas;
use fuseprop::reference::{Dropout, dropout_factors};
use fuseprop::{Activation, Element, Error, Isa, Loss, Network, Parallelism, Reduction, Scaler, Trainer};

/// A network that hands its inputs through two layers with dropout to its outputs.
fn passing_on<T: Element + From<f32>>(features: usize, shares: [f64; 2], isa: Isa) -> Network<T> {
    let identity = Activation::Identity;
    let builder = Network::<T>::builder(features).isa(isa).seed(1);
    let builder = builder.dense(features, identity).dropout(shares[0]).dense(features, identity);
    let mut network = builder.dropout(shares[1]).dense(features, identity).build().unwrap();
    let one = |i: usize| T::from(if i % features == i / features { 1.0 } else { 0.0 });
    for l in 0..3 {
        network.write_weights(l, &(0..features * features).map(one).collect::<Vec<_>>()).unwrap();
    }
    network
}

/// With a loss whose gradient is 1 for every output above its target.
fn trainer<T: Element>(network: Network<T>, seed: u64, max_batch: usize) -> Trainer<T> {
    let builder = Trainer::builder(network).loss(Loss::MeanAbsoluteError).reduction(Reduction::Sum);
    let builder = builder.seed(seed).max_batch(max_batch).input_gradients();
    builder.parallelism(Parallelism::Serial).build().unwrap()
}

/// Outputs, and gradients of inputs, are the product of both layers' factors: forward and back, in the
/// backward pass that computes its own forward again, and in a training pass.
fn compare<T: Element + From<f32> + Into<f64>>(isa: Isa, features: usize, batch: usize) {
    let (seed, shares) = (77, [0.25, 0.5]);
    let mut trainer = trainer(passing_on::<T>(features, shares, isa), seed, batch);
    let ones = vec![T::from(1.0); batch * features];
    for pass in 1..4 {
        let outputs = trainer.forward(&ones).unwrap().to_vec();
        trainer.backward(&ones).unwrap();
        let factors = [0, 1]
            .map(|l| dropout_factors(Dropout::new(seed, shares[l]).pass(pass).layer(l), batch, features));
        let expected = factors[0].iter().zip(&factors[1]).map(|(a, b)| a * b);
        let found = outputs.iter().zip(trainer.input_gradients().unwrap());
        for (i, (expected, (&y, &d_x))) in expected.zip(found).enumerate() {
            let (y, d_x): (f64, f64) = (y.into(), d_x.into());
            assert!((y - expected).abs() < 1e-6 && (d_x - expected).abs() < 1e-6, "{isa} {i} {y} {d_x}");
        }
    }
    for pass in 4..7 {
        trainer.compute_gradients(&ones, &vec![T::from(-1.0); batch * features]).unwrap();
        let factors = [0, 1]
            .map(|l| dropout_factors(Dropout::new(seed, shares[l]).pass(pass).layer(l), batch, features));
        for (i, &d_x) in trainer.input_gradients().unwrap().iter().enumerate() {
            let (found, expected): (f64, f64) = (d_x.into(), factors[0][i] * factors[1][i]);
            assert!((found - expected).abs() < 1e-6, "{isa}, pass {pass}: {i} {found}");
        }
    }
}

#[test]
fn factors_are_those_of_the_formula() {
    for isa in isas() {
        for (features, batch) in [(1, 3), (7, 5), (16, 64), (33, 70), (20, 700)] {
            compare::<f32>(isa, features, batch);
            compare::<f64>(isa, features, batch);
        }
    }
}

/// Its random number is a whole number of 2^-32, and so is the share here.
#[test]
fn an_element_is_left_out_by_the_first_share_above_its_random_number() {
    let share = |units: u64| units as f64 / 4_294_967_296.0;
    for element in 0..4 {
        let factor = |units| dropout_factors(Dropout::new(77, share(units)), 1, 4)[element];
        let (mut keeps, mut leaves_out) = (0, u64::from(u32::MAX));
        assert!(factor(keeps) == 1.0 && factor(leaves_out) == 0.0);
        while keeps + 1 < leaves_out {
            let middle = (keeps + leaves_out) / 2;
            *if factor(middle) == 0.0 { &mut leaves_out } else { &mut keeps } = middle;
        }
        for isa in isas() {
            let output = |units| {
                let mut trainer = trainer(passing_on::<f64>(4, [share(units), 0.0], isa), 77, 1);
                trainer.forward(&[1.0; 4]).unwrap()[element]
            };
            assert!(output(keeps) > 0.0 && output(leaves_out) == 0.0, "{isa}: {element} at {keeps}");
        }
    }
}

#[test]
fn the_share_is_what_was_asked_for_and_neighbours_are_independent() {
    let (rows, features) = (2_000, 100);
    for share in [0.0, 0.1, 0.5, 0.9] {
        let factors = dropout_factors(Dropout::new(3, share), rows, features);
        let n = factors.len() as f64;
        let part = |count: usize| count as f64 / n;
        let left_out = part(factors.iter().filter(|&&factor| factor == 0.0).count());
        // Five deviations of a binomial.
        let tolerance = 5.0 * (share * (1.0 - share) / n).sqrt();
        assert!((left_out - share).abs() <= tolerance, "{left_out} of {share}");
        let pairs = |step| factors.windows(step + 1).filter(|w| w[0] == 0.0 && w[step] == 0.0).count();
        for step in [1, 2, features, 2 * features] {
            let both = part(pairs(step));
            assert!((both - share * share).abs() <= 2.0 * tolerance + 1e-3, "{share}, {step}: {both}");
        }
    }
}

#[test]
fn predictions_and_evaluations_leave_nothing_out() {
    let network = passing_on::<f32>(20, [0.5, 0.5], Isa::detect());
    let x = vec![1.0; 20 * 8];
    let mut y = vec![0.0; 20 * 8];
    network.predict_into(&x, &mut y, &mut network.workspace(8).unwrap()).unwrap();
    assert_eq!(y, x);
    let mut trainer = trainer(network, 0, 8);
    assert_eq!(trainer.evaluate(&x, &x).unwrap().loss, 0.0);
    assert_ne!(trainer.forward(&x).unwrap(), x);
}

#[test]
fn other_seeds_and_passes_leave_out_others() {
    let outputs = |seed| {
        let mut trainer = trainer(passing_on::<f32>(20, [0.5, 0.0], Isa::detect()), seed, 8);
        [(); 2].map(|()| trainer.forward(&[1.0; 20 * 8]).unwrap().to_vec())
    };
    let [first, second] = outputs(1);
    assert_ne!(first, second);
    assert_eq!(outputs(1), [first.clone(), second]);
    assert_ne!(outputs(2)[0], first);
}

#[test]
fn dropout_stands_before_a_layer_and_leaves_something() {
    let dense = || Network::<f32>::builder(2).dense(2, Activation::Tanh);
    assert_eq!(dense().dropout(0.5).build().unwrap_err(), Error::Dropout { layers: 1 });
    for share in [1.0, -0.1, f64::NAN, f64::INFINITY] {
        let network = dense().dropout(share).dense(1, Activation::Identity).build();
        assert!(matches!(network.unwrap_err(), Error::Setting { .. }), "{share}");
        let network = Network::<f32>::builder(2).dropout(share).dense(2, Activation::Tanh).build();
        assert!(matches!(network.unwrap_err(), Error::Setting { .. }), "{share} of the inputs");
    }
    assert_eq!(dense().dropout(0.0).build().unwrap().layer(0).unwrap().dropout(), 0.0);
}

/// A dense layer that hands on its inputs after dropout, with another layer's behind it.
fn after_inputs<T: Element + From<f32>>(features: usize, rates: [f64; 2], isa: Isa) -> Network<T> {
    let identity = Activation::Identity;
    let builder = Network::<T>::builder(features).isa(isa).seed(1).dropout(rates[0]);
    let builder = builder.dense(features, identity).dropout(rates[1]).dense(features, identity);
    let mut network = builder.build().unwrap();
    let one = |i: usize| T::from(if i % features == i / features { 1.0 } else { 0.0 });
    for l in 0..2 {
        network.write_weights(l, &(0..features * features).map(one).collect::<Vec<_>>()).unwrap();
    }
    network
}

#[test]
fn inputs_are_left_out_by_the_number_after_the_last_layer() {
    // Factors of 4 and 2: every product is exact.
    let (seed, rates) = (5, [0.75, 0.5]);
    for isa in isas() {
        for (features, batch) in [(1, 3), (4, 2), (7, 5), (33, 70), (20, 700)] {
            let mut trainer = trainer(after_inputs::<f64>(features, rates, isa), seed, batch);
            let ones = vec![1.0; batch * features];
            for pass in 1..4 {
                let outputs = trainer.forward(&ones).unwrap().to_vec();
                trainer.backward(&ones).unwrap();
                let factors = |layer, rate| {
                    dropout_factors(Dropout::new(seed, rate).pass(pass).layer(layer), batch, features)
                };
                let (inputs, hidden) = (factors(2, rates[0]), factors(0, rates[1]));
                let expected: Vec<f64> = inputs.iter().zip(&hidden).map(|(a, b)| a * b).collect();
                assert_eq!(outputs, expected, "{isa} {features} {batch}");
                assert_eq!(trainer.input_gradients().unwrap(), expected, "{isa} {features} {batch}");
                // The first layer's gradient is of the inputs that are left.
                let mut gradients = vec![0.0; trainer.network().parameter_count()];
                trainer.read_gradients(&mut gradients).unwrap();
                for (i, g) in gradients[..features * features].iter().enumerate() {
                    let (o, i) = (i / features, i % features);
                    let rows = |row: usize| hidden[row * features + o] * inputs[row * features + i];
                    assert_eq!(*g, (0..batch).map(rows).sum::<f64>(), "{isa} {features} {batch}");
                }
            }
            let mut y = vec![0.0; batch * features];
            let network = trainer.into_network();
            network.predict_into(&ones, &mut y, &mut network.workspace(batch).unwrap()).unwrap();
            assert_eq!(y, ones, "predictions leave nothing out");
        }
    }
}

#[test]
fn inputs_are_scaled_before_they_are_left_out() {
    let mut network = after_inputs::<f64>(3, [0.5, 0.0], Isa::detect());
    network.set_scaler(Some(Scaler::new(vec![1.0, 2.0, 3.0], vec![2.0; 3]).unwrap())).unwrap();
    let mut trainer = trainer(network, 9, 4);
    let outputs = trainer.forward(&[5.0; 12]).unwrap().to_vec();
    trainer.backward(&[1.0; 12]).unwrap();
    let factors = dropout_factors(Dropout::new(9, 0.5).layer(2), 4, 3);
    assert!(factors.contains(&0.0) && factors.contains(&2.0));
    for (i, factor) in factors.into_iter().enumerate() {
        assert_eq!(outputs[i], factor * [2.0, 1.5, 1.0][i % 3]);
        assert_eq!(trainer.input_gradients().unwrap()[i], factor / 2.0);
    }
}
