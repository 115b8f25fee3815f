//! The table: how a schedule stands, and what follows.

use super::*;

/// Noon and some seconds.
fn at(seconds: i64) -> Timestamp {
    let noon: Timestamp = "2026-11-24T12:00:00Z".parse().unwrap();
    noon + SignedDuration::from_secs(seconds)
}

/// A schedule of every ten minutes from noon on, whose next tick is noon.
fn standing() -> Standing {
    Standing {
        rhythm: Rhythm::Every { seconds: 600, anchor: at(0) },
        overlap: Overlap::Skip,
        catch_up: SignedDuration::from_secs(60),
        next: Some(at(0)),
        pending: None,
        is_open: false,
    }
}

fn rest(standing: &Standing) -> Outlook {
    standing.as_is()
}

fn place(tick: i64, cancel_other: bool) -> Act {
    Act::Place { tick: at(tick), cancel_other }
}

#[test]
fn nothing_follows_before_a_tick() {
    let standing = standing();
    let outlook = standing.look(at(-1));
    assert_eq!(outlook, Outlook { wake: Some(at(0)), ..rest(&standing) });
}

#[test]
fn a_tick_is_taken_up_and_the_next_one_follows() {
    let standing = standing();
    for now in [0, 3, 60] {
        let expected = Outlook {
            act: place(0, false),
            next: Some(at(600)),
            pending: Some(Pending { tick: at(0), until: Some(at(60)) }),
            wake: Some(at(now + 15)),
            ..rest(&standing)
        };
        assert_eq!(standing.look(at(now)), expected, "{now} s late");
    }
}

#[test]
fn a_tick_outside_of_its_window_is_missed() {
    let standing = standing();
    let expected = Outlook {
        over: Some((at(0), Over::Missed)),
        missed: 1,
        next: Some(at(600)),
        wake: Some(at(600)),
        ..rest(&standing)
    };
    assert_eq!(standing.look(at(61)), expected);
}

#[test]
fn after_an_outage_there_is_one_late_order_at_most() {
    let standing = standing();
    // An hour: the ticks of 12:00 to 12:50 are missed, that of 13:00 is in time, or is missed as well.
    let late = standing.look(at(3_630));
    assert_eq!((late.act, late.missed, late.next), (place(3_600, false), 6, Some(at(4_200))));
    let too_late = standing.look(at(3_661));
    assert_eq!((too_late.act, too_late.missed), (Act::Rest, 7));
    assert_eq!(too_late.over, Some((at(3_600), Over::Missed)));
    // However wide the window is.
    let wide = Standing { catch_up: SignedDuration::from_hours(24), ..standing };
    let late = wide.look(at(3_630));
    assert_eq!((late.act, late.missed), (place(3_600, false), 6));
}

#[test]
fn what_follows_while_the_order_before_is_open_is_the_policy() {
    let of = |overlap| Standing { overlap, is_open: true, ..standing() }.look(at(1));
    let skipped = of(Overlap::Skip);
    assert_eq!((skipped.act, skipped.skipped, skipped.pending), (Act::Rest, 1, None));
    assert_eq!(skipped.over, Some((at(0), Over::Skipped)));
    assert_eq!((skipped.next, skipped.wake), (Some(at(600)), Some(at(600))));
    assert_eq!(of(Overlap::Allow).act, place(0, false));
    assert_eq!(of(Overlap::CancelOther).act, place(0, true));
    let buffered = of(Overlap::BufferOne);
    assert_eq!((buffered.act, buffered.skipped, buffered.over), (Act::Rest, 0, None));
    assert_eq!(buffered.pending, Some(Pending { tick: at(0), until: None }));
    assert_eq!((buffered.next, buffered.wake), (Some(at(600)), Some(at(3))));
    // Nothing is open: nothing is cancelled, and nothing waits.
    for overlap in [Overlap::CancelOther, Overlap::BufferOne] {
        assert_eq!(Standing { overlap, ..standing() }.look(at(0)).act, place(0, false));
    }
}

