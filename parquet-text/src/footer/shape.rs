//! Validation of a footer's structure before it is decoded.
//!
//! The `parquet` crate trusts footers: it allocates memory for as many row groups and children as a footer claims,
//! recurses as deep as its schema, and skips unknown fields without a limit. A footer from another process could crash
//! the scheduler that way. A footer must therefore consist only of fields that Millwork's writer uses, with the types
//! of Parquet's definition (parquet-format, `parquet.thrift`, in Thrift's compact protocol), and all counts must be
//! within limits. Such a footer cannot be interpreted differently by two readers. Features of other writers are
//! refused, such as encryption, and column chunks in another file.

use parquet::errors::ParquetError;

/// Limit of a footer, in bytes: 64 MiB; 20,000 columns in four row groups take about 20 MiB.
pub(crate) const MAX_FOOTER_BYTES: usize = 64 << 20;
/// Limit of row groups: Parquet counts them in 16 bits.
const MAX_ROW_GROUPS: usize = i16::MAX as usize;
/// Limit of the column chunks of all row groups; each takes about half a kilobyte of memory. A task is planned for
/// 80,000.
const MAX_CHUNKS: usize = 400_000;
/// Limit of the nodes of a schema, for 20,000 input columns, or for a query's columns with nested types.
const MAX_SCHEMA_NODES: usize = 100_000;
/// Limit of the depth of a schema, since each level takes stack space.
const MAX_SCHEMA_DEPTH: usize = 64;
/// Limit of the total length of all columns' paths: 128 MiB. Each path in memory includes the names of its groups.
const MAX_PATH_BYTES: usize = 128 << 20;
/// Limit of the length of a variable-length integer, in bytes: 64 bits in groups of seven.
const MAX_VARINT_BYTES: u32 = 10;

