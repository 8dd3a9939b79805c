//! The JSON Schema of `rekindle.yaml`, generated from the types and their documentation.

use std::borrow::Cow;

use schemars::generate::SchemaSettings;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde_json::{Map, Value, json};

use crate::model::{LogicalDump, Stack, Tripwire, TripwireLimits, WalMode};
use crate::name::Name;

/// The JSON Schema (draft 2020-12) of `rekindle.yaml`, for editors and for `rekindle config schema`.
///
/// It knows the keys, their types and defaults. What depends on several places, such as a
/// dependency on a service that is not there, only [`Stack::load`] finds.
pub fn json_schema() -> Value {
    let schema = SchemaSettings::draft2020_12()
        .into_generator()
        .into_root_schema_for::<Stack>();
    let mut value = schema.to_value();
    refine(&mut value);
    value
}

/// Marks a property that stands for three: `K`, `K_file`, `K_env`.
const SECRET: &str = "x-rekindle-secret";

/// Turns what schemars made of our types into what the file takes.
fn refine(value: &mut Value) {
    match value {
        Value::Object(object) => {
            object.values_mut().for_each(refine);
            let Some(Value::Object(properties)) = object.remove("properties") else {
                return;
            };
            let secrets: Vec<String> = keys_where(&properties, |p| p.get(SECRET).is_some());
            let defaulted = keys_where(&properties, |p| p.get("default").is_some());
            let mut required = strings(object.remove("required"));
            required.retain(|key| !defaulted.contains(key));
            for key in secrets.iter().filter(|key| required.contains(key)) {
                let one =
                    ["", "_file", "_env"].map(|end| json!({"required": [format!("{key}{end}")]}));
                object.insert("oneOf".into(), json!(one));
            }
            required.retain(|key| !secrets.contains(key));
            if !required.is_empty() {
                object.insert("required".into(), json!(required));
            }
            object.insert("properties".into(), Value::Object(expanded(properties)));
        }
        Value::Array(items) => items.iter_mut().for_each(refine),
        _ => {}
    }
}

fn keys_where(properties: &Map<String, Value>, test: impl Fn(&Value) -> bool) -> Vec<String> {
    properties
        .iter()
        .filter(|(_, property)| test(property))
        .map(|(key, _)| key.clone())
        .collect()
}

fn strings(value: Option<Value>) -> Vec<String> {
    value
        .and_then(|value| serde_json::from_value(value).ok())
        .unwrap_or_default()
}

fn expanded(properties: Map<String, Value>) -> Map<String, Value> {
    let mut all = Map::new();
    for (key, mut property) in properties {
        if let Value::Object(property) = &mut property {
            forbid_null(property);
            if property.remove(SECRET).is_some() {
                let file = format!("A file that holds `{key}` and nothing else.");
                let env = format!(
                    "The variable that holds `{key}`: of the environment, else of `env.file`."
                );
                all.insert(
                    format!("{key}_file"),
                    json!({"type": "string", "description": file}),
                );
                all.insert(
                    format!("{key}_env"),
                    json!({"type": "string", "description": env}),
                );
            }
        }
        all.insert(key, property);
    }
    all
}

/// A key that is there has a value: `Option` means that the key may be left out.
fn forbid_null(property: &mut Map<String, Value>) {
    if let Some(Value::Array(types)) = property.get_mut("type") {
        types.retain(|kind| kind != "null");
        if let [only] = types.as_slice() {
            let only = only.clone();
            property.insert("type".into(), only);
        }
    }
    if let Some(Value::Array(choices)) = property.get_mut("anyOf") {
        choices.retain(|choice| choice != &json!({"type": "null"}));
        if let [Value::Object(only)] = choices.as_slice() {
            let only = only.clone();
            property.remove("anyOf");
            property.extend(only);
        }
    }
}

/// Implements `JsonSchema` for a type that is written as one value.
macro_rules! inline_schema {
    ($($type:ty = $schema:tt;)+) => {
        $(impl JsonSchema for $type {
            fn inline_schema() -> bool {
                true
            }

            fn schema_name() -> Cow<'static, str> {
                stringify!($type).into()
            }

            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                json_schema!($schema)
            }
        })+
    };
}

/// A size in bytes in the file.
pub(crate) struct Size;

/// A share in percent in the file.
pub(crate) struct Percent;

/// A value that an answer is compared with.
pub(crate) struct Scalar;

inline_schema! {
    Name = { "type": "string", "pattern": "^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$" };
    crate::period::Period = {
        "type": "string", "pattern": "^(?=.)(\\d+w)?(\\d+d)?(\\d+h)?(\\d+m)?(\\d+s)?$",
        "examples": ["30m", "1h30m", "7d"]
    };
    crate::cron::CronExpression = { "type": "string", "examples": ["0 2 * * *"] };
    crate::location::VaultLocation = { "type": "string", "minLength": 1 };
    crate::url::ServiceUrl = { "type": "string", "pattern": "^[a-z]+://" };
    crate::secret::SecretSource = { "type": "string", "minLength": 1, "x-rekindle-secret": true };
    Size = { "type": ["string", "integer"], "pattern": "^\\d+ ?(B|[KMG]iB)?$" };
    Percent = { "type": "string", "pattern": "^([1-9][0-9]?|100) ?%$", "examples": ["10%"] };
    crate::address::TcpAddress = { "type": "string", "pattern": "^.+:\\d+$", "examples": ["localhost:5432"] };
    crate::model::CommandLine = { "anyOf": [
        { "type": "string", "minLength": 1 },
        { "type": "array", "items": { "type": "string" }, "minItems": 1 }
    ] };
    Scalar = { "type": ["string", "number", "boolean"] };
    LogicalDump = { "anyOf": [
        { "enum": ["all", false] },
        { "type": "array", "items": { "type": "string" }, "minItems": 1 }
    ] };
    WalMode = { "enum": ["stream", "push", false] };
}

impl JsonSchema for Tripwire {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Tripwire".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let limits = generator.subschema_for::<TripwireLimits>();
        json_schema!({ "anyOf": [{ "type": "boolean" }, limits] })
    }
}

/// The two keys of an [`crate::Expectation`].
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
#[allow(dead_code, reason = "exists for its schema alone")]
pub(crate) struct ExpectationKeys {
    /// The answer: text, number or boolean.
    expect: Option<Scalar>,
    /// Another query, which must have the same answer.
    equals: Option<EqualsKeys>,
}

/// Another query, which must have the same answer.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
#[allow(dead_code, reason = "exists for its schema alone")]
struct EqualsKeys {
    /// The service to ask. Default: that of the check.
    service: Option<Name>,
    /// The database to ask. Default: that of the check, if the service is the same.
    database: Option<String>,
    /// A query whose answer is one row of one column.
    sql: String,
}
