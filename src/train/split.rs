//! Rows for training, validation and testing: parts and folds by a seed, stratified by class if wanted.
//!
//! Parts are the indices of their rows, in ascending order; [`take_rows`] copies the rows. The same seed
//! gives the same parts on every system.

use crate::error::{Argument, Error, check_length};
use crate::kernels::ops::class_labels::ClassLabels;
use crate::rng::SplitMix64;
use crate::simd::scalar::Element;

/// The rows of one fold of a cross-validation.
///
/// # Examples
/// ```
/// let folds = fuseprop::split::k_fold(10, 5, 7)?;
/// assert!(folds.iter().all(|fold| fold.train.len() == 8 && fold.validation.len() == 2));
/// # Ok::<(), fuseprop::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Fold {
    /// To train on: the validation rows of all other folds.
    pub train: Vec<usize>,
    /// To validate with. Each row is in one fold's.
    pub validation: Vec<usize>,
}

/// Divides rows at random into parts that have given fractions of them: `[0.8, 0.1, 0.1]` for training,
/// validation and test. What is left over, if fractions do not add up to 1, is in no part.
///
/// The first `n` parts together have `round(rows (f_1 + .. + f_n))` rows.
///
/// # Errors
/// [`Error::Setting`] for a fraction that is not above 0, whose part would be empty, or with which the sum is
/// above 1.
///
/// # Examples
/// ```
/// use fuseprop::split::{split_rows, take_rows};
///
/// let parts = split_rows(10, &[0.7, 0.2, 0.1], 7)?;
/// assert_eq!([parts[0].len(), parts[1].len(), parts[2].len()], [7, 2, 1]);
/// let x = [0.0_f32; 20]; // of two features
/// let train = take_rows(&x, 2, &parts[0])?;
/// assert_eq!(train.len(), 14);
/// # Ok::<(), fuseprop::Error>(())
/// ```
pub fn split_rows(rows: usize, fractions: &[f64], seed: u64) -> Result<Vec<Vec<usize>>, Error> {
    check_fractions(fractions)?;
    let order = shuffled((0..rows).collect(), seed);
    let (mut sum, mut first, mut parts) = (0.0, 0, Vec::with_capacity(fractions.len()));
    for &fraction in fractions {
        sum += fraction;
        let end = ((rows as f64 * sum).round() as usize).clamp(first, rows);
        parts.push(sorted(order[first..end].to_vec()));
        first = end;
    }
    check_parts(parts, fractions)
}

/// [`split_rows`] in which each class has its share of every part, within two rows, and every part its share
/// of all rows, within one. scikit-learn's `train_test_split(stratify=classes)`.
///
/// # Errors
/// As [`split_rows`]; [`Error::Class`] for a class that is negative or past 32 bits.
///
/// # Examples
/// ```
/// let classes = [0, 0, 0, 0, 0, 0, 0, 0, 1, 1]; // a rare class
/// let parts = fuseprop::split::split_stratified(&classes, &[0.5, 0.5], 7)?;
/// let rare = |part: &[usize]| part.iter().filter(|&&row| classes[row] == 1).count();
/// assert_eq!([rare(&parts[0]), rare(&parts[1])], [1, 1]);
/// # Ok::<(), fuseprop::Error>(())
/// ```
pub fn split_stratified<'c>(
    classes: impl Into<ClassLabels<'c>>,
    fractions: &[f64],
    seed: u64,
) -> Result<Vec<Vec<usize>>, Error> {
    check_fractions(fractions)?;
    let order = by_class(classes.into(), seed)?;
    // The part that most is missing of so far takes the next row; past the last one none does.
    let rest = (1.0 - fractions.iter().sum::<f64>()).max(0.0);
    let shares: Vec<f64> = fractions.iter().copied().chain([rest]).collect();
    let mut parts = vec![Vec::new(); shares.len()];
    for (count, row) in (1..).zip(order) {
        let missing = |part: usize| shares[part] * f64::from(count) - parts[part].len() as f64;
        let next =
            (1..shares.len()).fold(0, |most, part| if missing(part) > missing(most) { part } else { most });
        parts[next].push(row);
    }
    parts.pop();
    check_parts(parts.into_iter().map(sorted).collect(), fractions)
}