/// Type of a field in Thrift's compact protocol.
enum Kind {
    Bool,
    I8,
    I16,
    I32,
    I64,
    Binary,
    Struct(Fields),
    List(&'static Kind),
    RowGroups,
    Chunks,
    /// Schema nodes, in depth-first order.
    Nodes,
    /// Name of a node, whose length is recorded.
    Name,
    /// Number of a node's children, which is recorded.
    Children,
}

type Fields = &'static [(i16, Kind)];

use Kind::{Binary, Bool, Children, Chunks, I8, I16, I32, I64, List, Name, Nodes, RowGroups, Struct};

const EMPTY: Kind = Struct(&[]);
const FILE: Fields = &[
    (1, I32),
    (2, Nodes),
    (3, I64),
    (4, RowGroups),
    (5, List(&Struct(&[(1, Binary), (2, Binary)]))),
    (6, Binary),
    (7, List(&Struct(&[(1, EMPTY), (2, EMPTY)]))),
];
const NODE: Fields = &[
    (1, I32),
    (2, I32),
    (3, I32),
    (4, Name),
    (5, Children),
    (6, I32),
    (7, I32),
    (8, I32),
    (9, I32),
    (10, Struct(LOGICAL_TYPE)),
];
const TIME_UNIT: Kind = Struct(&[(1, EMPTY), (2, EMPTY), (3, EMPTY)]);
const LOGICAL_TYPE: Fields = &[
    (1, EMPTY),
    (2, EMPTY),
    (3, EMPTY),
    (4, EMPTY),
    (5, Struct(&[(1, I32), (2, I32)])),
    (6, EMPTY),
    (7, Struct(&[(1, Bool), (2, TIME_UNIT)])),
    (8, Struct(&[(1, Bool), (2, TIME_UNIT)])),
    (10, Struct(&[(1, I8), (2, Bool)])),
    (11, EMPTY),
    (12, EMPTY),
    (13, EMPTY),
    (14, EMPTY),
    (15, EMPTY),
];
const ROW_GROUP: Fields = &[(1, Chunks), (2, I64), (3, I64), (5, I64), (6, I64), (7, I16)];
const CHUNK: Fields = &[(2, I64), (3, Struct(CHUNK_METADATA)), (4, I64), (5, I32), (6, I64), (7, I32)];
const CHUNK_METADATA: Fields = &[
    (1, I32),
    (2, List(&I32)),
    (3, List(&Binary)),
    (4, I32),
    (5, I64),
    (6, I64),
    (7, I64),
    (9, I64),
    (10, I64),
    (11, I64),
    (12, Struct(STATISTICS)),
    (13, List(&Struct(&[(1, I32), (2, I32), (3, I32)]))),
    (14, I64),
    (15, I32),
    (16, Struct(&[(1, I64), (2, List(&I64)), (3, List(&I64))])),
];
const STATISTICS: Fields =
    &[(1, Binary), (2, Binary), (3, I64), (4, I64), (5, Binary), (6, Binary), (7, Bool), (8, Bool), (9, I64)];

/// Pages, each with offset, size and first row; optionally followed by the size of their text.
const OFFSET_INDEX: Fields = &[(1, List(&Struct(&[(1, I64), (2, I32), (3, I64)]))), (2, List(&I64))];

/// A node of a schema.
#[derive(Default)]
struct Node {
    name_bytes: usize,
    children: i64,
}

/// Refuses a footer's Thrift structure that Millwork would not write.
pub(crate) fn check_shape(footer: &[u8]) -> Result<(), ParquetError> {
    if footer.len() > MAX_FOOTER_BYTES {
        let bytes = footer.len();
        return Err(bad(format!("it has {bytes} bytes, more than {MAX_FOOTER_BYTES}, the limit")));
    }
    let mut walk = Walk { bytes: footer, at: 0, chunks: 0, nodes: Vec::new() };
    walk.fields(FILE)?;
    check_schema(&walk.nodes)
}

/// Refuses an offset index that Millwork would not write.
pub(super) fn check_offset_index(index: &[u8]) -> Result<(), ParquetError> {
    Walk { bytes: index, at: 0, chunks: 0, nodes: Vec::new() }.fields(OFFSET_INDEX)
}

fn bad(why: String) -> ParquetError {
    ParquetError::General(format!("no footer of Millwork's: {why}"))
}

/// Refuses a schema whose nodes do not form a single tree within the depth limit.
fn check_schema(nodes: &[Node]) -> Result<(), ParquetError> {
    let no_tree = || bad("its schema is no tree".to_owned());
    // Number of missing children of each open group, and length of the path to it.
    let mut open: Vec<(usize, usize)> = Vec::new();
    let mut path_bytes = 0usize;
    for (place, node) in nodes.iter().enumerate() {
        let before = match open.last_mut() {
            Some((missing, bytes)) => {
                *missing -= 1;
                *bytes
            }
            None if place == 0 => 0,
            None => return Err(no_tree()),
        };
        let path = before + node.name_bytes;
        let children = usize::try_from(node.children).map_err(|_| no_tree())?;
        match children {
            0 => path_bytes = path_bytes.saturating_add(path),
            _ => open.push((children, path)),
        }
        if children > nodes.len() {
            return Err(no_tree());
        }
        if open.len() > MAX_SCHEMA_DEPTH {
            return Err(bad(format!("its schema is deeper than {MAX_SCHEMA_DEPTH}, the limit")));
        }
        while open.last().is_some_and(|(missing, _)| *missing == 0) {
            open.pop();
        }
    }
    if path_bytes > MAX_PATH_BYTES {
        return Err(bad(format!("its columns' paths have {path_bytes} bytes, more than {MAX_PATH_BYTES}, the limit")));
    }
    if open.is_empty() && !nodes.is_empty() { Ok(()) } else { Err(no_tree()) }
}

/// Parser of a Thrift structure.
struct Walk<'a> {
    bytes: &'a [u8],
    at: usize,
    chunks: usize,
    nodes: Vec<Node>,
}