#[test]
fn a_buffered_tick_waits_for_its_turn_and_has_its_window_then() {
    let buffered = Standing {
        overlap: Overlap::BufferOne,
        next: Some(at(600)),
        pending: Some(Pending { tick: at(0), until: None }),
        is_open: true,
        ..standing()
    };
    let waiting = buffered.look(at(300));
    assert_eq!(waiting, Outlook { wake: Some(at(302)), ..rest(&buffered) });
    // There is room for one.
    let full = buffered.look(at(601));
    assert_eq!((full.act, full.skipped, full.pending), (Act::Rest, 1, buffered.pending));
    assert_eq!((full.over, full.next), (Some((at(600), Over::Skipped)), Some(at(1_200))));
    let free = Standing { is_open: false, ..buffered.clone() };
    let turn = free.look(at(400));
    assert_eq!(turn.act, place(0, false));
    assert_eq!(turn.pending, Some(Pending { tick: at(0), until: Some(at(460)) }));
    // A tick that is due at that moment has its turn afterwards.
    let turn = free.look(at(601));
    assert_eq!((turn.act, turn.next, turn.skipped), (place(0, false), Some(at(600)), 0));
    // It needs to wait no longer.
    let allowed = Standing { overlap: Overlap::Allow, ..buffered };
    assert_eq!(allowed.look(at(300)).act, place(0, false));
}

#[test]
fn a_tick_that_was_taken_up_by_somebody_who_is_gone_goes_on() {
    let begun = Standing {
        next: Some(at(600)),
        pending: Some(Pending { tick: at(0), until: Some(at(60)) }),
        ..standing()
    };
    let again = begun.look(at(20));
    assert_eq!(again, Outlook { act: place(0, false), wake: Some(at(35)), ..rest(&begun) });
    // Past its window, when the next tick is due, or while it is paused nothing is placed any more. What was placed is
    // found.
    assert_eq!(begun.look(at(61)).act, Act::Settle(at(0)));
    let due = Standing { next: Some(at(10)), ..begun.clone() };
    assert_eq!(due.look(at(20)).act, Act::Settle(at(0)));
    assert_eq!(due.look(at(20)).next, Some(at(10)), "it is left to be looked at afterwards");
    assert_eq!(Standing { next: None, ..begun }.look(at(20)).act, Act::Settle(at(0)));
}

#[test]
fn a_paused_schedule_rests() {
    let paused = Standing { next: None, ..standing() };
    assert_eq!(paused.look(at(9_999)), rest(&paused));
}

#[test]
fn a_refusal_is_tried_again_within_the_window_and_ever_later() {
    let (until, next) = (at(60), Some(at(600)));
    let again = |attempts, now| retry_at(attempts, until, next, at(now));
    assert_eq!(again(0, 0), Some(at(1)));
    assert_eq!(again(1, 1), Some(at(3)));
    assert_eq!(again(4, 15), Some(at(31)));
    assert_eq!(again(5, 31), None, "it would be too late");
    assert_eq!(retry_at(30, at(9_999), Some(at(99_999)), at(0)), Some(at(60)));
    assert_eq!(retry_at(0, until, Some(at(1)), at(0)), None, "the next tick is due then");
    assert_eq!(retry_at(0, until, None, at(0)), None, "it is paused");
}

#[test]
fn a_replica_sleeps_until_the_next_tick_and_never_long_nor_not_at_all() {
    assert_eq!(pause(at(0), None), LOOK_EVERY);
    assert_eq!(pause(at(0), Some(at(3_600))), LOOK_EVERY);
    assert_eq!(pause(at(0), Some(at(2))), Duration::from_secs(2));
    assert_eq!(pause(at(0), Some(at(0))), LOOK_AGAIN);
    assert_eq!(pause(at(0), Some(at(-9))), LOOK_AGAIN);
}
