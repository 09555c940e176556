//! A network as a table of its layers.

use core::fmt;

use crate::kernels::ops::activation::Activation;
use crate::network::graph::Source;
use crate::network::layer_kind::Operation;
use crate::network::{Layer, Network};
use crate::simd::scalar::Element;

const COLUMNS: [&str; 8] =
    ["layer", "name", "kind", "reads", "outputs", "activation", "parameters", "FLOP a row"];

/// A table of the layers: their numbers, what PyTorch calls their modules, kinds, sources, output features,
/// activations (with dropout), parameters, and the floating-point operations that a row takes in their
/// products, forward.
///
/// # Examples
///
/// ```
/// use fuseprop::{Activation, Network};
///
/// let network = Network::<f32>::builder(4)
///     .dense(8, Activation::Tanh)
///     .residual(|block| block.layer_norm(Activation::Relu).dense(8, Activation::Identity))
///     .dense(2, Activation::Softmax)
///     .build()?;
/// let expected = "
/// layer  name       kind        reads  outputs  activation  parameters  FLOP a row
///     0  0          dense       input        8  tanh                40          64
///     1  2.block.0  layer_norm  0            8  relu                16           0
///     2  2.block.2  dense       1            8                      72         128
///     3  2          sum         0, 2         8                       0           0
///     4  3          dense       3            2  softmax             18          32
/// total                                                            146         224
/// ";
/// assert_eq!(network.to_string(), expected[1..]);
/// # Ok::<(), fuseprop::Error>(())
/// ```
impl<T: Element> fmt::Display for Network<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let rows: Vec<[String; 8]> = (0..self.layers.len()).map(|i| self.row(i)).collect();
        let sum = |of: fn(&Layer) -> usize| self.layers.iter().map(of).fold(0, usize::saturating_add);
        let mut total = COLUMNS.map(|_| String::new());
        total[0] = "total".to_owned();
        total[6] = sum(Layer::parameter_count).to_string();
        total[7] = sum(flop).to_string();
        let lines = [COLUMNS.map(str::to_owned)].into_iter().chain(rows).chain([total]);
        let lines: Vec<[String; 8]> = lines.collect();
        let width = |column: usize| lines.iter().map(|line| line[column].len()).max().unwrap_or(0);
        let widths: Vec<usize> = (0..COLUMNS.len()).map(width).collect();
        for line in &lines {
            let cells = line.iter().zip(&widths).enumerate().map(|(column, (cell, &width))| {
                // Numbers to the right.
                match column {
                    0 | 4 | 6 | 7 => format!("{cell:>width$}"),
                    _ => format!("{cell:<width$}"),
                }
            });
            writeln!(f, "{}", cells.collect::<Vec<_>>().join("  "))?;
        }
        Ok(())
    }
}

impl<T: Element> Network<T> {
    fn row(&self, i: usize) -> [String; 8] {
        let layer = self.layers[i];
        let source = |source| match source {
            Source::Input => "input".to_owned(),
            Source::Layer(layer) => layer.to_string(),
        };
        let sources: Vec<String> = self.layers.edges(i).iter().map(|edge| source(edge.source)).collect();
        let mut activation = match layer.activation() {
            Activation::Identity => String::new(),
            activation => activation.name().to_owned(),
        };
        if layer.dropout() > 0.0 {
            let space = if activation.is_empty() { "" } else { ", " };
            activation += &format!("{space}dropout {}", layer.dropout());
        }
        [
            i.to_string(),
            self.layers.name(i).to_owned(),
            layer.kind().name().to_owned(),
            sources.join(", "),
            layer.outputs().to_string(),
            activation,
            layer.parameter_count().to_string(),
            flop(&layer).to_string(),
        ]
    }
}

/// The floating-point operations of a layer's product for a row: two for each weight.
fn flop(layer: &Layer) -> usize {
    match layer.kind().operation() {
        Operation::Product => layer.weight_count().saturating_mul(2),
        Operation::Norm { .. } | Operation::Sum | Operation::SideBySide => 0,
    }
}
