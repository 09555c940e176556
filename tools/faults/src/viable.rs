//! Which faults the compiler accepts: those whose arms it finds no error in, after as many rounds as it takes.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use serde_json::Value;
use syn::spanned::Spanned;
use syn::visit::{self, Visit};
use syn::{Expr, ExprLit, Lit, Pat};

use crate::Result;
use crate::cargo::Cargo;
use crate::list::{Fault, Place};
use crate::rewrite::{end, start};
use crate::tree::{Built, Tree};

/// Leaves a tree in the folder that compiles, and adds the faults that do not to `unviable`.
///
/// # Errors
/// If the compiler finds an error outside all faults.
pub fn build_in(tree: &Tree, cargo: &Cargo, faults: &[Fault], unviable: &mut BTreeSet<u32>) -> Result<Built> {
    loop {
        let built = tree.write(&cargo.folder, faults, unviable)?;
        unviable.extend(&built.invalid);
        let errors = cargo.errors()?;
        if errors.is_empty() {
            return Ok(built);
        }
        let before = unviable.len();
        for error in &errors {
            let number = faulty(&cargo.folder, error)?;
            unviable.insert(
                number.ok_or_else(|| format!("an error outside all faults:\n{}", error["rendered"]))?,
            );
        }
        println!("{} errors, {} unviable faults", errors.len(), unviable.len());
        if unviable.len() == before {
            return Err("errors in faults that are not built in".into());
        }
    }
}

/// The fault that an error is in.
fn faulty(folder: &Path, error: &Value) -> Result<Option<u32>> {
    for (file, place) in places(folder, error) {
        let mut arms = Arms { place, innermost: None };
        arms.visit_file(&syn::parse_file(&std::fs::read_to_string(file)?)?);
        if arms.innermost.is_some() {
            return Ok(arms.innermost);
        }
    }
    Ok(None)
}

/// Where an error is, what the compiler says to be its place first. Those in macros of others count where they are used.
fn places(folder: &Path, error: &Value) -> Vec<(PathBuf, Place)> {
    let empty = Vec::new();
    let spans = error["spans"].as_array().unwrap_or(&empty);
    let (first, others): (Vec<_>, Vec<_>) = spans.iter().partition(|span| span["is_primary"] == true);
    let ours = |mut span: &Value| {
        loop {
            let file = folder.join(span["file_name"].as_str()?);
            if file.starts_with(folder) && file.exists() {
                let part = |key: &str| Some(span[key].as_u64()? as usize);
                return Some((file, (part("line_start")?, part("column_start")?)));
            }
            span = span.get("expansion")?.get("span")?;
        }
    };
    first.into_iter().chain(others).filter_map(ours).collect()
}

/// Looks for the innermost arm of a fault around a place.
struct Arms {
    place: Place,
    innermost: Option<u32>,
}

impl Visit<'_> for Arms {
    fn visit_expr_match(&mut self, expr: &syn::ExprMatch) {
        if is_switch(&expr.expr) {
            for arm in &expr.arms {
                if let (Some(number), true) = (number(&arm.pat), self.is_within(arm)) {
                    self.innermost = Some(number);
                }
            }
        }
        visit::visit_expr_match(self, expr);
    }
}

impl Arms {
    fn is_within(&self, arm: &syn::Arm) -> bool {
        start(arm.span()) <= self.place && self.place < end(arm.span())
    }
}

fn is_switch(expr: &Expr) -> bool {
    let Expr::Call(call) = expr else { return false };
    let Expr::Path(path) = &*call.func else { return false };
    let names = path.path.segments.iter().map(|segment| segment.ident.to_string());
    names.eq(["crate", "fault", "at"])
}

fn number(pattern: &Pat) -> Option<u32> {
    match pattern {
        Pat::Lit(ExprLit { lit: Lit::Int(number), .. }) => number.base10_parse().ok(),
        _ => None,
    }
}
