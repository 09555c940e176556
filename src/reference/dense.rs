//! The products of a dense layer and their gradients.

/// A dense layer before its activation: `z = x W^T + b`.
///
/// `x` is `[B, I]`, `weights` `[O, I]`, `biases` `[O]`, which also says how many outputs there are, the
/// result `[B, O]`.
///
/// # Panics
/// If a length does not match its shape.
///
/// # Examples
///
/// ```
/// use fuseprop::reference::dense;
///
/// // One row of two inputs, one output.
/// assert_eq!(dense(&[2.0, 3.0], &[1.0, 10.0], &[0.5], 1, 2), [32.5]);
/// ```
#[must_use]
pub fn dense(x: &[f64], weights: &[f64], biases: &[f64], batch: usize, inputs: usize) -> Vec<f64> {
    let outputs = biases.len();
    assert_eq!(x.len(), batch * inputs, "x is [batch, inputs]");
    assert_eq!(weights.len(), outputs * inputs, "weights are [outputs, inputs]");
    let mut z = vec![0.0; batch * outputs];
    for row in 0..batch {
        for o in 0..outputs {
            let mut sum = biases[o];
            for i in 0..inputs {
                sum += x[row * inputs + i] * weights[o * inputs + i];
            }
            z[row * outputs + o] = sum;
        }
    }
    z
}

/// Gradient of a dense layer with respect to its input: `d_x = d_z W`.
///
/// `d_z` is `[B, O]`, `weights` `[O, I]`, the result `[B, I]`.
///
/// # Panics
/// If a length does not match its shape.
///
/// Goodfellow, Bengio, Courville, *Deep Learning*, section 6.5.
///
/// # Examples
///
/// ```
/// use fuseprop::reference::input_gradient;
///
/// // One row, two inputs, one output.
/// assert_eq!(input_gradient(&[2.0], &[1.0, 10.0], 1, 2, 1), [2.0, 20.0]);
/// ```
#[must_use]
pub fn input_gradient(d_z: &[f64], weights: &[f64], batch: usize, inputs: usize, outputs: usize) -> Vec<f64> {
    assert_eq!(d_z.len(), batch * outputs, "d_z is [batch, outputs]");
    assert_eq!(weights.len(), outputs * inputs, "weights are [outputs, inputs]");
    let mut d_x = vec![0.0; batch * inputs];
    for row in 0..batch {
        for i in 0..inputs {
            for o in 0..outputs {
                d_x[row * inputs + i] += d_z[row * outputs + o] * weights[o * inputs + i];
            }
        }
    }
    d_x
}

/// Gradient of a dense layer with respect to its weights: `d_W = d_z^T x`, summed over the batch.
///
/// `d_z` is `[B, O]`, `x` `[B, I]`, the result `[O, I]`.
///
/// # Panics
/// If a length does not match its shape.
///
/// # Examples
///
/// ```
/// use fuseprop::reference::weight_gradient;
///
/// // Two rows of one input and one output.
/// assert_eq!(weight_gradient(&[1.0, 2.0], &[3.0, 4.0], 2, 1, 1), [11.0]);
/// ```
#[must_use]
pub fn weight_gradient(d_z: &[f64], x: &[f64], batch: usize, inputs: usize, outputs: usize) -> Vec<f64> {
    assert_eq!(d_z.len(), batch * outputs, "d_z is [batch, outputs]");
    assert_eq!(x.len(), batch * inputs, "x is [batch, inputs]");
    let mut d_weights = vec![0.0; outputs * inputs];
    for o in 0..outputs {
        for i in 0..inputs {
            for row in 0..batch {
                d_weights[o * inputs + i] += d_z[row * outputs + o] * x[row * inputs + i];
            }
        }
    }
    d_weights
}

/// Gradient of a dense layer with respect to its biases: `d_b`, the sum of `d_z` over the batch.
///
/// `d_z` is `[B, O]`, the result `[O]`.
///
/// # Panics
/// If a length does not match its shape.
///
/// # Examples
///
/// ```
/// use fuseprop::reference::bias_gradient;
///
/// // Two rows of two outputs.
/// assert_eq!(bias_gradient(&[1.0, 2.0, 3.0, 4.0], 2, 2), [4.0, 6.0]);
/// ```
#[must_use]
pub fn bias_gradient(d_z: &[f64], batch: usize, outputs: usize) -> Vec<f64> {
    assert_eq!(d_z.len(), batch * outputs, "d_z is [batch, outputs]");
    (0..outputs).map(|o| (0..batch).map(|row| d_z[row * outputs + o]).sum()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_three_products_are_those_done_by_hand() {
        // B = 2, I = 2, O = 3.
        let x = [1.0, 2.0, 3.0, 4.0];
        let weights = [1.0, 0.0, 0.0, 1.0, 2.0, -1.0];
        let d_z = [1.0, 0.0, 2.0, 0.0, 1.0, -1.0];
        assert_eq!(dense(&x, &weights, &[10.0, 20.0, 30.0], 2, 2), [11.0, 22.0, 30.0, 13.0, 24.0, 32.0]);
        assert_eq!(input_gradient(&d_z, &weights, 2, 2, 3), [5.0, -2.0, -2.0, 2.0]);
        assert_eq!(weight_gradient(&d_z, &x, 2, 2, 3), [1.0, 2.0, 3.0, 4.0, -1.0, 0.0]);
        assert_eq!(bias_gradient(&d_z, 2, 3), [1.0, 1.0, 1.0]);
    }
}