/// Divides rows at random into folds for cross-validation, of which the first `rows % folds` have one
/// validation row more than the others. scikit-learn's `KFold(shuffle=True)`.
///
/// # Errors
/// [`Error::Setting`] for fewer than two folds, or more than there are rows.
///
/// # Examples
///
/// See [`Fold`].
pub fn k_fold(rows: usize, folds: usize, seed: u64) -> Result<Vec<Fold>, Error> {
    check_folds(rows, folds)?;
    let order = shuffled((0..rows).collect(), seed);
    let size = |fold: usize| rows / folds + usize::from(fold < rows % folds);
    let mut of_row = vec![0; rows];
    let mut rest = &order[..];
    for fold in 0..folds {
        let of_fold;
        (of_fold, rest) = rest.split_at(size(fold));
        of_fold.iter().for_each(|&row| of_row[row] = fold);
    }
    Ok(folds_of(&of_row, folds))
}

/// [`k_fold`] in which the validation rows of all folds have as many of each class, but for one.
/// scikit-learn's `StratifiedKFold(shuffle=True)`.
///
/// # Errors
/// As [`k_fold`]; [`Error::Class`] for a class that is negative or past 32 bits.
///
/// # Examples
/// ```
/// let classes = [0, 0, 0, 0, 0, 0, 1, 1, 1];
/// for fold in fuseprop::split::k_fold_stratified(&classes, 3, 7)? {
///     assert_eq!(fold.validation.iter().filter(|&&row| classes[row] == 1).count(), 1);
/// }
/// # Ok::<(), fuseprop::Error>(())
/// ```
pub fn k_fold_stratified<'c>(
    classes: impl Into<ClassLabels<'c>>,
    folds: usize,
    seed: u64,
) -> Result<Vec<Fold>, Error> {
    let classes = classes.into();
    check_folds(classes.len(), folds)?;
    let mut of_row = vec![0; classes.len()];
    for (place, row) in by_class(classes, seed)?.into_iter().enumerate() {
        of_row[row] = place % folds;
    }
    Ok(folds_of(&of_row, folds))
}

/// Copies some rows of `data`, `[rows, columns]`, in the order of their indices: inputs, target values, or,
/// with one column, weights. Class indices are copied by `rows.iter().map(|&row| classes[row])`.
///
/// # Errors
/// [`Error::Zero`] for no columns, [`Error::Rows`] unless `data` is whole rows, [`Error::Length`] for an
/// index that is past them.
///
/// # Examples
/// ```
/// let rows = fuseprop::split::take_rows(&[1.0_f32, 2.0, 3.0, 4.0, 5.0, 6.0], 2, &[2, 0])?;
/// assert_eq!(rows, [5.0, 6.0, 1.0, 2.0]);
/// # Ok::<(), fuseprop::Error>(())
/// ```
pub fn take_rows<T: Element>(data: &[T], columns: usize, rows: &[usize]) -> Result<Vec<T>, Error> {
    match data.len().checked_rem(columns) {
        None => return Err(Error::Zero { argument: Argument::FeatureCount }),
        Some(0) => {}
        Some(_) => return Err(Error::Rows { argument: Argument::Features, row: columns, found: data.len() }),
    }
    let needed = rows.iter().max().map_or(0, |last| (last.saturating_add(1)).saturating_mul(columns));
    if needed > data.len() {
        check_length(Argument::Features, needed, data.len())?;
    }
    Ok(rows.iter().flat_map(|row| &data[row * columns..][..columns]).copied().collect())
}

