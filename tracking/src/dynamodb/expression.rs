//! Builder of DynamoDB expressions: updates and conditions, with placeholders for names and values.

use super::item::number;
use aws_sdk_dynamodb::types::AttributeValue;
use std::collections::HashMap;

/// Expressions of one request.
#[derive(Clone, Debug, Default)]
pub(super) struct Expression {
    set: Vec<String>,
    add: Vec<String>,
    remove: Vec<String>,
    conditions: Vec<String>,
    filters: Vec<String>,
    names: HashMap<String, String>,
    values: HashMap<String, AttributeValue>,
}

impl Expression {
    pub(super) fn new() -> Self {
        Self::default()
    }

    fn name(&mut self, attribute: &str) -> String {
        let alias = format!("#{attribute}");
        self.names.insert(alias.clone(), attribute.to_owned());
        alias
    }

    fn value(&mut self, value: AttributeValue) -> String {
        let alias = format!(":v{}", self.values.len());
        self.values.insert(alias.clone(), value);
        alias
    }

    fn comparison(&mut self, attribute: &str, operator: &str, value: AttributeValue) -> String {
        let (name, value) = (self.name(attribute), self.value(value));
        format!("{name} {operator} {value}")
    }

    /// Sets an attribute.
    pub(super) fn set(mut self, attribute: &str, value: AttributeValue) -> Self {
        let text = self.comparison(attribute, "=", value);
        self.set.push(text);
        self
    }

    /// Sets an attribute if it does not exist.
    pub(super) fn set_once(mut self, attribute: &str, value: AttributeValue) -> Self {
        let (name, value) = (self.name(attribute), self.value(value));
        self.set.push(format!("{name} = if_not_exists({name}, {value})"));
        self
    }

    /// Sets an attribute, or removes it if there is no value.
    pub(super) fn put(self, attribute: &str, value: Option<AttributeValue>) -> Self {
        match value {
            Some(value) => self.set(attribute, value),
            None => self.remove(attribute),
        }
    }

    /// Appends to a list.
    pub(super) fn append(mut self, attribute: &str, entries: Vec<AttributeValue>) -> Self {
        if entries.is_empty() {
            return self;
        }
        let name = self.name(attribute);
        let (empty, entries) = (self.value(AttributeValue::L(Vec::new())), self.value(AttributeValue::L(entries)));
        self.set.push(format!("{name} = list_append(if_not_exists({name}, {empty}), {entries})"));
        self
    }

    /// Adds to a number; a missing one counts as 0.
    pub(super) fn add(mut self, attribute: &str, value: i64) -> Self {
        let (name, value) = (self.name(attribute), self.value(number(value)));
        self.add.push(format!("{name} {value}"));
        self
    }

    /// Removes an attribute.
    pub(super) fn remove(mut self, attribute: &str) -> Self {
        let name = self.name(attribute);
        self.remove.push(name);
        self
    }

    /// Requires that an attribute compares so; in a query, this is the key condition.
    pub(super) fn when(mut self, attribute: &str, operator: &str, value: AttributeValue) -> Self {
        let text = self.comparison(attribute, operator, value);
        self.conditions.push(text);
        self
    }

    /// Requires that the item has no such attribute; for a key attribute, that the item does not exist.
    pub(super) fn when_absent(mut self, attribute: &str) -> Self {
        let name = self.name(attribute);
        self.conditions.push(format!("attribute_not_exists({name})"));
        self
    }

    /// Requires that an attribute is missing, or satisfies the comparison.
    pub(super) fn when_absent_or(mut self, attribute: &str, operator: &str, value: AttributeValue) -> Self {
        let text = self.comparison(attribute, operator, value);
        self.conditions.push(format!("(attribute_not_exists(#{attribute}) OR {text})"));
        self
    }

    /// Filters for items of which an attribute compares so.
    pub(super) fn only(mut self, attribute: &str, operator: &str, value: AttributeValue) -> Self {
        let text = self.comparison(attribute, operator, value);
        self.filters.push(text);
        self
    }

    /// Filters for items of which an attribute is missing, or compares so.
    pub(super) fn only_absent_or(mut self, attribute: &str, operator: &str, value: AttributeValue) -> Self {
        let text = self.comparison(attribute, operator, value);
        self.filters.push(format!("(attribute_not_exists(#{attribute}) OR {text})"));
        self
    }

    /// Filters for items that have an attribute.
    pub(super) fn only_with(mut self, attribute: &str) -> Self {
        let name = self.name(attribute);
        self.filters.push(format!("attribute_exists({name})"));
        self
    }

    /// Text of the update expression.
    pub(super) fn update_text(&self) -> Option<String> {
        let clauses = [("SET", &self.set), ("ADD", &self.add), ("REMOVE", &self.remove)];
        let texts = clauses.iter().filter(|(_, parts)| !parts.is_empty());
        let texts: Vec<String> = texts.map(|(verb, parts)| format!("{verb} {}", parts.join(", "))).collect();
        (!texts.is_empty()).then(|| texts.join(" "))
    }

    /// Text of the condition expression of a write, or of the key condition of a query.
    pub(super) fn condition_text(&self) -> Option<String> {
        (!self.conditions.is_empty()).then(|| self.conditions.join(" AND "))
    }

    /// Text of the filter expression.
    pub(super) fn filter_text(&self) -> Option<String> {
        (!self.filters.is_empty()).then(|| self.filters.join(" AND "))
    }

    /// Names behind the placeholders; `None` if there are none, since DynamoDB refuses an empty map.
    pub(super) fn names(&self) -> Option<HashMap<String, String>> {
        (!self.names.is_empty()).then(|| self.names.clone())
    }

    /// Values behind the placeholders; `None` if there are none.
    pub(super) fn values(&self) -> Option<HashMap<String, AttributeValue>> {
        (!self.values.is_empty()).then(|| self.values.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::super::item::text;
    use super::*;

    #[test]
    fn an_update_and_its_condition() {
        let expression = Expression::new()
            .set("status", text("pending"))
            .append("timeline", vec![text("x")])
            .append("timeline", Vec::new())
            .add("n", -1)
            .remove("ttl")
            .when("version", "=", number(3))
            .when_absent_or("expires_at", "<=", number(5));
        assert_eq!(
            expression.update_text().unwrap(),
            "SET #status = :v0, #timeline = list_append(if_not_exists(#timeline, :v1), :v2) ADD #n :v3 REMOVE #ttl"
        );
        assert_eq!(
            expression.condition_text().unwrap(),
            "#version = :v4 AND (attribute_not_exists(#expires_at) OR #expires_at <= :v5)"
        );
        assert_eq!(expression.names().unwrap()["#ttl"], "ttl");
        assert_eq!(expression.values().unwrap()[":v3"], number(-1));
        assert!(Expression::new().values().is_none() && Expression::new().filter_text().is_none());
    }
}
