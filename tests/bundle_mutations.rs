//! Forgeries of bundles: every value changed, every member dropped, parts of other bundles; some signed anew by a bridge
//! that lies.

use alloy::primitives::{U256, b256};
use guardrail::crypto::{self, SigningDomain};
use guardrail::schema::{AuthResponse, json as jcs};
use serde_json::{Map, Value, json};

use crate::fault_support::{Dice, size};
use crate::support::dev;

/// Anvil's account 9 signs responses on the dev chain.
const BRIDGE: usize = 9;

pub struct Mutant {
    pub name: String,
    pub bytes: Vec<u8>,
}

/// The bundles' forgeries, without those that came out as an original or as a true part of one: a bundle that was
/// exported earlier, before there was an outcome or a consumption. In a short run all of the first, a part of the others.
pub fn mutants(originals: &[Vec<u8>], domain: &SigningDomain, dice: &mut Dice) -> Vec<Mutant> {
    let trees: Vec<Value> = originals.iter().map(|bytes| jcs::parse_strict_within(bytes, 34).unwrap()).collect();
    let mut found = Vec::new();
    for (index, (tree, bytes)) in trees.iter().zip(originals).enumerate() {
        let mut add = |name: String, bytes: Vec<u8>| found.push(Mutant { name: format!("{index} {name}"), bytes });
        for pointer in leaves(tree) {
            changed(tree, &pointer, dice, &mut add);
        }
        shapes(tree, &mut add);
        for (other, source) in trees.iter().enumerate().filter(|(other, _)| *other != index) {
            spliced(tree, source, other, domain, &mut add);
        }
        lies(tree, domain, dice, &mut add);
        raw(bytes, dice, &mut add);
    }
    let parts = trees.iter().flat_map(|tree| {
        let earlier = with(tree, "/outcome", Value::Null);
        [canonical(tree), canonical(&with(&earlier, "/consumption", Value::Null)), canonical(&earlier)]
    });
    let true_ones: Vec<Vec<u8>> = parts.collect();
    let share = size(4, 1) as u64;
    let mut kept = |mutant: &Mutant| mutant.name.starts_with("0 ") || dice.below(share) == 0;
    found.retain(|mutant| !true_ones.contains(&mutant.bytes) && kept(mutant));
    found
}

fn canonical(tree: &Value) -> Vec<u8> {
    jcs::canonical(tree).unwrap()
}

