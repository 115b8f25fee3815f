//! What goes wrong with orders.

use rand::{Rng, rngs::StdRng};

type Attributes = &'static [(&'static str, &'static str)];

/// What goes wrong with an order, how often (of 100), and whether its customer always cancels it: an order
/// with a kitchen that hangs would take minutes to give up.
const MOODS: [(u32, Attributes, bool); 14] = [
    (50, &[], false),
    (5, &[("rehearse.payment", "decline")], false),
    (6, &[("rehearse.payment", "answer_lost")], false),
    (5, &[("rehearse.payment", "late")], false),
    (4, &[("rehearse.payment", "wrong_amount")], false),
    (4, &[("rehearse.payment", "slow")], false),
    (4, &[("rehearse.payment", "down")], false),
    (4, &[("rehearse.kitchen", "out_of_ingredients")], false),
    (4, &[("rehearse.kitchen", "slow")], false),
    (4, &[("rehearse.kitchen", "answer_lost")], false),
    (3, &[("rehearse.kitchen", "hang")], true),
    (3, &[("rehearse.inventory", "refuse")], false),
    (2, &[("rehearse.inventory", "refuse"), ("rehearse.refund", "slow")], false),
    (2, &[("rehearse.notification", "slow")], false),
];

/// A mood by its share, and whether its customer cancels.
pub(crate) fn mood(chance: &mut StdRng) -> (Attributes, bool) {
    let mut dice = chance.random_range(0..100);
    let found = MOODS.iter().find(|(share, _, _)| match dice < *share {
        true => true,
        false => {
            dice -= share;
            false
        }
    });
    let (_, moods, cancels) = found.expect("the shares are 100 in all");
    (moods, *cancels)
}
