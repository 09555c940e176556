//! Root mean square normalisation and its gradients.

/// Root mean square normalisation: `z = w x / sqrt(mean(x^2) + epsilon) + b` in each row.
///
/// `x` and the result are `[B, O]`, `weights` and `biases` `[O]`.
///
/// # Panics
/// If a length does not match its shape.
///
/// # Examples
///
/// ```
/// use fuseprop::reference::rms_norm;
///
/// // The root of (1 + 49) / 2 is 5.
/// assert_eq!(rms_norm(&[1.0, 7.0], &[1.0, 10.0], &[0.0, 0.5], 0.0), [0.2, 14.5]);
/// ```
#[must_use]
pub fn rms_norm(x: &[f64], weights: &[f64], biases: &[f64], epsilon: f64) -> Vec<f64> {
    let n = weights.len();
    assert_eq!(biases.len(), n, "biases are [outputs]");
    assert_eq!(x.len() % n, 0, "x is [batch, outputs]");
    let row = |row: &[f64]| {
        let root = root_mean_square(row, epsilon);
        (0..n).map(|o| weights[o] * row[o] / root + biases[o]).collect::<Vec<f64>>()
    };
    x.chunks_exact(n).flat_map(row).collect()
}

/// Gradients of a root mean square normalisation with respect to its weights, `[O]`, and to its input,
/// `[B, O]`: `d_w = sum over rows of d_z xhat`, `d_x = (g - xhat mean(g xhat)) / r` with `g = d_z w`,
/// `xhat = x / r` and `r = sqrt(mean(x^2) + epsilon)`.
///
/// # Panics
/// If a length does not match its shape.
///
/// # Examples
///
/// ```
/// use fuseprop::reference::rms_norm_backward;
///
/// // The gradient has no part along the row.
/// let (d_w, d_x) = rms_norm_backward(&[1.0, 7.0], &[1.0, 7.0], &[1.0, 1.0], 0.0);
/// assert!((d_w[0] - 0.2).abs() < 1e-15 && (d_w[1] - 9.8).abs() < 1e-14);
/// assert!(d_x.iter().all(|d| d.abs() < 1e-15));
/// ```
#[must_use]
pub fn rms_norm_backward(d_z: &[f64], x: &[f64], weights: &[f64], epsilon: f64) -> (Vec<f64>, Vec<f64>) {
    let n = weights.len();
    assert_eq!(d_z.len(), x.len(), "d_z and x are [batch, outputs]");
    assert_eq!(x.len() % n, 0, "x is [batch, outputs]");
    let (mut d_w, mut d_x) = (vec![0.0; n], Vec::new());
    for (row, d_z) in x.chunks_exact(n).zip(d_z.chunks_exact(n)) {
        let root = root_mean_square(row, epsilon);
        let g: Vec<f64> = (0..n).map(|o| d_z[o] * weights[o]).collect();
        let mean_product = (0..n).map(|o| g[o] * row[o] / root).sum::<f64>() / n as f64;
        for o in 0..n {
            d_w[o] += d_z[o] * row[o] / root;
            d_x.push((g[o] - row[o] / root * mean_product) / root);
        }
    }
    (d_w, d_x)
}

/// `sqrt(mean(x^2) + epsilon)`.
fn root_mean_square(row: &[f64], epsilon: f64) -> f64 {
    (row.iter().map(|x| x * x).sum::<f64>() / row.len() as f64 + epsilon).sqrt()
}