fn walk(tree: &Value, pointer: &str, visit: &mut impl FnMut(&str, &Value)) {
    visit(pointer, tree);
    match tree {
        Value::Object(members) => {
            for (name, value) in members {
                walk(value, &format!("{pointer}/{}", name.replace('~', "~0").replace('/', "~1")), visit);
            }
        }
        Value::Array(items) => {
            for (index, value) in items.iter().enumerate() {
                walk(value, &format!("{pointer}/{index}"), visit);
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

fn pointers(tree: &Value, wanted: impl Fn(&Value) -> bool) -> Vec<String> {
    let mut found = Vec::new();
    walk(tree, "", &mut |pointer, value| {
        if wanted(value) {
            found.push(pointer.to_owned());
        }
    });
    found
}

fn leaves(tree: &Value) -> Vec<String> {
    pointers(tree, |value| !matches!(value, Value::Object(_)) && value.as_array().is_none_or(Vec::is_empty))
}

fn with(tree: &Value, pointer: &str, value: Value) -> Value {
    let mut copy = tree.clone();
    *copy.pointer_mut(pointer).unwrap() = value;
    copy
}

/// Another value of the same type, and of the same form where it is hexadecimal.
fn other(value: &Value, dice: &mut Dice) -> Value {
    match value {
        Value::Null => json!(""),
        Value::Bool(said) => json!(!said),
        Value::Number(number) => match number.as_u64() {
            Some(number) => json!(number + 1),
            None => json!(number.as_f64().unwrap() / 2.0),
        },
        Value::String(text) if text.trim_start_matches("0x").len() >= 32 && is_hex(text) => {
            json!(digit_changed(text, dice))
        }
        Value::String(text) => json!(format!("{text}x")),
        Value::Array(_) => json!(["x"]),
        Value::Object(_) => json!({}),
    }
}

fn is_hex(text: &str) -> bool {
    text.trim_start_matches("0x").bytes().all(|byte| byte.is_ascii_hexdigit())
}

fn digit_changed(text: &str, dice: &mut Dice) -> String {
    let start = text.len() - text.trim_start_matches("0x").len();
    let at = start + usize::try_from(dice.below((text.len() - start) as u64)).unwrap();
    let mut bytes = text.as_bytes().to_vec();
    bytes[at] = if bytes[at] == b'7' { b'3' } else { b'7' };
    String::from_utf8(bytes).unwrap()
}

fn changed(tree: &Value, pointer: &str, dice: &mut Dice, add: &mut impl FnMut(String, Vec<u8>)) {
    let value = tree.pointer(pointer).unwrap();
    add(format!("{pointer} changed"), canonical(&with(tree, pointer, other(value, dice))));
    add(format!("{pointer} null"), canonical(&with(tree, pointer, Value::Null)));
    if let Some(text) = value.as_str().filter(|text| is_hex(text)) {
        add(
            format!("{pointer} upper case"),
            canonical(&with(tree, pointer, json!(text.to_uppercase().replace("0X", "0x")))),
        );
        add(format!("{pointer} shorter"), canonical(&with(tree, pointer, json!(text[..text.len().saturating_sub(2)]))));
    }
    if value.is_u64() {
        add(format!("{pointer} -1"), canonical(&with(tree, pointer, json!(-1))));
    }
}

/// Members dropped and added, items swapped, dropped and doubled.
fn shapes(tree: &Value, add: &mut impl FnMut(String, Vec<u8>)) {
    for pointer in pointers(tree, Value::is_object) {
        let members = tree.pointer(&pointer).unwrap().as_object().unwrap();
        let mut put = |what: String, members: Map<String, Value>| {
            add(format!("{pointer} {what}"), canonical(&with(tree, &pointer, Value::Object(members))));
        };
        for name in members.keys() {
            let mut fewer = members.clone();
            fewer.remove(name);
            put(format!("without {name}"), fewer);
        }
        let mut more = members.clone();
        more.insert("extra".to_owned(), Value::Null);
        put("with an extra member".to_owned(), more);
    }
    for pointer in pointers(tree, |value| value.as_array().is_some_and(|items| !items.is_empty())) {
        for (what, items) in rearranged(tree.pointer(&pointer).unwrap().as_array().unwrap()) {
            add(format!("{pointer} {what}"), canonical(&with(tree, &pointer, Value::Array(items))));
        }
    }
}

fn rearranged(items: &[Value]) -> Vec<(&'static str, Vec<Value>)> {
    let reversed = items.iter().rev().cloned().collect();
    let doubled = items.iter().chain(items.first()).cloned().collect();
    let repeated = items.first().into_iter().chain(items).cloned().collect();
    let without =
        |skip: usize| items.iter().enumerate().filter(|(at, _)| *at != skip).map(|(_, item)| item.clone()).collect();
    vec![
        ("reversed", reversed),
        ("with its first at the end", doubled),
        ("with its first twice", repeated),
        ("without its first", without(0)),
        ("without its last", without(items.len() - 1)),
    ]
}

/// Parts of another bundle, as they are and under a new signature of the bridge.
fn spliced(tree: &Value, source: &Value, other: usize, domain: &SigningDomain, add: &mut impl FnMut(String, Vec<u8>)) {
    for part in ["request", "decision", "consumption", "outcome"] {
        add(format!("{part} of {other}"), canonical(&with(tree, &format!("/{part}"), source[part].clone())));
    }
    for response in responses(tree) {
        let theirs = source.pointer(&response).filter(|theirs| theirs["evidence"].is_object());
        for member in theirs.into_iter().flat_map(|theirs| theirs["evidence"].as_object().unwrap().keys()) {
            let pointer = format!("{response}/evidence/{member}");
            let forged = with(tree, &pointer, source.pointer(&pointer).unwrap().clone());
            add(format!("{pointer} of {other}"), canonical(&forged));
            add(format!("{pointer} of {other}, signed"), canonical(&signed(&forged, &response, domain)));
        }
        if let Some(theirs) = theirs {
            let forged = with(tree, &format!("{response}/evidence"), theirs["evidence"].clone());
            add(format!("{response}/evidence of {other}, signed"), canonical(&signed(&forged, &response, domain)));
        }
    }
}

fn responses(tree: &Value) -> Vec<String> {
    let all = ["/decision", "/consumption/response", "/outcome/response"];
    all.into_iter().filter(|pointer| tree.pointer(pointer).is_some_and(Value::is_object)).map(str::to_owned).collect()
}

/// The response signed anew by the bridge's own key, its evidence hashed anew; as it is where it does not parse.
fn signed(tree: &Value, response: &str, domain: &SigningDomain) -> Value {
    let Ok(mut parsed) = AuthResponse::parse(&canonical(tree.pointer(response).unwrap())) else { return tree.clone() };
    parsed.evidence_hash = crypto::evidence_hash(parsed.evidence.as_ref()).unwrap();
    parsed.signature = dev(BRIDGE).sign(crypto::response_digest(domain, &parsed)).unwrap();
    with(tree, response, serde_json::to_value(&parsed).unwrap())
}

/// What a bridge that lies can sign: every value of its responses but the time of signing, and worse.
fn lies(tree: &Value, domain: &SigningDomain, dice: &mut Dice, add: &mut impl FnMut(String, Vec<u8>)) {
    for response in responses(tree) {
        let mut sign = |what: String, forged: Value| {
            add(format!("{response} {what}, signed"), canonical(&signed(&forged, &response, domain)));
        };
        let own = tree.pointer(&response).unwrap();
        for pointer in leaves(own) {
            if ["/timestamp", "/signature", "/evidence_hash"].contains(&pointer.as_str()) {
                continue;
            }
            let value = other(own.pointer(&pointer).unwrap(), dice);
            sign(format!("{pointer} changed"), with(tree, &format!("{response}{pointer}"), value));
        }
        for pointer in pointers(own, |value| value.as_array().is_some_and(|items| !items.is_empty())) {
            for (what, items) in rearranged(own.pointer(&pointer).unwrap().as_array().unwrap()) {
                sign(format!("{pointer} {what}"), with(tree, &format!("{response}{pointer}"), Value::Array(items)));
            }
        }
        for (pointer, twin) in high_s_twins(own) {
            sign(format!("{pointer} with high s"), with(tree, &format!("{response}{pointer}"), json!(twin)));
        }
        sign("without evidence".to_owned(), with(tree, &format!("{response}/evidence"), Value::Null));
        for decision in ["approved", "denied", "consumed", "recorded"] {
            sign(format!("as {decision}"), with(tree, &format!("{response}/decision"), json!(decision)));
        }
        let unsigned = with(tree, &format!("{response}/signature"), json!(format!("0x{}1b", "00".repeat(64))));
        add(format!("{response} without a signature"), canonical(&unsigned));
        let pointer = format!("{response}/signature");
        let twin = high_s(tree.pointer(&pointer).unwrap().as_str().unwrap());
        add(format!("{response} with high s"), canonical(&with(tree, &pointer, json!(twin))));
    }
}

fn high_s_twins(response: &Value) -> Vec<(String, String)> {
    let votes = response["evidence"]["votes"].as_array().map(Vec::as_slice).unwrap_or_default();
    let of = |(index, vote): (usize, &Value)| {
        Some((format!("/evidence/votes/{index}/signature"), high_s(vote["signature"].as_str()?)))
    };
    votes.iter().enumerate().filter_map(of).collect()
}

/// The other signature of the same key over the same digest.
fn high_s(signature: &str) -> String {
    let order = U256::from_be_bytes(b256!("fffffffffffffffffffffffffffffffebaaedce6af48a03bbfd25e8cd0364141").0);
    let mut bytes = alloy::hex::decode(signature).unwrap();
    let s = order - U256::from_be_slice(&bytes[32..64]);
    bytes[32..64].copy_from_slice(&s.to_be_bytes::<32>());
    bytes[64] = 55 - bytes[64];
    alloy::hex::encode_prefixed(bytes)
}

/// Bytes flipped anywhere, and other spellings of the same tree.
fn raw(bytes: &[u8], dice: &mut Dice, add: &mut impl FnMut(String, Vec<u8>)) {
    for _ in 0..size(10, 400) {
        let at = usize::try_from(dice.below(bytes.len() as u64)).unwrap();
        let mut flipped = bytes.to_vec();
        flipped[at] ^= 1 << dice.below(8);
        add(format!("byte {at} flipped"), flipped);
    }
    let spelled = |text: &str| [text.as_bytes(), bytes].concat();
    add("a space before it".to_owned(), spelled(" "));
    add("a byte order mark before it".to_owned(), spelled("\u{feff}"));
    add("a line feed after it".to_owned(), [bytes, b"\n"].concat());
    add("twice".to_owned(), [bytes, bytes].concat());
    add("a part".to_owned(), bytes[..bytes.len() / 2].to_vec());
    add("nothing".to_owned(), Vec::new());
    let text = String::from_utf8(bytes.to_vec()).unwrap();
    add("an escape".to_owned(), text.replacen("\"request\"", "\"re\\u0071uest\"", 1).into_bytes());
    add("a name twice".to_owned(), text.replacen("{\"anchors\"", "{\"bundle\":1,\"anchors\"", 1).into_bytes());
    add("another number".to_owned(), text.replacen("\"bundle\":1", "\"bundle\":1.0", 1).into_bytes());
}
