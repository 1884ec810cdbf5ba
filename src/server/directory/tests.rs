//! The document that describes the directory.

use std::collections::BTreeSet;

use serde_json::Value;

use super::routes;

fn document() -> Value {
    let (_, document) = routes::documented().split_for_parts();
    serde_json::to_value(document).unwrap()
}

fn keys(value: &Value) -> BTreeSet<&str> {
    value.as_object().unwrap().keys().map(String::as_str).collect()
}

/// Every `$ref` in a document.
fn references<'a>(value: &'a Value, found: &mut BTreeSet<&'a str>) {
    match value {
        Value::Object(fields) => {
            if let Some(Value::String(reference)) = fields.get("$ref") {
                found.insert(reference);
            }
            fields.values().for_each(|value| references(value, found));
        }
        Value::Array(values) => values.iter().for_each(|value| references(value, found)),
        _ => {}
    }
}

#[test]
fn it_lists_every_route_and_schema() {
    let document = document();
    let routes: BTreeSet<_> = document["paths"]
        .as_object()
        .unwrap()
        .iter()
        .flat_map(|(path, item)| keys(item).into_iter().map(move |method| (method, &**path)))
        .collect();
    let expected = [
        ("get", "/v1/keys/{device}"),
        ("get", "/v1/openapi.json"),
        ("post", "/v1/keys/claim"),
        ("post", "/v1/keys/upload"),
    ];
    assert_eq!(routes, BTreeSet::from(expected));
    let schemas = [
        "ClaimedKey",
        "DeviceKeys",
        "DirectoryErrorCode",
        "DirectoryRefusal",
        "FallbackKey",
        "KeysClaim",
        "KeysClaimed",
        "KeysFound",
        "KeysUpload",
        "KeysUploaded",
        "OneTimeKey",
    ];
    assert_eq!(keys(&document["components"]["schemas"]), BTreeSet::from(schemas));
}

#[test]
fn it_is_openapi_3_1_and_its_references_resolve() {
    let document = document();
    assert!(document["openapi"].as_str().unwrap().starts_with("3.1"));
    for field in ["title", "version"] {
        assert!(!document["info"][field].as_str().unwrap().is_empty());
    }
    let mut found = BTreeSet::new();
    references(&document, &mut found);
    assert!(found.len() >= 11, "{found:?}");
    for reference in found {
        let pointer = reference.strip_prefix('#').unwrap();
        assert!(document.pointer(pointer).is_some(), "{reference} leads nowhere");
    }
    let schemes = keys(&document["components"]["securitySchemes"]);
    let mut operations = BTreeSet::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            assert!(operations.insert(operation["operationId"].as_str().unwrap()), "twice");
            assert!(operation["summary"].is_string(), "{method} {path}");
            for (status, response) in operation["responses"].as_object().unwrap() {
                assert!(status.parse::<u16>().is_ok_and(|status| (100..600).contains(&status)));
                assert!(response["description"].is_string());
            }
            // A path's parameters are those that are declared.
            let named = path.split(['{', '}']).skip(1).step_by(2).collect::<BTreeSet<_>>();
            let declared = operation["parameters"].as_array().map_or(&[][..], Vec::as_slice);
            for parameter in declared {
                assert_eq!(parameter["required"], true);
                assert!(parameter["schema"].is_object());
            }
            let declared = declared.iter().map(|p| p["name"].as_str().unwrap()).collect();
            assert_eq!(named, declared, "{method} {path}");
            for scheme in operation["security"].as_array().into_iter().flatten() {
                assert!(keys(scheme).is_subset(&schemes), "{scheme}");
            }
            assert_eq!(operation["requestBody"].is_object(), method == "post");
        }
    }
}

#[test]
fn every_field_that_a_schema_requires_is_described() {
    let document = document();
    for (name, schema) in document["components"]["schemas"].as_object().unwrap() {
        let required = schema["required"].as_array().into_iter().flatten();
        for field in required {
            let field = field.as_str().unwrap();
            let property = &schema["properties"][field];
            assert!(property.is_object(), "{name}.{field}");
            assert!(property["description"].is_string(), "{name}.{field}: {property}");
        }
    }
}
