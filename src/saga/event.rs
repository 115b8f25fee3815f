//! The vocabulary of the journal.
/// What a journal adds up to.
#[derive(Debug, Default)]
pub struct State {}
impl State {
    /// The output of a step.
    pub fn output(&self, _step: &str) -> Option<&str> {
        None
    }
}
