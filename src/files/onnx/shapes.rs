//! Operators that give the features of a row another shape, or compute shapes.

use crate::error::Error;
use crate::files::onnx::constant::Constant;
use crate::files::onnx::import::{Importer, Operation, Rows, Value};

/// A number of a shape.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Dim {
    /// The size of the batch, which the file leaves open.
    Batch,
    Number(i64),
}

const SHAPES: &str = "a shape [batch, ..] with all features of a row";

impl Importer<'_> {
    /// `Flatten`: all features of a row in one dimension.
    pub(super) fn flatten(&self, operation: &Operation<'_>) -> Result<Value, Error> {
        let rows = self.rows_at(operation, 0)?;
        let axis = operation.attributes.int("axis").unwrap_or(1);
        let features = rows.shape.iter().product();
        match axis == 1 || axis == -(rows.shape.len() as i64) {
            true => Ok(Value::Rows(Rows { shape: vec![features], ..rows })),
            false => Err(operation.refuse(format!("flattens from axis {axis}"), "axis 1, after the batch")),
        }
    }

    /// `Reshape` that leaves rows rows.
    pub(super) fn reshape(&self, operation: &Operation<'_>) -> Result<Value, Error> {
        let target = match self.value(operation, 1)? {
            Value::Shape(dims) => dims.clone(),
            Value::Constant(constant) => {
                let dims = constant.integers();
                let unknown = || operation.refuse("has a shape that is none", SHAPES);
                dims.ok_or_else(unknown)?.into_iter().map(Dim::Number).collect()
            }
            Value::Rows(_) => return Err(operation.refuse("has a shape that depends on the inputs", SHAPES)),
        };
        if let Value::Constant(constant) = self.value(operation, 0)? {
            let reshaped = numbers(&target).and_then(|dims| resolved(&dims, constant.len()));
            let reshaped = reshaped.and_then(|dims| constant.reshaped(dims));
            let other = || operation.refuse(format!("cannot have the shape {target:?}"), SHAPES);
            return reshaped.map(Value::Constant).ok_or_else(other);
        }
        let rows = self.rows_at(operation, 0)?;
        let features = rows.shape.iter().product();
        let shape = target.split_first().and_then(|(&batch, rest)| {
            let copied = |(i, &dim): (usize, &Dim)| match dim {
                // A 0 copies the dimension.
                Dim::Number(0) => rows.shape.get(i).map(|&dim| dim as i64),
                Dim::Number(number) => Some(number),
                Dim::Batch => None,
            };
            let rest: Vec<i64> = rest.iter().enumerate().map(copied).collect::<Option<_>>()?;
            let keeps_batch = match batch {
                Dim::Batch | Dim::Number(0) => true,
                Dim::Number(-1) => !rest.contains(&-1),
                Dim::Number(number) => usize::try_from(number).is_ok_and(|number| self.batch == Some(number)),
            };
            resolved(&rest, features).filter(|_| keeps_batch)
        });
        let other = || {
            let (from, to) = (&rows.shape, &target);
            operation.refuse(format!("takes rows of {from:?} to {to:?}"), SHAPES)
        };
        Ok(Value::Rows(Rows { shape: shape.ok_or_else(other)?, ..rows }))
    }

    /// `Squeeze` and `Unsqueeze`: axes of size 1, none of them the batch's.
    pub(super) fn squeeze(&self, operation: &Operation<'_>, takes_away: bool) -> Result<Value, Error> {
        let axes = match operation.attributes.ints("axes") {
            Some(axes) => Some(axes.to_vec()),
            None => match self.constant_at(operation, 1)? {
                Some(constant) => constant.integers(),
                None => None,
            },
        };
        let refuse = |what: String| Err(operation.refuse(what, "axes of size 1 after the batch"));
        let Some(axes) = axes else { return refuse("has no known axes".to_owned()) };
        let rows = match self.value(operation, 0)? {
            Value::Rows(rows) => rows.clone(),
            // Of vectors and single numbers of a shape, which are not told apart.
            Value::Shape(dims) => return Ok(Value::Shape(dims.clone())),
            Value::Constant(constant) => {
                let dims = change_axes(&constant.dims, &axes, takes_away);
                return match dims.and_then(|dims| constant.reshaped(dims)) {
                    Some(constant) => Ok(Value::Constant(constant)),
                    None => refuse(format!("has axes {axes:?} of a constant of {:?}", constant.dims)),
                };
            }
        };
        // The batch, which is never 1 in name.
        let shape = [&[usize::MAX][..], &rows.shape].concat();
        match change_axes(&shape, &axes, takes_away) {
            Some(shape) if shape.first() == Some(&usize::MAX) => {
                Ok(Value::Rows(Rows { shape: shape[1..].to_vec(), ..rows }))
            }
            _ => refuse(format!("has axes {axes:?} of rows of {:?}", rows.shape)),
        }
    }

    /// `Shape`.
    pub(super) fn shape(&self, operation: &Operation<'_>) -> Result<Value, Error> {
        let dims: Vec<Dim> = match self.value(operation, 0)? {
            Value::Rows(rows) => {
                let batch = self.batch.map_or(Dim::Batch, |batch| Dim::Number(batch as i64));
                [batch].into_iter().chain(rows.shape.iter().map(|&dim| Dim::Number(dim as i64))).collect()
            }
            Value::Constant(constant) => constant.dims.iter().map(|&dim| Dim::Number(dim as i64)).collect(),
            Value::Shape(dims) => vec![Dim::Number(dims.len() as i64)],
        };
        let (start, end) = (operation.attributes.int("start"), operation.attributes.int("end"));
        let range = range(start.unwrap_or(0), end.unwrap_or(i64::MAX), dims.len());
        Ok(Value::Shape(dims[range].to_vec()))
    }

    /// `Gather` of some numbers of a shape.
    pub(super) fn gather(&self, operation: &Operation<'_>) -> Result<Value, Error> {
        let (dims, indices) = (self.dims_at(operation, 0)?, self.numbers_at(operation, 1)?.integers());
        let at = |index: i64| {
            let index = if index < 0 { index + dims.len() as i64 } else { index };
            usize::try_from(index).ok().and_then(|index| dims.get(index).copied())
        };
        let gathered: Option<Vec<Dim>> = indices.unwrap_or_default().into_iter().map(at).collect();
        let outside = || operation.refuse("has indices outside the shape", "numbers of a shape");
        gathered.map(Value::Shape).ok_or_else(outside)
    }

    /// `Slice` of a shape.
    pub(super) fn slice(&self, operation: &Operation<'_>) -> Result<Value, Error> {
        let dims = self.dims_at(operation, 0)?;
        let at = |index: usize, other: i64| -> Result<i64, Error> {
            let constant = self.constant_at(operation, index)?;
            let first = constant.and_then(Constant::integers).and_then(|values| values.first().copied());
            Ok(first.unwrap_or(other))
        };
        let (start, end, step) = (at(1, 0)?, at(2, i64::MAX)?, at(4, 1)?);
        match step {
            1 => Ok(Value::Shape(dims[range(start, end, dims.len())].to_vec())),
            _ => Err(operation.refuse(format!("has a step of {step}"), "steps of 1, of a shape")),
        }
    }

    /// `Concat` of numbers of a shape; nothing of rows.
    pub(super) fn joined_shape(&self, operation: &Operation<'_>) -> Result<Option<Value>, Error> {
        let mut joined = Vec::new();
        for index in 0..operation.node.input.len() {
            if matches!(self.value(operation, index)?, Value::Rows(_)) {
                return Ok(None);
            }
            joined.extend(self.dims_at(operation, index)?);
        }
        match joined.len() <= Self::MOST_DIMS {
            true => Ok(Some(Value::Shape(joined))),
            false => Err(operation.refuse("joins constants that are no shape", SHAPES)),
        }
    }

    /// Of a shape.
    const MOST_DIMS: usize = 64;

    /// An input that is a shape, or integers.
    fn dims_at(&self, operation: &Operation<'_>, index: usize) -> Result<Vec<Dim>, Error> {
        let dims = match self.value(operation, index)? {
            Value::Shape(dims) => Some(dims.clone()),
            Value::Constant(constant) => {
                constant.integers().map(|values| values.into_iter().map(Dim::Number).collect())
            }
            Value::Rows(_) => None,
        };
        let what = format!("input {index} is no shape");
        dims.ok_or_else(|| operation.refuse(what, "parts of rows are not read, numbers of a shape are"))
    }
}

