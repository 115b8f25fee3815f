//! Tables: what cron expressions mean, and what a change of the clocks does to them.

use super::*;

fn zone(name: &str) -> TimeZone {
    TimeZone::get(name).unwrap()
}

fn time(text: &str) -> Timestamp {
    text.parse().unwrap()
}

/// The ticks after a moment, up to another one.
fn ticks(cron: &str, name: &str, after: &str, until: &str) -> Vec<String> {
    let (cron, zone) = (Cron::parse(cron).unwrap(), zone(name));
    let next = |it: &Timestamp| cron.next_after(&zone, *it);
    let all = std::iter::successors(next(&time(after)), next);
    all.take_while(|it| *it <= time(until)).map(|it| it.to_string()).collect()
}

#[test]
fn expressions_mean_what_cron_has_always_had_them_mean() {
    for (cron, after, next) in [
        ("* * * * *", "2026-11-24T23:59:59Z", "2026-11-25T00:00:00Z"),
        ("* * * * *", "2026-11-25T00:00:00Z", "2026-11-25T00:01:00Z"),
        ("*/15 8-9 * * *", "2026-11-24T08:45:00Z", "2026-11-24T09:00:00Z"),
        ("*/15 8-9 * * *", "2026-11-24T09:45:00Z", "2026-11-25T08:00:00Z"),
        ("5/20 * * * *", "2026-11-24T08:26:00Z", "2026-11-24T08:45:00Z"),
        ("30 8 * * 1-5", "2026-11-27T08:30:00Z", "2026-11-30T08:30:00Z"),
        ("30 8 * * mon,Wed", "2026-11-24T00:00:00Z", "2026-11-25T08:30:00Z"),
        ("0 9 * * 7", "2026-11-24T00:00:00Z", "2026-11-29T09:00:00Z"),
        ("0 9 * * 0", "2026-11-24T00:00:00Z", "2026-11-29T09:00:00Z"),
        ("0 0 1 JAN *", "2026-11-24T00:00:00Z", "2027-01-01T00:00:00Z"),
        ("0 0 29 2 *", "2026-11-24T00:00:00Z", "2028-02-29T00:00:00Z"),
        ("0 0 29 2 *", "2096-03-01T00:00:00Z", "2104-02-29T00:00:00Z"),
        ("0 0 31 * *", "2026-11-01T00:00:00Z", "2026-12-31T00:00:00Z"),
        // Either day is enough when both are named.
        ("0 12 13 * 5", "2026-11-24T00:00:00Z", "2026-11-27T12:00:00Z"),
        ("0 12 25 * 5", "2026-11-24T00:00:00Z", "2026-11-25T12:00:00Z"),
        // With a star both must hold, and a star always does.
        ("0 12 */2 * 5", "2026-11-24T00:00:00Z", "2026-11-27T12:00:00Z"),
        ("0 12 */2 * 3", "2026-11-24T00:00:00Z", "2026-11-25T12:00:00Z"),
        ("0 0 30 * *", "2026-11-30T00:00:00Z", "2026-12-30T00:00:00Z"),
    ] {
        let found = Cron::parse(cron).unwrap().next_after(&TimeZone::UTC, time(after));
        assert_eq!(found, Some(time(next)), "{cron} after {after}");
    }
}

#[test]
fn what_is_no_expression_is_told_so() {
    for (cron, says) in [
        ("", "five fields"),
        ("* * * *", "five fields"),
        ("0 * * * * *", "five fields"),
        ("@daily", "five fields"),
        ("60 * * * *", "`60` is no minute"),
        ("* 24 * * *", "`24` is no hour"),
        ("* * 0 * *", "`0` is no day of the month"),
        ("* * * 13 *", "`13` is no month"),
        ("* * * * 8", "`8` is no day of the week"),
        ("* * * * caturday", "is no day of the week"),
        ("5-1 * * * *", "`5-1` is no minute"),
        ("*/0 * * * *", "`*/0` is no minute"),
        ("+5 * * * *", "`+5` is no minute"),
        ("-5 * * * *", "`-5` is no minute"),
        ("1,,2 * * * *", "`` is no minute"),
        ("1- * * * *", "is no minute"),
        ("*/99999999999 * * * *", "is no minute"),
        ("* * L * *", "`L` is no day of the month"),
        ("* * ? * *", "`?` is no day of the month"),
    ] {
        let error = Cron::parse(cron).unwrap_err();
        assert!(error.contains(says), "{cron}: {error}");
    }
    assert!(Cron::parse(&format!("{} * * * *", "1,".repeat(300) + "1")).is_err());
    // It is an expression, and its day never comes.
    let never = Cron::parse("0 0 30 2 *").unwrap();
    assert_eq!(never.next_after(&TimeZone::UTC, time("2026-11-24T00:00:00Z")), None);
    let never = Cron::parse("* * 31 4 *").unwrap();
    assert_eq!(never.next_after(&TimeZone::UTC, time("2026-11-24T00:00:00Z")), None);
}

