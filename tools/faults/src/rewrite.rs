//! How faults are built into a file: every place of some becomes a `match` on the number of the active one.
//!
//! The last arm is the original, with the faults of its operands built in; the other arms hold original text, so that
//! nested faults do not multiply.

use std::collections::HashMap;

use proc_macro2::{Literal, Span, TokenStream, TokenTree};
use quote::{ToTokens, quote};
use syn::punctuated::Punctuated;
use syn::spanned::Spanned;
use syn::visit_mut::{self, VisitMut};
use syn::{Attribute, BinOp, Block, Expr, ExprBinary, ExprStruct, ExprUnary, FieldValue, Pat, Signature};

use crate::Result;
use crate::list::{Fault, Genre, Place};

/// A file with faults.
pub struct Rewritten {
    pub text: String,
    /// The site that each fault is built in at: the first fault there.
    pub sites: HashMap<u32, u32>,
    /// Faults that are no valid expression.
    pub invalid: Vec<u32>,
}

/// The text with the faults of one file built in. Those in none of the lists have no place that can be rewritten.
///
/// # Errors
/// If it is not Rust.
pub fn rewrite<'a>(text: &str, faults: impl Iterator<Item = &'a Fault>) -> Result<Rewritten> {
    let mut file = syn::parse_file(text)?;
    let mut rewriter = Rewriter { waiting: HashMap::new(), sites: HashMap::new(), invalid: Vec::new() };
    for fault in faults {
        rewriter.waiting.entry((fault.genre, fault.place)).or_default().push(fault);
    }
    rewriter.visit_file_mut(&mut file);
    Ok(Rewritten { text: prettyplease::unparse(&file), sites: rewriter.sites, invalid: rewriter.invalid })
}

/// A fault's number, and what takes the place of the original.
type Arm = (u32, TokenStream);

struct Rewriter<'a> {
    /// Faults not met yet, by genre and place.
    waiting: HashMap<(Genre, Place), Vec<&'a Fault>>,
    sites: HashMap<u32, u32>,
    invalid: Vec<u32>,
}

