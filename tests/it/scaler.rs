//! Scalers: what they compute, that folding them changes nothing but roundings, and what they refuse.

use crate::common::isas;
use fuseprop::{Activation, Argument, Error, Network, Scaler};

const X: [f64; 8] = [1.0, -50.0, 3.0, -50.0, 8.0, -50.0, 0.0, -50.0];

fn predict(network: &Network<f64>, x: &[f64]) -> Vec<f64> {
    let rows = x.len() / network.inputs();
    let mut y = vec![0.0; rows * network.outputs()];
    network.predict_into(x, &mut y, &mut network.workspace(rows).unwrap()).unwrap();
    y
}

#[test]
fn means_and_deviations_are_those_of_the_columns() {
    let scaler = Scaler::fit(&X, 2).unwrap();
    assert_eq!(scaler.means(), [3.0, -50.0]);
    assert_eq!(scaler.stds(), [(38.0f64 / 4.0).sqrt(), 1.0], "a constant feature is divided by 1");
    for constant in [0.1, 0.3, 1.1, -1e30] {
        assert_eq!(Scaler::<f64>::fit(&[constant; 10], 1).unwrap().stds(), [1.0], "{constant}");
    }
    // Far from 0 the difference of two large squares would have no digit left.
    let far: Vec<f64> = X.iter().step_by(2).map(|x| x + 4_503_599_627_370_496.0).collect();
    assert_eq!(Scaler::fit(&far, 1).unwrap().stds(), [(38.0f64 / 4.0).sqrt()]);
    let mut x = X;
    scaler.apply(&mut x).unwrap();
    let (mean, squares) = x.iter().step_by(2).fold((0.0, 0.0), |(m, s), x| (m + x / 4.0, s + x * x / 4.0));
    assert!(mean.abs() < 1e-15 && (squares - 1.0).abs() < 1e-15);
    assert!(x.iter().skip(1).step_by(2).all(|&x| x == 0.0));
    scaler.inverse(&mut x).unwrap();
    assert!(x.iter().zip(X).all(|(a, b)| (a - b).abs() < 1e-14));
}

#[test]
fn a_feature_that_is_constant_but_for_roundings_is_divided_by_one() {
    let (sum, three) = (0.1 + 0.2, 0.3);
    assert_ne!(sum, three);
    assert_eq!(Scaler::<f64>::fit(&[sum, three], 1).unwrap().stds(), [1.0]);
    // Of a million rows, whose mean no sum of a million terms gives exactly.
    let many: Vec<f64> = (0..1_000_000).map(|i| if i % 3 == 0 { sum } else { three }).collect();
    assert_eq!(Scaler::fit(&many, 1).unwrap().stds(), [1.0]);
    let narrow = 0.3_f32;
    assert_eq!(Scaler::<f32>::fit(&[narrow, narrow.next_up(), narrow], 1).unwrap().stds(), [1.0]);
    // Eight units in the last place are no rounding any more, and no spread about a mean of 0 is.
    let apart: f64 = (0..8).fold(1.0, |x: f64, _| x.next_up());
    assert_eq!(Scaler::fit(&[1.0, apart], 1).unwrap().stds(), [4.0 * f64::EPSILON]);
    assert_eq!(Scaler::fit(&[1e-17, -1e-17], 1).unwrap().stds(), [1e-17]);
}

#[test]
fn features_of_any_size_have_their_own_deviations() {
    for size in [1e-300, 1e-200, 1e-10, 1.0, 1e10, 1e200, 1e300] {
        let x: Vec<f64> = X.iter().step_by(2).map(|x| x * size).collect();
        let scaler = Scaler::fit(&x, 1).unwrap();
        let (mean, std) = (3.0 * size, (38.0_f64 / 4.0).sqrt() * size);
        assert!(
            (scaler.means()[0] - mean).abs() <= 2.0 * f64::EPSILON * mean,
            "{size}: {:?}",
            scaler.means()
        );
        assert!((scaler.stds()[0] - std).abs() <= 4.0 * f64::EPSILON * std, "{size}: {:?}", scaler.stds());
    }
    // Their sum is too large for a number, their mean is not.
    let scaler = Scaler::fit(&[f64::MAX, f64::MAX, -f64::MAX, -f64::MAX], 1).unwrap();
    assert_eq!((scaler.means(), scaler.stds()), (&[0.0][..], &[f64::MAX][..]));
    let scaler = Scaler::fit(&[f64::MAX, f64::MAX], 1).unwrap();
    assert_eq!((scaler.means(), scaler.stds()), (&[f64::MAX][..], &[1.0][..]));
    let scaler = Scaler::fit(&[f32::MAX, -f32::MAX], 1).unwrap();
    assert_eq!((scaler.means(), scaler.stds()), (&[0.0][..], &[f32::MAX][..]));
    // Denormal numbers count as 0 where inputs are taken in, and so do differences of them.
    assert_eq!(Scaler::fit(&[1e-310, 3e-310], 1).unwrap().stds(), [1.0]);
    assert_eq!(Scaler::<f64>::fit(&[0.0; 4], 2).unwrap().stds(), [1.0; 2]);
}

