//! Answers to queries.

use std::str::FromStr;

use bytes::Bytes;

use super::connection::Fields;
use crate::error::Error;

/// The rows of one answer, values as text.
#[derive(Clone, Debug, Default)]
pub struct Rows {
    columns: Vec<String>,
    rows: Vec<Vec<Option<String>>>,
}

impl Rows {
    /// How many rows there are.
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// The columns' names, in order.
    pub fn columns(&self) -> &[String] {
        &self.columns
    }

    /// The rows one by one.
    pub fn iter(&self) -> impl Iterator<Item = Row<'_>> {
        self.rows.iter().map(|values| Row {
            columns: &self.columns,
            values,
        })
    }

    /// The first row.
    ///
    /// # Errors
    /// If there is none.
    pub fn first(&self) -> Result<Row<'_>, Error> {
        self.iter()
            .next()
            .ok_or_else(|| Error::protocol("no row where one was due"))
    }

    /// The only column of the first row, read as `T`.
    ///
    /// # Errors
    /// If there is no row, the value is null or not a `T`.
    pub fn single<T: FromStr>(&self) -> Result<T, Error> {
        self.first()?.at(0)
    }

    pub(crate) fn described(body: &[u8]) -> Result<Self, Error> {
        let mut fields = Fields(body);
        let mut columns = Vec::new();
        for _ in 0..fields.u16()? {
            columns.push(fields.text()?);
            // Table, attribute, type, size, modifier, format: not needed, all values are text.
            fields.take(18)?;
        }
        Ok(Self {
            columns,
            rows: Vec::new(),
        })
    }

    pub(crate) fn push(&mut self, body: &Bytes) -> Result<(), Error> {
        let mut fields = Fields(body);
        let mut values = Vec::with_capacity(self.columns.len());
        for _ in 0..fields.u16()? {
            values.push(value(&mut fields)?);
        }
        self.rows.push(values);
        Ok(())
    }
}

fn value(fields: &mut Fields<'_>) -> Result<Option<String>, Error> {
    match usize::try_from(fields.i32()?) {
        // -1 stands for null.
        Err(_) => Ok(None),
        Ok(length) => {
            let text = std::str::from_utf8(fields.take(length)?);
            text.map(|text| Some(text.to_owned()))
                .map_err(|_| Error::protocol("a value that is not UTF-8"))
        }
    }
}

/// One row of an answer.
#[derive(Clone, Copy, Debug)]
pub struct Row<'a> {
    columns: &'a [String],
    values: &'a [Option<String>],
}

impl<'a> Row<'a> {
    /// The text in `column`; `None` if it is null or there is no such column.
    pub fn text(&self, column: &str) -> Option<&'a str> {
        let at = self.columns.iter().position(|name| name == column)?;
        self.values.get(at)?.as_deref()
    }

    /// The value in `column`, read as `T`. PostgreSQL's `t` and `f` are read by [`Self::truth`].
    ///
    /// # Errors
    /// If it is null, missing or not a `T`.
    pub fn get<T: FromStr>(&self, column: &str) -> Result<T, Error> {
        let text = self
            .text(column)
            .ok_or_else(|| Error::protocol(format!("no value in column `{column}`")))?;
        text.parse()
            .map_err(|_| Error::protocol(format!("`{text}` in column `{column}` cannot be read")))
    }

    /// The value of the column number `at`, counted from 0, read as `T`.
    ///
    /// # Errors
    /// As [`Self::get`].
    pub fn at<T: FromStr>(&self, at: usize) -> Result<T, Error> {
        let name = self
            .columns
            .get(at)
            .ok_or_else(|| Error::protocol(format!("no column {at}")))?;
        self.get(name)
    }

    /// Whether `column` holds true.
    ///
    /// # Errors
    /// If it is neither `t` nor `f`.
    pub fn truth(&self, column: &str) -> Result<bool, Error> {
        match self.text(column) {
            Some("t") => Ok(true),
            Some("f") => Ok(false),
            _ => Err(Error::protocol(format!(
                "no truth value in column `{column}`"
            ))),
        }
    }
}
