//! Schemas of enumerations for the OpenAPI document.

use millwork_manifest::{FailureClass, FileState, RunState};
use utoipa::openapi::schema::SchemaType;
use utoipa::openapi::{ArrayBuilder, ObjectBuilder, RefOr, Schema, Type};

fn one_of(description: &str, words: impl IntoIterator<Item = &'static str>) -> RefOr<Schema> {
    let schema = ObjectBuilder::new().schema_type(Type::String).description(Some(description));
    schema.enum_values(Some(words)).into()
}

pub(crate) fn run_state() -> RefOr<Schema> {
    one_of("Where a run is", RunState::ALL.map(RunState::as_str))
}

pub(crate) fn file_state() -> RefOr<Schema> {
    one_of("Where a file is in its life", FileState::ALL.map(FileState::as_str))
}

pub(crate) fn failure_class() -> RefOr<Schema> {
    one_of("The kind of a failure", FailureClass::ALL.map(FailureClass::as_str))
}

pub(crate) fn optional_file_state() -> RefOr<Schema> {
    let words = FileState::ALL.map(|state| Some(state.as_str())).into_iter().chain([None]);
    let types = SchemaType::from_iter([Type::String, Type::Null]);
    ObjectBuilder::new().schema_type(types).enum_values(Some(words)).into()
}

fn any_of(description: &str, words: impl IntoIterator<Item = &'static str>) -> RefOr<Schema> {
    ArrayBuilder::new().items(one_of(description, words)).min_items(Some(1)).into()
}

pub(crate) fn run_states() -> RefOr<Schema> {
    any_of("Where a run is", RunState::ALL.map(RunState::as_str))
}

pub(crate) fn file_states() -> RefOr<Schema> {
    any_of("Where a file is in its life", FileState::ALL.map(FileState::as_str))
}

pub(crate) fn failure_classes() -> RefOr<Schema> {
    any_of("The kind of a failure", FailureClass::ALL.map(FailureClass::as_str))
}

pub(crate) fn text() -> RefOr<Schema> {
    ObjectBuilder::new().schema_type(Type::String).description(Some("Words with commas between them")).into()
}