impl<'a> Rewriter<'a> {
    fn take(&mut self, genre: Genre, place: Place) -> Vec<&'a Fault> {
        self.waiting.remove(&(genre, place)).unwrap_or_default()
    }

    /// The expression of the arms, or the original if there are none.
    fn switch(&mut self, arms: Vec<Arm>, original: TokenStream) -> TokenStream {
        let Some(&(site, _)) = arms.first() else { return original };
        self.sites.extend(arms.iter().map(|(number, _)| (*number, site)));
        let site = Literal::u32_suffixed(site);
        let numbers = arms.iter().map(|(number, _)| Literal::u32_suffixed(*number));
        let values = arms.iter().map(|(_, value)| value);
        quote! { match crate::fault::at(#site) { #(#numbers => #values,)* _ => #original } }
    }

    /// The same in parentheses, for it to stand anywhere.
    fn replace(&mut self, expr: &mut Expr, arms: Vec<Arm>) {
        if !arms.is_empty() {
            let switch = self.switch(arms, expr.to_token_stream());
            *expr = parsed(quote! { (#switch) });
        }
    }

    /// Operators that bind each other: as in the text, a fault may change which binds more.
    fn rewrite_chain(&mut self, expr: &mut Expr) {
        let tokens = expr.to_token_stream();
        let mut arms = Vec::new();
        for operator in operators(expr) {
            for fault in self.take(Genre::BinaryOperator, start(operator.span())) {
                match with_operator(tokens.clone(), &operator, &fault.replacement) {
                    Some(value) => arms.push((fault.number, value)),
                    None => self.invalid.push(fault.number),
                }
            }
        }
        self.visit_operands(expr);
        self.replace(expr, arms);
    }

    fn visit_operands(&mut self, expr: &mut Expr) {
        match expr {
            Expr::Binary(ExprBinary { left, right, .. }) => {
                self.visit_operands(left);
                self.visit_operands(right);
            }
            operand => self.visit_expr_mut(operand),
        }
    }

    fn rewrite_unary(&mut self, expr: &mut Expr) {
        let Expr::Unary(ExprUnary { op, expr: operand, .. }) = expr else { return };
        let faults = self.take(Genre::UnaryOperator, start(op.span()));
        let arms = faults.iter().map(|fault| (fault.number, operand.to_token_stream())).collect();
        visit_mut::visit_expr_mut(self, expr);
        self.replace(expr, arms);
    }

    fn rewrite_struct(&mut self, expr: &mut Expr) {
        let Expr::Struct(structure) = expr else { return };
        let mut arms = Vec::new();
        for (index, field) in structure.fields.iter().enumerate() {
            for fault in self.take(Genre::StructField, start(field.span())) {
                arms.push((fault.number, without_field(structure, index).into_token_stream()));
            }
        }
        visit_mut::visit_expr_mut(self, expr);
        self.replace(expr, arms);
    }

    fn rewrite_function(&mut self, attributes: &[Attribute], signature: &Signature, block: &mut Block) {
        // Neither what is evaluated by the compiler, nor what it is not given, nor what may return one type alone.
        if signature.constness.is_some() || attributes.iter().any(is_left_out) {
            return;
        }
        visit_mut::visit_block_mut(self, block);
        let output = signature.output.to_token_stream();
        if output.into_iter().any(|token| matches!(token, TokenTree::Ident(word) if word == "impl")) {
            return;
        }
        let mut arms = Vec::new();
        for fault in self.take(Genre::FnValue, end(block.brace_token.span.close())) {
            match fault.replacement.parse::<TokenStream>() {
                Ok(value) => arms.push((fault.number, quote! { return #value })),
                Err(_) => self.invalid.push(fault.number),
            }
        }
        if !arms.is_empty() {
            let switch = self.switch(arms, quote! { {} });
            let first: Block = parsed(quote! { { #switch } });
            block.stmts.splice(0..0, first.stmts);
        }
    }
}

impl VisitMut for Rewriter<'_> {
    fn visit_expr_mut(&mut self, expr: &mut Expr) {
        match expr {
            Expr::Binary(binary) if !binds_names(binary) => self.rewrite_chain(expr),
            Expr::Unary(_) => self.rewrite_unary(expr),
            Expr::Struct(_) => self.rewrite_struct(expr),
            Expr::Repeat(repeat) => self.visit_expr_mut(&mut repeat.expr),
            Expr::Const(_) => {}
            _ => visit_mut::visit_expr_mut(self, expr),
        }
    }

    fn visit_arm_mut(&mut self, arm: &mut syn::Arm) {
        let deletions = self.take(Genre::MatchArm, start(arm.span()));
        if let Some((_, guard)) = &mut arm.guard {
            let faults = self.take(Genre::MatchArmGuard, start(guard.span()));
            let value = |fault: &&Fault| (fault.number, fault.replacement.parse().expect("a literal"));
            let arms = faults.iter().map(value).collect();
            self.visit_expr_mut(guard);
            self.replace(guard, arms);
        }
        for fault in deletions {
            self.sites.insert(fault.number, fault.number);
            let number = Literal::u32_suffixed(fault.number);
            let guard = arm.guard.take().map(|(_, guard)| quote! { && (#guard) });
            let guard = parsed(quote! { crate::fault::at(#number) != #number #guard });
            arm.guard = Some((Default::default(), Box::new(guard)));
        }
        self.visit_expr_mut(&mut arm.body);
    }

    fn visit_item_fn_mut(&mut self, function: &mut syn::ItemFn) {
        self.rewrite_function(&function.attrs, &function.sig, &mut function.block);
    }

    fn visit_impl_item_fn_mut(&mut self, function: &mut syn::ImplItemFn) {
        self.rewrite_function(&function.attrs, &function.sig, &mut function.block);
    }

    fn visit_trait_item_fn_mut(&mut self, function: &mut syn::TraitItemFn) {
        if let Some(block) = &mut function.default {
            self.rewrite_function(&function.attrs, &function.sig, block);
        }
    }

    // What is evaluated by the compiler stays as it is.
    fn visit_item_const_mut(&mut self, _: &mut syn::ItemConst) {}
    fn visit_item_static_mut(&mut self, _: &mut syn::ItemStatic) {}
    fn visit_impl_item_const_mut(&mut self, _: &mut syn::ImplItemConst) {}
    fn visit_trait_item_const_mut(&mut self, _: &mut syn::TraitItemConst) {}
    fn visit_variant_mut(&mut self, _: &mut syn::Variant) {}
    fn visit_type_mut(&mut self, _: &mut syn::Type) {}
    fn visit_generic_argument_mut(&mut self, _: &mut syn::GenericArgument) {}
    fn visit_pat_mut(&mut self, _: &mut Pat) {}
}

/// Whether an operator joins conditions of which one binds names, as in `if let Some(x) = y && z`.
fn binds_names(binary: &ExprBinary) -> bool {
    [&binary.left, &binary.right].into_iter().any(|operand| match &**operand {
        Expr::Let(_) => true,
        Expr::Binary(binary) => binds_names(binary),
        _ => false,
    })
}

/// Whether something is there without a feature only.
fn is_left_out(attribute: &Attribute) -> bool {
    attribute.path().is_ident("cfg") && attribute.to_token_stream().to_string().contains("not (feature")
}

/// The operators of a chain, left to right.
fn operators(expr: &Expr) -> Vec<BinOp> {
    match expr {
        Expr::Binary(ExprBinary { left, op, right, .. }) => {
            [operators(left), vec![*op], operators(right)].concat()
        }
        _ => Vec::new(),
    }
}

/// The chain with another operator in place of one of its own, if that is a valid expression.
fn with_operator(chain: TokenStream, operator: &BinOp, replacement: &str) -> Option<TokenStream> {
    let place = start(operator.span());
    let length = operator.to_token_stream().into_iter().count();
    let replacement: TokenStream = replacement.parse().ok()?;
    let tokens: Vec<TokenTree> = chain.into_iter().collect();
    let index = tokens.iter().position(|token| start(token.span()) == place).expect("the operator's tokens");
    let (before, after) = (&tokens[..index], &tokens[index + length..]);
    let tokens = quote! { #(#before)* #replacement #(#after)* };
    syn::parse2::<Expr>(tokens.clone()).is_ok().then_some(tokens)
}

fn without_field(structure: &ExprStruct, index: usize) -> ExprStruct {
    let others = structure.fields.iter().enumerate().filter(|(other, _)| *other != index);
    let mut fields: Punctuated<FieldValue, _> = others.map(|(_, field)| field.clone()).collect();
    if !fields.is_empty() {
        // The base follows.
        fields.push_punct(Default::default());
    }
    ExprStruct { fields, ..structure.clone() }
}

fn parsed<T: syn::parse::Parse>(tokens: TokenStream) -> T {
    syn::parse2(tokens).expect("what was made of valid parts")
}

pub fn start(span: Span) -> Place {
    (span.start().line, span.start().column + 1)
}

pub fn end(span: Span) -> Place {
    (span.end().line, span.end().column + 1)
}
