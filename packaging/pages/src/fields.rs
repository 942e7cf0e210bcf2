//! The schema of alerts as a page.

use serde_json::Value;

use crate::roff::{bold, escaped, item};

/// All fields of `schema`, which is JSON Schema.
pub(crate) fn to_roff(schema: &str) -> Result<String, serde_json::Error> {
    let schema: Value = serde_json::from_str(schema)?;
    let description = text(&schema, "description");
    let mut page = format!(".SH DESCRIPTION\n.PP\n{}\n.SH FIELDS\n", escaped(description));
    add(&schema, "", &mut page);
    Ok(page)
}

/// The fields of an object, and those of objects in them.
fn add(schema: &Value, before: &str, page: &mut String) {
    let fields = schema.get("properties").and_then(Value::as_object);
    for (name, field) in fields.into_iter().flatten() {
        let name = format!("{before}{name}");
        let words = text(field, "description");
        let values = field.get("enum").and_then(Value::as_array).into_iter().flatten();
        let values: Vec<&str> = values.filter_map(Value::as_str).collect();
        let list =
            if values.is_empty() { String::new() } else { format!(": {}", values.join(", ")) };
        *page += &item(&bold(&name), &escaped(&format!("{words}{list}")));
        let inner = field.get("items").filter(|items| items.is_object());
        add(inner.unwrap_or(field), &format!("{name}."), page);
    }
}

fn text<'a>(schema: &'a Value, keyword: &str) -> &'a str {
    schema.get(keyword).and_then(Value::as_str).unwrap_or_default()
}