impl Walk<'_> {
    fn byte(&mut self) -> Result<u8, ParquetError> {
        let byte = self.bytes.get(self.at).copied().ok_or_else(|| bad("it ends too early".to_owned()))?;
        self.at += 1;
        Ok(byte)
    }

    fn varint(&mut self) -> Result<u64, ParquetError> {
        let mut value = 0;
        for place in 0..MAX_VARINT_BYTES {
            let byte = self.byte()?;
            value |= u64::from(byte & 0x7f) << (7 * place);
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(bad("an integer has more than 64 bits".to_owned()))
    }

    fn integer(&mut self) -> Result<i64, ParquetError> {
        let value = self.varint()?;
        Ok((value >> 1) as i64 ^ -((value & 1) as i64))
    }

    fn binary(&mut self) -> Result<usize, ParquetError> {
        let length = usize::try_from(self.varint()?).unwrap_or(usize::MAX);
        let end = self.at.checked_add(length).filter(|end| *end <= self.bytes.len());
        self.at = end.ok_or_else(|| bad("it ends too early".to_owned()))?;
        Ok(length)
    }

    /// Parses the fields of a structure: each allowed one at most once, in order.
    fn fields(&mut self, fields: Fields) -> Result<(), ParquetError> {
        let mut last = 0i16;
        loop {
            let header = self.byte()?;
            let (delta, wire) = (i16::from(header >> 4), header & 0xf);
            if wire == 0 {
                return Ok(());
            }
            // Field ids that need the long form are never required.
            let id = last + delta;
            let found = fields.iter().find(|(known, _)| *known == id && delta > 0);
            let (id, kind) = found.ok_or_else(|| bad(format!("it has a field {id} that is not known there")))?;
            if !kind.is_sent_as(wire) {
                return Err(bad(format!("field {id} is of type {wire}")));
            }
            last = *id;
            self.value(kind)?;
        }
    }

    fn value(&mut self, kind: &Kind) -> Result<(), ParquetError> {
        match kind {
            // A boolean value is encoded in the type.
            Bool => Ok(()),
            I8 => self.byte().map(|_| ()),
            I16 | I32 | I64 => self.integer().map(|_| ()),
            Binary => self.binary().map(|_| ()),
            Struct(fields) => self.fields(fields),
            List(of) => self.list(of, usize::MAX),
            RowGroups => self.list(&Struct(ROW_GROUP), MAX_ROW_GROUPS),
            Chunks => {
                let before = self.at;
                let count = self.list_header(&Struct(CHUNK), MAX_CHUNKS)?;
                self.chunks += count;
                if self.chunks > MAX_CHUNKS {
                    return Err(bad(format!(
                        "it has more than {MAX_CHUNKS} column chunks, the limit, at byte {before}"
                    )));
                }
                (0..count).try_for_each(|_| self.fields(CHUNK))
            }
            Nodes => {
                let count = self.list_header(&Struct(NODE), MAX_SCHEMA_NODES)?;
                (0..count).try_for_each(|_| {
                    self.nodes.push(Node::default());
                    self.fields(NODE)
                })
            }
            Name => {
                let name_bytes = self.binary()?;
                self.nodes.iter_mut().last().into_iter().for_each(|node| node.name_bytes = name_bytes);
                Ok(())
            }
            Children => {
                let children = self.integer()?;
                self.nodes.iter_mut().last().into_iter().for_each(|node| node.children = children);
                Ok(())
            }
        }
    }

    fn list(&mut self, of: &Kind, most: usize) -> Result<(), ParquetError> {
        let count = self.list_header(of, most)?;
        (0..count).try_for_each(|_| self.value(of))
    }

    /// Number of elements of a list, each of the given kind and at least one byte long.
    fn list_header(&mut self, of: &Kind, most: usize) -> Result<usize, ParquetError> {
        let header = self.byte()?;
        if header == 0 {
            return Ok(0);
        }
        let count = match header >> 4 {
            15 => usize::try_from(self.varint()?).unwrap_or(usize::MAX),
            count => usize::from(count),
        };
        if !of.is_sent_as(header & 0xf) {
            return Err(bad(format!("a list is of type {}", header & 0xf)));
        }
        let room = (self.bytes.len() - self.at).min(most);
        match count <= room {
            true => Ok(count),
            false => Err(bad(format!("a list claims {count} elements where {room} are the limit"))),
        }
    }
}

