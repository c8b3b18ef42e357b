//! (being written)
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Report {}
impl Report {
    pub fn has_errors(&self) -> bool {
        false
    }
}