#[test]
fn a_network_scales_its_inputs_itself() {
    for isa in isas() {
        let builder = Network::<f64>::builder(2).dense(20, Activation::Tanh).dense(3, Activation::Identity);
        let plain = builder.isa(isa).seed(1).build().unwrap();
        let scaler = Scaler::fit(&X, 2).unwrap();
        let mut scaled = X;
        scaler.apply(&mut scaled).unwrap();
        let expected = predict(&plain, &scaled);
        let mut network = plain.clone();
        network.set_scaler(Some(scaler.clone())).unwrap();
        assert_eq!(predict(&network, &X), expected);

        network.fold_scaler().unwrap();
        assert!(network.scaler().is_none());
        assert!(predict(&network, &X).iter().zip(&expected).all(|(a, b)| (a - b).abs() < 1e-13));

        let targets = Scaler::new(vec![5.0, 0.0, -1.0], vec![2.0, 3.0, 0.5]).unwrap();
        network.fold_output_scaler(&targets).unwrap();
        let mut in_units = expected.clone();
        targets.inverse(&mut in_units).unwrap();
        assert!(predict(&network, &X).iter().zip(&in_units).all(|(a, b)| (a - b).abs() < 1e-12));
    }
}

#[test]
fn what_does_not_fit_is_refused_and_changes_nothing() {
    let rows = |found| Error::Rows { argument: Argument::Features, row: 2, found };
    assert_eq!(Scaler::fit(&X[..7], 2), Err(rows(7)));
    assert!(matches!(Scaler::<f64>::fit(&[], 2), Err(Error::Rows { .. })));
    assert!(matches!(Scaler::fit(&X, 0), Err(Error::Zero { .. })));
    for (value, text) in [(f64::INFINITY, "inf"), (f64::NEG_INFINITY, "-inf"), (f64::NAN, "NaN")] {
        let mut x = X;
        x[5] = value;
        x[6] = value;
        match Scaler::fit(&x, 2).unwrap_err() {
            Error::Value { argument: Argument::Features, row: 2, column: 1, value: found } => {
                assert_eq!(found.to_bits(), value.to_bits());
            }
            other => panic!("{other:?}"),
        }
        let message = Scaler::fit(&x, 2).unwrap_err().to_string();
        assert_eq!(message, format!("the features hold {text} at row 2, column 1, counted from 0"));
    }
    assert!(matches!(Scaler::new(vec![0.0], vec![0.0]), Err(Error::Setting { .. })));
    assert!(matches!(Scaler::new(vec![0.0], vec![1.0, 1.0]), Err(Error::Length { .. })));
    assert!(matches!(Scaler::<f32>::new(vec![], vec![]), Err(Error::Zero { .. })));
    let scaler = Scaler::fit(&X, 2).unwrap();
    let mut x = X;
    assert_eq!(scaler.apply(&mut x[..3]), Err(rows(3)));
    assert_eq!(scaler.inverse(&mut x[..3]), Err(rows(3)));
    assert_eq!(x, X);

    let builder = Network::<f64>::builder(3).layer_norm(Activation::Tanh).dense(2, Activation::Sigmoid);
    let mut network = builder.seed(1).build().unwrap();
    let before = predict(&network, &[1.0, 2.0, 4.0]);
    assert!(matches!(network.set_scaler(Some(scaler.clone())), Err(Error::Length { .. })));
    assert!(matches!(network.fold_scaler(), Err(Error::Unused { .. })));
    assert!(matches!(network.fold_output_scaler(&scaler), Err(Error::Unused { .. })));
    let three = Scaler::new(vec![0.0; 3], vec![1.0; 3]).unwrap();
    assert!(matches!(network.fold_output_scaler(&three), Err(Error::Length { .. })));
    network.set_scaler(Some(three)).unwrap();
    assert!(matches!(network.fold_scaler(), Err(Error::Unused { .. })));
    assert!(network.scaler().is_some());
    assert_eq!(predict(&network, &[1.0, 2.0, 4.0]), before);
}
