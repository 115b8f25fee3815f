//! The example of a saga that is no order of coffee: what it says, and what it leaves in its own table.

use crate::world::cluster::TestDb;

#[path = "../../../examples/table_reservation.rs"]
#[allow(dead_code, unreachable_pub)]
mod table_reservation;

#[tokio::test]
async fn the_engine_takes_a_reservation_of_a_table_and_turns_another_one_back() {
    let database = TestDb::new().await;
    let told = table_reservation::run(database.database()).await.unwrap();
    let words: Vec<String> = told
        .lines()
        .map(|it| it.split(' ').skip(1).take(4).collect::<Vec<_>>().join(" "))
        .collect();
    let expected = [
        "7: 1 started ",
        "7: 2 step_done hold_table",
        "7: 3 step_done deposit",
        "7: 4 step_done confirm",
        "7: 5 step_done message",
        "7: 6 closed ",
        "8: 1 started ",
        "8: 2 step_done hold_table",
        "8: 3 step_refused deposit",
        "8: 4 compensating ",
        "8: 5 compensation_done hold_table",
        "8: 6 closed ",
    ];
    assert_eq!(words, expected, "{told}");
    assert!(told.contains(r#""status":"RESERVED""#), "{told}");
    assert!(told.contains(r#""status":"TURNED_AWAY","reason":"card_declined""#), "{told}");
    let seating: Vec<(i32, String)> =
        sqlx::query_as("select table_no, becomes from bistro.seating order by table_no, becomes")
            .fetch_all(database.pool())
            .await
            .unwrap();
    let became = |table, word: &str| (table, word.to_owned());
    let expected = [became(7, "held"), became(7, "taken"), became(8, "free"), became(8, "held")];
    assert_eq!(seating, expected, "each effect is there once");
}
