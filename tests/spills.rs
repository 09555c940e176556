//! The micro-kernel keeps its sums in registers: this test disassembles its own executable and looks into the
//! loops. An executable of its own, in which no loop of other code counts.
#![cfg(all(target_os = "linux", target_arch = "x86_64", not(debug_assertions)))]

use std::collections::HashMap;
use std::process::Command;

use fuseprop::{Activation, Element, Loss, Network, Trainer};

/// What a program of binutils prints.
fn output(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output();
    let output = output.unwrap_or_else(|error| panic!("{program}: {error}"));
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// An instruction: its address, and its text without the comment.
type Instruction<'a> = (u64, &'a str);

/// The instructions of each function.
fn functions(listing: &str) -> impl Iterator<Item = Vec<Instruction<'_>>> {
    let instruction = |line| -> Option<Instruction<'_>> {
        let (address, text): (&str, &str) = str::split_once(line, ":\t")?;
        let text = text.split('#').next().unwrap_or_default().trim();
        Some((u64::from_str_radix(address.trim(), 16).ok()?, text))
    };
    listing.split(">:\n").map(move |function| function.lines().filter_map(instruction).collect())
}

/// The loops of a function that hold no other: from where a jump back goes to the jump.
fn innermost_loops<'c, 'a>(code: &'c [Instruction<'a>]) -> Vec<&'c [Instruction<'a>]> {
    let places: HashMap<u64, usize> =
        code.iter().enumerate().map(|(i, (address, _))| (*address, i)).collect();
    let target = |text: &str| -> Option<usize> {
        let (mnemonic, target) = text.split_once(' ')?;
        let target = u64::from_str_radix(target.trim().split(' ').next()?, 16).ok()?;
        places.get(&target).filter(|_| mnemonic.starts_with('j')).copied()
    };
    // A jump back to code that jumps away, an end that several places share, is no loop.
    let returns = |start: usize, end: usize| {
        let next = code[start..=end].iter().find(|(_, text)| text.starts_with('j'));
        let away = next.filter(|(_, text)| text.starts_with("jmp ")).and_then(|(_, text)| target(text));
        away.is_none_or(|place| (start..=end).contains(&place))
    };
    let back = |(i, (_, text)): (usize, &Instruction<'_>)| {
        let start = target(text)?;
        (start <= i && returns(start, i)).then_some((start, i))
    };
    let spans: Vec<_> = code.iter().enumerate().filter_map(back).collect();
    let holds_another =
        |&(a, b): &(usize, usize)| spans.iter().any(|&(c, d)| a <= c && d <= b && (a, b) != (c, d));
    spans.iter().filter(|span| !holds_another(span)).map(|&(start, end)| &code[start..=end]).collect()
}

/// Whether an instruction multiplies and adds whole vectors.
fn multiplies(&(_, text): &Instruction<'_>) -> bool {
    let mnemonic = text.split(' ').next().unwrap_or_default();
    ["vfmadd", "vfnmadd"].iter().any(|start| mnemonic.starts_with(start)) && is_of_vectors(text)
}

fn is_of_vectors(text: &str) -> bool {
    text.contains("%ymm") || text.contains("%zmm")
}

/// Whether an instruction moves a vector to a fixed place on the stack, or reads one from there. Arrays,
/// which have an index, may lie there: the columns that `dot_product.rs` has transposed.
fn is_spill(&(_, text): &Instruction<'_>) -> bool {
    is_of_vectors(text) && (text.contains("(%rsp)") || text.ends_with("%rsp)"))
}

/// The files that the loops of products are in.
const PRODUCTS: [&str; 2] = ["/micro_kernel.rs", "/dot_product.rs"];

/// The source lines of each address, from the innermost inlined function on.
fn sources(executable: &str, addresses: &[String]) -> Vec<String> {
    let mut arguments = vec!["-a", "-i", "-e", executable];
    arguments.extend(addresses.iter().map(String::as_str));
    let listing = output("addr2line", &arguments);
    // `-a` puts the address before its lines, padded with zeros.
    let sources: Vec<_> = format!("\n{listing}").split("\n0x").skip(1).map(str::to_owned).collect();
    assert_eq!(sources.len(), addresses.len(), "source lines for each address");
    sources
}

/// Steps and a prediction, so that every kernel for the type is in the executable.
fn train<T: Element>(from: impl Fn(f32) -> T) {
    let builder = Network::<T>::builder(40).dense(33, Activation::Relu).dense(3, Activation::Tanh);
    let network = builder.seed(1).build().unwrap();
    let mut trainer = Trainer::builder(network).loss(Loss::MeanSquaredError).max_batch(2).build().unwrap();
    let (x, targets) = ([from(0.5); 80], [from(0.25); 6]);
    assert!(trainer.step(&x, &targets).unwrap() > trainer.step(&x, &targets).unwrap());
}

#[test]
#[ignore = "needs objdump and addr2line of binutils"]
fn no_loop_of_a_product_keeps_a_vector_on_the_stack() {
    train::<f32>(|x| x);
    train::<f64>(f64::from);
    let executable = std::env::current_exe().unwrap();
    let executable = executable.to_str().unwrap();
    let listing = output("objdump", &["-d", "--no-show-raw-insn", "-j", ".text", executable]);
    let (mut loops, mut spilled) = (Vec::new(), Vec::new());
    for code in functions(&listing) {
        for body in innermost_loops(&code) {
            if let Some((address, _)) = body.iter().find(|instruction| multiplies(instruction)) {
                loops.push(format!("{address:#x}"));
                let spill = body.iter().find(|instruction| is_spill(instruction));
                spilled.extend(spill.map(|(_, text)| (loops.len() - 1, *text)));
            }
        }
    }
    let count = loops.len();
    assert!(count > 500, "{count} loops multiply and add");
    let sources = sources(executable, &loops);
    for file in PRODUCTS {
        assert!(sources.iter().any(|lines| lines.contains(file)), "no loop comes from {file}");
    }
    // Constants of elementary functions may lie there: AVX2 has 16 registers.
    let of_products = spilled.iter().filter_map(|&(i, text)| {
        let lines = &sources[i];
        PRODUCTS.iter().any(|file| lines.contains(file)).then(|| format!("{text} in {lines}"))
    });
    let of_products: Vec<_> = of_products.collect();
    println!("RESULT spills loops={count} others={} of_products={}", spilled.len(), of_products.len());
    assert_eq!(of_products, [""; 0], "vectors that a loop of products has on the stack");
}
