//! Whether lines of a log are what the installed schema says: the part of JSON Schema that it uses, and
//! strictly, so that a field which it does not know is an error.

use serde_json::Value;

/// The file that is installed.
const ALERT: &str = include_str!("../../packaging/schema/alert.schema.json");

/// Checks an alert.
///
/// # Panics
/// When it is not as the schema says.
pub fn check_alert(alert: &Value) {
    let schema: Value = serde_json::from_str(ALERT).expect("JSON");
    check(&schema, alert, "alert");
}

fn check(schema: &Value, value: &Value, place: &str) {
    for (keyword, of) in schema.as_object().expect("a schema") {
        match keyword.as_str() {
            "$schema" | "$id" | "title" | "description" => {}
            "type" => {
                let types = of.as_array().map_or(std::slice::from_ref(of), Vec::as_slice);
                let is_one = types.iter().any(|name| is_of(value, name.as_str().expect("a name")));
                assert!(is_one, "{place} is no {of}: {value}");
            }
            "enum" => assert!(of.as_array().expect("a list").contains(value), "{place}: {value}"),
            "minimum" => assert!(value.as_f64() >= of.as_f64(), "{place}: {value}"),
            "maximum" => assert!(value.as_f64() <= of.as_f64(), "{place}: {value}"),
            "required" => {
                for name in of.as_array().expect("a list") {
                    let name = name.as_str().expect("a name");
                    assert!(value.get(name).is_some(), "{place} has no {name}: {value}");
                }
            }
            "items" => {
                for item in value.as_array().into_iter().flatten() {
                    check(of, item, place);
                }
            }
            "properties" => {
                for (name, field) in value.as_object().into_iter().flatten() {
                    let place = format!("{place}.{name}");
                    let known = of.get(name);
                    check(
                        known.unwrap_or_else(|| panic!("no {place} in the schema")),
                        field,
                        &place,
                    );
                }
            }
            unknown => panic!("the schema uses {unknown}"),
        }
    }
}

fn is_of(value: &Value, name: &str) -> bool {
    match name {
        "object" => value.is_object(),
        "array" => value.is_array(),
        "string" => value.is_string(),
        "boolean" => value.is_boolean(),
        "null" => value.is_null(),
        "integer" => value.is_u64() || value.is_i64(),
        "number" => value.is_number(),
        unknown => panic!("{unknown} is no type"),
    }
}
