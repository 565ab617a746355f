use proptest::prelude::*;

use super::*;

fn json(value: &Value, budget: usize, hide: Option<usize>) -> (String, bool) {
    let bytes = value.to_bytes();
    let mut out = String::new();
    let cut = Item::message(&bytes).unwrap().unwrap().push_json(&mut out, budget, hide);
    (out, cut)
}

#[test]
fn every_format_is_read_and_rendered() {
    let all = Value::List(vec![
        Value::text("PPID \"1\"\n"),
        Value::Binary(vec![0, 255]),
        Value::Boolean(vec![true]),
        Value::Boolean(vec![true, false]),
        Value::I1(vec![-1]),
        Value::I2(vec![-300]),
        Value::I4(vec![-70000]),
        Value::I8(vec![i64::MIN]),
        Value::U1(vec![1, 2, 3]),
        Value::U2(vec![65535]),
        Value::U4(vec![u32::MAX]),
        Value::U8(vec![u64::MAX]),
        Value::F4(vec![0.1]),
        Value::F8(vec![-2.5, 1e300]),
        Value::F8(vec![f64::NAN]),
        Value::U4(vec![]),
        Value::List(vec![]),
    ]);
    let (text, cut) = json(&all, 4096, None);
    assert_eq!(
        text,
        "[\"PPID \\\"1\\\"\\n\",\"0x00ff\",true,[true,false],-1,-300,-70000,-9223372036854775808,\
         [1,2,3],65535,4294967295,18446744073709551615,0.1,[-2.5,1e300],null,[],[]]"
    );
    assert!(!cut);
    let bytes = Value::F4(vec![1.5]).to_bytes();
    assert_eq!(Value::from(Item::read(&bytes).unwrap().0), Value::F4(vec![1.5]));
}

#[test]
fn localised_and_eight_bit_texts_are_read() {
    for (bytes, expected) in [
        (&b"\x49\x08\x00\x01\x6a\xd3\x00A\x00B"[..], "櫓AB"),
        (b"\x49\x05\x00\x02\xe6\xab\x93", "櫓"),
        (b"\x49\x01x", "x"),
        (b"\x41\x02\xe9!", "é!"),
        (b"\x45\x02ab", "ab"),
    ] {
        assert_eq!(Item::message(bytes).unwrap().unwrap().text().unwrap(), expected);
    }
}

#[test]
fn ids_of_every_type_are_plain_text() {
    for (value, expected) in [
        (Value::U4(vec![1001]), "1001"),
        (Value::I2(vec![-4]), "-4"),
        (Value::text(" LOT-1 \0"), "LOT-1"),
        (Value::U4(vec![]), ""),
        (Value::U1(vec![0]), "0"),
        (Value::Binary(vec![7]), "7"),
        (Value::Binary(vec![1, 2]), "0102"),
        (Value::Boolean(vec![true]), "true"),
        (Value::List(vec![]), ""),
    ] {
        let bytes = value.to_bytes();
        assert_eq!(Item::read(&bytes).unwrap().0.id(), expected, "{value:?}");
    }
}

#[test]
fn what_breaks_the_standard_is_named_with_its_place() {
    let deep = [0x01u8, 0x01].repeat(DEPTH_MAX + 1);
    let wide = [&[0x03, 0x20, 0, 0][..], &[0x01, 0x00].repeat(ITEMS_MAX + 1)].concat();
    for (bytes, at, problem) in [
        (&[0x40u8, 1][..], 0, Problem::NoLengthBytes),
        (&[0x01, 0x01, 0x40], 2, Problem::NoLengthBytes),
        (&[0xfd, 1, 1], 0, Problem::Format(0o77)),
        (&[0x41, 5, b'a'], 0, Problem::Short),
        (&[0x43, 0xff], 0, Problem::Short),
        (&[0x01, 2, 0xa5, 1, 9], 5, Problem::Short),
        (&[0xa9, 3, 0, 0, 0], 0, Problem::Width),
        (&[0xa5, 1, 1, 0xa5], 3, Problem::Trailing),
        (&deep, 2 * DEPTH_MAX, Problem::Depth),
        (&wide, 4 + 2 * (ITEMS_MAX - 1), Problem::Items),
    ] {
        let error = Item::message(bytes).unwrap_err();
        assert_eq!((error.at, error.problem), (at, problem));
        assert!(error.to_string().contains(&format!("at byte {at}")));
    }
    assert_eq!(Item::message(&[]), Ok(None));
}

#[test]
fn a_hidden_element_is_null_and_a_cut_text_is_still_json() {
    let value = Value::List(vec![Value::text("PPID"), Value::Binary(vec![1; 100]), Value::U1(vec![9])]);
    assert_eq!(json(&value, 4096, Some(1)).0, "[\"PPID\",null,9]");
    for budget in 0..400 {
        for value in [&value, &Value::text(&"é\"".repeat(90)), &Value::U4(vec![123456; 60])] {
            let (text, cut) = json(value, budget, None);
            assert!(text.len() <= budget.max(1), "{budget}: {text}");
            if !text.is_empty() {
                serde_json::from_str::<serde_json::Value>(&text).unwrap_or_else(|e| panic!("{text}: {e}"));
            }
            assert_eq!(cut, json(value, 4096, None).0 != text);
        }
    }
}

fn value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        "[ -~]{0,12}".prop_map(Value::Ascii),
        prop::collection::vec(any::<u8>(), 0..9).prop_map(Value::Binary),
        prop::collection::vec(any::<i16>(), 0..4).prop_map(Value::I2),
        prop::collection::vec(any::<u64>(), 0..3).prop_map(Value::U8),
        prop::collection::vec(-1e9f32..1e9, 0..3).prop_map(Value::F4),
        prop::collection::vec(any::<bool>(), 0..3).prop_map(Value::Boolean),
    ];
    leaf.prop_recursive(5, 60, 6, |inner| prop::collection::vec(inner, 0..6).prop_map(Value::List))
}

proptest! {
    #[test]
    fn encoding_and_reading_are_inverse(value in value()) {
        let bytes = value.to_bytes();
        let item = Item::message(&bytes).unwrap().unwrap();
        prop_assert_eq!(Value::from(item), value);
    }

    #[test]
    fn any_bytes_are_read_without_panic(bytes in prop::collection::vec(any::<u8>(), 0..200), budget in 0usize..300) {
        if let Ok((item, rest)) = Item::read(&bytes) {
            prop_assert!(rest.len() < bytes.len());
            let mut out = String::new();
            item.push_json(&mut out, budget, None);
            prop_assert!(out.len() <= budget.max(1));
            let _ = (Value::from(item), item.id(), item.code());
        }
    }
}
