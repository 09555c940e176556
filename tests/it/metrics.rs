//! Metrics against scikit-learn's numbers: see `tests/fixtures/scikit_learn.py`; and what they refuse.

use crate::common::fixture::{Fixture, assert_close};
use fuseprop::metrics::{
    Average, binary_accuracy, class_scores, f1_score, log_loss, mean_absolute_error, precision_score,
    r2_score, r2_scores, recall_score, roc_auc_score, root_mean_squared_error,
};
use fuseprop::{Argument, Error, Targets};

fn fixture() -> Fixture {
    Fixture::read(include_str!("../fixtures/scikit_learn.txt"))
}

/// Targets without weights and with them, and the name of their results.
fn both<'a>(targets: Targets<'a, f64>, weights: &'a [f64]) -> [(&'static str, Targets<'a, f64>); 2] {
    [("plain", targets), ("weighted", targets.weights(weights))]
}

fn labels(fixture: &Fixture, name: &str) -> Vec<u32> {
    fixture.get(name).iter().map(|&class| class as u32).collect()
}

#[test]
fn distances_are_those_of_scikit_learn() {
    let fixture = fixture();
    let (y, t) = (fixture.get("regression/y"), fixture.get("regression/t"));
    for (name, targets) in both(Targets::from(t), fixture.get("weights")) {
        let check = |found: &[f64], score| {
            let name = format!("regression/{name}/{score}");
            assert_close(found, fixture.get(&name), &name);
        };
        check(&[root_mean_squared_error(y, targets, 4).unwrap()], "rmse");
        check(&[mean_absolute_error(y, targets).unwrap()], "mae");
        check(&[r2_score(y, targets, 4).unwrap()], "r2");
        check(&r2_scores(y, targets, 4).unwrap(), "r2_raw");
    }
}

#[test]
fn scores_of_classes_are_those_of_scikit_learn() {
    let fixture = fixture();
    let (logits, shares) = (fixture.get("classes/logits"), fixture.get("classes/shares"));
    let labels = labels(&fixture, "classes/labels");
    for (name, targets) in both(Targets::from(&labels), fixture.get("weights")) {
        let check = |found: &[f64], score| {
            let name = format!("classes/{name}/{score}");
            assert_close(found, fixture.get(&name), &name);
        };
        let scores = class_scores(logits, targets).unwrap();
        check(&scores.iter().map(|scores| scores.precision).collect::<Vec<_>>(), "precision");
        check(&scores.iter().map(|scores| scores.recall).collect::<Vec<_>>(), "recall");
        check(&scores.iter().map(|scores| scores.f1).collect::<Vec<_>>(), "f1");
        check(&scores.iter().map(|scores| scores.support).collect::<Vec<_>>(), "support");
        for (average, score) in [(Average::Macro, "macro"), (Average::Weighted, "weighted")] {
            let precision = precision_score(logits, targets, average).unwrap();
            let recall = recall_score(logits, targets, average).unwrap();
            check(&[precision, recall, f1_score(logits, targets, average).unwrap()], score);
        }
        check(&[log_loss(shares, targets).unwrap()], "log_loss");
    }
}

#[test]
fn scores_of_two_classes_are_those_of_scikit_learn() {
    let fixture = fixture();
    let (scores, share) = (fixture.get("binary/scores"), fixture.get("binary/share"));
    let (labels, values) = (labels(&fixture, "binary/labels"), fixture.get("binary/labels"));
    let of_labels = both(Targets::from(&labels), fixture.get("weights"));
    let of_values = both(Targets::from(values), fixture.get("weights"));
    for ((name, targets), (_, as_values)) in of_labels.into_iter().zip(of_values) {
        let check = |found: f64, score| {
            let name = format!("binary/{name}/{score}");
            assert_close(&[found], fixture.get(&name), &name);
        };
        for targets in [targets, as_values] {
            check(roc_auc_score(scores, targets).unwrap(), "roc_auc");
            check(binary_accuracy(scores, targets, 1, 0.0).unwrap(), "accuracy");
        }
        check(log_loss(share, targets).unwrap(), "log_loss");
        let positive = Average::Class(1);
        check(precision_score(scores, targets, positive).unwrap(), "precision");
        check(recall_score(scores, targets, positive).unwrap(), "recall");
        check(f1_score(scores, targets, positive).unwrap(), "f1");
    }
}

