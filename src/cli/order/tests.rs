//! What the client makes of what is typed.

use super::*;

fn item(text: &str) -> Result<(String, u32, Option<i64>), String> {
    text.parse::<Item>().map(|item| (item.name, item.quantity, item.price))
}

#[test]
fn items_are_read() {
    assert_eq!(item("latte"), Ok(("latte".into(), 1, None)));
    assert_eq!(item("latte:2"), Ok(("latte".into(), 2, None)));
    assert_eq!(item("latte@450"), Ok(("latte".into(), 1, Some(450))));
    assert_eq!(item("latte:2@450"), Ok(("latte".into(), 2, Some(450))));
    for wrong in ["", ":2", "latte:", "latte:-1", "latte@4.50", "latte@", "latte@450:2"] {
        assert!(item(wrong).is_err(), "{wrong}");
    }
}

#[test]
fn an_order_is_sent_as_the_api_wants_it() {
    let wanted = Wanted {
        items: vec!["latte:2@450".parse().unwrap(), "espresso".parse().unwrap()],
        customer: "ada".into(),
        method_token: "tok".into(),
        attribute: vec![attribute("rehearse.payment=slow").unwrap()],
    };
    let want = json!({
        "customer_id": "ada", "payment": {"method_token": "tok"},
        "items": [{"item": "latte", "quantity": 2, "price": 450}, {"item": "espresso", "quantity": 1}],
        "attributes": {"rehearse.payment": "slow"},
    });
    assert_eq!(wanted.body(), want);
}
