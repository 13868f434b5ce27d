//! Under fuel a call ends by what it does, not by how long that takes.

use std::sync::Arc;

use flow_dataflow::function::{CallError, Kind, Limit};
use flow_plugin::{Engine, Options};

use crate::guest::Guest;
use crate::stage::*;

#[test]
fn a_call_under_fuel_ends_at_the_same_place_each_time() {
    let engine = Engine::new(Options { fuel: Some(1_000_000), ..Options::default() }).expect("it starts");
    let endless = Guest::new(Kind::Map).bad_on_x("(loop $l (br $l)) unreachable");
    let component = engine.load("guest.wasm", &endless.build(), &limits()).expect("an operator");
    let mut function = component.instantiate(setup(&Arc::default())).expect("it starts");
    let mut call = |value: &str| function.apply(&values(&[value]), AT);
    assert!(call("good").is_ok());
    match call("x") {
        Err(CallError::Exceeded { limit: Limit::Time, message, .. }) => {
            assert_eq!(message, "the call used up its fuel")
        }
        other => panic!("{other:?}"),
    }
    for _ in 0..100 {
        assert!(call("good").is_ok(), "each call has fuel of its own");
    }
}