#[test]
fn what_weighs_nothing_is_not_read() {
    let nan = f64::NAN;
    let (weights, values) = ([1.0, 0.0, 1.0], [1.0, nan, 0.0]);
    let values = Targets::from(&values).weights(&weights);
    assert_eq!(mean_absolute_error(&[0.5, nan, 0.0], values), Ok(0.25));
    assert_eq!(root_mean_squared_error(&[2.0, nan, 1.0], values, 1), Ok(1.0));
    assert_eq!(roc_auc_score(&[0.5, nan, 0.0], values), Ok(1.0));
    assert_eq!(binary_accuracy(&[0.5, nan, 0.0], values, 1, 0.0), Ok(1.0));
    let classes = Targets::from(&[1, 1, 0]).weights(&weights);
    assert_eq!(log_loss(&[0.5, nan, 0.5], classes), Ok(2.0_f64.ln()));
    assert_eq!(precision_score(&[0.5, nan, -1.0], classes, Average::Class(1)), Ok(1.0));
    // Of elements too.
    let values = [1.0, nan, 0.0, 1.0];
    let masked = Targets::from(&values).mask(&[1.0, 0.0, 1.0, 3.0]);
    assert_eq!(binary_accuracy(&[0.5, nan, 0.25, 0.75], masked, 2, 0.5), Ok(4.0 / 5.0));
    assert_eq!(mean_absolute_error(&[0.5, nan, 0.25, 0.75], masked), Ok((0.5 + 0.25 + 0.75) / 5.0));
    assert_eq!(r2_scores(&[1.0, 5.0, 0.0, 5.0], masked, 2), Ok(vec![1.0, 0.0]));
}

#[test]
fn what_has_no_score_is_none() {
    assert!(roc_auc_score(&[0.5, 0.25], &[1, 1]).unwrap().is_nan());
    assert!(root_mean_squared_error(&[0.0_f32; 0], &[0.0; 0], 2).unwrap().is_nan());
    assert!(log_loss(&[0.0_f32; 0], &[0_u32; 0]).unwrap().is_nan());
    assert!(class_scores(&[0.0_f32; 0], &[0_u32; 0]).unwrap().is_empty());
    // A row of NaN is predicted to be of no class.
    let scores = class_scores(&[f32::NAN, f32::NAN, 1.0, 0.0], &[0, 0]).unwrap();
    assert_eq!((scores[0].precision, scores[0].recall, scores[1].precision), (1.0, 0.5, 0.0));
}

#[test]
fn what_does_not_fit_is_refused_by_name() {
    let (y, classes) = ([0.5, 0.25, 0.75, 1.0], Targets::<f64>::from(&[0, 1]));
    let length = |argument, expected, found| Error::Length { argument, expected, found };
    let values = Error::Combination { argument: Argument::ClassMetric, with: Argument::TargetValues };
    assert_eq!(class_scores(&y, &y).unwrap_err(), values);
    let of_classes = Error::Combination { argument: Argument::ValueMetric, with: Argument::ClassTargets };
    assert_eq!(mean_absolute_error(&y, classes).unwrap_err(), of_classes);
    assert_eq!(r2_score(&y, classes, 2).unwrap_err(), of_classes);
    let unused = Error::Unused { argument: Argument::ElementMask, with: Argument::ClassMetric };
    assert_eq!(class_scores(&y, classes.mask(&y)).unwrap_err(), unused);
    let short = length(Argument::RowWeights, 2, 1);
    assert_eq!(class_scores(&y, classes.weights(&y[..1])).unwrap_err(), short);
    assert_eq!(root_mean_squared_error(&y, Targets::from(&y).weights(&y[..1]), 2).unwrap_err(), short);
    let three = Targets::from(&y).weights(&y[..3]);
    assert!(matches!(mean_absolute_error(&y, three), Err(Error::Length { .. })));
    let negative = Error::Setting { argument: Argument::RowWeight, value: -1.0 };
    assert_eq!(log_loss(&y, classes.weights(&[1.0, -1.0])).unwrap_err(), negative);
    let class = Error::Setting { argument: Argument::MeasuredClass, value: 2.0 };
    assert_eq!(f1_score(&y, classes, Average::Class(2)).unwrap_err(), class);
    assert_eq!(roc_auc_score(&y, classes).unwrap_err(), length(Argument::ClassTargets, 4, 2));
    let third = Error::Class { row: 1, class: 2, classes: 2 };
    assert_eq!(roc_auc_score(&y[..2], &[0, 2]).unwrap_err(), third);
    let nan = roc_auc_score(&[0.5, f64::NAN], &[0, 1]).unwrap_err();
    assert!(matches!(nan, Error::Value { argument: Argument::Outputs, row: 1, .. }), "{nan}");
    let rows = Error::Rows { argument: Argument::Outputs, row: 3, found: 4 };
    assert_eq!(binary_accuracy(&y, &y, 3, 0.0).unwrap_err(), rows);
    let zero = Error::Zero { argument: Argument::FeatureCount };
    assert_eq!(binary_accuracy(&y, &y, 0, 0.0).unwrap_err(), zero);
}
