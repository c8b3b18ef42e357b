//! (being written)
pub fn page(_l: &crate::model::record::Ledger) -> String {
    String::new()
}
