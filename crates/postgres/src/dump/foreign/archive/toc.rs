//! The table of contents of an archive.

use std::io::Read;

use super::super::error::Fault;
use super::Contents;
use super::head::Head;
use super::primitives::Primitives;

/// Where an entry's data is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// In a block of a custom archive, at this byte if the writer knew.
    Block(Option<u64>),
    /// In a file of a directory or tar; empty if there is none.
    File(String),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Layout {
    Custom,
    Files,
}

/// An object of the dump.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub(super) id: i64,
    pub(super) has_data: bool,
    pub(super) name: String,
    /// Such as `TABLE DATA`.
    pub(super) kind: String,
    pub(super) definition: String,
    pub(super) copy: Option<String>,
    pub(super) schema: String,
    pub(super) tablespace: String,
    pub(super) owner: String,
    pub(super) place: Place,
}

impl Entry {
    /// For a person: `TABLE DATA public.orders`.
    pub(super) fn words(&self) -> String {
        match self.schema.as_str() {
            "" => format!("{} {}", self.kind, self.name),
            schema => format!("{} {schema}.{}", self.kind, self.name),
        }
    }

    pub(super) fn is_large_objects(&self) -> bool {
        self.kind == "BLOBS"
    }
}

pub(super) fn read(input: &mut Primitives<impl Read>, layout: Layout) -> Result<Contents, Fault> {
    let read = |input: &mut _| {
        let head = Head::read(input)?;
        let count = input.int()?;
        let mut entries = Vec::new();
        for _ in 0..count {
            entries.push(read_entry(input, &head, layout)?);
        }
        Ok(Contents { head, entries })
    };
    read(input).map_err(|fault: Fault| fault.within(|| "the table of contents".to_owned()))
}

fn read_entry(
    input: &mut Primitives<impl Read>,
    head: &Head,
    layout: Layout,
) -> Result<Entry, Fault> {
    let id = input.int()?;
    let has_data = input.int()? != 0;
    input.string()?; // OID of the catalogue, as text
    input.string()?; // OID of the object
    let name = text(input)?;
    let kind = text(input)?;
    input.int()?; // section
    let definition = text(input)?;
    input.string()?; // DROP statement
    let copy = input.string()?.filter(|copy| !copy.is_empty());
    let schema = text(input)?;
    let tablespace = text(input)?;
    if head.version >= (1, 14) {
        input.string()?; // table access method
    }
    if head.version >= (1, 16) {
        input.int()?; // kind of relation
    }
    let owner = text(input)?;
    input.string()?; // "with OIDs", always false
    while input.string()?.is_some() {} // dependencies
    let place = match layout {
        Layout::Custom => Place::Block(input.offset()?),
        Layout::Files => Place::File(text(input)?),
    };
    Ok(Entry {
        id,
        has_data,
        name,
        kind,
        definition,
        copy,
        schema,
        tablespace,
        owner,
        place,
    })
}

fn text(input: &mut Primitives<impl Read>) -> Result<String, Fault> {
    Ok(input.string()?.unwrap_or_default())
}