impl Kind {
    /// Tells whether the protocol uses this number for the type.
    fn is_sent_as(&self, wire: u8) -> bool {
        match self {
            Bool => matches!(wire, 1 | 2),
            I8 => wire == 3,
            I16 => wire == 4,
            I32 | Children => wire == 5,
            I64 => wire == 6,
            Binary | Name => wire == 8,
            List(_) | RowGroups | Chunks | Nodes => wire == 9,
            Struct(_) => wire == 12,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Beginning of a footer up to its schema, with these node names and numbers of children.
    fn schema(nodes: &[(&[u8], u32)]) -> Vec<u8> {
        let varint = |mut value: u64| {
            let mut bytes = Vec::new();
            while value > 0x7f {
                bytes.push(value as u8 | 0x80);
                value >>= 7;
            }
            bytes.push(value as u8);
            bytes
        };
        let mut bytes = vec![0x15, 2, 0x19, 0xfc];
        bytes.extend(varint(nodes.len() as u64));
        for (name, children) in nodes {
            bytes.push(0x48);
            bytes.extend(varint(name.len() as u64));
            bytes.extend_from_slice(name);
            if *children > 0 {
                bytes.push(0x15);
                bytes.extend(varint(u64::from(*children) * 2));
            }
            bytes.push(0);
        }
        bytes
    }

    /// Complete footer with a schema, and row groups with this list header and no fields.
    fn footer(nodes: &[(&[u8], u32)], row_groups: &[u8]) -> Vec<u8> {
        [schema(nodes), vec![0x16, 0, 0x19], row_groups.to_vec(), vec![0]].concat()
    }

    fn refused(footer: &[u8]) -> String {
        check_shape(footer).unwrap_err().to_string()
    }

    #[test]
    fn schemas_are_trees_within_their_limits() {
        let flat: [(&[u8], u32); 3] = [(b"root", 2), (b"a", 0), (b"b", 0)];
        check_shape(&footer(&flat, &[0])).unwrap();
        for no_tree in [
            &[][..],
            &[(b"root".as_slice(), 2), (b"a", 0)],
            &[(b"root", 1), (b"a", 0), (b"b", 0)],
            &[(b"root", 0), (b"a", 0)],
            &[(b"root", u32::MAX >> 1), (b"a", 0)],
        ] {
            assert!(refused(&footer(no_tree, &[0])).contains("its schema is no tree"), "{no_tree:?}");
        }
        let deep = |depth: usize| [vec![(b"n".as_slice(), 1); depth], vec![(b"leaf".as_slice(), 0)]].concat();
        check_shape(&footer(&deep(MAX_SCHEMA_DEPTH), &[0])).unwrap();
        let error = refused(&footer(&deep(MAX_SCHEMA_DEPTH + 1), &[0]));
        assert!(error.contains("deeper than 64, the limit"), "{error}");
        let wide = |nodes: usize| {
            [vec![(b"root".as_slice(), nodes as u32 - 1)], vec![(b"c".as_slice(), 0); nodes - 1]].concat()
        };
        check_shape(&footer(&wide(MAX_SCHEMA_NODES), &[0])).unwrap();
        assert!(refused(&footer(&wide(MAX_SCHEMA_NODES + 1), &[0])).contains("100000 are the limit"));
        let name = vec![b'n'; MAX_PATH_BYTES / 1000];
        let group = |leaves: usize| {
            [vec![(b"r".as_slice(), 1), (&name, leaves as u32)], vec![(b"".as_slice(), 0); leaves]].concat()
        };
        check_shape(&footer(&group(999), &[0])).unwrap();
        assert!(refused(&footer(&group(1001), &[0])).contains("more than 134217728, the limit"));
    }

    #[test]
    fn claims_take_no_memory_and_no_time() {
        let flat: [(&[u8], u32); 2] = [(b"root", 1), (b"a", 0)];
        // Lists of 2^31 row groups, of as many columns, and of booleans, which take no byte each.
        let many = [0xfc, 0xff, 0xff, 0xff, 0xff, 0x07];
        assert!(refused(&footer(&flat, &many)).contains("a list claims 2147483647 elements"));
        let columns = [vec![0x1c, 0x19], many.to_vec()].concat();
        assert!(refused(&footer(&flat, &columns)).contains("a list claims 2147483647 elements"));
        let unknown = [schema(&flat), vec![0x16, 0, 0xf9, 0xf1, 0xff, 0xff, 0xff, 0xff, 0x07, 0]].concat();
        assert!(refused(&unknown).contains("a field 18 that is not known there"), "{}", refused(&unknown));
        let chunks = |count: u64| {
            let length = [(count & 0x7f) as u8 | 0x80, (count >> 7 & 0x7f) as u8 | 0x80, (count >> 14) as u8];
            let empty = vec![0; count as usize + 1];
            footer(&flat, &[vec![0x1c, 0x19, 0xfc], length.to_vec(), empty].concat())
        };
        check_shape(&chunks(MAX_CHUNKS as u64)).unwrap();
        assert!(refused(&chunks(MAX_CHUNKS as u64 + 1)).contains("where 400000 are the limit"));
        // Encrypted, in another file, or out of order.
        assert!(refused(&[0x8c, 0]).contains("a field 8 that"));
        let elsewhere = [0x1c, 0x19, 0x1c, 0x18, 1, b'x', 0, 0];
        assert!(
            refused(&footer(&flat, &elsewhere)).contains("a field 1 that"),
            "{}",
            refused(&footer(&flat, &elsewhere))
        );
        assert!(refused(&[0x15, 2, 0x05, 2, 2]).contains("is not known there"));
        assert!(refused(&[0x19, 0]).contains("field 1 is of type 9"));
        assert!(refused(&[0x15]).contains("it ends too early"));
        assert!(refused(&[vec![0x15], vec![0xff; 11]].concat()).contains("more than 64 bits"));
        assert!(refused(&vec![0; MAX_FOOTER_BYTES + 1]).contains("more than 67108864, the limit"));
    }
}
