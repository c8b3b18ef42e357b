//! Columns that line up.
//!
//! Takes rows of texts that may hold colours: those take no room.

/// The rows as lines, each column as wide as its widest cell, two blanks between columns and none at the end.
pub fn lines(rows: &[Vec<String>]) -> Vec<String> {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let widths: Vec<usize> = (0..columns)
        .map(|column| rows.iter().filter_map(|row| row.get(column)).map(|c| width(c)).max().unwrap_or(0))
        .collect();
    rows.iter()
        .map(|row| {
            let mut line = String::new();
            let last = row.iter().rposition(|cell| !cell.is_empty()).unwrap_or(0);
            for (column, cell) in row.iter().enumerate().take(last + 1) {
                line.push_str(cell);
                if column < last {
                    line.push_str(&" ".repeat(widths[column] - width(cell) + 2));
                }
            }
            line
        })
        .collect()
}

/// How many columns of a terminal a text takes, colours left out. Every character counts as one.
pub fn width(text: &str) -> usize {
    anstream::adapter::strip_str(text).to_string().chars().count()
}

#[cfg(test)]
mod tests {
    use super::lines;
    use crate::cli::show::paint::{GOOD, painted};

    #[test]
    fn colours_take_no_room() {
        let rows =
            vec![vec![painted(GOOD, "a"), "b".to_owned()], vec!["ccc".to_owned(), "d".to_owned(), String::new()]];
        let plain: Vec<String> = lines(&rows).iter().map(|l| anstream::adapter::strip_str(l).to_string()).collect();
        assert_eq!(plain, ["a    b", "ccc  d"]);
    }
}
