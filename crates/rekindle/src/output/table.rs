//! Tables in columns.

use std::io::{self, Write};

/// Rows of text under a heading; columns are as wide as their widest cell.
pub struct Table {
    headings: Vec<&'static str>,
    rows: Vec<Vec<String>>,
}

impl Table {
    /// An empty table. A heading that begins with `>` marks a column of numbers, set to the right.
    pub fn new(headings: impl Into<Vec<&'static str>>) -> Self {
        Self {
            headings: headings.into(),
            rows: Vec::new(),
        }
    }

    /// Adds a row.
    pub fn row(&mut self, cells: impl Into<Vec<String>>) {
        self.rows.push(cells.into());
    }

    /// Writes heading and rows.
    ///
    /// # Errors
    /// As the output fails.
    pub fn write(&self, out: &mut dyn Write) -> io::Result<()> {
        let titles: Vec<String> = self
            .headings
            .iter()
            .map(|heading| heading.trim_start_matches('>').to_owned())
            .collect();
        let widths: Vec<usize> = (0..titles.len())
            .map(|column| {
                let cells = self.rows.iter().filter_map(|row| row.get(column));
                let longest = cells.map(|cell| cell.chars().count()).max();
                longest.unwrap_or(0).max(titles[column].chars().count())
            })
            .collect();
        self.write_row(out, &titles, &widths)?;
        self.rows
            .iter()
            .try_for_each(|row| self.write_row(out, row, &widths))
    }

    fn write_row(&self, out: &mut dyn Write, cells: &[String], widths: &[usize]) -> io::Result<()> {
        let mut line = String::new();
        for ((cell, width), heading) in cells.iter().zip(widths).zip(&self.headings) {
            if !line.is_empty() {
                line.push_str("  ");
            }
            let padding = " ".repeat(width.saturating_sub(cell.chars().count()));
            if heading.starts_with('>') {
                line += &padding;
                line += cell;
            } else {
                line += cell;
                line += &padding;
            }
        }
        writeln!(out, "{}", line.trim_end())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up_and_numbers_stand_to_the_right() {
        let mut table = Table::new(["NAME", ">SIZE", "TAGS"]);
        table.row(["a".into(), "1.0 MiB".into(), String::new()]);
        table.row(["longer".into(), "5 B".into(), "x".into()]);
        let mut out = Vec::new();
        table.write(&mut out).unwrap();
        let expected = "NAME       SIZE  TAGS\na       1.0 MiB\nlonger      5 B  x\n";
        assert_eq!(String::from_utf8(out).unwrap(), expected);
    }
}