#[test]
fn a_daily_time_comes_once_a_day_whatever_the_clocks_do() {
    // The clocks leap from 02:00 to 03:00: the first minute after the gap.
    let spring =
        ticks("30 2 * * *", "Europe/Paris", "2027-03-26T12:00:00Z", "2027-03-30T00:00:00Z");
    assert_eq!(spring, ["2027-03-27T01:30:00Z", "2027-03-28T01:00:00Z", "2027-03-29T00:30:00Z"]);
    // They show 02:30 twice: the first time.
    let autumn =
        ticks("30 2 * * *", "Europe/Paris", "2026-10-23T12:00:00Z", "2026-10-27T00:00:00Z");
    assert_eq!(autumn, ["2026-10-24T00:30:00Z", "2026-10-25T00:30:00Z", "2026-10-26T01:30:00Z",]);
    // Every day of two years, for every time of the day that a change can touch.
    for name in ["Europe/Paris", "America/New_York", "Australia/Lord_Howe", "Africa/Casablanca"] {
        for local in ["0 0", "0 1", "30 1", "45 1", "0 2", "15 2", "30 2", "59 2", "0 3"] {
            let (after, until) = ("2025-12-31T12:00:00Z", "2027-12-31T11:00:00Z");
            let ticks = ticks(&format!("{local} * * *"), name, after, until);
            let zone = zone(name);
            let dates: Vec<Date> =
                ticks.iter().map(|it| zone.to_datetime(time(it)).date()).collect();
            assert!(dates.is_sorted_by(|a, b| a.tomorrow().unwrap() == *b), "{name} {local}");
            assert_eq!(dates.len(), 730, "{name} {local}");
        }
    }
}

#[test]
fn times_that_fall_into_one_minute_of_a_leap_are_one_tick() {
    let leap =
        ticks("*/20 1-3 * * *", "Europe/Paris", "2027-03-28T00:30:00Z", "2027-03-28T02:00:00Z");
    assert_eq!(
        leap,
        [
            "2027-03-28T00:40:00Z",
            "2027-03-28T01:00:00Z",
            "2027-03-28T01:20:00Z",
            "2027-03-28T01:40:00Z",
        ]
    );
    let doubled =
        ticks("*/30 2 * * *", "Europe/Paris", "2026-10-24T12:00:00Z", "2026-10-26T00:00:00Z");
    assert_eq!(doubled, ["2026-10-25T00:00:00Z", "2026-10-25T00:30:00Z"]);
}

#[test]
fn what_comes_every_hour_goes_by_the_passing_of_time() {
    let spring =
        ticks("30 * * * *", "Europe/Paris", "2027-03-28T00:00:00Z", "2027-03-28T03:00:00Z");
    assert_eq!(spring, ["2027-03-28T00:30:00Z", "2027-03-28T01:30:00Z", "2027-03-28T02:30:00Z"]);
    let autumn = ticks("0 * * * *", "Europe/Paris", "2026-10-24T23:30:00Z", "2026-10-25T02:30:00Z");
    assert_eq!(autumn, ["2026-10-25T00:00:00Z", "2026-10-25T01:00:00Z", "2026-10-25T02:00:00Z"]);
    // Half an hour off, by an offset of three quarters.
    let kathmandu =
        ticks("0 * * * *", "Asia/Kathmandu", "2026-10-25T00:00:00Z", "2026-10-25T02:00:00Z");
    assert_eq!(kathmandu, ["2026-10-25T00:15:00Z", "2026-10-25T01:15:00Z"]);
    // Only on the days that are named.
    let sundays =
        ticks("30 * * * sun", "Europe/Paris", "2026-10-24T12:00:00Z", "2026-10-31T00:00:00Z");
    assert_eq!((sundays.len(), sundays[0].as_str()), (25, "2026-10-24T22:30:00Z"));
}

#[test]
fn a_day_that_did_not_happen_has_no_tick() {
    // Samoa went from the 29th to the 31st.
    let samoa = ticks("0 8 * * *", "Pacific/Apia", "2011-12-29T00:00:00Z", "2012-01-01T00:00:00Z");
    assert_eq!(samoa, ["2011-12-29T18:00:00Z", "2011-12-30T18:00:00Z", "2011-12-31T18:00:00Z"]);
}

#[test]
fn intervals_are_counted_from_their_anchor() {
    let anchor = time("2026-11-24T12:00:00Z");
    let every = Rhythm::Every { seconds: 90, anchor };
    for (after, next) in [
        ("2026-11-24T12:00:00Z", "2026-11-24T12:01:30Z"),
        ("2026-11-24T12:01:29.999999Z", "2026-11-24T12:01:30Z"),
        ("2026-11-24T12:01:30Z", "2026-11-24T12:03:00Z"),
        ("2026-11-24T11:59:00Z", "2026-11-24T12:00:00Z"),
    ] {
        assert_eq!(every.next_after(time(after)), Some(time(next)), "after {after}");
    }
    assert_eq!(every.due(time("2026-11-24T12:01:30Z"), time("2026-11-24T12:01:29Z")), None);
    let due = every.due(time("2026-11-24T12:01:30Z"), time("2026-11-24T13:00:10Z")).unwrap();
    let (latest, next) = (time("2026-11-24T13:00:00Z"), Some(time("2026-11-24T13:01:30Z")));
    assert_eq!(due, DueTicks { count: 40, latest, next });
}

#[test]
fn ticks_that_are_due_are_counted_and_the_last_of_them_is_known() {
    let cron = |text: &str| Rhythm::Cron { cron: Cron::parse(text).unwrap(), zone: TimeZone::UTC };
    let minutes = cron("* * * * *");
    let (first, now) = (time("2026-11-24T12:00:00Z"), time("2026-11-24T13:00:30Z"));
    let due = minutes.due(first, now).unwrap();
    let (latest, next) = (time("2026-11-24T13:00:00Z"), Some(time("2026-11-24T13:01:00Z")));
    assert_eq!(due, DueTicks { count: 61, latest, next });
    // After years they are not counted one by one, and the last one is right all the same.
    let due = minutes.due(time("2023-01-01T00:00:00Z"), now).unwrap();
    assert_eq!(due, DueTicks { count: COUNTED_MAX, latest, next });
    let upcoming = cron("30 8 * * *").upcoming(time("2026-11-24T08:30:00Z"), 2);
    assert_eq!(upcoming, [time("2026-11-24T08:30:00Z"), time("2026-11-25T08:30:00Z")]);
}
