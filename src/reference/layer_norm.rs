//! Layer normalisation and its gradients.

/// Layer normalisation: `z = w (x - mean x) / sqrt(var x + epsilon) + b` in each row.
///
/// `x` and the result are `[B, O]`, `weights` and `biases` `[O]`.
///
/// # Panics
/// If a length does not match its shape.
///
/// # Examples
///
/// ```
/// use fuseprop::reference::layer_norm;
///
/// // Of a row with mean 2 and variance 1.
/// assert_eq!(layer_norm(&[1.0, 3.0], &[1.0, 10.0], &[0.0, 0.5], 0.0), [-1.0, 10.5]);
/// ```
#[must_use]
pub fn layer_norm(x: &[f64], weights: &[f64], biases: &[f64], epsilon: f64) -> Vec<f64> {
    let n = weights.len();
    assert_eq!(biases.len(), n, "biases are [outputs]");
    assert_eq!(x.len() % n, 0, "x is [batch, outputs]");
    let mut z = Vec::new();
    for row in x.chunks_exact(n) {
        let (normal, _) = normalize(row, epsilon);
        z.extend((0..n).map(|o| weights[o] * normal[o] + biases[o]));
    }
    z
}

/// Gradients of a layer normalisation with respect to its weights, `[O]`, and to its input, `[B, O]`:
/// `d_w = sum over rows of d_z xhat`, `d_x = (g - mean g - xhat mean(g xhat)) / sqrt(var x + epsilon)` with
/// `g = d_z w` and `xhat = (x - mean x) / sqrt(var x + epsilon)`.
///
/// # Panics
/// If a length does not match its shape.
///
/// # Examples
///
/// ```
/// use fuseprop::reference::layer_norm_backward;
///
/// // xhat is -1 and 1: the gradient has no part along it, nor along a constant.
/// let (d_w, d_x) = layer_norm_backward(&[2.0, 3.0], &[1.0, 3.0], &[1.0, 1.0], 0.0);
/// assert_eq!((d_w, d_x), (vec![-2.0, 3.0], vec![0.0, 0.0]));
/// ```
#[must_use]
pub fn layer_norm_backward(d_z: &[f64], x: &[f64], weights: &[f64], epsilon: f64) -> (Vec<f64>, Vec<f64>) {
    let n = weights.len();
    assert_eq!(d_z.len(), x.len(), "d_z and x are [batch, outputs]");
    assert_eq!(x.len() % n, 0, "x is [batch, outputs]");
    let (mut d_w, mut d_x) = (vec![0.0; n], Vec::new());
    for (row, d_z) in x.chunks_exact(n).zip(d_z.chunks_exact(n)) {
        let (normal, std) = normalize(row, epsilon);
        let g: Vec<f64> = (0..n).map(|o| d_z[o] * weights[o]).collect();
        let mean_g = g.iter().sum::<f64>() / n as f64;
        let mean_product = (0..n).map(|o| g[o] * normal[o]).sum::<f64>() / n as f64;
        for o in 0..n {
            d_w[o] += d_z[o] * normal[o];
            d_x.push((g[o] - mean_g - normal[o] * mean_product) / std);
        }
    }
    (d_w, d_x)
}

/// `xhat` of one row, and `sqrt(var x + epsilon)`.
fn normalize(row: &[f64], epsilon: f64) -> (Vec<f64>, f64) {
    let n = row.len() as f64;
    let mean = row.iter().sum::<f64>() / n;
    let variance = row.iter().map(|x| (x - mean) * (x - mean)).sum::<f64>() / n;
    let std = (variance + epsilon).sqrt();
    (row.iter().map(|x| (x - mean) / std).collect(), std)
}