/// Rows in an order by the seed (Durstenfeld 1964).
fn shuffled(mut rows: Vec<usize>, seed: u64) -> Vec<usize> {
    let mut random = SplitMix64::new(seed);
    for last in (1..rows.len()).rev() {
        rows.swap(last, random.below(last + 1));
    }
    rows
}

fn sorted(mut rows: Vec<usize>) -> Vec<usize> {
    rows.sort_unstable();
    rows
}

/// All rows, class by class, in an order by the seed within each.
fn by_class(classes: ClassLabels<'_>, seed: u64) -> Result<Vec<usize>, Error> {
    let mut of_rows = Vec::with_capacity(classes.len());
    for row in 0..classes.len() {
        let wrong = Error::Class { row, class: classes.value(row), classes: u32::MAX as usize };
        of_rows.push(classes.get(row).ok_or(wrong)?);
    }
    let mut order = shuffled((0..classes.len()).collect(), seed);
    // Stable: within a class the order stays.
    order.sort_by_key(|&row| of_rows[row]);
    Ok(order)
}

/// The folds whose validation rows are those of a number.
fn folds_of(of_row: &[usize], folds: usize) -> Vec<Fold> {
    let fold = |n: usize| {
        let (validation, train) = (0..of_row.len()).partition(|&row| of_row[row] == n);
        Fold { train, validation }
    };
    (0..folds).map(fold).collect()
}

fn check_folds(rows: usize, folds: usize) -> Result<(), Error> {
    match (2..=rows).contains(&folds) {
        true => Ok(()),
        false => Err(Error::Setting { argument: Argument::FoldCount, value: folds as f64 }),
    }
}

fn check_fractions(fractions: &[f64]) -> Result<(), Error> {
    /// Of a sum of fractions in decimals.
    const ROUNDING: f64 = 1e-9;
    let refused = |value| Err(Error::Setting { argument: Argument::RowFraction, value });
    let mut sum = 0.0;
    for &fraction in fractions {
        sum += fraction;
        if !(fraction > 0.0 && sum <= 1.0 + ROUNDING) {
            return refused(fraction);
        }
    }
    Ok(())
}