/// A shape without an open batch.
fn numbers(dims: &[Dim]) -> Option<Vec<i64>> {
    let number = |dim: &Dim| match dim {
        Dim::Number(number) => Some(*number),
        Dim::Batch => None,
    };
    dims.iter().map(number).collect()
}

/// A shape of so many elements, with one -1 in it filled in.
fn resolved(dims: &[i64], count: usize) -> Option<Vec<usize>> {
    let known = dims.iter().filter(|&&dim| dim != -1);
    let product =
        known.clone().try_fold(1_usize, |product, &dim| product.checked_mul(usize::try_from(dim).ok()?))?;
    let (open, missing) = (dims.len() - known.count(), count.checked_div(product)?);
    let is_whole = missing.checked_mul(product) == Some(count) && (open == 1 || missing == 1 && open == 0);
    let dim = |&dim: &i64| usize::try_from(dim).unwrap_or(missing);
    is_whole.then(|| dims.iter().map(dim).collect())
}

/// A shape without axes of size 1, or with them; nothing for other axes.
fn change_axes(dims: &[usize], axes: &[i64], takes_away: bool) -> Option<Vec<usize>> {
    let rank = if takes_away { dims.len() } else { dims.len() + axes.len() };
    let place = |&axis: &i64| {
        let axis = if axis < 0 { axis.checked_add(rank as i64)? } else { axis };
        usize::try_from(axis).ok().filter(|&axis| axis < rank)
    };
    let mut places: Vec<usize> = axes.iter().map(place).collect::<Option<_>>()?;
    places.sort_unstable();
    places.dedup();
    if places.len() != axes.len() {
        return None;
    }
    let mut dims = dims.to_vec();
    if takes_away {
        for &place in places.iter().rev() {
            (dims[place] == 1).then(|| dims.remove(place))?;
        }
    } else {
        places.iter().for_each(|&place| dims.insert(place, 1));
    }
    Some(dims)
}

/// Indices from `start` to `end`, which count from the end where they are negative.
fn range(start: i64, end: i64, len: usize) -> core::ops::Range<usize> {
    let place = |index: i64| {
        let index = if index < 0 { index.saturating_add(len as i64) } else { index };
        usize::try_from(index).unwrap_or(0).min(len)
    };
    let (start, end) = (place(start), place(end));
    start.min(end)..end
}
