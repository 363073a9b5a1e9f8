//! Schemas of Rust's own types.
//!
//! Kubernetes has no integers without sign: up to 32 bits they are int32 from 0
//! on, as its own counts are.

use super::{Kind, Node, Schema};
use crate::Value;
use std::collections::BTreeMap;

macro_rules! integers {
    ($($type:ty: $format:literal, $min:expr, $max:expr;)*) => {$(
        impl Schema for $type {
            const SCHEMA: Node = Node::integer($format, $min, $max);
        }
    )*};
}

integers! {
    i8: "int32", Some(-128), Some(127);
    i16: "int32", Some(-32_768), Some(32_767);
    i32: "int32", Some(-2_147_483_648), Some(2_147_483_647);
    i64: "int64", None, None;
    u8: "int32", Some(0), Some(255);
    u16: "int32", Some(0), Some(65_535);
    u32: "int32", Some(0), Some(2_147_483_647);
    u64: "int64", Some(0), None;
}

impl Schema for bool {
    const SCHEMA: Node = Node::of(Kind::Boolean);
}

impl Schema for f32 {
    const SCHEMA: Node = Node::of(Kind::Number);
}

impl Schema for f64 {
    const SCHEMA: Node = Node::of(Kind::Number);
}

impl Schema for String {
    const SCHEMA: Node = Node::of(Kind::Text);
}

impl Schema for Value {
    const SCHEMA: Node = Node::ANY;
}

impl<T: Schema> Schema for Option<T> {
    const SCHEMA: Node = T::SCHEMA;
    const REQUIRED: bool = false;
}

impl<T: Schema> Schema for Box<T> {
    const SCHEMA: Node = T::SCHEMA;
    const REQUIRED: bool = T::REQUIRED;
}

impl<T: Schema> Schema for Vec<T> {
    const SCHEMA: Node = Node::of(Kind::List(T::NODE));
}

impl<T: Schema> Schema for BTreeMap<String, T> {
    const SCHEMA: Node = Node::of(Kind::Map(T::NODE));
}