/// Refuses parts without rows.
fn check_parts(parts: Vec<Vec<usize>>, fractions: &[f64]) -> Result<Vec<Vec<usize>>, Error> {
    match parts.iter().zip(fractions).find(|(part, _)| part.is_empty()) {
        Some((_, &value)) => Err(Error::Setting { argument: Argument::RowFraction, value }),
        None => Ok(parts),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn assert_partition(parts: &[Vec<usize>], rows: usize) {
        assert_eq!(sorted(parts.concat()), (0..rows).collect::<Vec<_>>());
        assert!(parts.iter().all(|part| part.is_sorted()));
    }

    #[test]
    fn parts_have_their_fractions_and_share_no_row() {
        for rows in [10, 97, 1000] {
            let parts = split_rows(rows, &[0.7, 0.2, 0.1], 3).unwrap();
            assert_partition(&parts, rows);
            let right = [0.7, 0.2, 0.1].map(|fraction| fraction * rows as f64);
            assert!(parts.iter().zip(right).all(|(part, right)| (part.len() as f64 - right).abs() <= 1.0));
            assert_eq!(split_rows(rows, &[0.7, 0.2, 0.1], 3).unwrap(), parts);
            assert_ne!(split_rows(rows, &[0.7, 0.2, 0.1], 4).unwrap(), parts);
        }
        // Decimals that add up to a little more than 1, and a part that is left out.
        assert_partition(&split_rows(20, &[0.1; 10], 0).unwrap(), 20);
        assert_eq!(split_rows(20, &[0.25, 0.5], 0).unwrap().concat().len(), 15);
    }

    #[test]
    fn each_class_has_its_share_of_every_part() {
        let classes: Vec<u8> = (0..1000_u32).map(|i| (i * i % 7) as u8).collect();
        let fractions = [0.6, 0.25, 0.15];
        let parts = split_stratified(&classes, &fractions, 5).unwrap();
        assert_partition(&parts, 1000);
        for (part, fraction) in parts.iter().zip(fractions) {
            assert!((part.len() as f64 - 1000.0 * fraction).abs() <= 1.0, "{}", part.len());
            for class in 0..7 {
                let of = |rows: &mut dyn Iterator<Item = usize>| {
                    rows.filter(|&row| classes[row] == class).count() as f64
                };
                let (found, all) = (of(&mut part.iter().copied()), of(&mut (0..1000)));
                assert!((found - fraction * all).abs() <= 2.0, "{class}: {found} of {all}");
            }
        }
        // As many classes as rows: no part takes all.
        let parts = split_stratified(&[0, 1, 2, 3, 4, 5, 6, 7, 8, 9], &[0.8, 0.2], 5).unwrap();
        assert_eq!((parts[0].len(), parts[1].len()), (8, 2));
        assert_eq!(split_stratified(&classes, &[0.3, 0.2], 5).unwrap().concat().len(), 500);
    }

    #[test]
    fn every_row_validates_one_fold_and_trains_the_others() {
        let classes: Vec<i64> = (0..103).map(|i| i64::from(i % 10 == 0)).collect();
        for (stratified, folds) in
            [(false, k_fold(103, 5, 9).unwrap()), (true, k_fold_stratified(&classes, 5, 9).unwrap())]
        {
            let validation: Vec<_> = folds.iter().map(|fold| fold.validation.clone()).collect();
            assert_partition(&validation, 103);
            for fold in &folds {
                assert_partition(&[sorted([&fold.train[..], &fold.validation].concat())], 103);
                assert!((20..=21).contains(&fold.validation.len()));
                let rare = fold.validation.iter().filter(|&&row| classes[row] == 1).count();
                // Eleven in all.
                assert!(!stratified || (2..=3).contains(&rare), "{rare}");
            }
        }
        assert_ne!(k_fold(103, 5, 9), k_fold(103, 5, 10));
        assert_ne!(k_fold_stratified(&classes, 5, 9), k_fold_stratified(&classes, 5, 10));
    }

    #[test]
    fn what_cannot_be_divided_is_refused_by_name() {
        let fraction = |value| Error::Setting { argument: Argument::RowFraction, value };
        for bad in [0.0, -0.5, 1.5, f64::INFINITY] {
            assert_eq!(split_rows(10, &[bad], 0), Err(fraction(bad)));
            assert_eq!(split_stratified(&[0; 10], &[bad], 0), Err(fraction(bad)));
        }
        assert!(split_rows(10, &[f64::NAN], 0).is_err());
        assert_eq!(split_rows(10, &[0.6, 0.5], 0), Err(fraction(0.5)));
        assert_eq!(split_rows(10, &[0.99, 0.01], 0), Err(fraction(0.01)));
        assert_eq!(split_rows(0, &[0.5], 0), Err(fraction(0.5)));
        let folds = |value| Err(Error::Setting { argument: Argument::FoldCount, value });
        assert_eq!((k_fold(10, 1, 0), k_fold(3, 4, 0)), (folds(1.0), folds(4.0)));
        assert_eq!(k_fold_stratified(&[0, 1], 3, 0), folds(3.0));
        assert!(matches!(k_fold_stratified(&[0, -1], 2, 0), Err(Error::Class { row: 1, class: -1, .. })));
        let length = Error::Length { argument: Argument::Features, expected: 8, found: 6 };
        assert_eq!(take_rows(&[0.0; 6], 2, &[3]), Err(length));
        let zero = Error::Zero { argument: Argument::FeatureCount };
        assert_eq!(take_rows(&[0.0; 6], 0, &[]), Err(zero));
        assert!(matches!(take_rows(&[0.0; 5], 2, &[0]), Err(Error::Rows { .. })));
    }
}
